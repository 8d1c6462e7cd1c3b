//! Peers that send anything at all.

use std::collections::VecDeque;

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{Entry, Message, MessageType};

use super::lone_core;
use crate::{
    core::{
        Core, Input, Output, Proposal,
        message::{Kind, PeerMessage, SnapshotHead},
        splitmix,
    },
    snapshot::SnapshotMeta,
    types::{GroupId, ReplicaId, Timestamp},
};

const SEEDS: u64 = 60;

/// A source of nonsense.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = splitmix(self.0);
        self.0 % sides
    }

    fn number(&mut self, near: u64) -> u64 {
        match self.roll(8) {
            0 => 0,
            1 => u64::MAX - self.roll(3),
            2 => near + self.roll(1000),
            _ => (near + self.roll(4)).saturating_sub(self.roll(4)),
        }
    }

    fn message(&mut self, core: &Core) -> Message {
        let kinds = [
            MessageType::MsgHup,
            MessageType::MsgBeat,
            MessageType::MsgPropose,
            MessageType::MsgAppend,
            MessageType::MsgAppend,
            MessageType::MsgAppendResponse,
            MessageType::MsgRequestVote,
            MessageType::MsgRequestVoteResponse,
            MessageType::MsgSnapshot,
            MessageType::MsgHeartbeat,
            MessageType::MsgHeartbeatResponse,
            MessageType::MsgTransferLeader,
            MessageType::MsgTimeoutNow,
            MessageType::MsgReadIndex,
            MessageType::MsgReadIndexResp,
            MessageType::MsgRequestPreVote,
            MessageType::MsgRequestPreVoteResponse,
        ];
        let raft = &core.node.raft;
        let last = raft.raft_log.last_index();
        let mut message = Message::default();
        message.set_msg_type(kinds[usize::try_from(self.roll(17)).unwrap()]);
        message.from = self.roll(4) + 1;
        message.to = if self.roll(10) == 0 { self.roll(4) } else { 1 };
        message.term = self.number(raft.term);
        message.log_term = self.number(raft.term);
        message.index = self.number(last);
        message.commit = self.number(raft.raft_log.committed);
        message.commit_term = self.number(raft.term);
        message.reject = self.roll(2) == 0;
        message.reject_hint = self.number(last);
        if self.roll(10) == 0 {
            message.request_snapshot = self.number(last);
        }
        let mut next = message.index.saturating_add(1);
        for _ in 0..self.roll(4) {
            let index = if self.roll(10) == 0 { self.number(last) } else { next };
            let term = if self.roll(2) == 0 { message.term } else { self.number(raft.term) };
            let entry = Entry { index, term, ..Entry::default() };
            next = next.saturating_add(1);
            message.mut_entries().push(entry);
        }
        if self.roll(4) == 0 {
            let metadata = message.mut_snapshot().mut_metadata();
            metadata.index = self.number(last);
            metadata.term = self.number(raft.term);
            metadata.mut_conf_state().voters = vec![1, 2, 3];
        }
        message
    }

    /// What comes from this replica's own side.
    fn own(&mut self, sequence: u64) -> Input {
        let peer = ReplicaId(self.roll(4) + 1);
        match self.roll(6) {
            0 => Input::PeerUp(peer),
            1 => Input::PeerDown(peer),
            2 => Input::Transfer { to: Some(peer) },
            3 => Input::Read { ticket: sequence },
            4 => Input::Abandon { sequence },
            _ => Input::Propose(vec![Proposal { sequence, data: Bytes::from_static(b"data") }]),
        }
    }

    /// Payloads of every kind around such messages, and pure noise.
    fn payload(&mut self, core: &Core) -> Bytes {
        let message = self.message(core);
        let bytes = Bytes::from(message.write_to_bytes().unwrap());
        match self.roll(12) {
            0 => {
                let metadata = message.get_snapshot().get_metadata();
                let meta = SnapshotMeta {
                    group: GroupId(5),
                    index: metadata.index,
                    term: metadata.term,
                    conf: core.record.encode(),
                    time: Timestamp(0),
                    digest: 0,
                };
                let head = SnapshotHead::new(self.roll(3), &meta, bytes);
                PeerMessage::payload(Kind::SnapshotHead(head))
            }
            1 => PeerMessage::snapshot_chunk(self.roll(3), self.roll(3), true, bytes),
            2 => (0..self.roll(40)).map(|_| self.roll(256).to_le_bytes()[0]).collect(),
            3 => bytes,
            _ => PeerMessage::payload(Kind::Raft(bytes)),
        }
    }
}

/// Whatever its peers send, a replica goes on or stops in an orderly way.
#[test]
fn no_bytes_of_a_peer_cause_a_panic() {
    for seed in 0..SEEDS {
        let mut dice = Dice(seed);
        let mut core = lone_core(&[1, 2, 3]);
        let mut pending = VecDeque::new();
        for step in 0..400 {
            let inputs: Vec<Input> = (0..=dice.roll(3))
                .map(|_| match dice.roll(12) {
                    0 => Input::Tick,
                    1 | 2 => pending.pop_front().unwrap_or(Input::Tick),
                    3 => dice.own(step),
                    _ => {
                        let from = ReplicaId(dice.roll(4) + 1);
                        Input::Received { from, payload: dice.payload(&core) }
                    }
                })
                .collect();
            let mut out = Vec::new();
            // A refusal comes before anything is changed, so the test can go on.
            let _refused = core.step(Timestamp(1), inputs, &mut out);
            pending.extend(out.into_iter().filter_map(|output| match output {
                Output::Persist { number, .. } => Some(Input::Persisted { number }),
                Output::Apply { entries } => {
                    Some(Input::Applied { index: entries.last().unwrap().index })
                }
                Output::Install { meta } => Some(Input::Applied { index: meta.index }),
                Output::StoreChunk { from, transfer, .. } => {
                    Some(Input::SnapshotReceived { from, transfer, ok: true })
                }
                _ => None,
            }));
        }
    }
}
