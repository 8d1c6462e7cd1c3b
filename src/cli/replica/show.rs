//! A group on paper: a table for people, JSON for programs.

use muster_proto::muster::v1::{GroupStatus, MemberStatus, ReplicaStatus, Report, Role};
use serde_json::{Value, json};

use super::health::{Judgement, judge};
use crate::cli::go;
use crate::cli::table::{or_dash, sheet, span, table};

/// `ROLE_LEADER` is `leader`.
fn role_text(role: Role) -> String {
    role.as_str_name().trim_start_matches("ROLE_").to_lowercase()
}

fn role_of(report: &Report) -> String {
    match &report.status {
        Some(status) if report.voter => role_text(status.role()),
        None if report.voter => "voter".to_owned(),
        _ => role_text(Role::Observer),
    }
}

fn state_of(report: &Report) -> &'static str {
    match &report.status {
        None => "SILENT",
        Some(status) if status.draining => "ending",
        Some(_) => "ok",
    }
}

/// What the leader knows of that member.
fn seen_by_leader<'a>(
    group: &'a GroupStatus,
    judgement: &Judgement,
    id: &str,
) -> Option<(&'a ReplicaStatus, &'a MemberStatus)> {
    let leader = judgement.leader.as_deref()?;
    let leader = group.replicas.iter().find(|report| report.id == leader)?.status.as_ref()?;
    Some((leader, leader.members.iter().find(|member| member.id == id)?))
}

/// Why an observer does not vote yet, as the leader sees it.
fn waits<'a>(group: &'a GroupStatus, judgement: &Judgement, report: &Report) -> Option<&'a str> {
    let (_, member) = seen_by_leader(group, judgement, &report.id)?;
    Some(member.waits.as_str()).filter(|waits| !waits.is_empty())
}

pub(super) fn members_table(group: &GroupStatus) -> String {
    let judgement = judge(group);
    let rows: Vec<_> = group
        .replicas
        .iter()
        .map(|report| {
            let seen = seen_by_leader(group, &judgement, &report.id);
            let lag = seen.and_then(|(leader, member)| {
                Some(leader.last_index.saturating_sub(member.matched_index?).to_string())
            });
            let contact = seen.and_then(|(_, member)| member.last_contact_ms).map(span);
            let status = report.status.as_ref();
            [
                report.name.clone(),
                role_of(report),
                state_of(report).to_owned(),
                report.id.clone(),
                or_dash(&status.map(|status| status.term.to_string()).unwrap_or_default()),
                or_dash(&status.map(|status| status.applied_index.to_string()).unwrap_or_default()),
                or_dash(&lag.unwrap_or_default()),
                or_dash(&contact.unwrap_or_default()),
                or_dash(&status.map(|status| status.version.clone()).unwrap_or_default()),
                or_dash(&report.zone),
                report.peer_address.clone(),
            ]
        })
        .collect();
    let header = [
        "NAME",
        "ROLE",
        "STATE",
        "ID",
        "TERM",
        "APPLIED",
        "LAG",
        "CONTACT",
        "VERSION",
        "ZONE",
        "PEER ADDRESS",
    ];
    format!("{}{}", table(header, &rows), footer(group, &judgement))
}

fn footer(group: &GroupStatus, judgement: &Judgement) -> String {
    let noun = if judgement.voters == 1 { "voter" } else { "voters" };
    let mut text = format!(
        "{} of {} {noun} answer, quorum {}, can lose {}: {}\n",
        judgement.answering,
        judgement.voters,
        judgement.quorum(),
        judgement.can_lose(),
        judgement.health.word(),
    );
    for problem in &judgement.problems {
        text.extend(["  ", problem, "\n"]);
    }
    for report in &group.replicas {
        if let Some(waits) = waits(group, judgement, report) {
            text.extend(["  ", &report.name, " does not vote yet: ", waits, "\n"]);
        }
    }
    if !group.change.is_empty() {
        text.extend(["under way: ", &group.change, "\n"]);
    }
    text
}

