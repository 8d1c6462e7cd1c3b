//! A disk that keeps only what was synced, and that breaks in every way that disks do.
//!
//! At a power cut every sector written since the last sync is, each on its own, as it was at the sync,
//! as it is now, or as it was at some write between. After a sync that failed the system takes what it
//! could not write for clean: reads still show it, later syncs do not write it, a power cut loses it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_cluster::log::{FileLog, LogDisk, LogError};

use crate::chance::Chance;

const SECTOR: usize = 512;
/// Earlier contents remembered per un-synced sector; the oldest (the synced one) is always kept.
const VERSIONS_MAX: usize = 4;
/// The last writes, which rot spares: one that is torn and one that is rotten look the same, and a
/// write may be lost behind them.
const SPARED: usize = 4;

type Sector = [u8; SECTOR];

/// How the next operation of its kind goes wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// A sync fails; of each sector nobody knows whether it was written.
    Sync,
    /// A write fails half-way.
    Write,
    /// A write is acknowledged, but lands a few sectors off.
    Misdirected,
}

/// One disk. Clones are the same disk; it outlives the processes that open it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    platter: Arc<Mutex<Platter>>,
}

#[derive(Clone, Debug, Default)]
struct Platter {
    /// What reads show.
    bytes: Vec<u8>,
    /// How long the file was at the last sync.
    synced_len: usize,
    /// Contents that each sector written since the last sync had before, the synced one first.
    before: BTreeMap<usize, Vec<Sector>>,
    /// Sectors that count as clean, with what the disk really holds.
    ghosts: BTreeMap<usize, Sector>,
    /// Syncs that still succeed; after that everything fails until the power is back.
    fuse: Option<u64>,
    dead: bool,
    trouble: Option<(Trouble, Chance)>,
    /// An operation failed because of trouble or for want of room, and nobody asked yet.
    failed: bool,
    /// The file cannot grow.
    full: bool,
    /// Sectors of the last writes.
    recent: VecDeque<Range<usize>>,
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, Platter> {
        self.platter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the log that this disk holds, with `fence` beside it. Its extents are so small that it
    /// often moves to another.
    pub(crate) fn open_log(&self, fence: &Disk) -> Result<FileLog, LogError> {
        FileLog::with_disk_and_fence(self.clone(), fence.clone(), 16 * 1024, 1)
    }

    /// Lets the power fail, or the process die, at the sync after `syncs` more of them.
    pub(crate) fn fail_after(&self, syncs: u64) {
        self.lock().fuse = Some(syncs);
    }

    /// Cuts the power at once: every later access fails.
    pub(crate) fn cut_power(&self) {
        self.lock().dead = true;
    }

    /// Decides what the power cut left of every un-synced sector, and turns the power on again.
    pub(crate) fn restore_power(&self, chance: &mut Chance) {
        self.lock().lose_unsynced(chance);
    }

    /// The process is gone, the system lives: nothing is lost, and nothing is synced either.
    pub(crate) fn outlive_process(&self) {
        let mut platter = self.lock();
        platter.dead = false;
        platter.fuse = None;
    }

    /// A copy of this disk as a power cut right now could leave it.
    pub(crate) fn as_after_power_cut(&self, chance: &mut Chance) -> Self {
        let mut platter = self.lock().clone();
        platter.lose_unsynced(chance);
        Self { platter: Arc::new(Mutex::new(platter)) }
    }

    /// Lets the next operation go wrong.
    pub(crate) fn trouble(&self, trouble: Trouble, chance: Chance) {
        self.lock().trouble = Some((trouble, chance));
    }

    /// Nothing goes wrong any more.
    pub(crate) fn mend(&self) {
        let mut platter = self.lock();
        platter.trouble = None;
        platter.full = false;
    }

    /// Whether an operation failed as it was told to since this was last asked.
    pub(crate) fn take_failed(&self) -> bool {
        std::mem::take(&mut self.lock().failed)
    }

    /// Whether the file cannot grow from now on.
    pub(crate) fn fill(&self, full: bool) {
        self.lock().full = full;
    }

    /// Flips one bit of what was synced a while ago. False when there is nothing yet.
    pub(crate) fn rot(&self, chance: &mut Chance) -> bool {
        let mut platter = self.lock();
        // Where something was written: in the room ahead of the log a bit does no harm.
        let synced = platter.bytes.get(..platter.synced_len).unwrap_or_default().chunks(SECTOR);
        let written = synced.enumerate().filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0));
        let written: Vec<usize> = written.map(|(sector, _)| sector).collect();
        let Some(sector) = chance.pick(&written) else { return false };
        let offset = sector * SECTOR + chance.place(SECTOR);
        if platter.recent.iter().any(|range| range.contains(&sector))
            || platter.before.contains_key(&sector)
        {
            return false;
        }
        let Some(byte) = platter.bytes.get_mut(offset) else { return false };
        *byte ^= 1 << chance.below(8);
        if let Some(ghost) = platter.ghosts.get_mut(&sector)
            && let Some(byte) = ghost.get_mut(offset % SECTOR)
        {
            *byte ^= 1;
        }
        true
    }
}

