//! The state and what is to be done to it.

use std::{
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc::SyncSender},
    time::Instant,
};

use bytes::Bytes;
use metrics::Histogram;

use super::{
    keeper::{KeepJob, load_state},
    shared::Shared,
};
use crate::{
    core::Input,
    group::{Applied, MayBeDone, ProposeError, Published, StartError},
    log::LogEntry,
    machine::StateMachine,
    sessions::{Answer, Replicated},
    snapshot::{SnapshotMeta, SnapshotStore},
    types::ReplicaId,
};

/// Jobs done before their results are published.
const BATCH: usize = 64;
/// Bytes of entries that whoever turned the core may apply itself; more is for the thread.
const LIGHT_BYTES: usize = 32 << 10;

pub(crate) enum ApplyJob {
    Apply(Vec<LogEntry>),
    Install(SnapshotMeta),
    Retire { at: u64, replicas: Vec<ReplicaId> },
    Picture { conf: Bytes, ticket: u64 },
}

impl ApplyJob {
    /// Bytes of its entries; `None` for what may take long.
    fn bytes(&self) -> Option<usize> {
        match self {
            Self::Apply(entries) => Some(entries.iter().map(|entry| entry.data.len()).sum()),
            Self::Retire { .. } => Some(0),
            Self::Install(_) | Self::Picture { .. } => None,
        }
    }
}

/// What waits for the state. The core bounds it, as it takes no more entries when too many wait.
#[derive(Default)]
pub(crate) struct ApplyJobs {
    waiting: Mutex<Waiting>,
    filled: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: Vec<ApplyJob>,
    bytes: usize,
    /// There is one that may take long.
    heavy: bool,
    /// The thread is to come.
    called: bool,
    closed: bool,
}

impl Waiting {
    fn put(&mut self, job: ApplyJob) {
        match job.bytes() {
            Some(bytes) => self.bytes += bytes,
            None => self.heavy = true,
        }
        self.jobs.push(job);
    }

    fn is_light(&self) -> bool {
        !self.heavy && self.bytes <= LIGHT_BYTES
    }
}

impl ApplyJobs {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, job: ApplyJob) {
        self.lock().put(job);
    }

    /// Calls the thread.
    pub(crate) fn call(&self) {
        self.lock().called = true;
        self.filled.notify_one();
    }

    /// Whether nothing is to be done now.
    pub(crate) fn is_empty(&self) -> bool {
        let waiting = self.lock();
        waiting.closed || waiting.jobs.is_empty()
    }

    /// Whether so little waits that any thread may do it.
    pub(crate) fn is_light(&self) -> bool {
        self.lock().is_light()
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    /// Waits until the thread is called; `false` once nothing is to be done any more.
    pub(crate) fn wait(&self) -> bool {
        let mut waiting = self.lock();
        while !waiting.called && !waiting.closed {
            waiting = self.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.called = false;
        !waiting.closed
    }

    /// The next ones, for others than the own thread only light ones; none once the replica stops, as
    /// one that failed must not be passed over.
    fn take(&self, for_own: bool) -> Vec<ApplyJob> {
        let mut waiting = self.lock();
        if waiting.closed || !(for_own || waiting.is_light()) {
            return Vec::new();
        }
        let count = waiting.jobs.len().min(BATCH);
        let rest = waiting.jobs.split_off(count);
        let jobs = mem::take(&mut waiting.jobs);
        (waiting.bytes, waiting.heavy) = (0, false);
        for job in rest {
            waiting.put(job);
        }
        jobs
    }
}

pub(crate) struct Applier<M: StateMachine> {
    pub(crate) shared: Arc<Shared<M>>,
    pub(crate) state: Replicated<M>,
    pub(crate) store: Arc<dyn SnapshotStore>,
    pub(crate) keeper: SyncSender<KeepJob<M>>,
    pub(crate) took: Histogram,
}

type Answers = Vec<(u64, Result<Applied, ProposeError>)>;

impl<M: StateMachine> Applier<M> {
    /// Does what waits; `own` on the thread that has the time for it. What it tells the core waits in
    /// the inbox then.
    pub(crate) fn work(&mut self, own: bool) -> Result<(), StartError> {
        let jobs = self.shared.jobs.take(own);
        if jobs.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let mut answers = Answers::new();
        for job in jobs {
            match job {
                ApplyJob::Apply(entries) => self.apply(&entries, &mut answers)?,
                ApplyJob::Install(meta) => {
                    self.install(meta.index, &mut answers)?;
                    tracing::info!(index = meta.index, "a snapshot of the leader is installed");
                }
                ApplyJob::Retire { at, replicas } => self.state.retire(at, replicas),
                ApplyJob::Picture { conf, ticket } => {
                    let picture = self.state.picture();
                    // Fails only while the replica stops.
                    let _stopping = self.keeper.send(KeepJob::Save { picture, conf, ticket });
                }
            }
        }
        self.publish(answers);
        self.took.record(began.elapsed().as_secs_f64());
        Ok(())
    }

    fn install(&mut self, index: u64, answers: &mut Answers) -> Result<(), StartError> {
        self.state = load_state(self.store.as_ref(), index)?;
        let (me, incarnation) = (self.shared.me, self.shared.incarnation);
        for (sequence, answer) in self.state.answers(me, incarnation) {
            answers.push((sequence, known(answer.cloned())));
        }
        Ok(())
    }

    fn apply(&mut self, entries: &[LogEntry], answers: &mut Answers) -> Result<(), StartError> {
        for entry in entries {
            let Some(outcome) = self.state.apply(entry)? else { continue };
            let request = outcome.request;
            if request.replica == self.shared.me && request.incarnation == self.shared.incarnation {
                answers.push((request.sequence, known(outcome.answer)));
            }
        }
        Ok(())
    }

    /// The view first: whoever gets an answer finds it in the state.
    fn publish(&self, answers: Answers) {
        let index = self.state.index();
        self.shared.published.store(Arc::new(Published {
            view: self.state.machine().view(),
            index,
            term: self.state.term(),
            time: self.state.time(),
        }));
        let sequences = answers.iter().map(|(sequence, _)| *sequence).collect();
        self.shared.proposals.answer(answers);
        self.shared.reads.reached(index, || self.shared.published());
        self.shared.inbox.put([Input::Done { sequences }, Input::Applied { index }]);
    }
}

fn known(answer: Option<Answer>) -> Result<Applied, ProposeError> {
    answer.map(Applied::from).ok_or(ProposeError::MayBeDone(MayBeDone::Forgotten))
}
