//! The log writer of a process, as the production thread works: everything queued goes into one
//! write, with one sync.

use muster_cluster::core::Input;
use muster_cluster::log::{LogBatch, LogError, LogStore};

use crate::agenda::{Micros, SECONDS};
use crate::invariants::{Violation, require};
use crate::network::Place;
use crate::replica::{Process, Replica, Writing};
use crate::world::{Local, World};

impl World {
    /// Queues work and starts it if the writer is idle.
    pub(crate) fn write_soon(&mut self, place: Place, work: Writing) {
        let Some(replica) = self.replicas.get_mut(place) else { return };
        let Some(process) = &mut replica.process else { return };
        match &work {
            Writing::Persist { batch, .. } => {
                process.memory.write(batch);
                replica.shadow.writing(batch);
            }
            Writing::Compact(through) => {
                process.memory.compact(*through);
                replica.shadow.compacting(*through);
            }
        }
        process.to_write.push_back(work);
        if process.writing == 0 {
            self.start_writing(place);
        }
    }

    fn start_writing(&mut self, place: Place) {
        let mut took = self.writing_takes();
        let now = self.now();
        let Some(replica) = self.replicas.get_mut(place) else { return };
        took += if replica.slow { SECONDS } else { 0 };
        let Some(process) = &mut replica.process else { return };
        process.writing = one_go(process);
        if process.writing > 0 {
            let starts = replica.stalled_until.max(now);
            self.later(place, starts - now + took, Local::Write);
        }
    }

    fn writing_takes(&mut self) -> Micros {
        let disk = &self.plan.disk;
        let mut took = self.chance.disk.between(disk.sync_min, disk.sync_max);
        if self.chance.disk.permille(disk.stall_permille) {
            took += self.chance.disk.between(0, disk.stall_max);
        }
        took
    }

    /// The write under way comes to its end.
    pub(crate) fn write(&mut self, place: Place) -> Result<(), Violation> {
        let Some(replica) = self.replicas.get_mut(place) else { return Ok(()) };
        let written = try_write(replica);
        require(written.is_ok(), "DUR-2", || format!("replica {place} cannot write: {written:?}"))?;
        let Replica { process: Some(process), shadow, progress, .. } = replica else {
            return Ok(());
        };
        progress.syncs(place, shadow.durable())?;
        let mut persisted = None;
        for work in process.to_write.drain(..process.writing) {
            if let Writing::Persist { number, .. } = work {
                persisted = Some(number);
            }
        }
        process.writing = 0;
        self.start_writing(place);
        match persisted {
            Some(number) => self.step(place, Input::Persisted { number }),
            None => Ok(()),
        }
    }
}

/// How much of the queue goes into the next write: all persists up to a compaction, or that alone.
fn one_go(process: &Process) -> usize {
    let persists =
        process.to_write.iter().take_while(|work| matches!(work, Writing::Persist { .. })).count();
    if persists == 0 { process.to_write.len().min(1) } else { persists }
}

/// Lets the real store write what is under way. Also called with a disk whose power is about to
/// fail in the middle.
pub(crate) fn try_write(replica: &mut Replica) -> Result<(), LogError> {
    let Replica { process: Some(process), shadow, .. } = replica else { return Ok(()) };
    let under_way = process.to_write.iter().take(process.writing);
    let mut batches: Vec<LogBatch> = Vec::new();
    let mut compact = None;
    for work in under_way {
        match work {
            Writing::Persist { batch, .. } => batches.push(batch.clone()),
            Writing::Compact(through) => compact = Some(*through),
        }
    }
    shadow.trying(process.writing);
    if let Some(through) = compact {
        process.store.compact(through)?;
        shadow.wrote(false);
        return Ok(());
    }
    process.store.write(&batches)?;
    shadow.wrote(batches.iter().any(|batch| batch.sync));
    Ok(())
}