pub(super) fn group_json(group: &GroupStatus) -> Value {
    let judgement = judge(group);
    let replicas = group.replicas.iter().map(|report| {
        let seen = seen_by_leader(group, &judgement, &report.id).map(|(_, member)| member);
        json!({
            "id": report.id,
            "name": report.name,
            "role": role_of(report),
            "state": state_of(report).to_lowercase(),
            "voter": report.voter,
            "zone": report.zone,
            "peer_address": report.peer_address,
            "matched_index": seen.and_then(|member| member.matched_index),
            "last_contact_ms": seen.and_then(|member| member.last_contact_ms),
            "silence": report.silence,
            "does_not_vote_yet": waits(group, &judgement, report),
            "status": report.status.as_ref().map(status_json),
        })
    });
    json!({
        "group": group.group,
        "health": judgement.health.word(),
        "problems": judgement.problems,
        "leader": judgement.leader,
        "voters": judgement.voters,
        "quorum": judgement.quorum(),
        "can_lose": judgement.can_lose(),
        "change": group.change,
        "change_id": group.change_id,
        "change_half_done": group.change_half_done,
        "removed": group.removed,
        "target_voters": group.target_voters,
        "dead_after_seconds": group.dead_after_seconds,
        "replicas": replicas.collect::<Vec<_>>(),
    })
}

fn status_json(status: &ReplicaStatus) -> Value {
    json!({
        "role": role_text(status.role()),
        "leader": status.leader,
        "leader_seen_ms": status.leader_seen_ms,
        "term": status.term,
        "last_index": status.last_index,
        "commit_index": status.commit_index,
        "applied_index": status.applied_index,
        "applied_time": status.applied_time.as_ref().map(|time| go::rfc3339_or_nil(Some(time))),
        "log_bytes": status.log_bytes,
        "version": status.version,
        "draining": status.draining,
        "quarantined": status.quarantined,
    })
}

/// The group in a few lines, then every replica in its own.
pub(super) fn status_sheets(group: &GroupStatus) -> String {
    let judgement = judge(group);
    let leader = judgement.leader.as_deref().unwrap_or_default();
    let dead_after = group.dead_after_seconds;
    let mut text = sheet(&[
        ("group", group.group.clone()),
        ("leader", or_dash(&name_of(group, leader))),
        ("removed for ever", group.removed.to_string()),
        (
            "dead voters",
            match dead_after {
                0 => "stay until somebody removes them".to_owned(),
                _ => format!("give way after {}", span(dead_after.saturating_mul(1000))),
            },
        ),
    ]);
    for report in &group.replicas {
        text.push('\n');
        text.push_str(&replica_sheet(group, &judgement, report));
    }
    text.push('\n');
    text.push_str(&footer(group, &judgement));
    text
}

fn replica_sheet(group: &GroupStatus, judgement: &Judgement, report: &Report) -> String {
    let mut lines = vec![
        ("name", report.name.clone()),
        ("id", report.id.clone()),
        ("role", role_of(report)),
        ("state", state_of(report).to_owned()),
        ("peer address", report.peer_address.clone()),
    ];
    if let Some(waits) = waits(group, judgement, report) {
        lines.push(("no vote yet", waits.to_owned()));
    }
    match &report.status {
        None => lines.push(("silence", report.silence.clone())),
        Some(status) => {
            let seen = status.leader_seen_ms.map(|ms| format!("{} ago", span(ms)));
            let time = status.applied_time.as_ref();
            lines.extend([
                ("leader", or_dash(&name_of(group, &status.leader))),
                ("leader seen", or_dash(&seen.unwrap_or_default())),
                ("term", status.term.to_string()),
                ("last index", status.last_index.to_string()),
                ("commit index", status.commit_index.to_string()),
                ("applied index", status.applied_index.to_string()),
                (
                    "applied time",
                    or_dash(&time.map(|time| go::rfc3339_or_nil(Some(time))).unwrap_or_default()),
                ),
                ("log bytes", status.log_bytes.to_string()),
                ("version", status.version.clone()),
                ("quarantined", if status.quarantined { "yes" } else { "no" }.to_owned()),
                ("draining", if status.draining { "yes" } else { "no" }.to_owned()),
            ]);
        }
    }
    sheet(&lines)
}

