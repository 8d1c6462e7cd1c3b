//! Small files that are either the old or the new one, whatever happens, and say when they are
//! neither.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

/// Makes the names in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Moves the finished file `from` to `to` in the same folder, durably.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    match to.parent() {
        Some(folder) => sync_folder(folder),
        None => Ok(()),
    }
}

/// Writes `text`, one line, and a line with its checksum to `path`: all of it or nothing.
pub(crate) fn write_sealed(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = File::create(&draft)?;
    file.write_all(seal(text).as_bytes())?;
    file.sync_all()?;
    drop(file);
    rename(&draft, path)
}

/// What is found where [`write_sealed`] writes.
pub(crate) enum Sealed {
    Missing,
    Damaged,
    Text(String),
}

/// Reads what [`write_sealed`] wrote.
pub(crate) fn read_sealed(path: &Path) -> io::Result<Sealed> {
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Sealed::Missing),
        Err(error) => return Err(error),
    };
    Ok(unseal(content).map_or(Sealed::Damaged, Sealed::Text))
}

fn unseal(content: Vec<u8>) -> Option<String> {
    let content = String::from_utf8(content).ok()?;
    let (text, _) = content.split_once('\n')?;
    (seal(text) == content).then(|| text.to_owned())
}

fn seal(text: &str) -> String {
    format!("{text}\ncrc32c {:08x}\n", crc32c::crc32c(text.as_bytes()))
}
