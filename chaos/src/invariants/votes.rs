//! VOT-1: a replica votes once per term, across restarts. VOT-2: a vote is on the disk before it is
//! sent. VOT-3: so is what an append acknowledgement covers.

use std::collections::BTreeMap;

use super::{Violation, require};
use crate::network::Place;
use crate::shadow::Model;

#[derive(Debug, Default)]
pub(crate) struct Votes {
    given: BTreeMap<(Place, u64), u64>,
}

impl Votes {
    /// `place` sends word that its vote of `term` goes to the replica with raft id `to`.
    pub(crate) fn votes(
        &mut self,
        place: Place,
        term: u64,
        to: u64,
        durable: &Model,
    ) -> Result<(), Violation> {
        let first = *self.given.entry((place, term)).or_insert(to);
        require(first == to, "VOT-1", || {
            format!("replica {place} votes for {first:x} and for {to:x} in term {term}")
        })?;
        let hard = durable.hard_state;
        require(hard.term > term || (hard.term == term && hard.vote == to), "VOT-2", || {
            format!(
                "replica {place} sends its vote for {to:x} in term {term}, but its disk holds \
                 term {} and vote {:x}",
                hard.term, hard.vote
            )
        })
    }

    /// Whether `place` said that its vote of `term` goes to the replica with raft id `to`.
    pub(crate) fn gave(&self, place: Place, term: u64, to: u64) -> bool {
        self.given.get(&(place, term)) == Some(&to)
    }

    /// `place` tells the leader of `term` that it has everything up to `index`.
    pub(crate) fn acknowledges(
        place: Place,
        term: u64,
        index: u64,
        durable: &Model,
    ) -> Result<(), Violation> {
        let hard = durable.hard_state;
        require(hard.term >= term && durable.last_index() >= index, "VOT-3", || {
            format!(
                "replica {place} acknowledges entry {index} in term {term}, but its disk holds \
                 term {} and ends at entry {}",
                hard.term,
                durable.last_index()
            )
        })
    }
}
