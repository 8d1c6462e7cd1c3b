//! An organization as its own license authority: keygen, issue, inspect, activate.

use crate::support::authority::{Authority, FAR};
use crate::support::cli::Cli;
use crate::support::replicas::{Replicas, Setup};

/// A command line with `authority.key` and `authority.pub` in its folder.
fn with_authority() -> Cli {
    let cli = Cli::new();
    cli.ok(&["license", "keygen", "--out", "authority"]);
    assert!(cli.home().join("authority.key").is_file());
    assert!(cli.home().join("authority.pub").is_file());
    cli
}

#[test]
fn a_code_of_the_own_authority_activates_a_server_that_trusts_it() {
    let cli = with_authority();
    let code = cli.ok(&["license", "issue", "--key", "authority.key", "--expires", FAR]);
    let key = cli.home().join("authority.pub");
    let setup = Setup {
        flags: vec![format!("--license-public-key={}", key.display())],
        ..Setup::default()
    };
    let world = Replicas::start_with(1, setup);
    cli.context("es", &world.pachd_address(0));
    cli.ok(&["config", "set", "active-context", "es"]);
    cli.ok(&["config", "set", "active-enterprise-context", "es"]);
    cli.ok_with(&["license", "activate"], &code);
    assert!(cli.ok(&["license", "get-state"]).contains("ACTIVE"));
}

#[test]
fn a_server_that_does_not_trust_the_authority_refuses_its_codes() {
    let cli = with_authority();
    let code = cli.ok(&["license", "issue", "--key", "authority.key", "--expires", FAR]);
    let world = Replicas::start(1);
    cli.context("es", &world.pachd_address(0));
    cli.ok(&["config", "set", "active-context", "es"]);
    cli.ok(&["config", "set", "active-enterprise-context", "es"]);
    let ran = cli.run_with(&["license", "activate"], &code);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("invalid signature in activation code"), "{ran:?}");
}

#[test]
fn a_code_can_be_looked_into() {
    let cli = with_authority();
    let issue =
        ["license", "issue", "--key", "authority.key", "--expires", FAR, "--max-clusters", "7"];
    let code = cli.ok(&issue);
    let inspect = ["license", "inspect", "--license-public-key", "authority.pub"];
    let shown = cli.ok_with(&inspect, &code);
    assert!(shown.contains("2099-01-31"), "{shown}");
    assert!(shown.contains('7'), "{shown}");
}

#[test]
fn what_others_signed_by_the_format_is_understood() {
    let cli = Cli::new();
    std::fs::write(cli.home().join("tests.pub"), Authority::get().public_key()).unwrap();
    let inspect = ["license", "inspect", "--license-public-key", "tests.pub"];
    let shown = cli.ok_with(&inspect, &Authority::get().code(FAR));
    assert!(shown.contains("2099-01-31"), "{shown}");
    let ran = cli.run_with(&inspect, &Authority::stranger().code(FAR));
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("nobody trusted"), "{ran:?}");
}

#[cfg(unix)]
#[test]
fn the_private_key_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let cli = with_authority();
    let mode = std::fs::metadata(cli.home().join("authority.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    let again = cli.run(&["license", "keygen", "--out", "authority"]);
    assert_ne!(again.code, 0, "an existing key is not overwritten");
}
