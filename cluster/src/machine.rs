//! The seam between agreement and what is agreed on.

use bytes::Bytes;

use crate::types::Timestamp;

/// A committed command at its place in the log.
#[derive(Clone, Copy, Debug)]
pub struct Committed<'a> {
    /// Position in the log, from 1; rises, with gaps where the group itself wrote.
    pub index: u64,
    /// When the leader took the command, in log time.
    pub time: Timestamp,
    /// What the proposer gave to `propose`.
    pub command: &'a [u8],
}

/// Why a stored state could not be loaded again.
#[derive(Debug, thiserror::Error)]
#[error("the stored state cannot be loaded: {0}")]
pub struct LoadError(pub String);

/// What a group replicates. Every method is deterministic and pure: no clock, no chance, no IO.
pub trait StateMachine: Sized + Send + 'static {
    /// A consistent picture of the whole state; cloning it is O(1).
    type View: Clone + Send + Sync + 'static;

    /// Rises with every release whose commands or snapshots mean something new: a replica that knows
    /// only smaller ones is not made a voter.
    const FORMAT: u32 = 1;

    /// The state before the first entry.
    fn empty() -> Self;

    /// Applies one command and answers it. Total: a bad command is answered with a rejection inside
    /// the reply; the same commands give the same replies and the same state on every replica.
    fn apply(&mut self, entry: Committed<'_>) -> Bytes;

    /// The state as it is now.
    fn view(&self) -> Self::View;

    /// The whole of `view` as records of at most 1 MiB each, in an order fixed by the content.
    fn save(view: &Self::View) -> Box<dyn Iterator<Item = Bytes> + Send + '_>;

    /// The inverse of [`StateMachine::save`].
    fn load(records: &mut dyn Iterator<Item = Bytes>) -> Result<Self, LoadError>;
}
