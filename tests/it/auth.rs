//! Tokens, roles and groups, line by line of what upstream's own tests assert.

use std::fs;

use muster_proto::auth_v2::{
    ActivateRequest, DeactivateRequest, ExtractAuthTokensRequest, GetConfigurationRequest,
    GetGroupsForPrincipalRequest, GetPermissionsRequest, GetRoleBindingRequest, GetUsersRequest,
    ModifyMembersRequest, OidcConfig, RestoreAuthTokenRequest, RevokeAuthTokenRequest,
    RevokeAuthTokensForUserRequest, RotateRootTokenRequest, SetConfigurationRequest, TokenInfo,
};
use sha2::{Digest as _, Sha256};
use tonic::Code;

use crate::support::authority::code;
use crate::support::cli::Cli;
use crate::support::client::{Client, timestamp};
use crate::support::replicas::{Replicas, Setup};
use crate::support::secured::{
    ROOT, bind, cluster, license, robot, secured, secured_with, signed, who,
};
use crate::support::wait;

const BAD: &str = "provided auth token is corrupted or has expired (try logging in again)";

async fn binding(client: &Client, token: &str) -> Vec<String> {
    let request = signed(GetRoleBindingRequest { resource: Some(cluster()) }, token);
    let answer = client.auth.clone().get_role_binding(request).await.unwrap().into_inner();
    let mut lines: Vec<String> = answer
        .binding
        .unwrap()
        .entries
        .into_iter()
        .map(|(name, roles)| {
            let mut roles: Vec<String> = roles.roles.into_keys().collect();
            roles.sort();
            format!("{name} {}", roles.join(","))
        })
        .collect();
    lines.sort();
    lines
}

const FRESH: [&str; 3] = [
    "allClusterUsers projectCreator",
    "internal:auth-server clusterAdmin",
    "pach:root clusterAdmin",
];

#[tokio::test]
async fn auth_goes_on_off_and_on_again_and_begins_afresh_each_time() {
    let world = secured(1).await;
    let client = world.client(0);
    assert_eq!(binding(&client, ROOT).await, FRESH);
    let again = client.auth.clone().activate(ActivateRequest::default()).await.unwrap_err();
    assert_eq!(again.message(), "the auth service is already activated");
    bind(&client, ROOT, "robot:r", &["robotUser"]).await.unwrap();
    client.auth.clone().deactivate(signed(DeactivateRequest {}, ROOT)).await.unwrap();
    let off = who(&client, ROOT).await.unwrap_err();
    assert_eq!(off.message(), "the auth service is not activated");
    assert_eq!(client.clusters().await.unwrap().len(), 1, "open again");
    let drawn = client.auth.clone().activate(ActivateRequest::default()).await.unwrap();
    let token = drawn.into_inner().pach_token;
    assert_eq!((token.len(), token.chars().nth(12)), (32, Some('4')));
    assert_eq!(who(&client, &token).await.unwrap().username, "pach:root");
    assert_eq!(who(&client, ROOT).await.unwrap_err().message(), BAD);
    assert_eq!(binding(&client, &token).await, FRESH);
}

#[tokio::test]
async fn auth_needs_a_license_in_force() {
    let world = Replicas::start(1);
    let refused = world.client(0).auth.activate(ActivateRequest::default()).await.unwrap_err();
    assert!(refused.message().starts_with("Pachyderm Enterprise is not active"), "{refused:?}");
}

#[tokio::test]
async fn nobody_changes_roots_roles() {
    let world = secured(1).await;
    let client = world.client(0);
    for (name, kind) in [("pach:root", "pach:"), ("internal:auth-server", "internal:")] {
        let refused = bind(&client, ROOT, name, &[]).await.unwrap_err();
        let text = format!("cannot modify cluster role bindings for {kind} users");
        assert_eq!(refused.message(), text);
    }
    let refused = bind(&client, ROOT, "robot:r", &["nonsense"]).await.unwrap_err();
    assert_eq!(refused.message(), "unknown role \"nonsense\"");
    let refused = bind(&client, ROOT, "alice", &[]).await.unwrap_err();
    assert_eq!(refused.message(), "subject has no prefix, must be of the form <type>:<name>");
    assert_eq!(binding(&client, ROOT).await, FRESH);
}

