//! The log in a redb file: one table of entries by index, one of the few records beside them.

use std::{
    collections::VecDeque,
    fmt,
    fs::{self, File},
    io,
    path::Path,
};

use redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    StorageBackend, Table, TableDefinition, TableError,
};

use super::{
    LoadedLog, LogBatch, LogEntry, LogError, LogMark, LogStore,
    codec::{self, Head, damaged},
    errors::explain,
    fence::Fence,
};
use crate::durable;

pub(super) const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
pub(super) const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
const HEAD: &str = "head";
const CONF: &str = "conf";

/// Reads come from the core's memory, so the store needs little of its own.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// The durable log of one replica.
pub struct RedbLog {
    database: Database,
    fence: Option<Fence>,
    head: Head,
    /// Bytes of each entry held, first to last.
    sizes: VecDeque<usize>,
    bytes: usize,
    /// What opening read, for the first `load`.
    loaded: Option<LoadedLog>,
    /// Commits that a crash of the machine could still undo.
    unsynced: bool,
    stopped: bool,
}

impl RedbLog {
    /// Opens or creates the log in the file `path` and verifies all of it.
    pub fn open(path: &Path) -> Result<RedbLog, LogError> {
        let opening = |source| LogError::Io { doing: "be opened", source };
        let fence = Fence::open(&path.with_extension("fence")).map_err(opening)?;
        if fs::metadata(path).map_or(0, |file| file.len()) == 0 {
            create(path)?;
        }
        let database = builder().open(path).map_err(|error| explain("be opened", error))?;
        Self::from_database(database, Some(fence))
    }

    /// Opens or creates the log in `backend`, for disks that are simulated. A disk that crashed before
    /// this returned for the first time is no log yet and must be emptied.
    pub fn with_backend(backend: impl StorageBackend) -> Result<RedbLog, LogError> {
        let database =
            builder().create_with_backend(backend).map_err(|error| explain("be opened", error))?;
        Self::from_database(database, None)
    }

    fn from_database(database: Database, fence: Option<Fence>) -> Result<RedbLog, LogError> {
        let (head, loaded) = read(&database)?;
        if let Some(fence) = &fence
            && head.commits < fence.acknowledged()
        {
            return Err(damaged(format!(
                "{} commits were acknowledged and {} are left",
                fence.acknowledged(),
                head.commits
            )));
        }
        let sizes: VecDeque<usize> = loaded.entries.iter().map(size).collect();
        Ok(RedbLog {
            database,
            fence,
            head,
            bytes: sizes.iter().sum(),
            sizes,
            loaded: Some(loaded),
            unsynced: false,
            stopped: false,
        })
    }

    /// Runs `change` with the store refusing everything from its first error on.
    fn guarded(
        &mut self,
        change: impl FnOnce(&mut RedbLog) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        if self.stopped {
            return Err(LogError::Stopped);
        }
        self.stopped = true;
        self.loaded = None;
        change(self)?;
        self.stopped = false;
        Ok(())
    }

    fn commit(
        &mut self,
        sync: bool,
        change: impl FnOnce(&mut Draft<'_>) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let writing = "be written";
        let mut transaction =
            self.database.begin_write().map_err(|error| explain(writing, error))?;
        transaction
            .set_durability(if sync { Durability::Immediate } else { Durability::None })
            .map_err(|error| explain(writing, error))?;
        {
            let mut draft = Draft {
                entries: transaction
                    .open_table(ENTRIES)
                    .map_err(|error| explain(writing, error))?,
                records: transaction
                    .open_table(RECORDS)
                    .map_err(|error| explain(writing, error))?,
                head: &mut self.head,
                sizes: &mut self.sizes,
                bytes: &mut self.bytes,
            };
            change(&mut draft)?;
            draft.head.commits += 1;
            let record = codec::encode_head(HEAD, draft.head);
            draft.put_record(HEAD, &record)?;
        }
        transaction.commit().map_err(|error| explain(writing, error))?;
        self.unsynced = !sync;
        if sync && let Some(fence) = &mut self.fence {
            fence
                .raise(self.head.commits)
                .map_err(|source| LogError::Io { doing: writing, source })?;
        }
        Ok(())
    }
}

impl LogStore for RedbLog {
    fn load(&mut self) -> Result<LoadedLog, LogError> {
        if self.stopped {
            return Err(LogError::Stopped);
        }
        match self.loaded.take() {
            Some(loaded) => Ok(loaded),
            None => Ok(read(&self.database)?.1),
        }
    }

