//! What `auth` prints and asks of servers, word for word as pachctl 2.11.6 has it, against a real replica, and
//! against a stand-in where a cluster with repos, pipelines or an identity provider is needed.
//!
//! Where Muster departs on purpose: a verb that does not exist is an error, not a help text; principals, roles and groups are in order; a server without repos, pipelines or
//! an identity provider has nothing to be told about auth, so that `activate` and `deactivate` end well there; an
//! OIDC client that is taken back is taken back where it was made.

use std::sync::Arc;

use expect_test::expect;
use muster_proto::admin_v2::ClusterInfo;
use muster_proto::auth_v2::{ActivateResponse, SetConfigurationRequest};
use muster_proto::identity_v2::{
    CreateOidcClientResponse, GetIdentityServerConfigResponse, IdentityServerConfig, OidcClient,
};

use crate::support::cli::{Cli, Ran};
use crate::support::pachd::{Answer, Pachd, answers, fails};
use crate::support::replicas::Replicas;
use crate::support::secured::{ROOT, license};
use crate::support::transcript::Transcript;

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a transcript")]
async fn auth_says_what_pachctl_says() {
    let world = Replicas::start(1);
    license(&world.client(0)).await;
    let cli = Cli::connected(&world.pachd_address(0));
    let mut told = Transcript::new(&cli, &world);
    let root = format!("{ROOT}\n");
    told.call(ROOT, "ROOT")
        .run("auth whoami")
        .run("auth get cluster")
        .run("auth get-robot-token r")
        .run("auth login")
        .run_with("auth activate --enterprise --only-activate --supply-root-token", "no newline")
        .run_with("auth activate --enterprise --only-activate --supply-root-token", &root)
        .run_with("auth activate --supply-root-token --only-activate any words", &root)
        .run_with("auth activate --supply-root-token", &root)
        .run("auth whoami and more")
        .run("auth whoami -o xml")
        .run("auth get-config")
        .run("auth get-config -o xml")
        .run("auth set-config -f ")
        .run("auth set-config -f missing")
        .run_with("auth set-config", "")
        .run_with("auth set-config", "issuer: [\n")
        .run_with("auth set-config", "{\"localhost_issuer\": 5}\n")
        .run("auth get cluster")
        .run("auth set cluster repoReader,repoOwner robot:r")
        .run("auth set enterprise licenseAdmin robot:b")
        .run("auth get enterprise")
        .run("auth set enterprise none robot:b")
        .run("auth set cluster nonsense robot:r")
        .run("auth set cluster none pach:root")
        .run("auth get enterprise")
        .run("auth get project default")
        .run("auth set project default projectOwner robot:r")
        .run("auth get repo x")
        .run("auth get repos x --project p")
        .run("auth set repo x repoReader robot:r")
        .run("auth check project default")
        .run("auth check repo x robot:r")
        .run("auth check")
        .run("auth get")
        .run("auth get repo")
        .run("auth set cluster repoReader")
        .run("auth roles-for-permission REPO_READ")
        .run("auth roles-for-permission nope")
        .run("auth roles-for-permission")
        .run("auth get-robot-token")
        .run("auth get-robot-token r --ttl x")
        .run("auth get-robot-token r --ttl 1h")
        .run("auth get-robot-token r")
        .run("auth get-groups")
        .run("auth get-groups robot:r")
        .run("auth get-groups robot:r robot:s")
        .run("auth revoke")
        .run("auth revoke --token a --user b")
        .run("auth revoke --user robot:r")
        .run("auth revoke --user robot:r")
        .run("auth revoke --token nonsense")
        .run_with("auth use-auth-token", "no newline")
        .run("auth use-auth-token x")
        .run_with("auth use-auth-token --enterprise", "nonsense\n")
        .run("auth whoami")
        .run("auth logout whatever it says")
        .run("auth whoami")
        .run_with("auth use-auth-token", &root)
        .run("auth rotate-root-token --supply-token another-root-token-of-the-tests-1234")
        .run("auth whoami")
        .run_with("auth use-auth-token", "another-root-token-of-the-tests-1234\n")
        .run_with("auth deactivate", "no\n")
        .run_with("auth deactivate", "y")
        .run_with("auth deactivate for ever", "yes\n")
        .run("auth bogus");
    expect![[r#"
        $ auth whoami
        2| error: the auth service is not activated
        exit 1
        $ auth get cluster
        2| the auth service is not activated
        exit 1
        $ auth get-robot-token r
        2| the auth service is not activated
        exit 1
        $ auth login
        2| no authentication providers are configured
        exit 1
        $ auth activate --enterprise --only-activate --supply-root-token
        2| Using enterprise context: test
        2| error reading token: EOF
        exit 1
        $ auth activate --enterprise --only-activate --supply-root-token
        WARNING: DO NOT LOSE THE AUTH TOKEN BELOW. STORE IT SECURELY FOR THE LIFE OF THE CLUSTER.THIS TOKEN WILL ALWAYS HAVE ADMIN ACCESS TO FIX THE CLUSTER CONFIGURATION.
        Pachyderm root token:
        ROOT
        2| Using enterprise context: test
        $ auth activate --supply-root-token --only-activate any words
        $ auth activate --supply-root-token
        2| failed to configure identity server issuer: this version of Muster has no identity provider of its own
        exit 1
        $ auth whoami and more
        You are "pach:root"
        $ auth whoami -o xml
        2| error: invalid value 'xml' for '--output <FORMAT>'
        2|   [possible values: json]
        2| 
        2| For more information, try '--help'.
        exit 1
        $ auth get-config
        {}

        $ auth get-config -o xml
        2| unrecognized encoding: "xml" (must be "yaml" or "json")
        exit 1
        $ auth set-config -f 
        2| error: a value is required for '--file <FILE>' but none was supplied
        2| 
        2| For more information, try '--help'.
        exit 1
        $ auth set-config -f missing
        2| could not read config from "missing": open missing: no such file or directory
        exit 1
        $ auth set-config
        2| could not parse config: there is nothing in it
        exit 1
        $ auth set-config
        2| could not parse config: error: line 1 column 9: expected string scalar
        2|  --> <input>:1:9
        2|   |
        2| 1 | issuer: [
        2|   |         ^ expected string scalar
        exit 1
        $ auth set-config
        2| could not parse config: error: line 1 column 22: invalid boolean
        2|  --> <input>:1:22
        2|   |
        2| 1 | {"localhost_issuer": 5}
        2|   |                      ^ invalid boolean
        exit 1
        $ auth get cluster
        allClusterUsers: [projectCreator]
        internal:auth-server: [clusterAdmin]
        pach:root: [clusterAdmin]
        $ auth set cluster repoReader,repoOwner robot:r
        $ auth set enterprise licenseAdmin robot:b
        2| Using enterprise context: test
        $ auth get enterprise
        allClusterUsers: [projectCreator]
        internal:auth-server: [clusterAdmin]
        pach:root: [clusterAdmin]
        robot:b: [licenseAdmin]
        robot:r: [repoOwner repoReader]
        2| Using enterprise context: test
        $ auth set enterprise none robot:b
        2| Using enterprise context: test
        $ auth set cluster nonsense robot:r
        2| unknown role "nonsense"
        exit 1
        $ auth set cluster none pach:root
        2| cannot modify cluster role bindings for pach: users
        exit 1
        $ auth get enterprise
        allClusterUsers: [projectCreator]
        internal:auth-server: [clusterAdmin]
        pach:root: [clusterAdmin]
        robot:r: [repoOwner repoReader]
        2| Using enterprise context: test
        $ auth get project default
        $ auth set project default projectOwner robot:r
        2| no role binding exists for PROJECT default
        exit 1
        $ auth get repo x
        $ auth get repos x --project p
        $ auth set repo x repoReader robot:r
        2| no role binding exists for REPO default/x
        exit 1
        $ auth check project default
        2| cannot get permissions for principal: cannot evaluate role binding: no role binding exists for PROJECT default
        exit 1
        $ auth check repo x robot:r
        2| cannot evaluate role binding: no role binding exists for REPO default/x
        exit 1
        $ auth check
        Print somebody's roles and permissions

        Usage: muster auth check [OPTIONS] <COMMAND>

        Commands:
          project  On a project
          repo     On a repo
          help     Print this message or the help of the given subcommand(s)

        Options:
          -v, --verbose                 Say more about what is done, on standard error
              --rpc-timeout <DURATION>  How long connecting and all calls may take together, such as `10s`
                                        (0: no limit)
              --staleness <DURATION>    Let one replica answer from its own state if that is at most so old,
                                        such as `10s`: reads of the license and the fleet then need no
                                        majority, and say how old the answer may be
          -h, --help                    Print help
        $ auth get
        Print who has which roles

        Usage: muster auth get [OPTIONS] <COMMAND>

        Commands:
          cluster     The active context's cluster
          enterprise  The enterprise server
          project     A project
          repo        A repo
          help        Print this message or the help of the given subcommand(s)

        Options:
          -v, --verbose                 Say more about what is done, on standard error
              --rpc-timeout <DURATION>  How long connecting and all calls may take together, such as `10s`
                                        (0: no limit)
              --staleness <DURATION>    Let one replica answer from its own state if that is at most so old,
                                        such as `10s`: reads of the license and the fleet then need no
                                        majority, and say how old the answer may be
          -h, --help                    Print help
        $ auth get repo
        2| expected 1 arguments, got 0
        2| 
        2| Usage: muster auth get repo [OPTIONS] <REPO>
        exit 1
        $ auth set cluster repoReader
        2| expected 2 arguments, got 1
        2| 
        2| Usage: muster auth set cluster [OPTIONS] <ROLES> <SUBJECT>
        exit 1
        $ auth roles-for-permission REPO_READ
        clusterAdmin
        projectOwner
        repoOwner
        repoReader
        repoWriter
        (no newline)
        $ auth roles-for-permission nope
        2| unknown permission "nope"
        exit 1
        $ auth roles-for-permission
        2| expected 1 arguments, got 0
        2| 
        2| Usage: muster auth roles-for-permission [OPTIONS] <PERMISSION>
        exit 1
        $ auth get-robot-token
        2| expected 1 arguments, got 0
        2| 
        2| Usage: muster auth get-robot-token [OPTIONS] <ROBOT>
        exit 1
        $ auth get-robot-token r --ttl x
        2| could not parse duration "x": time: invalid duration "x"
        exit 1
        $ auth get-robot-token r --ttl 1h
        Token: TOKEN
        $ auth get-robot-token r
        Token: TOKEN
        $ auth get-groups

        $ auth get-groups robot:r

        $ auth get-groups robot:r robot:s
        2| expected 0 to 1 arguments, got 2
        2| 
        2| Usage: muster auth get-groups [OPTIONS] [USER]
        exit 1
        $ auth revoke
        2| one of --token or --user must be set
        exit 1
        $ auth revoke --token a --user b
        2| only one of --token or --user may be set
        exit 1
        $ auth revoke --user robot:r
        2 auth tokens revoked
        $ auth revoke --user robot:r
        0 auth tokens revoked
        $ auth revoke --token nonsense
        0 auth tokens revoked
        $ auth use-auth-token
        Please paste your Pachyderm auth token:
        2| error reading token: EOF
        exit 1
        $ auth use-auth-token x
        2| expected 0 arguments, got 1
        2| 
        2| Usage: muster auth use-auth-token [OPTIONS]
        exit 1
        $ auth use-auth-token --enterprise
        Please paste your Pachyderm auth token:
        $ auth whoami
        2| error: provided auth token is corrupted or has expired (try logging in again)
        exit 1
        $ auth logout whatever it says
        $ auth whoami
        2| error: no authentication token (try logging in)
        exit 1
        $ auth use-auth-token
        Please paste your Pachyderm auth token:
        $ auth rotate-root-token --supply-token another-root-token-of-the-tests-1234
        WARNING: DO NOT LOSE THE AUTH TOKEN BELOW. STORE IT SECURELY FOR THE LIFE OF THE CLUSTER.THIS TOKEN WILL ALWAYS HAVE ADMIN ACCESS TO FIX THE CLUSTER CONFIGURATION.
        Pachyderm auth token:
        another-root-token-of-the-tests-1234
        $ auth whoami
        2| error: provided auth token is corrupted or has expired (try logging in again)
        exit 1
        $ auth use-auth-token
        Please paste your Pachyderm auth token:
        $ auth deactivate
        Are you sure you want to delete ALL auth information (ACLs, tokens, and admins) in this cluster, and expose ALL data? yN
        2| operation aborted
        exit 1
        $ auth deactivate
        Are you sure you want to delete ALL auth information (ACLs, tokens, and admins) in this cluster, and expose ALL data? yN
        2| EOF
        exit 1
        $ auth deactivate for ever
        Are you sure you want to delete ALL auth information (ACLs, tokens, and admins) in this cluster, and expose ALL data? yN
        $ auth bogus
        2| error: unrecognized subcommand 'bogus'
        2| 
        2|   tip: a similar subcommand exists: 'logout'
        2| 
        2| Usage: muster auth [OPTIONS] <COMMAND>
        2| 
        2| For more information, try '--help'.
        exit 1
    "#]].assert_eq(&told.text);
}

/// A pachd that turns auth on and has an identity provider; `others` replace its own answers.
async fn pachd(others: Vec<Answer>) -> Pachd {
    let info = ClusterInfo { warnings_ok: true, ..ClusterInfo::default() };
    let client = OidcClient { secret: "drawn".to_owned(), ..OidcClient::default() };
    let config = IdentityServerConfig { issuer: "http://idp".to_owned(), ..Default::default() };
    let mut all = vec![
        answers("admin_v2.API/InspectCluster", &info),
        answers("auth_v2.API/Activate", &ActivateResponse { pach_token: "root".to_owned() }),
        answers("auth_v2.API/Deactivate", &()),
        answers("auth_v2.API/SetConfiguration", &()),
        answers("pfs_v2.API/ActivateAuth", &()),
        answers("pps_v2.API/ActivateAuth", &()),
        answers("identity_v2.API/SetIdentityServerConfig", &()),
        answers(
            "identity_v2.API/GetIdentityServerConfig",
            &GetIdentityServerConfigResponse { config: Some(config) },
        ),
        answers(
            "identity_v2.API/CreateOIDCClient",
            &CreateOidcClientResponse { client: Some(client) },
        ),
        answers("identity_v2.API/DeleteOIDCClient", &()),
        answers("identity_v2.API/DeleteAll", &()),
    ];
    all.extend(others);
    Pachd::start(all).await
}

/// The commands run beside the stand-in's own thread.
async fn run(cli: &Arc<Cli>, arguments: &'static [&'static str], input: &'static str) -> Ran {
    let cli = Arc::clone(cli);
    tokio::task::spawn_blocking(move || cli.run_with(arguments, input)).await.unwrap()
}

const ACTIVATE: &[&str] = &["auth", "activate"];

#[tokio::test]
async fn a_cluster_that_is_its_own_enterprise_server_is_told_of_auth_step_by_step() {
    let cluster = pachd(Vec::new()).await;
    let cli = Arc::new(Cli::new());
    contexts(&cli, [("own", &cluster)], "own", "own").await;
    let ran = run(&cli, ACTIVATE, "").await;
    assert_eq!((ran.code, ran.out.lines().last()), (0, Some("root")), "{ran:?}");
    assert_eq!(cli.config()["v2"]["contexts"]["own"]["session_token"], "root");
    let sent: SetConfigurationRequest = cluster.message("auth_v2.API/SetConfiguration");
    let sent = sent.configuration.unwrap();
    assert_eq!((sent.issuer.as_str(), sent.localhost_issuer), ("http://pachd:1658/", true));
    assert_eq!((sent.client_id.as_str(), sent.client_secret.as_str()), ("pachd", "drawn"));
    assert_eq!(sent.scopes, ["email", "profile", "groups", "openid"]);
    assert_eq!(sent.redirect_uri, "http://localhost:30657/authorization-code/callback");
    let asked = [
        "admin_v2.API/InspectCluster nobody",
        "auth_v2.API/Activate nobody",
        "pfs_v2.API/ActivateAuth root",
        "pps_v2.API/ActivateAuth root",
        "identity_v2.API/SetIdentityServerConfig root",
        "identity_v2.API/CreateOIDCClient root",
        "auth_v2.API/SetConfiguration root",
    ];
    assert_eq!(cluster.calls(), asked);
    let ran = run(&cli, &["auth", "deactivate"], "y\n").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let asked = [
        "admin_v2.API/InspectCluster root",
        "identity_v2.API/DeleteAll root",
        "auth_v2.API/Deactivate root",
    ];
    assert_eq!(cluster.calls(), asked);
}

#[tokio::test]
async fn a_member_signs_people_in_at_its_enterprise_server() {
    let (server, member) = (pachd(Vec::new()).await, pachd(Vec::new()).await);
    let cli = Arc::new(Cli::new());
    contexts(&cli, [("member", &member), ("es", &server)], "member", "es").await;
    let ran = run(&cli, ACTIVATE, "").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let sent: SetConfigurationRequest = member.message("auth_v2.API/SetConfiguration");
    let sent = sent.configuration.unwrap();
    assert_eq!((sent.issuer.as_str(), sent.localhost_issuer), ("http://idp", false));
    let asked = [
        "admin_v2.API/InspectCluster nobody",
        "auth_v2.API/Activate nobody",
        "pfs_v2.API/ActivateAuth root",
        "pps_v2.API/ActivateAuth root",
        "auth_v2.API/SetConfiguration root",
    ];
    assert_eq!(member.calls(), asked);
    let asked = [
        "admin_v2.API/InspectCluster nobody",
        "identity_v2.API/GetIdentityServerConfig nobody",
        "identity_v2.API/CreateOIDCClient nobody",
    ];
    assert_eq!(server.calls(), asked);
}

#[tokio::test]
async fn a_member_that_cannot_be_set_up_leaves_no_client_at_the_enterprise_server() {
    let member = pachd(vec![fails("auth_v2.API/SetConfiguration", "no room")]).await;
    let server = pachd(Vec::new()).await;
    let cli = Arc::new(Cli::new());
    contexts(&cli, [("member", &member), ("es", &server)], "member", "es").await;
    let ran = run(&cli, ACTIVATE, "").await;
    assert!(ran.err.ends_with("failed to configure OIDC in pachd.: no room\n"), "{ran:?}");
    assert!(server.calls().contains(&"identity_v2.API/DeleteOIDCClient nobody".to_owned()));

    let server = pachd(vec![fails("identity_v2.API/DeleteOIDCClient", "no room")]).await;
    contexts(&cli, [("member", &member), ("es", &server)], "member", "es").await;
    let ran = run(&cli, ACTIVATE, "").await;
    let text = "failed to rollback creation of client with ID: pachd.to retry auth activation, first delete this \
                client with 'pachctl idp delete-client pachd'.: no room: failed to configure OIDC in pachd.: no room\n";
    assert!(ran.err.ends_with(text), "{ran:?}");
}

#[tokio::test]
async fn every_step_of_an_activation_that_fails_is_named() {
    for (method, text) in [
        ("auth_v2.API/Activate", "error activating Pachyderm auth: broken\n"),
        (
            "pfs_v2.API/ActivateAuth",
            "error configuring auth for existing PFS repos - run `pachctl auth activate` again: broken\n",
        ),
        (
            "pps_v2.API/ActivateAuth",
            "error configuring auth for PPS pipelines - run `pachctl auth activate` again: broken\n",
        ),
        (
            "identity_v2.API/SetIdentityServerConfig",
            "failed to configure identity server issuer: broken\n",
        ),
        ("identity_v2.API/CreateOIDCClient", "failed to configure OIDC client ID: broken\n"),
        ("auth_v2.API/SetConfiguration", "failed to configure OIDC in pachd: broken\n"),
    ] {
        let cluster = pachd(vec![fails(method, "broken")]).await;
        let cli = Arc::new(Cli::new());
        contexts(&cli, [("own", &cluster)], "own", "own").await;
        let ran = run(&cli, ACTIVATE, "").await;
        assert_eq!((ran.code, ran.err.as_str()), (1, text), "{method}");
    }
}

/// Contexts that point at stand-ins, two of them as the active ones.
async fn contexts<const N: usize>(
    cli: &Arc<Cli>,
    named: [(&'static str, &Pachd); N],
    active: &'static str,
    enterprise: &'static str,
) {
    let cli = Arc::clone(cli);
    let named = named.map(|(name, pachd)| (name, pachd.address.clone()));
    let set = move || {
        for (name, address) in named {
            cli.context(name, &address);
        }
        cli.ok(&["config", "set", "active-context", active]);
        cli.ok(&["config", "set", "active-enterprise-context", enterprise]);
    };
    tokio::task::spawn_blocking(set).await.unwrap();
}
