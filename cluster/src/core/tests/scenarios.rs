//! What a group does as a whole.

use super::{NEVER, net::Net};
use crate::{
    core::{Input, Output, Role, SnapshotPolicy},
    types::{ReplicaId, Timestamp},
};

#[test]
fn three_replicas_elect_one_leader_and_replicate() {
    let mut net = Net::new(3, NEVER);
    let leader = net.elect();
    for number in 0..20 {
        net.write(leader, &number.to_string());
    }
    net.agree();
    assert_eq!(net.tape(ReplicaId(3)).len(), 20);
    let leaders = net
        .live()
        .into_iter()
        .filter(|id| net.replicas[id].core.status().leadership.role == Role::Leader);
    assert_eq!(leaders.count(), 1);
}

#[test]
fn one_replica_alone_leads_at_the_first_tick() {
    let mut net = Net::new(1, NEVER);
    net.tick();
    assert_eq!(net.leader(), Some(ReplicaId(1)));
    net.write(ReplicaId(1), "alone");
}

#[test]
fn a_follower_forwards() {
    let mut net = Net::new(3, NEVER);
    net.elect();
    let follower = net.follower();
    net.write(follower, "through the leader");
    assert_eq!(net.replicas[&follower].answers[&1], "1");
    net.agree();
}

#[test]
fn proposals_of_one_drain_share_one_write() {
    let mut net = Net::new(3, NEVER);
    let leader = net.elect();
    net.write(leader, "settle");
    for number in 0..50 {
        net.propose(leader, &number.to_string());
    }
    let inputs: Vec<Input> = net.replicas.get_mut(&leader).unwrap().inbox.drain(..).collect();
    let mut out = Vec::new();
    let core = &mut net.replicas.get_mut(&leader).unwrap().core;
    core.step(Timestamp(9), inputs, &mut out).unwrap();
    let writes: Vec<usize> = out
        .iter()
        .filter_map(|output| match output {
            Output::Persist { batch, .. } => Some(batch.entries.len()),
            _ => None,
        })
        .collect();
    assert_eq!(writes, [50]);
    assert_eq!(out.iter().filter(|output| matches!(output, Output::Send { .. })).count(), 2);
}

#[test]
fn a_read_at_a_follower_sees_the_write_before_it() {
    let mut net = Net::new(3, NEVER);
    let leader = net.elect();
    net.write(leader, "before");
    let written = net.replicas[&leader].state.index();
    let follower = net.follower();
    net.replicas.get_mut(&follower).unwrap().inbox.push_back(Input::Read { ticket: 7 });
    net.until("a read", |net| net.replicas[&follower].reads.contains_key(&7));
    assert!(net.replicas[&follower].reads[&7] >= written);
}

#[test]
fn a_read_survives_the_leader() {
    let mut net = Net::new(3, NEVER);
    let leader = net.elect();
    let follower = net.follower();
    net.cut.insert(leader);
    net.replicas.get_mut(&follower).unwrap().inbox.push_back(Input::Read { ticket: 1 });
    net.until("a read", |net| net.replicas[&follower].reads.contains_key(&1));
    net.replicas.get_mut(&leader).unwrap().inbox.push_back(Input::Read { ticket: 2 });
    for _ in 0..50 {
        net.tick();
    }
    assert!(!net.replicas[&leader].reads.contains_key(&2), "an isolated leader served a read");
}

#[test]
fn leadership_moves_on_demand() {
    let mut net = Net::new(3, NEVER);
    let leader = net.elect();
    net.write(leader, "first");
    let follower = net.follower();
    let wish = Input::Transfer { to: Some(follower) };
    // Asked of any replica, the wish reaches the leader.
    net.replicas.get_mut(&follower).unwrap().inbox.push_back(wish);
    net.until("the transfer", |net| net.leader() == Some(follower));
    net.write(leader, "second");
    net.agree();
}

#[test]
fn open_proposals_outlive_a_leader_and_are_applied_once() {
    let mut net = Net::new(3, NEVER);
    let leader = net.elect();
    net.write(leader, "settle");
    let follower = net.follower();
    let sequences: Vec<u64> =
        (0..10).map(|number| net.propose(follower, &number.to_string())).collect();
    // The forwards reach the leader and its appends the others, but no answer comes back.
    net.hung.insert(leader);
    net.run();
    net.crash(leader);
    net.until("answers", |net| sequences.iter().all(|one| net.answered(follower, *one)));
    net.start(leader);
    net.agree();
    assert_eq!(net.tape(leader).len(), 11);
}

#[test]
fn a_proposal_that_never_left_is_certainly_not_done() {
    let mut net = Net::new(3, NEVER);
    let only = ReplicaId(1);
    net.cut.insert(only);
    let sequence = net.propose(only, "nowhere to go");
    net.run();
    net.replicas.get_mut(&only).unwrap().inbox.push_back(Input::Abandon { sequence });
    net.run();
    assert!(net.replicas[&only].unsent.contains(&sequence));
}

#[test]
fn a_crash_forgets_nothing_acknowledged() {
    let mut net = Net::new(3, NEVER);
    let leader = net.elect();
    for number in 0..10 {
        net.write(leader, &number.to_string());
    }
    let before = net.tape(leader);
    for id in net.live() {
        net.crash(id);
    }
    for id in net.voters.clone() {
        net.start(id);
    }
    let leader = net.elect();
    net.write(leader, "after");
    net.agree();
    assert_eq!(net.tape(leader)[..10], before[..]);
    assert_eq!(net.tape(leader).len(), 11);
}

