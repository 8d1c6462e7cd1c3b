//! A folder on a simulated disk: contents last once they are synced, names once the folder is.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_cluster::snapshot::{Draft, FileSnapshots, SnapshotError, SnapshotFolder};

use crate::chance::Chance;

type Names = BTreeMap<String, u64>;

/// The folder. Clones are the same one; it outlives the processes that open it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Folder {
    shelf: Arc<Mutex<Shelf>>,
}

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own, in any combination")]
struct Shelf {
    names: Names,
    /// The names as they were at the last sync and after each change since: the system writes changes
    /// in their order.
    before: Vec<Names>,
    files: BTreeMap<u64, Content>,
    next: u64,
    /// Syncs that still succeed; after that everything fails until the power is back.
    fuse: Option<u64>,
    dead: bool,
    /// Nothing more can be written.
    full: bool,
    failing: bool,
    failed: bool,
}

#[derive(Clone, Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    /// What a power cut leaves for sure.
    synced: Option<Vec<u8>>,
}

impl Folder {
    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the snapshots in it, as a process does at its start.
    pub(crate) fn open_snapshots(&self) -> Result<FileSnapshots, SnapshotError> {
        FileSnapshots::on(Box::new(self.clone()))
    }

    pub(crate) fn fail_after(&self, syncs: u64) {
        self.lock().fuse = Some(syncs);
    }

    pub(crate) fn cut_power(&self) {
        self.lock().dead = true;
    }

    /// Decides what the power cut left, and turns the power on again.
    pub(crate) fn restore_power(&self, chance: &mut Chance) {
        let mut shelf = self.lock();
        let mut before = std::mem::take(&mut shelf.before);
        before.push(std::mem::take(&mut shelf.names));
        let kept = chance.place(before.len());
        shelf.names = before.into_iter().nth(kept).unwrap_or_default();
        for content in shelf.files.values_mut() {
            if let Some(synced) = content.synced.clone() {
                content.bytes = synced;
            } else {
                // Perhaps a part of it was written out, perhaps only its length.
                let whole = chance.place(content.bytes.len() + 1);
                let zeros = if chance.coin() { content.bytes.len() - whole } else { 0 };
                content.bytes.truncate(whole);
                content.bytes.resize(whole + zeros, 0);
            }
            content.synced = Some(content.bytes.clone());
        }
        shelf.clear();
        shelf.dead = false;
        shelf.fuse = None;
    }

    /// The process is gone, the system lives.
    pub(crate) fn outlive_process(&self) {
        let mut shelf = self.lock();
        shelf.dead = false;
        shelf.fuse = None;
    }

    /// Whether nothing more can be written from now on.
    pub(crate) fn fill(&self, full: bool) {
        self.lock().full = full;
    }

    /// Lets the next sync fail.
    pub(crate) fn trouble(&self) {
        self.lock().failing = true;
    }

    pub(crate) fn mend(&self) {
        let mut shelf = self.lock();
        shelf.full = false;
        shelf.failing = false;
    }

    /// Whether something failed as it was told to since this was last asked.
    pub(crate) fn take_failed(&self) -> bool {
        std::mem::take(&mut self.lock().failed)
    }

    /// Flips one bit of one file. False when there is none.
    pub(crate) fn rot(&self, chance: &mut Chance) -> bool {
        let mut shelf = self.lock();
        let files: Vec<u64> = shelf.names.values().copied().collect();
        let Some(content) = chance.pick(&files).and_then(|file| shelf.files.get_mut(&file)) else {
            return false;
        };
        let place = chance.place(content.bytes.len());
        let bit = 1 << chance.below(8);
        for bytes in std::iter::once(&mut content.bytes).chain(&mut content.synced) {
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= bit;
            }
        }
        true
    }
}

