//! What can go wrong, told apart by what the caller may conclude.

use std::time::Duration;

use super::REMOVED;
use crate::{
    core::CoreError, log::LogError, machine::LoadError, sessions::EntryError,
    snapshot::SnapshotError, types::ReplicaId,
};

/// Why a replica cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder is nobody's yet.
    #[error("the data folder has no identity; bootstrap or join a group first")]
    NoIdentity,
    /// The group removed this replica.
    #[error(
        "this replica was removed from its group; its data is kept, and its id never comes back. To use this machine again, join with an empty data folder"
    )]
    Removed,
    /// The settings do not name this replica.
    #[error("replica {0} is not among the members of its group")]
    NotAMember(ReplicaId),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The state in a snapshot.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The agreement itself.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// An entry of the log.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The system gave no thread.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
    /// The disk does not say how much room it has.
    #[error("the room left on the disk cannot be told: {0}")]
    Room(#[source] std::io::Error),
    /// The disk took a write and never finished it.
    #[error("the disk has not finished a write for {0:?}")]
    DiskHangs(Duration),
    /// Opening the data panicked.
    #[error("opening the data failed: {0}")]
    Panicked(String),
}

impl StartError {
    /// The process's exit code: 70 the disk or the program, 71 damaged data, 78 wrong settings, and
    /// [`REMOVED`].
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Removed | Self::Core(CoreError::Removed(_)) => REMOVED,
            Self::NoIdentity | Self::NotAMember(_) | Self::Core(CoreError::OtherVoters { .. }) => {
                78
            }
            Self::Log(LogError::Damaged { .. })
            | Self::Snapshot(SnapshotError::Damaged { .. } | SnapshotError::Missing { .. })
            | Self::Load(_)
            | Self::Entry(_)
            | Self::Core(
                CoreError::Damaged(_)
                | CoreError::LostLog { .. }
                | CoreError::Conf(_)
                | CoreError::Newer { .. },
            ) => 71,
            Self::Log(_)
            | Self::Snapshot(_)
            | Self::Core(_)
            | Self::Thread(_)
            | Self::Room(_)
            | Self::DiskHangs(_)
            | Self::Panicked(_) => 70,
        }
    }
}

/// Why a command has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// It certainly has not been and will not be applied.
    #[error("not done: {0}")]
    NotDone(NotDone),
    /// It may be applied, now or later, at most once.
    #[error("it may have been done: {0}")]
    MayBeDone(MayBeDone),
}

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    /// No leader is known; a majority of replicas may be down or out of reach.
    #[error("no leader")]
    NoLeader,
    /// Too many commands wait already.
    #[error("too many commands are waiting")]
    Overloaded,
    /// This replica is about to stop.
    #[error("this replica is stopping")]
    Stopping,
    /// The command is longer than an entry may be.
    #[error("the command is too large")]
    TooLarge,
    /// The disk is nearly full.
    #[error("the disk is nearly full")]
    DiskFull,
}

/// Why nobody knows what became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MayBeDone {
    /// The deadline passed.
    #[error("no answer in time")]
    Timeout,
    /// The replica stopped meanwhile.
    #[error("the replica stopped")]
    Stopped,
    /// It was applied so long ago that its answer is forgotten, or it came too late to be applied.
    #[error("its answer is forgotten")]
    Forgotten,
}

/// Why a linearizable read has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader is known.
    #[error("no leader")]
    NoLeader,
    /// The leader did not answer in time.
    #[error("no answer in time")]
    Timeout,
    /// Too many reads wait already.
    #[error("too many reads are waiting")]
    Overloaded,
    /// This replica is about to stop.
    #[error("this replica is stopping")]
    Stopping,
}

/// Why leadership did not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// Not in the group.
    #[error("replica {0} is not in the group")]
    Unknown(ReplicaId),
    /// It has no vote.
    #[error("an observer cannot lead; promote it first")]
    Observer,
    /// There is no other replica.
    #[error("there is no other replica to lead")]
    NobodyElse,
    /// It did not happen in time.
    #[error("nobody took over in time")]
    Timeout,
}

/// Why no snapshot was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaveError {
    /// Nothing was applied yet.
    #[error("there is nothing to save yet")]
    NothingYet,
    /// The replica stopped.
    #[error("this replica is stopping")]
    Stopping,
    /// The disk has no room for it.
    #[error("the disk is full")]
    DiskFull,
    /// Too many wait for one already.
    #[error("too many snapshots are asked for")]
    Overloaded,
}
