//! `muster replica …`: the processes of Muster that agree.

use clap::{Args, Subcommand};
use muster_proto::muster::v1::{MemberStatus, ReplicaStatus, Role, TransferLeaderRequest};
use serde_json::{Value, json};

use super::go;
use super::output::{self, Failure};
use super::pachctl::connect::Invocation;
use super::remote::{Format, Remote, refused, status};
use super::table::{or_dash, sheet, span, table};

/// The processes of Muster that agree on one state.
#[derive(Debug, Subcommand)]
pub(super) enum Replica {
    /// List the replicas of the group; contact and lag are known when the leader is asked.
    List(Remote),
    /// Print how one replica stands.
    Status(Remote),
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
        Replica::List(remote) => {
            let (_, answer) = remote.leader(invocation).await?;
            output::data(&match remote.output {
                Format::Table => members_table(&answer),
                Format::Json => format!("{:#}\n", members_json(&answer)),
            })
        }
        Replica::Status(remote) => {
            let server = remote.any(invocation).await?;
            let answer = status(&server).await?;
            output::data(&match remote.output {
                Format::Table => status_sheet(&answer),
                Format::Json => format!("{:#}\n", status_json(&answer)),
            })
        }
        Replica::TransferLeader(command) => command.run(invocation).await,
    }
}

impl TransferLeader {
    async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let server = self.remote.any(invocation).await?;
        let before = status(&server).await?;
        let to = match self.to {
            None => String::new(),
            Some(to) => find(&before, &to)?.id.clone(),
        };
        let answer =
            server.call(server.replica().transfer_leader(TransferLeaderRequest { to })).await;
        let leader = answer
            .map_err(|status| refused(&server, "cannot hand over the leadership of", &status))?
            .leader;
        let name = name_of(&before, &leader);
        output::data(&match self.remote.output {
            Format::Table => format!("{name} leads now\n"),
            Format::Json => format!("{:#}\n", json!({ "leader": { "id": leader, "name": name } })),
        })
    }
}

fn find<'a>(status: &'a ReplicaStatus, wanted: &str) -> Result<&'a MemberStatus, Failure> {
    let found = status.members.iter().find(|member| member.name == wanted || member.id == wanted);
    found.ok_or_else(|| {
        let names: Vec<_> = status.members.iter().map(|member| member.name.as_str()).collect();
        Failure::new(format!("no replica is called {wanted:?}"))
            .hint(format!("one of: {}", names.join(", ")))
    })
}

fn name_of(status: &ReplicaStatus, id: &str) -> String {
    let member = status.members.iter().find(|member| member.id == id);
    or_dash(member.map_or(id, |member| member.name.as_str()))
}

/// `ROLE_LEADER` is `leader`.
fn role_text(role: Role) -> String {
    role.as_str_name().trim_start_matches("ROLE_").to_lowercase()
}

/// What `member` is, as far as the replica that was asked knows.
fn role_of(status: &ReplicaStatus, member: &MemberStatus) -> String {
    let role = match member {
        _ if member.id == status.id => status.role(),
        _ if member.id == status.leader => Role::Leader,
        _ if !member.voter => Role::Observer,
        _ => Role::Follower,
    };
    role_text(role)
}

fn members_table(status: &ReplicaStatus) -> String {
    let rows: Vec<_> = status
        .members
        .iter()
        .map(|member| {
            let lag = member.matched_index.map(|at| status.last_index.saturating_sub(at));
            [
                member.name.clone(),
                role_of(status, member),
                member.id.clone(),
                or_dash(&lag.map(|lag| lag.to_string()).unwrap_or_default()),
                or_dash(&member.last_contact_ms.map(span).unwrap_or_default()),
                member.peer_address.clone(),
            ]
        })
        .collect();
    let voters = status.members.iter().filter(|member| member.voter).count();
    let quorum = voters / 2 + 1;
    let noun = if voters == 1 { "voter" } else { "voters" };
    format!(
        "{}{voters} {noun}, quorum {quorum}, can lose {}\n",
        table(["NAME", "ROLE", "ID", "LAG", "CONTACT", "PEER ADDRESS"], &rows),
        voters.saturating_sub(quorum),
    )
}

fn members_json(status: &ReplicaStatus) -> Value {
    let members = status.members.iter().map(|member| {
        json!({
            "id": member.id,
            "name": member.name,
            "role": role_of(status, member),
            "voter": member.voter,
            "peer_address": member.peer_address,
            "matched_index": member.matched_index,
            "last_contact_ms": member.last_contact_ms,
        })
    });
    json!({
        "group": status.group,
        "term": status.term,
        "leader": status.leader,
        "replicas": members.collect::<Vec<_>>(),
    })
}

