//! Snapshots of the whole state: written, verified by reading back, sent and received in chunks.

use std::{fmt, io, path::PathBuf};

use bytes::Bytes;

mod files;
mod folder;
mod frames;
mod memory;
mod meta;
#[cfg(test)]
mod tests;

pub use files::{FileSnapshots, Inspection, inspect, read};
pub use folder::{Draft, SnapshotFolder};
pub use memory::MemorySnapshots;

use crate::types::{GroupId, Timestamp};

/// Bytes of the largest chunk a snapshot takes.
pub const MAX_CHUNK: usize = 1024 * 1024;

/// What a snapshot is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The group whose state it is.
    pub group: GroupId,
    /// The last entry it contains.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// The configuration of the group at that entry, opaque here.
    pub conf: Bytes,
    /// The log time at that entry.
    pub time: Timestamp,
    /// CRC32C over the lengths and bytes of all chunks in order: the same content, the same digest.
    pub digest: u32,
}

/// Why a snapshot cannot be written, read or received.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The disk refused.
    #[error("the snapshot cannot {doing}: {source}")]
    Io {
        /// The operation, as a verb: `be written`.
        doing: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// What is on the disk is not what was written. An older snapshot never stands in for it, since
    /// the log no longer reaches back that far.
    #[error("the snapshot {name} is damaged: {what}")]
    Damaged {
        /// The file, or what stands for it in memory.
        name: String,
        /// What was found.
        what: String,
    },
    /// What arrived is not what the sender announced; the receiver starts anew.
    #[error("the received snapshot is refused: {what}")]
    Refused {
        /// What was wrong.
        what: String,
    },
    /// A chunk is larger than [`MAX_CHUNK`].
    #[error("a chunk of {length} bytes is larger than the limit of {MAX_CHUNK}")]
    TooLarge {
        /// Bytes of the chunk.
        length: usize,
    },
    /// No snapshot of that index is kept.
    #[error("no snapshot of index {index} is kept")]
    Missing {
        /// What was asked for.
        index: u64,
    },
}

/// Where snapshots live. The two newest are kept.
pub trait SnapshotStore: Send + Sync {
    /// Writes a snapshot durably, reads it back and verifies it. `meta.digest` is not looked at; the
    /// returned meta has the right one.
    fn write(
        &self,
        meta: SnapshotMeta,
        chunks: &mut dyn Iterator<Item = Bytes>,
    ) -> Result<SnapshotMeta, SnapshotError>;

    /// The newest snapshot, verified whole. A damaged newest one is an error.
    fn latest(&self) -> Result<Option<SnapshotMeta>, SnapshotError>;

    /// Opens the snapshot of `index`.
    fn open(&self, index: u64) -> Result<SnapshotReader, SnapshotError>;

    /// Begins to receive a snapshot that a peer announced as `meta`.
    fn receive(&self, meta: SnapshotMeta) -> Result<SnapshotReceiver, SnapshotError>;

    /// The file of the snapshot of `index`, where there are files.
    fn path(&self, index: u64) -> Option<PathBuf>;
}

/// The chunks of one snapshot in order, each verified. The iterator ends only after the whole was
/// verified; after an error it is spent.
pub struct SnapshotReader {
    meta: SnapshotMeta,
    chunks: Box<dyn Iterator<Item = Result<Bytes, SnapshotError>> + Send>,
}

impl SnapshotReader {
    /// What the snapshot is of.
    pub fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }
}

impl Iterator for SnapshotReader {
    type Item = Result<Bytes, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.chunks.next()
    }
}

impl fmt::Debug for SnapshotReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotReader").field("meta", &self.meta).finish_non_exhaustive()
    }
}

/// Takes the chunks of a snapshot from a peer, in order. Dropped unfinished it leaves nothing.
pub struct SnapshotReceiver {
    sink: Box<dyn Sink>,
}

impl SnapshotReceiver {
    /// Takes the next chunk.
    pub fn push(&mut self, chunk: &Bytes) -> Result<(), SnapshotError> {
        self.sink.push(chunk)
    }

    /// Verifies the digest against the announced one and makes the snapshot durable.
    pub fn finish(self) -> Result<SnapshotMeta, SnapshotError> {
        self.sink.finish()
    }
}

impl fmt::Debug for SnapshotReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotReceiver").finish_non_exhaustive()
    }
}

/// Where received chunks go.
trait Sink: Send {
    fn push(&mut self, chunk: &Bytes) -> Result<(), SnapshotError>;
    fn finish(self: Box<Self>) -> Result<SnapshotMeta, SnapshotError>;
}
