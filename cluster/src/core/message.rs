//! What replicas say to each other. Raft's own messages travel inside as bytes of rust-protobuf;
//! everything around them is ours and decoded by prost, which never panics on what a peer sends.

use bytes::Bytes;
use prost::Message as _;

use super::fitness::Formats;
use crate::{
    disk::DiskHealth,
    snapshot::SnapshotMeta,
    types::{GroupId, ReplicaId, Timestamp},
};

/// One message between two replicas: exactly one kind is set.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PeerMessage {
    /// The kind, `None` when a newer release sent a kind that this one does not know.
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9")]
    pub kind: Option<Kind>,
}

/// What a [`PeerMessage`] is about.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    /// A message of raft, encoded by rust-protobuf.
    #[prost(bytes = "bytes", tag = "1")]
    Raft(Bytes),
    /// Proposals for the leader.
    #[prost(message, tag = "2")]
    Forward(Forward),
    /// What became of a [`Forward`].
    #[prost(message, tag = "3")]
    ForwardAnswer(ForwardAnswer),
    /// A snapshot is offered.
    #[prost(message, tag = "4")]
    SnapshotHead(SnapshotHead),
    /// Chunks of it are asked for.
    #[prost(message, tag = "5")]
    SnapshotWant(SnapshotWant),
    /// One chunk of it.
    #[prost(message, tag = "6")]
    SnapshotChunk(SnapshotChunk),
    /// The end of it.
    #[prost(message, tag = "7")]
    SnapshotVerdict(SnapshotVerdict),
    /// A wish of somebody at a follower that leadership move.
    #[prost(message, tag = "8")]
    TransferLeader(TransferLeader),
    /// How an observer is, for the leader.
    #[prost(message, tag = "9")]
    Condition(Condition),
}

/// Proposals of the sender's clients for the log of the leader.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Forward {
    /// One for each envelope.
    #[prost(uint64, repeated, tag = "1")]
    pub sequences: Vec<u64>,
    /// Envelopes as they go into the log.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub envelopes: Vec<Bytes>,
    /// Which start of the sender's process; its answer says it again.
    #[prost(uint64, tag = "3")]
    pub incarnation: u64,
}

/// Whether the receiver of a [`Forward`] appended it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ForwardAnswer {
    /// The term in which it did; they are in the log of that term's leader.
    #[prost(uint64, tag = "1")]
    pub term: u64,
    /// `false`: not one of them was appended.
    #[prost(bool, tag = "2")]
    pub accepted: bool,
    /// The sequences of the [`Forward`].
    #[prost(uint64, repeated, tag = "3")]
    pub sequences: Vec<u64>,
    /// The incarnation of the [`Forward`].
    #[prost(uint64, tag = "4")]
    pub incarnation: u64,
}

/// The offer of a snapshot: the receiver asks for its chunks.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SnapshotHead {
    /// Names the transfer at the sender.
    #[prost(uint64, tag = "1")]
    pub transfer: u64,
    /// Big endian, 16 bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub group: Bytes,
    /// Last entry contained.
    #[prost(uint64, tag = "3")]
    pub index: u64,
    /// Its term.
    #[prost(uint64, tag = "4")]
    pub term: u64,
    /// Configuration there.
    #[prost(bytes = "bytes", tag = "5")]
    pub conf: Bytes,
    /// Log time there, microseconds.
    #[prost(uint64, tag = "6")]
    pub time: u64,
    /// Of the whole content.
    #[prost(uint32, tag = "7")]
    pub digest: u32,
    /// Raft's own message, given to raft when the content is on disk.
    #[prost(bytes = "bytes", tag = "8")]
    pub raft: Bytes,
}

impl SnapshotHead {
    /// The offer of `meta`.
    pub fn new(transfer: u64, meta: &SnapshotMeta, raft: Bytes) -> Self {
        Self {
            transfer,
            group: Bytes::copy_from_slice(&meta.group.0.to_be_bytes()),
            index: meta.index,
            term: meta.term,
            conf: meta.conf.clone(),
            time: meta.time.0,
            digest: meta.digest,
            raft,
        }
    }

