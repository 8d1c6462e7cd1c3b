//! The part of the log that is still in memory: what raft reads. It holds every entry that is not
//! compacted, on disk already or on its way there.

use std::{cell::Cell, collections::VecDeque};

use raft::{
    GetEntriesContext, RaftState, Storage, StorageError,
    eraftpb::{ConfState, Entry, EntryType, HardState, Snapshot},
};

use super::conf;
use crate::{
    log::{LoadedLog, LogEntry, LogMark},
    members::Conf,
    sessions,
    snapshot::SnapshotMeta,
    types::ReplicaId,
};

/// In-memory log behind raft's `Storage`.
pub(super) struct Tail {
    mark: LogMark,
    entries: VecDeque<Entry>,
    bytes: u64,
    hard_state: HardState,
    /// As raft starts with it.
    conf: ConfState,
    newest: Option<Newest>,
    /// A peer needs a snapshot that knows it, and the newest does not.
    stale: Cell<bool>,
}

/// The newest snapshot and the configuration in it.
struct Newest {
    meta: SnapshotMeta,
    conf: Conf,
}

impl Tail {
    pub(super) fn new(log: LoadedLog, conf: &Conf, newest: Option<SnapshotMeta>) -> Self {
        let mut hard_state = HardState::default();
        hard_state.term = log.hard_state.term;
        hard_state.vote = log.hard_state.vote;
        hard_state.commit = log.hard_state.commit;
        let entries: VecDeque<Entry> = log.entries.into_iter().map(to_raft).collect();
        let bytes = entries.iter().map(weight).sum();
        let newest = newest.map(|meta| Newest { meta, conf: conf.clone() });
        let conf = conf::to_raft(conf);
        let stale = Cell::new(false);
        Self { mark: log.mark, entries, bytes, hard_state, conf, newest, stale }
    }

    pub(super) fn first(&self) -> u64 {
        self.mark.index + 1
    }

    pub(super) fn last(&self) -> u64 {
        self.mark.index + self.entries.len() as u64
    }

    /// Bytes of the entries held.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn newest(&self) -> Option<&SnapshotMeta> {
        self.newest.as_ref().map(|newest| &newest.meta)
    }

    /// Whether a peer needs a newer snapshot than there is; asked once.
    pub(super) fn take_stale(&self) -> bool {
        self.stale.replace(false)
    }

    /// The stamp of an entry that is still held.
    pub(super) fn stamp_at(&self, index: u64) -> Option<crate::types::Timestamp> {
        sessions::stamp_of(&self.get(index)?.context)
    }

    /// Puts `entries` in the place of everything from the first of them on.
    pub(super) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        while self.last() >= first.index {
            let Some(dropped) = self.entries.pop_back() else { break };
            self.bytes -= weight(&dropped);
        }
        self.bytes += entries.iter().map(weight).sum::<u64>();
        self.entries.extend(entries.iter().cloned());
    }

    pub(super) fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    /// A snapshot stands in for the whole log.
    pub(super) fn restart_after(&mut self, meta: SnapshotMeta, conf: Conf) {
        self.mark = LogMark { index: meta.index, term: meta.term };
        self.entries.clear();
        self.bytes = 0;
        self.newest = Some(Newest { meta, conf });
    }

    pub(super) fn set_newest(&mut self, meta: SnapshotMeta, conf: Conf) {
        self.newest = Some(Newest { meta, conf });
    }

    /// The place up to which the log can go if, of the entries that a snapshot up to `covered`
    /// holds, only `entries` and `bytes` stay.
    pub(super) fn surplus(&self, covered: u64, entries: u64, bytes: u64) -> Option<LogMark> {
        let mut through = None;
        let mut kept =
            self.entries.iter().take_while(|entry| entry.index <= covered).map(weight).sum::<u64>();
        for entry in self.entries.iter().take_while(|entry| entry.index <= covered) {
            if kept <= bytes && covered - entry.index < entries {
                break;
            }
            kept -= weight(entry);
            through = Some(LogMark { index: entry.index, term: entry.term });
        }
        through
    }

    /// Drops the entries up to and including `through`.
    pub(super) fn compact(&mut self, through: LogMark) {
        while self.first() <= through.index {
            let Some(dropped) = self.entries.pop_front() else { break };
            self.bytes -= weight(&dropped);
            self.mark = LogMark { index: dropped.index, term: dropped.term };
        }
    }

    fn get(&self, index: u64) -> Option<&Entry> {
        let place = index.checked_sub(self.first())?;
        self.entries.get(usize::try_from(place).ok()?)
    }
}

/// Bytes that an entry takes, roughly.
pub(super) fn weight(entry: &Entry) -> u64 {
    (entry.data.len() + entry.context.len()) as u64 + 32
}

/// Our form of an entry of raft.
pub(super) fn from_raft(entry: Entry) -> LogEntry {
    LogEntry {
        index: entry.index,
        term: entry.term,
        kind: match entry.entry_type {
            EntryType::EntryNormal if sessions::is_wish(&entry.context) => sessions::WISH,
            EntryType::EntryNormal => 0,
            EntryType::EntryConfChange => 1,
            EntryType::EntryConfChangeV2 => 2,
        },
        data: entry.data,
        context: entry.context,
    }
}

fn to_raft(entry: LogEntry) -> Entry {
    let mut raft = Entry::default();
    raft.set_entry_type(match entry.kind {
        0 | sessions::WISH => EntryType::EntryNormal,
        1 => EntryType::EntryConfChange,
        _ => EntryType::EntryConfChangeV2,
    });
    raft.index = entry.index;
    raft.term = entry.term;
    raft.data = entry.data;
    raft.context = entry.context;
    raft
}

impl Storage for Tail {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.conf.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low < self.first() {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        if high > self.last() + 1 {
            return Err(raft::Error::Store(StorageError::Unavailable));
        }
        let limit = max_size.into().unwrap_or(u64::MAX);
        let mut taken = Vec::new();
        let mut size = 0_u64;
        for index in low..high {
            let Some(entry) = self.get(index) else { break };
            size = size.saturating_add(weight(entry));
            if size > limit && !taken.is_empty() {
                break;
            }
            taken.push(entry.clone());
        }
        Ok(taken)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.mark.index {
            return Ok(self.mark.term);
        }
        if index < self.mark.index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        self.get(index).map(|entry| entry.term).ok_or(raft::Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// Names the newest snapshot; its content travels beside raft. The log is compacted only behind
    /// a snapshot, so there is one whenever a peer needs it.
    /// It must know the peer: raft refuses to start from a configuration without itself.
    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let fits = |newest: &&Newest| newest.meta.index >= request_index;
        let knows = |newest: &&Newest| newest.conf.contains(ReplicaId(to));
        let Some(Newest { meta, conf }) = self.newest.as_ref().filter(fits).filter(knows) else {
            self.stale.set(true);
            return Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        };
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = meta.index;
        metadata.term = meta.term;
        metadata.set_conf_state(conf::to_raft(conf));
        Ok(snapshot)
    }
}
