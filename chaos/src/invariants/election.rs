//! ELE-1: a term has at most one leader. ELE-2: a leader's log holds everything that was committed
//! in earlier terms.

use std::collections::BTreeMap;

use super::agreement::Agreement;
use super::{Violation, require};
use crate::network::Place;
use crate::shadow::Model;

#[derive(Debug, Default)]
pub(crate) struct Election {
    leaders: BTreeMap<u64, Place>,
}

impl Election {
    /// `place` says that it leads `term`, with `log` in its memory.
    pub(crate) fn leads(
        &mut self,
        place: Place,
        term: u64,
        log: &Model,
        agreed: &Agreement,
    ) -> Result<(), Violation> {
        let first = *self.leaders.entry(term).or_insert(place);
        require(first == place, "ELE-1", || {
            format!("replicas {first} and {place} both lead term {term}")
        })?;
        let Some((index, sketch)) = agreed.last_before_term(term) else { return Ok(()) };
        let holds = log.mark.index >= index || log.get(index) == Some(sketch);
        require(holds, "ELE-2", || {
            format!("replica {place} leads term {term} without the committed entry {index}")
        })
    }

    /// Elections so far.
    pub(crate) fn count(&self) -> usize {
        self.leaders.len()
    }
}
