//! A disk that loses what was not synced, sector by sector, and breaks when told to.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use rand::Rng;

use super::LogDisk;

const SECTOR: usize = 512;

/// The disk; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct SimDisk {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    now: Vec<u8>,
    synced: Vec<u8>,
    /// By sector number, every content written since the last sync.
    unsynced: BTreeMap<usize, Vec<Vec<u8>>>,
    operations: u64,
    breaks: Option<(u64, io::ErrorKind)>,
    broken: bool,
}

impl SimDisk {
    pub(super) fn with_content(content: Vec<u8>) -> SimDisk {
        let disk = SimDisk::default();
        disk.inner().synced.clone_from(&content);
        disk.inner().now = content;
        disk
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(super) fn content(&self) -> Vec<u8> {
        self.inner().now.clone()
    }

    /// Writes and syncs so far.
    pub(super) fn operations(&self) -> u64 {
        self.inner().operations
    }

    /// From `more` writes or syncs on, every operation fails with `kind`.
    pub(super) fn break_after(&self, more: u64, kind: io::ErrorKind) {
        let mut inner = self.inner();
        inner.breaks = Some((inner.operations + more, kind));
        inner.broken = false;
    }

    /// What another boot finds: of each unsynced sector any of its contents since the last sync.
    pub(super) fn crash(&self, chance: &mut impl Rng) -> SimDisk {
        let inner = self.inner();
        let mut content = inner.synced.clone();
        if chance.random_bool(0.5) {
            content.resize(inner.now.len(), 0);
        }
        for (sector, versions) in &inner.unsynced {
            let pick = chance.random_range(0..=versions.len());
            let Some(version) = versions.get(pick) else {
                continue;
            };
            let start = sector * SECTOR;
            if content.len() < start + version.len() {
                content.resize(start + version.len(), 0);
            }
            content[start..start + version.len()].copy_from_slice(version);
        }
        SimDisk::with_content(content)
    }
}

impl Inner {
    fn work(&mut self) -> io::Result<()> {
        self.alive()?;
        self.operations += 1;
        Ok(())
    }

    fn put(&mut self, start: usize, data: &[u8]) {
        let end = start + data.len();
        if end > self.now.len() {
            self.now.resize(end, 0);
        }
        self.now[start..end].copy_from_slice(data);
        for sector in start / SECTOR..end.div_ceil(SECTOR) {
            let upto = self.now.len().min((sector + 1) * SECTOR);
            let version = self.now[sector * SECTOR..upto].to_vec();
            self.unsynced.entry(sector).or_default().push(version);
        }
    }

    fn alive(&self) -> io::Result<()> {
        match self.breaks {
            Some((at, kind)) if self.operations >= at => Err(kind.into()),
            _ => Ok(()),
        }
    }
}

impl LogDisk for SimDisk {
    fn size(&self) -> io::Result<u64> {
        Ok(self.inner().now.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.inner();
        let start = usize::try_from(offset).unwrap();
        let found = inner.now.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut inner = self.inner();
        let start = usize::try_from(offset).unwrap();
        if let Err(error) = inner.work() {
            if !std::mem::replace(&mut inner.broken, true) {
                // The disk breaks amid the write.
                inner.put(start, &data[..data.len() / 2 / SECTOR * SECTOR]);
            }
            return Err(error);
        }
        inner.put(start, data);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut inner = self.inner();
        let worked = inner.work();
        let unsynced = std::mem::take(&mut inner.unsynced);
        // After a sync that failed the system takes the sectors for clean, and never writes them.
        worked?;
        let Inner { now, synced, .. } = &mut *inner;
        synced.resize(now.len(), 0);
        for sector in unsynced.into_keys() {
            let range = sector * SECTOR..now.len().min((sector + 1) * SECTOR);
            synced[range.clone()].copy_from_slice(&now[range]);
        }
        Ok(())
    }
}
