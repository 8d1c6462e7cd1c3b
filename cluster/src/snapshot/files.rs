//! Snapshots as files of one folder, each written aside, verified by reading it back and renamed.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufReader, BufWriter},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;

use super::{
    MAX_CHUNK, Sink, SnapshotError, SnapshotMeta, SnapshotReader, SnapshotReceiver, SnapshotStore,
    frames::{FrameError, FrameReader, FrameWriter},
};
use crate::durable;

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
    path: PathBuf,
    drafts: AtomicU64,
    /// Held while files get their names and lose them.
    naming: Mutex<()>,
}

impl FileSnapshots {
    /// Opens or creates the folder and clears what a crash left unfinished.
    pub fn open(path: &Path) -> Result<FileSnapshots, SnapshotError> {
        let opening = |source| SnapshotError::Io { doing: "be looked for", source };
        fs::create_dir_all(path).map_err(opening)?;
        if let Some(parent) = path.parent() {
            durable::sync_folder(parent).map_err(opening)?;
        }
        for file in fs::read_dir(path).map_err(opening)? {
            let file = file.map_err(opening)?;
            if file.file_name().to_string_lossy().ends_with(DRAFT_ENDING) {
                fs::remove_file(file.path()).map_err(opening)?;
            }
        }
        Ok(FileSnapshots {
            folder: Arc::new(Folder {
                path: path.to_owned(),
                drafts: AtomicU64::new(0),
                naming: Mutex::new(()),
            }),
        })
    }

    fn draft(&self, meta: SnapshotMeta) -> Result<Draft, SnapshotError> {
        let number = self.folder.drafts.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.path.join(format!("{number}{DRAFT_ENDING}"));
        let begin = || FrameWriter::begin(BufWriter::new(File::create(&path)?), &meta);
        let writer = begin().map_err(writing)?;
        Ok(Draft {
            folder: Arc::clone(&self.folder),
            leftover: Leftover(Some(path)),
            writer: Some(writer),
            meta,
        })
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
            Some(name) => Ok(Some(verify(&self.folder.path.join(name.file()))?.meta)),
            None => Ok(None),
        }
    }

    fn open(&self, index: u64) -> Result<SnapshotReader, SnapshotError> {
        let path = self.path(index).ok_or(SnapshotError::Missing { index })?;
        // Once whole for the digest, which stands at the end and which receivers need first.
        reader(&path, verify(&path)?.meta)
    }

    fn receive(&self, meta: SnapshotMeta) -> Result<SnapshotReceiver, SnapshotError> {
        Ok(SnapshotReceiver { sink: Box::new(self.draft(meta)?) })
    }

    fn path(&self, index: u64) -> Option<PathBuf> {
        let names = self.folder.names().ok()?;
        let name = names.iter().rfind(|name| name.index == index)?;
        Some(self.folder.path.join(name.file()))
    }
}

impl Folder {
    /// The snapshots there are, oldest first.
    fn names(&self) -> Result<BTreeSet<Name>, SnapshotError> {
        let reading = |source| SnapshotError::Io { doing: "be looked for", source };
        let mut names = BTreeSet::new();
        for file in fs::read_dir(&self.path).map_err(reading)? {
            let file = file.map_err(reading)?;
            names.extend(Name::parse(&file.file_name().to_string_lossy()));
        }
        Ok(names)
    }

    /// Removes all but the newest ones and `published`, which may be older: somebody waits for it.
    fn prune(&self, published: Name) -> Result<(), SnapshotError> {
        let names = self.names()?;
        for name in names.iter().rev().skip(KEPT).filter(|name| **name != published) {
            fs::remove_file(self.path.join(name.file()))
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
    folder: Arc<Folder>,
    leftover: Leftover,
    writer: Option<FrameWriter<BufWriter<File>>>,
    meta: SnapshotMeta,
}

/// The file of a draft until it has its name.
struct Leftover(Option<PathBuf>);

impl Drop for Leftover {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // What stays is cleared when the folder is opened next.
            let _ = fs::remove_file(path);
        }
    }
}

