//! What the nouns that Muster shares with pachctl print, word for word, against real replicas: exit code,
//! standard output and standard error of every verb, as pachctl 2.11.6 has them.
//!
//! Where Muster departs on purpose: a verb that does not exist is an error, not a help text; a broken context fails only the commands that need it, so that
//! `config` can mend it; errors name the variable or pointer that is wrong, where pachctl names another one;
//! status codes are the better ones where clients match no text; `last_heartbeat` is RFC 3339.

use expect_test::expect;

use crate::support::authority::code;
use crate::support::cli::Cli;
use crate::support::replicas::Replicas;
use crate::support::transcript::Transcript;

#[test]
#[expect(clippy::too_many_lines, reason = "a transcript")]
fn license_says_what_pachctl_says() {
    let world = Replicas::start(1);
    let cli = Cli::connected(&world.pachd_address(0));
    let mut told = Transcript::new(&cli, &world);
    told.run("license get-state and more")
        .run("license list-clusters")
        .run("license add-cluster --id a --address h:1")
        .run_with("license activate", "no newline")
        .run_with("license activate", "!\n")
        .run_with("license activate", "bnVsbA==\n")
        .run_with("license activate --no-register", &format!("{}\n", code()))
        .run("license list-clusters")
        .run_with("license activate", &format!("{}\n", code()))
        .run_with("license activate", &format!("{}\n", code()))
        .run("license get-state")
        .run("license add-cluster --id a --address grpc://h:1 --secret given")
        .run("license add-cluster --id b --address h")
        .run("license add-cluster --id a --address h")
        .run("license add-cluster --address h")
        .run("license add-cluster --id c")
        .run("license update-cluster --id a --address moved:2 --user-address u:3 --cluster-deployment-id d")
        .run("license update-cluster --id a")
        .run("license update-cluster --id nobody --address h")
        .run("license list-clusters")
        .run("license delete-cluster --id b")
        .run("license delete-cluster --id nobody")
        .run("license delete-all")
        .run("license get-state")
        .run("license list-clusters x")
        .run("license activate --bogus");
    expect![[r#"
        $ license get-state and more
        No Pachyderm Enterprise license is configured
        2| Using enterprise context: test
        $ license list-clusters
        2| Using enterprise context: test
        $ license add-cluster --id a --address h:1
        2| Using enterprise context: test
        2| enterprise license is not valid - NONE
        exit 1
        $ license activate
        2| Enterprise key: could not read enterprise key: EOF
        exit 1
        $ license activate
        2| Enterprise key: Using enterprise context: test
        2| rpc error: code = InvalidArgument desc = error validating activation code: activation code is not base64 encoded
        exit 1
        $ license activate
        2| Enterprise key: Using enterprise context: test
        2| rpc error: code = InvalidArgument desc = error validating activation code: activation code is not valid JSON
        exit 1
        $ license activate --no-register
        2| Enterprise key: Using enterprise context: test
        $ license list-clusters
        2| Using enterprise context: test
        $ license activate
        2| Enterprise key: Using enterprise context: test
        $ license activate
        2| Enterprise key: Using enterprise context: test
        2| could not register pachd with the license service: rpc error: code = Unimplemented desc = cluster ID is not unique
        exit 1
        $ license get-state
        Pachyderm Enterprise token state: ACTIVE
        Expiration: 2099-01-31 22:13:42.101 +0000 UTC
        License: CODE

        2| Using enterprise context: test
        $ license add-cluster --id a --address grpc://h:1 --secret given
        Shared secret: given
        2| Using enterprise context: test
        $ license add-cluster --id b --address h
        Shared secret: SECRET
        2| Using enterprise context: test
        $ license add-cluster --id a --address h
        2| Using enterprise context: test
        2| cluster ID is not unique
        exit 1
        $ license add-cluster --address h
        2| Using enterprise context: test
        2| no id provided for cluster
        exit 1
        $ license add-cluster --id c
        2| Using enterprise context: test
        2| no address provided for cluster
        exit 1
        $ license update-cluster --id a --address moved:2 --user-address u:3 --cluster-deployment-id d
        2| Using enterprise context: test
        $ license update-cluster --id a
        2| Using enterprise context: test
        2| No cluster fields were provided to the UpdateCluster RPC
        exit 1
        $ license update-cluster --id nobody --address h
        2| Using enterprise context: test
        2| no cluster is registered under the id "nobody"
        exit 1
        $ license list-clusters
        id: a
        address: moved:2
        version: unknown
        auth_enabled: false
        last_heartbeat: <nil>
        ---
        id: b
        address: h
        version: unknown
        auth_enabled: false
        last_heartbeat: <nil>
        ---
        id: localhost
        address: grpc://localhost:1653
        version: 2.11.6
        auth_enabled: false
        last_heartbeat: TIME
        ---
        2| Using enterprise context: test
        $ license delete-cluster --id b
        2| Using enterprise context: test
        $ license delete-cluster --id nobody
        2| Using enterprise context: test
        $ license delete-all
        All data deleted from license server.
        (no newline)
        2| Using enterprise context: test
        $ license get-state
        No Pachyderm Enterprise license is configured
        2| Using enterprise context: test
        $ license list-clusters x
        2| expected 0 arguments, got 1
        2| 
        2| Usage: muster license list-clusters [OPTIONS]
        exit 1
        $ license activate --bogus
        2| Error: unknown flag: --bogus
        2| Usage: muster license activate [OPTIONS]
        2| 
        2| unknown flag: --bogus
        exit 1
    "#]].assert_eq(&told.text);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a transcript")]
fn enterprise_says_what_pachctl_says() {
    let world = Replicas::start(1);
    let cli = Cli::connected(&world.pachd_address(0));
    let mut told = Transcript::new(&cli, &world);
    told.run("enterprise get-state")
        .run("enterprise heartbeat")
        .run("enterprise register --id self")
        .run_with("license activate --no-register", &format!("{}\n", code()))
        .run("enterprise register --id self --enterprise-server-address grpc://localhost:1653")
        .run("enterprise register --id self")
        .run("enterprise register")
        .run("enterprise register --id other --enterprise-server-address 1.2.3.4/path")
        .run("enterprise get-state and more")
        .run("enterprise get-state --enterprise")
        .run("enterprise heartbeat")
        .run("enterprise heartbeat --enterprise")
        .run("license delete-cluster --id self")
        .run("enterprise heartbeat")
        .run("enterprise get-state")
        .run("enterprise pause")
        .run("enterprise unpause")
        .run("enterprise pause-status")
        .run("license add-cluster --id pach-1 --address grpc://h:1")
        .run("license update-cluster --id pach-1 --user-address u:3 --cluster-deployment-id given")
        .run("enterprise sync-contexts and more")
        .run("config get context pach-1")
        .run("enterprise deactivate")
        .run("enterprise deactivate")
        .run("enterprise deactivate x")
        .run("enterprise get-state");
    expect![[r#"
        $ enterprise get-state
        No Pachyderm Enterprise token was found
        $ enterprise heartbeat
        2| could not sync with license server: rpc error: code = Unimplemented desc = cluster does not have enterprise features enabled
        exit 1
        $ enterprise register --id self
        2| Using enterprise context: test
        2| could not register pachd with the license service: rpc error: code = FailedPrecondition desc = enterprise license is not valid - NONE
        exit 1
        $ license activate --no-register
        2| Enterprise key: Using enterprise context: test
        $ enterprise register --id self --enterprise-server-address grpc://localhost:1653
        2| Using enterprise context: test
        $ enterprise register --id self
        2| Using enterprise context: test
        2| could not register pachd with the license service: rpc error: code = Unimplemented desc = cluster ID is not unique
        exit 1
        $ enterprise register
        2| Using enterprise context: test
        2| could not register pachd with the license service: rpc error: code = InvalidArgument desc = no id provided for cluster
        exit 1
        $ enterprise register --id other --enterprise-server-address 1.2.3.4/path
        2| Using enterprise context: test
        2| could not register with the license server.: rpc error: code = InvalidArgument desc = could not parse the pachd address: pachd address should not include a path
        exit 1
        $ enterprise get-state and more
        Pachyderm Enterprise token state: ACTIVE
        Expiration: 2099-01-31 22:13:42.101 +0000 UTC
        $ enterprise get-state --enterprise
        Pachyderm Enterprise token state: ACTIVE
        Expiration: 2099-01-31 22:13:42.101 +0000 UTC
        2| Using enterprise context: test
        $ enterprise heartbeat
        $ enterprise heartbeat --enterprise
        2| Using enterprise context: test
        $ license delete-cluster --id self
        2| Using enterprise context: test
        $ enterprise heartbeat
        $ enterprise get-state
        Pachyderm Enterprise token state: HEARTBEAT_FAILED
        Expiration: 1970-01-01 00:00:00 +0000 UTC
        $ enterprise pause
        2| Using enterprise context: test
        2| could not pause cluster: rpc error: code = FailedPrecondition desc = this pachd instance is not in a pausable mode
        exit 1
        $ enterprise unpause
        2| Using enterprise context: test
        2| could not unpause cluster: rpc error: code = FailedPrecondition desc = this pachd instance is not in an unpausable mode
        exit 1
        $ enterprise pause-status
        unpaused
        2| Using enterprise context: test
        $ license add-cluster --id pach-1 --address grpc://h:1
        Shared secret: SECRET
        2| Using enterprise context: test
        $ license update-cluster --id pach-1 --user-address u:3 --cluster-deployment-id given
        2| Using enterprise context: test
        $ enterprise sync-contexts and more
        2| Using enterprise context: test
        $ config get context pach-1
        {
          "source": "IMPORTED",
          "pachd_address": "grpc://u:3",
          "cluster_deployment_id": "given"
        }
        $ enterprise deactivate
        $ enterprise deactivate
        $ enterprise deactivate x
        2| expected 0 arguments, got 1
        2| 
        2| Usage: muster enterprise deactivate [OPTIONS]
        exit 1
        $ enterprise get-state
        No Pachyderm Enterprise token was found
    "#]].assert_eq(&told.text);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a transcript")]
fn config_connect_and_version_say_what_pachctl_says() {
    let world = Replicas::start(1);
    let cli = Cli::new();
    let mut told = Transcript::new(&cli, &world);
    let server = world.pachd_address(0);
    told.run("config get active-context")
        .run("config get active-enterprise-context")
        .run("version --client-only")
        .run("version --client-only --raw")
        .run_with("config set context es", &format!("{{\"pachd_address\": \"{server}\"}}"))
        .run_with("config set context es", "{}")
        .run_with("config set context b", "x")
        .run_with("config set context b", "{\"bogus\": 1}")
        .run_with("config set context b", "{\"pachd_address\": \"ftp://h\"}")
        .run_with("config set context b", "{\"pachd_address\": \"h/\"}")
        .run_with(
            "config set context b",
            "{\"source\": \"IMPORTED\", \"pachdAddress\": \"https://h\"}",
        )
        .run("config get context b")
        .run("config get context nobody")
        .run("config set active-context nobody")
        .run("config set active-enterprise-context nobody")
        .run("config set active-context es")
        .run("config list context")
        .run("config set active-enterprise-context b")
        .run("config list context")
        .run("config get active-enterprise-context")
        .run("config update context --namespace n")
        .run("config update context es --namespace=")
        .run("config update context es --project p --server-cas !!")
        .run("config get context es")
        .run("enterprise get-state")
        .run("config update context es --server-cas= --remove-cluster-deployment-id")
        .run("config update context nobody --namespace n")
        .run("config update context a b")
        .run("config delete context es")
        .run("config delete context nobody")
        .run("config delete context b")
        .run("license list-clusters")
        .run("config get metrics")
        .run("config set metrics maybe")
        .run("config set metrics false")
        .run("config get metrics")
        .run("config set metrics")
        .run("config import-kube es")
        .run(&format!("connect {server} --alias two"))
        .run(&format!("connect {server} --alias two"))
        .run("connect foo://h")
        .run("connect")
        .run("version")
        .run("version --raw")
        .run("version --raw -o yaml")
        .run("version -o json")
        .run("version --timeout abc")
        .run("version --compare")
        .run("version x")
        .run("connect 127.0.0.1:1")
        .run("version --timeout 200ms")
        .run("license get-state --rpc-timeout 200ms");
    expect![[r#"
        $ config get active-context
        default
        $ config get active-enterprise-context
        default
        $ version --client-only
        2.11.6
        $ version --client-only --raw
        {
          "major": 2,
          "minor": 11,
          "micro": 6
        }
        (no newline)
        $ config set context es
        $ config set context es
        2| context 'es' already exists, use `--overwrite` if you wish to replace it
        exit 1
        $ config set context b
        2| malformed context: proto: syntax error (line 1:1): invalid value x
        exit 1
        $ config set context b
        2| malformed context: proto: (line 1:2): unknown field "bogus"
        exit 1
        $ config set context b
        2| unrecognized scheme in pachd address: ftp
        exit 1
        $ config set context b
        2| pachd address should not include a path
        exit 1
        $ config set context b
        $ config get context b
        {
          "source": "IMPORTED",
          "pachd_address": "grpcs://h:30650"
        }
        $ config get context nobody
        2| context does not exist: nobody
        exit 1
        $ config set active-context nobody
        2| context does not exist: nobody
        exit 1
        $ config set active-enterprise-context nobody
        2| context does not exist: nobody
        exit 1
        $ config set active-context es
        $ config list context
        ACTIVE	NAME
        	b
        	default
        *	es
        2| Using enterprise context: es
        $ config set active-enterprise-context b
        $ config list context
        ACTIVE	NAME
        E	b
        	default
        *	es
        $ config get active-enterprise-context
        b
        $ config update context --namespace n
        editing the currently active context "es"
        $ config update context es --namespace=
        $ config update context es --project p --server-cas !!
        $ config get context es
        {
          "pachd_address": "SERVER",
          "server_cas": "!!",
          "cluster_deployment_id": DEPLOYMENT
          "project": "p"
        }
        $ enterprise get-state
        2| must set pachd_address to grpcs://... if server_cas is set
        exit 1
        $ config update context es --server-cas= --remove-cluster-deployment-id
        $ config update context nobody --namespace n
        2| context does not exist: nobody
        exit 1
        $ config update context a b
        2| expected 0 to 1 arguments, got 2
        2| 
        2| Usage: muster config update context [OPTIONS] [NAME]
        exit 1
        $ config delete context es
        2| cannot delete an active context
        exit 1
        $ config delete context nobody
        2| context does not exist: nobody
        exit 1
        $ config delete context b
        $ license list-clusters
        2| pachctl config error: pachctl's active enterprise context is "b", but no context named "b" has been configured.
        2| 
        2| You can fix your config by setting the active context like so: muster config set active-enterprise-context <context>
        exit 1
        $ config get metrics
        true
        $ config set metrics maybe
        2| invalid argument; use either `true` or `false`
        exit 1
        $ config set metrics false
        $ config get metrics
        false
        $ config set metrics
        2| expected 1 arguments, got 0
        2| 
        2| Usage: muster config set metrics [OPTIONS] <VALUE>
        exit 1
        $ config import-kube es
        2| context 'es' already exists, use `--overwrite` if you wish to replace it
        exit 1
        $ connect SERVER --alias two
        New context 'two' created, will connect to Pachyderm at SERVER
        Context 'two' set as active
        $ connect SERVER --alias two
        Context 'two' set as active
        $ connect foo://h
        2| unrecognized scheme in pachd address: foo
        exit 1
        $ connect
        2| expected 1 arguments, got 0
        2| 
        2| Usage: muster connect [OPTIONS] <ADDRESS>
        exit 1
        $ version
        COMPONENT           VERSION             
        pachctl             2.11.6              
        pachd               2.11.6              
        $ version --raw
        {
          "major": 2,
          "minor": 11,
          "micro": 6
        }{
          "major": 2,
          "minor": 11,
          "micro": 6
        }
        (no newline)
        $ version --raw -o yaml
        major: 2
        minor: 11
        micro: 6
        major: 2
        minor: 11
        micro: 6
        $ version -o json
        2| cannot set --output (-o) without --raw
        exit 1
        $ version --timeout abc
        2| could not parse timeout duration "0s": time: invalid duration "abc"
        exit 1
        $ version --compare
        COMPONENT           VERSION             
        pachctl             2.11.6              
        pachd               2.11.6              
        $ version x
        2| expected 0 arguments, got 1
        2| 
        2| Usage: muster version [OPTIONS]
        exit 1
        $ connect 127.0.0.1:1
        New context '127.0.0.1:1' created, will connect to Pachyderm at grpc://127.0.0.1:1
        Context '127.0.0.1:1' set as active
        $ version --timeout 200ms
        COMPONENT           VERSION             
        pachctl             2.11.6              
        2| could not connect to pachd at "grpc://127.0.0.1:1": context deadline exceeded
        exit 1
        $ license get-state --rpc-timeout 200ms
        2| pachctl config error: pachctl's active enterprise context is "b", but no context named "b" has been configured.
        2| 
        2| You can fix your config by setting the active context like so: muster config set active-enterprise-context <context>
        exit 1
    "#]].assert_eq(&told.text);
}
