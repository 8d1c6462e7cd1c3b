//! Auth as upstream's own tests assert it: one test for each line of their list that an enterprise
//! server can keep and that `auth.rs` and `auth_access.rs` do not keep already. The names say the lines.

use std::collections::BTreeSet;

use muster::clock::{Clock as _, SystemClock};
use muster_proto::auth_v2::{
    self as auth, ActivateRequest, AuthorizeRequest, DeactivateRequest,
    DeleteExpiredAuthTokensRequest, ExtractAuthTokensRequest, GetConfigurationRequest,
    GetGroupsForPrincipalRequest, GetGroupsRequest, GetPermissionsForPrincipalRequest,
    GetPermissionsRequest, GetPermissionsResponse, GetRobotTokenRequest, GetRoleBindingRequest,
    GetRolesForPermissionRequest, GetUsersRequest, ModifyMembersRequest, OidcConfig, Permission,
    RestoreAuthTokenRequest, RevokeAuthTokensForUserRequest, SetConfigurationRequest,
    SetGroupsForUserRequest, TokenInfo,
};
use muster_proto::license_v2;
use sha2::{Digest as _, Sha256};
use tonic::{Code, Status};

use crate::support::authority::code;
use crate::support::cli::Cli;
use crate::support::client::{Client, timestamp};
use crate::support::secured::{ROOT, bind, cluster, robot, secured, signed, who};
use crate::support::wait;

const BAD: &str = "provided auth token is corrupted or has expired (try logging in again)";
const EXPIRED: &str = "token expiration is in the past";
const OFF: &str = "the auth service is not activated";

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The roles of each principal on the server.
async fn binding(client: &Client, token: &str) -> Vec<(String, Vec<String>)> {
    let request = signed(GetRoleBindingRequest { resource: Some(cluster()) }, token);
    let answer = client.auth.clone().get_role_binding(request).await.unwrap().into_inner();
    let mut rows: Vec<(String, Vec<String>)> = answer
        .binding
        .unwrap()
        .entries
        .into_iter()
        .map(|(name, roles)| (name, roles.roles.into_keys().collect()))
        .collect();
    rows.sort();
    rows
}

async fn is_bound(client: &Client, token: &str, principal: &str) -> bool {
    binding(client, token).await.iter().any(|(name, _)| name == principal)
}

async fn mint(client: &Client, token: &str, robot: &str) -> Result<String, Status> {
    let request = GetRobotTokenRequest { robot: robot.to_owned(), ttl: 0 };
    let answer = client.auth.clone().get_robot_token(signed(request, token)).await?;
    Ok(answer.into_inner().token)
}

async fn extract(client: &Client, token: &str) -> Result<Vec<TokenInfo>, Status> {
    let request = signed(ExtractAuthTokensRequest {}, token);
    Ok(client.auth.clone().extract_auth_tokens(request).await?.into_inner().tokens)
}

async fn restore(client: &Client, token: &str, info: TokenInfo) -> Result<(), Status> {
    let request = signed(RestoreAuthTokenRequest { token: Some(info) }, token);
    client.auth.clone().restore_auth_token(request).await.map(drop)
}

async fn permissions(client: &Client, token: &str) -> GetPermissionsResponse {
    let request = signed(GetPermissionsRequest { resource: Some(cluster()) }, token);
    client.auth.clone().get_permissions(request).await.unwrap().into_inner()
}

async fn groups_of(client: &Client, principal: &str) -> Vec<String> {
    let request = GetGroupsForPrincipalRequest { principal: principal.to_owned() };
    let request = signed(request, ROOT);
    client.auth.clone().get_groups_for_principal(request).await.unwrap().into_inner().groups
}

async fn users_of(client: &Client, group: &str) -> Vec<String> {
    let request = signed(GetUsersRequest { group: group.to_owned() }, ROOT);
    client.auth.clone().get_users(request).await.unwrap().into_inner().usernames
}

