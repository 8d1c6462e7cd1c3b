//! `muster recover …`: what is left when a majority of the replicas is lost for good.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use muster_cluster::types::ReplicaId;
use serde_json::json;

use super::confirm;
use super::output::{self, Exit, Failure};
use super::remote::Format;
use super::table::{or_dash, table};
use crate::rescue::{self, Refused, Stopped};

/// What is left when a majority of the replicas is lost for good.
#[derive(Debug, Subcommand)]
pub(super) enum Recover {
    /// Look at the data folders of stopped replicas; with --survivor, let that one go on as the first
    /// replica of a new group. Every other replica is given up: it is refused for ever, and what only
    /// it knew is lost.
    ForceNewGroup(ForceNewGroup),
}

#[derive(Debug, Args)]
pub(super) struct ForceNewGroup {
    /// Data folder of a stopped replica; give all that are left.
    #[arg(long = "data", value_name = "DIR", required = true)]
    folders: Vec<PathBuf>,
    /// Name or id of the replica that goes on; it must have the most of the log among the folders.
    /// Without it nothing is changed.
    #[arg(long, value_name = "REPLICA")]
    survivor: Option<String>,
    /// Id of a replica that is given up, for scripts: once for each of the others in the group. A
    /// person is asked for them instead.
    #[arg(long = "lost", value_name = "ID", requires = "survivor")]
    lost: Vec<String>,
    /// How to print.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

pub(super) fn run(command: Recover) -> Result<(), Failure> {
    match command {
        Recover::ForceNewGroup(command) => command.run(),
    }
}

impl ForceNewGroup {
    fn run(self) -> Result<(), Failure> {
        let all = rescue::look(&self.folders)
            .map_err(|error| refused("cannot look at the data folders", &error))?;
        let seen = match self.output {
            Format::Table => tell(&all),
            Format::Json => format!("{:#}\n", seen_json(&all)),
        };
        let Some(survivor) = &self.survivor else { return output::data(&seen) };
        output::note_raw(&seen);
        let chosen = rescue::choose(all, survivor)
            .map_err(|error| refused("cannot go on with that survivor", &error))?;
        self.confirm(&chosen)?;
        let before = chosen.survey().identity.group;
        let path = chosen.survey().path.clone();
        let identity = rescue::force_new_group(chosen)
            .map_err(|error| refused("cannot begin a new group", &error))?;
        output::data(&match self.output {
            Format::Table => format!(
                "{} is the first replica of group {}, epoch {}; group {before} is given up\n\
                 start it: muster serve --data {} --name {}\n\
                 then: muster restore status, and let the others join with empty data folders\n",
                identity.name,
                identity.group,
                identity.lineage.epoch,
                path.display(),
                identity.name
            ),
            Format::Json => {
                let value = json!({
                    "group": identity.group.to_string(),
                    "epoch": identity.lineage.epoch,
                    "replica": identity.replica.to_string(),
                    "name": identity.name,
                    "given_up": before.to_string(),
                });
                format!("{value:#}\n")
            }
        })
    }

    /// Somebody says which replicas are lost, all of them and no other.
    fn confirm(&self, chosen: &Stopped) -> Result<(), Failure> {
        let others = chosen.others();
        let wanted: BTreeSet<String> = others.keys().map(ReplicaId::to_string).collect();
        let list = wanted.iter().cloned().collect::<Vec<_>>().join(" ");
        if self.lost.is_empty() && !wanted.is_empty() {
            let question = format!(
                "The other replicas of the group are given up for ever. If a majority of them can \
                 still start, stop here. They are: {}",
                told(others)
            );
            let flag = "once --lost ID for each of them";
            return confirm::typed(&question, &list, flag);
        }
        let given: BTreeSet<String> = self.lost.iter().cloned().collect();
        if given == wanted {
            return Ok(());
        }
        let what = "the ids given as lost are not those of the others in the group";
        Err(Failure::new(what).hint(format!("--lost for each of: {list}")).exit(Exit::Usage))
    }
}

pub(super) fn refused(what: &str, error: &Refused) -> Failure {
    let failure = Failure::new(what).because(error);
    if error.is_damage() { failure.exit(Exit::Damaged) } else { failure }
}

fn told(others: &BTreeMap<ReplicaId, String>) -> String {
    let told = others.iter().map(|(id, name)| match name.as_str() {
        "" => id.to_string(),
        name => format!("{id} ({name})"),
    });
    told.collect::<Vec<_>>().join(" ")
}

fn tell(all: &[Stopped]) -> String {
    let rows: Vec<_> = all
        .iter()
        .map(|stopped| {
            let survey = stopped.survey();
            [
                survey.identity.name.clone(),
                survey.identity.replica.to_string(),
                survey.term.to_string(),
                format!("{} of term {}", survey.last.index, survey.last.term),
                survey.commit.to_string(),
                hex::encode(stopped.state().digest()).chars().take(16).collect(),
                survey.path.display().to_string(),
            ]
        })
        .collect();
    let header = ["NAME", "ID", "TERM", "LAST ENTRY", "AGREED", "STATE", "FOLDER"];
    let first = all.first().map(|first| first.survey().identity.name.clone());
    format!("{}the most advanced: {}\n", table(header, &rows), or_dash(&first.unwrap_or_default()))
}

fn seen_json(all: &[Stopped]) -> serde_json::Value {
    let folders = all.iter().map(|stopped| {
        let survey = stopped.survey();
        json!({
            "folder": survey.path.display().to_string(),
            "group": survey.identity.group.to_string(),
            "epoch": survey.identity.lineage.epoch,
            "name": survey.identity.name,
            "replica": survey.identity.replica.to_string(),
            "term": survey.term,
            "last_index": survey.last.index,
            "last_term": survey.last.term,
            "commit_index": survey.commit,
            "state": hex::encode(stopped.state().digest()),
            "others": stopped
                .others()
                .iter()
                .map(|(id, name)| json!({ "replica": id.to_string(), "name": name }))
                .collect::<Vec<_>>(),
        })
    });
    json!({ "most_advanced_first": folders.collect::<Vec<_>>() })
}
