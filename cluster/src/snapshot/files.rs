//! Snapshots as files of one folder, each written aside, verified by reading it back and renamed.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use muster_hooks::mutant;

use super::{
    MAX_CHUNK, Sink, SnapshotError, SnapshotMeta, SnapshotReader, SnapshotReceiver, SnapshotStore,
    folder::{self, OsFolder, SnapshotFolder},
    frames::{FrameError, FrameReader, FrameWriter},
};

/// Generations kept.
const KEPT: usize = 2;
const ENDING: &str = ".snap";
const DRAFT_ENDING: &str = ".draft";

/// The snapshots in one folder.
#[derive(Clone, Debug)]
pub struct FileSnapshots {
    folder: Arc<Folder>,
}

#[derive(Debug)]
struct Folder {
    files: Box<dyn SnapshotFolder>,
    drafts: AtomicU64,
    /// Held while files get their names and lose them.
    naming: Mutex<()>,
}

impl FileSnapshots {
    /// Opens or creates the folder and clears what a crash left unfinished.
    pub fn open(path: &Path) -> Result<FileSnapshots, SnapshotError> {
        let files = OsFolder::open(path).map_err(looking)?;
        Self::on(Box::new(files))
    }

    /// As [`FileSnapshots::open`], in a folder that may be simulated.
    pub fn on(files: Box<dyn SnapshotFolder>) -> Result<FileSnapshots, SnapshotError> {
        for name in files.names().map_err(looking)? {
            if name.ends_with(DRAFT_ENDING) {
                files.remove(&name).map_err(looking)?;
            }
        }
        // A name that a killed process gave may not be on the disk yet.
        files.sync().map_err(looking)?;
        Ok(FileSnapshots {
            folder: Arc::new(Folder { files, drafts: AtomicU64::new(0), naming: Mutex::new(()) }),
        })
    }

    fn draft(&self, meta: SnapshotMeta) -> Result<Draft, SnapshotError> {
        let number = self.folder.drafts.fetch_add(1, Ordering::Relaxed);
        let name = format!("{number}{DRAFT_ENDING}");
        let out = self.folder.files.create(&name).map_err(writing)?;
        let leftover = Leftover { folder: Arc::clone(&self.folder), name: Some(name) };
        let writer = FrameWriter::begin(BufWriter::new(out), &meta).map_err(writing)?;
        Ok(Draft { leftover, writer: Some(writer), meta })
    }
}

impl SnapshotStore for FileSnapshots {
    fn write(
        &self,
        meta: SnapshotMeta,
        chunks: &mut dyn Iterator<Item = Bytes>,
    ) -> Result<SnapshotMeta, SnapshotError> {
        let mut draft = self.draft(meta)?;
        for chunk in chunks {
            draft.push(&chunk)?;
        }
        draft.publish(None)
    }

    fn latest(&self) -> Result<Option<SnapshotMeta>, SnapshotError> {
        match self.folder.names()?.last() {
            Some(name) => Ok(Some(self.folder.verify(*name)?)),
            None => Ok(None),
        }
    }

    fn open(&self, index: u64) -> Result<SnapshotReader, SnapshotError> {
        let name = self.folder.find(index).ok_or(SnapshotError::Missing { index })?;
        // Once whole for the digest, which stands at the end and which receivers need first.
        let open = || self.folder.files.open(&name.file()).map_err(reading);
        reader(open, &name.file(), self.folder.verify(name)?)
    }

    fn receive(&self, meta: SnapshotMeta) -> Result<SnapshotReceiver, SnapshotError> {
        Ok(SnapshotReceiver { sink: Box::new(self.draft(meta)?) })
    }

    fn path(&self, index: u64) -> Option<PathBuf> {
        self.folder.files.path(&self.folder.find(index)?.file())
    }
}

impl Folder {
    /// The snapshots there are, oldest first.
    fn names(&self) -> Result<BTreeSet<Name>, SnapshotError> {
        let names = self.files.names().map_err(looking)?;
        Ok(names.iter().filter_map(|name| Name::parse(name)).collect())
    }

