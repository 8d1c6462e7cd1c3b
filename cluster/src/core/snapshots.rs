//! When to save the state, what that lets the log forget, and how a state of another replica comes
//! in.

use std::collections::VecDeque;

use bytes::Bytes;
use muster_hooks::{buggify, mutant};
use protobuf::Message as _;
use raft::{
    SnapshotStatus, StateRole,
    eraftpb::{Entry, Message, MessageType},
};

use super::{Core, CoreError, conf, io::Output, message::SnapshotHead, tail, transfers};
use crate::{members::StoredConf, snapshot::SnapshotMeta, types::ReplicaId};

/// Beyond this much log, peers that lag are not waited for.
const LAG_BYTES: u64 = 256 << 20;

/// Between a snapshot that could not be saved and the next try.
const RETRY_TICKS: u64 = 200;

/// How far the state machine is, and the snapshots made of it.
pub(super) struct Snapshots {
    applied: u64,
    /// What the applier was handed and has not reported: last index and bytes of each batch.
    handed: VecDeque<(u64, u64)>,
    backlog: u64,
    /// Bytes applied since the last snapshot began.
    grown: u64,
    saved: u64,
    building: bool,
    /// After a failure none is begun before this tick.
    not_before: u64,
    wish: Option<u64>,
    /// The snapshot that raft was told of and has not handed back yet.
    received: Option<SnapshotMeta>,
    installing: Option<u64>,
}

impl Snapshots {
    pub(super) fn new(applied: u64) -> Self {
        Self {
            applied,
            handed: VecDeque::new(),
            backlog: 0,
            grown: 0,
            saved: applied,
            building: false,
            not_before: 0,
            wish: None,
            received: None,
            installing: None,
        }
    }

    pub(super) fn applied_index(&self) -> u64 {
        self.applied
    }

    pub(super) fn backlog(&self) -> u64 {
        self.backlog
    }

    pub(super) fn batches(&self) -> usize {
        self.handed.len()
    }

    pub(super) fn installing(&self) -> bool {
        self.installing.is_some()
    }

    pub(super) fn handed(&mut self, entries: &[Entry]) {
        let bytes = entries.iter().map(tail::weight).sum();
        let last = entries.last().map_or(0, |entry| entry.index);
        self.handed.push_back((last, bytes));
        self.backlog += bytes;
    }

    pub(super) fn applied(&mut self, index: u64) {
        self.applied = self.applied.max(index);
        while let Some((_, bytes)) = self.handed.pop_front_if(|(last, _)| *last <= index) {
            self.backlog -= bytes;
            self.grown += bytes;
        }
        if self.installing.is_some_and(|installing| index >= installing) {
            self.installing = None;
        }
    }

    pub(super) fn install(&mut self, index: u64) {
        self.installing = Some(index);
        self.saved = index;
        self.grown = 0;
    }

    pub(super) fn take_received(&mut self, index: u64) -> Option<SnapshotMeta> {
        self.received.take_if(|meta| meta.index == index)
    }

    pub(super) fn wish(&mut self, ticket: u64) {
        self.wish = self.wish.max(Some(ticket));
    }

    pub(super) fn not_saved(&mut self, tick: u64) {
        self.building = false;
        self.not_before = tick + RETRY_TICKS;
    }
}

impl Core {
    /// Asks for a snapshot if the policy or somebody wants one and none is being built.
    pub(super) fn snapshots_due(&mut self, out: &mut Vec<Output>) {
        let policy = self.config.snapshot;
        let stale = self.node.store().take_stale();
        let state = &mut self.snapshots;
        if stale && state.wish.is_none() {
            state.wish = Some(0);
        }
        let grown = state.applied.saturating_sub(state.saved) >= policy.every_entries
            || state.grown >= policy.every_bytes;
        let early = self.ticks < state.not_before;
        let due = grown || state.wish.is_some() || buggify!(SnapshotDue);
        if early || state.building || state.installing() || !due {
            return;
        }
        state.building = true;
        state.grown = 0;
        let ticket = state.wish.take().unwrap_or(0);
        out.push(Output::BuildSnapshot { conf: self.record.encode(), ticket });
    }

