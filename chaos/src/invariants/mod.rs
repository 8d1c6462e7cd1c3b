//! What must hold after every event, one property per file. Each is fed as things happen and costs
//! next to nothing, so that no event goes unwatched.

pub(crate) mod agreement;
pub(crate) mod durability;
pub(crate) mod election;
pub(crate) mod members;
pub(crate) mod progress;
pub(crate) mod sameness;
pub(crate) mod votes;

/// A promise that was broken.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{id}: {what}")]
pub(crate) struct Violation {
    /// Which invariant, as chaos/README.md numbers them.
    pub(crate) id: &'static str,
    /// What happened.
    pub(crate) what: String,
}

/// Breaks invariant `id` unless `holds`.
pub(crate) fn require(
    holds: bool,
    id: &'static str,
    what: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { id, what: what() }) }
}
