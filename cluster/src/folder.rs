//! The data folder of one replica: whose it is, which start of it this is, what it promised.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    bootstrap::{DiskMark, Promise},
    durable::{self, Sealed},
    members::Admission,
    types::{GroupId, ReplicaId, Timestamp},
};

const LOCK: &str = "lock";
const IDENTITY: &str = "identity";
const PROMISE: &str = "promise";
const INCARNATION: &str = "incarnation";
const ADMISSION: &str = "admission";
/// Within a data folder: the contents that take the place of its own.
pub(crate) const NEXT: &str = "next";

/// The format of data folders that this version reads and writes.
pub const FORMAT: u32 = 1;

/// Whose data a folder holds. Written once, before anything else, and never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The group.
    pub group: GroupId,
    /// The replica; it names the folder, not the host.
    pub replica: ReplicaId,
    /// What people call the replica.
    pub name: String,
    /// When the folder became this replica's.
    pub created: Timestamp,
    /// Where the group comes from.
    pub lineage: Lineage,
}

/// Where a group comes from: a group that lost its majority goes on as another one, in the next epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// How often that has happened.
    pub epoch: u64,
    /// The groups whose place this one took, oldest first. Their replicas are refused for ever.
    pub before: Vec<GroupId>,
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
    /// The folder is nobody's.
    #[error("there is no replica's data in {}", path.display())]
    Fresh {
        /// The folder.
        path: PathBuf,
    },
    /// The folder is somebody's.
    #[error("{} is not empty; name a folder that does not exist or is empty", path.display())]
    Taken {
        /// The folder.
        path: PathBuf,
    },
    /// `muster recover` was interrupted on this folder.
    #[error(
        "a recovery of the data folder {} was cut short; run the same muster recover command again, it goes on",
        path.display()
    )]
    CutShort {
        /// The folder.
        path: PathBuf,
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
    disk_mark: Option<DiskMark>,
    promise: Option<Promise>,
    admission: Option<Admission>,
    incarnation: u64,
}

impl DataFolder {
    /// Opens or creates the folder `path`, takes it for this process alone, verifies what it says of
    /// itself and counts this start.
    pub fn open(path: &Path) -> Result<DataFolder, FolderError> {
        fs::create_dir_all(path).map_err(refused(path, "be created"))?;
        if let Some(parent) = path.parent().filter(|parent| parent.is_dir()) {
            durable::sync_folder(parent).map_err(refused(parent, "be synced"))?;
        }
        let mut folder = DataFolder::look_at(path)?;
        folder.count_start()?;
        Ok(folder)
    }

    /// Takes the folder `path` of a replica that is not running, and verifies what it says of itself
    /// without counting a start.
    pub(crate) fn look(path: &Path) -> Result<DataFolder, FolderError> {
        let fresh = || FolderError::Fresh { path: path.to_owned() };
        if !path.join(IDENTITY).try_exists().map_err(refused(path, "be looked for"))? {
            return Err(fresh());
        }
        let folder = DataFolder::look_at(path)?;
        if folder.identity.is_some() { Ok(folder) } else { Err(fresh()) }
    }

    fn look_at(path: &Path) -> Result<DataFolder, FolderError> {
        let lock = lock(path)?;
        if path.join(NEXT).try_exists().map_err(refused(path, "be looked for"))? {
            return Err(FolderError::CutShort { path: path.to_owned() });
        }
        let identity = read::<IdentityRecord>(&path.join(IDENTITY), path)?
            .map(Identity::try_from)
            .transpose()
            .map_err(|what| damaged(&path.join(IDENTITY), what))?;
        let beginning = read::<BeginningRecord>(&path.join(PROMISE), path)?;
        let (disk_mark, promise) = match beginning {
            Some(record) => {
                let mark = parse_mark(&record.disk);
                (Some(mark.map_err(|what| damaged(&path.join(PROMISE), what))?), record.promise)
            }
            None => (None, None),
        };
        let admission = read::<AdmissionRecord>(&path.join(ADMISSION), path)?
            .map(Admission::try_from)
            .transpose()
            .map_err(|what| damaged(&path.join(ADMISSION), what))?;
        let folder = DataFolder {
            path: path.to_owned(),
            _lock: lock,
            identity,
            disk_mark,
            promise,
            admission,
            incarnation: 0,
        };
        folder.check_complete()?;
        Ok(folder)
    }

    /// Makes a fresh folder `identity`'s. A folder that is so already stays as it is; another's is
    /// refused.
    pub fn adopt(&mut self, identity: Identity) -> Result<(), FolderError> {
        if self.identity.is_some() {
            return self.check(identity.group, identity.replica, &identity.name);
        }
        // The log's file first: from now on a folder with an identity and without a log has lost it.
        let log = self.log_path();
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        options.open(&log).map_err(refused(&log, "be created"))?;
        write(&self.path.join(IDENTITY), &IdentityRecord::from(&identity))?;
        self.identity = Some(identity);
        Ok(())
    }

