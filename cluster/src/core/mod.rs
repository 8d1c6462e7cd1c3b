//! One replica's part in the agreement: pure, without threads, clocks, sockets or files, and equal
//! for equal inputs. Two drivers exist: the threads of [`crate::group`] and a simulator.
//!
//! ```text
//!            inputs of one drain                       outputs, in order
//!  tick ────────┐                              ┌─▶ Persist ──▶ log writer ──▶ Persisted ─┐
//!  messages ────┤   ┌──────────────────────┐   ├─▶ Send ─────▶ peers                     │
//!  proposals ───┼──▶│ proposals  ┐         ├───┼─▶ Apply ────▶ applier ─────▶ Applied ───┤
//!  reads ───────┤   │ reads      ┼ RawNode │   ├─▶ ReadAt ───▶ waiting readers           │
//!  completions ─┘   │ transfers  ┘         │   └─▶ BuildSnapshot, chunks, Compact        │
//!        ▲          └──────────────────────┘                                             │
//!        └───────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! What must wait for the disk waits here: acknowledgements and votes are held until the write that
//! they speak of is reported as persisted. A leader's appends go out at once, unless its own term is
//! not on the disk yet: a single voter that crashed then would lead the same term twice.

mod changes;
mod conf;
mod config;
mod fitness;
mod guard;
mod io;
mod logger;
pub mod message;
mod proposals;
mod reads;
mod ready;
mod record;
mod recover;
mod snapshots;
mod status;
mod tail;
#[cfg(test)]
mod tests;
mod transfers;

use std::collections::BTreeMap;

use bytes::Bytes;
use muster_hooks::{buggify, mutant};
use protobuf::Message as _;
use raft::{
    RawNode, SnapshotStatus, StateRole,
    eraftpb::{Message, MessageType},
};

pub use config::{ChangePolicy, CoreConfig, SnapshotPolicy};
pub use fitness::{Formats, Unfit, Waits};
pub use io::{Input, Leadership, Output, Proposal, Role};
pub use record::conf_at_the_end;
pub use recover::reconcile;
pub use status::{CoreStatus, MemberStatus};

use crate::{
    disk::DiskHealth,
    log::LoadedLog,
    members::StoredConf,
    sessions,
    snapshot::SnapshotMeta,
    types::{ReplicaId, Timestamp},
};
use changes::Changes;
use guard::{Facts, Verdict};
use message::{Kind, PeerMessage};
use proposals::Proposals;
use reads::Reads;
use ready::Writes;
use record::Record;
use snapshots::Snapshots;
use tail::Tail;
use transfers::Transfers;

/// Bytes that may wait before the applier; beyond it a follower takes no more appends.
const BACKLOG_BYTES: u64 = 256 << 20;
/// Writes before the disk, or batches before the applier, that may wait.
const BACKLOG_JOBS: usize = 4096;

