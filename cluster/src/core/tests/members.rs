//! Members that come, go and change places while the group works on.

use super::{NEVER, net::Net};
use crate::{
    core::{Formats, Input, SnapshotPolicy, Unfit, Waits},
    disk::DiskHealth,
    members::{Command, MemberRole, Outcome, Refusal},
    types::ReplicaId,
};

fn ids(ids: &[u64]) -> Vec<ReplicaId> {
    ids.iter().copied().map(ReplicaId).collect()
}

fn promote(wanted: &[u64], force: bool) -> Command {
    Command::Promote { ids: ids(wanted), force }
}

fn remove(unwanted: &[u64], force: bool) -> Command {
    Command::Remove { ids: ids(unwanted), force }
}

/// A group that began with one replica, grown by itself to `count`.
fn grown(count: u64) -> Net {
    let mut net = Net::new(1, NEVER);
    net.elect();
    net.write(ReplicaId(1), "first");
    for id in 2..=count {
        net.join(ReplicaId(1), id);
    }
    let all: Vec<u64> = (1..=count).collect();
    voters_are(&mut net, &all);
    net
}

fn voters_are(net: &mut Net, voters: &[u64]) {
    net.until("the voters", |net| {
        net.live()
            .iter()
            .all(|id| net.conf(*id) == voters && !net.replicas[id].core.conf().is_joint())
    });
}

#[test]
fn one_becomes_three_by_itself_and_loses_nothing() {
    let mut net = grown(3);
    voters_are(&mut net, &[1, 2, 3]);
    net.write(ReplicaId(3), "second");
    net.agree();
    assert_eq!(net.tape(ReplicaId(2)).len(), 2);
    // Now each of them can be missed.
    net.crash(ReplicaId(1));
    let leader = net.elect();
    net.write(leader, "third");
}

#[test]
fn a_second_replica_alone_stays_an_observer() {
    let mut net = Net::new(1, NEVER);
    net.elect();
    net.join(ReplicaId(1), 2);
    for _ in 0..100 {
        net.tick();
    }
    assert_eq!(net.conf(ReplicaId(2)), [1], "two voters bear no more failures than one");
    assert_eq!(net.record(ReplicaId(2)).members[&ReplicaId(2)].role, MemberRole::Observer);
    net.write(ReplicaId(2), "through an observer");
    net.replicas.get_mut(&ReplicaId(2)).unwrap().inbox.push_back(Input::Read { ticket: 1 });
    net.until("a read at an observer", |net| net.replicas[&ReplicaId(2)].reads.contains_key(&1));
    let refused = net.change(ReplicaId(2), promote(&[2], false));
    assert_eq!(refused, Err(Refusal::Even(2)));
    net.change(ReplicaId(2), promote(&[2], true)).unwrap();
    voters_are(&mut net, &[1, 2]);
    net.change(ReplicaId(1), remove(&[2], false)).unwrap();
    assert!(net.removed.contains(&ReplicaId(2)));
    net.write(ReplicaId(1), "alone again");
}

#[test]
fn one_three_five_three_one() {
    let mut net = grown(5);
    for number in 0..30 {
        net.write(ReplicaId(1 + number % 5), &number.to_string());
    }
    net.agree();
    let leader = net.elect();
    let followers: Vec<u64> = (1..=5).filter(|id| ReplicaId(*id) != leader).collect();
    net.change(leader, remove(&followers[..2], false)).unwrap();
    for gone in &followers[..2] {
        net.until("it learns its fate", |net| net.removed.contains(&ReplicaId(*gone)));
    }
    net.write(leader, "with three");
    // The leader itself is among those who go: it hands over first.
    let others = [leader.0, followers[2]];
    net.change(ReplicaId(followers[3]), remove(&others, false)).unwrap();
    let last = ReplicaId(followers[3]);
    net.until("the last one leads", |net| net.leader() == Some(last));
    net.write(last, "alone");
    assert_eq!(net.conf(last), [last.0]);
    assert_eq!(net.record(last).tombstones.len(), 4);
    assert_eq!(net.tape(last).len(), 33);
    let refused = net.change(last, remove(&[last.0], true));
    assert_eq!(refused, Err(Refusal::LastVoter));
}

