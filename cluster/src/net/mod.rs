//! Replica to replica: framed TCP under mutual TLS.
//!
//! Every replica sends on the connections that it dialled and receives on those that it accepted,
//! so neither side has to settle who owns a connection. A pair of replicas has two in each
//! direction, one per [`Lane`], so that a snapshot never delays a vote.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::listener::{Callers, Listener, Strangers};
use self::queue::PushError;
use self::roster::Book;
use crate::types::{GroupId, Member, ReplicaId};

mod dialler;
pub mod frame;
pub(crate) mod hello;
pub(crate) mod link;
mod listener;
mod queue;
mod roster;
#[cfg(test)]
mod tests;
mod tls;

pub use roster::Roster;
pub use tls::{PeerTls, PeerTlsError};

/// The largest payload that one frame may carry, in bytes.
pub const MAX_PAYLOAD: usize = 8 << 20;

/// Which of the two connections to a peer carries a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Votes, heartbeats, acknowledgements, reads, forwards: small and urgent.
    Control,
    /// Large appends and snapshot chunks.
    Bulk,
}

impl Lane {
    /// Its number in a hello.
    fn number(self) -> u32 {
        match self {
            Lane::Control => 1,
            Lane::Bulk => 2,
        }
    }

    fn from_number(number: u32) -> Option<Lane> {
        [Lane::Control, Lane::Bulk].into_iter().find(|lane| lane.number() == number)
    }

    /// A word for metrics and logs.
    fn word(self) -> &'static str {
        match self {
            Lane::Control => "control",
            Lane::Bulk => "bulk",
        }
    }
}

/// What the connections tell their owner. Called on the connections' own tasks: must not block.
pub trait PeerEvents: Send + Sync + 'static {
    /// A message of an authenticated peer. [`PeerEvents::received_all`] follows.
    fn received(&self, from: ReplicaId, lane: Lane, payload: Bytes);
    /// What the peer sent so far is received.
    fn received_all(&self) {}
    /// Messages can be sent to `peer` now.
    fn up(&self, peer: ReplicaId);
    /// Messages to `peer` are refused from now on; those still queued may be lost.
    fn down(&self, peer: ReplicaId);
    /// `peer` says that this replica was removed from the group.
    fn told_removed(&self, peer: ReplicaId);
    /// How this replica is, for a peer that asks; nothing if nobody knows.
    fn report(&self) -> Bytes {
        Bytes::new()
    }
    /// `peer` says that another group took the place of this one for ever.
    fn superseded(&self, _peer: &Member) {}
}

/// What [`Peers::start`] needs.
pub struct PeerOptions {
    /// Replicas of any other group are refused,
    pub group: GroupId,
    /// and those of the groups that it took the place of are told so.
    pub before: Vec<GroupId>,
    /// This replica; `members` names it too.
    pub me: ReplicaId,
    /// Which start of this replica this is: rises by one with every start.
    pub incarnation: u64,
    /// Where peers reach this replica.
    pub listener: TcpListener,
    /// `None` speaks plain TCP and believes any peer that knows the group: for one machine only.
    pub tls: Option<PeerTls>,
    /// Everyone in the group, as far as is known at the start.
    pub members: Vec<Member>,
    /// Where the settings expect members; tried where the record's address does not answer.
    pub settings: Vec<Member>,
    /// The shortest election timeout. Dialling gives up well before it, so that an answer to a vote
    /// is never a whole term late.
    pub election_timeout: Duration,
}

/// Why a message was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Not in the group, or this replica itself.
    #[error("replica {0} is not a peer of this one")]
    UnknownPeer(ReplicaId),
    /// No connection at the moment; a new one is being dialled.
    #[error("replica {0} is not connected")]
    NotConnected(ReplicaId),
    /// The peer does not take messages as fast as they come.
    #[error("the queue to replica {0} is full")]
    QueueFull(ReplicaId),
    /// Longer than [`MAX_PAYLOAD`].
    #[error("a message of {0} bytes is too long for one frame")]
    TooLong(usize),
}

