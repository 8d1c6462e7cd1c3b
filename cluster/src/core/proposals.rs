//! Getting every proposal of this replica into the log of whoever leads, again after each change of
//! leader until it comes out applied; duplicates are the sessions' business.

use std::collections::BTreeMap;

use bytes::Bytes;
use muster_hooks::{buggify, mutant};
use raft::{
    RawNode, StateRole,
    eraftpb::{Entry, Message, MessageType},
};

use super::{
    io::{Output, Proposal},
    message::{Forward, ForwardAnswer, Kind, PeerMessage},
    tail::Tail,
};
use crate::{
    net::Lane,
    sessions::{self, Envelope},
    types::{ReplicaId, Timestamp},
};

/// A forward carries at most this many bytes of envelopes (or one envelope)
const FORWARD_BYTES: usize = 1 << 20;
/// and at most this many of them.
const FORWARD_COUNT: usize = 4096;

struct Open {
    data: Bytes,
    /// It was once in the log of a leader.
    appended: bool,
    /// Forwards of it that nobody has answered.
    unanswered: u32,
    /// The term whose leader has it in its log; 0 for none.
    accepted: u64,
    /// When it was last sent.
    sent_at: u64,
    /// It is for the group record.
    wish: bool,
}

/// Proposals of another replica.
struct Forwarded {
    from: ReplicaId,
    forward: Forward,
    /// Which of its envelopes are for the group record.
    wishes: Vec<bool>,
}

#[derive(Default)]
pub(super) struct Proposals {
    open: BTreeMap<u64, Open>,
    /// To be sent at the next flush.
    queue: Vec<u64>,
    /// Of other replicas, to be appended at the next flush.
    forwarded: Vec<Forwarded>,
    /// Term and leader that the open ones were sent to.
    epoch: (u64, u64),
    /// Raft takes none right now; tried again at the next tick.
    stalled: bool,
    /// The newest stamp in this replica's log, in microseconds.
    newest_stamp: u64,
}

/// Where a flush happens.
pub(super) struct Place<'a> {
    pub(super) node: &'a mut RawNode<Tail>,
    pub(super) now: Timestamp,
    pub(super) tick: u64,
    /// So much is under way already that no more may be appended.
    pub(super) clogged: bool,
    pub(super) incarnation: u64,
}

impl Proposals {
    pub(super) fn add(&mut self, batch: Vec<Proposal>) {
        for Proposal { sequence, data } in batch {
            let wish = Envelope::read(data.clone()).is_ok_and(|envelope| envelope.is_wish());
            let open = Open { data, appended: false, unanswered: 0, accepted: 0, sent_at: 0, wish };
            self.open.insert(sequence, open);
            self.queue.push(sequence);
        }
    }

    /// Takes note of a stamp in the log, whoever put it there.
    pub(super) fn saw_stamp(&mut self, stamp: Timestamp) {
        self.newest_stamp = self.newest_stamp.max(stamp.0);
    }

    pub(super) fn done(&mut self, sequences: &[u64]) {
        for sequence in sequences {
            self.open.remove(sequence);
        }
    }

    /// Whether the proposal may still be committed after this.
    pub(super) fn abandon(&mut self, sequence: u64) -> bool {
        let sent =
            self.open.remove(&sequence).is_none_or(|open| open.appended || open.unanswered > 0);
        sent && !mutant!(DenyAbandoned)
    }

    /// Takes proposals of another replica; whatever is not one is dropped.
    pub(super) fn forwarded(&mut self, from: ReplicaId, forward: Forward) {
        let wishes = |data: &Bytes| {
            let envelope = Envelope::read(data.clone()).ok()?;
            (envelope.origin == from.0).then(|| envelope.is_wish())
        };
        let Some(wishes) = forward.envelopes.iter().map(wishes).collect::<Option<Vec<_>>>() else {
            return;
        };
        if forward.sequences.len() == wishes.len() {
            self.forwarded.push(Forwarded { from, forward, wishes });
        }
    }

    /// A stamp for an entry of the leader's own, later than all before it.
    pub(super) fn next_stamp(&mut self, now: Timestamp) -> Timestamp {
        self.newest_stamp = now.0.max(self.newest_stamp + 1);
        Timestamp(self.newest_stamp)
    }

    pub(super) fn answered(&mut self, answer: &ForwardAnswer) {
        for sequence in &answer.sequences {
            if let Some(open) = self.open.get_mut(sequence) {
                open.unanswered = open.unanswered.saturating_sub(1);
                if answer.accepted {
                    open.appended = true;
                    open.accepted = open.accepted.max(answer.term);
                }
            }
        }
    }