impl Platter {
    fn lose_unsynced(&mut self, chance: &mut Chance) {
        // Whole outcomes are drawn more often than sector luck alone would: they are the likeliest.
        let style = chance.below(4);
        let len = match style {
            0 => self.bytes.len(),
            1 => self.synced_len,
            _ if chance.coin() => self.synced_len,
            _ => self.bytes.len(),
        };
        for (number, versions) in std::mem::take(&mut self.before) {
            let keep = match style {
                0 => versions.len(),
                1 => 0,
                _ => chance.place(versions.len() + 1),
            };
            if let Some(sector) = versions.get(keep) {
                self.put_sector(number, sector);
            }
        }
        for (number, sector) in std::mem::take(&mut self.ghosts) {
            self.put_sector(number, &sector);
        }
        self.bytes.resize(len, 0);
        self.synced_len = len;
        self.dead = false;
        self.fuse = None;
    }

    fn put_sector(&mut self, number: usize, sector: &Sector) {
        let start = number * SECTOR;
        if self.bytes.len() < start + SECTOR {
            self.bytes.resize(start + SECTOR, 0);
        }
        if let Some(place) = self.bytes.get_mut(start..start + SECTOR) {
            place.copy_from_slice(sector);
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.dead { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    /// Remembers what the sectors under `start..end` hold before they change.
    fn remember(&mut self, start: usize, end: usize) {
        for number in start / SECTOR..end.div_ceil(SECTOR) {
            let mut sector = [0; SECTOR];
            let from = (number * SECTOR).min(self.bytes.len());
            let to = (from + SECTOR).min(self.bytes.len());
            if let (Some(source), Some(target)) =
                (self.bytes.get(from..to), sector.get_mut(..to - from))
            {
                target.copy_from_slice(source);
            }
            let ghost = self.ghosts.remove(&number);
            let versions = self.before.entry(number).or_default();
            if versions.len() == VERSIONS_MAX {
                versions.remove(1);
            }
            versions.extend(ghost);
            versions.push(sector);
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        let (mut start, mut end) = range(offset, data.len())?;
        if self.full && end > self.bytes.len() {
            self.failed = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let trouble = self.trouble.take_if(|(trouble, _)| *trouble != Trouble::Sync);
        if let Some((Trouble::Misdirected, chance)) = trouble.clone() {
            let (mut chance, sectors) = (chance, (self.bytes.len() / SECTOR).max(1));
            start = chance.place(sectors) * SECTOR;
            end = start + data.len();
        }
        self.recent.push_back(start / SECTOR..end.div_ceil(SECTOR));
        if self.recent.len() > SPARED {
            self.recent.pop_front();
        }
        if matches!(trouble, Some((Trouble::Write, _))) {
            self.failed = true;
            let half = data.len() / 2 / SECTOR * SECTOR;
            self.put(start, data.get(..half).unwrap_or_default());
            return Err(io::Error::other("the disk refuses the write"));
        }
        self.put(start, data);
        Ok(())
    }

    fn put(&mut self, start: usize, data: &[u8]) {
        let end = start + data.len();
        self.remember(start, end);
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
        }
        if let Some(place) = self.bytes.get_mut(start..end) {
            place.copy_from_slice(data);
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.check()?;
        let (start, end) = range(offset, out.len())?;
        let bytes = self.bytes.get(start..end);
        let bytes = bytes.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "short"))?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.check()?;
        match &mut self.fuse {
            Some(0) => self.dead = true,
            Some(left) => *left -= 1,
            None => {}
        }
        self.check()?;
        if let Some((_, mut chance)) = self.trouble.take_if(|(it, _)| *it == Trouble::Sync) {
            self.failed = true;
            self.half_sync(&mut chance);
            return Err(io::Error::other("the disk refuses the sync"));
        }
        self.before.clear();
        self.synced_len = self.bytes.len();
        Ok(())
    }

    /// Some sectors reach the disk, the others only seem to.
    fn half_sync(&mut self, chance: &mut Chance) {
        for (number, versions) in std::mem::take(&mut self.before) {
            if let Some(held) = versions.first()
                && chance.coin()
            {
                self.ghosts.insert(number, *held);
            }
        }
        self.synced_len = self.bytes.len();
    }
}

fn range(offset: u64, len: usize) -> io::Result<(usize, usize)> {
    let start = usize::try_from(offset).map_err(io::Error::other)?;
    let end = start.checked_add(len).ok_or_else(|| io::Error::other("beyond any disk"))?;
    Ok((start, end))
}

impl LogDisk for Disk {
    fn size(&self) -> io::Result<u64> {
        let platter = self.lock();
        platter.check()?;
        Ok(platter.bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.lock().read(offset, out)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.lock().write(offset, data)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.lock().sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn byte(disk: &Disk, offset: u64) -> u8 {
        let mut out = [0];
        disk.read_at(offset, &mut out).unwrap();
        out[0]
    }

    #[test]
    fn synced_bytes_outlive_any_power_cut() {
        for seed in 0..50 {
            let mut disk = Disk::default();
            disk.write_at(0, &[1; 2048]).unwrap();
            disk.sync().unwrap();
            disk.write_at(512, &[2; 512]).unwrap();
            disk.cut_power();
            assert!(disk.sync().is_err());
            disk.restore_power(&mut Chance::stream(seed, "disk"));
            assert_eq!((byte(&disk, 0), byte(&disk, 1024)), (1, 1));
            assert!([1, 2].contains(&byte(&disk, 512)));
        }
    }

    #[test]
    fn unsynced_sectors_are_lost_one_by_one() {
        let mut outcomes = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut disk = Disk::default();
            disk.write_at(0, &[0; 1024]).unwrap();
            disk.sync().unwrap();
            disk.write_at(0, &[1; 1024]).unwrap();
            disk.cut_power();
            disk.restore_power(&mut Chance::stream(seed, "disk"));
            outcomes.insert((byte(&disk, 0), byte(&disk, 512)));
        }
        assert_eq!(outcomes.len(), 4, "{outcomes:?}");
    }

    #[test]
    fn a_blown_fuse_fails_the_sync_itself() {
        let mut disk = Disk::default();
        disk.fail_after(1);
        disk.sync().unwrap();
        assert!(disk.sync().is_err());
        assert!(disk.size().is_err());
    }

    #[test]
    fn a_sync_that_failed_leaves_what_only_seems_to_be_there() {
        let mut outcomes = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let mut disk = Disk::default();
            disk.write_at(0, &[1; 512]).unwrap();
            disk.sync().unwrap();
            disk.write_at(0, &[2; 512]).unwrap();
            disk.trouble(Trouble::Sync, Chance::stream(seed, "trouble"));
            disk.sync().unwrap_err();
            assert!(disk.take_failed() && !disk.take_failed());
            disk.sync().unwrap();
            assert_eq!(byte(&disk, 0), 2, "reads show what was written");
            disk.cut_power();
            disk.restore_power(&mut Chance::stream(seed, "disk"));
            outcomes.insert(byte(&disk, 0));
        }
        assert_eq!(outcomes.len(), 2, "a later sync writes nothing of it: {outcomes:?}");
    }

    #[test]
    fn a_full_disk_takes_what_needs_no_room() {
        let mut disk = Disk::default();
        disk.write_at(0, &[1; 512]).unwrap();
        disk.fill(true);
        disk.write_at(0, &[2; 512]).unwrap();
        let refused = disk.write_at(512, &[3; 512]).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        disk.mend();
        disk.write_at(512, &[3; 512]).unwrap();
    }

    #[test]
    fn a_killed_process_leaves_what_it_wrote_and_rot_changes_one_bit() {
        let mut disk = Disk::default();
        for number in 0..10 {
            disk.write_at(number * 512, &[1; 512]).unwrap();
        }
        disk.sync().unwrap();
        disk.write_at(0, &[2; 512]).unwrap();
        disk.cut_power();
        disk.outlive_process();
        assert_eq!(byte(&disk, 0), 2);
        let mut chance = Chance::stream(1, "rot");
        while !disk.rot(&mut chance) {}
        let flipped: u32 = (0..5120)
            .map(|offset| (byte(&disk, offset) ^ if offset < 512 { 2 } else { 1 }).count_ones())
            .sum();
        assert_eq!(flipped, 1);
    }
}