/// Why a replica must stop.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// Log and snapshot on the disk do not fit together.
    #[error("{0}; replace this replica under a new id")]
    Damaged(String),
    /// A leader counts on entries that this replica acknowledged and does not have.
    #[error(
        "this replica acknowledged the log up to {acknowledged}, but has it only up to {last}: its \
         disk lost data; replace it under a new id"
    )]
    LostLog {
        /// What the leader knows to be here.
        acknowledged: u64,
        /// What is.
        last: u64,
    },
    /// The stored configuration names other voters than the settings.
    #[error("the data folder belongs to a group of {stored:?}, the settings say {given:?}")]
    OtherVoters {
        /// Ids in the data folder.
        stored: Vec<u64>,
        /// Ids in the settings.
        given: Vec<u64>,
    },
    /// A newer release wrote it, and the replicas must do alike.
    #[error("entry {index} is a wish that this release does not know; upgrade this replica")]
    Newer {
        /// Which entry.
        index: u64,
    },
    /// The group removed this replica.
    #[error(
        "replica {0} was removed from its group; its data is kept, and its id never comes back"
    )]
    Removed(ReplicaId),
    /// Raft refuses its settings.
    #[error("raft refuses to start: {0}")]
    Raft(#[from] raft::Error),
    /// A stored configuration cannot be read.
    #[error("the stored configuration of the group cannot be read: {0}")]
    Conf(#[from] prost::DecodeError),
}

/// One replica's part in the agreement.
pub struct Core {
    config: CoreConfig,
    node: RawNode<Tail>,
    record: Record,
    changes: Changes,
    /// The configuration before the first entry, until it is on the disk.
    unwritten: Option<Bytes>,
    ticks: u64,
    /// Elections tried, so that no two timeouts in a row are the same.
    attempts: u64,
    writes: Writes,
    proposals: Proposals,
    reads: Reads,
    transfers: Transfers,
    snapshots: Snapshots,
    leadership: Leadership,
    contacts: BTreeMap<ReplicaId, u64>,
    /// A leader whose connection broke and of whom nothing was heard since.
    suspect: Option<ReplicaId>,
    /// How its disk is, as its driver last said.
    disk: DiskHealth,
    dropped: u64,
}

impl Core {
    /// A replica as it comes up from its disk. `log` is what [`reconcile`] made of it; `snapshot` is
    /// the newest one, whose state the applier has loaded already.
    pub fn new(
        config: CoreConfig,
        log: LoadedLog,
        snapshot: Option<SnapshotMeta>,
    ) -> Result<Self, CoreError> {
        let record = Record::new(&config, &log, snapshot.as_ref())?;
        if record.group.tombstones.contains_key(&config.me) {
            return Err(CoreError::Removed(config.me));
        }
        let stored = StoredConf { conf: record.conf.clone(), record: None };
        let unwritten = log.conf.is_none().then(|| stored.encode());
        let applied = snapshot.as_ref().map_or(0, |meta| meta.index);
        let mut proposals = Proposals::default();
        if let Some(meta) = &snapshot {
            proposals.saw_stamp(meta.time);
        }
        for entry in &log.entries {
            if let Some(stamp) = sessions::stamp_of(&entry.context) {
                proposals.saw_stamp(stamp);
            }
        }
        let tail = Tail::new(log, &record.conf, snapshot);
        let node = RawNode::new(&raft_config(&config, applied), tail, &logger::logger())?;
        Ok(Self {
            record,
            changes: Changes::default(),
            unwritten,
            ticks: 0,
            attempts: 0,
            writes: Writes::new(node.raft.term, node.raft.vote, node.raft.raft_log.committed),
            proposals,
            reads: Reads::new(config.me, config.incarnation),
            transfers: Transfers::new(config.incarnation),
            snapshots: Snapshots::new(applied),
            leadership: Leadership { term: node.raft.term, ..Leadership::default() },
            contacts: BTreeMap::new(),
            suspect: None,
            disk: DiskHealth::Sound,
            dropped: 0,
            node,
            config,
        })
    }

    /// Takes everything that happened since the last call and says what is to be done, to be obeyed
    /// in order. `now` is the wall clock; only a leader's stamps come of it. After an error the
    /// replica must stop.
    pub fn step(
        &mut self,
        now: Timestamp,
        inputs: impl IntoIterator<Item = Input>,
        out: &mut Vec<Output>,
    ) -> Result<(), CoreError> {
        let mut ticked = false;
        for input in inputs {
            if self.record.removed {
                return Ok(());
            }
            ticked |= matches!(input, Input::Tick);
            self.take(input, out)?;
        }
        if ticked {
            self.control(now);
        }
        loop {
            self.flush(now, out);
            if self.record.removed || !self.node.has_ready() {
                break;
            }
            self.ready(out)?;
        }
        self.farewell(out);
        if !self.record.removed {
            self.snapshots_due(out);
        }
        Ok(())
    }

    fn take(&mut self, input: Input, out: &mut Vec<Output>) -> Result<(), CoreError> {
        match input {
            Input::Tick => self.tick(out),
            Input::Disk(health) => self.disk = health,
            Input::Received { from, payload } => self.received(from, payload, out)?,
            Input::PeerUp(peer) => {
                self.changes.returned(peer, self.ticks);
                if self.node.raft.leader_id == peer.0 {
                    self.proposals.tick(self.ticks, 0);
                }
            }
            Input::PeerDown(peer) => {
                self.node.report_unreachable(peer.0);
                self.suspect_leader(peer);
                if self.transfers.broken(peer) && !mutant!(ReportForgotten) {
                    self.node.report_snapshot(peer.0, SnapshotStatus::Failure);
                }
            }
            Input::Propose(batch) => self.proposals.add(batch),
            Input::Abandon { sequence } => {
                let sent = self.proposals.abandon(sequence);
                out.push(Output::Abandoned { sequence, sent });
            }
            Input::Done { sequences } => self.proposals.done(&sequences),
            Input::Read { ticket } => self.reads.add(ticket),
            Input::Persisted { number } => self.persisted(number, out),
            Input::Applied { index } => {
                self.snapshots.applied(index);
                self.tell_applied();
            }
            Input::SaveSnapshot { ticket } => self.snapshots.wish(ticket),
            Input::SnapshotSaved(meta) => self.snapshot_saved(meta, out),
            Input::SnapshotNotSaved => self.snapshots.not_saved(self.ticks),
            Input::ChunkStored { from, transfer } => {
                self.transfers.stored(from, transfer, self.ticks, out);
            }
            Input::SnapshotReceived { from, transfer, ok } => {
                self.snapshot_received(from, transfer, ok, out)?;
            }
            Input::Transfer { to } => self.transfer(to, out),
            Input::ToldRemoved => self.leave(out),
        }
        Ok(())
    }

    fn flush(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let clogged = self.is_clogged() || self.record.leaving.is_some();
        let incarnation = self.config.incarnation;
        let tick = self.ticks;
        let mut place = proposals::Place { node: &mut self.node, now, tick, clogged, incarnation };
        self.proposals.flush(&mut place, out);
        if mutant!(ReadUnconfirmed) && self.node.raft.state == StateRole::Leader {
            self.reads.guess(self.node.raft.raft_log.committed, out);
        }
        let patience = u64::from(self.config.heartbeat_ticks) * 2;
        self.reads.flush(&mut self.node, self.ticks, patience);
    }

    fn tick(&mut self, out: &mut Vec<Output>) {
        self.ticks += 1;
        self.tell_condition(out);
        let election = u64::from(self.config.election_ticks);
        self.proposals.tick(self.ticks, election.div_ceil(2));
        for peer in self.transfers.tick(self.ticks, election * 30, out) {
            if mutant!(ReportForgotten) {
                continue;
            }
            self.node.report_snapshot(peer.0, SnapshotStatus::Failure);
        }
        if self.node.raft.state != StateRole::Leader {
            if self.may_not_campaign() {
                // A state under installation cannot lead, but the lease of a leader that fell silent
                // must run out all the same: others may need this vote.
                let election = self.config.election_ticks as usize;
                let elapsed = &mut self.node.raft.election_elapsed;
                *elapsed = (*elapsed + 1).min(election);
                return;
            }
            if self.is_only_voter() {
                // Nobody else could: there is no reason to wait for a timeout.
                let _won = self.node.campaign();
                return;
            }
            // Raft draws its timeouts from a source that cannot be seeded: ours stands in.
            let timeout = self.timeout();
            self.node.raft.set_randomized_election_timeout(timeout);
            if self.node.raft.election_elapsed + 1 >= timeout {
                self.attempts += 1;
            }
        }
        self.node.tick();
    }

    /// A connection that breaks is what the death of a process looks like, and comes long before the
    /// silence is conspicuous. The leader has the time of a heartbeat, and one tick, to be heard of
    /// again; then its lease is over here, and the replicas campaign one after the other.
    fn suspect_leader(&mut self, peer: ReplicaId) {
        let raft = &mut self.node.raft;
        if raft.state != StateRole::Follower || raft.leader_id != peer.0 {
            return;
        }
        let patience = self.config.heartbeat_ticks as usize + 1;
        let election = self.config.election_ticks as usize;
        raft.election_elapsed = raft.election_elapsed.max(election.saturating_sub(patience));
        self.suspect = Some(peer);
    }

    /// In ticks, from one election timeout to just under two; a function of what is known here.
    fn timeout(&self) -> usize {
        let leader = self.node.raft.leader_id;
        if self.suspect.is_some_and(|suspect| suspect.0 == leader) {
            // Everybody lost the same connection at about the same time: by rank, two ticks apart, so
            // that nobody asks before the others' leases are over, and no two at once.
            let before = |id: &&ReplicaId| **id < self.config.me && id.0 != leader;
            let rank = self.record.conf.voters.iter().filter(before).count();
            let election = self.config.election_ticks as usize;
            return (election + 1 + 2 * rank).min((2 * election).saturating_sub(1)).max(election);
        }
        let role = self.node.raft.state as u64;
        let seeds = [self.config.seed, self.config.me.0, self.node.raft.term, role, self.attempts];
        let mixed = seeds.into_iter().fold(0, |mixed, seed| splitmix(mixed ^ seed));
        let election = self.config.election_ticks as usize;
        let spread = mixed % u64::from(self.config.election_ticks.max(1));
        election + usize::try_from(spread).unwrap_or(0)
    }

    /// Whether so much lies before the disk or the state machine that no more may be taken.
    fn is_clogged(&self) -> bool {
        self.snapshots.backlog() > BACKLOG_BYTES
            || self.snapshots.batches() > BACKLOG_JOBS
            || self.writes.len() > BACKLOG_JOBS
            || buggify!(Clogged)
    }

    fn is_only_voter(&self) -> bool {
        let conf = &self.record.conf;
        !conf.is_joint() && conf.voters.len() == 1 && conf.voters.contains(&self.config.me)
    }

    /// The only voter wins in the same call, which raft survives only when all is on the disk; a
    /// state that is still being installed cannot lead; and before it campaigns raft reads every
    /// entry that it does not count as applied, among them those that a snapshot just stood in for,
    /// until the log on the disk begins behind that snapshot too.
    fn may_not_campaign(&self) -> bool {
        self.snapshots.installing()
            || (self.node.raft.raft_log.applied() + 1 < self.node.store().first()
                && !mutant!(CampaignDuringInstall))
            || (self.is_only_voter() && !self.writes.is_empty())
    }

    fn received(
        &mut self,
        from: ReplicaId,
        payload: Bytes,
        out: &mut Vec<Output>,
    ) -> Result<(), CoreError> {
        if self.record.group.tombstones.contains_key(&from) {
            self.dropped += 1;
            return Ok(());
        }
        self.contacts.insert(from, self.ticks);
        self.suspect.take_if(|suspect| *suspect == from);
        let Some(kind) = PeerMessage::from_payload(payload).ok().and_then(|message| message.kind)
        else {
            self.dropped += 1;
            return Ok(());
        };
        match kind {
            Kind::Raft(bytes) => match Message::parse_from_carllerche_bytes(&bytes) {
                Ok(message) if message.get_msg_type() != MessageType::MsgSnapshot => {
                    self.step_raft(from, message)?;
                }
                _ => self.dropped += 1,
            },
            Kind::Forward(forward) => self.proposals.forwarded(from, forward),
            Kind::ForwardAnswer(answer) => {
                // A process numbers its requests from 1 again, so an old one's answer says nothing.
                if answer.incarnation == self.config.incarnation {
                    self.proposals.answered(&answer);
                }
            }
            Kind::SnapshotHead(head) => self.offered(from, &head, out)?,
            Kind::SnapshotWant(want) => self.transfers.wanted(from, want, self.ticks, out),
            Kind::SnapshotChunk(chunk) => self.transfers.chunk(from, chunk, self.ticks, out),
            Kind::SnapshotVerdict(verdict) => {
                if self.transfers.ended(from, verdict.transfer) {
                    let status =
                        if verdict.ok { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
                    self.node.report_snapshot(from.0, status);
                }
            }
            Kind::TransferLeader(wish) => {
                if self.node.raft.state == StateRole::Leader {
                    self.transfer(wish.target(), out);
                }
            }
            Kind::Condition(condition) => self.told_condition(from, condition),
        }
        Ok(())
    }

    fn step_raft(&mut self, from: ReplicaId, message: Message) -> Result<(), CoreError> {
        let facts = Facts {
            writing: self.writes.has_data(),
            may_not_campaign: self.may_not_campaign() || self.is_only_voter(),
            clogged: self.is_clogged(),
        };
        match guard::judge(&self.node.raft, from, &message, facts) {
            // An error only says that raft ignored it.
            Verdict::Pass => drop(self.node.step(message)),
            Verdict::Drop => self.dropped += 1,
            Verdict::Stop(error) => return Err(error),
        }
        Ok(())
    }

    fn transfer(&mut self, to: Option<ReplicaId>, out: &mut Vec<Output>) {
        let raft = &self.node.raft;
        if raft.state != StateRole::Leader {
            if let Some(leader) = self.leadership.leader {
                let wish = message::TransferLeader::wish(to);
                let payload = PeerMessage::payload(Kind::TransferLeader(wish));
                out.push(Output::Send { to: leader, lane: crate::net::Lane::Control, payload });
            }
            return;
        }
        let to = to.or_else(|| self.successor(|_| true));
        let voters = &self.record.conf.voters;
        if let Some(to) = to.filter(|to| *to != self.config.me && voters.contains(to)) {
            self.node.transfer_leader(to.0);
        }
    }

    /// Who could lead instead: of those who `may`, the one that is furthest along.
    fn successor(&self, may: impl Fn(ReplicaId) -> bool) -> Option<ReplicaId> {
        let raft = &self.node.raft;
        let others = self.record.conf.voters.iter().copied().filter(|id| *id != self.config.me);
        let matched = |id: ReplicaId| raft.prs().get(id.0).map_or(0, |peer| peer.matched);
        let alive = |id: ReplicaId| raft.prs().get(id.0).is_some_and(|peer| peer.recent_active);
        others.filter(|id| alive(*id) && may(*id)).max_by_key(|id| (matched(*id), id.0))
    }
}

fn raft_config(config: &CoreConfig, applied: u64) -> raft::Config {
    let election = config.election_ticks as usize;
    raft::Config {
        id: config.me.0,
        election_tick: election,
        heartbeat_tick: config.heartbeat_ticks as usize,
        applied,
        max_size_per_msg: 1 << 20,
        max_inflight_msgs: 128,
        check_quorum: !mutant!(NoPreVote),
        pre_vote: !mutant!(NoPreVote),
        min_election_tick: election,
        max_election_tick: election * 2,
        // Batching would let one message outgrow what a frame takes; proposals are merged before.
        batch_append: false,
        max_uncommitted_size: 64 << 20,
        max_committed_size_per_ready: 4 << 20,
        ..raft::Config::default()
    }
}

/// One step of the generator of that name.
fn splitmix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
