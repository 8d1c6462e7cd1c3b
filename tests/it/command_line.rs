//! The command line against real replicas, as an administrator walks through the set-up.

use crate::support::authority::code;
use crate::support::cli::Cli;
use crate::support::replicas::Replicas;

/// An administrator at one licensed replica, as `muster license activate` leaves it.
fn activated() -> (Replicas, Cli) {
    let world = Replicas::start(1);
    let cli = Cli::connected(&world.pachd_address(0));
    let ran = cli.run_with(&["license", "activate"], &format!("{}\n", code()));
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{ran:?}");
    assert!(ran.err.contains("Enterprise key: "), "{ran:?}");
    (world, cli)
}

#[test]
fn license_activate_registers_the_server_with_itself() {
    let (_world, cli) = activated();
    let state = cli.ok(&["license", "get-state"]);
    let lines: Vec<&str> = state.lines().collect();
    assert_eq!(lines[0], "Pachyderm Enterprise token state: ACTIVE");
    assert_eq!(lines[1], "Expiration: 2099-01-31 22:13:42.101 +0000 UTC");
    assert_eq!(lines[2], format!("License: {}", code()));

    let listed = cli.ok(&["license", "list-clusters"]);
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 6, "{listed}");
    assert_eq!(lines[0], "id: localhost");
    assert_eq!(lines[1], "address: grpc://localhost:1653");
    assert_eq!(lines[3], "auth_enabled: false");
    assert!(lines[4].starts_with("last_heartbeat: ") && !lines[4].contains("nil"), "{listed}");
    assert_eq!(lines[5], "---");

    let standing = cli.ok(&["enterprise", "get-state"]);
    assert!(standing.starts_with("Pachyderm Enterprise token state: ACTIVE\n"), "{standing}");
}

#[test]
fn activating_twice_fails_at_the_registration_and_no_register_renews() {
    let (_world, cli) = activated();
    let ran = cli.run_with(&["license", "activate"], &format!("{}\n", code()));
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains(
            "could not register pachd with the license service: rpc error: code = Unimplemented \
             desc = cluster ID is not unique"
        ),
        "{ran:?}"
    );
    cli.ok_with(&["license", "activate", "--no-register"], &format!("{}\n", code()));
}

#[test]
fn a_wrong_key_is_one_line_and_changes_nothing() {
    let world = Replicas::start(1);
    let cli = Cli::connected(&world.pachd_address(0));
    let ran = cli.run_with(&["license", "activate"], "not a key\n");
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(
        ran.err.contains(
            "rpc error: code = InvalidArgument desc = error validating activation code: \
             activation code is not base64 encoded"
        ),
        "{ran:?}"
    );
    assert_eq!(
        cli.ok(&["license", "get-state"]),
        "No Pachyderm Enterprise license is configured\n"
    );
    assert_eq!(cli.ok(&["enterprise", "get-state"]), "No Pachyderm Enterprise token was found\n");
    assert_eq!(cli.ok(&["license", "list-clusters"]), "");
}

#[test]
fn a_key_without_a_newline_is_refused_before_anything_is_sent() {
    let world = Replicas::start(1);
    let cli = Cli::connected(&world.pachd_address(0));
    let ran = cli.run_with(&["license", "activate"], &code());
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("could not read enterprise key: EOF"), "{ran:?}");
}

#[test]
fn a_cluster_is_added_updated_listed_and_deleted() {
    let (_world, cli) = activated();
    let added = cli.ok(&[
        "license",
        "add-cluster",
        "--id",
        "pach-1",
        "--address",
        "grpc://member:30650",
        "--secret",
        "a-secret",
    ]);
    assert_eq!(added, "Shared secret: a-secret\n");
    let listed = cli.ok(&["license", "list-clusters"]);
    let block = "id: pach-1\naddress: grpc://member:30650\nversion: unknown\nauth_enabled: false\n\
                 last_heartbeat: <nil>\n---\n";
    assert!(listed.ends_with(block), "{listed}");
    let moved = ["license", "update-cluster", "--id", "pach-1", "--address", "grpc://moved:1"];
    assert_eq!(cli.ok(&moved), "");
    assert!(cli.ok(&["license", "list-clusters"]).contains("address: grpc://moved:1\n"));
    assert_eq!(cli.ok(&["license", "delete-cluster", "--id", "pach-1"]), "");
    assert!(!cli.ok(&["license", "list-clusters"]).contains("pach-1"));
    assert_eq!(cli.ok(&["license", "delete-all"]), "All data deleted from license server.");
    assert_eq!(cli.ok(&["license", "list-clusters"]), "");
}

