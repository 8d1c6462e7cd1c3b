//! A replica in production: what the rest of Muster sees of the agreement.

use std::{
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    task::{Context, Poll},
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    net::TcpListener,
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    core::Input,
    driver::{NoTicket, Shared},
    folder::DataFolder,
    machine::StateMachine,
    members::MemberRole,
    net::{PeerTls, Peers},
    sessions::{Answer, Envelope},
    snapshot::SnapshotMeta,
    types::{Member, ReplicaId, RequestId, Timestamp},
};
mod errors;
mod membership;
mod report;

pub use crate::{
    core::{Role, SnapshotPolicy, Unfit, Waits},
    driver::{Ended, REMOVED},
};
pub use errors::{
    MayBeDone, NotDone, ProposeError, ReadError, SaveError, StartError, TransferError,
};
pub use membership::{ChangeTimers, MembershipError};
pub use report::Told;

/// The wall clock, for the stamps of a leader.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How time is counted. Elections start after one to two times `tick * election_ticks` of silence.
#[derive(Clone, Copy, Debug)]
pub struct Timers {
    /// The unit.
    pub tick: Duration,
    /// Silence that makes an election, in ticks.
    pub election_ticks: u32,
    /// Between two heartbeats, in ticks.
    pub heartbeat_ticks: u32,
}

impl Default for Timers {
    fn default() -> Self {
        Self { tick: Duration::from_millis(50), election_ticks: 20, heartbeat_ticks: 2 }
    }
}

/// What a replica needs to start.
pub struct GroupOptions {
    /// Its data, which must have an identity.
    pub data: DataFolder,
    /// The voters with whom the group's log begins. They never change; whether they are still
    /// members is in the log.
    pub founders: Vec<Member>,
    /// Where the settings expect the members, this replica included. What the log says of them counts
    /// more, as soon as it says anything.
    pub members: Vec<Member>,
    /// Where peers reach it.
    pub listener: TcpListener,
    /// `None` speaks plain TCP, for one machine only.
    pub tls: Option<PeerTls>,
    /// How time is counted.
    pub timers: Timers,
    /// When to save snapshots.
    pub snapshot: SnapshotPolicy,
    /// When members change by themselves.
    pub changes: ChangeTimers,
    /// Of the election timeouts.
    pub seed: u64,
    /// The wall clock.
    pub clock: Clock,
}

/// A command that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its place in the log.
    pub index: u64,
    /// Term of the leader that took it.
    pub term: u64,
    /// When that leader took it, in log time.
    pub time: Timestamp,
    /// What the state machine answered.
    pub reply: Bytes,
}

impl From<Answer> for Applied {
    fn from(Answer { index, term, time, reply }: Answer) -> Self {
        Self { index, term, time, reply }
    }
}

/// A state as readers see it.
#[derive(Clone, Debug)]
pub struct Published<V> {
    /// The state machine's view.
    pub view: V,
    /// The last entry in it.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Its log time.
    pub time: Timestamp,
}

/// A replica and its group, as the replica sees it.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    /// This replica.
    pub me: ReplicaId,
    /// Its part.
    pub role: Role,
    /// Who leads, if known.
    pub leader: Option<ReplicaId>,
    /// The term.
    pub term: u64,
    /// Index known to be committed.
    pub commit: u64,
    /// Index applied here.
    pub applied: u64,
    /// Last index of the log here.
    pub last_index: u64,
    /// Bytes of the log's entries here.
    pub log_bytes: u64,
    /// Bytes left on the disk.
    pub disk_free: u64,
    /// Since the core last ticked.
    pub tick_age: Duration,
    /// Since a leader was last heard; `None` if never.
    pub leader_age: Option<Duration>,
    /// Everybody in the group.
    pub members: Vec<MemberStatus>,
    /// Name of the change of the members that is under way; [`Group::record`] tells which.
    pub change: Option<u64>,
    /// It cannot be given up any more: two configurations hold.
    pub joint: bool,
    /// A step of it was taken: given up, it is left half done.
    pub half_done: bool,
}

