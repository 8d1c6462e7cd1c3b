//! A disk that keeps only what was synced: at a crash every sector written since the last sync is,
//! each on its own, as it was at the sync, as it is now, or as it was at some write between.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_cluster::log::{FileLog, LogDisk, LogError};

use crate::chance::Chance;

const SECTOR: usize = 512;
/// Earlier contents remembered per un-synced sector; the oldest (the synced one) is always kept.
const VERSIONS_MAX: usize = 4;

type Sector = [u8; SECTOR];

/// One disk. Clones are the same disk; it outlives the processes that open it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    platter: Arc<Mutex<Platter>>,
}

#[derive(Clone, Debug, Default)]
struct Platter {
    bytes: Vec<u8>,
    /// How long the file was at the last sync.
    synced_len: usize,
    /// Contents that each sector written since the last sync had before, the synced one first.
    before: BTreeMap<usize, Vec<Sector>>,
    /// Syncs that still succeed; after that everything fails until the power is back.
    fuse: Option<u64>,
    dead: bool,
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, Platter> {
        self.platter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the log that this disk holds. Its extents are so small that it often moves to another.
    pub(crate) fn open_log(&self) -> Result<FileLog, LogError> {
        FileLog::with_disk(self.clone(), 16 * 1024, 1)
    }

    /// Lets the power fail at the sync after `syncs` more of them.
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

    /// A copy of this disk as a power cut right now could leave it.
    pub(crate) fn as_after_power_cut(&self, chance: &mut Chance) -> Self {
        let mut platter = self.lock().clone();
        platter.lose_unsynced(chance);
        Self { platter: Arc::new(Mutex::new(platter)) }
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
                let start = number * SECTOR;
                if self.bytes.len() < start + SECTOR {
                    self.bytes.resize(start + SECTOR, 0);
                }
                if let Some(place) = self.bytes.get_mut(start..start + SECTOR) {
                    place.copy_from_slice(sector);
                }
            }
        }
        self.bytes.resize(len, 0);
        self.synced_len = len;
        self.dead = false;
        self.fuse = None;
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
            let versions = self.before.entry(number).or_default();
            if versions.len() == VERSIONS_MAX {
                versions.remove(1);
            }
            versions.push(sector);
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        let (start, end) = range(offset, data.len())?;
        self.remember(start, end);
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
        }
        if let Some(place) = self.bytes.get_mut(start..end) {
            place.copy_from_slice(data);
        }
        Ok(())
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
        self.before.clear();
        self.synced_len = self.bytes.len();
        Ok(())
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
}
