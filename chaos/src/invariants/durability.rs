//! DUR-1: what is applied anywhere is on the disks of a quorum. DUR-2: a disk opens again after any
//! power cut and holds all that was synced, and nothing that was never written.

use super::{Violation, require};
use muster_cluster::members::Conf;
use muster_cluster::types::ReplicaId;

use crate::network::Place;
use crate::replica::place_of;
use crate::shadow::{Model, Shadow, Sketch};

/// The entry at `index` is applied for the first time, having been agreed on under one of `confs`.
pub(crate) fn on_a_quorum<'a>(
    index: u64,
    sketch: Sketch,
    confs: &[Conf],
    disks: impl Iterator<Item = &'a Model>,
) -> Result<(), Violation> {
    let holds = |disk: &Model| disk.mark.index >= index || disk.get(index) == Some(sketch);
    let holding: Vec<bool> = disks.map(holds).collect();
    let fit = |id: ReplicaId| holding.get(place_of(id)).copied().unwrap_or(false);
    require(confs.iter().any(|conf| conf.is_quorum(fit)), "DUR-1", || {
        let count = holding.iter().filter(|holds| **holds).count();
        format!("entry {index} is applied, but only {count} disks hold it, no quorum of {confs:?}")
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
