//! Whether a group is well: judged from what every member says, and from who says nothing.

use muster_proto::muster::v1::{GroupStatus, ReplicaStatus, Report, Role};

use crate::cli::table::span;

/// How a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// It agrees, and every member is as it should be.
    Healthy,
    /// It agrees, but not everything is as it should be.
    Degraded,
    /// It cannot agree on anything.
    Down,
}

impl Health {
    pub(super) fn word(self) -> &'static str {
        match self {
            Health::Healthy => "healthy",
            Health::Degraded => "degraded",
            Health::Down => "down",
        }
    }
}

/// What came of looking at a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) health: Health,
    /// What keeps it from being healthy, for people.
    pub(super) problems: Vec<String>,
    /// The id of whom a majority of voters follows.
    pub(super) leader: Option<String>,
    pub(super) voters: usize,
    /// Voters that answered.
    pub(super) answering: usize,
}

impl Judgement {
    pub(super) fn quorum(&self) -> usize {
        self.voters / 2 + 1
    }

    /// How many more voters may fail.
    pub(super) fn can_lose(&self) -> usize {
        self.answering.saturating_sub(self.quorum())
    }
}

/// Entries by which a member may be behind the leader.
const LAG_MAX: u64 = 10_000;

/// Judges the group.
pub(super) fn judge(group: &GroupStatus) -> Judgement {
    let voters = group.replicas.iter().filter(|report| report.voter);
    let answers: Vec<&ReplicaStatus> = voters.clone().filter_map(|it| it.status.as_ref()).collect();
    let (voters, answering) = (voters.count(), answers.len());
    let leader = answers
        .iter()
        .filter(|status| status.role() == Role::Leader)
        .max_by_key(|status| status.term)
        .copied();
    let following = |leader: &ReplicaStatus| {
        answers
            .iter()
            .filter(|status| status.leader == leader.id && status.term == leader.term)
            .count()
    };
    let agreed = leader.filter(|leader| following(leader) > voters / 2);
    let mut problems = Vec::new();
    if agreed.is_none() {
        let quorum = voters / 2 + 1;
        problems.push(if answering < quorum {
            format!("{answering} of {voters} voters answer, {quorum} are needed to agree")
        } else {
            "no leader is followed by a majority of the voters".to_owned()
        });
    }
    for report in &group.replicas {
        problems.extend(problem_of(report, agreed));
    }
    if agreed.is_some_and(|leader| leader.quarantined) {
        let text = "in quarantine after a restore: muster restore status";
        problems.push(text.to_owned());
    }
    let health = match (agreed, problems.is_empty()) {
        (None, _) => Health::Down,
        (Some(_), false) => Health::Degraded,
        (Some(_), true) => Health::Healthy,
    };
    let leader = agreed.map(|leader| leader.id.clone());
    Judgement { health, problems, leader, voters, answering }
}

fn problem_of(report: &Report, leader: Option<&ReplicaStatus>) -> Option<String> {
    let name = &report.name;
    let Some(status) = &report.status else {
        return Some(format!("{name} does not answer: {}", report.silence));
    };
    if status.draining {
        return Some(format!("{name} is about to end"));
    }
    let leader = leader?;
    if status.id != leader.id && status.leader != leader.id {
        let seen = status
            .leader_seen_ms
            .map_or_else(|| "never".to_owned(), |ms| format!("{} ago", span(ms)));
        return Some(format!("{name} does not follow the leader; it last heard of one {seen}"));
    }
    let lag = leader.commit_index.saturating_sub(status.applied_index);
    (lag > LAG_MAX).then(|| format!("{name} is {lag} entries behind"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A replica that follows `leader` in term 3, or does not answer.
    pub(in crate::cli::replica) fn report(name: &str, leader: Option<&str>) -> Report {
        let role = if leader == Some(name) { Role::Leader } else { Role::Follower };
        let status = leader.map(|leader| ReplicaStatus {
            id: name.to_owned(),
            name: name.to_owned(),
            role: role.into(),
            leader: leader.to_owned(),
            term: 3,
            commit_index: 20_000,
            applied_index: 20_000,
            last_index: 20_001,
            version: "0.1.0".to_owned(),
            leader_seen_ms: Some(4_000),
            ..ReplicaStatus::default()
        });
        Report {
            id: name.to_owned(),
            name: name.to_owned(),
            peer_address: format!("{name}:31659"),
            voter: true,
            silence: if status.is_some() { String::new() } else { "no connection".to_owned() },
            status,
            ..Report::default()
        }
    }

    pub(in crate::cli::replica) fn group(replicas: Vec<Report>) -> GroupStatus {
        GroupStatus { group: "ab".repeat(16), replicas, ..GroupStatus::default() }
    }

    fn judged(replicas: Vec<Report>) -> (Health, Vec<String>) {
        let judgement = judge(&group(replicas));
        (judgement.health, judgement.problems)
    }

    #[test]
    fn all_that_follow_one_leader_are_healthy() {
        let all = vec![report("a", Some("a")), report("b", Some("a")), report("c", Some("a"))];
        let judgement = judge(&group(all));
        assert_eq!(judgement.health, Health::Healthy);
        assert_eq!(judgement.leader.as_deref(), Some("a"));
        assert_eq!((judgement.quorum(), judgement.can_lose()), (2, 1));
    }

    #[test]
    fn one_that_is_silent_follows_another_or_lags_degrades() {
        let with =
            |third: Report| judged(vec![report("a", Some("a")), report("b", Some("a")), third]);
        let (health, problems) = with(report("c", None));
        assert_eq!(health, Health::Degraded);
        assert_eq!(problems, ["c does not answer: no connection"]);
        let (health, problems) = with(report("c", Some("x")));
        assert_eq!(health, Health::Degraded);
        assert_eq!(problems, ["c does not follow the leader; it last heard of one 4s ago"]);
        let mut late = report("c", Some("a"));
        late.status.as_mut().unwrap().applied_index = 9_999;
        assert_eq!(with(late), (Health::Degraded, vec!["c is 10001 entries behind".to_owned()]));
        let mut ending = report("c", Some("a"));
        ending.status.as_mut().unwrap().draining = true;
        assert_eq!(with(ending).0, Health::Degraded);
    }

    #[test]
    fn a_restored_group_is_degraded_until_it_is_confirmed() {
        let mut leader = report("a", Some("a"));
        leader.status.as_mut().unwrap().quarantined = true;
        let (health, problems) = judged(vec![leader]);
        assert_eq!(health, Health::Degraded);
        assert!(problems[0].contains("muster restore status"), "{problems:?}");
    }

    #[test]
    fn without_a_majority_behind_one_leader_it_is_down() {
        let (health, problems) =
            judged(vec![report("a", Some("a")), report("b", None), report("c", None)]);
        assert_eq!(health, Health::Down);
        assert_eq!(problems[0], "1 of 3 voters answer, 2 are needed to agree");
        let (health, problems) =
            judged(vec![report("a", Some("a")), report("b", Some("")), report("c", Some(""))]);
        assert_eq!(health, Health::Down);
        assert_eq!(problems[0], "no leader is followed by a majority of the voters");
        // A leader of an older term that does not know yet.
        let mut old = report("c", Some("c"));
        old.status.as_mut().unwrap().term = 2;
        let (health, _) = judged(vec![report("a", Some("a")), report("b", Some("a")), old]);
        assert_eq!(health, Health::Degraded);
    }
}