#[tokio::test]
async fn a_token_that_one_replica_revokes_is_dead_on_all_others_at_once() {
    let world = secured(3).await;
    for at in 0..3 {
        let token = robot(&world.client(at), "r", 0).await;
        for other in 0..3 {
            assert_eq!(who(&world.client(other), &token).await.unwrap().username, "robot:r");
        }
        let request = RevokeAuthTokenRequest { token: token.clone() };
        let mut auth = world.client(at).auth;
        let revoked = auth.revoke_auth_token(signed(request.clone(), ROOT)).await.unwrap();
        assert_eq!(revoked.into_inner().number, 1);
        for other in 0..3 {
            assert_eq!(who(&world.client(other), &token).await.unwrap_err().message(), BAD);
        }
        let revoked = auth.revoke_auth_token(signed(request, ROOT)).await.unwrap();
        assert_eq!(revoked.into_inner().number, 0);
    }
}

#[tokio::test]
async fn robots_have_tokens_with_and_without_an_end_and_lose_them_by_name() {
    let world = secured(1).await;
    let client = world.client(0);
    let forever = robot(&client, "r", 0).await;
    let hour = robot(&client, "robot:r", 600).await;
    assert_eq!(who(&client, &forever).await.unwrap().expiration, None);
    assert!(who(&client, &hour).await.unwrap().expiration.is_some());
    let other = robot(&client, "other", 0).await;
    let of = |username: &str| {
        let request = RevokeAuthTokensForUserRequest { username: username.to_owned() };
        let mut auth = client.auth.clone();
        async move { auth.revoke_auth_tokens_for_user(signed(request, ROOT)).await }
    };
    assert_eq!(of("robot:r").await.unwrap().into_inner().number, 2);
    assert_eq!(of("robot:r").await.unwrap().into_inner().number, 0);
    assert_eq!(
        of("pach:root").await.unwrap_err().message(),
        "cannot revoke tokens for pach: users"
    );
    assert_eq!(who(&client, &hour).await.unwrap_err().message(), BAD);
    assert_eq!(who(&client, &other).await.unwrap().username, "robot:other");
}

#[tokio::test]
async fn rotating_root_ends_the_old_token_at_once() {
    let world = secured(1).await;
    let client = world.client(0);
    let rotate = |token: &str, new: &str| {
        let request = signed(RotateRootTokenRequest { root_token: new.to_owned() }, token);
        let mut auth = client.auth.clone();
        async move { auth.rotate_root_token(request).await.map(|it| it.into_inner().root_token) }
    };
    assert_eq!(rotate(ROOT, "iamroot").await.unwrap(), "iamroot");
    assert_eq!(who(&client, ROOT).await.unwrap_err().message(), BAD);
    let drawn = rotate("iamroot", "").await.unwrap();
    assert_eq!(who(&client, &drawn).await.unwrap().username, "pach:root");
    assert_eq!(who(&client, "iamroot").await.unwrap_err().message(), BAD);
}

#[tokio::test]
async fn a_role_of_a_group_counts_for_its_members_alone() {
    let world = secured(1).await;
    let client = world.client(0);
    let token = robot(&client, "r", 0).await;
    bind(&client, ROOT, "group:g", &["licenseAdmin"]).await.unwrap();
    let change = |add: &[&str], remove: &[&str]| {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let group = "group:g".to_owned();
        let request = ModifyMembersRequest { group, add: names(add), remove: names(remove) };
        let mut auth = client.auth.clone();
        async move { auth.modify_members(signed(request, ROOT)).await.unwrap() }
    };
    let roles = || {
        let request = signed(GetPermissionsRequest { resource: Some(cluster()) }, &token);
        let mut auth = client.auth.clone();
        async move { auth.get_permissions(request).await.unwrap().into_inner().roles }
    };
    assert_eq!(roles().await, ["projectCreator"]);
    change(&["robot:r", "robot:s"], &[]).await;
    assert_eq!(roles().await, ["licenseAdmin", "projectCreator"]);
    let request = GetUsersRequest { group: "group:g".to_owned() };
    let users = client.auth.clone().get_users(signed(request, ROOT)).await.unwrap();
    assert_eq!(users.into_inner().usernames, ["robot:r", "robot:s"]);
    change(&["robot:r"], &["robot:r"]).await;
    assert_eq!(roles().await, ["projectCreator"], "removal wins");
    let request = GetGroupsForPrincipalRequest { principal: "robot:s".to_owned() };
    let groups = client.auth.clone().get_groups_for_principal(signed(request, ROOT)).await.unwrap();
    assert_eq!(groups.into_inner().groups, ["group:g"]);
}

