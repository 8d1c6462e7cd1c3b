//! What goes into a core and what comes out of it.

use bytes::Bytes;

use crate::{
    disk::DiskHealth,
    log::{LogBatch, LogEntry, LogMark},
    members::{Conf, GroupRecord, Outcome},
    net::Lane,
    snapshot::SnapshotMeta,
    types::ReplicaId,
};
use std::sync::Arc;

/// One thing that happened to a replica.
#[derive(Clone, Debug)]
pub enum Input {
    /// One tick of the clock passed. At most one per [`super::Core::step`]; never made up for later.
    Tick,
    /// How the disk is; it is sound until this says otherwise.
    Disk(DiskHealth),
    /// A payload arrived from a peer whose identity the transport has proved.
    Received {
        /// Who sent it.
        from: ReplicaId,
        /// A [`super::message::PeerMessage`], not yet trusted in any way.
        payload: Bytes,
    },
    /// A peer can be reached again.
    PeerUp(ReplicaId),
    /// The connection to a peer broke, or its queue overflowed: what was sent may be lost.
    PeerDown(ReplicaId),
    /// Commands of this replica's own clients, each to be committed exactly once.
    Propose(Vec<Proposal>),
    /// The client of a proposal waits no longer; answered by [`Output::Abandoned`].
    Abandon {
        /// Which proposal.
        sequence: u64,
    },
    /// Proposals of this replica came out of the log, so they need no more attempts.
    Done {
        /// Their sequences.
        sequences: Vec<u64>,
    },
    /// A client wants a linearizable read; answered by [`Output::ReadAt`].
    Read {
        /// Rises with every read; one answer serves all tickets up to its own.
        ticket: u64,
    },
    /// Everything up to this write is on disk.
    Persisted {
        /// Of [`Output::Persist`].
        number: u64,
    },
    /// The state machine has applied everything up to this entry.
    Applied {
        /// Index of the last one.
        index: u64,
    },
    /// Somebody wants a snapshot now.
    SaveSnapshot {
        /// Rises with every such wish; echoed in [`Output::BuildSnapshot`].
        ticket: u64,
    },
    /// The snapshot asked for by [`Output::BuildSnapshot`] is on disk and was read back.
    SnapshotSaved(SnapshotMeta),
    /// The snapshot could not be built now, or nothing was applied yet that it could hold.
    SnapshotNotSaved,
    /// A chunk was stored, so there is room for one more.
    ChunkStored {
        /// From whom.
        from: ReplicaId,
        /// Which transfer.
        transfer: u64,
    },
    /// All chunks of a received snapshot are on disk and verified, or that failed.
    SnapshotReceived {
        /// From whom.
        from: ReplicaId,
        /// Which transfer.
        transfer: u64,
        /// Whether it can be installed.
        ok: bool,
    },
    /// A peer says that this replica was removed from the group.
    ToldRemoved,
    /// Move leadership.
    Transfer {
        /// To whom; `None` picks the voter that is furthest along.
        to: Option<ReplicaId>,
    },
}

/// A command of this replica's own client.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// Rises by one with every proposal of this process.
    pub sequence: u64,
    /// The envelope that goes into the log, see [`crate::sessions::Envelope`].
    pub data: Bytes,
}

/// One thing that the driver of a core must do, in the order given.
#[derive(Clone, Debug)]
pub enum Output {
    /// Write to the log durably, in this order; answer with [`Input::Persisted`].
    Persist {
        /// Rises with every write; one answer covers all smaller numbers.
        number: u64,
        /// What to write.
        batch: LogBatch,
    },
    /// Send to a peer; may be lost, must not be reordered within a lane.
    Send {
        /// To whom.
        to: ReplicaId,
        /// On which connection.
        lane: Lane,
        /// An encoded [`super::message::PeerMessage`].
        payload: Bytes,
    },
    /// Apply committed entries, contiguous with the ones before; answer with [`Input::Applied`].
    Apply {
        /// Commands and, with empty `data`, the group's own entries.
        entries: Vec<LogEntry>,
    },
    /// Replace the state by that of a snapshot which the store holds; answer with
    /// [`Input::Applied`] of its index.
    Install {
        /// Which one.
        meta: SnapshotMeta,
    },
    /// Reads up to this ticket may be served from a state that has applied `index`.
    ReadAt {
        /// The last ticket covered.
        ticket: u64,
        /// What must be applied first.
        index: u64,
    },
    /// A proposal was given up at its client's wish.
    Abandoned {
        /// Which one.
        sequence: u64,
        /// Whether it may still be committed; `false` is certain.
        sent: bool,
    },
    /// Save a snapshot of what is applied; answer with [`Input::SnapshotSaved`] or
    /// [`Input::SnapshotNotSaved`].
    BuildSnapshot {
        /// Configuration to write into its meta.
        conf: Bytes,
        /// The wishes that it grants: all tickets up to this one.
        ticket: u64,
    },
    /// Send chunks of a stored snapshot to a peer as
    /// [`super::message::PeerMessage::snapshot_chunk`] on [`Lane::Bulk`].
    SendChunks {
        /// To whom.
        to: ReplicaId,
        /// Which transfer.
        transfer: u64,
        /// The snapshot's index.
        index: u64,
        /// Number of the first chunk, from 0.
        first: u64,
        /// How many at most; the last chunk of the snapshot says that it is.
        count: u64,
    },
    /// Begin to receive a snapshot; an unfinished one before it is dropped.
    ReceiveSnapshot {
        /// From whom.
        from: ReplicaId,
        /// Which transfer.
        transfer: u64,
        /// What is coming.
        meta: SnapshotMeta,
    },
    /// Take the next chunk; answer with [`Input::ChunkStored`], or after the last one with
    /// [`Input::SnapshotReceived`].
    StoreChunk {
        /// From whom.
        from: ReplicaId,
        /// Which transfer.
        transfer: u64,
        /// Whether it was the last.
        last: bool,
        /// The chunk.
        data: Bytes,
    },
    /// Drop the log up to here, after all writes before.
    Compact {
        /// Last entry to drop.
        through: LogMark,
    },
    /// Role, term or known leader changed.
    Leadership(Leadership),
    /// A wish of this process about the group record was answered.
    Answered {
        /// Of its proposal.
        sequence: u64,
        /// What it came to.
        outcome: Outcome,
    },
    /// The group record changed: peers come and go, roles change.
    Record {
        /// The record now.
        record: Arc<GroupRecord>,
        /// Raft's configuration now.
        conf: Conf,
    },
    /// The entry `at`, which is still to be applied, removes these replicas: the state machine's
    /// table of requests must be told, see [`crate::sessions::Replicated::retire`].
    Retire {
        /// Which entry.
        at: u64,
        /// Who goes.
        replicas: Vec<ReplicaId>,
    },
    /// This replica is no member any more. The core takes no more inputs; the data stays.
    Removed,
}

/// Who leads, as one replica sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The term.
    pub term: u64,
    /// The leader of that term, if known.
    pub leader: Option<ReplicaId>,
    /// This replica's own part.
    pub role: Role,
}

/// A replica's part in the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Follows a leader, or waits for one.
    #[default]
    Follower,
    /// Asks for votes, or for whether it would get them.
    Candidate,
    /// Leads.
    Leader,
}