#[test]
fn a_new_leader_goes_on_with_the_change() {
    let mut net = grown(3);
    let leader = net.elect();
    net.join(leader, 4);
    net.join(leader, 5);
    let follower = net.follower();
    let change = match net.wish(follower, promote(&[4, 5], false)) {
        Outcome::Begun { change } => change,
        other => panic!("{other:?}"),
    };
    net.crash(leader);
    let next = net.elect();
    net.until("the end", |net| net.record(next).ending(change).is_some());
    net.start(leader);
    voters_are(&mut net, &[1, 2, 3, 4, 5]);
}

#[test]
fn everybody_restarts_in_the_middle_of_a_joint_configuration() {
    let policy = SnapshotPolicy { every_entries: 10, keep_entries: 3, ..NEVER };
    for ticks in 0..12 {
        let mut net = Net::new(3, policy);
        let leader = net.elect();
        net.join(leader, 4);
        net.until("the observer", |net| net.replicas[&leader].core.conf().learners.len() == 1);
        for number in 0..15 {
            net.write(leader, &number.to_string());
        }
        let old = net.follower();
        net.ask(leader, Command::Replace { old, new: ReplicaId(4), force: false });
        for _ in 0..ticks {
            net.tick();
        }
        let live = net.live();
        for id in &live {
            net.crash(*id);
        }
        let kept: Vec<ReplicaId> =
            live.into_iter().filter(|id| !net.removed.contains(id)).collect();
        for id in kept {
            net.start(id);
        }
        net.elect();
        for _ in 0..60 {
            net.tick();
        }
        let leader = net.elect();
        net.write(leader, "after");
        net.agree();
        let voters = net.conf(leader);
        assert_eq!(voters.len(), 3, "after {ticks} ticks: {voters:?}");
        assert!(!net.replicas[&leader].core.conf().is_joint());
    }
}

#[test]
fn a_joiner_starts_from_a_snapshot_and_restarts() {
    let policy = SnapshotPolicy { every_entries: 20, keep_entries: 5, ..NEVER };
    let mut net = Net::new(1, policy);
    net.elect();
    for number in 0..100 {
        net.write(ReplicaId(1), &number.to_string());
    }
    // The newest snapshot does not know the joiner, and the log no longer reaches back.
    net.join(ReplicaId(1), 2);
    net.agree();
    assert!(net.snapshots_sent > 0);
    net.crash(ReplicaId(2));
    net.start(ReplicaId(2));
    net.write(ReplicaId(2), "as itself");
    net.agree();
    assert_eq!(net.record(ReplicaId(2)), net.record(ReplicaId(1)));
}

#[test]
fn a_removed_replica_learns_its_fate_even_if_it_was_away() {
    let mut net = grown(3);
    let leader = net.elect();
    net.join(leader, 4);
    let away = net.follower();
    net.cut.insert(away);
    net.until("the observer keeps up", |net| net.tape(ReplicaId(4)).len() == 1);
    let replace = Command::Replace { old: away, new: ReplicaId(4), force: false };
    net.change(leader, replace).unwrap();
    assert!(!net.removed.contains(&away));
    net.cut.clear();
    net.until("it learns its fate", |net| net.removed.contains(&away));
    // Nor does a restart bring it back.
    net.start(away);
    net.until("it learns it again", |net| !net.replicas.contains_key(&away));
    net.write(leader, "without it");
}

#[test]
fn the_majority_must_remain_in_contact() {
    let mut net = grown(5);
    let leader = net.elect();
    let others: Vec<ReplicaId> = net.live().into_iter().filter(|id| *id != leader).collect();
    for dead in &others[..2] {
        net.crash(*dead);
    }
    for _ in 0..30 {
        net.tick();
    }
    let refused = net.change(leader, remove(&[others[2].0, others[3].0], false));
    assert_eq!(refused, Err(Refusal::BelowQuorum { healthy: 1, needed: 2 }));
    net.write(leader, "still three of five");
    net.change(leader, remove(&[others[0].0, others[1].0], false)).unwrap();
    net.crash(others[2]);
    net.elect();
    net.write(leader, "two of three");
}

