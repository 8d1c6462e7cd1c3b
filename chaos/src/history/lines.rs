//! Histories as files: one record a line.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;

use super::Record;

/// The longest line that is read, bytes: a list of a thousand clusters fits many times.
const LINE_BYTES_MAX: usize = 16 << 20;

/// Why a file is no history.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinesError {
    #[error("the history cannot be read or written: {0}")]
    Io(#[from] std::io::Error),
    #[error("line {line} is no record: {source}")]
    Line { line: usize, source: serde_json::Error },
    #[error("line {line} is longer than {LINE_BYTES_MAX} bytes")]
    TooLong { line: usize },
}

/// Reads all records of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<Record>, LinesError> {
    let mut records = Vec::new();
    for (at, line) in BufReader::new(File::open(path)?).lines().enumerate() {
        let line = line?;
        if line.len() > LINE_BYTES_MAX {
            return Err(LinesError::TooLong { line: at + 1 });
        }
        if line.trim().is_empty() {
            continue;
        }
        let record = serde_json::from_str(&line);
        records.push(record.map_err(|source| LinesError::Line { line: at + 1, source })?);
    }
    Ok(records)
}

/// Writes all records into a file, over what was there.
pub(crate) fn write(path: &Path, records: &[Record]) -> Result<(), LinesError> {
    let mut file = BufWriter::new(File::create(path)?);
    for record in records {
        let line = serde_json::to_string(record).map_err(std::io::Error::other)?;
        writeln!(file, "{line}")?;
    }
    Ok(file.flush()?)
}
