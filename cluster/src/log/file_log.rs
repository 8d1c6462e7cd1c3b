//! The log in a file of its own: one write and one sync for each commit, into space that is already
//! there.
//!
//! Growing a file costs a commit of the file system's journal with every sync. So the file grows by
//! whole extents of synced zeros, and an extent whose entries are all dropped is used again: once the
//! log has reached its size, a commit is one `pwrite` and one `fdatasync` that finds no metadata.

use std::{
    collections::VecDeque,
    fmt,
    fs::{OpenOptions, TryLockError},
    io,
    path::Path,
};

use muster_hooks::{buggify, mutant};

use super::{
    LoadedLog, LogBatch, LogDisk, LogError, LogMark, LogStore,
    fence::Fence,
    holdings::{Base, Holdings},
    part::{self, HEAD, HEADER, Header, Shape, damaged, framed},
    record,
    recovery::{Extent, Recovered, Tail, recover},
};
use crate::durable;

/// How much the file grows at once, bytes.
const EXTENT: usize = 1 << 20;

/// How much may wait in memory for a batch that says `sync`, bytes.
const PENDING: usize = 256 << 10;

const WRITTEN: &str = "be written";
const OPENED: &str = "be opened";

/// The durable log of one replica.
pub struct FileLog {
    disk: Box<dyn LogDisk>,
    fence: Option<Fence>,
    shape: Shape,
    /// How many extents the file has.
    slots: u64,
    /// The extents needed, without gaps; the last is written to.
    live: VecDeque<Extent>,
    tail: Tail,
    /// What the last commit left.
    base: Base,
    /// What the commits and the pending records leave.
    holdings: Holdings,
    /// Records for the next commit.
    pending: Vec<u8>,
    /// The part under way; kept for its room.
    part: Vec<u8>,
    /// What opening read, for the first `load`.
    loaded: Option<LoadedLog>,
    stopped: bool,
}

impl FileLog {
    /// Opens or creates the log in the file `path` and verifies all of it.
    pub fn open(path: &Path) -> Result<FileLog, LogError> {
        Self::open_sized(path, EXTENT)
    }