/// A leader, and a follower that was cut off for longer than the log reaches back; it still is.
fn left_behind() -> (Net, ReplicaId, ReplicaId) {
    let policy = SnapshotPolicy { every_entries: 20, keep_entries: 5, ..NEVER };
    let mut net = Net::new(3, policy);
    let leader = net.elect();
    let behind = net.follower();
    net.cut.insert(behind);
    for number in 0..100 {
        net.write(leader, &number.to_string());
    }
    assert!(net.disks[&leader].log.mark.index > 50, "the log was not compacted");
    (net, leader, behind)
}

#[test]
fn a_replica_far_behind_is_caught_up_by_a_snapshot() {
    let (mut net, _, behind) = left_behind();
    net.cut.clear();
    net.agree();
    assert!(net.snapshots_sent > 0);
    net.write(behind, "and goes on");
    net.agree();
    net.crash(behind);
    net.start(behind);
    net.agree();
}

#[test]
fn a_snapshot_transfer_that_breaks_is_begun_anew() {
    let (mut net, leader, behind) = left_behind();
    let head = Input::PeerDown(behind);
    net.cut.clear();
    net.until("an offer", |net| net.snapshots_sent > 0);
    net.crash(behind);
    net.replicas.get_mut(&leader).unwrap().inbox.push_back(head);
    net.run();
    net.start(behind);
    net.agree();
}

#[test]
fn a_snapshot_that_takes_long_to_become_durable_is_offered_once() {
    let (mut net, ..) = left_behind();
    net.slow_snapshots = true;
    net.cut.clear();
    net.until("an offer", |net| !net.late.is_empty());
    let sent = net.snapshots_sent;
    // Twice as long as anybody waits for a transfer that stands still.
    for _ in 0..700 {
        net.tick();
    }
    assert_eq!(net.snapshots_sent, sent);
    net.slow_snapshots = false;
    for (id, input) in std::mem::take(&mut net.late) {
        net.replicas.get_mut(&id).unwrap().inbox.push_back(input);
    }
    net.agree();
    assert_eq!(net.snapshots_sent, sent);
}

#[test]
fn a_leader_whose_disk_hangs_hands_over() {
    let mut net = Net::new(3, NEVER);
    let leader = net.elect();
    net.write(leader, "settle");
    net.hung.insert(leader);
    let sequence = net.propose(leader, "under way");
    net.run();
    net.replicas.get_mut(&leader).unwrap().inbox.push_back(Input::Transfer { to: None });
    net.until("another leader", |net| net.leader().is_some_and(|next| next != leader));
    let next = net.leader().unwrap();
    net.write(next, "without its disk");
    net.hung.clear();
    net.until("the answer", |net| net.answered(leader, sequence));
    net.agree();
    assert_eq!(net.tape(leader).len(), 3);
}

#[test]
fn a_leader_that_falls_silent_is_replaced() {
    let mut net = Net::new(3, NEVER);
    let leader = net.elect();
    net.write(leader, "settle");
    net.hung.insert(leader);
    // Its driver gives it no more ticks, but it still hears and answers.
    for _ in 0..60 {
        net.now += 50_000;
        for id in net.live().into_iter().filter(|id| *id != leader) {
            net.replicas.get_mut(&id).unwrap().inbox.push_back(Input::Tick);
        }
        net.run();
    }
    let next = net.leader().unwrap();
    assert_ne!(next, leader);
    net.write(next, "on");
}

#[test]
fn equal_inputs_give_equal_outputs() {
    let trace = || {
        let policy = SnapshotPolicy { every_entries: 20, keep_entries: 5, ..NEVER };
        let mut net = Net::new(3, policy);
        for round in 0..4 {
            let leader = net.elect();
            for number in 0..15 {
                net.write(net.follower(), &format!("{round}.{number}"));
            }
            net.crash(leader);
            net.elect();
            net.start(leader);
        }
        net.agree();
        net.trace
    };
    assert_eq!(trace(), trace());
}

#[test]
fn a_broken_connection_to_the_leader_shortens_the_wait_unless_the_leader_is_heard_of() {
    let mut net = Net::new(3, NEVER);
    let leader = net.elect();
    net.write(leader, "before");
    net.agree();
    let lost = |net: &mut Net| {
        for id in net.live() {
            if id != leader {
                net.step(id, vec![Input::PeerDown(leader)]);
            }
        }
    };
    // The leader lives: its next heartbeat ends the suspicion.
    let term = net.replicas[&leader].core.status().leadership.term;
    lost(&mut net);
    for _ in 0..100 {
        net.tick();
        net.run();
    }
    assert_eq!(net.leader(), Some(leader));
    assert_eq!(net.replicas[&leader].core.status().leadership.term, term);
    // The leader is dead: another one leads well before an election timeout is over.
    net.crash(leader);
    lost(&mut net);
    let mut ticks = 0;
    while net.leader().is_none() {
        net.tick();
        net.run();
        ticks += 1;
        assert!(ticks < 10, "no leader after {ticks} ticks");
    }
    net.write(net.leader().unwrap(), "after");
    net.agree();
}
