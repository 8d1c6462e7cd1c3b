//! DUR-1: what is applied anywhere is on the disks of a quorum. DUR-2: a disk opens again after any
//! power cut and holds all that was synced, and nothing that was never written.

use super::{Violation, require};
use crate::network::Place;
use crate::shadow::{Model, Shadow, Sketch};

/// The entry at `index` is applied for the first time.
pub(crate) fn on_a_quorum<'a>(
    index: u64,
    sketch: Sketch,
    disks: impl Iterator<Item = &'a Model>,
) -> Result<(), Violation> {
    let mut all = 0;
    let mut holding = 0;
    for disk in disks {
        all += 1;
        holding += usize::from(disk.mark.index >= index || disk.get(index) == Some(sketch));
    }
    require(holding * 2 > all, "DUR-1", || {
        format!("entry {index} is applied, but only {holding} of {all} disks hold it")
    })
}

/// The real store found `found` on a disk whose model is `shadow`.
pub(crate) fn recovers(place: Place, shadow: &Shadow, found: &Model) -> Result<(), Violation> {
    require(shadow.admits(found), "DUR-2", || {
        let durable = shadow.durable();
        format!(
            "the disk of replica {place} must hold {:?}, {}..={}, but holds {:?}, {}..={}",
            durable.hard_state,
            durable.mark.index + 1,
            durable.last_index(),
            found.hard_state,
            found.mark.index + 1,
            found.last_index(),
        )
    })
}