#[tokio::test]
async fn tokens_move_from_one_server_to_another_by_their_hash() {
    let (old, new) = (secured(1).await, secured(1).await);
    let token = robot(&old.client(0), "r", 0).await;
    let request = signed(ExtractAuthTokensRequest {}, ROOT);
    let found = old.client(0).auth.extract_auth_tokens(request).await.unwrap().into_inner().tokens;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].hashed_token, hex::encode(Sha256::digest(&token)));
    let client = new.client(0);
    let restore = |token: TokenInfo| {
        let request = signed(RestoreAuthTokenRequest { token: Some(token) }, ROOT);
        let mut auth = client.auth.clone();
        async move { auth.restore_auth_token(request).await }
    };
    restore(found[0].clone()).await.unwrap();
    assert_eq!(who(&client, &token).await.unwrap().username, "robot:r");
    let again = restore(found[0].clone()).await.unwrap_err();
    assert_eq!(again.code(), Code::Unknown);
    assert_eq!(
        again.message(),
        "error restoring auth token: cannot overwrite existing token with same hash"
    );
    let dead = TokenInfo {
        hashed_token: "ab".repeat(32),
        expiration: Some(timestamp(0)),
        ..found[0].clone()
    };
    assert_eq!(restore(dead).await.unwrap_err().message(), "token expiration is in the past");
}

#[tokio::test]
async fn an_expired_license_locks_out_everybody_but_administrators() {
    let world = secured(1).await;
    let client = world.client(0);
    let token = robot(&client, "r", 0).await;
    let request = muster_proto::license_v2::ActivateRequest {
        activation_code: code(),
        expires: Some(timestamp(1_600_000_000)),
    };
    client.license.clone().activate(signed(request, ROOT)).await.unwrap();
    let refused = who(&client, &token).await.unwrap_err();
    assert!(refused.message().starts_with("Pachyderm Enterprise is not active"), "{refused:?}");
    assert_eq!(who(&client, ROOT).await.unwrap().username, "pach:root");
    bind(&client, ROOT, "robot:r", &["clusterAdmin"]).await.unwrap();
    assert_eq!(who(&client, &token).await.unwrap().username, "robot:r");
}

#[tokio::test]
async fn a_configuration_comes_back_whole_and_no_secret_is_ever_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("data.key");
    fs::write(&key, "0123456789abcdef0123456789abcdef").unwrap();
    let setup = Setup {
        flags: vec![
            format!("--data-key-file={}", key.display()),
            "--log-level=trace".to_owned(),
            "--snapshot-entries=1".to_owned(),
        ],
        ..Setup::default()
    };
    let world = secured_with(1, setup).await;
    let client = world.client(0);
    let get = |token: &str| {
        let request = signed(GetConfigurationRequest {}, token);
        let mut auth = client.auth.clone();
        async move { auth.get_configuration(request).await }
    };
    let fresh = get(ROOT).await.unwrap().into_inner().configuration;
    assert_eq!(fresh, Some(OidcConfig::default()));
    let configuration = OidcConfig {
        issuer: "http://pachd:1658/".to_owned(),
        client_id: "pachd".to_owned(),
        client_secret: "a-planted-client-secret".to_owned(),
        scopes: vec!["openid".to_owned()],
        localhost_issuer: true,
        ..OidcConfig::default()
    };
    let set = |configuration: Option<OidcConfig>, token: &str| {
        let request = signed(SetConfigurationRequest { configuration }, token);
        let mut auth = client.auth.clone();
        async move { auth.set_configuration(request).await }
    };
    set(Some(configuration.clone()), ROOT).await.unwrap();
    assert_eq!(get(ROOT).await.unwrap().into_inner().configuration, Some(configuration.clone()));
    let token = robot(&client, "r", 0).await;
    let refused = get(&token).await.unwrap_err();
    assert!(
        refused.message().contains("needs permissions [CLUSTER_AUTH_GET_CONFIG] on CLUSTER"),
        "{refused:?}"
    );
    let refused = set(None, &token).await.unwrap_err();
    assert!(refused.message().contains("[CLUSTER_AUTH_SET_CONFIG] on CLUSTER"), "{refused:?}");

    let mut written = vec![world.log(0)];
    let mut folders = vec![world.data(0)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { written.push(path) }
        }
    }
    for path in written {
        let Ok(bytes) = fs::read(&path) else { continue };
        for secret in [ROOT, &token, "a-planted-client-secret"] {
            let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!found, "{secret} is in {}", path.display());
        }
    }
    set(None, ROOT).await.unwrap();
    assert_eq!(get(ROOT).await.unwrap().into_inner().configuration, Some(OidcConfig::default()));
}