    /// Makes a fresh folder that of a replica that was let in.
    pub fn adopt_joined(
        &mut self,
        identity: Identity,
        admission: &Admission,
    ) -> Result<(), FolderError> {
        if self.identity.is_none() {
            if let Some(promise) = &self.promise {
                return Err(FolderError::Promised {
                    path: self.path.clone(),
                    held: promise.group(),
                    wanted: identity.group,
                });
            }
            // First what it was told, then whose it is: an identity without it could not start.
            write(&self.path.join(ADMISSION), &AdmissionRecord::from(admission))?;
            self.admission = Some(admission.clone());
        }
        self.adopt(identity)
    }

    /// What the folder's replica was told when it was let in; `None` for a founder's.
    pub fn admission(&self) -> Option<&Admission> {
        self.admission.as_ref()
    }

    /// The refusal of a folder that is another's than the admission's.
    pub(crate) fn foreign(&self, admission: &Admission) -> FolderError {
        let held = self.identity.as_ref().map_or_else(String::new, |identity| {
            describe(identity.group, identity.replica, &identity.name)
        });
        let wanted = describe(admission.group, admission.replica, &admission.name);
        FolderError::Foreign { path: self.path.clone(), held, wanted }
    }

    /// Refuses a folder that is another's; a fresh one passes.
    pub fn check(&self, group: GroupId, replica: ReplicaId, name: &str) -> Result<(), FolderError> {
        match &self.identity {
            Some(held)
                if (held.group, held.replica, held.name.as_str()) != (group, replica, name) =>
            {
                Err(FolderError::Foreign {
                    path: self.path.clone(),
                    held: describe(held.group, held.replica, &held.name),
                    wanted: describe(group, replica, name),
                })
            }
            _ => Ok(()),
        }
    }

    /// Marks a fresh folder's disk, durably; a mark that is there stays. Returns the mark.
    pub fn mark_disk(&mut self, mark: DiskMark) -> Result<DiskMark, FolderError> {
        if let Some(mark) = self.disk_mark {
            return Ok(mark);
        }
        self.write_beginning(mark, None)?;
        self.disk_mark = Some(mark);
        Ok(mark)
    }

    /// Promises the folder, marked with `mark`, to the first configuration of a group, durably. A second promise
    /// to another group is refused: that group may have begun on the strength of the first.
    pub fn make_promise(&mut self, mark: DiskMark, promise: Promise) -> Result<(), FolderError> {
        match &self.promise {
            Some(held) if *held == promise => Ok(()),
            Some(held) => Err(FolderError::Promised {
                path: self.path.clone(),
                held: held.group(),
                wanted: promise.group(),
            }),
            None => {
                let mark = self.mark_disk(mark)?;
                self.write_beginning(mark, Some(promise.clone()))?;
                self.promise = Some(promise);
                Ok(())
            }
        }
    }

    fn write_beginning(&self, mark: DiskMark, promise: Option<Promise>) -> Result<(), FolderError> {
        let record = BeginningRecord { format: FORMAT, disk: format!("{:032x}", mark.0), promise };
        write(&self.path.join(PROMISE), &record)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the log lives.
    pub fn log_path(&self) -> PathBuf {
        self.path.join("log.wal")
    }

    /// Where the snapshots live.
    pub fn snapshots_path(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    /// Whose data the folder holds; none in a fresh folder.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// The mark of its disk; none before the folder was first offered to a group.
    pub fn disk_mark(&self) -> Option<DiskMark> {
        self.disk_mark
    }

    /// The group the folder has promised itself to, if any; kept when that group has begun.
    pub fn promise(&self) -> Option<&Promise> {
        self.promise.as_ref()
    }

    /// Which start this is, from 1. On disk already: no message may leave before.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Refuses a folder that has lost a part: what remains must not pass for a fresh one.
    fn check_complete(&self) -> Result<(), FolderError> {
        let here = |path: &Path| path.try_exists().map_err(refused(path, "be looked for"));
        let log = self.log_path();
        let missing = |path: &Path| Err(damaged(path, "it is missing".to_owned()));
        let identity = self.path.join(IDENTITY);
        match self.identity {
            Some(_) if !here(&log)? => missing(&log),
            Some(_) if !here(&self.path.join(INCARNATION))? => {
                missing(&self.path.join(INCARNATION))
            }
            None if here(&self.snapshots_path())? => missing(&identity),
            None if here(&log)? && fs::metadata(&log).is_ok_and(|log| log.len() > 0) => {
                missing(&identity)
            }
            _ => Ok(()),
        }
    }

    fn count_start(&mut self) -> Result<(), FolderError> {
        let path = self.path.join(INCARNATION);
        let last =
            read::<IncarnationRecord>(&path, &self.path)?.map_or(0, |record| record.incarnation);
        self.incarnation =
            last.checked_add(1).ok_or_else(|| damaged(&path, "it counts no further".to_owned()))?;
        write(&path, &IncarnationRecord { format: FORMAT, incarnation: self.incarnation })
    }
}

#[derive(Serialize, Deserialize)]
struct IdentityRecord {
    format: u32,
    group: String,
    replica: String,
    name: String,
    created_unix_micros: u64,
    #[serde(default)]
    epoch: u64,
    #[serde(default)]
    groups_before: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct BeginningRecord {
    format: u32,
    disk: String,
    promise: Option<Promise>,
}

#[derive(Serialize, Deserialize)]
struct AdmissionRecord {
    format: u32,
    /// [`Admission::encode`], hexadecimal.
    admission: String,
}

impl From<&Admission> for AdmissionRecord {
    fn from(admission: &Admission) -> AdmissionRecord {
        use std::fmt::Write as _;
        let mut text = String::new();
        for byte in admission.encode() {
            // Writing to a string does not fail.
            let _written = write!(text, "{byte:02x}");
        }
        AdmissionRecord { format: FORMAT, admission: text }
    }
}

impl TryFrom<AdmissionRecord> for Admission {
    type Error = String;

    fn try_from(record: AdmissionRecord) -> Result<Admission, String> {
        let digits: Option<Vec<u8>> = record
            .admission
            .chars()
            .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect();
        let digits = digits.ok_or_else(|| "it is not hexadecimal".to_owned())?;
        let bytes: Vec<u8> = digits
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| (byte << 4) | digit))
            .collect();
        Admission::decode(&bytes).map_err(|error| error.to_string())
    }
}

#[derive(Serialize, Deserialize)]
struct IncarnationRecord {
    format: u32,
    incarnation: u64,
}

/// What every record begins with, read before the rest so that a newer one is named as such.
#[derive(Deserialize)]
struct FormatRecord {
    format: u32,
}

impl From<&Identity> for IdentityRecord {
    fn from(identity: &Identity) -> IdentityRecord {
        IdentityRecord {
            format: FORMAT,
            group: identity.group.to_string(),
            replica: identity.replica.to_string(),
            name: identity.name.clone(),
            created_unix_micros: identity.created.0,
            epoch: identity.lineage.epoch,
            groups_before: identity.lineage.before.iter().map(GroupId::to_string).collect(),
        }
    }
}

impl TryFrom<IdentityRecord> for Identity {
    type Error = String;

