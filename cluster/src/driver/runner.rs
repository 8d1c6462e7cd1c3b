//! The thread that owns the core.

use std::{
    collections::{BTreeSet, VecDeque},
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
    pub(crate) applier: Sender<ApplyJob>,
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
}

impl<M: StateMachine> Runner<M> {
    /// Turns until the inbox is closed.
    pub(crate) fn run(mut self) -> Result<(), StartError> {
        let mut due = Instant::now();
        let mut out = Vec::new();
        while let Some(mut inputs) = self.shared.inbox.drain(due) {
            let now = Instant::now();
            let ticks = now >= due;
            if ticks {
                // A pause is not made up for: ticks in a row would pass for a silent leader.
                due = (due + self.tick).max(now + self.tick / 2);
            }
            for input in &inputs {
                if let Input::Persisted { number } = input {
                    while self.writes.pop_front_if(|(write, _)| *write <= *number).is_some() {}
                }
            }
            if ticks {
                inputs.extend(self.watch_disk(now)?);
            }
            self.core.step((self.clock)(), inputs, &mut out)?;
            let mut moved = false;
            for output in out.drain(..) {
                moved |= matches!(output, Output::Leadership(_));
                if self.obey(output).is_none() {
                    return Ok(());
                }
            }
            if ticks {
                self.count_leaderless();
            }
            if ticks || moved {
                self.publish(now);
            }
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
            Output::Apply { entries } => self.applier.send(ApplyJob::Apply(entries)).ok(),
            Output::Install { meta } => self.applier.send(ApplyJob::Install(meta)).ok(),
            Output::BuildSnapshot { conf, ticket } => {
                self.applier.send(ApplyJob::Picture { conf, ticket }).ok()
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
            Output::Retire { at, replicas } => {
                self.applier.send(ApplyJob::Retire { at, replicas }).ok()
            }
            Output::Removed => {
                let reason = StartError::Removed.to_string();
                self.shared.end(Ended { exit_code: REMOVED, reason });
                None
            }
        }
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
        match advice {
            Advice::GoOn => Ok(vec![Input::Tick]),
            Advice::MoveOn => Ok(vec![Input::Tick, Input::Transfer { to: None }]),
            Advice::FallSilent => Ok(Vec::new()),
            Advice::GiveUp => Err(StartError::DiskHangs(stalled)),
        }
    }

    fn send(&mut self, to: ReplicaId, lane: Lane, payload: Bytes) {
        match self.peers.send(to, lane, payload) {
            Ok(()) => {
                self.clogged.remove(&to);
            }
            // Once: telling raft of each loss would keep the peer from catching up.
            Err(SendError::QueueFull(_) | SendError::NotConnected(_))
                if self.clogged.insert(to) =>
            {
                self.shared.inbox.push(Input::PeerDown(to));
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