#[tokio::test]
async fn the_environment_turns_auth_on_and_sets_the_roles_at_every_start() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let setup = Setup {
        env: vec![
            pair("LICENSE_KEY", &code()),
            pair("ENTERPRISE_SECRET", "a secret of the environment"),
            pair("ACTIVATE_AUTH", "true"),
            pair("AUTH_ROOT_TOKEN", ROOT),
            pair("AUTH_CLUSTER_RBAC", "robot:boss:\n- clusterAdmin\n"),
        ],
        ..Setup::default()
    };
    let mut world = Replicas::start_with(3, setup);
    let expected =
        ["internal:auth-server clusterAdmin", "pach:root clusterAdmin", "robot:boss clusterAdmin"];
    let settled = |client: Client| async move {
        wait::until_ok("the roles of the environment", || async {
            who(&client, ROOT).await.map_err(|status| status.to_string())?;
            let found = binding(&client, ROOT).await;
            if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    };
    settled(world.client(1)).await;
    let client = world.client(0);
    bind(&client, ROOT, "robot:late", &["debugger"]).await.unwrap();
    let request = signed(RotateRootTokenRequest::default(), ROOT);
    let refused = client.auth.clone().rotate_root_token(request).await.unwrap_err();
    assert!(refused.message().starts_with("RotateRootToken() is disabled"), "{refused:?}");
    world.restart(0);
    settled(world.client(0)).await;
}

#[tokio::test]
async fn an_administrator_walks_from_a_license_to_a_robot_token() {
    let world = Replicas::start(1);
    license(&world.client(0)).await;
    let cli = Cli::connected(&world.pachd_address(0));
    let activate = ["auth", "activate", "--enterprise", "--only-activate", "--supply-root-token"];
    let shown = cli.ok_with(&activate, &format!("{ROOT}\n"));
    assert!(shown.starts_with("WARNING: DO NOT LOSE THE AUTH TOKEN BELOW."), "{shown}");
    assert!(shown.ends_with(&format!("\nPachyderm root token:\n{ROOT}\n")), "{shown}");
    assert_eq!(cli.ok_with(&activate, &format!("{ROOT}\n")), "", "a second run is silent");
    assert_eq!(cli.ok(&["auth", "whoami"]), "You are \"pach:root\"\n");
    cli.ok(&["auth", "set", "enterprise", "licenseAdmin,debugger", "robot:r"]);
    let roles = cli.ok(&["auth", "get", "enterprise"]);
    assert!(roles.contains("robot:r: [debugger licenseAdmin]\n"), "{roles}");
    let token = cli.ok(&["auth", "get-robot-token", "-q", "--ttl", "1h", "r", "--enterprise"]);
    let shown = cli.ok_with(&["auth", "use-auth-token"], &token);
    assert_eq!(shown, "Please paste your Pachyderm auth token:\n");
    let who = cli.ok(&["auth", "whoami"]);
    assert!(who.starts_with("You are \"robot:r\"\nsession expires: "), "{who}");
    let who: serde_json::Value =
        serde_json::from_str(&cli.ok(&["auth", "whoami", "-o", "json"])).unwrap();
    assert_eq!(who["username"], "robot:r");
    assert_eq!(cli.ok(&["auth", "get-groups"]), "\n");
    assert_eq!(
        cli.ok(&["auth", "roles-for-permission", "repo_read"]),
        "clusterAdmin\nprojectOwner\nrepoOwner\nrepoReader\nrepoWriter"
    );
    assert!(cli.ok(&["license", "list-clusters"]).contains("id: localhost"));
    let refused = cli.fails(&["auth", "get-robot-token", "x"]);
    assert!(refused.contains("needs permissions [CLUSTER_AUTH_GET_ROBOT_TOKEN]"), "{refused}");
    let both = cli.fails(&["auth", "revoke"]);
    assert!(both.contains("one of --token or --user must be set"), "{both}");
    assert_eq!(cli.ok(&["auth", "revoke", "--token", token.trim()]), "1 auth token revoked\n");
    assert!(cli.fails(&["auth", "whoami"]).contains(BAD));
    cli.ok_with(&["auth", "use-auth-token"], &format!("{ROOT}\n"));
    cli.ok_with(&["auth", "deactivate", "--enterprise"], "y\n");
    assert!(cli.fails(&["auth", "whoami"]).contains("the auth service is not activated"));
}
