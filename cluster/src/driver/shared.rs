//! What the threads of a replica and its clients share.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64},
    },
    thread,
    time::Instant,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::watch;

use super::{
    applier::{Applier, ApplyJobs},
    desk::{Proposals, Tickets},
    end::{Ended, Ending, guarded},
    inbox::Inbox,
    runner::Runner,
    turns::Seat,
};
use crate::{
    core::{CoreStatus, Input, Leadership},
    group::{Published, SaveError, SavedSnapshot, StartError},
    machine::StateMachine,
    members::GroupRecord,
    net::{Lane, PeerEvents, Roster},
    types::{GroupId, Member, ReplicaId},
};

/// A core's status and when it was so.
#[derive(Clone, Debug)]
pub(crate) struct StatusRecord {
    pub(crate) core: CoreStatus,
    pub(crate) ticked: Instant,
    /// When a leader was last heard, this replica itself included.
    pub(crate) leader_heard: Option<Instant>,
}

pub(crate) struct Shared<M: StateMachine> {
    pub(crate) me: ReplicaId,
    pub(crate) incarnation: u64,
    pub(crate) group: GroupId,
    pub(crate) record: watch::Sender<Arc<GroupRecord>>,
    /// Where the settings expect members.
    pub(crate) settings: Vec<Member>,
    pub(crate) inbox: Inbox,
    pub(super) core: Seat<Runner<M>>,
    pub(crate) jobs: ApplyJobs,
    pub(super) state: Seat<Applier<M>>,
    pub(crate) proposals: Proposals,
    pub(crate) reads: Tickets<Published<M::View>>,
    pub(crate) wishes: Tickets<Result<SavedSnapshot, SaveError>>,
    pub(crate) published: ArcSwap<Published<M::View>>,
    pub(crate) status: ArcSwap<StatusRecord>,
    pub(crate) leadership: watch::Sender<Leadership>,
    /// No leader for so long that there is no point in waiting for one.
    pub(crate) leaderless: AtomicBool,
    /// Too little room on the disk for any command.
    pub(crate) disk_full: AtomicBool,
    /// So little room is left that the state must not grow.
    pub(crate) disk_low: AtomicBool,
    /// Bytes.
    pub(crate) disk_free: AtomicU64,
    pub(crate) ending: Ending,
    /// How this replica is, for peers that ask.
    pub(crate) report: OnceLock<Report>,
}

/// Tells how a replica is.
pub(crate) type Report = Box<dyn Fn() -> Bytes + Send + Sync>;

impl<M: StateMachine> Shared<M> {
    /// Stops everything; the first reason counts.
    pub(crate) fn end(&self, ended: Ended) {
        if ended.exit_code != 0 {
            tracing::error!(reason = %ended.reason, code = ended.exit_code, "the replica stops");
        }
        self.ending.tell(ended);
        self.inbox.close();
        self.jobs.close();
        self.proposals.close();
        self.reads.close();
        self.wishes.close();
    }

    /// Starts one of the replica's threads. If it fails, the replica stops.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        name: &'static str,
        thread: impl FnOnce() -> Result<(), StartError> + Send + 'static,
    ) -> Result<thread::JoinHandle<()>, StartError> {
        let shared = Arc::clone(self);
        thread::Builder::new()
            .name(format!("muster-{name}"))
            .spawn(move || {
                if let Some(ended) = guarded(name, thread) {
                    shared.end(ended);
                }
            })
            .map_err(StartError::Thread)
    }

    /// Everybody that this replica talks to. Until its log has reached its own admission, those whom
    /// it was told of when it was let in.
    pub(crate) fn roster(&self, record: &GroupRecord) -> Roster {
        let mut members = record.addresses();
        if record.members.get(&self.me).is_none_or(|me| me.since == 0) {
            let more = self.settings.iter().filter(|member| {
                !record.members.contains_key(&member.id)
                    && !record.tombstones.contains_key(&member.id)
            });
            members.extend(more.cloned());
        }
        let removed = record.tombstones.keys().copied().collect();
        Roster { revision: record.revision, members, removed }
    }

    pub(crate) fn published(&self) -> Published<M::View> {
        Published::clone(&self.published.load())
    }
}

/// Brings what peers send into the inbox.
pub(crate) struct Events<M: StateMachine>(pub(crate) Arc<Shared<M>>);

impl<M: StateMachine> PeerEvents for Events<M> {
    fn received(&self, from: ReplicaId, _lane: Lane, payload: Bytes) {
        if !self.0.inbox.put_message(from, payload) {
            metrics::counter!("muster_raft_messages_dropped_total").increment(1);
        }
    }

    fn received_all(&self) {
        self.0.turn();
    }

    fn up(&self, peer: ReplicaId) {
        self.0.inbox.push(Input::PeerUp(peer));
    }

    fn down(&self, peer: ReplicaId) {
        self.0.inbox.push(Input::PeerDown(peer));
    }

    fn report(&self) -> Bytes {
        self.0.report.get().map_or_else(Bytes::new, |report| report())
    }

    fn superseded(&self, peer: &Member) {
        let name = &peer.name;
        let reason = format!(
            "{name} says that this group was given up and that another one took its place (muster \
             recover force-new-group): what this replica holds is of the past; keep its data folder \
             for inspection, and let the replica join the new group with an empty one"
        );
        self.0.end(Ended { exit_code: 78, reason });
    }

    fn told_removed(&self, peer: ReplicaId) {
        tracing::warn!(peer = %peer, "a peer says that this replica was removed from the group");
        self.0.inbox.push(Input::ToldRemoved);
    }
}
