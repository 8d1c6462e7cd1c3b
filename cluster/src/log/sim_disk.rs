//! A disk that loses what was not synced, sector by sector, and breaks when told to.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use rand::Rng;
use redb::StorageBackend;

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

    /// Writes, resizes and syncs so far.
    pub(super) fn operations(&self) -> u64 {
        self.inner().operations
    }

    /// From `more` writes, resizes or syncs on, every operation fails with `kind`.
    pub(super) fn break_after(&self, more: u64, kind: io::ErrorKind) {
        let mut inner = self.inner();
        inner.breaks = Some((inner.operations + more, kind));
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

    fn alive(&self) -> io::Result<()> {
        match self.breaks {
            Some((at, kind)) if self.operations >= at => Err(kind.into()),
            _ => Ok(()),
        }
    }
}

impl StorageBackend for SimDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.inner().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.inner();
        let start = usize::try_from(offset).unwrap();
        let found = inner.now.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.inner();
        inner.work()?;
        inner.now.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.inner();
        inner.work()?;
        let now = inner.now.clone();
        inner.synced = now;
        inner.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut inner = self.inner();
        inner.work()?;
        let start = usize::try_from(offset).unwrap();
        let end = start + data.len();
        if end > inner.now.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        inner.now[start..end].copy_from_slice(data);
        for sector in start / SECTOR..end.div_ceil(SECTOR) {
            let upto = inner.now.len().min((sector + 1) * SECTOR);
            let version = inner.now[sector * SECTOR..upto].to_vec();
            inner.unsynced.entry(sector).or_default().push(version);
        }
        Ok(())
    }
}
