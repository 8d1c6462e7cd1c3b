use expect_test::{Expect, expect};
use muster_proto::muster::log::v1::{
    Caller, Command, Internal, Record, StartLogin, caller::Who, command::Kind, record,
};

use super::super::{LogTime, State, secret};
use super::World;
use super::auth_words::ON;

/// A script on a server with auth on.
fn check(script: &str, expected: &Expect) {
    let mut world = World::default();
    for line in ON.lines().map(str::trim).filter(|line| !line.is_empty()) {
        world.tell(line);
    }
    let mut told = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        told.push_str(&world.tell(line));
        told.push('\n');
    }
    expected.assert_eq(&told);
    let again = State::from_records(world.state.records()).unwrap();
    assert_eq!(again.digest(), world.state.digest());
}

#[test]
fn auth_is_turned_on_once_by_a_server_whose_gate_is_open() {
    super::check(
        "auth-on root
         activate code=a expires=100
         auth-on root
         add localhost grpc://localhost:1653 es secret=s
         activate-self localhost/s
         who as=root
         auth-on root
         who as=root
         binding
         auth-on other
         at=101 auth-on other
         who as=root
         who as=other
         who",
        &expect![[r#"
            no: AUTH_NEEDS_ENTERPRISE
            activated until=100
            no: AUTH_NEEDS_ENTERPRISE
            done
            done
            no: AUTH_NOT_ACTIVATED
            done
            pach:root until=0
            Some({"allClusterUsers": [projectCreator], "internal:auth-server": [clusterAdmin], "pach:root": [clusterAdmin]})
            no: AUTH_ALREADY_ACTIVATED
            no: AUTH_ALREADY_ACTIVATED
            pach:root until=0
            no: TOKEN_UNKNOWN
            no: TOKEN_ABSENT
        "#]],
    );
}

#[test]
fn turning_auth_off_forgets_everything() {
    check(
        "robot r token=t1 as=root
         groups robot:r g as=root
         login-start l as=internal
         auth-config issuer=i client=c as=root
         auth-off as=t1
         auth-off as=root
         who as=root
         login l
         add c1 grpc://c1:1650 secret=s
         auth-off as=root
         auth-on again
         who as=t1
         groups-of robot:r",
        &expect![[r#"
            token of robot:r until=0
            done
            done
            done
            no: NOT_AUTHORIZED robot:r needs CLUSTER_AUTH_DEACTIVATE on CLUSTER ""
            done
            no: AUTH_NOT_ACTIVATED
            no: LOGIN_UNKNOWN
            done
            no: AUTH_NOT_ACTIVATED
            done
            no: TOKEN_UNKNOWN
            []
        "#]],
    );
}

#[test]
fn a_robot_token_lives_as_long_as_asked() {
    check(
        "at=10 robot a token=t1 ttl=5 as=root
         robot robot:a token=t2 as=root
         at=15 who as=t1
         at=16 who as=t1
         who as=t2
         robots
         robot a token=t2 as=root
         purge as=root
         who as=t1
         robots",
        &expect![[r#"
            token of robot:a until=15
            token of robot:a until=0
            robot:a until=15
            no: TOKEN_EXPIRED
            robot:a until=0
            robot:a 15000000, robot:a 0
            no: TOKEN_TAKEN
            removed 1
            no: TOKEN_UNKNOWN
            robot:a 0
        "#]],
    );
}

#[test]
fn a_robot_has_a_name_without_colons_and_a_life_that_is_not_negative() {
    check(
        "robot robot: token=t as=root
         robot a:b token=t as=root
         robot robot:robot:a token=t as=root
         robot a token=t ttl=-1 as=root
         robot a token=t",
        &expect![[r#"
            no: ROBOT_NAME_EMPTY
            no: ROBOT_NAME_HAS_COLON
            no: ROBOT_NAME_HAS_COLON
            no: TTL_NEGATIVE
            no: TOKEN_ABSENT
        "#]],
    );
}

#[test]
fn a_revoked_token_is_dead_from_its_entry_on() {
    check(
        "robot a token=t1 as=root
         robot a token=t2 as=root
         robot b token=t3 as=root
         revoke t3 as=t1
         revoke t3 as=t1
         who as=t3
         revoke t1 as=t1
         add c grpc://c:1650 secret=s as=t1
         revoke-of robot:a as=root
         revoke-of robot:a as=root
         revoke-of pach:root as=root
         revoke-of user:x as=t2
         who as=t2",
        &expect![[r#"
            token of robot:a until=0
            token of robot:a until=0
            token of robot:b until=0
            removed 1
            removed 0
            no: TOKEN_UNKNOWN
            removed 1
            no: TOKEN_UNKNOWN
            removed 1
            removed 0
            no: SUBJECT_FIXED pach:root
            no: TOKEN_UNKNOWN
            no: TOKEN_UNKNOWN
        "#]],
    );
}

#[test]
fn purging_takes_the_oldest_first_and_as_many_as_asked() {
    check(
        "robot a token=t1 ttl=1 as=root
         robot a token=t2 ttl=2 as=root
         robot a token=t3 ttl=3 as=root
         robot a token=t4 as=root
         at=3 purge max=1 as=root
         purge as=internal
         robots
         purge as=t4",
        &expect![[r#"
            token of robot:a until=1
            token of robot:a until=2
            token of robot:a until=3
            token of robot:a until=0
            removed 1 and more
            removed 1
            robot:a 3000000, robot:a 0
            no: NOT_AUTHORIZED robot:a needs CLUSTER_AUTH_DELETE_EXPIRED_TOKENS on CLUSTER ""
        "#]],
    );
}

#[test]
fn a_restored_token_ends_when_it_always_would_have() {
    check(
        "at=50 restore robot:a token=t1 expires=60 as=root
         restore robot:a token=t1 expires=70 as=root
         restore robot:a token=t2 expires=50 as=root
         restore alice token=t2 as=root
         restore user:alice token=t2 as=root
         at=60 who as=t1
         at=61 who as=t1
         who as=t2
         restore robot:b token=root as=root",
        &expect![[r#"
            done
            no: TOKEN_TAKEN
            no: TOKEN_EXPIRY_PAST
            no: PRINCIPAL_WITHOUT_PREFIX alice
            done
            robot:a until=60
            no: TOKEN_EXPIRED
            user:alice until=0
            no: TOKEN_TAKEN
        "#]],
    );
}

#[test]
fn rotating_the_root_token_ends_all_others_of_root() {
    check(
        "restore pach:root token=second as=root
         robot a token=t1 as=root
         rotate t1 as=root
         rotate new as=root
         who as=root
         who as=second
         who as=new
         rotate new as=new
         rotate x as=t1",
        &expect![[r#"
            done
            token of robot:a until=0
            no: TOKEN_TAKEN
            done
            no: TOKEN_UNKNOWN
            no: TOKEN_UNKNOWN
            pach:root until=0
            done
            no: NOT_AUTHORIZED robot:a needs CLUSTER_AUTH_ROTATE_ROOT_TOKEN on CLUSTER ""
        "#]],
    );
}

#[test]
fn a_role_permits_from_the_entry_that_binds_it() {
    check(
        "robot a token=t1 as=root
         add c1 grpc://c1:1650 secret=s as=t1
         bind robot:a licenseAdmin robotUser robotUser as=root
         add c1 grpc://c1:1650 secret=s as=t1
         binding
         bind robot:a repoReader as=t1
         bind robot:a as=root
         bind robot:a as=root
         delete c1 as=t1
         delete c1 as=root",
        &expect![[r#"
            token of robot:a until=0
            no: NOT_AUTHORIZED robot:a needs CLUSTER_LICENSE_ADD_CLUSTER on CLUSTER ""
            done
            done
            Some({"allClusterUsers": [projectCreator], "internal:auth-server": [clusterAdmin], "pach:root": [clusterAdmin], "robot:a": [licenseAdmin, robotUser]})
            no: NOT_AUTHORIZED robot:a needs CLUSTER_MODIFY_BINDINGS on CLUSTER ""
            done
            done
            no: NOT_AUTHORIZED robot:a needs CLUSTER_LICENSE_DELETE_CLUSTER on CLUSTER ""
            done
        "#]],
    );
}

#[test]
fn a_binding_is_checked_in_order() {
    check(
        "robot a token=t1 as=root
         bind alice nobody
         bind alice nobody as=t1
         bind x:alice nobody as=t1
         bind pach:root nobody as=t1
         bind internal:auth-server as=root
         bind user:a nobody type=3 as=root
         bind user:a nobody type=0 as=root
         bind user:a nobody as=t1
         bind user:a nobody as=root
         bind user:a clusterAdmin project=p as=root
         bind user:a projectOwner project=p as=root
         bind user:a projectOwner project=p as=t1
         bind user:a repoOwner repo=p as=root
         bind allClusterUsers repoReader as=root
         bind allClusterUsers as=root
         binding",
        &expect![[r#"
            token of robot:a until=0
            no: TOKEN_ABSENT
            no: PRINCIPAL_WITHOUT_PREFIX alice
            no: PRINCIPAL_PREFIX_UNKNOWN x:
            no: PRINCIPAL_FIXED pach:
            no: PRINCIPAL_FIXED internal:
            no: RESOURCE_TYPE_UNKNOWN on SPEC_REPO ""
            no: RESOURCE_TYPE_UNKNOWN
            no: NOT_AUTHORIZED robot:a needs CLUSTER_MODIFY_BINDINGS on CLUSTER ""
            no: ROLE_UNKNOWN nobody
            no: ROLE_NOT_BINDABLE clusterAdmin on PROJECT ""
            no: ROLE_BINDING_ABSENT on PROJECT "p"
            no: ROLE_BINDING_ABSENT on PROJECT "p"
            no: RESOURCE_NAME_INVALID
            done
            done
            Some({"internal:auth-server": [clusterAdmin], "pach:root": [clusterAdmin]})
        "#]],
    );
}

#[test]
fn permissions_come_from_cluster_project_and_repo() {
    check(
        "create project=p as=root
         create project=p as=internal
         create repo=p/r as=internal
         bind user:a projectWriter project=p as=root
         bind user:a repoReader repo=p/r as=root
         bind user:b projectOwner project=p as=root
         bind user:c repoWriter as=root
         may user:a REPO_READ REPO_WRITE PROJECT_CREATE_REPO repo=p/r
         may user:b REPO_WRITE repo=p/r
         may user:c REPO_WRITE repo=p/other
         may user:c REPO_DELETE repo=p/other
         may user:x REPO_READ CLUSTER_DEBUG_DUMP spec=p/r
         may user:x REPO_READ spec=p/other
         may user:x REPO_READ repo=pr
         may user:x
         may user:x PROJECT_CREATE
         may pach:root REPO_READ CLUSTER_DEBUG_DUMP repo=p/r
         holdings user:a repo=p/r
         holdings user:b repo=p/r
         holdings user:c
         holdings user:x repo=p/other
         holdings pach:root
         roles-for REPO_WRITE",
        &expect![[r#"
            no: INTERNAL_ONLY
            done
            done
            done
            done
            done
            done
            yes [RepoRead, ProjectCreateRepo] no [RepoWrite]
            yes [RepoWrite] no []
            yes [RepoWrite] no []
            no: ROLE_BINDING_ABSENT on REPO "p/other"
            yes [RepoRead] no [ClusterDebugDump]
            yes [RepoRead] no []
            no: RESOURCE_NAME_INVALID
            yes [] no []
            yes [ProjectCreate] no []
            yes [ClusterDebugDump, RepoRead] no []
            [repoReader] with 9 permissions
            [projectOwner] with 21 permissions
            [projectCreator] with 1 permissions
            no: ROLE_BINDING_ABSENT on REPO "p/other"
            [clusterAdmin, projectCreator] with 71 permissions
            [clusterAdmin, projectOwner, repoOwner, repoWriter]
        "#]],
    );
}

#[test]
fn groups_carry_roles_and_never_leak_between_names() {
    check(
        "robot a token=t1 as=root
         bind group:ops debugger as=root
         groups robot:a group:ops plain as=root
         need CLUSTER_DEBUG_DUMP as=t1
         members group:ops add=user:b,user:c remove=user:c as=root
         members-of group:ops
         groups-of user:b
         groups-of user:c
         groups-of robot:a
         groups user:d plain as=root
         members-of plain
         groups robot:a as=root
         need CLUSTER_DEBUG_DUMP as=t1
         members-of nobody
         everybody
         groups alice x as=root
         members g add=user:a,bob as=root
         groups user:a x as=t1",
        &expect![[r#"
            token of robot:a until=0
            done
            done
            Named("robot:a")
            done
            ["robot:a", "user:b"]
            ["group:ops"]
            []
            ["group:ops", "plain"]
            done
            ["robot:a", "user:d"]
            done
            no: NOT_AUTHORIZED robot:a needs CLUSTER_DEBUG_DUMP on CLUSTER ""
            []
            ["robot:a", "user:b", "user:c", "user:d"]
            no: PRINCIPAL_WITHOUT_PREFIX alice
            no: PRINCIPAL_WITHOUT_PREFIX bob
            no: NOT_AUTHORIZED robot:a needs CLUSTER_AUTH_MODIFY_GROUP_MEMBERS on CLUSTER ""
        "#]],
    );
}

#[test]
fn a_login_replaces_the_groups_of_claims_and_leaves_those_by_hand() {
    check(
        "groups user:a by-hand both as=root
         user user:a token=t1 claim=group:one,both as=internal
         groups-of user:a
         user user:a token=t2 as=internal
         groups-of user:a
         user user:a token=t3 claim= as=internal
         groups-of user:a
         who as=t3
         user user: token=t4 as=internal
         user robot:a token=t4 as=internal
         user user:a token=t4 as=root",
        &expect![[r#"
            done
            token of user:a until=1000
            ["both", "by-hand", "group:one"]
            token of user:a until=1000
            ["both", "by-hand", "group:one"]
            token of user:a until=1000
            ["both", "by-hand"]
            user:a until=1000
            no: PRINCIPAL_PREFIX_UNKNOWN user:
            no: PRINCIPAL_PREFIX_UNKNOWN robot:a
            no: INTERNAL_ONLY
        "#]],
    );
}

#[test]
fn of_a_nonce_only_the_digest_is_kept_even_if_an_older_version_wrote_it_down() {
    let mut world = World::default();
    let start = StartLogin {
        login_digest: super::token_digest("state-1"),
        nonce: "planted-nonce".to_owned(),
        ttl_seconds: 180,
        ..StartLogin::default()
    };
    let caller = Caller { who: Some(Who::Internal(Internal::AuthServer.into())) };
    let command =
        Command { caller: Some(caller), kind: Some(Kind::StartLogin(start)), ..Command::default() };
    world.state.apply(&command, 100, LogTime(1_000_000));
    let records: Vec<Record> = world.state.records().collect();
    let bytes: Vec<u8> = records.iter().flat_map(prost::Message::encode_to_vec).collect();
    assert!(!bytes.windows(13).any(|part| part == b"planted-nonce"));
    let digest = secret::token_digest("state-1");
    let again = State::from_records(records.clone()).unwrap();
    for state in [&world.state, &again] {
        let login = state.auth().logins().find(&digest, LogTime(1_000_000)).unwrap();
        assert_eq!(login.nonce, secret::nonce_digest("planted-nonce"));
    }

    // A snapshot of an older version.
    let older = records.into_iter().map(|mut record| {
        if let Some(record::Kind::Logins(logins)) = &mut record.kind {
            let login = &mut logins.logins[0];
            login.nonce_digest.clear();
            login.nonce = "planted-nonce".to_owned();
        }
        record
    });
    let again = State::from_records(older).unwrap();
    assert_eq!(again.digest(), world.state.digest());
}

#[test]
fn a_login_is_found_by_its_whole_state_and_gives_one_token() {
    check(
        "login-start state-1 as=internal
         login-start state-1 as=internal
         login state
         login state-1
         user user:a token=t1 login=state-1 as=internal
         login-finish state-1 user:a claim=group:g as=internal
         login-finish state-1 user:mallory as=internal
         login state-1
         user user:b token=t1 login=state-1 as=internal
         user user:a token=t1 login=state-1 as=internal
         groups-of user:a
         user user:a token=t2 login=state-1 as=internal
         login-start state-2 as=internal
         login-finish state-2 as=internal
         login state-2
         user user:a token=t2 login=state-2 as=internal
         at=180 login-start state-3 as=internal
         at=360 login state-3
         at=361 login state-3
         login-finish state-3 user:a as=internal
         login-start state-4",
        &expect![[r#"
            done
            no: TOKEN_TAKEN
            no: LOGIN_UNKNOWN
            Started
            no: LOGIN_UNFINISHED
            done
            done
            signed in user:a
            no: LOGIN_FAILED
            token of user:a until=1000
            ["group:g"]
            no: LOGIN_UNKNOWN
            done
            done
            Failed
            no: LOGIN_FAILED
            done
            Started
            no: LOGIN_UNKNOWN
            no: LOGIN_UNKNOWN
            no: INTERNAL_ONLY
        "#]],
    );
}

#[test]
fn an_expired_license_refuses_a_login_and_keeps_it_for_who_becomes_administrator() {
    check(
        "at=900 login-start state-1 as=internal
         login-finish state-1 user:a as=internal
         at=1001 user user:a token=t1 login=state-1 as=internal
         login state-1
         bind user:a clusterAdmin as=root
         user user:a token=t1 login=state-1 as=internal
         who as=t1",
        &expect![[r#"
            done
            done
            no: GATE_CLOSED user:a
            signed in user:a
            done
            token of user:a until=2001
            user:a until=2001
        "#]],
    );
}

#[test]
fn logins_that_are_over_go_with_a_command_and_never_the_others() {
    check(
        "login-start early as=internal
         at=100 login-start late as=internal
         at=180 login-sweep as=internal
         logins
         at=181 login-sweep as=internal
         logins
         login late
         login early
         login-sweep",
        &expect![[r#"
            done
            done
            done
            2 logins
            done
            1 logins
            Started
            no: LOGIN_UNKNOWN
            no: INTERNAL_ONLY
        "#]],
    );
}

#[test]
fn a_closed_gate_is_open_to_administrators_by_name_only() {
    check(
        "robot admin token=t1 as=root
         robot member token=t2 as=root
         robot plain token=t3 as=root
         bind robot:admin clusterAdmin as=root
         bind group:admins clusterAdmin as=root
         groups robot:member group:admins as=root
         at=1001 who as=root
         who as=t1
         who as=t2
         who as=t3
         user user:a token=t4 as=internal
         beat localhost/s version=1
         activate code=b expires=2000 as=root
         who as=t3
         deactivate-self as=root
         who as=t3",
        &expect![[r#"
            token of robot:admin until=0
            token of robot:member until=0
            token of robot:plain until=0
            done
            done
            done
            pach:root until=0
            robot:admin until=0
            no: GATE_CLOSED robot:member
            no: GATE_CLOSED robot:plain
            no: GATE_CLOSED user:a
            RECORDED license=Some("a")
            activated until=2000
            robot:plain until=0
            done
            no: GATE_CLOSED robot:plain
        "#]],
    );
}

#[test]
fn a_named_request_is_judged_before_its_answer_is_repeated() {
    check(
        "robot a token=t1 as=root
         bind robot:a licenseAdmin as=root
         add c1 grpc://c1:1650 secret=s request=r as=t1
         add c1 grpc://c1:1650 secret=s request=r as=t1
         bind robot:a as=root
         add c1 grpc://c1:1650 secret=s request=r as=t1
         robot b token=t2 request=q as=root
         robot b token=t3 request=q as=root
         who as=t3",
        &expect![[r#"
            token of robot:a until=0
            done
            done
            done
            done
            no: NOT_AUTHORIZED robot:a needs CLUSTER_LICENSE_ADD_CLUSTER on CLUSTER ""
            token of robot:b until=0
            token of robot:b until=0
            robot:b until=0
        "#]],
    );
}
