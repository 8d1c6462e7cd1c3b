//! pachctl's config file through the binary: contexts, environment, and what a fleet adds to them.

use std::fs;
use std::process::{Command, Output};

use crate::support::authority::code;
use crate::support::cli::Cli;
use crate::support::replicas::{Replicas, muster};

/// A command in the sandbox of `cli` with variables of its own.
fn with(cli: &Cli, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    muster()
        .args(arguments)
        .env("HOME", cli.home())
        .envs(variables.iter().copied())
        .current_dir(cli.home())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_context_is_stored_shown_changed_and_removed() {
    let cli = Cli::new();
    cli.context("pach", "pach.example.com");
    assert_eq!(
        cli.ok(&["config", "get", "context", "pach"]),
        "{\n  \"pachd_address\": \"grpc://pach.example.com:30650\"\n}\n"
    );
    let update = ["config", "update", "context", "pach", "--pachd-address", "grpcs://pach:443"];
    assert_eq!(cli.ok(&update), "");
    cli.ok(&["config", "update", "context", "pach", "--project", "blue"]);
    assert_eq!(
        cli.config()["v2"]["contexts"]["pach"],
        serde_json::json!({"pachd_address": "grpcs://pach:443", "project": "blue"})
    );
    cli.ok(&["config", "update", "context", "pach", "--project", ""]);
    assert_eq!(cli.config()["v2"]["contexts"]["pach"]["project"], serde_json::Value::Null);
    cli.ok(&["config", "set", "active-context", "pach"]);
    assert!(
        cli.fails(&["config", "delete", "context", "pach"])
            .starts_with("cannot delete an active context\n")
    );
    cli.ok(&["config", "set", "active-context", "default"]);
    cli.ok(&["config", "delete", "context", "pach"]);
    assert!(
        cli.fails(&["config", "get", "context", "pach"])
            .starts_with("context does not exist: pach\n")
    );
}

#[test]
fn a_context_is_replaced_only_when_told_to_and_then_whole() {
    let cli = Cli::new();
    let old = r#"{"pachd_address": "a", "session_token": "t", "enterprise_server": true}"#;
    cli.ok_with(&["config", "set", "context", "c"], old);
    let again = cli.run_with(&["config", "set", "context", "c"], "{}");
    assert_eq!(again.code, 1);
    assert_eq!(
        again.err,
        "context 'c' already exists, use `--overwrite` if you wish to replace it\n"
    );
    cli.ok_with(&["config", "set", "context", "c", "--overwrite"], r#"{"pachd_address": "b"}"#);
    cli.ok(&["config", "get", "context", "c"]);
    let context = &cli.config()["v2"]["contexts"]["c"];
    assert_eq!(context.as_object().unwrap().len(), 1, "{context}");
    let bogus = cli.run_with(&["config", "set", "context", "d"], r#"{"bogus": 1}"#);
    assert_eq!(bogus.err, "malformed context: proto: (line 1:2): unknown field \"bogus\"\n");
}

#[test]
fn what_other_programs_keep_in_the_file_survives_every_change() {
    let cli = Cli::new();
    let file = r#"{
  "user_id": "e0afa0450b2fbb5d845455f712d7800b",
  "v2": {
    "active_context": "a",
    "active_enterprise_context": "a",
    "contexts": {
      "a": {
        "source": 3,
        "pachd_address": "grpc://a:1",
        "session_token": null,
        "colour": "blue"
      },
      "b": {}
    },
    "metrics": true,
    "max_shell_completions": 64
  }
}
"#;
    fs::create_dir(cli.home().join(".pachyderm")).unwrap();
    fs::write(cli.config_file(), file).unwrap();
    cli.ok(&["config", "set", "active-context", "b"]);
    cli.ok(&["config", "set", "active-context", "a"]);
    cli.ok(&["config", "set", "metrics", "true"]);
    assert_eq!(cli.ok(&["config", "list", "context"]), "ACTIVE\tNAME\nE*\ta\n\tb\n");
    assert_eq!(fs::read_to_string(cli.config_file()).unwrap(), file);
}

#[test]
fn variables_choose_the_file_and_the_context() {
    let cli = Cli::new();
    cli.context("a", "a:1");
    let get = ["config", "get", "active-context"];
    let chosen = with(&cli, &[("PACH_CONTEXT", "a")], &get);
    assert_eq!(text(&chosen.stdout), "a\n");
    let dangling = with(&cli, &[("PACH_CONTEXT", "nope")], &get);
    assert_eq!(dangling.status.code(), Some(1));
    assert_eq!(
        text(&dangling.stderr),
        "pachctl config error: `PACH_CONTEXT` refers to a context (\"nope\") that does not exist\n"
    );
    let elsewhere = cli.home().join("elsewhere.json");
    let elsewhere = elsewhere.to_str().unwrap();
    let fresh = with(&cli, &[("PACH_CONFIG", elsewhere)], &get);
    assert_eq!(text(&fresh.stdout), "default\n");
    assert!(!fs::exists(elsewhere).unwrap(), "reading makes no file");
}

#[test]
fn the_environments_address_wins_over_every_context() {
    let world = Replicas::start(1);
    let cli = Cli::connected("grpc://127.0.0.1:1");
    let address = world.pachd_address(0);
    let listed = with(
        &cli,
        &[("PACHD_ADDRESS", address.as_str())],
        &["license", "get-state", "--rpc-timeout", "60s"],
    );
    assert_eq!(text(&listed.stdout), "No Pachyderm Enterprise license is configured\n");
    let limited = cli.run(&["license", "get-state", "--rpc-timeout", "1ms"]);
    assert_eq!(
        limited.err,
        "could not connect: could not connect to pachd at \"grpc://127.0.0.1:1\": context \
         deadline exceeded\n"
    );
}

#[test]
fn the_first_connection_learns_which_deployment_a_context_is() {
    let world = Replicas::start_with(
        1,
        crate::support::replicas::Setup {
            env: vec![("CLUSTER_DEPLOYMENT_ID".to_owned(), "dep-1".to_owned())],
            ..Default::default()
        },
    );
    let cli = Cli::connected(&world.pachd_address(0));
    cli.ok(&["license", "get-state"]);
    assert_eq!(cli.config()["v2"]["contexts"]["test"]["cluster_deployment_id"], "dep-1");
}

#[test]
fn the_fleet_becomes_contexts_but_the_server_itself_does_not() {
    let world = Replicas::start(1);
    let cli = Cli::connected(&world.pachd_address(0));
    cli.ok_with(&["license", "activate"], &format!("{}\n", code()));
    let add = ["license", "add-cluster", "--id", "pach-1", "--address", "grpc://inside:30650"];
    cli.ok(&add);
    let update = |deployment: &str, address: &str| {
        cli.ok(&[
            "license",
            "update-cluster",
            "--id",
            "pach-1",
            "--user-address",
            address,
            "--cluster-deployment-id",
            deployment,
        ]);
        assert_eq!(cli.ok(&["enterprise", "sync-contexts"]), "");
        cli.config()["v2"]["contexts"].clone()
    };
    let contexts = update("dep-1", "grpc://outside:30650");
    assert_eq!(
        contexts["pach-1"],
        serde_json::json!({
            "source": 3,
            "pachd_address": "grpc://outside:30650",
            "cluster_deployment_id": "dep-1",
        })
    );
    assert!(contexts.get("localhost").is_none(), "{contexts}");
    let contexts = update("dep-2", "grpc://moved:30650");
    assert_eq!(contexts["pach-1"]["pachd_address"], "grpc://moved:30650");
    assert_eq!(contexts["pach-1"]["cluster_deployment_id"], "dep-2");
}

#[test]
fn failures_of_pachctls_nouns_end_with_one_and_of_our_own_with_two() {
    let cli = Cli::new();
    for arguments in [
        &["license", "fly"][..],
        &["license", "list-clusters", "--wings"],
        &["config", "set", "context"],
        &["enterprise", "deactivate", "surplus"],
        &["version", "-o", "json"],
    ] {
        assert_eq!(cli.run(arguments).code, 1, "{arguments:?}");
    }
    for arguments in [&["fly"][..], &["fleet", "fly"], &["replica", "list", "--wings"]] {
        assert_eq!(cli.run(arguments).code, 2, "{arguments:?}");
    }
}

#[test]
fn bash_completes_the_commands() {
    let cli = Cli::new();
    let script = cli.ok(&["completion", "bash"]);
    let file = cli.home().join("completion");
    fs::write(&file, script).unwrap();
    let completed = Command::new("bash")
        .args(["--norc", "-c"])
        .arg(
            "source ./completion; COMP_WORDS=(muster license add); COMP_CWORD=2; \
             _muster muster add license; echo \"${COMPREPLY[@]}\"",
        )
        .current_dir(cli.home())
        .output()
        .unwrap();
    assert_eq!(text(&completed.stdout), "add-cluster\n", "{completed:?}");
}

#[test]
fn connect_makes_a_context_once_and_makes_it_the_active_one() {
    let cli = Cli::new();
    assert_eq!(
        cli.ok(&["connect", "127.0.0.1"]),
        "New context '127.0.0.1' created, will connect to Pachyderm at grpc://127.0.0.1:30650\n\
         Context '127.0.0.1' set as active\n"
    );
    assert_eq!(
        cli.ok(&["connect", "grpcs://es:1650", "--alias", "es"]),
        "New context 'es' created, will connect to Pachyderm at grpcs://es:1650\n\
         Context 'es' set as active\n"
    );
    assert_eq!(cli.ok(&["connect", "127.0.0.1"]), "Context '127.0.0.1' set as active\n");
    assert_eq!(cli.ok(&["config", "get", "active-context"]), "127.0.0.1\n");
    let ran = cli.run(&["connect", "ftp://x"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("unrecognized scheme in pachd address: ftp"), "{ran:?}");
}

#[test]
fn a_context_can_be_made_from_a_kubernetes_context() {
    let cli = Cli::new();
    let missing = cli.run(&["config", "import-kube", "k", "-k", "prod"]);
    assert_eq!(missing.code, 1);
    assert!(missing.err.contains("kubernetes context does not exist: prod"), "{missing:?}");

    let folder = cli.home().join(".kube");
    fs::create_dir_all(&folder).unwrap();
    let kube = "current-context: dev\ncontexts:\n- name: dev\n  context: {cluster: c, user: u, namespace: n}\n";
    fs::write(folder.join("config"), kube).unwrap();
    assert_eq!(cli.ok(&["config", "import-kube", "k"]), "");
    assert_eq!(cli.ok(&["config", "get", "active-context"]), "k\n");
    let shown = cli.ok(&["config", "get", "context", "k"]);
    for line in [
        "\"source\": \"IMPORTED\"",
        "\"cluster_name\": \"c\"",
        "\"auth_info\": \"u\"",
        "\"namespace\": \"n\"",
    ] {
        assert!(shown.contains(line), "no {line} in {shown}");
    }
    let again = cli.run(&["config", "import-kube", "k"]);
    assert!(again.err.contains("context 'k' already exists, use `--overwrite`"), "{again:?}");
    cli.ok(&["config", "import-kube", "e", "-e", "-n", "other"]);
    assert_eq!(cli.ok(&["config", "get", "active-enterprise-context"]), "e\n");
    assert_eq!(cli.ok(&["config", "get", "active-context"]), "k\n");
    let shown = cli.ok(&["config", "get", "context", "e"]);
    assert!(shown.contains("\"enterprise_server\": true"), "{shown}");
    assert!(shown.contains("\"namespace\": \"other\""), "{shown}");
}