/// The connections to all peers; a cheap clone. When the last clone is dropped they are cut.
#[derive(Clone)]
pub struct Peers {
    shared: Arc<Shared>,
}

struct Shared {
    book: Arc<Book>,
    callers: Arc<Callers>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _cut: DropGuard,
}

/// What every connection of this replica says about it.
struct Local {
    group: GroupId,
    before: Vec<GroupId>,
    me: ReplicaId,
    name: String,
    incarnation: u64,
    tls: Option<PeerTls>,
    dial_timeout: Duration,
    events: Arc<dyn PeerEvents>,
}

impl Peers {
    /// Starts to accept and to dial, on the current tokio runtime; returns at once.
    pub fn start(options: PeerOptions, events: Arc<dyn PeerEvents>) -> Peers {
        let me = options.members.iter().find(|member| member.id == options.me).cloned();
        let me = me.unwrap_or_else(|| Member {
            id: options.me,
            name: String::new(),
            address: String::new(),
        });
        let local = Arc::new(Local {
            group: options.group,
            before: options.before,
            me: options.me,
            name: me.name.clone(),
            incarnation: options.incarnation,
            tls: options.tls,
            dial_timeout: options.election_timeout / 2,
            events,
        });
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let book = Book::new(local, me, &options.settings, tasks.clone(), stop.clone());
        book.set(Roster { members: options.members, ..Roster::default() });
        let callers = Arc::new(Callers::default());
        let listener = Listener {
            book: Arc::clone(&book),
            tasks: tasks.clone(),
            stop: stop.clone(),
            strangers: Strangers::default(),
            callers: Arc::clone(&callers),
        };
        tasks.spawn(Arc::new(listener).run(options.listener));
        let cut = stop.clone().drop_guard();
        Peers { shared: Arc::new(Shared { book, callers, tasks, stop, _cut: cut }) }
    }

    /// Connects to whoever is new on the roster or moved, and cuts off whoever is not on it.
    pub fn set_roster(&self, roster: Roster) {
        for gone in self.shared.book.set(roster) {
            self.shared.callers.leave(gone);
        }
    }

    /// Sends a message; never blocks. Messages of one lane arrive in order or not at all.
    pub fn send(&self, to: ReplicaId, lane: Lane, payload: Bytes) -> Result<(), SendError> {
        self.queue(to, lane, payload)?;
        self.flush([(to, lane)]);
        Ok(())
    }

    /// As [`Peers::send`], but the message may wait until [`Peers::flush`].
    pub fn queue(&self, to: ReplicaId, lane: Lane, payload: Bytes) -> Result<(), SendError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(SendError::TooLong(payload.len()));
        }
        let queue = self.shared.book.queue(to, lane).ok_or(SendError::UnknownPeer(to))?;
        queue.push(payload).map_err(|error| match error {
            PushError::Closed => SendError::NotConnected(to),
            PushError::Full => {
                metrics::counter!("muster_peer_queue_full_total", "lane" => lane.word())
                    .increment(1);
                SendError::QueueFull(to)
            }
        })
    }

    /// Sends what is queued for these; never blocks.
    pub fn flush(&self, lanes: impl IntoIterator<Item = (ReplicaId, Lane)>) {
        for (to, lane) in lanes {
            if let Some(queue) = self.shared.book.queue(to, lane) {
                queue.flush();
            }
        }
    }

    /// Asks `member` how it is.
    pub(crate) async fn ask(&self, member: &Member, limit: Duration) -> Result<Bytes, String> {
        let local = &self.shared.book.local;
        let question = hello::Question { asker: local.name.clone(), report: true };
        let tls = local.tls.as_ref();
        let asked = link::question(&member.address, &member.name, tls, &question, limit).await;
        match asked {
            Ok(answer) if answer.group != local.group.0.to_be_bytes() => {
                Err("a replica of another group answers at its address".to_owned())
            }
            Ok(answer) if answer.report.is_empty() => {
                Err("it runs, but does not say how it is".to_owned())
            }
            Ok(answer) => Ok(answer.report),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Sends what is queued, for at most a second, then cuts every connection.
    pub async fn close(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}