    fn find(&self, index: u64) -> Option<Name> {
        self.names().ok()?.iter().rfind(|name| name.index == index).copied()
    }

    /// Verifies the whole of a snapshot, its name too.
    fn verify(&self, name: Name) -> Result<SnapshotMeta, SnapshotError> {
        let file = name.file();
        let meta = read_whole(self.files.open(&file).map_err(reading)?, &file)?.meta;
        if (Name { index: meta.index, term: meta.term }) != name {
            return Err(damaged(&file, "its name is another snapshot's".to_owned()));
        }
        Ok(meta)
    }

    /// Removes all but the newest ones and `published`, which may be older: somebody waits for it.
    fn prune(&self, published: Name) -> Result<(), SnapshotError> {
        let names = self.names()?;
        for name in names.iter().rev().skip(KEPT).filter(|name| **name != published) {
            self.files
                .remove(&name.file())
                .map_err(|source| SnapshotError::Io { doing: "be removed", source })?;
        }
        Ok(())
    }
}

/// The name of a snapshot's file says where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    index: u64,
    term: u64,
}

impl Name {
    fn file(self) -> String {
        format!("{:016x}-{:016x}{ENDING}", self.index, self.term)
    }

    fn parse(file: &str) -> Option<Name> {
        let (index, term) = file.strip_suffix(ENDING)?.split_once('-')?;
        let name = Name {
            index: u64::from_str_radix(index, 16).ok()?,
            term: u64::from_str_radix(term, 16).ok()?,
        };
        (name.file() == file).then_some(name)
    }
}

/// A snapshot being written; dropped unpublished it leaves nothing.
struct Draft {
    leftover: Leftover,
    writer: Option<FrameWriter<BufWriter<Box<dyn folder::Draft>>>>,
    meta: SnapshotMeta,
}

/// The file of a draft until it has its name.
struct Leftover {
    folder: Arc<Folder>,
    name: Option<String>,
}

impl Drop for Leftover {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // What stays is cleared when the folder is opened next.
            drop(self.folder.files.remove(name));
        }
    }
}

impl Draft {
    /// Finishes, verifies, renames and prunes. With `announced`, refuses another digest than that.
    fn publish(mut self, announced: Option<u32>) -> Result<SnapshotMeta, SnapshotError> {
        let (Some(writer), Some(draft)) = (self.writer.take(), self.leftover.name.as_ref()) else {
            return Err(spent());
        };
        let (out, digest) = writer.finish().map_err(writing)?;
        if announced.is_some_and(|announced| announced != digest.crc) {
            return Err(SnapshotError::Refused {
                what: "its chunks are not those that were announced".to_owned(),
            });
        }
        let mut file = out.into_inner().map_err(|error| writing(error.into_error()))?;
        if !mutant!(SnapshotUnsynced) {
            file.sync().map_err(writing)?;
        }
        drop(file);
        let meta = SnapshotMeta { digest: digest.crc, ..self.meta };
        let folder = &self.leftover.folder;
        let read = read_whole(folder.files.open(draft).map_err(reading)?, draft)?;
        if read.meta != meta {
            return Err(damaged(draft, "it reads back as another one".to_owned()));
        }
        let name = Name { index: meta.index, term: meta.term };
        let naming = folder.naming.lock().unwrap_or_else(PoisonError::into_inner);
        folder.files.rename(draft, &name.file()).map_err(writing)?;
        if !mutant!(SnapshotNameUnsynced) {
            folder.files.sync().map_err(writing)?;
        }
        folder.prune(name)?;
        drop(naming);
        self.leftover.name = None;
        Ok(meta)
    }
}

impl Sink for Draft {
    fn push(&mut self, chunk: &Bytes) -> Result<(), SnapshotError> {
        if chunk.len() > MAX_CHUNK {
            self.writer = None;
            return Err(SnapshotError::TooLarge { length: chunk.len() });
        }
        let pushed = self.writer.as_mut().ok_or_else(spent)?.chunk(chunk);
        if pushed.is_err() {
            self.writer = None;
        }
        pushed.map_err(writing)
    }