async fn deactivate(client: &Client, token: &str) -> Result<(), Status> {
    client.auth.clone().deactivate(signed(DeactivateRequest {}, token)).await.map(drop)
}

fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token))
}

// --- activation and tokens

#[tokio::test]
async fn an_administrator_appears_in_the_binding_and_leaves_it_and_any_robot_may_look() {
    let world = secured(1).await;
    let client = world.client(0);
    let plain = robot(&client, "plain", 0).await;
    bind(&client, ROOT, "robot:admin", &["clusterAdmin"]).await.unwrap();
    let rows = binding(&client, &plain).await;
    assert!(rows.contains(&("robot:admin".to_owned(), names(&["clusterAdmin"]))), "{rows:?}");
    bind(&client, ROOT, "robot:admin", &[]).await.unwrap();
    assert!(!is_bound(&client, &plain, "robot:admin").await);
}

#[tokio::test]
async fn root_stays_root_also_when_there_are_other_administrators() {
    let world = secured(1).await;
    let client = world.client(0);
    bind(&client, ROOT, "robot:admin", &["clusterAdmin"]).await.unwrap();
    let admin = robot(&client, "admin", 0).await;
    let before = binding(&client, ROOT).await;
    for token in [ROOT, &admin] {
        for roles in [&[][..], &["repoReader"]] {
            let refused = bind(&client, token, "pach:root", roles).await.unwrap_err();
            assert!(
                refused.message().contains("cannot modify cluster role bindings"),
                "{refused:?}"
            );
        }
    }
    assert_eq!(binding(&client, ROOT).await, before);
}

#[tokio::test]
async fn a_robot_token_of_600_seconds_ends_within_the_next_600() {
    let world = secured(1).await;
    let client = world.client(0);
    let begun = SystemClock.now().0 / 1_000_000;
    let token = robot(&client, "r", 600).await;
    let ends = who(&client, &token).await.unwrap().expiration.unwrap().seconds;
    let ends = u64::try_from(ends).unwrap();
    let now = SystemClock.now().0 / 1_000_000;
    assert!((begun + 599..=now + 600).contains(&ends), "{begun} {ends} {now}");
}

#[tokio::test]
async fn a_robot_that_is_administrator_mints_tokens_and_turns_auth_off() {
    let world = secured(1).await;
    let client = world.client(0);
    let admin = robot(&client, "admin", 0).await;
    assert_eq!(mint(&client, &admin, "x").await.unwrap_err().code(), Code::PermissionDenied);
    bind(&client, ROOT, "robot:admin", &["clusterAdmin"]).await.unwrap();
    let minted = mint(&client, &admin, "other").await.unwrap();
    assert_eq!(who(&client, &minted).await.unwrap().username, "robot:other");
    deactivate(&client, &admin).await.unwrap();
    assert_eq!(who(&client, &admin).await.unwrap_err().message(), OFF);
}

#[tokio::test]
async fn revoking_all_of_one_robot_spares_another_and_the_extract_shows_it() {
    let world = secured(1).await;
    let client = world.client(0);
    let (one, two) = (robot(&client, "a", 0).await, robot(&client, "a", 0).await);
    let spared = robot(&client, "b", 0).await;
    let hashes = || async {
        let found = extract(&client, ROOT).await.unwrap();
        found.into_iter().map(|info| info.hashed_token).collect::<BTreeSet<_>>()
    };
    assert_eq!(hashes().await, BTreeSet::from([hash(&one), hash(&two), hash(&spared)]));
    let request = RevokeAuthTokensForUserRequest { username: "robot:a".to_owned() };
    client.auth.clone().revoke_auth_tokens_for_user(signed(request, ROOT)).await.unwrap();
    for dead in [&one, &two] {
        assert_eq!(who(&client, dead).await.unwrap_err().message(), BAD);
    }
    who(&client, &spared).await.unwrap();
    assert_eq!(hashes().await, BTreeSet::from([hash(&spared)]));
}