impl Shelf {
    fn check(&self) -> io::Result<()> {
        if self.dead { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    fn work(&mut self) -> io::Result<()> {
        self.check()?;
        match &mut self.fuse {
            Some(0) => self.dead = true,
            Some(left) => *left -= 1,
            None => {}
        }
        self.check()?;
        if std::mem::take(&mut self.failing) {
            self.failed = true;
            return Err(io::Error::other("the disk refuses the sync"));
        }
        Ok(())
    }

    fn change(&mut self, change: impl FnOnce(&mut Names)) {
        self.before.push(self.names.clone());
        change(&mut self.names);
    }

    /// Forgets files that no name leads to any more.
    fn clear(&mut self) {
        let Shelf { names, before, files, .. } = self;
        files.retain(|file, _| {
            names.values().chain(before.iter().flat_map(Names::values)).any(|it| it == file)
        });
    }
}

struct Pen {
    folder: Folder,
    file: u64,
}

impl Write for Pen {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut shelf = self.folder.lock();
        shelf.check()?;
        if shelf.full {
            shelf.failed = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Some(content) = shelf.files.get_mut(&self.file) {
            content.synced = None;
            content.bytes.extend_from_slice(data);
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Draft for Pen {
    fn sync(&mut self) -> io::Result<()> {
        let mut shelf = self.folder.lock();
        shelf.work()?;
        if let Some(content) = shelf.files.get_mut(&self.file) {
            content.synced = Some(content.bytes.clone());
        }
        Ok(())
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl SnapshotFolder for Folder {
    fn names(&self) -> io::Result<Vec<String>> {
        let shelf = self.lock();
        shelf.check()?;
        Ok(shelf.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Draft>> {
        let mut shelf = self.lock();
        shelf.check()?;
        if shelf.full {
            shelf.failed = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        shelf.next += 1;
        let file = shelf.next;
        shelf.files.insert(file, Content::default());
        shelf.change(|names| {
            names.insert(name.to_owned(), file);
        });
        Ok(Box::new(Pen { folder: self.clone(), file }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let shelf = self.lock();
        shelf.check()?;
        let content = shelf.names.get(name).and_then(|file| shelf.files.get(file));
        Ok(Box::new(Cursor::new(content.ok_or_else(missing)?.bytes.clone())))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut shelf = self.lock();
        shelf.check()?;
        let file = shelf.names.get(from).copied().ok_or_else(missing)?;
        shelf.change(|names| {
            names.remove(from);
            names.insert(to.to_owned(), file);
        });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut shelf = self.lock();
        shelf.check()?;
        if !shelf.names.contains_key(name) {
            return Err(missing());
        }
        shelf.change(|names| {
            names.remove(name);
        });
        shelf.clear();
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut shelf = self.lock();
        shelf.work()?;
        shelf.before.clear();
        shelf.clear();
        Ok(())
    }

    fn path(&self, _name: &str) -> Option<PathBuf> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Folder, name: &str, synced: bool) {
        let mut file = folder.create(name).unwrap();
        file.write_all(b"content").unwrap();
        if synced {
            file.sync().unwrap();
        }
    }

    fn read(folder: &Folder, name: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        folder.open(name).ok()?.read_to_end(&mut bytes).unwrap();
        Some(bytes)
    }

    #[test]
    fn only_what_was_synced_outlives_every_power_cut() {
        let (mut named, mut whole) = (0, 0);
        for seed in 0..40 {
            let folder = Folder::default();
            write(&folder, "safe", true);
            folder.sync().unwrap();
            write(&folder, "draft", false);
            folder.rename("draft", "final").unwrap();
            folder.cut_power();
            folder.names().unwrap_err();
            folder.restore_power(&mut Chance::stream(seed, "folder"));
            assert_eq!(read(&folder, "safe").unwrap(), b"content");
            named += usize::from(read(&folder, "final").is_some());
            whole += usize::from(read(&folder, "final").is_some_and(|it| it == b"content"));
        }
        assert!(whole < named && 0 < named && named < 40, "{whole} {named}");
    }

    #[test]
    fn a_killed_process_leaves_its_files() {
        let folder = Folder::default();
        write(&folder, "a", false);
        folder.cut_power();
        folder.outlive_process();
        assert_eq!(read(&folder, "a").unwrap(), b"content");
    }

    #[test]
    fn a_full_disk_refuses_and_ends_by_itself() {
        let folder = Folder::default();
        folder.fill(true);
        assert!(folder.create("a").is_err_and(|it| it.kind() == io::ErrorKind::StorageFull));
        folder.mend();
        write(&folder, "a", true);
    }
}
