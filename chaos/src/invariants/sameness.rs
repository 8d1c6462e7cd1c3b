//! SAM-1: an entry gives the same answer on every replica. SAM-2: replicas that have applied the same
//! entries have the same state, to the byte. SAM-3: a snapshot loads into the state it was made of.

use std::collections::BTreeMap;

use super::{Violation, require};
use crate::network::Place;

#[derive(Debug, Default)]
pub(crate) struct Sameness {
    answers: BTreeMap<u64, u64>,
    states: BTreeMap<u64, u64>,
}

impl Sameness {
    /// `place` answers the entry at `index` with bytes of this hash.
    pub(crate) fn answers(&mut self, place: Place, index: u64, hash: u64) -> Result<(), Violation> {
        let first = *self.answers.entry(index).or_insert(hash);
        require(first == hash, "SAM-1", || {
            format!("replica {place} answers entry {index} otherwise than the others")
        })
    }

    /// `place` has a state of this hash after the entry at `index`.
    pub(crate) fn state(&mut self, place: Place, index: u64, hash: u64) -> Result<(), Violation> {
        let first = *self.states.entry(index).or_insert(hash);
        require(first == hash, "SAM-2", || {
            format!("the state of replica {place} at entry {index} is not that of the others")
        })
    }
}