#[test]
fn commands_read_the_contexts_of_the_config_file_and_add_no_key() {
    let world = Replicas::start(1);
    let cli = Cli::connected(&world.pachd_address(0));
    let before = cli.config();
    cli.ok(&["license", "get-state"]);
    assert_eq!(cli.ok(&["config", "get", "active-context"]), "test\n");
    assert_eq!(cli.ok(&["config", "get", "active-enterprise-context"]), "test\n");
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value["v2"].as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys(&before), keys(&cli.config()));
    assert!(
        cli.fails(&["config", "set", "active-context", "no"])
            .contains("context does not exist: no")
    );
}

#[test]
fn the_version_of_client_and_server_stand_in_a_table() {
    let world = Replicas::start(1);
    let cli = Cli::connected(&world.pachd_address(0));
    let table = cli.ok(&["version"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "COMPONENT           VERSION             ");
    assert!(lines[1].starts_with("pachctl "), "{table}");
    assert!(lines[2].starts_with("pachd               2.11.6"), "{table}");
}

#[test]
fn a_server_that_is_not_there_is_an_error_on_stderr() {
    let cli = Cli::connected("grpc://127.0.0.1:1");
    let ran = cli.run(&["license", "list-clusters"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(!ran.err.is_empty());
}

#[test]
fn unknown_flags_and_nouns_are_refused_with_usage() {
    let cli = Cli::new();
    for arguments in [&["fly"][..], &["serve", "--wings"], &["replica", "fly"]] {
        let ran = cli.run(arguments);
        assert_ne!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.out, "", "{ran:?}");
        assert!(ran.err.to_lowercase().contains("usage"), "{ran:?}");
    }
}

#[test]
fn every_command_has_a_help_text() {
    let cli = Cli::new();
    for command in [
        "serve",
        "demo",
        "agent",
        "license",
        "enterprise",
        "config",
        "version",
        "replica",
        "fleet",
        "tls",
        "snapshot",
        "restore",
        "recover",
        "bench",
    ] {
        let help = cli.ok(&[command, "--help"]);
        assert!(help.contains("Usage"), "{command}: {help}");
    }
}

#[test]
fn a_configuration_is_checked_and_everything_wrong_is_told_at_once() {
    let cli = Cli::new();
    let ran = cli.run(&[
        "serve",
        "--check-config",
        "--data",
        "d",
        "--grpc-listen",
        "nowhere",
        "--tick",
        "soon",
        "--compat-version",
        "latest",
    ]);
    assert_eq!(ran.code, 78, "{ran:?}");
    for key in ["grpc-listen", "tick", "compat-version"] {
        assert!(ran.err.contains(key), "{key}: {ran:?}");
    }
    let ran = cli.run(&["serve", "--check-config", "--data", "d", "--insecure"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn a_configuration_is_shown_with_its_origins_and_without_its_secrets() {
    let cli = Cli::new();
    let file = cli.home().join("muster.toml");
    std::fs::write(&file, "tick = \"200ms\"\n").unwrap();
    let shown = cli.ok(&[
        "serve",
        "--print-config",
        "--insecure",
        "--data",
        "d",
        "--config",
        file.to_str().unwrap(),
        "--bootstrap-token",
        "a-token-nobody-may-see",
    ]);
    assert!(shown.contains("200ms"), "{shown}");
    assert!(!shown.contains("a-token-nobody-may-see"), "{shown}");
}

#[test]
fn the_replicas_and_the_fleet_are_listed_and_leadership_moves() {
    let world = Replicas::start(3);
    let cli = Cli::connected(&world.pachd_address(0));
    cli.ok_with(&["license", "activate"], &format!("{}\n", code()));
    let listed = cli.ok(&["replica", "list"]);
    for name in ["r0", "r1", "r2"] {
        assert!(listed.contains(name), "{listed}");
    }
    let status = cli.ok(&["replica", "status"]);
    assert!(status.contains("r0"), "{status}");
    let fleet = cli.ok(&["fleet", "list"]);
    assert!(fleet.contains("localhost"), "{fleet}");
    let described = cli.ok(&["fleet", "describe", "localhost"]);
    assert!(described.contains("grpc://localhost:1653"), "{described}");
    // Any replica knows who leads and asks it.
    let moved = cli.ok(&["replica", "transfer-leader", "--address", &world.pachd_address(1)]);
    assert!(moved.contains("leads now"), "{moved}");
}

#[test]
fn a_snapshot_is_saved_and_inspected() {
    let (_world, cli) = activated();
    let saved = cli.ok(&["snapshot", "save"]);
    assert!(!saved.is_empty());
}
