//! MON-1: a replica's durable term, commit and incarnation never fall, nor what one process of it
//! has applied. MON-2: log time rises with the log.

use super::{Violation, require};
use crate::network::Place;
use crate::shadow::Model;

/// The high marks of one replica.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    term: u64,
    incarnation: u64,
    applied: u64,
    time: u64,
}

impl Progress {
    /// A process of the replica starts.
    pub(crate) fn starts(&mut self, place: Place, incarnation: u64) -> Result<(), Violation> {
        let before = self.incarnation;
        require(incarnation > before, "MON-1", || {
            format!("replica {place} starts as incarnation {incarnation} after {before}")
        })?;
        self.incarnation = incarnation;
        self.applied = 0;
        self.time = 0;
        Ok(())
    }

    /// The replica's disk holds this now.
    pub(crate) fn syncs(&mut self, place: Place, disk: &Model) -> Result<(), Violation> {
        let (before, now) = (self.term, disk.hard_state.term);
        require(now >= before, "MON-1", || {
            format!("the term on the disk of replica {place} falls from {before} to {now}")
        })?;
        self.term = now;
        Ok(())
    }

    /// The replica's state is now that after the entry at `index`.
    pub(crate) fn applies(&mut self, place: Place, index: u64, time: u64) -> Result<(), Violation> {
        require(index > self.applied, "MON-1", || {
            format!("replica {place} goes from entry {} to {index}", self.applied)
        })?;
        require(time >= self.time, "MON-2", || {
            format!("log time falls from {} to {time} at entry {index}", self.time)
        })?;
        self.applied = index;
        self.time = time;
        Ok(())
    }
}