pub(super) fn name_of(group: &GroupStatus, id: &str) -> String {
    let report = group.replicas.iter().find(|report| report.id == id);
    report.map_or(id, |report| report.name.as_str()).to_owned()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::health::tests::{group, report};
    use super::*;

    fn three() -> GroupStatus {
        let mut leader = report("a", Some("a"));
        let member = |id: &str| MemberStatus {
            id: id.to_owned(),
            matched_index: Some(19_990),
            last_contact_ms: Some(32),
            ..MemberStatus::default()
        };
        let waits = "its disk is low: make room on it".to_owned();
        leader.status.as_mut().unwrap().members =
            vec![member("b"), MemberStatus { waits, ..member("d") }];
        let mut observer = report("d", Some("a"));
        observer.voter = false;
        group(vec![leader, report("b", Some("a")), report("c", None), observer])
    }

    #[test]
    fn everybody_is_listed_and_who_does_not_answer_is_told() {
        expect![[r#"
            NAME  ROLE      STATE   ID  TERM  APPLIED  LAG  CONTACT  VERSION  ZONE  PEER ADDRESS
            a     leader    ok      a   3     20000    -    -        0.1.0    -     a:31659
            b     follower  ok      b   3     20000    11   32ms     0.1.0    -     b:31659
            c     voter     SILENT  c   -     -        -    -        -        -     c:31659
            d     observer  ok      d   3     20000    11   32ms     0.1.0    -     d:31659
            2 of 3 voters answer, quorum 2, can lose 0: degraded
              c does not answer: no connection
              d does not vote yet: its disk is low: make room on it
        "#]]
        .assert_eq(&members_table(&three()));
    }

    #[test]
    fn every_replica_says_how_it_stands() {
        expect![[r#"
            group:            abababababababababababababababab
            leader:           a
            removed for ever: 0
            dead voters:      stay until somebody removes them

            name:          a
            id:            a
            role:          leader
            state:         ok
            peer address:  a:31659
            leader:        a
            leader seen:   4s ago
            term:          3
            last index:    20001
            commit index:  20000
            applied index: 20000
            applied time:  -
            log bytes:     0
            version:       0.1.0
            quarantined:   no
            draining:      no

            name:          b
            id:            b
            role:          follower
            state:         ok
            peer address:  b:31659
            leader:        a
            leader seen:   4s ago
            term:          3
            last index:    20001
            commit index:  20000
            applied index: 20000
            applied time:  -
            log bytes:     0
            version:       0.1.0
            quarantined:   no
            draining:      no

            name:         c
            id:           c
            role:         voter
            state:        SILENT
            peer address: c:31659
            silence:      no connection

            name:          d
            id:            d
            role:          observer
            state:         ok
            peer address:  d:31659
            no vote yet:   its disk is low: make room on it
            leader:        a
            leader seen:   4s ago
            term:          3
            last index:    20001
            commit index:  20000
            applied index: 20000
            applied time:  -
            log bytes:     0
            version:       0.1.0
            quarantined:   no
            draining:      no

            2 of 3 voters answer, quorum 2, can lose 0: degraded
              c does not answer: no connection
              d does not vote yet: its disk is low: make room on it
        "#]]
        .assert_eq(&status_sheets(&three()));
        let value = group_json(&three());
        assert_eq!(value["health"], "degraded");
        assert_eq!(value["replicas"][2]["state"], "silent");
        assert_eq!(value["replicas"][1]["matched_index"], 19_990);
        assert_eq!(value["replicas"][1]["does_not_vote_yet"], Value::Null);
        assert_eq!(value["replicas"][3]["does_not_vote_yet"], "its disk is low: make room on it");
    }
}