    /// What is offered; `None` if the group is not one.
    pub fn meta(&self) -> Option<SnapshotMeta> {
        let group: [u8; 16] = self.group.as_ref().try_into().ok()?;
        Some(SnapshotMeta {
            group: GroupId(u128::from_be_bytes(group)),
            index: self.index,
            term: self.term,
            conf: self.conf.clone(),
            time: Timestamp(self.time),
            digest: self.digest,
        })
    }
}

/// The receiver has room for these chunks.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct SnapshotWant {
    /// Of the [`SnapshotHead`].
    #[prost(uint64, tag = "1")]
    pub transfer: u64,
    /// Number of the first chunk wanted, from 0.
    #[prost(uint64, tag = "2")]
    pub first: u64,
    /// How many.
    #[prost(uint64, tag = "3")]
    pub count: u64,
}

/// A piece of a snapshot.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SnapshotChunk {
    /// Of the [`SnapshotHead`].
    #[prost(uint64, tag = "1")]
    pub transfer: u64,
    /// Its number, from 0.
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// Whether no more follow.
    #[prost(bool, tag = "3")]
    pub last: bool,
    /// Its bytes.
    #[prost(bytes = "bytes", tag = "4")]
    pub data: Bytes,
}

/// How a transfer ended at the receiver.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct SnapshotVerdict {
    /// Of the [`SnapshotHead`].
    #[prost(uint64, tag = "1")]
    pub transfer: u64,
    /// Whether the snapshot is on the receiver's disk, or was not needed any more.
    #[prost(bool, tag = "2")]
    pub ok: bool,
}

/// A wish that leadership move.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct TransferLeader {
    /// To this replica; 0 leaves the choice to the leader.
    #[prost(uint64, tag = "1")]
    pub to: u64,
}

/// How the sender is, as far as it matters for a vote.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Condition {
    /// [`Formats::group`].
    #[prost(uint32, tag = "1")]
    pub group_format: u32,
    /// [`Formats::state`].
    #[prost(uint32, tag = "2")]
    pub state_format: u32,
    /// [`DiskHealth::number`].
    #[prost(uint32, tag = "3")]
    pub disk: u32,
}

impl Condition {
    /// Of a replica.
    pub fn new(formats: Formats, disk: DiskHealth) -> Self {
        let Formats { group, state } = formats;
        Self { group_format: group, state_format: state, disk: disk.number() }
    }

    /// What it understands.
    pub fn formats(self) -> Formats {
        Formats { group: self.group_format, state: self.state_format }
    }

    /// How its disk is.
    pub fn disk(self) -> DiskHealth {
        DiskHealth::of_number(self.disk)
    }
}

impl PeerMessage {
    /// Reads one message; the payloads inside share the memory of `payload`.
    pub fn from_payload(payload: Bytes) -> Result<Self, prost::DecodeError> {
        Self::decode(payload)
    }

    /// The bytes to send for `kind`.
    pub fn payload(kind: Kind) -> Bytes {
        Self { kind: Some(kind) }.encode_to_vec().into()
    }

    /// The bytes to send for one chunk of a snapshot, see [`super::io::Output::SendChunks`].
    pub fn snapshot_chunk(transfer: u64, number: u64, last: bool, data: Bytes) -> Bytes {
        Self::payload(Kind::SnapshotChunk(SnapshotChunk { transfer, number, last, data }))
    }
}

impl TransferLeader {
    pub(super) fn wish(to: Option<ReplicaId>) -> Self {
        Self { to: to.map_or(0, |id| id.0) }
    }

    pub(super) fn target(self) -> Option<ReplicaId> {
        (self.to != 0).then_some(ReplicaId(self.to))
    }
}