#[tokio::test]
async fn members_are_added_twice_at_once_and_removed_in_one_call_and_both_views_agree() {
    let world = secured(1).await;
    let client = world.client(0);
    let steps: [(&[&str], &[&str], &[&str]); 6] = [
        (&["robot:a"], &[], &["robot:a"]),
        (&["robot:a"], &[], &["robot:a"]),
        (&["robot:b", "robot:c"], &[], &["robot:a", "robot:b", "robot:c"]),
        (&["robot:d"], &["robot:a"], &["robot:b", "robot:c", "robot:d"]),
        (&["robot:b"], &["robot:b"], &["robot:c", "robot:d"]),
        (&[], &[], &["robot:c", "robot:d"]),
    ];
    // A group's name needs no prefix.
    for group in ["group:g", "plain"] {
        for (add, remove, expected) in steps {
            let request = ModifyMembersRequest {
                group: group.to_owned(),
                add: names(add),
                remove: names(remove),
            };
            client.auth.clone().modify_members(signed(request, ROOT)).await.unwrap();
            assert_eq!(users_of(&client, group).await, expected, "{group} +{add:?} -{remove:?}");
            for user in ["robot:a", "robot:b", "robot:c", "robot:d"] {
                let is_in = groups_of(&client, user).await.contains(&group.to_owned());
                assert_eq!(is_in, expected.contains(&user), "{user} in {group}");
            }
        }
    }
}

#[tokio::test]
async fn the_groups_of_a_user_are_set_extended_shrunk_and_emptied() {
    let world = secured(1).await;
    let client = world.client(0);
    for groups in [&["group:a"][..], &["group:a", "group:b"], &["group:b"], &[]] {
        let username = "user:alice@example.com".to_owned();
        let request = SetGroupsForUserRequest { username: username.clone(), groups: names(groups) };
        client.auth.clone().set_groups_for_user(signed(request, ROOT)).await.unwrap();
        assert_eq!(groups_of(&client, &username).await, groups);
        for group in ["group:a", "group:b"] {
            let is_in = users_of(&client, group).await.contains(&username);
            assert_eq!(is_in, groups.contains(&group), "{group}");
        }
    }
}

#[tokio::test]
async fn everybody_sees_the_own_groups_and_root_has_none() {
    let world = secured(1).await;
    let client = world.client(0);
    let token = robot(&client, "r", 0).await;
    let request = ModifyMembersRequest {
        group: "group:g".to_owned(),
        add: names(&["robot:r"]),
        remove: Vec::new(),
    };
    client.auth.clone().modify_members(signed(request, ROOT)).await.unwrap();
    let own = |token: &str| {
        let request = signed(GetGroupsRequest {}, token);
        let mut auth = client.auth.clone();
        async move { auth.get_groups(request).await.unwrap().into_inner().groups }
    };
    assert_eq!(own(&token).await, ["group:g"]);
    assert!(own(ROOT).await.is_empty());
}

