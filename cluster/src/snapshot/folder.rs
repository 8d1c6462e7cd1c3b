//! The folder under the snapshots, as little of it as they need, so that a simulated disk can stand in.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use crate::durable;

/// A folder of files that keeps for sure only what was synced: contents by [`Draft::sync`], names by
/// [`SnapshotFolder::sync`].
pub trait SnapshotFolder: fmt::Debug + Send + Sync {
    /// The names in it, in any order.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Creates an empty file, or empties the one of that name.
    fn create(&self, name: &str) -> io::Result<Box<dyn Draft>>;

    /// Reads a file from its start.
    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>>;

    /// Gives a file another name, which no other file has.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names outlive a power cut.
    fn sync(&self) -> io::Result<()>;

    /// Where the file of that name is, where there are paths.
    fn path(&self, name: &str) -> Option<PathBuf>;
}

/// A file that is being written.
pub trait Draft: Write + Send {
    /// Makes what was written outlive a power cut.
    fn sync(&mut self) -> io::Result<()>;
}

/// A folder of the machine.
#[derive(Debug)]
pub(super) struct OsFolder(PathBuf);

impl OsFolder {
    /// Opens or creates it.
    pub(super) fn open(path: &Path) -> io::Result<OsFolder> {
        fs::create_dir_all(path)?;
        if let Some(parent) = path.parent() {
            durable::sync_folder(parent)?;
        }
        Ok(OsFolder(path.to_owned()))
    }
}

impl SnapshotFolder for OsFolder {
    fn names(&self) -> io::Result<Vec<String>> {
        let name = |file: io::Result<fs::DirEntry>| Ok(file?.file_name().into_string().ok());
        fs::read_dir(&self.0)?.map(name).filter_map(Result::transpose).collect()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Draft>> {
        Ok(Box::new(File::create(self.0.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(self.0.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        durable::sync_folder(&self.0)
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.0.join(name))
    }
}

impl Draft for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}