    fn write(&mut self, batches: &[LogBatch]) -> Result<(), LogError> {
        self.guarded(|log| {
            check(log.head.mark.index, log.head.last, batches)?;
            let sync = batches.iter().any(|batch| batch.sync);
            let changes = batches.iter().any(|batch| !is_empty(batch));
            let leftover = sync && log.unsynced;
            if !changes && !leftover {
                return Ok(());
            }
            log.commit(sync, |draft| batches.iter().try_for_each(|batch| draft.apply(batch)))
        })
    }

    fn compact(&mut self, through: LogMark) -> Result<(), LogError> {
        if !self.stopped && through.index <= self.head.mark.index {
            return Ok(());
        }
        self.guarded(|log| {
            if through.index > log.head.last {
                return Err(LogError::Misuse {
                    what: format!(
                        "to drop entries up to {} when the last is {}",
                        through.index, log.head.last
                    ),
                });
            }
            log.commit(true, |draft| draft.drop_front(through))
        })
    }

    fn size_bytes(&self) -> u64 {
        self.bytes as u64
    }
}

impl fmt::Debug for RedbLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbLog")
            .field("head", &self.head)
            .field("bytes", &self.bytes)
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}

/// The tables of a commit under way, with what the store knows of them by heart.
struct Draft<'a> {
    entries: Table<'a, u64, &'static [u8]>,
    records: Table<'a, &'static str, &'static [u8]>,
    head: &'a mut Head,
    sizes: &'a mut VecDeque<usize>,
    bytes: &'a mut usize,
}

impl Draft<'_> {
    fn apply(&mut self, batch: &LogBatch) -> Result<(), LogError> {
        if let Some(mark) = batch.reset {
            self.entries.retain(|_, _| false).map_err(|error| explain("be reset", error))?;
            self.sizes.clear();
            *self.bytes = 0;
            self.head.mark = mark;
            self.head.last = mark.index;
        }
        if let Some(first) = batch.entries.first() {
            self.drop_tail(first.index)?;
        }
        for entry in &batch.entries {
            self.append(entry)?;
        }
        if let Some(hard_state) = batch.hard_state {
            self.head.hard_state = hard_state;
        }
        if let Some(conf) = &batch.conf {
            self.put_record(CONF, &codec::encode_blob(CONF, conf))?;
        }
        Ok(())
    }

    fn append(&mut self, entry: &LogEntry) -> Result<(), LogError> {
        let record = codec::encode_entry(entry)?;
        self.entries
            .insert(entry.index, record.as_slice())
            .map_err(|error| explain("take an entry", error))?;
        self.head.last = entry.index;
        self.sizes.push_back(size(entry));
        *self.bytes += size(entry);
        Ok(())
    }

    /// Drops the entries from `first` on.
    fn drop_tail(&mut self, first: u64) -> Result<(), LogError> {
        while self.head.last >= first {
            self.entries.remove(self.head.last).map_err(|error| explain("drop its tail", error))?;
            self.head.last -= 1;
            *self.bytes -= self.sizes.pop_back().unwrap_or(0);
        }
        Ok(())
    }

    /// Drops the entries up to and including `through`, which must be one of them.
    fn drop_front(&mut self, through: LogMark) -> Result<(), LogError> {
        let held = self
            .entries
            .get(through.index)
            .map_err(|error| explain("be compacted", error))?
            .map(|record| codec::decode_entry(through.index, record.value()))
            .transpose()?;
        if held.map(|entry| entry.mark()) != Some(through) {
            return Err(LogError::Misuse {
                what: format!(
                    "to drop entries up to {} of term {}, which it does not hold",
                    through.index, through.term
                ),
            });
        }
        self.entries
            .retain_in(..=through.index, |_, _| false)
            .map_err(|error| explain("be compacted", error))?;
        for _ in self.head.mark.index..through.index {
            *self.bytes -= self.sizes.pop_front().unwrap_or(0);
        }
        self.head.mark = through;
        Ok(())
    }

    fn put_record(&mut self, key: &str, record: &[u8]) -> Result<(), LogError> {
        self.records.insert(key, record).map(|_| ()).map_err(|error| explain("be written", error))
    }
}

