//! Taking from raft what it wants done.

use std::collections::VecDeque;

use muster_hooks::mutant;
use protobuf::Message as _;
use raft::{
    Ready, StateRole,
    eraftpb::{Entry, Message, MessageType},
};

use super::{
    Core, CoreError, conf,
    io::{Leadership, Output, Role},
    message::{Kind, PeerMessage},
    record, tail,
};
use crate::{
    log::{HardState, LogBatch, LogEntry, LogMark},
    net::Lane,
    sessions,
    types::ReplicaId,
};

struct Write {
    number: u64,
    /// It carries a term or vote that is not on the disk before.
    votes: bool,
    /// It carries entries or a snapshot.
    data: bool,
}

/// Writes on their way to the disk, and the messages that wait for them.
#[derive(Default)]
pub(super) struct Writes {
    pending: VecDeque<Write>,
    held: Vec<(u64, Message)>,
    /// Term and vote of the newest write.
    vote: (u64, u64),
    /// Its commit index.
    commit: u64,
}

impl Writes {
    pub(super) fn new(term: u64, vote: u64, commit: u64) -> Self {
        Self { vote: (term, vote), commit, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn has_data(&self) -> bool {
        self.pending.iter().any(|write| write.data)
    }

    /// The write that a message must wait for: the last one, or the last one that carries a vote.
    fn last(&self, votes: bool) -> Option<u64> {
        let last = self.pending.iter().rev().find(|write| write.votes || !votes);
        last.map(|write| write.number)
    }

    /// The messages that waited for the writes up to `number`, in their order.
    fn finish(&mut self, number: u64) -> Vec<Message> {
        self.pending.retain(|write| write.number > number);
        let held = std::mem::take(&mut self.held);
        let (free, held) = held.into_iter().partition(|(waits_for, _)| *waits_for <= number);
        self.held = held;
        free.into_iter().map(|(_, message)| message).collect()
    }
}

impl Core {
    /// Handles what raft has ready.
    pub(super) fn ready(&mut self, out: &mut Vec<Output>) -> Result<(), CoreError> {
        let mut ready = self.node.ready();
        let number = ready.number();
        self.lead(&ready, out);
        let appended = ready.entries().clone();
        let installed = self.store(&mut ready, number, out);
        let early = ready.take_messages();
        let late = ready.take_persisted_messages();
        let committed = ready.take_committed_entries();
        let committed = if mutant!(ApplyUncommitted) { appended } else { committed };
        let answers = ready.take_read_states();
        self.node.advance_append_async(ready);
        if self.writes.is_empty() {
            self.node.on_persist_ready(number);
        }
        for message in early {
            // Appends of a term that is not on the disk could be contradicted after a crash.
            let wait = self.writes.last(true);
            self.post(message, wait, out);
        }
        for message in late {
            let prompt = message.get_msg_type() == MessageType::MsgHeartbeatResponse
                || message.get_msg_type() == MessageType::MsgReadIndex;
            let wait = self.writes.last(prompt).filter(|_| !mutant!(SendBeforePersist));
            self.post(message, wait, out);
        }
        if let Some(meta) = installed {
            self.snapshots.install(meta.index);
            self.note_install(&meta, out);
            out.push(Output::Install { meta });
        }
        if !committed.is_empty() {
            self.note(&committed, out)?;
            if self.record.removed {
                return Ok(());
            }
            let mut committed = committed;
            committed.retain(|entry| self.is_for_me(entry.index));
            self.hand_on(committed, out);
        }
        for answer in answers {
            self.reads.answered(&answer.request_ctx, answer.index, out);
        }
        Ok(())
    }

    fn hand_on(&mut self, committed: Vec<Entry>, out: &mut Vec<Output>) {
        if committed.is_empty() {
            return;
        }
        self.snapshots.handed(&committed);
        let entries: Vec<LogEntry> = committed.into_iter().map(tail::from_raft).collect();
        out.push(Output::Apply { entries });
    }

    /// Puts what must be remembered into the tail and on its way to the disk.
    fn store(
        &mut self,
        ready: &mut Ready,
        number: u64,
        out: &mut Vec<Output>,
    ) -> Option<crate::snapshot::SnapshotMeta> {
        let mut batch = LogBatch { sync: true, ..LogBatch::default() };
        let vote = (self.node.raft.term, self.node.raft.vote);
        let votes = vote != self.writes.vote;
        self.writes.vote = vote;
        let snapshot = ready.snapshot().get_metadata().index;
        let installed = self.snapshots.take_received(snapshot);
        if let Some(meta) = &installed {
            let conf = conf::from_raft(ready.snapshot().get_metadata().get_conf_state());
            self.node.mut_store().restart_after(meta.clone(), conf);
            self.proposals.saw_stamp(meta.time);
            batch.reset = (!mutant!(KeepLogAtInstall))
                .then_some(LogMark { index: meta.index, term: meta.term });
        }
        let entries = ready.take_entries();
        self.node.mut_store().append(&entries);
        for entry in &entries {
            if let Some(stamp) = sessions::stamp_of(&entry.context) {
                self.proposals.saw_stamp(stamp);
            }
        }
        if let Some(hard_state) = ready.hs() {
            self.node.mut_store().set_hard_state(hard_state.clone());
        }
        let data = !entries.is_empty() || installed.is_some();
        let commit = self.durable_commit(ready.committed_entries()).max(self.writes.commit);
        // A commit index alone is not worth a write: the next one carries it. Unless somebody may leave for it: whoever
        // stays has to know it after a crash as well, since nobody could be asked any more.
        let steps = ready.committed_entries().iter().any(|entry| record::step_in(entry).is_some());
        let votes = votes || steps;
        if data || steps || (votes && !mutant!(ForgetVote)) {
            let raft = &self.node.raft;
            self.writes.commit = commit;
            batch.entries = entries.into_iter().map(tail::from_raft).collect();
            batch.hard_state = Some(HardState { term: raft.term, vote: raft.vote, commit });
            batch.conf = self.unwritten.take();
            self.writes.pending.push_back(Write { number, votes, data });
            out.push(Output::Persist { number, batch });
        }
        installed
    }

    /// Everything up to a write is on the disk.
    pub(super) fn persisted(&mut self, number: u64, out: &mut Vec<Output>) {
        let freed = self.writes.finish(number);
        self.node.on_persist_ready(number);
        for message in freed {
            self.send(&message, out);
        }
        self.tell_applied();
    }

    /// Tells raft how far the state machine is, but never more than is on the disk.
    pub(super) fn tell_applied(&mut self) {
        let log = &self.node.raft.raft_log;
        let applied = self.snapshots.applied_index().min(log.committed).min(log.persisted);
        if applied > log.applied() {
            self.node.advance_apply_to(applied);
        }
    }

    fn post(&mut self, message: Message, wait: Option<u64>, out: &mut Vec<Output>) {
        match wait {
            Some(number) => self.writes.held.push((number, message)),
            None => self.send(&message, out),
        }
    }

    fn send(&mut self, message: &Message, out: &mut Vec<Output>) {
        let to = ReplicaId(message.to);
        // Appends keep their order on a lane of their own and never delay a heartbeat.
        let lane = match message.get_msg_type() {
            MessageType::MsgAppend => Lane::Bulk,
            _ => Lane::Control,
        };
        let snapshot = (message.get_msg_type() == MessageType::MsgSnapshot)
            .then(|| message.get_snapshot().get_metadata().index);
        let Ok(bytes) = message.write_to_bytes() else {
            // Cannot happen: raft fills every field it sends. Lost messages are sent again.
            self.dropped += 1;
            return;
        };
        if let Some(index) = snapshot {
            self.offer(to, index, bytes.into(), out);
            return;
        }
        let payload = PeerMessage::payload(Kind::Raft(bytes.into()));
        out.push(Output::Send { to, lane, payload });
    }

    fn lead(&mut self, ready: &Ready, out: &mut Vec<Output>) {
        let raft = &self.node.raft;
        let leadership = Leadership {
            term: raft.term,
            leader: (raft.leader_id != 0).then_some(ReplicaId(raft.leader_id)),
            role: match raft.state {
                StateRole::Follower => Role::Follower,
                StateRole::PreCandidate | StateRole::Candidate => Role::Candidate,
                StateRole::Leader => Role::Leader,
            },
        };
        if ready.ss().is_none() && leadership == self.leadership {
            return;
        }
        if leadership.role != Role::Leader {
            self.transfers.forget_sending();
        }
        self.leadership = leadership;
        out.push(Output::Leadership(leadership));
    }
}
