//! Every RPC crossed with every kind of caller.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use expect_test::expect;
use muster_proto::muster::log::v1::{Caller, RejectionKind, caller::Who};

use super::super::LogTime;
use super::super::access::{self, Need};
use super::super::auth::{roles, rpcs};
use super::auth_words::ON;
use super::{World, command, token_digest};

/// A server with a robot for each role, an expired token and a revoked one.
fn world() -> World {
    let mut world = World::default();
    for line in ON.lines().map(str::trim).filter(|line| !line.is_empty()) {
        world.tell(line);
    }
    for role in roles::ROLES {
        let name = role.name;
        assert!(world.tell(&format!("robot {name} token={name} as=root")).starts_with("token"));
        assert_eq!(world.tell(&format!("bind robot:{name} {name} as=root")), "done");
    }
    world.tell("robot none token=none as=root");
    world.tell("robot expired token=expired ttl=1 as=root");
    world.tell("robot revoked token=revoked as=root");
    world.tell("revoke revoked as=root");
    world.now = 10;
    world
}

fn caller(token: Option<&str>) -> Caller {
    Caller { who: token.map(|token| Who::TokenDigest(token_digest(token))) }
}

fn judged(world: &World, token: Option<&str>, need: Need) -> Result<(), RejectionKind> {
    let now = LogTime(world.now * 1_000_000);
    let judged = world.state.admit(Some(&caller(token)), need, now);
    judged.map(|_| ()).map_err(|no| no.kind())
}

