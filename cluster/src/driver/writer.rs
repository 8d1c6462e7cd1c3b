//! The thread that owns the log's file.

use std::{
    sync::{Arc, mpsc::Receiver},
    time::Instant,
};

use super::shared::Shared;
use crate::{
    core::Input,
    folder::DataFolder,
    group::StartError,
    log::{LogBatch, LogMark, LogStore},
    machine::StateMachine,
};

pub(crate) enum WriteJob {
    Write { number: u64, batch: LogBatch },
    Compact { through: LogMark },
}

pub(crate) struct Writer<M: StateMachine> {
    pub(crate) shared: Arc<Shared<M>>,
    pub(crate) jobs: Receiver<WriteJob>,
    pub(crate) log: Box<dyn LogStore>,
    /// Dropped after the log: the folder is free only when its log is closed.
    pub(crate) folder: DataFolder,
}

impl<M: StateMachine> Writer<M> {
    /// Writes until nobody is left to ask for it. All that waits is one write and one sync.
    pub(crate) fn run(mut self) -> Result<(), StartError> {
        while let Ok(first) = self.jobs.recv() {
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
                self.shared.inbox.push(Input::Persisted { number });
            }
            if let Some(through) = compact {
                self.log.compact(through)?;
            }
        }
        drop(self.log);
        drop(self.folder);
        Ok(())
    }
}
