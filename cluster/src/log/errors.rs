//! What the errors of the store underneath mean for a log.

use std::io;

use super::{LogError, codec::damaged};

/// Sorts an error of redb into the disk's refusal and damage.
pub(super) fn explain(doing: &'static str, error: impl Into<redb::Error>) -> LogError {
    let io_error = |source| LogError::Io { doing, source };
    match error.into() {
        // redb says so of a file that is no database, or ends too early.
        redb::Error::Io(source)
            if matches!(
                source.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            damaged(source.to_string())
        }
        redb::Error::Io(source) => io_error(source),
        redb::Error::Backend(source) => io_error(io::Error::other(source)),
        redb::Error::DatabaseAlreadyOpen => {
            io_error(io::Error::new(io::ErrorKind::WouldBlock, "another process has it open"))
        }
        error @ (redb::Error::PreviousIo
        | redb::Error::DatabaseClosed
        | redb::Error::LockPoisoned(_)
        | redb::Error::Unsupported
        | redb::Error::TransactionInProgress
        | redb::Error::TransactionPoisoned) => io_error(io::Error::other(error.to_string())),
        error => damaged(error.to_string()),
    }
}
