//! The core and what it needs around it.

use std::{
    collections::{BTreeSet, VecDeque},
    mem,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Sender, SyncSender},
    },
    time::{Duration, Instant},
};

use super::{
    applier::ApplyJob,
    end::{Ended, REMOVED},
    keeper::KeepJob,
    metrics::Gauges,
    shared::{Shared, StatusRecord},
    writer::WriteJob,
};
use crate::{
    core::{Core, Input, Leadership, Output, Role},
    disk::DiskHealth,
    group::{Applied, Clock, MayBeDone, NotDone, ProposeError, StartError},
    machine::StateMachine,
    members::Outcome,
    net::{Lane, Peers, SendError},
    stall::{Advice, StallWatch},
    types::ReplicaId,
};
use bytes::Bytes;

pub(super) struct Runner<M: StateMachine> {
    pub(crate) shared: Arc<Shared<M>>,
    pub(crate) core: Core,
    pub(crate) clock: Clock,
    pub(crate) tick: Duration,
    /// Ticks without a leader after which clients are not let in any more.
    pub(crate) patience: u64,
    pub(crate) peers: Peers,
    pub(crate) writer: Sender<WriteJob>,
    pub(crate) keeper: SyncSender<KeepJob<M>>,
    pub(crate) gauges: Gauges,
    /// Peers whose queue overflowed and of whom raft was told.
    pub(crate) clogged: BTreeSet<ReplicaId>,
    pub(crate) leader_heard: Option<Instant>,
    pub(crate) leaderless: u64,
    /// Writes under way and when they began.
    pub(crate) writes: VecDeque<(u64, Instant)>,
    pub(crate) stall: StallWatch,
    /// What it said last.
    pub(crate) advice: Advice,
    /// What the watch counts from.
    pub(crate) began: Instant,
    /// Kept for its memory.
    pub(crate) out: Vec<Output>,
    /// Where messages were queued in this turn.
    pub(crate) mail: BTreeSet<(ReplicaId, Lane)>,
}

impl<M: StateMachine> Runner<M> {
    /// Takes what happened since the last turn; `ticks` when it is time for a tick too.
    pub(crate) fn turn(&mut self, mut inputs: Vec<Input>, ticks: bool) -> Result<(), StartError> {
        let now = Instant::now();
        for input in &inputs {
            if let Input::Persisted { number } = input {
                while self.writes.pop_front_if(|(write, _)| *write <= *number).is_some() {}
            }
        }
        if ticks {
            inputs.extend(self.watch_disk(now)?);
        }
        let mut out = mem::take(&mut self.out);
        self.core.step((self.clock)(), inputs, &mut out)?;
        let mut moved = false;
        for output in out.drain(..) {
            moved |= matches!(output, Output::Leadership(_));
            if self.obey(output).is_none() {
                return Ok(());
            }
        }
        self.out = out;
        if ticks {
            self.count_leaderless();
        }
        if ticks || moved {
            self.publish(now);
        }
        Ok(())
    }

    /// `None` when the thread that should do it is gone: then the replica stops already.
    fn obey(&mut self, output: Output) -> Option<()> {
        match output {
            Output::Persist { number, batch } => {
                self.writes.push_back((number, Instant::now()));
                self.writer.send(WriteJob::Write { number, batch }).ok()
            }
            Output::Compact { through } => self.writer.send(WriteJob::Compact { through }).ok(),
            Output::Send { to, lane, payload } => {
                self.send(to, lane, payload);
                Some(())
            }
            Output::Apply { entries } => self.to_state(ApplyJob::Apply(entries)),
            Output::Install { meta } => self.to_state(ApplyJob::Install(meta)),
            Output::BuildSnapshot { conf, ticket } => {
                self.to_state(ApplyJob::Picture { conf, ticket })
            }
            Output::ReadAt { ticket, index } => {
                let shared = &self.shared;
                shared.reads.answer_at(ticket, index, || {
                    let published = shared.published();
                    (published.index, published)
                });
                Some(())
            }
            Output::Abandoned { sequence, sent } => {
                let error = if sent {
                    ProposeError::MayBeDone(MayBeDone::Timeout)
                } else {
                    ProposeError::NotDone(NotDone::NoLeader)
                };
                self.shared.proposals.answer([(sequence, Err(error))]);
                Some(())
            }
            Output::SendChunks { to, transfer, index, first, count } => {
                self.keeper.send(KeepJob::Send { to, transfer, index, first, count }).ok()
            }
            Output::ReceiveSnapshot { from, transfer, meta } => {
                self.keeper.send(KeepJob::Receive { from, transfer, meta }).ok()
            }
            Output::StoreChunk { from, transfer, last, data } => {
                self.keeper.send(KeepJob::Store { from, transfer, last, data }).ok()
            }
            Output::Leadership(leadership) => {
                self.lead(leadership);
                Some(())
            }
            Output::Answered { sequence, outcome } => {
                self.answer(sequence, &outcome);
                Some(())
            }
            Output::Record { record, .. } => {
                self.peers.set_roster(self.shared.roster(&record));
                self.gauges.set_members(&record);
                self.shared.record.send_replace(record);
                Some(())
            }
            Output::Retire { at, replicas } => self.to_state(ApplyJob::Retire { at, replicas }),
            Output::Removed => {
                let reason = StartError::Removed.to_string();
                self.shared.end(Ended { exit_code: REMOVED, reason });
                None
            }
        }
    }

