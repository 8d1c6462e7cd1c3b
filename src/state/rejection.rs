//! Shorthand for the no of a rule.

use muster_proto::muster::log::v1::{Rejection, RejectionKind};

/// A rejection that needs no data.
pub fn plain(kind: RejectionKind) -> Rejection {
    Rejection { kind: kind.into(), ..Rejection::default() }
}

/// A rejection about one named thing.
pub fn about(kind: RejectionKind, subject: &str) -> Rejection {
    Rejection { subject: subject.to_owned(), ..plain(kind) }
}

/// A rejection because a bound was reached.
pub fn bound(kind: RejectionKind, limit: u64) -> Rejection {
    Rejection { limit, ..plain(kind) }
}

/// A rejection because there are as many of something as there can be.
pub fn too_many(what: &str, limit: usize) -> Rejection {
    Rejection {
        limit: u64::try_from(limit).unwrap_or(u64::MAX),
        ..about(RejectionKind::TooMany, what)
    }
}
