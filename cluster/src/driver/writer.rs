//! The thread that owns the log's file.

use std::{
    io,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use super::shared::Shared;
use crate::{
    core::Input,
    disk::{DiskLimits, DiskState, DiskWatch},
    folder::DataFolder,
    group::StartError,
    log::{LogBatch, LogMark, LogStore},
    machine::StateMachine,
};

/// Between two looks at the room that is left.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) enum WriteJob {
    Write { number: u64, batch: LogBatch },
    Compact { through: LogMark },
}

pub(crate) struct Writer<M: StateMachine> {
    shared: Arc<Shared<M>>,
    jobs: Receiver<WriteJob>,
    log: Box<dyn LogStore>,
    disk: DiskWatch,
    /// What people were told last.
    told: DiskState,
    /// Dropped after the log: the folder is free only when its log is closed.
    folder: DataFolder,
}

impl<M: StateMachine> Writer<M> {
    pub(crate) fn new(
        shared: Arc<Shared<M>>,
        jobs: Receiver<WriteJob>,
        log: Box<dyn LogStore>,
        folder: DataFolder,
    ) -> Self {
        let disk = DiskWatch::new(folder.path(), DiskLimits::default());
        Self { shared, jobs, log, disk, told: DiskState::Roomy, folder }
    }

    /// Writes until nobody is left to ask for it. All that waits is one write and one sync.
    pub(crate) fn run(mut self) -> Result<(), StartError> {
        let mut looked: Option<Instant> = None;
        loop {
            if looked.is_none_or(|at| at.elapsed() >= LOOK) {
                self.look().map_err(StartError::Room)?;
                looked = Some(Instant::now());
            }
            let first = match self.jobs.recv_timeout(LOOK) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut batches = Vec::new();
            let mut newest = None;
            let mut compact = None;
            for job in std::iter::once(first).chain(self.jobs.try_iter()) {
                match job {
                    WriteJob::Write { number, batch } => {
                        batches.push(batch);
                        newest = Some(number);
                    }
                    WriteJob::Compact { through } => compact = Some(through),
                }
            }
            if let Some(number) = newest {
                let began = Instant::now();
                self.log.write(&batches)?;
                metrics::histogram!("muster_raft_fsync_duration_seconds")
                    .record(began.elapsed().as_secs_f64());
                self.shared.bring([Input::Persisted { number }]);
            }
            if let Some(through) = compact {
                self.log.compact(through)?;
            }
        }
        drop(self.log);
        drop(self.folder);
        Ok(())
    }

    fn look(&mut self) -> io::Result<()> {
        let (state, space) = self.disk.look()?;
        let free = space.available;
        self.shared.disk_free.store(free, Ordering::Relaxed);
        if state != self.told {
            match state {
                DiskState::Roomy => tracing::info!(free, "there is room on the disk again"),
                DiskState::Filling => tracing::warn!(
                    free,
                    total = space.total,
                    "the disk is filling: make room before commands must be refused"
                ),
                DiskState::Low => tracing::error!(
                    free,
                    total = space.total,
                    "the disk is low: commands that let the state grow are refused until there is room"
                ),
            }
            self.told = state;
        }
        let low = state == DiskState::Low;
        self.shared.disk_low.store(low, Ordering::Relaxed);
        let full = space.is_full();
        if self.shared.disk_full.swap(full, Ordering::Relaxed) != full {
            tracing::warn!(free, full, "the disk's room changed");
        }
        Ok(())
    }
}