    /// Queues again what nobody answered for `patience` ticks.
    pub(super) fn tick(&mut self, tick: u64, patience: u64) {
        self.stalled = false;
        if !self.queue.is_empty() {
            return;
        }
        let term = self.epoch.0;
        self.queue.extend(
            self.open
                .iter()
                .filter(|(_, open)| open.accepted != term && tick >= open.sent_at + patience)
                .map(|(sequence, _)| *sequence),
        );
    }

    /// Appends or forwards what is queued.
    pub(super) fn flush(&mut self, place: &mut Place<'_>, out: &mut Vec<Output>) {
        let raft = &place.node.raft;
        let epoch = (raft.term, raft.leader_id);
        let leads = raft.state == StateRole::Leader;
        if epoch.1 != 0 && epoch != self.epoch {
            self.epoch = epoch;
            self.queue = self
                .open
                .iter()
                .filter(|(_, open)| open.accepted != epoch.0)
                .map(|(sequence, _)| *sequence)
                .collect();
        }
        let held = self.stalled || (leads && place.clogged);
        if !leads || held {
            for Forwarded { from, forward, .. } in std::mem::take(&mut self.forwarded) {
                out.push(answer(from, forward, epoch.0, false));
            }
        }
        if held || epoch.1 == 0 {
            return;
        }
        if leads {
            self.append(place, out);
        } else {
            self.forward(ReplicaId(epoch.1), place, out);
        }
    }

    /// One message to raft for everything, as one append and one message per peer.
    fn append(&mut self, place: &mut Place<'_>, out: &mut Vec<Output>) {
        if self.queue.is_empty() && self.forwarded.is_empty() {
            return;
        }
        let own = self.queue.iter().filter_map(|sequence| self.open.get(sequence));
        let others = self.forwarded.iter().flat_map(|Forwarded { forward, wishes, .. }| {
            forward.envelopes.iter().zip(wishes.iter().copied())
        });
        let mut stamp = place.now.0;
        if !mutant!(StampFromClock) {
            stamp = stamp.max(self.newest_stamp + 1);
        }
        let mut entries = Vec::new();
        for (data, wish) in own.map(|open| (&open.data, open.wish)).chain(others) {
            let time = Timestamp(stamp);
            let context = if wish { sessions::stamp_of_wish(time) } else { sessions::stamp(time) };
            entries.push(Entry { data: data.clone(), context, ..Entry::default() });
            stamp += 1;
        }
        let term = place.node.raft.term;
        let mut accepted = true;
        if !entries.is_empty() {
            let mut message = Message::default();
            message.set_msg_type(MessageType::MsgPropose);
            message.from = place.node.raft.id;
            message.set_entries(entries.into());
            accepted = place.node.step(message).is_ok();
        }
        for Forwarded { from, forward, .. } in std::mem::take(&mut self.forwarded) {
            out.push(answer(from, forward, term, accepted));
        }
        if !accepted {
            self.stalled = true;
            return;
        }
        self.newest_stamp = stamp - 1;
        for sequence in std::mem::take(&mut self.queue) {
            if let Some(open) = self.open.get_mut(&sequence) {
                open.appended = true;
                open.accepted = term;
                open.sent_at = place.tick;
            }
        }
    }

    fn forward(&mut self, leader: ReplicaId, place: &Place<'_>, out: &mut Vec<Output>) {
        let empty = Forward { incarnation: place.incarnation, ..Forward::default() };
        let mut forward = empty.clone();
        let mut bytes = 0;
        for sequence in std::mem::take(&mut self.queue) {
            let Some(open) = self.open.get_mut(&sequence) else { continue };
            open.unanswered += 1;
            open.sent_at = place.tick;
            if !forward.sequences.is_empty()
                && (bytes + open.data.len() > FORWARD_BYTES
                    || buggify!(LoneProposal)
                    || forward.sequences.len() >= FORWARD_COUNT)
            {
                out.push(send(
                    leader,
                    Kind::Forward(std::mem::replace(&mut forward, empty.clone())),
                ));
                bytes = 0;
            }
            bytes += open.data.len();
            forward.sequences.push(sequence);
            forward.envelopes.push(open.data.clone());
        }
        if !forward.sequences.is_empty() {
            out.push(send(leader, Kind::Forward(forward)));
        }
    }
}

fn answer(to: ReplicaId, forward: Forward, term: u64, accepted: bool) -> Output {
    let Forward { sequences, incarnation, .. } = forward;
    send(to, Kind::ForwardAnswer(ForwardAnswer { term, accepted, sequences, incarnation }))
}

fn send(to: ReplicaId, kind: Kind) -> Output {
    Output::Send { to, lane: Lane::Control, payload: PeerMessage::payload(kind) }
}