    /// A snapshot of this replica's own is on the disk: the log may forget what it holds, except for
    /// the part that lagging peers may still want.
    pub(super) fn snapshot_saved(&mut self, meta: SnapshotMeta, out: &mut Vec<Output>) {
        self.snapshots.building = false;
        let newest = self.node.store().newest().map_or(0, |newest| newest.index);
        if meta.index < newest {
            return;
        }
        self.snapshots.saved = self.snapshots.saved.max(meta.index);
        let mut covered = meta.index.min(self.node.raft.raft_log.applied());
        if mutant!(CompactUnsaved) {
            covered = self.node.raft.raft_log.applied();
        }
        // What it says was encoded here, or by a leader and looked at when it came.
        let Ok(stored) = StoredConf::decode(&meta.conf) else { return };
        self.node.mut_store().set_newest(meta, stored.conf);
        let raft = &self.node.raft;
        if raft.state == StateRole::Leader && self.node.store().bytes() < LAG_BYTES {
            for (_, peer) in raft.prs().iter().filter(|(_, peer)| peer.recent_active) {
                covered = covered.min(peer.matched);
            }
        }
        let policy = self.config.snapshot;
        let surplus = self.node.store().surplus(covered, policy.keep_entries, policy.keep_bytes);
        if let Some(through) = surplus {
            self.node.mut_store().compact(through);
            out.push(Output::Compact { through });
        }
    }

    /// Raft wants a peer to have the snapshot of `index`, which was the newest when it said so.
    pub(super) fn offer(&mut self, to: ReplicaId, index: u64, raft: Bytes, out: &mut Vec<Output>) {
        match self.node.store().newest().filter(|meta| meta.index == index).cloned() {
            Some(meta) => self.transfers.offer(to, &meta, raft, self.ticks, out),
            // A newer one was saved meanwhile: raft asks again.
            None => self.node.report_snapshot(to.0, SnapshotStatus::Failure),
        }
    }

    /// A peer offers a snapshot: it is asked for only if raft would install it.
    pub(super) fn offered(
        &mut self,
        from: ReplicaId,
        head: &SnapshotHead,
        out: &mut Vec<Output>,
    ) -> Result<(), CoreError> {
        let message = Message::parse_from_carllerche_bytes(&head.raft).ok();
        let fitting = message.zip(head.meta()).filter(|(message, meta)| {
            let metadata = message.get_snapshot().get_metadata();
            message.get_msg_type() == MessageType::MsgSnapshot
                && (metadata.index, metadata.term) == (meta.index, meta.term)
                && meta.group == self.config.group
                && StoredConf::decode(&meta.conf)
                    .is_ok_and(|stored| stored.conf == conf::from_raft(metadata.get_conf_state()))
        });
        let Some((message, meta)) = fitting else {
            self.dropped += 1;
            return Ok(());
        };
        if message.term < self.node.raft.term || self.snapshots.installing() {
            self.dropped += 1;
            out.push(transfers::verdict(from, head.transfer, false));
            return Ok(());
        }
        let log = &self.node.raft.raft_log;
        if meta.index < log.committed || log.match_term(meta.index, meta.term) {
            out.push(transfers::verdict(from, head.transfer, true));
            return self.step_raft(from, message);
        }
        self.transfers.receive(from, head.transfer, meta, message, self.ticks, out);
        Ok(())
    }

    /// All of an offered snapshot is on the disk, so raft may hear of it.
    pub(super) fn snapshot_received(
        &mut self,
        from: ReplicaId,
        transfer: u64,
        ok: bool,
        out: &mut Vec<Output>,
    ) -> Result<(), CoreError> {
        if let Some((meta, message)) = self.transfers.received(from, transfer, ok, out) {
            self.snapshots.received = Some(meta);
            self.step_raft(from, message)?;
            if self.node.snap().is_none() {
                self.snapshots.received = None;
            }
        }
        Ok(())
    }
}
