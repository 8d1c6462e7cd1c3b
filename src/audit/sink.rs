//! Follows the audit log into a file of JSON lines, on a thread of its own: no request ever waits for
//! it, and what it has not written yet waits in the state.
//!
//! The file is its own cursor. A start goes on behind the last whole line; when the group's log was
//! cut back meanwhile, the gap shows in the numbers and is counted. At its size the file is renamed to
//! `NAME.1` and a new one begun. A file that somebody moves away is begun anew likewise.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::line::Line;
use crate::actors::Reader;
use crate::clock::Clock;
use crate::state::audit::Audit;
use crate::state::audit::chain::Link;
use crate::state::secret::Digest;

/// Between two looks at the state.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// After a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// Records of one write and sync.
const BATCH: u64 = 500;
/// Bytes from the end of a file in which its last whole line lies: more than a batch.
const TAIL_BYTES: u64 = 4 << 20;

/// Where and how much.
#[derive(Clone, Debug)]
pub struct SinkOptions {
    /// The file.
    pub path: PathBuf,
    /// A file of this size is full.
    pub bytes_max: u64,
    /// Full files that are kept: `NAME.1`, the newest, to `NAME.N`.
    pub files_max: u32,
}

/// Why a file cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The operating system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is somebody else's.
    #[error("{} is not empty and has no audit record at its end", .0.display())]
    Foreign(PathBuf),
}

/// An open file and how far it is.
#[derive(Debug)]
pub struct Sink {
    options: SinkOptions,
    file: File,
    /// Bytes that are whole lines; what lies behind them is left from a write that failed.
    length: u64,
    last: Link,
    failing: bool,
}

/// The thread; ends when it is stopped.
#[derive(Debug)]
pub struct Sinking {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Sink {
    /// Opens or makes the file and finds where it ends.
    ///
    /// # Errors
    /// When it cannot be read and written, or holds something else.
    pub fn open(options: SinkOptions) -> Result<Sink, SinkError> {
        let mut file = open(&options.path)?;
        let (mut last, length) = end_of(&mut file, &options.path)?;
        if length == 0
            && let Ok(mut full) = File::open(numbered(&options.path, 1))
        {
            last = end_of(&mut full, &options.path).map_or(Link::default(), |(last, _)| last);
        }
        file.set_len(length)?;
        Ok(Sink { options, file, length, last, failing: false })
    }