    fn try_from(record: IdentityRecord) -> Result<Identity, String> {
        let replica = u64::from_str_radix(&record.replica, 16)
            .map_err(|error| format!("its replica {}: {error}", record.replica))?;
        Ok(Identity {
            group: parse_group(&record.group)?,
            replica: ReplicaId(replica),
            name: record.name,
            created: Timestamp(record.created_unix_micros),
            lineage: Lineage {
                epoch: record.epoch,
                before: record
                    .groups_before
                    .iter()
                    .map(|group| parse_group(group))
                    .collect::<Result<_, _>>()?,
            },
        })
    }
}

fn parse_group(text: &str) -> Result<GroupId, String> {
    u128::from_str_radix(text, 16)
        .map(GroupId)
        .map_err(|error| format!("its group {text}: {error}"))
}

fn parse_mark(text: &str) -> Result<DiskMark, String> {
    u128::from_str_radix(text, 16)
        .map(DiskMark)
        .map_err(|error| format!("its disk mark {text}: {error}"))
}

fn describe(group: GroupId, replica: ReplicaId, name: &str) -> String {
    format!("replica {name} ({replica}) of group {group}")
}

/// Whose data lies in `folder`, which need not be whole.
pub(crate) fn read_identity(folder: &Path) -> Result<Identity, FolderError> {
    let path = folder.join(IDENTITY);
    let record = read::<IdentityRecord>(&path, folder)?
        .ok_or_else(|| damaged(&path, "it is missing".to_owned()))?;
    Identity::try_from(record).map_err(|what| damaged(&path, what))
}

pub(crate) fn lock(folder: &Path) -> Result<File, FolderError> {
    let path = folder.join(LOCK);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(refused(&path, "be opened"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(FolderError::Locked { path: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(refused(&path, "be locked")(source)),
    }
}

fn read<T: DeserializeOwned>(path: &Path, folder: &Path) -> Result<Option<T>, FolderError> {
    let text = match durable::read_sealed(path).map_err(refused(path, "be read"))? {
        Sealed::Missing => return Ok(None),
        Sealed::Damaged => return Err(damaged(path, "it does not match its checksum".to_owned())),
        Sealed::Text(text) => text,
    };
    let strange = |error: serde_json::Error| damaged(path, error.to_string());
    let found = serde_json::from_str::<FormatRecord>(&text).map_err(strange)?.format;
    if found != FORMAT {
        return Err(FolderError::Format { path: folder.to_owned(), found });
    }
    serde_json::from_str(&text).map(Some).map_err(strange)
}

fn write(path: &Path, record: &impl Serialize) -> Result<(), FolderError> {
    let text = serde_json::to_string(record)
        .map_err(|error| refused(path, "be written")(io::Error::other(error)))?;
    durable::write_sealed(path, &text).map_err(refused(path, "be written"))
}

fn refused(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io { path, doing, source }
}

fn damaged(path: &Path, what: String) -> FolderError {
    FolderError::Damaged { path: path.to_owned(), what }
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

#[cfg(test)]
mod tests;