#[test]
fn nobody_votes_who_has_not_caught_up() {
    let mut net = grown(3);
    let leader = net.elect();
    net.join(leader, 4);
    net.join(leader, 5);
    net.until("observers", |net| net.replicas[&leader].core.conf().learners.len() == 2);
    net.cut.insert(ReplicaId(5));
    for _ in 0..6 {
        net.tick();
    }
    let refused = net.change(leader, promote(&[4, 5], false));
    assert_eq!(refused, Err(Refusal::NotCaughtUp(ReplicaId(5))));
    net.cut.clear();
    net.until("both by themselves", |net| net.conf(leader) == [1, 2, 3, 4, 5]);
}

#[test]
fn nobody_votes_whose_disk_is_not_sound() {
    for health in [DiskHealth::Low, DiskHealth::Full, DiskHealth::Hangs] {
        let mut net = grown(3);
        let leader = net.elect();
        let ill = ReplicaId(5);
        net.health.insert(ill, health);
        net.join(leader, 4);
        net.join(leader, 5);
        let waits = |net: &Net| {
            let status = net.replicas[&net.leader()?].core.status();
            status.members.iter().find(|member| member.id == ill)?.waits
        };
        net.until("the leader knows", |net| waits(net) == Some(Waits::Unfit(Unfit::Disk(health))));
        let refused = net.change(leader, promote(&[4, 5], false));
        assert_eq!(refused, Err(Refusal::Disk { replica: ill, health }));
        // Nor after a leader that has to learn it anew.
        net.crash(leader);
        let next = net.elect();
        net.start(leader);
        for _ in 0..60 {
            net.tick();
        }
        assert_eq!(net.conf(next), [1, 2, 3]);
        net.health.clear();
        net.until("both by themselves", |net| net.conf(next) == [1, 2, 3, 4, 5]);
        assert_eq!(waits(&net), None);
    }
}

#[test]
fn nobody_votes_whose_program_is_older_than_the_leaders() {
    let mut net = Net::new(1, NEVER);
    net.crash(ReplicaId(1));
    net.formats.insert(ReplicaId(1), 2);
    net.formats.insert(ReplicaId(3), 3);
    net.start(ReplicaId(1));
    net.elect();
    net.join(ReplicaId(1), 2);
    net.join(ReplicaId(1), 3);
    for _ in 0..60 {
        net.tick();
    }
    assert_eq!(net.conf(ReplicaId(1)), [1]);
    let refused = net.change(ReplicaId(1), promote(&[2, 3], false));
    assert_eq!(refused, Err(Refusal::Outdated(ReplicaId(2))));
    let status = net.replicas[&ReplicaId(1)].core.status();
    let waits = status.members.iter().map(|member| member.waits);
    let (its, ours) = (Formats { group: 1, state: 1 }, Formats { group: 1, state: 2 });
    let outdated = Waits::Unfit(Unfit::Outdated { its, ours });
    assert_eq!(waits.collect::<Vec<_>>(), [None, Some(outdated), Some(Waits::Even)]);
    // It is upgraded.
    net.crash(ReplicaId(2));
    net.formats.insert(ReplicaId(2), 2);
    net.start(ReplicaId(2));
    net.until("both by themselves", |net| net.conf(ReplicaId(1)) == [1, 2, 3]);
}

#[test]
fn an_observer_is_told_what_it_waits_for() {
    let mut net = Net::new(1, NEVER);
    net.elect();
    net.join(ReplicaId(1), 2);
    let waits = |net: &Net| net.replicas[&ReplicaId(1)].core.status().members.get(1)?.waits;
    net.until("the gate", |net| matches!(waits(net), Some(Waits::Gate { .. })));
    net.until("another one", |net| waits(net) == Some(Waits::Even));
    assert_eq!(net.wish(ReplicaId(1), Command::SetTarget { voters: 1 }), Outcome::Done);
    net.until("no more", |net| waits(net) == Some(Waits::Enough));
    net.cut.insert(ReplicaId(2));
    net.until("it is silent", |net| waits(net) == Some(Waits::Unfit(Unfit::Silent)));
}