    /// Whoever turned the core has it done after the turn.
    #[expect(clippy::unnecessary_wraps, reason = "as for the threads, of which each may be gone")]
    fn to_state(&self, job: ApplyJob) -> Option<()> {
        self.shared.jobs.put(job);
        Some(())
    }

    fn answer(&self, sequence: u64, outcome: &Outcome) {
        let core = self.core.status();
        let reply = outcome.encode();
        let time = self.shared.published.load().time;
        let applied = Applied { index: core.commit, term: core.leadership.term, time, reply };
        self.shared.proposals.answer([(sequence, Ok(applied))]);
    }

    /// What a tick brings, as far as the disk allows.
    fn watch_disk(&mut self, now: Instant) -> Result<Vec<Input>, StartError> {
        let stalled = self.writes.front().map_or(Duration::ZERO, |(_, began)| now - *began);
        let full = self.shared.disk_full.load(Ordering::Relaxed);
        let leads = self.shared.leadership.borrow().role == Role::Leader;
        let advice = self.stall.look(now - self.began, stalled, full, leads);
        if advice != self.advice && advice != Advice::GoOn {
            tracing::warn!(?stalled, full, ?advice, "the disk does not keep up");
        }
        self.advice = advice;
        if advice == Advice::GiveUp {
            return Err(StartError::DiskHangs(stalled));
        }
        let low = self.shared.disk_low.load(Ordering::Relaxed);
        Ok(advice.inputs(DiskHealth::of(stalled, low, full)))
    }

    fn send(&mut self, to: ReplicaId, lane: Lane, payload: Bytes) {
        match self.peers.queue(to, lane, payload) {
            Ok(()) => {
                self.clogged.remove(&to);
                self.mail.insert((to, lane));
            }
            // Once: telling raft of each loss would keep the peer from catching up.
            Err(SendError::QueueFull(_) | SendError::NotConnected(_))
                if self.clogged.insert(to) =>
            {
                self.shared.inbox.put([Input::PeerDown(to)]);
            }
            Err(error) => tracing::trace!(peer = %to, %error, "a message is lost"),
        }
    }

    fn lead(&mut self, leadership: Leadership) {
        tracing::info!(
            term = leadership.term,
            leader = leadership.leader.map(|id| id.to_string()),
            role = ?leadership.role,
            "leadership"
        );
        let before = self.shared.leadership.send_replace(leadership);
        if leadership.leader.is_some() && leadership.leader != before.leader {
            metrics::counter!("muster_raft_leader_changes_total").increment(1);
        }
        if leadership.leader.is_some() {
            self.leaderless = 0;
            self.shared.leaderless.store(false, Ordering::Relaxed);
        }
    }

    fn count_leaderless(&mut self) {
        if self.shared.leadership.borrow().leader.is_none() {
            self.leaderless += 1;
            if self.leaderless > self.patience {
                self.shared.leaderless.store(true, Ordering::Relaxed);
            }
        }
    }

    fn publish(&mut self, now: Instant) {
        let core = self.core.status();
        if let Some(ticks) = core.leader_seen {
            let ago = self.tick * u32::try_from(ticks).unwrap_or(u32::MAX);
            self.leader_heard = now.checked_sub(ago).or(self.leader_heard);
        }
        self.gauges.set(&core, self.shared.published.load().index, self.tick);
        let leader_heard = self.leader_heard;
        self.shared.status.store(Arc::new(StatusRecord { core, ticked: now, leader_heard }));
    }
}