/// A member as this replica sees it.
#[derive(Clone, Debug)]
pub struct MemberStatus {
    /// Who it is.
    pub member: Member,
    /// Where it stands; empty if nobody said.
    pub zone: String,
    /// Whether it votes.
    pub voter: bool,
    /// Index up to which its log agrees; known to the leader.
    pub matched: Option<u64>,
    /// Since it was last heard; `None` if never.
    pub contact_age: Option<Duration>,
    /// Why it is an observer still; known to the leader.
    pub waits: Option<Waits>,
}

#[derive(Clone, Debug)]
pub(crate) struct SavedSnapshot {
    pub(crate) meta: SnapshotMeta,
    pub(crate) path: PathBuf,
}

/// Resolves when the replica has stopped, with the reason.
#[derive(Debug)]
pub struct GroupEnd(pub(crate) oneshot::Receiver<Ended>);

impl Future for GroupEnd {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ended> {
        // Without a sender left, every thread is gone and nothing failed.
        Pin::new(&mut self.0).poll(context).map(|ended| ended.unwrap_or_else(|_| Ended::asked()))
    }
}

/// A running replica; a cheap clone. When the last clone is dropped it stops at once.
pub struct Group<M: StateMachine> {
    inner: Arc<Inner<M>>,
}

impl<M: StateMachine> Clone for Group<M> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

pub(crate) struct Inner<M: StateMachine> {
    pub(crate) shared: Arc<Shared<M>>,
    pub(crate) peers: Peers,
    pub(crate) timers: Timers,
    pub(crate) threads: Mutex<Vec<JoinHandle<()>>>,
}

impl<M: StateMachine> Drop for Inner<M> {
    fn drop(&mut self) {
        self.shared.end(Ended::asked());
    }
}

impl<M: StateMachine> Group<M> {
    /// Reads the data folder and takes part in the group.
    pub async fn start(options: GroupOptions) -> Result<(Self, GroupEnd), StartError> {
        let (inner, end) = crate::driver::start(options).await?;
        Ok((Self { inner: Arc::new(inner) }, end))
    }

    /// As [`Group::propose`], for a command that lets the state grow: refused already when the disk
    /// is low, while there is still room for others.
    pub async fn propose_growing(
        &self,
        command: Bytes,
        deadline: Instant,
    ) -> Result<Applied, ProposeError> {
        if self.inner.shared.disk_low.load(Ordering::Relaxed) {
            metrics::counter!("muster_raft_proposals_total", "result" => "not_done").increment(1);
            return Err(ProposeError::NotDone(NotDone::DiskFull));
        }
        self.propose(command, deadline).await
    }

    /// Has `command` committed and applied, exactly once, and brings back what this replica's state
    /// machine answered.
    pub async fn propose(
        &self,
        command: Bytes,
        deadline: Instant,
    ) -> Result<Applied, ProposeError> {
        let began = Instant::now();
        let result = self.propose_inner(command, deadline).await;
        let word = match &result {
            Ok(_) => "applied",
            Err(ProposeError::NotDone(_)) => "not_done",
            Err(ProposeError::MayBeDone(_)) => "may_be_done",
        };
        metrics::counter!("muster_raft_proposals_total", "result" => word).increment(1);
        metrics::histogram!("muster_raft_propose_duration_seconds")
            .record(began.elapsed().as_secs_f64());
        result
    }

    async fn propose_inner(
        &self,
        command: Bytes,
        deadline: Instant,
    ) -> Result<Applied, ProposeError> {
        let shared = &self.inner.shared;
        if shared.leaderless.load(Ordering::Relaxed) {
            return Err(ProposeError::NotDone(NotDone::NoLeader));
        }
        if shared.disk_full.load(Ordering::Relaxed) {
            return Err(ProposeError::NotDone(NotDone::DiskFull));
        }
        self.submit(command, Envelope::new, deadline).await
    }

