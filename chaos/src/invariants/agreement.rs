//! LOG-1: entries of one index and term are the same in every log, and so is what is before them.
//! STM-1: every replica applies the same entry at the same index, without gaps.

use std::collections::BTreeMap;

use super::{Violation, require};
use crate::network::Place;
use crate::shadow::Sketch;

#[derive(Debug, Default)]
pub(crate) struct Agreement {
    /// By index and term: digest, and the term of the entry before where known.
    written: BTreeMap<(u64, u64), (u64, Option<u64>)>,
    /// What was applied, by index from 1.
    applied: Vec<Sketch>,
}

impl Agreement {
    /// `place` puts an entry into its log behind one of the term `before`.
    pub(crate) fn writes(
        &mut self,
        place: Place,
        index: u64,
        sketch: Sketch,
        before: Option<u64>,
    ) -> Result<(), Violation> {
        let known = self.written.entry((index, sketch.term)).or_insert((sketch.digest, before));
        let same_past = match (known.1, before) {
            (Some(known), Some(before)) => known == before,
            (None, Some(_)) => {
                known.1 = before;
                true
            }
            _ => true,
        };
        require(known.0 == sketch.digest && same_past, "LOG-1", || {
            format!("replica {place} writes another entry {index} of term {}", sketch.term)
        })
    }

    /// `place`, which has applied up to `before`, applies the entry at `index`. True when nobody
    /// did before.
    pub(crate) fn applies(
        &mut self,
        place: Place,
        before: u64,
        index: u64,
        sketch: Sketch,
    ) -> Result<bool, Violation> {
        require(index == before + 1, "STM-1", || {
            format!("replica {place} applies entry {index} after entry {before}")
        })?;
        if let Some(agreed) = self.get(index) {
            require(agreed == sketch, "STM-1", || {
                format!("replica {place} applies {sketch:?} at {index}, others {agreed:?}")
            })?;
            return Ok(false);
        }
        require(index == self.last_index() + 1, "STM-1", || {
            format!("replica {place} applies entry {index}, which nobody agreed on")
        })?;
        self.applied.push(sketch);
        Ok(true)
    }

    pub(crate) fn get(&self, index: u64) -> Option<Sketch> {
        self.applied.get(usize::try_from(index.checked_sub(1)?).ok()?).copied()
    }

    pub(crate) fn last_index(&self) -> u64 {
        self.applied.len() as u64
    }

    /// The last applied entry of a term before `term`.
    pub(crate) fn last_before_term(&self, term: u64) -> Option<(u64, Sketch)> {
        let count = self.applied.partition_point(|sketch| sketch.term < term);
        Some((count as u64, *self.applied.get(count.checked_sub(1)?)?))
    }
}