impl Draft {
    /// Finishes, verifies, renames and prunes. With `announced`, refuses another digest than that.
    fn publish(mut self, announced: Option<u32>) -> Result<SnapshotMeta, SnapshotError> {
        let (Some(writer), Some(path)) = (self.writer.take(), self.leftover.0.as_ref()) else {
            return Err(spent());
        };
        let (out, digest) = writer.finish().map_err(writing)?;
        if announced.is_some_and(|announced| announced != digest.crc) {
            return Err(SnapshotError::Refused {
                what: "its chunks are not those that were announced".to_owned(),
            });
        }
        let file = out.into_inner().map_err(|error| writing(error.into_error()))?;
        file.sync_all().map_err(writing)?;
        let meta = SnapshotMeta { digest: digest.crc, ..self.meta };
        let read = read_whole(path)?;
        if read.meta != meta {
            return Err(damaged(path, "it reads back as another one".to_owned()));
        }
        let name = Name { index: meta.index, term: meta.term };
        let naming = self.folder.naming.lock().unwrap_or_else(PoisonError::into_inner);
        durable::rename(path, &self.folder.path.join(name.file())).map_err(writing)?;
        self.leftover.0 = None;
        self.folder.prune(name)?;
        drop(naming);
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
    path: PathBuf,
    reader: Option<FrameReader<BufReader<File>>>,
}

impl Iterator for Chunks {
    type Item = Result<Bytes, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.reader.as_mut()?.next();
        if !matches!(next, Ok(Some(_))) {
            self.reader = None;
        }
        next.map_err(|error| explain(&self.path, error)).transpose()
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

/// Verifies the whole of a snapshot file, wherever it lies and whatever its name.
pub fn inspect(path: &Path) -> Result<Inspection, SnapshotError> {
    read_whole(path)
}

/// Opens a snapshot file, wherever it lies and whatever its name, after verifying the whole of it.
pub fn read(path: &Path) -> Result<SnapshotReader, SnapshotError> {
    reader(path, read_whole(path)?.meta)
}

fn reader(path: &Path, meta: SnapshotMeta) -> Result<SnapshotReader, SnapshotError> {
    let (reader, _) = begin(path)?;
    let path = path.to_owned();
    Ok(SnapshotReader { meta, chunks: Box::new(Chunks { path, reader: Some(reader) }) })
}

fn read_whole(path: &Path) -> Result<Inspection, SnapshotError> {
    let (mut reader, meta) = begin(path)?;
    while reader.next().map_err(|error| explain(path, error))?.is_some() {}
    let digest = reader.digest();
    let file_bytes = fs::metadata(path).map_err(reading)?.len();
    Ok(Inspection {
        meta: SnapshotMeta { digest: digest.crc, ..meta },
        records: digest.records,
        content_bytes: digest.bytes,
        file_bytes,
    })
}

/// Verifies a file of the folder, its name too.
fn verify(path: &Path) -> Result<Inspection, SnapshotError> {
    let found = read_whole(path)?;
    let name = Name { index: found.meta.index, term: found.meta.term };
    if path.file_name().is_none_or(|file| file != name.file().as_str()) {
        return Err(damaged(path, "its name is another snapshot's".to_owned()));
    }
    Ok(found)
}

type Opened = (FrameReader<BufReader<File>>, SnapshotMeta);

fn begin(path: &Path) -> Result<Opened, SnapshotError> {
    let file = File::open(path).map_err(reading)?;
    FrameReader::begin(BufReader::new(file)).map_err(|error| explain(path, error))
}

fn explain(path: &Path, error: FrameError) -> SnapshotError {
    match error {
        FrameError::Io(source) => reading(source),
        FrameError::Damaged(what) => damaged(path, what),
    }
}

fn damaged(path: &Path, what: String) -> SnapshotError {
    SnapshotError::Damaged { name: path.display().to_string(), what }
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
