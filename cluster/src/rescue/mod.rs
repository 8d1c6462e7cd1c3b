//! What is done to data while no replica runs on it: a snapshot file is verified, a new group is
//! founded on one, and what a lost group left is looked at and goes on as another group.
//!
//! A group is founded by one replica, its only voter; the others join it with empty folders. Its log
//! begins behind the position and the term of everything that the group before ever told, so nobody
//! sees either run backwards.

mod swap;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use crate::{
    bootstrap::{Promise, replica_id},
    core::{CoreError, conf_at_the_end, reconcile},
    folder::{DataFolder, FolderError, Identity, Lineage, NEXT},
    log::{FileLog, LogError, LogMark, LogStore},
    machine::{LoadError, StateMachine},
    members::{Admission, Conf, StoredConf},
    sessions::{EntryError, Picture, Replicated},
    snapshot::{self, FileSnapshots, SnapshotError, SnapshotMeta, SnapshotStore},
    types::{GroupId, Member, ReplicaId, Timestamp},
};

/// Why data cannot be looked at or taken over.
#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The state in a snapshot.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Log and snapshot together.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// An entry of the log.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The disk refused.
    #[error("{} cannot {doing}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operation, as a verb.
        doing: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

impl RescueError {
    /// Whether the data is not what was written.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Folder(FolderError::Damaged { .. })
            | Self::Log(LogError::Damaged { .. })
            | Self::Snapshot(SnapshotError::Damaged { .. } | SnapshotError::Missing { .. })
            | Self::Load(_)
            | Self::Core(_)
            | Self::Entry(_) => true,
            Self::Folder(_) | Self::Log(_) | Self::Snapshot(_) | Self::Io { .. } => false,
        }
    }
}

/// A snapshot file, read whole.
#[derive(Debug)]
pub struct Restored<M> {
    /// What it is of.
    pub meta: SnapshotMeta,
    /// The state in it.
    pub machine: M,
}

/// Reads a snapshot file: every checksum, and the state that it holds.
pub fn read_snapshot<M: StateMachine>(file: &Path) -> Result<Restored<M>, RescueError> {
    let mut chunks = snapshot::read(file)?;
    let meta = chunks.meta().clone();
    let state = load::<M>(&mut chunks)?;
    if (state.index(), state.term()) != (meta.index, meta.term) {
        let what = format!(
            "its head speaks of entry {} of term {}, its content of {} of term {}",
            meta.index,
            meta.term,
            state.index(),
            state.term()
        );
        return Err(SnapshotError::Damaged { name: file.display().to_string(), what }.into());
    }
    Ok(Restored { meta, machine: state.into_machine() })
}

fn load<M: StateMachine>(
    chunks: &mut dyn Iterator<Item = Result<Bytes, SnapshotError>>,
) -> Result<Replicated<M>, RescueError> {
    let mut broken = None;
    let loaded = Replicated::load(&mut std::iter::from_fn(|| {
        chunks.next()?.map_err(|error| broken = Some(error)).ok()
    }));
    match broken {
        Some(error) => Err(error.into()),
        None => Ok(loaded?),
    }
}

/// What a stopped replica holds.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Its folder.
    pub path: PathBuf,
    /// Whose it is.
    pub identity: Identity,
    /// The newest term it has seen.
    pub term: u64,
    /// The last entry of its log, agreed or not.
    pub last: LogMark,
    /// Up to where it knew the log to be agreed.
    pub commit: u64,
    /// Everybody else in its group, with the name if that is known.
    pub others: BTreeMap<ReplicaId, String>,
}

impl Survey {
    /// The larger, the more of the log: as an election compares.
    pub fn rank(&self) -> (u64, u64) {
        (self.last.term, self.last.index)
    }
}

/// A stopped replica's folder, held so that nobody starts it meanwhile, and all that it holds.
#[derive(Debug)]
pub struct Survivor<M> {
    folder: DataFolder,
    /// Where it stands.
    pub survey: Survey,
    /// Its state with every entry of its log applied: one that was not known to be agreed may have
    /// been acknowledged by those who are lost.
    pub machine: M,
}

