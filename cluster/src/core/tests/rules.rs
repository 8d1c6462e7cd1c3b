//! Two places where raft-rs, used as documented, loses data or panics, and one where it must stop.

use bytes::Bytes;
use protobuf::Message as _;
use raft::{
    ReadOnlyOption, StateRole,
    eraftpb::{Entry, Message, MessageType},
};

use super::{lone_core, step};
use crate::{
    core::{
        Core, CoreError, Input, Output, Proposal, conf,
        message::{Kind, PeerMessage},
        raft_config,
    },
    members::Step,
    sessions::Envelope,
    types::{ReplicaId, RequestId, Timestamp},
};

fn change(core: &mut Core, step: &Step) {
    core.record.conf = step.after(&core.record.conf);
    core.node.apply_conf_change(&conf::change_of(step)).unwrap();
}

/// The library's own defaults would let leaders be deposed by whoever comes back, and reads go by a
/// lease of clocks.
#[test]
fn the_library_is_configured_as_we_mean_it() {
    let core = lone_core(&[1]);
    let config = raft_config(&core.config, 0);
    config.validate().unwrap();
    assert!(config.pre_vote && config.check_quorum);
    assert_eq!(config.read_only_option, ReadOnlyOption::Safe);
    assert!(config.max_size_per_msg > 0, "more than one entry in a message");
    assert_eq!(config.max_election_tick, 2 * config.min_election_tick);
    assert!(config.heartbeat_tick < config.min_election_tick);
}

/// With raft's documented order a single voter sends appends of a term that is not on its disk; after
/// a crash it would lead that term again and append other entries at the same places.
#[test]
fn a_single_voter_says_nothing_before_its_term_is_on_the_disk() {
    let mut core = lone_core(&[1]);
    change(&mut core, &Step::AddLearner(ReplicaId(2)));
    let mut out = step(&mut core, Input::Tick);
    let data = Envelope::new(
        RequestId { replica: ReplicaId(1), incarnation: 1, sequence: 1 },
        1,
        Bytes::new(),
    );
    let proposal = Proposal { sequence: 1, data: data.write() };
    out.extend(step(&mut core, Input::Propose(vec![proposal])));
    assert_eq!(core.node.raft.state, StateRole::Leader);
    let mut numbers = out.iter().filter_map(|output| match output {
        Output::Persist { number, .. } => Some(*number),
        _ => None,
    });
    assert!(!out.iter().any(|output| matches!(output, Output::Send { .. })));
    let first = numbers.next().unwrap();
    let out = step(&mut core, Input::Persisted { number: first });
    assert!(out.iter().any(|output| matches!(output, Output::Send { .. })));
}

/// Raft asserts that whoever becomes leader has everything on its disk.
#[test]
fn the_last_voter_left_waits_for_its_disk() {
    let mut core = lone_core(&[1, 2]);
    let mut append = Message::default();
    append.set_msg_type(MessageType::MsgAppend);
    (append.from, append.to, append.term) = (2, 1, 3);
    let mut entry = Entry::default();
    (entry.index, entry.term) = (1, 3);
    append.set_entries(vec![entry].into());
    let payload = PeerMessage::payload(Kind::Raft(append.write_to_bytes().unwrap().into()));
    let out = step(&mut core, Input::Received { from: ReplicaId(2), payload });
    let number = out.iter().find_map(|output| match output {
        Output::Persist { number, .. } => Some(*number),
        _ => None,
    });
    change(&mut core, &Step::Remove(ReplicaId(2)));
    for _ in 0..50 {
        step(&mut core, Input::Tick);
    }
    assert_eq!(core.node.raft.state, StateRole::Follower);
    step(&mut core, Input::Persisted { number: number.unwrap() });
    step(&mut core, Input::Tick);
    assert_eq!(core.node.raft.state, StateRole::Leader);
}

#[test]
fn a_disk_that_lost_what_was_acknowledged_stops_the_replica() {
    let mut core = lone_core(&[1, 2, 3]);
    let mut heartbeat = Message::default();
    heartbeat.set_msg_type(MessageType::MsgHeartbeat);
    (heartbeat.from, heartbeat.to, heartbeat.term, heartbeat.commit) = (2, 1, 3, 9);
    let payload = PeerMessage::payload(Kind::Raft(heartbeat.write_to_bytes().unwrap().into()));
    let input = Input::Received { from: ReplicaId(2), payload };
    let error = core.step(Timestamp(1), [input], &mut Vec::new()).unwrap_err();
    assert!(matches!(error, CoreError::LostLog { acknowledged: 9, last: 0 }));
}