    pub(super) fn open_sized(path: &Path, extent: usize) -> Result<FileLog, LogError> {
        let opening = io_error(OPENED);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(&opening)?;
        file.try_lock().map_err(|error| {
            opening(match error {
                TryLockError::WouldBlock => {
                    io::Error::new(io::ErrorKind::WouldBlock, "another process has it open")
                }
                TryLockError::Error(error) => error,
            })
        })?;
        let fence = Fence::open(&path.with_extension("fence")).map_err(&opening)?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            durable::sync_folder(folder).map_err(&opening)?;
        }
        Self::on(Box::new(file), Some(fence), Shape { name: rand::random(), extent })
    }

    /// Opens the log on `disk`, for disks that are simulated; creates it with extents of so many bytes
    /// and that name when the disk is empty. Without the fence beside it, damage to the very last
    /// commit passes for a crash.
    pub fn with_disk(
        disk: impl LogDisk + 'static,
        extent: usize,
        name: u64,
    ) -> Result<FileLog, LogError> {
        Self::on(Box::new(disk), None, Shape { name, extent })
    }

    /// As [`FileLog::with_disk`], with a fence on a disk of its own.
    pub fn with_disk_and_fence(
        disk: impl LogDisk + 'static,
        fence: impl LogDisk + 'static,
        extent: usize,
        name: u64,
    ) -> Result<FileLog, LogError> {
        let fence = Fence::on(Box::new(fence)).map_err(io_error(OPENED))?;
        Self::on(Box::new(disk), Some(fence), Shape { name, extent })
    }

    fn on(
        mut disk: Box<dyn LogDisk>,
        fence: Option<Fence>,
        shape: Shape,
    ) -> Result<FileLog, LogError> {
        let found = recover(disk.as_ref())?;
        let sequence = found.as_ref().map_or(0, |found| found.tail.sequence);
        if let Some(fence) = &fence
            && sequence < fence.acknowledged()
            && !mutant!(DamageCut)
        {
            return Err(damaged(format!(
                "{} commits were acknowledged and {sequence} are left",
                fence.acknowledged()
            )));
        }
        let Recovered { shape, slots, live, tail, holdings, loaded } = match found {
            Some(found) => found,
            None => create(disk.as_mut(), shape).map_err(io_error("be created"))?,
        };
        let mut log = FileLog {
            disk,
            fence,
            shape,
            slots,
            live,
            tail,
            base: holdings.base.clone(),
            holdings,
            pending: Vec::new(),
            part: Vec::new(),
            loaded: Some(loaded),
            stopped: false,
        };
        if !mutant!(TailBelieved) {
            log.settle().map_err(io_error(OPENED))?;
        }
        Ok(log)
    }

    /// Makes what was found durable before anybody hears of it: the last write of a killed process may
    /// never have been synced, and after a sync that failed the disk may not even hold it.
    fn settle(&mut self) -> io::Result<()> {
        self.disk.write_at(0, &self.shape.encode())?;
        if let Some(newest) = self.live.back() {
            let at = offset(self.shape, newest.slot, self.tail.start);
            self.part.resize(self.tail.end - self.tail.start, 0);
            self.disk.read_at(at, &mut self.part)?;
            self.disk.write_at(at, &self.part)?;
        }
        self.disk.sync()?;
        match &mut self.fence {
            Some(fence) => fence.raise(self.tail.sequence).and_then(|()| fence.sync()),
            None => Ok(()),
        }
    }

    /// Runs `change` with the store refusing everything from its first error on.
    fn guarded(
        &mut self,
        change: impl FnOnce(&mut FileLog) -> Result<(), LogError>,
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

    /// Writes the pending records, all or nothing, and syncs.
    fn commit(&mut self) -> Result<(), LogError> {
        let mut records = std::mem::take(&mut self.pending);
        let fits = framed(records.len()) <= self.shape.extent - self.tail.end;
        if fits && !buggify!(NextExtent) {
            self.commit_part(&records)?;
            records.clear();
        } else {
            let mut opening = Vec::with_capacity(records.len() + HEADER);
            record::put_base(&self.base, &mut opening)?;
            opening.append(&mut records);
            if framed(opening.len()) <= self.shape.extent {
                self.begin_extent(false)?;
                self.commit_part(&opening)?;
            } else {
                self.commit_parts(&opening)?;
            }
        }
        self.pending = records;
        self.base = self.holdings.base.clone();
        Ok(())
    }

    /// Writes a commit that fits where the log ends, and gives up the extents no longer needed.
    fn commit_part(&mut self, records: &[u8]) -> Result<(), LogError> {
        self.holdings.place(self.newest());
        let needed = self.needed();
        self.put(records, needed, true, false)?;
        while self.live.front().is_some_and(|oldest| oldest.number < needed) {
            self.live.pop_front();
        }
        Ok(())
    }

    /// Writes a commit larger than an extent. While it is unfinished the state before it counts, so it
    /// gives up nothing; each part is synced before the next, as recovery relies on.
    fn commit_parts(&mut self, records: &[u8]) -> Result<(), LogError> {
        let mut needed = self.live.front().map(|oldest| oldest.number);
        let mut chunks = records.chunks(self.shape.extent - HEADER).peekable();
        let mut begins = true;
        while let Some(chunk) = chunks.next() {
            self.begin_extent(!begins)?;
            if begins {
                self.holdings.place(self.newest());
            }
            let needed = *needed.get_or_insert(self.newest());
            self.put(chunk, needed, begins, chunks.peek().is_some())?;
            begins = false;
        }
        Ok(())
    }

    /// Number of the extent written to; 0 in a fresh log.
    fn newest(&self) -> u64 {
        self.live.back().map_or(0, |newest| newest.number)
    }

    /// The oldest extent that the entries held need: one that does not begin amid a commit.
    fn needed(&self) -> u64 {
        let newest = self.newest();
        let holding = self.holdings.first_extent().unwrap_or(newest);
        self.live
            .iter()
            .rev()
            .find(|extent| extent.number <= holding && !extent.continues)
            .map_or(newest, |extent| extent.number)
    }

    /// Goes on at the start of an extent that is not needed, or of a new one.
    fn begin_extent(&mut self, continues: bool) -> Result<(), LogError> {
        let mut free = 0..self.slots;
        let slot = free.find(|slot| self.live.iter().all(|extent| extent.slot != *slot));
        let slot = match slot {
            Some(slot) => slot,
            None => self.grow().map_err(io_error("grow"))?,
        };
        self.live.push_back(Extent { number: self.newest() + 1, slot, continues });
        self.tail.end = 0;
        Ok(())
    }

    fn grow(&mut self) -> io::Result<u64> {
        let slot = self.slots;
        self.disk.write_at(offset(self.shape, slot, 0), &vec![0; self.shape.extent])?;
        self.disk.sync()?;
        self.slots += 1;
        Ok(slot)
    }

    /// Writes one part where the log ends, and syncs.
    fn put(
        &mut self,
        records: &[u8],
        needed: u64,
        begins: bool,
        continues: bool,
    ) -> Result<(), LogError> {
        let writing = io_error(WRITTEN);
        let slot = self.live.back().map_or(0, |newest| newest.slot);
        let header = Header {
            name: self.shape.name,
            sequence: self.tail.sequence + 1,
            extent: self.newest(),
            needed,
            previous: self.tail.crc,
            begins,
            continues,
        };
        let crc = part::encode(&header, records, &mut self.part)
            .ok_or_else(|| LogError::Misuse { what: "a part beyond 4 GiB".to_owned() })?;
        let start = self.tail.end;
        self.disk.write_at(offset(self.shape, slot, start), &self.part).map_err(&writing)?;
        if !mutant!(LogUnsynced) {
            let mut synced = self.disk.sync();
            if mutant!(SyncRetried) && synced.is_err() {
                synced = self.disk.sync();
            }
            synced.map_err(&writing)?;
        }
        let end = start + self.part.len();
        self.tail = Tail { sequence: header.sequence, crc, start, end };
        match &mut self.fence {
            Some(fence) => fence.raise(header.sequence).map_err(writing),
            None => Ok(()),
        }
    }
}

