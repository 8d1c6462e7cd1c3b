//! Whoever looks after the members of a group, by the command line.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::cli::{Cli, Ran};
use super::replicas::Replicas;
use super::wait;

/// `muster replica …` against every replica, whichever of them runs.
pub(crate) struct Operator {
    cli: Cli,
    addresses: String,
}

impl Operator {
    pub(crate) fn of(world: &Replicas) -> Operator {
        let addresses: Vec<String> = (0..world.len()).map(|at| world.pachd_address(at)).collect();
        Operator { cli: Cli::new(), addresses: addresses.join(",") }
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        self.cli.run(&[&["replica"], words, &["--address", &self.addresses]].concat())
    }

    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let ran = self.run(words);
        assert_eq!(ran.code, 0, "muster replica {words:?}: {ran:?}");
        ran.out
    }

    pub(crate) fn list(&self) -> serde_json::Value {
        let ran = self.run(&["list", "-o", "json"]);
        if ran.out.is_empty() {
            serde_json::Value::Null
        } else {
            serde_json::from_str(&ran.out).unwrap()
        }
    }

    /// The name of whoever leads.
    pub(crate) fn leader(&self) -> Option<String> {
        let list = self.list();
        let leads = |it: &&serde_json::Value| it["id"] == list["leader"];
        let leader = list["replicas"].as_array()?.iter().find(leads)?;
        leader["name"].as_str().map(str::to_owned)
    }

    /// Why a replica does not vote yet.
    pub(crate) fn waits(&self, name: &str) -> Option<String> {
        let list = self.list();
        let found = list["replicas"].as_array()?.iter().find(|it| it["name"] == name)?;
        found["does_not_vote_yet"].as_str().map(str::to_owned)
    }

    /// Waits until exactly these vote and everybody is well.
    pub(crate) fn wait_voters(&self, wanted: &[&str]) {
        wait::until(&format!("{wanted:?} to vote: {}", self.list()), || {
            let list = self.list();
            let replicas = list["replicas"].as_array()?;
            let mut voters: Vec<&str> = replicas
                .iter()
                .filter(|it| it["voter"] == true)
                .filter_map(|it| it["name"].as_str())
                .collect();
            voters.sort_unstable();
            let well = list["health"] == "healthy" && list["change"] == "";
            let well = well && replicas.len() == wanted.len();
            (well && voters == wanted).then_some(())
        });
    }
}

/// Starts a replica with an empty folder that joins through the first one that runs.
pub(crate) fn join(world: &mut Replicas, operator: &Operator, at: usize) {
    let token = operator.ok(&["token"]);
    let file = world.folder().join(format!("join-token-{at}"));
    fs::write(&file, token).unwrap();
    let through = (0..world.len()).find(|other| world.is_running(*other)).unwrap();
    let mut command = joining(world, at, through, &file);
    world.launch_as(at, &mut command);
    world.wait_ready_one(at);
}

pub(crate) fn joining(world: &Replicas, at: usize, through: usize, token: &Path) -> Command {
    let mut command = world.command_alone(at);
    command.args(["--join", &world.pachd_address(through)]);
    command.arg("--join-token-file").arg(token);
    command
}
