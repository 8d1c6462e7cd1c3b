//! Snapshots: built beside the applier, sent in chunks, received chunk by chunk.

use std::sync::Arc;

use bytes::Bytes;
use muster_cluster::core::Input;
use muster_cluster::core::message::PeerMessage;
use muster_cluster::sessions::{Picture, Replicated};
use muster_cluster::snapshot::{SnapshotError, SnapshotMeta, SnapshotStore};
use muster_cluster::types::ReplicaId;

use crate::agenda::MILLIS;
use crate::invariants::{Violation, require};
use crate::life::GROUP;
use crate::machine::Machine;
use crate::network::Place;
use crate::replica::{hash_of, place_of};
use crate::world::{Local, World};

/// A snapshot that is being written.
pub(crate) struct Saving {
    meta: SnapshotMeta,
    picture: Picture<Machine>,
}

impl std::fmt::Debug for Saving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Saving").field("meta", &self.meta).finish_non_exhaustive()
    }
}

/// Chunks that are to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    pub(crate) to: ReplicaId,
    pub(crate) transfer: u64,
    pub(crate) index: u64,
    pub(crate) first: u64,
    pub(crate) count: u64,
}

/// A chunk that is to be stored.
#[derive(Clone, Debug)]
pub(crate) struct Storing {
    pub(crate) from: ReplicaId,
    pub(crate) transfer: u64,
    pub(crate) last: bool,
    pub(crate) data: Bytes,
}

const BULK: usize = 1;

impl World {
    /// The thread of the snapshots does one thing after the other.
    pub(crate) fn in_turn(&mut self, place: Place, work: Local) {
        let takes = self.chance.work.between(1, 2 * MILLIS);
        let now = self.now();
        let Some(process) = self.process(place) else { return };
        process.snapshots_busy_until = process.snapshots_busy_until.max(now) + takes;
        let after = process.snapshots_busy_until - now;
        self.later(place, after, work);
    }

    /// Takes the state as it is and writes it in a while.
    pub(crate) fn save_soon(&mut self, place: Place, conf: Bytes) -> Result<(), Violation> {
        let Some(process) = self.process(place) else { return Ok(()) };
        let picture = process.machine.picture();
        if picture.index == 0 {
            return self.step(place, Input::SnapshotNotSaved);
        }
        let meta = SnapshotMeta {
            group: GROUP,
            index: picture.index,
            term: picture.term,
            conf,
            time: picture.time,
            digest: 0,
        };
        let saving = Saving { meta, picture };
        let took = self.chance.work.between(MILLIS, self.plan.snapshots.write_max);
        let now = self.now();
        let Some(process) = self.process(place) else { return Ok(()) };
        process.snapshots_busy_until = process.snapshots_busy_until.max(now) + took;
        let after = process.snapshots_busy_until - now;
        self.later(place, after, Local::Save(Box::new(saving)));
        Ok(())
    }

    /// The snapshot is written, and often loaded on trial.
    pub(crate) fn save(&mut self, place: Place, saving: &Saving) -> Result<(), Violation> {
        if self.chance.snapshots.permille(self.plan.snapshots.fail_permille) {
            return self.step(place, Input::SnapshotNotSaved);
        }
        let torn = self.may_tear(place);
        let Some(replica) = self.replicas.get_mut(place) else { return Ok(()) };
        let Some(process) = &mut replica.process else { return Ok(()) };
        let newer = process.newest.clone().filter(|newest| newest.index >= saving.meta.index);
        let saved = match newer {
            // One that was received meanwhile is as good.
            Some(newest) => Ok(newest),
            None => process.snapshots.write(saving.meta.clone(), &mut saving.picture.records()),
        };
        if torn {
            self.end(place, true);
            return Ok(());
        }
        let meta = match saved {
            Ok(meta) => meta,
            Err(error) => return self.not_written(place, &error, Input::SnapshotNotSaved),
        };
        process.newest = Some(meta.clone());
        self.tally.snapshots += 1;
        self.say(|| format!("{place} saved a snapshot of {}", meta.index));
        // A state grows with its log, and so does what a trial costs.
        if self.tally.snapshots.is_multiple_of(1 + saving.picture.index / ENTRIES_A_TRIAL) {
            let hash = round_trip(place, &saving.picture)?;
            self.checks.sameness.state(place, saving.picture.index, hash)?;
        }
        self.step(place, Input::SnapshotSaved(meta))
    }