#[tokio::test]
async fn deleting_expired_tokens_takes_exactly_those() {
    let world = secured(1).await;
    let client = world.client(0);
    let short = robot(&client, "short", 1).await;
    let long = robot(&client, "long", 3600).await;
    let forever = robot(&client, "forever", 0).await;
    wait::until_ok("the short token to expire", || async {
        match who(&client, &short).await {
            Err(status) if status.message() == EXPIRED => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let request = signed(DeleteExpiredAuthTokensRequest {}, ROOT);
    client.auth.clone().delete_expired_auth_tokens(request).await.unwrap();
    assert_eq!(who(&client, &short).await.unwrap_err().message(), BAD, "it is not there any more");
    who(&client, &long).await.unwrap();
    who(&client, &forever).await.unwrap();
    who(&client, ROOT).await.unwrap();
}

#[tokio::test]
async fn pipelines_go_on_with_an_expired_license_and_robots_do_not() {
    let world = secured(1).await;
    let client = world.client(0);
    let info = TokenInfo {
        subject: "pipeline:default/edges".to_owned(),
        expiration: None,
        hashed_token: hash("a-token-of-a-pipeline"),
    };
    restore(&client, ROOT, info).await.unwrap();
    let plain = robot(&client, "plain", 0).await;
    let request = license_v2::ActivateRequest {
        activation_code: code(),
        expires: Some(timestamp(1_600_000_000)),
    };
    client.license.clone().activate(signed(request, ROOT)).await.unwrap();
    let subject = who(&client, "a-token-of-a-pipeline").await.unwrap().username;
    assert_eq!(subject, "pipeline:default/edges");
    let refused = who(&client, &plain).await.unwrap_err();
    assert!(refused.message().starts_with("Pachyderm Enterprise is not active"), "{refused:?}");
}

// --- permissions

#[tokio::test]
async fn any_caller_with_a_token_may_ask_which_roles_have_a_permission() {
    let world = secured(1).await;
    let client = world.client(0);
    let token = robot(&client, "r", 0).await;
    let request = GetRolesForPermissionRequest { permission: Permission::RepoRead.into() };
    let answer = client.auth.clone().get_roles_for_permission(signed(request, &token)).await;
    let roles: Vec<String> =
        answer.unwrap().into_inner().roles.into_iter().map(|role| role.name).collect();
    let expected = ["clusterAdmin", "projectOwner", "repoOwner", "repoReader", "repoWriter"];
    assert_eq!(roles, expected);
}

#[tokio::test]
async fn the_permissions_of_a_plain_robot_are_those_of_everybody_whoever_asks() {
    let world = secured(1).await;
    let client = world.client(0);
    let token = robot(&client, "r", 0).await;
    assert_eq!(permissions(&client, &token).await.roles, ["projectCreator"]);
    let of_robot = |token: &str| {
        let request = GetPermissionsForPrincipalRequest {
            resource: Some(cluster()),
            principal: "robot:r".to_owned(),
        };
        let request = signed(request, token);
        let mut auth = client.auth.clone();
        async move { auth.get_permissions_for_principal(request).await }
    };
    let answer = of_robot(ROOT).await.unwrap().into_inner();
    assert_eq!(answer, permissions(&client, &token).await);
    let refused = of_robot(&token).await.unwrap_err();
    let text = "robot:r is not authorized to perform this operation - needs permissions";
    assert!(refused.message().starts_with(text), "{refused:?}");
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn an_owner_of_repos_neither_turns_auth_off_nor_deletes_everything() {
    let world = secured(1).await;
    let client = world.client(0);
    bind(&client, ROOT, "robot:owner", &["repoOwner"]).await.unwrap();
    let token = robot(&client, "owner", 0).await;
    let refused = deactivate(&client, &token).await.unwrap_err();
    assert!(refused.message().contains("needs permissions"), "{refused:?}");
    let request = signed(license_v2::DeleteAllRequest {}, &token);
    let refused = client.license.clone().delete_all(request).await.unwrap_err();
    assert!(refused.message().contains("[CLUSTER_DELETE_ALL]"), "{refused:?}");
    let request = signed(muster_proto::identity_v2::DeleteAllRequest {}, &token);
    let refused = client.identity.clone().delete_all(request).await.unwrap_err();
    assert!(refused.message().contains("[CLUSTER_DELETE_ALL]"), "{refused:?}");
    who(&client, ROOT).await.unwrap();
}

#[tokio::test]
async fn the_extract_is_for_administrators_and_has_hash_subject_and_end() {
    let world = secured(1).await;
    let client = world.client(0);
    let forever = robot(&client, "forever", 0).await;
    let ending = robot(&client, "ending", 3600).await;
    let refused = extract(&client, &forever).await.unwrap_err();
    assert!(refused.message().contains("[CLUSTER_AUTH_EXTRACT_TOKENS]"), "{refused:?}");
    let found = extract(&client, ROOT).await.unwrap();
    assert_eq!(found.len(), 2, "robots only: {found:?}");
    let of = |token: &str| found.iter().find(|info| info.hashed_token == hash(token)).unwrap();
    assert_eq!((of(&forever).subject.as_str(), of(&forever).expiration), ("robot:forever", None));
    assert_eq!(of(&ending).subject, "robot:ending");
    assert_eq!(of(&ending).expiration, who(&client, &ending).await.unwrap().expiration);
}

#[tokio::test]
async fn restoring_is_for_administrators_and_keeps_a_future_end() {
    let world = secured(1).await;
    let client = world.client(0);
    let plain = robot(&client, "plain", 0).await;
    let info = |token: &str, ends: Option<i64>| TokenInfo {
        subject: "robot:restored".to_owned(),
        expiration: ends.map(timestamp),
        hashed_token: hash(token),
    };
    let refused = restore(&client, &plain, info("t", None)).await.unwrap_err();
    assert!(refused.message().contains("[CLUSTER_AUTH_RESTORE_TOKEN]"), "{refused:?}");
    restore(&client, ROOT, info("t", None)).await.unwrap();
    assert_eq!(who(&client, "t").await.unwrap().username, "robot:restored");
    restore(&client, ROOT, info("ends", Some(4_000_000_000))).await.unwrap();
    let ends = who(&client, "ends").await.unwrap().expiration.unwrap();
    assert_eq!((ends.seconds, ends.nanos), (4_000_000_000, 0));
    let again = restore(&client, ROOT, info("t", None)).await.unwrap_err();
    let text = "error restoring auth token: cannot overwrite existing token with same hash";
    assert_eq!((again.code(), again.message()), (Code::Unknown, text));
    let past = restore(&client, ROOT, info("past", Some(1_600_000_000))).await.unwrap_err();
    assert_eq!(past.message(), EXPIRED);
}

#[tokio::test]
async fn a_plain_robot_mints_no_tokens() {
    let world = secured(1).await;
    let client = world.client(0);
    let token = robot(&client, "plain", 0).await;
    let refused = mint(&client, &token, "other").await.unwrap_err();
    let text = "needs permissions [CLUSTER_AUTH_GET_ROBOT_TOKEN] on CLUSTER";
    assert!(refused.message().contains(text), "{refused:?}");
}

#[tokio::test]
async fn everybody_can_be_unbound_and_that_holds_for_everybody() {
    let world = secured(1).await;
    let client = world.client(0);
    let token = robot(&client, "r", 0).await;
    assert_eq!(permissions(&client, &token).await.roles, ["projectCreator"]);
    bind(&client, ROOT, "allClusterUsers", &[]).await.unwrap();
    let left = permissions(&client, &token).await;
    assert!(left.roles.is_empty() && left.permissions.is_empty(), "{left:?}");
}

#[tokio::test]
async fn roles_on_the_server_are_given_by_administrators_alone() {
    let world = secured(1).await;
    let client = world.client(0);
    let text = "needs permissions [CLUSTER_MODIFY_BINDINGS] on CLUSTER";
    for role in ["projectOwner", "repoOwner", "licenseAdmin"] {
        let name = format!("robot:{role}");
        bind(&client, ROOT, &name, &[role]).await.unwrap();
        let token = robot(&client, role, 0).await;
        let refused = bind(&client, &token, "robot:x", &["clusterAdmin"]).await.unwrap_err();
        assert!(refused.message().contains(text), "{role} {refused:?}");
    }
    bind(&client, ROOT, "robot:admin", &["clusterAdmin"]).await.unwrap();
    let admin = robot(&client, "admin", 0).await;
    bind(&client, &admin, "robot:x", &["repoReader"]).await.unwrap();
    bind(&client, &admin, "robot:never-bound", &[]).await.unwrap();
    assert!(!is_bound(&client, ROOT, "robot:never-bound").await);
}

#[tokio::test]
async fn not_to_be_authorized_is_a_normal_answer_and_what_everybody_has_counts() {
    let world = secured(1).await;
    let client = world.client(0);
    let token = robot(&client, "r", 0).await;
    let asks = |permissions: &[Permission]| {
        let request = AuthorizeRequest {
            resource: Some(cluster()),
            permissions: permissions.iter().map(|it| i32::from(*it)).collect(),
        };
        let request = signed(request, &token);
        let mut auth = client.auth.clone();
        async move { auth.authorize(request).await.unwrap().into_inner() }
    };
    let create = i32::from(Permission::ProjectCreate);
    let read = i32::from(Permission::RepoRead);
    let answer = asks(&[Permission::ProjectCreate, Permission::RepoRead]).await;
    assert!(!answer.authorized);
    assert_eq!((answer.satisfied, answer.missing), (vec![create], vec![read]));
    assert_eq!(answer.principal, "robot:r");
    bind(&client, ROOT, "allClusterUsers", &["repoReader"]).await.unwrap();
    let answer = asks(&[Permission::RepoRead]).await;
    assert!(answer.authorized, "{answer:?}");
}

#[tokio::test]
async fn a_call_without_a_token_is_told_that_it_has_none() {
    let world = secured(1).await;
    let refused = world.client(0).clusters().await.unwrap_err();
    assert!(refused.message().contains("no authentication token"), "{refused:?}");
    assert_eq!(refused.code(), Code::Unauthenticated);
}

// --- configuration

fn configuration() -> OidcConfig {
    OidcConfig {
        issuer: "http://pachd:1658/".to_owned(),
        client_id: "pachd".to_owned(),
        redirect_uri: "http://pachd:1657/authorization-code/callback".to_owned(),
        localhost_issuer: true,
        ..OidcConfig::default()
    }
}

async fn get(client: &Client, token: &str) -> Result<OidcConfig, Status> {
    let request = signed(GetConfigurationRequest {}, token);
    let answer = client.auth.clone().get_configuration(request).await?;
    Ok(answer.into_inner().configuration.unwrap())
}

async fn set(client: &Client, token: &str, to: Option<OidcConfig>) -> Result<(), Status> {
    let request = signed(SetConfigurationRequest { configuration: to }, token);
    client.auth.clone().set_configuration(request).await.map(drop)
}

#[tokio::test]
async fn a_refused_change_of_the_configuration_changes_nothing() {
    let world = secured(1).await;
    let client = world.client(0);
    set(&client, ROOT, Some(configuration())).await.unwrap();
    let token = robot(&client, "r", 0).await;
    let refused = set(&client, &token, None).await.unwrap_err();
    let text = "needs permissions [CLUSTER_AUTH_SET_CONFIG] on CLUSTER";
    assert!(refused.message().contains(text), "{refused:?}");
    let refused = get(&client, &token).await.unwrap_err();
    let text = "needs permissions [CLUSTER_AUTH_GET_CONFIG] on CLUSTER";
    assert!(refused.message().contains(text), "{refused:?}");
    assert_eq!(get(&client, ROOT).await.unwrap(), configuration());
}

#[tokio::test]
async fn a_configuration_ends_with_auth_and_begins_anew_with_it() {
    let world = secured(1).await;
    let client = world.client(0);
    set(&client, ROOT, Some(configuration())).await.unwrap();
    deactivate(&client, ROOT).await.unwrap();
    for refused in [
        get(&client, ROOT).await.unwrap_err(),
        set(&client, ROOT, Some(configuration())).await.unwrap_err(),
    ] {
        assert!(refused.message().contains("activated"), "{refused:?}");
    }
    let request = ActivateRequest { root_token: ROOT.to_owned() };
    client.auth.clone().activate(request).await.unwrap();
    assert_eq!(get(&client, ROOT).await.unwrap(), OidcConfig::default());
    set(&client, ROOT, Some(configuration())).await.unwrap();
    assert_eq!(get(&client, ROOT).await.unwrap(), configuration());
}

// --- pachctl's words

/// A command line whose session is root's.
fn administrator(address: &str) -> Cli {
    let cli = Cli::connected(address);
    sign_in(&cli, ROOT);
    cli
}

fn sign_in(cli: &Cli, token: &str) {
    cli.ok_with(&["auth", "use-auth-token"], &format!("{token}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pachctl_turns_auth_off_and_on_again() {
    let world = secured(1).await;
    let cli = administrator(&world.pachd_address(0));
    cli.ok_with(&["auth", "deactivate"], "y\n");
    assert!(cli.fails(&["auth", "whoami"]).contains(OFF));
    let activate = ["auth", "activate", "--enterprise", "--only-activate", "--supply-root-token"];
    cli.ok_with(&activate, "another-root-token-of-the-tests\n");
    assert_eq!(cli.ok(&["auth", "whoami"]), "You are \"pach:root\"\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn pachctl_binds_and_unbinds_and_an_administrator_hands_over_and_steps_down() {
    let world = secured(1).await;
    let client = world.client(0);
    let cli = administrator(&world.pachd_address(0));
    let (one, two) = (robot(&client, "one", 0).await, robot(&client, "two", 0).await);
    cli.ok(&["auth", "set", "cluster", "clusterAdmin", "robot:one"]);
    sign_in(&cli, &one);
    cli.ok(&["auth", "set", "cluster", "clusterAdmin", "robot:two"]);
    cli.ok(&["auth", "set", "cluster", "none", "robot:one"]);
    let refused = cli.fails(&["auth", "set", "cluster", "clusterAdmin", "robot:one"]);
    assert!(refused.contains("needs permissions [CLUSTER_MODIFY_BINDINGS]"), "{refused}");
    sign_in(&cli, &two);
    let roles = cli.ok(&["auth", "get", "cluster"]);
    assert!(roles.contains("robot:two: [clusterAdmin]") && !roles.contains("robot:one"), "{roles}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pachctl_shows_own_groups_and_those_of_others() {
    let world = secured(1).await;
    let client = world.client(0);
    let cli = administrator(&world.pachd_address(0));
    let request = SetGroupsForUserRequest {
        username: "robot:r".to_owned(),
        groups: names(&["group:a", "group:b"]),
    };
    client.auth.clone().set_groups_for_user(signed(request, ROOT)).await.unwrap();
    assert_eq!(cli.ok(&["auth", "get-groups"]).trim(), "");
    let shown = cli.ok(&["auth", "get-groups", "robot:r"]);
    assert!(shown.contains("group:a") && shown.contains("group:b"), "{shown}");
    sign_in(&cli, &robot(&client, "r", 0).await);
    assert_eq!(cli.ok(&["auth", "get-groups"]), shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn pachctl_rotates_the_root_token_to_a_drawn_and_to_a_given_one() {
    let world = secured(1).await;
    let client = world.client(0);
    let cli = administrator(&world.pachd_address(0));
    let shown = cli.ok(&["auth", "rotate-root-token"]);
    let drawn = shown.split_whitespace().last().unwrap().to_owned();
    assert_eq!(who(&client, ROOT).await.unwrap_err().message(), BAD);
    assert_eq!(who(&client, &drawn).await.unwrap().username, "pach:root");
    sign_in(&cli, &drawn);
    let given = "a-given-root-token-of-the-tests";
    let rotate = ["auth", "rotate-root-token", "--supply-token", "-"];
    let shown = cli.ok_with(&rotate, &format!("{given}\n"));
    assert!(shown.contains(given), "{shown}");
    assert_eq!(who(&client, given).await.unwrap().username, "pach:root");
    assert_eq!(who(&client, &drawn).await.unwrap_err().message(), BAD);
}

#[tokio::test(flavor = "multi_thread")]
async fn pachctl_tells_how_many_tokens_it_revoked_and_then_none() {
    let world = secured(1).await;
    let client = world.client(0);
    let cli = administrator(&world.pachd_address(0));
    let token = robot(&client, "r", 0).await;
    let revoke = ["auth", "revoke", "--token", &token];
    assert_eq!(cli.ok(&revoke), "1 auth token revoked\n");
    assert_eq!(cli.ok(&revoke), "0 auth tokens revoked\n");
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(robot(&client, "r", 0).await);
    }
    let revoke = ["auth", "revoke", "--user", "robot:r"];
    assert_eq!(cli.ok(&revoke), "3 auth tokens revoked\n");
    assert_eq!(cli.ok(&revoke), "0 auth tokens revoked\n");
    for token in tokens {
        assert_eq!(who(&client, &token).await.unwrap_err().message(), BAD);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pachctl_brings_a_configuration_and_gets_it_back() {
    let world = secured(1).await;
    let client = world.client(0);
    let cli = administrator(&world.pachd_address(0));
    let json =
        r#"{"issuer": "http://pachd:1658/", "client_id": "pachd", "localhost_issuer": true}"#;
    cli.ok_with(&["auth", "set-config"], json);
    let stored = get(&client, ROOT).await.unwrap();
    assert_eq!((stored.issuer.as_str(), stored.localhost_issuer), ("http://pachd:1658/", true));
    let shown = cli.ok(&["auth", "get-config"]);
    set(&client, ROOT, None).await.unwrap();
    cli.ok_with(&["auth", "set-config"], &shown);
    assert_eq!(get(&client, ROOT).await.unwrap(), stored, "{shown}");
}

// --- defects of upstream that are not repeated

#[tokio::test]
async fn a_binding_in_a_transaction_is_refused_and_panics_nowhere() {
    let world = secured(1).await;
    let client = world.client(0);
    let request = auth::ModifyRoleBindingRequest {
        resource: Some(cluster()),
        principal: "robot:r".to_owned(),
        roles: names(&["clusterAdmin"]),
    };
    let mut request = signed(request, ROOT);
    request.metadata_mut().insert("pach-transaction", "1f0c".parse().unwrap());
    let refused = client.auth.clone().modify_role_binding(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert!(!is_bound(&client, ROOT, "robot:r").await);
}

#[tokio::test]
async fn an_address_of_320_characters_is_somebody() {
    let world = secured(1).await;
    let client = world.client(0);
    let user = format!("user:{}@{}", "l".repeat(64), "d".repeat(255));
    assert_eq!(user.len(), 5 + 320);
    bind(&client, ROOT, &user, &["repoReader"]).await.unwrap();
    assert!(is_bound(&client, ROOT, &user).await);
    let request =
        SetGroupsForUserRequest { username: user.clone(), groups: names(&["group:long"]) };
    client.auth.clone().set_groups_for_user(signed(request, ROOT)).await.unwrap();
    assert_eq!(users_of(&client, "group:long").await, [user]);
}

#[tokio::test]
async fn an_empty_token_is_a_bad_one() {
    let world = secured(1).await;
    let mut request = tonic::Request::new(auth::WhoAmIRequest {});
    request.metadata_mut().insert("authn-token", "".parse().unwrap());
    let refused = world.client(0).auth.who_am_i(request).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unauthenticated, BAD));
}

/// The resource types of the wire keep their numbers; a wrong one is refused, never guessed.
#[tokio::test]
async fn an_unknown_kind_of_resource_is_refused() {
    let world = secured(1).await;
    let resource = Some(auth::Resource { r#type: 99, name: String::new() });
    let request = signed(AuthorizeRequest { resource, permissions: vec![1] }, ROOT);
    let refused = world.client(0).auth.authorize(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
}