#[test]
fn every_rpc_admits_whom_its_row_names() {
    let on = world();
    let mut off = World::default();
    off.tell("activate code=a expires=1000");
    let mut table = String::new();
    for (path, need) in &rpcs::RPCS {
        let mut admitted: Vec<&str> = Vec::new();
        if judged(&on, None, *need).is_ok() {
            admitted.push("anybody");
        }
        if judged(&off, None, *need).is_ok() && admitted.is_empty() {
            admitted.push("(off)");
        }
        let tokens = roles::ROLES.iter().map(|role| role.name).chain(["none", "root"]);
        let holders: Vec<&str> =
            tokens.filter(|token| judged(&on, Some(token), *need).is_ok()).collect();
        match holders.len() {
            19 => admitted.push("every token"),
            _ => admitted.extend(holders),
        }
        let _ = writeln!(table, "{path}: {}", admitted.join(" "));
    }
    expect![[r#"
        /admin_v2.API/InspectCluster: anybody every token
        /auth_v2.API/Activate: anybody every token
        /auth_v2.API/Authenticate: anybody every token
        /auth_v2.API/Authorize: anybody every token
        /auth_v2.API/WhoAmI: anybody every token
        /auth_v2.API/GetOIDCLogin: anybody every token
        /auth_v2.API/GetRoleBinding: every token
        /auth_v2.API/ModifyRoleBinding: every token
        /auth_v2.API/RevokeAuthToken: every token
        /auth_v2.API/GetGroups: every token
        /auth_v2.API/GetPermissions: every token
        /auth_v2.API/GetRolesForPermission: every token
        /auth_v2.API/GetGroupsForPrincipal: clusterAdmin root
        /auth_v2.API/GetPermissionsForPrincipal: clusterAdmin root
        /auth_v2.API/GetConfiguration: clusterAdmin root
        /auth_v2.API/SetConfiguration: clusterAdmin root
        /auth_v2.API/GetRobotToken: clusterAdmin robotUser root
        /auth_v2.API/SetGroupsForUser: clusterAdmin root
        /auth_v2.API/ModifyMembers: clusterAdmin root
        /auth_v2.API/GetUsers: clusterAdmin root
        /auth_v2.API/ExtractAuthTokens: clusterAdmin root
        /auth_v2.API/RestoreAuthToken: clusterAdmin root
        /auth_v2.API/Deactivate: clusterAdmin root
        /auth_v2.API/DeleteExpiredAuthTokens: clusterAdmin root
        /auth_v2.API/RevokeAuthTokensForUser: clusterAdmin root
        /auth_v2.API/RotateRootToken: clusterAdmin root
        /enterprise_v2.API/GetState: anybody every token
        /enterprise_v2.API/Activate: (off) clusterAdmin root
        /enterprise_v2.API/GetActivationCode: (off) clusterAdmin root
        /enterprise_v2.API/Deactivate: (off) clusterAdmin root
        /enterprise_v2.API/Heartbeat: (off) clusterAdmin root
        /enterprise_v2.API/Pause: (off) clusterAdmin root
        /enterprise_v2.API/Unpause: (off) clusterAdmin root
        /enterprise_v2.API/PauseStatus: (off) every token
        /grpc.health.v1.Health/Check: anybody every token
        /grpc.health.v1.Health/Watch: anybody every token
        /identity_v2.API/SetIdentityServerConfig: clusterAdmin identityAdmin root
        /identity_v2.API/GetIdentityServerConfig: clusterAdmin identityAdmin root
        /identity_v2.API/CreateIDPConnector: clusterAdmin idpAdmin root
        /identity_v2.API/UpdateIDPConnector: clusterAdmin idpAdmin root
        /identity_v2.API/ListIDPConnectors: clusterAdmin idpAdmin root
        /identity_v2.API/GetIDPConnector: clusterAdmin idpAdmin root
        /identity_v2.API/DeleteIDPConnector: clusterAdmin idpAdmin root
        /identity_v2.API/CreateOIDCClient: clusterAdmin oidcAppAdmin root
        /identity_v2.API/UpdateOIDCClient: clusterAdmin oidcAppAdmin root
        /identity_v2.API/GetOIDCClient: clusterAdmin oidcAppAdmin root
        /identity_v2.API/ListOIDCClients: clusterAdmin oidcAppAdmin root
        /identity_v2.API/DeleteOIDCClient: clusterAdmin oidcAppAdmin root
        /identity_v2.API/DeleteAll: clusterAdmin root
        /license_v2.API/Activate: (off) clusterAdmin licenseAdmin root
        /license_v2.API/GetActivationCode: (off) clusterAdmin licenseAdmin root
        /license_v2.API/AddCluster: (off) clusterAdmin licenseAdmin root
        /license_v2.API/UpdateCluster: (off) clusterAdmin licenseAdmin root
        /license_v2.API/DeleteCluster: (off) clusterAdmin licenseAdmin root
        /license_v2.API/ListClusters: (off) clusterAdmin licenseAdmin root
        /license_v2.API/DeleteAll: (off) clusterAdmin root
        /license_v2.API/Heartbeat: anybody every token
        /license_v2.API/ListUserClusters: (off) every token
        /versionpb_v2.API/GetVersion: anybody every token
    "#]]
    .assert_eq(&table);
}

#[test]
fn a_token_that_does_not_serve_is_refused_everywhere_with_its_own_reason() {
    let on = world();
    let off = World::default();
    for (path, need) in &rpcs::RPCS {
        if *need == Need::Open {
            continue;
        }
        let refused = |token| judged(&on, token, *need).unwrap_err();
        assert_eq!(refused(None), RejectionKind::TokenAbsent, "{path}");
        assert_eq!(refused(Some("bad")), RejectionKind::TokenUnknown, "{path}");
        assert_eq!(refused(Some("revoked")), RejectionKind::TokenUnknown, "{path}");
        assert_eq!(refused(Some("expired")), RejectionKind::TokenExpired, "{path}");
        let while_off = match need {
            Need::Token | Need::Permission(_) => Err(RejectionKind::AuthNotActivated),
            Need::Open | Need::TokenIfOn | Need::PermissionIfOn(_) | Need::Internal => Ok(()),
        };
        assert_eq!(judged(&off, None, *need), while_off, "{path}");
        assert_eq!(judged(&off, Some("bad"), *need), while_off, "{path}");
    }
}

#[test]
fn a_command_needs_what_its_rpc_needs() {
    let pairs = BTreeMap::from([
        ("activate", "/license_v2.API/Activate"),
        ("remove-all", "/license_v2.API/DeleteAll"),
        ("add", "/license_v2.API/AddCluster"),
        ("update", "/license_v2.API/UpdateCluster"),
        ("delete", "/license_v2.API/DeleteCluster"),
        ("beat", "/license_v2.API/Heartbeat"),
        ("activate-self a/b", "/enterprise_v2.API/Activate"),
        ("beat-self", "/enterprise_v2.API/Heartbeat"),
        ("deactivate-self", "/enterprise_v2.API/Deactivate"),
        ("auth-on", "/auth_v2.API/Activate"),
        ("auth-off", "/auth_v2.API/Deactivate"),
        ("auth-config", "/auth_v2.API/SetConfiguration"),
        ("robot", "/auth_v2.API/GetRobotToken"),
        ("revoke", "/auth_v2.API/RevokeAuthToken"),
        ("revoke-of", "/auth_v2.API/RevokeAuthTokensForUser"),
        ("purge", "/auth_v2.API/DeleteExpiredAuthTokens"),
        ("restore", "/auth_v2.API/RestoreAuthToken"),
        ("rotate", "/auth_v2.API/RotateRootToken"),
        ("bind a b", "/auth_v2.API/ModifyRoleBinding"),
        ("groups a b", "/auth_v2.API/SetGroupsForUser"),
        ("members", "/auth_v2.API/ModifyMembers"),
    ]);
    for (line, path) in pairs {
        let kind = command(line).kind.unwrap();
        assert_eq!(Some(access::need(&kind)), rpcs::need(path), "{line}");
    }
    for line in
        ["bootstrap", "configure", "user", "create", "login-start", "login-finish", "login-sweep"]
    {
        assert_eq!(access::need(&command(line).kind.unwrap()), Need::Internal, "{line}");
    }
}