    /// A wish about the members is taken on a full disk too: it may be what helps.
    async fn propose_wish(&self, wish: Bytes, deadline: Instant) -> Result<Applied, ProposeError> {
        if self.inner.shared.leaderless.load(Ordering::Relaxed) {
            return Err(ProposeError::NotDone(NotDone::NoLeader));
        }
        self.submit(wish, Envelope::of_wish, deadline).await
    }

    async fn submit(
        &self,
        payload: Bytes,
        envelope: impl FnOnce(RequestId, u64, Bytes) -> Envelope,
        deadline: Instant,
    ) -> Result<Applied, ProposeError> {
        let shared = &self.inner.shared;
        let admitted = shared.proposals.admit(payload.len()).map_err(ProposeError::NotDone)?;
        let sequence = admitted.sequence;
        let request = RequestId { replica: shared.me, incarnation: shared.incarnation, sequence };
        let data = envelope(request, admitted.lowest_open, payload).write();
        let mut wish = Wish { shared, sequence, open: true };
        shared.bring([Input::Propose(vec![crate::core::Proposal { sequence, data }])]);
        let mut answer = admitted.answer;
        if let Ok(answer) = timeout_at(deadline, &mut answer).await {
            wish.open = false;
            return answer.unwrap_or(Err(ProposeError::MayBeDone(MayBeDone::Stopped)));
        }
        // The core knows whether it ever left; it answers within moments.
        drop(wish);
        match timeout(Duration::from_secs(1), answer).await {
            Ok(Ok(answer)) => answer,
            _ => Err(ProposeError::MayBeDone(MayBeDone::Timeout)),
        }
    }

    /// The state with everything in it that was acknowledged, anywhere in the group, before this
    /// call.
    pub async fn read(&self, deadline: Instant) -> Result<Published<M::View>, ReadError> {
        let began = Instant::now();
        let shared = &self.inner.shared;
        if shared.leaderless.load(Ordering::Relaxed) {
            return Err(ReadError::NoLeader);
        }
        let (ticket, told) = shared.reads.take().map_err(|error| match error {
            NoTicket::TooMany => ReadError::Overloaded,
            NoTicket::Closed => ReadError::Stopping,
        })?;
        shared.bring([Input::Read { ticket }]);
        let result = match timeout_at(deadline, told).await {
            Ok(Ok(published)) => Ok(published),
            Ok(Err(_)) => Err(ReadError::Stopping),
            Err(_) if shared.leadership.borrow().leader.is_none() => Err(ReadError::NoLeader),
            Err(_) => Err(ReadError::Timeout),
        };
        metrics::histogram!("muster_raft_read_index_duration_seconds")
            .record(began.elapsed().as_secs_f64());
        result
    }

    /// The state that this replica has now; it may be old.
    pub fn local(&self) -> Published<M::View> {
        self.inner.shared.published()
    }

    /// How the replica is doing.
    pub fn status(&self) -> GroupStatus {
        let shared = &self.inner.shared;
        let record = shared.status.load();
        let leadership = *shared.leadership.borrow();
        let applied = shared.published.load().index;
        let tick_age = record.ticked.elapsed();
        let age = |ticks: u64| {
            self.inner.timers.tick * u32::try_from(ticks).unwrap_or(u32::MAX) + tick_age
        };
        let group = self.record();
        let seen = |id| record.core.members.iter().find(|seen| seen.id == id);
        let members = group
            .members
            .values()
            .map(|known| MemberStatus {
                member: known.member.clone(),
                zone: known.zone.clone(),
                voter: known.role == MemberRole::Voter,
                matched: seen(known.member.id).and_then(|seen| seen.matched),
                contact_age: seen(known.member.id).and_then(|seen| seen.last_contact).map(age),
                waits: seen(known.member.id).and_then(|seen| seen.waits),
            })
            .collect();
        GroupStatus {
            me: shared.me,
            role: leadership.role,
            leader: leadership.leader,
            term: leadership.term,
            commit: record.core.commit.max(applied),
            applied,
            last_index: record.core.last_index.max(applied),
            log_bytes: record.core.log_bytes,
            disk_free: shared.disk_free.load(Ordering::Relaxed),
            tick_age,
            leader_age: record.leader_heard.map(|heard| heard.elapsed()),
            members,
            change: group.change.as_ref().map(|change| change.id),
            joint: record.core.joint,
            half_done: record.core.half_done,
        }
    }

