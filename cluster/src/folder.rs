//! The data folder of one replica: whose it is, which start of it this is, what it promised.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::types::{GroupId, ReplicaId, Timestamp};

/// The format of data folders that this version reads and writes.
pub const FORMAT: u32 = 1;

/// Whose data a folder holds. Written once, before anything else, and never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The group.
    pub group: GroupId,
    /// The replica; it names the folder, not the host.
    pub replica: ReplicaId,
    /// What people call the replica.
    pub name: String,
    /// When the folder became this replica's.
    pub created: Timestamp,
    /// The format of the folder: [`FORMAT`].
    pub format: u32,
}

/// Why a data folder cannot be used; every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process holds the folder.
    #[error(
        "the data folder {} is in use by another process; stop that process or give this one a folder of its own",
        path.display()
    )]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The folder or a file in it cannot be read or written.
    #[error("the data folder: {} cannot {doing}: {source}; {}", path.display(), advice(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operation, as a verb.
        doing: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file is not what was written.
    #[error(
        "the data folder is damaged: {}: {what}; keep the folder for inspection and replace this replica under a new id",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The folder was written by a version this one does not know.
    #[error(
        "the data folder {} has format {found}, this version knows {FORMAT}; run the version that wrote it",
        path.display()
    )]
    Format {
        /// The folder.
        path: PathBuf,
        /// The format found.
        found: u32,
    },
    /// The folder is another group's, replica's or name's than asked for.
    #[error(
        "the data folder {} belongs to {held}, not to {wanted}; mount the right folder or correct the configuration",
        path.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        held: String,
        /// Who asked.
        wanted: String,
    },
    /// The folder has promised itself to another group that may have begun.
    #[error(
        "the data folder {} has promised itself to group {held}, not to {wanted}: the bootstrap token or the list of initial members has changed since; restore them, or empty the folder if group {held} never began",
        path.display()
    )]
    Promised {
        /// The folder.
        path: PathBuf,
        /// The group it promised itself to.
        held: GroupId,
        /// The group that asked.
        wanted: GroupId,
    },
}

/// An open data folder; nobody else has it while this value lives.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
    identity: Option<Identity>,
    promise: Option<GroupId>,
    incarnation: u64,
}

impl DataFolder {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the log lives.
    pub fn log_path(&self) -> PathBuf {
        self.path.join("log.redb")
    }

    /// Where the snapshots live.
    pub fn snapshots_path(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    /// Whose data the folder holds; none in a fresh folder.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// The group the folder has promised itself to, if any.
    pub fn promise(&self) -> Option<GroupId> {
        self.promise
    }

    /// Which start this is, from 1. On disk already: no message may leave before.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room on its disk and start again"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "mount its disk writable (a disk that failed is often remounted read-only: check the kernel log)"
        }
        io::ErrorKind::PermissionDenied => "let the user that runs this process read and write it",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => "name a folder, not a file",
        _ => "check the disk and the kernel log",
    }
}