/// Looks at the folder of a replica that does not run; a replica that does has it locked. A recovery
/// that was cut short is finished first.
pub fn survey<M: StateMachine>(path: &Path) -> Result<Survivor<M>, RescueError> {
    swap::finish(path)?;
    let folder = DataFolder::look(path)?;
    let identity =
        folder.identity().cloned().ok_or(FolderError::Fresh { path: path.to_owned() })?;
    let log = FileLog::open(&folder.log_path())?.load()?;
    let store = FileSnapshots::open(&folder.snapshots_path())?;
    let newest = store.latest()?;
    let (log, _unwritten) = reconcile(log, newest.as_ref())?;
    let mut state = match &newest {
        Some(meta) => load::<M>(&mut store.open(meta.index)?)?,
        None => Replicated::empty(),
    };
    for entry in &log.entries {
        if entry.index > state.index() {
            state.apply(entry)?;
        }
    }
    let others = match conf_at_the_end(&log, newest.as_ref())? {
        None => BTreeMap::new(),
        Some(conf) => others(&folder, &identity, &conf),
    };
    let survey = Survey {
        path: path.to_owned(),
        identity,
        term: log.hard_state.term,
        last: log.entries.last().map_or(log.mark, crate::log::LogEntry::mark),
        commit: log.hard_state.commit,
        others,
    };
    Ok(Survivor { folder, survey, machine: state.into_machine() })
}

/// Everybody but this replica, as far as configuration, record and promise name them.
fn others(
    folder: &DataFolder,
    identity: &Identity,
    stored: &StoredConf,
) -> BTreeMap<ReplicaId, String> {
    let mut names: BTreeMap<ReplicaId, String> = BTreeMap::new();
    for name in folder.promise().into_iter().flat_map(Promise::names) {
        names.insert(replica_id(identity.group, name), name.clone());
    }
    for (id, member) in stored.record.iter().flat_map(|record| &record.members) {
        names.insert(*id, member.member.name.clone());
    }
    let mut everybody = stored.conf.everybody();
    everybody.extend(stored.record.iter().flat_map(|record| record.members.keys().copied()));
    everybody
        .into_iter()
        .filter(|id| *id != identity.replica)
        .map(|id| (id, names.remove(&id).unwrap_or_default()))
        .collect()
}

/// How a new group begins.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// Its id, drawn at random.
    pub group: GroupId,
    /// What its first replica is called.
    pub name: String,
    /// Where it comes from.
    pub lineage: Lineage,
    /// The position behind which its log begins.
    pub index: u64,
    /// A term that is past.
    pub term: u64,
    /// The log time at that position.
    pub time: Timestamp,
    /// The time of day.
    pub now: Timestamp,
}

/// Makes `path`, which must be empty or not there, the folder of the only voter of a new group, whose
/// first state is `view`. Its identity is written last: a folder that was cut short starts nothing.
pub fn found<M: StateMachine>(
    path: &Path,
    beginning: &Beginning,
    view: M::View,
) -> Result<Identity, RescueError> {
    if fs::read_dir(path).is_ok_and(|mut files| files.next().is_some()) {
        return Err(FolderError::Taken { path: path.to_owned() }.into());
    }
    let mut folder = DataFolder::open(path)?;
    let identity = Identity {
        group: beginning.group,
        replica: replica_id(beginning.group, &beginning.name),
        name: beginning.name.clone(),
        created: beginning.now,
        lineage: beginning.lineage.clone(),
    };
    // Where it is reached stands in its settings, and is told at each start.
    let me = Member { id: identity.replica, name: identity.name.clone(), address: String::new() };
    let admission = Admission {
        group: identity.group,
        replica: identity.replica,
        name: identity.name.clone(),
        founders: vec![me.clone()],
        members: vec![me],
    };
    let conf = StoredConf { conf: Conf::of_voters([identity.replica]), record: None };
    let meta = SnapshotMeta {
        group: beginning.group,
        index: beginning.index,
        term: beginning.term,
        conf: conf.encode(),
        time: beginning.time,
        digest: 0,
    };
    let picture = Picture::<M>::founding(meta.index, meta.term, meta.time, view);
    FileSnapshots::open(&folder.snapshots_path())?.write(meta, &mut picture.records())?;
    folder.adopt_joined(identity.clone(), &admission)?;
    Ok(identity)
}

/// Makes the survivor's folder the first replica's of a new group. What it held before stays in a
/// folder within, `before-epoch-N`. Once begun it cannot be half done: a start of the replica refuses
/// the folder until this was called again.
pub fn take_over<M: StateMachine>(
    survivor: Survivor<M>,
    beginning: &Beginning,
    view: M::View,
) -> Result<Identity, RescueError> {
    let path = survivor.survey.path;
    let identity = found::<M>(&path.join(NEXT), beginning, view)?;
    drop(survivor.folder);
    swap::finish(&path)?;
    Ok(identity)
}
