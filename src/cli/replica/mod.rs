//! `muster replica …`: the processes of Muster that agree.

mod health;
mod members;
mod show;

use clap::{Args, Subcommand};
use muster_proto::muster::v1::{GroupStatus, GroupStatusRequest, Report, TransferLeaderRequest};
use serde_json::json;

use self::health::{Health, judge};
use super::output::{self, Exit, Failure};
use super::pachctl::connect::{Invocation, Server};
use super::remote::{Format, Remote, refused};

/// The processes of Muster that agree on one state.
#[derive(Debug, Subcommand)]
pub(super) enum Replica {
    /// List the replicas of the group. Every one is asked, and one that does not answer is told as
    /// such. Ends with 0 when the group is healthy, 7 when it is degraded, 8 when it is down.
    List(Remote),
    /// Print how the group and every replica of it stands; ends as `list` does.
    Status(Remote),
    /// Make a token and print how to start a replica that joins with it.
    Add(members::Add),
    /// Make a token that lets one replica join, and print only it.
    Token(members::Token),
    /// Make an observer a voter, without waiting for the group to do it by itself.
    Promote(members::Promote),
    /// Remove a replica from the group for ever; its id never comes back.
    Remove(members::Remove),
    /// Have an observer take the place of a voter.
    Replace(members::Replace),
    /// Give up the change of the members that is under way and does not come to its end.
    Abandon(members::Abandon),
    /// Say what the group does by itself.
    Configure(members::Configure),
    /// Hand leadership to another replica; any replica can be asked.
    TransferLeader(TransferLeader),
}

#[derive(Debug, Args)]
pub(super) struct TransferLeader {
    /// Name or id of the replica that shall lead; the one that is furthest along if not given.
    #[arg(long, value_name = "REPLICA")]
    to: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

pub(super) async fn run(command: Replica, invocation: &Invocation) -> Result<(), Failure> {
    match command {
        Replica::List(remote) => look(&remote, invocation, show::members_table).await,
        Replica::Status(remote) => look(&remote, invocation, show::status_sheets).await,
        Replica::Add(command) => command.run(invocation).await,
        Replica::Token(command) => command.run(invocation).await,
        Replica::Promote(command) => command.run(invocation).await,
        Replica::Remove(command) => command.run(invocation).await,
        Replica::Replace(command) => command.run(invocation).await,
        Replica::Abandon(command) => command.run(invocation).await,
        Replica::Configure(command) => command.run(invocation).await,
        Replica::TransferLeader(command) => command.run(invocation).await,
    }
}

/// What the replica that was asked, and everybody whom it asked in turn, say.
async fn group(server: &Server) -> Result<GroupStatus, Failure> {
    let answer = server.call(server.replica().group(GroupStatusRequest {})).await;
    answer.map_err(|status| refused(server, "cannot get the status of the group of", &status))
}

/// Prints the group, and ends with what it is.
async fn look(
    remote: &Remote,
    invocation: &Invocation,
    table: fn(&GroupStatus) -> String,
) -> Result<(), Failure> {
    let server = remote.any(invocation).await.map_err(|failure| failure.exit(Exit::Down))?;
    let group = group(&server).await?;
    output::data(&match remote.output {
        Format::Table => table(&group),
        Format::Json => format!("{:#}\n", show::group_json(&group)),
    })?;
    let judgement = judge(&group);
    let exit = match judgement.health {
        Health::Healthy => return Ok(()),
        Health::Degraded => Exit::Degraded,
        Health::Down => Exit::Down,
    };
    let what = format!("the group is {}", judgement.health.word());
    Err(judgement.problems.into_iter().fold(Failure::new(what).exit(exit), Failure::cause))
}

impl TransferLeader {
    async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let server = self.remote.any(invocation).await?;
        let before = group(&server).await?;
        let to = match self.to {
            None => String::new(),
            Some(to) => find(&before, &to)?.id.clone(),
        };
        let answer =
            server.call(server.replica().transfer_leader(TransferLeaderRequest { to })).await;
        let leader = answer
            .map_err(|status| refused(&server, "cannot hand over the leadership of", &status))?
            .leader;
        let name = show::name_of(&before, &leader);
        output::data(&match self.remote.output {
            Format::Table => format!("{name} leads now\n"),
            Format::Json => format!("{:#}\n", json!({ "leader": { "id": leader, "name": name } })),
        })
    }
}

fn find<'a>(group: &'a GroupStatus, wanted: &str) -> Result<&'a Report, Failure> {
    let found = group.replicas.iter().filter(|it| it.name == wanted || it.id == wanted);
    // A name is there twice while a replica that was wiped takes its own place.
    match found.collect::<Vec<_>>().as_slice() {
        [one] => Ok(one),
        [] => {
            let names: Vec<_> = group.replicas.iter().map(|it| it.name.as_str()).collect();
            Err(Failure::new(format!("no replica is called {wanted:?}"))
                .hint(format!("one of: {}", names.join(", "))))
        }
        several => {
            let ids: Vec<_> = several.iter().map(|it| it.id.as_str()).collect();
            Err(Failure::new(format!("several replicas are called {wanted:?}"))
                .hint(format!("an id: {}", ids.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::health::tests::{group, report};
    use super::*;

    #[test]
    fn a_replica_is_found_by_name_or_id_and_others_are_named() {
        let mut second = report("b", Some("a"));
        second.id = "0b".to_owned();
        let all = group(vec![report("a", Some("a")), second.clone()]);
        assert_eq!(find(&all, "b").unwrap().id, "0b");
        assert_eq!(find(&all, "0b").unwrap().name, "b");
        assert_eq!(
            find(&all, "x").unwrap_err(),
            Failure::new("no replica is called \"x\"").hint("one of: a, b")
        );
        let twice = group(vec![report("b", Some("a")), second]);
        assert_eq!(
            find(&twice, "b").unwrap_err(),
            Failure::new("several replicas are called \"b\"").hint("an id: b, 0b")
        );
    }
}
