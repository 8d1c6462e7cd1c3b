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
        let now = self.now();
        let Some(replica) = self.replicas.get_mut(place) else { return };
        let Some(process) = &mut replica.process else { return };
        match &work {
            Writing::Persist { batch, number } => {
                process.write_times.push_back((*number, now));
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
            process.write_turn += 1;
            let turn = process.write_turn;
            let starts = replica.stalled_until.max(now);
            self.later(place, starts - now + took, Local::Write(turn));
        }
    }

    /// A disk that hung answers again, at once and not when it was going to.
    pub(crate) fn hang_no_more(&mut self, place: Place) {
        let Some(process) = self.process(place) else { return };
        if process.writing > 0 {
            process.write_turn += 1;
            let turn = process.write_turn;
            self.later(place, 1, Local::Write(turn));
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
    pub(crate) fn write(&mut self, place: Place, turn: u64) -> Result<(), Violation> {
        let Some(replica) = self.replicas.get_mut(place) else { return Ok(()) };
        if replica.process.as_ref().is_none_or(|process| process.write_turn != turn) {
            return Ok(());
        }
        if let Err(error) = try_write(replica) {
            if replica.take_failed() {
                self.fail_stop(place, &error.to_string());
                return Ok(());
            }
            return require(false, "DUR-2", || format!("replica {place} cannot write: {error}"));
        }
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
        while process.write_times.pop_front_if(|(number, _)| Some(*number) <= persisted).is_some() {
        }
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