    /// Follows the state until it is stopped.
    ///
    /// # Errors
    /// When the machine gives no thread.
    pub fn start(mut self, reader: Reader, clock: Arc<dyn Clock>) -> io::Result<Sinking> {
        let (stop, told) = mpsc::channel();
        let thread = thread::Builder::new().name("audit file".to_owned()).spawn(move || {
            loop {
                let view = reader.local();
                let caught_up = self.catch_up(view.audit());
                self.tell(&caught_up, view.audit(), clock.now().0);
                let wait = match caught_up {
                    // More is there already.
                    Ok(()) if self.last.sequence < view.audit().last().sequence => Duration::ZERO,
                    Ok(()) => LOOK_EVERY,
                    Err(_) => PAUSE,
                };
                if told.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
            // What was written down on the way out.
            let view = reader.local();
            let caught_up = self.catch_up(view.audit());
            self.tell(&caught_up, view.audit(), clock.now().0);
        })?;
        Ok(Sinking { stop, thread })
    }

    /// Writes the next records, a bounded number, and has them on the disk.
    fn catch_up(&mut self, audit: &Audit) -> io::Result<()> {
        if audit.last().sequence < self.last.sequence {
            // The state is still being rebuilt after a start.
            return Ok(());
        }
        self.settle(audit)?;
        let end = audit.last().sequence.min(self.last.sequence.saturating_add(BATCH));
        let first = self.last.sequence.saturating_add(1);
        if first > end {
            return Ok(());
        }
        let (mut text, mut last) = (String::new(), self.last);
        for record in (first..=end).filter_map(|number| audit.get(number)) {
            let line = Line { record: record.as_ref().clone(), previous: last.hash };
            text.push_str(&line.text());
            last = Link {
                sequence: record.sequence,
                hash: Digest::try_from(record.hash.as_ref()).unwrap_or_default(),
            };
        }
        self.write(&text)?;
        let written = last.sequence - self.last.sequence;
        self.last = last;
        metrics::counter!("muster_audit_records_total", "sink" => "file").increment(written);
        Ok(())
    }

    /// Makes sure that the last line is of this audit log, and that its next record is still there.
    fn settle(&mut self, audit: &Audit) -> io::Result<()> {
        let anchor = audit.anchor();
        if self.last.sequence < anchor.sequence {
            let lost = anchor.sequence - self.last.sequence;
            // An empty file misses nothing: it begins with what is kept.
            if self.last.sequence > 0 {
                metrics::counter!("muster_audit_dropped_total", "sink" => "file").increment(lost);
                tracing::error!(lost, "audit records went before the audit file had them");
            }
            self.last = anchor;
            return Ok(());
        }
        let known = match audit.get(self.last.sequence) {
            Some(record) => record.hash.as_ref() == self.last.hash,
            None => anchor == self.last,
        };
        if !known {
            tracing::warn!("the audit file is of another history: a new one is begun");
            self.rotate()?;
            self.last = anchor;
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        let is_here = fs::metadata(&self.options.path)
            .and_then(|named| Ok(named.ino() == self.file.metadata()?.ino()))
            .unwrap_or(false);
        if !is_here {
            self.begin()?;
        } else if self.length >= self.options.bytes_max {
            self.rotate()?;
        }
        // A write that failed before may have left a part.
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.write_all(text.as_bytes())?;
        self.file.sync_data()?;
        self.length += u64::try_from(text.len()).unwrap_or(0);
        Ok(())
    }

    /// Renames the full files, the oldest over the one that goes, and begins a new one.
    fn rotate(&mut self) -> io::Result<()> {
        let path = self.options.path.clone();
        for number in (1..self.options.files_max).rev() {
            rename(&numbered(&path, number), &numbered(&path, number + 1))?;
        }
        if self.options.files_max == 0 {
            fs::remove_file(&path)?;
        } else {
            rename(&path, &numbered(&path, 1))?;
        }
        self.begin()
    }

    fn begin(&mut self) -> io::Result<()> {
        self.file = open(&self.options.path)?;
        self.length = self.file.metadata()?.len();
        if let Some(folder) = self.options.path.parent().filter(|it| !it.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    /// Figures, and a word when it begins or ends to fail.
    fn tell(&mut self, caught_up: &io::Result<()>, audit: &Audit, now_us: u64) {
        let behind = audit.last().sequence.saturating_sub(self.last.sequence);
        let oldest = audit.get(self.last.sequence.saturating_add(1));
        let age = oldest.map_or(0, |record| now_us.saturating_sub(record.time_us));
        metrics::gauge!("muster_audit_lag_records").set(float(behind));
        metrics::gauge!("muster_audit_lag_seconds").set(float(age / 1000) / 1000.0);
        match caught_up {
            Ok(()) if self.failing => tracing::info!("the audit file is written again"),
            Err(error) => {
                metrics::counter!("muster_audit_failures_total", "sink" => "file").increment(1);
                if !self.failing {
                    let path = self.options.path.display();
                    tracing::error!(%error, %path, "the audit file cannot be written");
                }
            }
            Ok(()) => (),
        }
        self.failing = caught_up.is_err();
    }
}

impl Sinking {
    /// Lets it write what is there and end. Blocks for a write at the longest.
    pub fn stop(self) {
        // Ended already is as good.
        let _ = self.stop.send(());
        drop(self.thread.join());
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure on a dashboard may lose its last digits")]
fn float(value: u64) -> f64 {
    value as f64
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// The last whole record, and where its line ends. What lies behind it was never synced.
fn end_of(file: &mut File, path: &Path) -> Result<(Link, u64), SinkError> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let mut end = tail.len();
    while let Some(line_break) = tail.get(..end).and_then(|it| it.iter().rposition(|b| *b == b'\n'))
    {
        let before = tail.get(..line_break).unwrap_or_default();
        let begin = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let line = tail.get(begin..line_break).map(String::from_utf8_lossy);
        if let Some(Ok(line)) = line.map(|text| Line::read(&text)) {
            let last = Link {
                sequence: line.record.sequence,
                hash: Digest::try_from(line.record.hash.as_ref()).unwrap_or_default(),
            };
            let end = start + u64::try_from(line_break + 1).unwrap_or(0);
            return Ok((last, end));
        }
        end = line_break;
    }
    if length == 0 { Ok((Link::default(), 0)) } else { Err(SinkError::Foreign(path.to_owned())) }
}

#[cfg(test)]
#[path = "sink_tests.rs"]
mod tests;