    fn finish(self: Box<Self>) -> Result<SnapshotMeta, SnapshotError> {
        let announced = self.meta.digest;
        self.publish(Some(announced))
    }
}

/// The chunks of a file, the iterator ending with its first error.
struct Chunks {
    name: String,
    reader: Option<FrameReader<Input>>,
}

impl Iterator for Chunks {
    type Item = Result<Bytes, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.reader.as_mut()?.next();
        if !matches!(next, Ok(Some(_))) {
            self.reader = None;
        }
        next.map_err(|error| explain(&self.name, error)).transpose()
    }
}

/// What a snapshot file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// What it is of.
    pub meta: SnapshotMeta,
    /// How many chunks it holds.
    pub records: u64,
    /// Their bytes.
    pub content_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
}

/// Opens a snapshot file, wherever it lies and whatever its name, after verifying the whole of it.
pub fn read(path: &Path) -> Result<SnapshotReader, SnapshotError> {
    let open = || -> Result<Box<dyn Read + Send>, SnapshotError> {
        Ok(Box::new(File::open(path).map_err(reading)?))
    };
    let name = path.display().to_string();
    let meta = read_whole(open()?, &name)?.meta;
    reader(open, &name, meta)
}

fn reader(
    open: impl Fn() -> Result<Box<dyn Read + Send>, SnapshotError>,
    name: &str,
    meta: SnapshotMeta,
) -> Result<SnapshotReader, SnapshotError> {
    let (reader, _) = begin(open()?, name)?;
    let chunks = Chunks { name: name.to_owned(), reader: Some(reader) };
    Ok(SnapshotReader { meta, chunks: Box::new(chunks) })
}

/// Verifies the whole of a snapshot file, wherever it lies and whatever its name.
pub fn inspect(path: &Path) -> Result<Inspection, SnapshotError> {
    let file = File::open(path).map_err(reading)?;
    let Whole { meta, records, bytes } = read_whole(Box::new(file), &path.display().to_string())?;
    let file_bytes = fs::metadata(path).map_err(reading)?.len();
    Ok(Inspection { meta, records, content_bytes: bytes, file_bytes })
}

type Input = BufReader<Box<dyn Read + Send>>;

/// A whole file that was read and verified.
struct Whole {
    meta: SnapshotMeta,
    records: u64,
    bytes: u64,
}

fn read_whole(input: Box<dyn Read + Send>, name: &str) -> Result<Whole, SnapshotError> {
    let (mut reader, meta) = begin(input, name)?;
    while reader.next().map_err(|error| explain(name, error))?.is_some() {}
    let digest = reader.digest();
    let meta = SnapshotMeta { digest: digest.crc, ..meta };
    Ok(Whole { meta, records: digest.records, bytes: digest.bytes })
}

fn begin(
    input: Box<dyn Read + Send>,
    name: &str,
) -> Result<(FrameReader<Input>, SnapshotMeta), SnapshotError> {
    FrameReader::begin(BufReader::new(input)).map_err(|error| explain(name, error))
}

fn explain(name: &str, error: FrameError) -> SnapshotError {
    match error {
        FrameError::Io(source) => reading(source),
        FrameError::Damaged(what) => damaged(name, what),
    }
}

fn damaged(name: &str, what: String) -> SnapshotError {
    SnapshotError::Damaged { name: name.to_owned(), what }
}

fn looking(source: io::Error) -> SnapshotError {
    SnapshotError::Io { doing: "be looked for", source }
}

fn spent() -> SnapshotError {
    SnapshotError::Refused { what: "an earlier chunk could not be taken".to_owned() }
}

fn writing(source: io::Error) -> SnapshotError {
    SnapshotError::Io { doing: "be written", source }
}

fn reading(source: io::Error) -> SnapshotError {
    SnapshotError::Io { doing: "be read", source }
}
