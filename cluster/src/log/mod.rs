//! The durable log: entries, term, vote and commit of one replica, with damage told apart from a
//! crash. Acknowledged means on disk; nothing acknowledged is ever lost or changed silently.

use std::io;

use bytes::Bytes;

mod disk;
mod fence;
mod fields;
mod file_log;
mod holdings;
mod part;
mod record;
mod recovery;
#[cfg(test)]
mod sim_disk;
#[cfg(test)]
mod tests;

pub use disk::LogDisk;
pub use file_log::FileLog;

/// What a replica must remember besides its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The newest term this replica has seen.
    pub term: u64,
    /// Whom it voted for in that term; 0 for nobody.
    pub vote: u64,
    /// Up to where it knew the log to be committed. May lag behind the truth.
    pub commit: u64,
}

/// A place in the log: an index and the term of the entry there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogMark {
    /// Index of the entry; 0 before the first.
    pub index: u64,
    /// Term of the entry; 0 before the first.
    pub term: u64,
}

/// One entry of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogEntry {
    /// Position, from 1, without gaps.
    pub index: u64,
    /// Term of the leader that appended it.
    pub term: u64,
    /// What the entry is: 0 a command, 1 and 2 a change of the members.
    pub kind: u8,
    /// The payload, opaque here.
    pub data: Bytes,
    /// What the proposer attached, opaque here.
    pub context: Bytes,
}

impl LogEntry {
    /// Where the entry stands.
    pub fn mark(&self) -> LogMark {
        LogMark { index: self.index, term: self.term }
    }
}

/// One step of the log; applied in the order `reset`, `entries`, `hard_state`, `conf`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogBatch {
    /// Drops every entry: an installed snapshot that ends at this mark stands in for them.
    pub reset: Option<LogMark>,
    /// Consecutive entries; they replace everything from the index of the first one on.
    pub entries: Vec<LogEntry>,
    /// Replaces the remembered hard state.
    pub hard_state: Option<HardState>,
    /// Replaces the remembered configuration of the group, opaque here.
    pub conf: Option<Bytes>,
    /// Whether the caller acknowledges this batch to anybody once `write` has returned.
    pub sync: bool,
}

/// Everything a store remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedLog {
    /// The place just before the first entry; 0/0 in a fresh log.
    pub mark: LogMark,
    /// The entries from `mark.index + 1` on, without gaps.
    pub entries: Vec<LogEntry>,
    /// Term, vote and commit; all zero in a fresh log.
    pub hard_state: HardState,
    /// The configuration last written.
    pub conf: Option<Bytes>,
}

/// Why a log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk refused. Never retried: after a failed fsync nobody knows what is on the disk.
    #[error("the log cannot {doing}: {source}")]
    Io {
        /// The operation, as a verb: `be opened`, `be written`.
        doing: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// What is on the disk is not what was written. Never repaired by cutting: this replica may have
    /// acknowledged what is gone, so it must be replaced under a new id.
    #[error(
        "the log is damaged: {what}; keep the folder for inspection and replace this replica under a new id"
    )]
    Damaged {
        /// What was found.
        what: String,
    },
    /// The caller asked for something that would leave a hole; nothing was written.
    #[error("the log refuses: {what}")]
    Misuse {
        /// What was asked.
        what: String,
    },
    /// An earlier write failed; the store takes nothing until it is opened again.
    #[error("the log refuses everything after a failed write; open it again")]
    Stopped,
}

/// Where the log lives. One owner, one thread.
pub trait LogStore: Send {
    /// Reads and verifies everything.
    fn load(&mut self) -> Result<LoadedLog, LogError>;

    /// Writes the batches in order as one commit, all or nothing; durable on return if any of them
    /// says `sync`, else with the next commit that is. After an error the store refuses everything.
    fn write(&mut self, batches: &[LogBatch]) -> Result<(), LogError>;

    /// Drops the entries up to and including `through`, which becomes the mark. A mark at or before
    /// the present one changes nothing; one after the last entry is a misuse.
    fn compact(&mut self, through: LogMark) -> Result<(), LogError>;

    /// Bytes of the entries held, as the snapshot policy counts them.
    fn size_bytes(&self) -> u64;
}