impl LogStore for FileLog {
    fn load(&mut self) -> Result<LoadedLog, LogError> {
        if self.stopped {
            return Err(LogError::Stopped);
        }
        if let Some(loaded) = self.loaded.take() {
            return Ok(loaded);
        }
        if !self.pending.is_empty() {
            self.guarded(FileLog::commit)?;
        }
        match recover(self.disk.as_ref())? {
            Some(found) => Ok(found.loaded),
            None => Err(damaged("its file has become empty")),
        }
    }

    fn write(&mut self, batches: &[LogBatch]) -> Result<(), LogError> {
        self.guarded(|log| {
            for batch in batches {
                log.holdings.apply(batch)?;
                record::put_batch(batch, &mut log.pending)?;
            }
            let due = batches.iter().any(|batch| batch.sync)
                || log.pending.len() > PENDING
                || buggify!(WriteEarly);
            if due && !log.pending.is_empty() { log.commit() } else { Ok(()) }
        })
    }

    fn compact(&mut self, through: LogMark) -> Result<(), LogError> {
        if !self.stopped && through.index <= self.holdings.base.mark.index {
            return Ok(());
        }
        self.guarded(|log| {
            log.holdings.compact(through)?;
            record::put_compact(through, &mut log.pending);
            log.commit()
        })
    }

    fn size_bytes(&self) -> u64 {
        self.holdings.bytes() as u64
    }
}

impl Drop for FileLog {
    /// What nobody asked to be durable is kept all the same when nothing forbids it.
    fn drop(&mut self) {
        if !self.stopped && !self.pending.is_empty() {
            drop(self.commit());
        }
    }
}

impl fmt::Debug for FileLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileLog")
            .field("base", &self.holdings.base)
            .field("tail", &self.tail)
            .field("slots", &self.slots)
            .field("live", &self.live)
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}

/// Makes an empty log: the head comes last, when everything else is on the disk.
fn create(disk: &mut dyn LogDisk, shape: Shape) -> io::Result<Recovered> {
    if shape.extent < 2 * part::SECTOR || !shape.extent.is_multiple_of(part::SECTOR) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "extents are of whole sectors"));
    }
    let whole = usize::try_from(HEAD).unwrap_or(0) + shape.extent;
    disk.write_at(0, &vec![0; whole])?;
    disk.sync()?;
    disk.write_at(0, &shape.encode())?;
    disk.sync()?;
    Ok(Recovered {
        shape,
        slots: 1,
        live: VecDeque::new(),
        tail: Tail { end: shape.extent, ..Tail::default() },
        holdings: Holdings::default(),
        loaded: LoadedLog::default(),
    })
}

/// Where byte `at` of the extent in `slot` lies.
fn offset(shape: Shape, slot: u64, at: usize) -> u64 {
    HEAD + slot * shape.extent as u64 + at as u64
}

fn io_error(doing: &'static str) -> impl Fn(io::Error) -> LogError {
    move |source| LogError::Io { doing, source }
}
