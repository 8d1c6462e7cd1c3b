//! Puts new contents in the place of a data folder's own, so that a crash at any moment leaves
//! something that either is whole or says that it is not.

use std::{fs, io, path::Path};

use super::RescueError;
use crate::{
    durable,
    folder::{self, NEXT},
};

/// What the new contents have too.
const REPLACED: [&str; 4] = ["log.wal", "incarnation", "admission", "snapshots"];
/// What only the old ones have.
const LEFT_BEHIND: [&str; 2] = ["log.fence", "promise"];
/// The first to go and the last to come in: without it no replica starts.
const IDENTITY: &str = "identity";

/// Moves what lies ready in `next` to its place; nothing does as a rule. Contents that were not
/// finished are cleared away.
pub(super) fn finish(path: &Path) -> Result<(), RescueError> {
    let next = path.join(NEXT);
    if !is_there(&next)? {
        return Ok(());
    }
    let _held = folder::lock(path)?;
    if is_there(&next.join(IDENTITY))? {
        let before =
            path.join(format!("before-epoch-{}", folder::read_identity(&next)?.lineage.epoch));
        let made = fs::create_dir_all(&before);
        made.map_err(|source| refused(&before, "be created", source))?;
        put_aside(path, &before, IDENTITY)?;
        for name in LEFT_BEHIND {
            put_aside(path, &before, name)?;
        }
        for name in REPLACED {
            // What is not in `next` any more has been moved in by the try before this one.
            if is_there(&next.join(name))? {
                put_aside(path, &before, name)?;
                bring(&next.join(name), &path.join(name))?;
            }
        }
        sync(&before)?;
        sync(path)?;
        bring(&next.join(IDENTITY), &path.join(IDENTITY))?;
        sync(path)?;
    }
    fs::remove_dir_all(&next).map_err(|source| refused(&next, "be removed", source))?;
    sync(path)
}

fn put_aside(path: &Path, before: &Path, name: &str) -> Result<(), RescueError> {
    if is_there(&before.join(name))? {
        return Ok(());
    }
    bring(&path.join(name), &before.join(name))
}

/// Moves what may not be there.
fn bring(from: &Path, to: &Path) -> Result<(), RescueError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(refused(from, "be moved", error))
        }
        _ => Ok(()),
    }
}

fn is_there(path: &Path) -> Result<bool, RescueError> {
    path.try_exists().map_err(|source| refused(path, "be looked for", source))
}

fn sync(path: &Path) -> Result<(), RescueError> {
    durable::sync_folder(path).map_err(|source| refused(path, "be synced", source))
}

fn refused(path: &Path, doing: &'static str, source: io::Error) -> RescueError {
    RescueError::Io { path: path.to_owned(), doing, source }
}