fn status_sheet(status: &ReplicaStatus) -> String {
    sheet(&[
        ("name", status.name.clone()),
        ("id", status.id.clone()),
        ("group", status.group.clone()),
        ("role", role_text(status.role())),
        ("leader", name_of(status, &status.leader)),
        ("leader seen", or_dash(&status.leader_seen_ms.map(ago).unwrap_or_default())),
        ("term", status.term.to_string()),
        ("last index", status.last_index.to_string()),
        ("commit index", status.commit_index.to_string()),
        ("applied index", status.applied_index.to_string()),
        ("applied time", or_dash(&applied_time(status))),
        ("log bytes", status.log_bytes.to_string()),
        ("version", status.version.clone()),
        ("quarantined", if status.quarantined { "yes" } else { "no" }.to_owned()),
        ("draining", if status.draining { "yes" } else { "no" }.to_owned()),
    ])
}

fn ago(milliseconds: u64) -> String {
    format!("{} ago", span(milliseconds))
}

fn applied_time(status: &ReplicaStatus) -> String {
    let time = status.applied_time.as_ref();
    time.map_or_else(String::new, |time| go::rfc3339_or_nil(Some(time)))
}

fn status_json(status: &ReplicaStatus) -> Value {
    let mut value = members_json(status);
    let own = json!({
        "id": status.id,
        "name": status.name,
        "role": role_text(status.role()),
        "leader_seen_ms": status.leader_seen_ms,
        "last_index": status.last_index,
        "commit_index": status.commit_index,
        "applied_index": status.applied_index,
        "applied_time": status.applied_time.as_ref().map(|time| go::rfc3339_or_nil(Some(time))),
        "log_bytes": status.log_bytes,
        "version": status.version,
        "draining": status.draining,
        "quarantined": status.quarantined,
    });
    if let (Value::Object(value), Value::Object(own)) = (&mut value, own) {
        value.extend(own);
    }
    value
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use prost_types::Timestamp;

    use super::*;

    fn member(id: u64, matched_index: Option<u64>, voter: bool) -> MemberStatus {
        MemberStatus {
            id: format!("{id:016x}"),
            name: format!("muster-{id}"),
            peer_address: format!("10.0.0.{id}:31659"),
            matched_index,
            last_contact_ms: matched_index.map(|_| 32),
            voter,
        }
    }

    fn leader() -> ReplicaStatus {
        ReplicaStatus {
            id: format!("{:016x}", 1),
            name: "muster-1".to_owned(),
            group: "ab".repeat(16),
            role: Role::Leader.into(),
            leader: format!("{:016x}", 1),
            term: 12,
            commit_index: 100,
            applied_index: 99,
            last_index: 101,
            log_bytes: 4096,
            applied_time: Some(Timestamp { seconds: 1_621_622_256, nanos: 0 }),
            leader_seen_ms: Some(0),
            version: "0.1.0".to_owned(),
            draining: false,
            quarantined: false,
            members: vec![
                member(1, None, true),
                member(2, Some(101), true),
                member(3, Some(90), true),
                member(4, None, false),
            ],
        }
    }

    #[test]
    fn the_group_is_listed_as_the_leader_sees_it() {
        expect![[r#"
            NAME      ROLE      ID                LAG  CONTACT  PEER ADDRESS
            muster-1  leader    0000000000000001  -    -        10.0.0.1:31659
            muster-2  follower  0000000000000002  0    32ms     10.0.0.2:31659
            muster-3  follower  0000000000000003  11   32ms     10.0.0.3:31659
            muster-4  observer  0000000000000004  -    -        10.0.0.4:31659
            3 voters, quorum 2, can lose 1
        "#]]
        .assert_eq(&members_table(&leader()));
    }

    #[test]
    fn a_replica_says_how_it_stands() {
        expect![[r#"
            name:          muster-1
            id:            0000000000000001
            group:         abababababababababababababababab
            role:          leader
            leader:        muster-1
            leader seen:   0ms ago
            term:          12
            last index:    101
            commit index:  100
            applied index: 99
            applied time:  2021-05-21T18:37:36Z
            log bytes:     4096
            version:       0.1.0
            quarantined:   no
            draining:      no
        "#]]
        .assert_eq(&status_sheet(&leader()));
        let value = status_json(&leader());
        assert_eq!(value["replicas"][2]["matched_index"], 90);
        assert_eq!(value["applied_time"], "2021-05-21T18:37:36Z");
    }

    #[test]
    fn a_replica_is_found_by_name_or_id_and_others_are_named() {
        assert_eq!(find(&leader(), "muster-3").unwrap().id, "0000000000000003");
        assert_eq!(find(&leader(), "0000000000000002").unwrap().name, "muster-2");
        assert_eq!(
            find(&leader(), "x").unwrap_err(),
            Failure::new("no replica is called \"x\"")
                .hint("one of: muster-1, muster-2, muster-3, muster-4")
        );
    }
}