    pub(crate) fn send_chunks(&mut self, place: Place, sending: Sending) -> Result<(), Violation> {
        let Sending { to, transfer, index, first, count } = sending;
        let Some(replica) = self.replicas.get_mut(place) else { return Ok(()) };
        let Some(process) = &mut replica.process else { return Ok(()) };
        // What is being sent stays open, though newer snapshots may have taken its place.
        let open = process.sending.get(&to).filter(|open| open.0 == transfer);
        let chunks = if let Some((_, chunks)) = open {
            Arc::clone(chunks)
        } else {
            let Ok(reader) = process.snapshots.open(index) else { return Ok(()) };
            let chunks: Result<Vec<Bytes>, _> = reader.collect();
            if replica.rotten && chunks.is_err() {
                return Ok(());
            }
            Arc::new(chunks.map_err(|error| Violation {
                id: "SAM-3",
                what: format!("replica {place}: {error}"),
            })?)
        };
        process.sending.insert(to, (transfer, Arc::clone(&chunks)));
        let last = chunks.len().saturating_sub(1);
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        for (number, data) in chunks.iter().cloned().enumerate().skip(first).take(count) {
            let payload =
                PeerMessage::snapshot_chunk(transfer, number as u64, number == last, data);
            self.send(place, place_of(to), BULK, payload);
        }
        Ok(())
    }

    pub(crate) fn receive(
        &mut self,
        place: Place,
        from: ReplicaId,
        transfer: u64,
        meta: SnapshotMeta,
    ) -> Result<(), Violation> {
        let Some(process) = self.process(place) else { return Ok(()) };
        process.receiving = None;
        match process.snapshots.receive(meta) {
            Ok(receiver) => {
                process.receiving = Some((from, transfer, receiver));
                Ok(())
            }
            Err(error) => {
                let refused = Input::SnapshotReceived { from, transfer, ok: false };
                self.not_written(place, &error, refused)
            }
        }
    }

    /// A snapshot could not be written: the core hears of it when the disk is full, any other failure
    /// of the disk ends the process, and all else is a fault of Muster.
    fn not_written(
        &mut self,
        place: Place,
        error: &SnapshotError,
        full: Input,
    ) -> Result<(), Violation> {
        let failed = self.replicas.get(place).is_some_and(crate::replica::Replica::take_failed);
        if let SnapshotError::Io { source, .. } = error
            && failed
        {
            if source.kind() == std::io::ErrorKind::StorageFull {
                return self.step(place, full);
            }
            self.fail_stop(place, &error.to_string());
            return Ok(());
        }
        require(false, "SAM-3", || format!("replica {place}: {error}"))
    }

    /// Lets the power fail amid the next snapshot, sometimes.
    fn may_tear(&mut self, place: Place) -> bool {
        let torn =
            !self.healed && self.chance.snapshots.permille(self.plan.snapshots.crash_permille / 4);
        if torn && let Some(replica) = self.replicas.get(place) {
            replica.folder.fail_after(self.chance.snapshots.below(2));
        }
        torn
    }

    pub(crate) fn store_chunk(&mut self, place: Place, storing: &Storing) -> Result<(), Violation> {
        let Some(process) = self.process(place) else { return Ok(()) };
        let (from, transfer) = (storing.from, storing.transfer);
        let current = process.receiving.take_if(|it| (it.0, it.1) == (from, transfer));
        let Some((_, _, mut receiver)) = current else { return Ok(()) };
        let refused = Input::SnapshotReceived { from, transfer, ok: false };
        match receiver.push(&storing.data) {
            Ok(()) => {}
            Err(error @ SnapshotError::Io { .. }) => {
                return self.not_written(place, &error, refused);
            }
            Err(_) => return self.step(place, refused),
        }
        if storing.last {
            let torn = self.may_tear(place);
            let finished = receiver.finish();
            if torn {
                self.end(place, true);
                return Ok(());
            }
            let Some(process) = self.process(place) else { return Ok(()) };
            let ok = finished.is_ok();
            match finished {
                Ok(meta) => process.newest = Some(meta),
                Err(error @ SnapshotError::Io { .. }) => {
                    return self.not_written(place, &error, refused);
                }
                Err(_) => {}
            }
            if ok && self.chance.snapshots.permille(self.plan.snapshots.crash_permille) {
                let after = self.chance.snapshots.between(0, 4 * MILLIS);
                self.later(place, after, Local::Crash);
            }
            return self.step(place, Input::SnapshotReceived { from, transfer, ok });
        }
        process.receiving = Some((from, transfer, receiver));
        self.step(place, Input::ChunkStored { from, transfer })
    }
}

/// Every snapshot of the first so many entries is loaded on trial, every second of the next, and so on.
const ENTRIES_A_TRIAL: u64 = 100;

/// What was saved loads into a state that saves the same; tells its hash.
fn round_trip(place: Place, picture: &Picture<Machine>) -> Result<u64, Violation> {
    let loaded = Replicated::<Machine>::load(&mut picture.records());
    let again = loaded.map(|state| hash_of(state.picture().records()));
    let first = hash_of(picture.records());
    let same = again.as_ref().is_ok_and(|again| *again == first);
    require(same, "SAM-3", || format!("a snapshot of replica {place} loads otherwise: {again:?}"))?;
    Ok(first)
}