    /// Has another replica lead: `to`, or whoever is furthest along. Can be asked of any replica.
    pub async fn transfer_leader(
        &self,
        to: Option<ReplicaId>,
        deadline: Instant,
    ) -> Result<(), TransferError> {
        let shared = &self.inner.shared;
        let record = self.record();
        match to.map(|to| record.members.get(&to).map(|member| member.role).ok_or(to)) {
            Some(Err(to)) => return Err(TransferError::Unknown(to)),
            Some(Ok(MemberRole::Observer)) => return Err(TransferError::Observer),
            None if record.voters().count() < 2 => return Err(TransferError::NobodyElse),
            Some(Ok(MemberRole::Voter)) | None => {}
        }
        let mut leadership = shared.leadership.subscribe();
        let before = leadership.borrow().leader;
        let moved = |leader: Option<ReplicaId>| match to {
            Some(_) => leader == to,
            None => leader.is_some() && leader != before,
        };
        let again = self.inner.timers.tick * self.inner.timers.election_ticks;
        while Instant::now() < deadline {
            shared.inbox.push(Input::Transfer { to });
            let until = deadline.min(Instant::now() + again);
            let waited = leadership.wait_for(|now| moved(now.leader));
            match timeout_at(until, waited).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(_)) => break,
                // Raft gives a transfer up after an election timeout.
                Err(_) => {}
            }
        }
        Err(TransferError::Timeout)
    }

    /// Saves a snapshot of all that is applied, and says where.
    pub async fn save_snapshot(&self) -> Result<(SnapshotMeta, PathBuf), SaveError> {
        let shared = &self.inner.shared;
        if shared.published.load().index == 0 {
            return Err(SaveError::NothingYet);
        }
        let (ticket, told) = shared.wishes.take().map_err(|error| match error {
            NoTicket::TooMany => SaveError::Overloaded,
            NoTicket::Closed => SaveError::Stopping,
        })?;
        shared.inbox.push(Input::SaveSnapshot { ticket });
        let saved = told.await.map_err(|_| SaveError::Stopping)??;
        Ok((saved.meta, saved.path))
    }

    /// Takes no more commands, hands leadership over, and stops when everything is on the disk.
    pub async fn shutdown(&self) {
        let shared = &self.inner.shared;
        shared.proposals.refuse();
        let leads = shared.leadership.borrow().role == Role::Leader;
        if leads && self.record().voters().count() > 1 {
            let patience = self.inner.timers.tick * self.inner.timers.election_ticks * 2;
            // Nobody may be there to take over: then the others elect when they can.
            let _stays = self.transfer_leader(None, Instant::now() + patience).await;
        }
        shared.end(Ended::asked());
        let threads =
            std::mem::take(&mut *self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // A panic was told already.
                let _told = thread.join();
            }
        });
        let _joined = joined.await;
        self.inner.peers.close().await;
    }
}

/// Tells the core when nobody waits for a proposal any more.
struct Wish<'a, M: StateMachine> {
    shared: &'a Shared<M>,
    sequence: u64,
    open: bool,
}

impl<M: StateMachine> Drop for Wish<'_, M> {
    fn drop(&mut self) {
        if self.open {
            self.shared.inbox.push(Input::Abandon { sequence: self.sequence });
        }
    }
}
