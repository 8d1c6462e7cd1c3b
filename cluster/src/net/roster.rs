//! Who the peers are: what the group record says, kept as open connections.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::dialler::Dialler;
use super::hello::{Hello, PROTOCOL, Reason};
use super::queue::Queue;
use super::{Lane, Local};
use crate::types::{Member, ReplicaId};

/// Peers that are believed to be members although the record here does not know them yet.
const UNHEARD: usize = 32;

/// The group as one replica knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// The entry that last changed it; whoever knows a higher one knows more.
    pub revision: u64,
    /// Everybody, this replica included.
    pub members: Vec<Member>,
    /// Those who were removed: they are told so, and nothing else, for ever.
    pub removed: BTreeSet<ReplicaId>,
}

/// The connections to everybody on the roster.
pub(super) struct Book {
    pub(super) local: Arc<Local>,
    pages: RwLock<Pages>,
    tasks: TaskTracker,
    /// The roster changes on a thread that has no runtime.
    runtime: Handle,
    stop: CancellationToken,
    /// Where the settings expect members, should they not be where the record says.
    settings: BTreeMap<ReplicaId, String>,
}

struct Pages {
    revision: u64,
    me: Member,
    removed: BTreeSet<ReplicaId>,
    peers: BTreeMap<ReplicaId, Peer>,
}

struct Peer {
    member: Member,
    /// Only it itself said so, at this revision of the record.
    unheard: Option<u64>,
    lanes: BTreeMap<Lane, (Arc<Queue>, Arc<Notify>)>,
    stop: CancellationToken,
}

impl Book {
    pub(super) fn new(
        local: Arc<Local>,
        me: Member,
        settings: &[Member],
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Arc<Book> {
        let settings = settings.iter().map(|member| (member.id, member.address.clone())).collect();
        let (removed, peers) = (BTreeSet::new(), BTreeMap::new());
        let pages = RwLock::new(Pages { revision: 0, me, removed, peers });
        let runtime = Handle::current();
        Arc::new(Book { local, pages, tasks, runtime, stop, settings })
    }

    fn read(&self) -> RwLockReadGuard<'_, Pages> {
        self.pages.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Pages> {
        self.pages.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn queue(&self, to: ReplicaId, lane: Lane) -> Option<Arc<Queue>> {
        let pages = self.read();
        let (queue, _) = pages.peers.get(&to)?.lanes.get(&lane)?;
        Some(Arc::clone(queue))
    }

    /// Connects to whoever is new or moved, and lets go of whoever is gone; tells who that is.
    pub(super) fn set(self: &Arc<Book>, roster: Roster) -> Vec<ReplicaId> {
        let mut pages = self.write();
        let me = self.local.me;
        let mut gone = Vec::new();
        let wanted: BTreeMap<_, _> =
            roster.members.into_iter().map(|member| (member.id, member)).collect();
        pages.revision = roster.revision;
        pages.removed = roster.removed;
        if let Some(member) = wanted.get(&me) {
            pages.me = member.clone();
        }
        let Pages { peers, removed, revision, .. } = &mut *pages;
        peers.retain(|id, peer| {
            let ahead = peer.unheard.is_some_and(|said| said > *revision);
            let stays = match wanted.get(id) {
                Some(member) => *member == peer.member,
                None => ahead && !removed.contains(id),
            };
            if !stays {
                peer.stop.cancel();
                if !wanted.contains_key(id) {
                    gone.push(*id);
                }
            }
            stays
        });
        for (id, member) in wanted {
            if id == me {
                continue;
            }
            match peers.get_mut(&id) {
                Some(peer) => peer.unheard = None,
                None => {
                    peers.insert(id, self.connect(member, None));
                }
            }
        }
        gone
    }

    fn connect(self: &Arc<Book>, member: Member, unheard: Option<u64>) -> Peer {
        let stop = self.stop.child_token();
        let mut lanes = BTreeMap::new();
        let mut addresses = vec![member.address.clone()];
        let also = self.settings.get(&member.id).filter(|also| **also != member.address);
        addresses.extend(also.cloned());
        for lane in [Lane::Control, Lane::Bulk] {
            let (queue, wake) = (Arc::new(Queue::default()), Arc::new(Notify::new()));
            lanes.insert(lane, (Arc::clone(&queue), Arc::clone(&wake)));
            let (book, peer, stop) = (Arc::clone(self), member.clone(), stop.clone());
            let addresses = addresses.clone();
            let dialler = Dialler { book, peer, addresses, lane, queue, wake, stop };
            self.tasks.spawn_on(dialler.run(), &self.runtime);
        }
        Peer { member, unheard, lanes, stop }
    }

    /// What this replica says first on a connection to `peer`.
    pub(super) fn hello(&self, peer: ReplicaId, lane: Lane) -> Hello {
        let pages = self.read();
        Hello {
            protocol_min: *PROTOCOL.start(),
            protocol_max: *PROTOCOL.end(),
            group: self.local.group.0.to_be_bytes().to_vec(),
            replica: self.local.me.0,
            incarnation: self.local.incarnation,
            expects: peer.0,
            lane: lane.number(),
            name: pages.me.name.clone(),
            address: pages.me.address.clone(),
            revision: pages.revision,
        }
    }

    /// The name that the certificate of whoever says `hello` must carry, if it may come in.
    ///
    /// A replica that lags does not know newer members yet, and one of them may lead. So one that
    /// knows more of the record than this replica is believed to be a member for as long as the
    /// record here does not reach as far; the group's CA vouches for it.
    pub(super) fn name_of(&self, hello: &Hello) -> Result<String, Reason> {
        let id = ReplicaId(hello.replica);
        let pages = self.read();
        if pages.removed.contains(&id) {
            return Err(Reason::Removed);
        }
        if id == self.local.me {
            return Err(Reason::NotAMember);
        }
        if let Some(peer) = pages.peers.get(&id) {
            return Ok(peer.member.name.clone());
        }
        let unheard = pages.peers.values().filter(|peer| peer.unheard.is_some()).count();
        let believed = hello.revision > pages.revision
            && !hello.name.is_empty()
            && !hello.address.is_empty()
            && unheard < UNHEARD;
        if believed { Ok(hello.name.clone()) } else { Err(Reason::NotAMember) }
    }

    /// Whoever said `hello` has shown that it is who it says: answers will find it.
    pub(super) fn met(self: &Arc<Book>, hello: &Hello) {
        let id = ReplicaId(hello.replica);
        let known = self.read().peers.get(&id).map(|peer| peer.lanes.clone());
        if let Some(lanes) = known {
            for (_, wake) in lanes.values() {
                wake.notify_one();
            }
            return;
        }
        let (name, address) = (hello.name.clone(), hello.address.clone());
        tracing::info!(name, address, "a member that this replica has not heard of yet called");
        let peer = self.connect(Member { id, name, address }, Some(hello.revision));
        match self.write().peers.entry(id) {
            Entry::Occupied(_) => peer.stop.cancel(),
            Entry::Vacant(free) => {
                free.insert(peer);
            }
        }
    }
}