/// Creates an empty log aside and moves it to `path`, so that a crash amid its birth leaves nothing
/// that looks like damage.
fn create(path: &Path) -> Result<(), LogError> {
    let creating = |source| LogError::Io { doing: "be created", source };
    let draft = path.with_extension("draft");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(creating(error));
        }
        _ => {}
    }
    builder()
        .create(&draft)
        .and_then(Database::close)
        .map_err(|error| explain("be created", error))?;
    File::open(&draft)
        .and_then(|file| file.sync_all())
        .and_then(|()| durable::rename(&draft, path))
        .map_err(creating)
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    // Checks every page and reports damage as an error where a plain open might panic.
    builder.set_check_integrity_on_open(true).set_cache_size(CACHE_BYTES);
    builder
}

fn size(entry: &LogEntry) -> usize {
    entry.data.len() + entry.context.len() + size_of::<LogMark>()
}

fn is_empty(batch: &LogBatch) -> bool {
    batch.reset.is_none()
        && batch.entries.is_empty()
        && batch.hard_state.is_none()
        && batch.conf.is_none()
}

/// Refuses batches that would leave a hole, before anything is written.
fn check(mut mark: u64, mut last: u64, batches: &[LogBatch]) -> Result<(), LogError> {
    for batch in batches {
        if let Some(reset) = batch.reset {
            mark = reset.index;
            last = reset.index;
        }
        let Some(first) = batch.entries.first() else {
            continue;
        };
        if first.index <= mark || first.index > last + 1 {
            return Err(LogError::Misuse {
                what: format!("entry {} next to the entries {} to {last}", first.index, mark + 1),
            });
        }
        last = first.index - 1;
        for entry in &batch.entries {
            if entry.index != last + 1 {
                return Err(LogError::Misuse {
                    what: format!("entry {} behind entry {last}", entry.index),
                });
            }
            last = entry.index;
        }
    }
    Ok(())
}

/// Reads and verifies everything.
fn read(database: &Database) -> Result<(Head, LoadedLog), LogError> {
    let reading = "be read";
    let transaction = database.begin_read().map_err(|error| explain(reading, error))?;
    let records = match transaction.open_table(RECORDS) {
        Ok(records) => records,
        Err(TableError::TableDoesNotExist(_)) => return read_fresh(&transaction),
        Err(error) => return Err(explain(reading, error)),
    };
    let record = |key: &str| records.get(key).map_err(|error| explain(reading, error));
    let head = match record(HEAD)? {
        Some(found) => codec::decode_head(HEAD, found.value())?,
        None => return Err(damaged("its head record is missing".to_owned())),
    };
    let conf = record(CONF)?.map(|found| codec::decode_blob(CONF, found.value())).transpose()?;
    let table = transaction.open_table(ENTRIES).map_err(|error| explain(reading, error))?;
    let mut entries = Vec::new();
    let mut last = head.mark.index;
    for row in table.iter().map_err(|error| explain(reading, error))? {
        let (index, found) = row.map_err(|error| explain(reading, error))?;
        let index = index.value();
        if index.checked_sub(1) != Some(last) {
            return Err(damaged(format!("entry {index} stands behind entry {last}")));
        }
        entries.push(codec::decode_entry(index, found.value())?);
        last = index;
    }
    if last != head.last {
        return Err(damaged(format!("it ends at entry {last} and should end at {}", head.last)));
    }
    let loaded = LoadedLog { mark: head.mark, entries, hard_state: head.hard_state, conf };
    Ok((head, loaded))
}

/// A store without records is fresh only if it has no entries either.
fn read_fresh(transaction: &redb::ReadTransaction) -> Result<(Head, LoadedLog), LogError> {
    match transaction.open_table(ENTRIES) {
        Err(TableError::TableDoesNotExist(_)) => Ok((Head::default(), LoadedLog::default())),
        Ok(table) if table.is_empty().map_err(|error| explain("be read", error))? => {
            Ok((Head::default(), LoadedLog::default()))
        }
        Ok(_) => Err(damaged("its records are missing".to_owned())),
        Err(error) => Err(explain("be read", error)),
    }
}