#[test]
fn a_wiped_replica_comes_back_under_a_new_id() {
    let mut net = grown(3);
    let leader = net.elect();
    let wiped = net.follower();
    net.crash(wiped);
    net.disks.remove(&wiped);
    let name = format!("r{}", wiped.0);
    let id = Some(ReplicaId(7));
    let (address, zone) = ("r7:1".to_owned(), String::new());
    let add = Command::Add { id, name, address, zone, standby: false };
    assert_eq!(net.wish(leader, add), Outcome::Admitted { replica: ReplicaId(7) });
    net.disks.insert(ReplicaId(7), super::net::Disk::default());
    net.start(ReplicaId(7));
    net.until("it takes the old one's place", |net| {
        net.record(leader).tombstones.contains_key(&wiped)
    });
    assert_eq!(net.conf(leader).len(), 3);
    assert!(net.conf(leader).contains(&7));
    net.write(ReplicaId(7), "back");
}

#[test]
fn a_dead_voter_gives_way_only_when_asked_to() {
    let mut net = grown(5);
    let leader = net.elect();
    net.join(leader, 6);
    net.until("an observer", |net| net.replicas[&leader].core.conf().learners.len() == 1);
    let dead = net.follower();
    net.crash(dead);
    for _ in 0..200 {
        net.tick();
    }
    assert!(net.conf(leader).contains(&dead.0), "it is off at the beginning");
    let on = Command::SetDeadAfter { silence_us: Some(50 * 50_000) };
    assert_eq!(net.wish(leader, on), Outcome::Done);
    net.until("it gives way", |net| net.record(leader).tombstones.contains_key(&dead));
    assert!(net.conf(leader).contains(&6));
    assert_eq!(net.conf(leader).len(), 5);
}

#[test]
fn a_group_of_three_removes_nobody_by_itself() {
    let mut net = grown(3);
    let leader = net.elect();
    net.join(leader, 4);
    let on = Command::SetDeadAfter { silence_us: Some(50_000) };
    assert_eq!(net.wish(leader, on), Outcome::Done);
    let dead = net.follower();
    net.crash(dead);
    for _ in 0..300 {
        net.tick();
    }
    assert!(net.conf(leader).contains(&dead.0));
}

#[test]
fn a_leader_that_is_removed_before_it_knows_stops() {
    // The entry that removes a follower is on its way when that follower becomes the leader.
    let mut net = grown(3);
    let leader = net.elect();
    let successor = net.follower();
    net.ask(leader, remove(&[successor.0], true));
    for _ in 0..4 {
        net.tick();
        let wish = Input::Transfer { to: Some(successor) };
        if let Some(replica) = net.replicas.get_mut(&leader) {
            replica.inbox.push_back(wish);
        }
        net.run();
    }
    net.until("it is gone", |net| net.removed.contains(&successor));
    let leader = net.elect();
    net.write(leader, "on");
    net.agree();
}

/// Two voters, the second of which leads and is to go: the entry is on both disks and was not agreed on before its
/// leader ended.
fn about_to_leave_one_of_two() -> (Net, ReplicaId, ReplicaId) {
    let (stays, goes) = (ReplicaId(1), ReplicaId(2));
    let mut net = Net::new(1, NEVER);
    net.elect();
    net.join(stays, goes.0);
    net.change(stays, promote(&[goes.0], true)).unwrap();
    voters_are(&mut net, &[1, 2]);
    let sequence = net.ask(stays, remove(&[goes.0], false));
    net.run();
    assert!(net.replicas[&stays].outcomes.contains_key(&sequence), "it was begun");
    // Only the other one's disk takes the step.
    net.hung.insert(stays);
    net.tick();
    net.crash(stays);
    net.start(stays);
    (net, stays, goes)
}

#[test]
fn a_leader_that_goes_tells_the_only_one_left_first() {
    let (mut net, stays, goes) = about_to_leave_one_of_two();
    net.until("it is gone", |net| net.removed.contains(&goes));
    assert_eq!(net.elect(), stays);
    net.write(stays, "alone");
    assert_eq!(net.conf(stays), [stays.0]);
}

#[test]
fn a_leader_that_ends_before_it_could_tell_comes_up_as_a_member() {
    let (mut net, stays, goes) = about_to_leave_one_of_two();
    // Both have agreed, and the leader alone knows.
    net.until_just("agreed", |net| {
        net.replicas.get(&goes).is_some_and(|replica| replica.core.is_leaving())
    });
    net.crash(stays);
    net.start(stays);
    net.crash(goes);
    net.start(goes);
    net.until("it is gone", |net| net.removed.contains(&goes));
    assert_eq!(net.elect(), stays);
    net.write(stays, "alone");
}
