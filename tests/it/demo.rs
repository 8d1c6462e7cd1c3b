//! The first thing that a stranger runs.

use crate::support::cli::Cli;

#[test]
fn the_demo_kills_its_leader_and_proves_that_nothing_was_lost() {
    let shown = Cli::new().ok(&["demo", "--once"]);
    for row in ["activation", "registration", "failover", "beats", "clusters", "state"] {
        assert!(shown.lines().any(|line| line.starts_with(row)), "{row}:\n{shown}");
    }
    assert!(shown.ends_with("nothing acknowledged was lost\n"), "{shown}");
}
