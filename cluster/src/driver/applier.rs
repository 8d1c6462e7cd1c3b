//! The thread that owns the state.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender},
    },
    time::Instant,
};

use bytes::Bytes;

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

pub(crate) enum ApplyJob {
    Apply(Vec<LogEntry>),
    Install(SnapshotMeta),
    Retire { at: u64, replicas: Vec<ReplicaId> },
    Picture { conf: Bytes, ticket: u64 },
}

pub(crate) struct Applier<M: StateMachine> {
    pub(crate) shared: Arc<Shared<M>>,
    pub(crate) jobs: Receiver<ApplyJob>,
    pub(crate) state: Replicated<M>,
    pub(crate) store: Arc<dyn SnapshotStore>,
    pub(crate) keeper: SyncSender<KeepJob<M>>,
}

type Answers = Vec<(u64, Result<Applied, ProposeError>)>;

impl<M: StateMachine> Applier<M> {
    pub(crate) fn run(mut self) -> Result<(), StartError> {
        while let Ok(first) = self.jobs.recv() {
            let began = Instant::now();
            let waiting: Vec<ApplyJob> = self.jobs.try_iter().take(BATCH).collect();
            let mut answers = Answers::new();
            for job in std::iter::once(first).chain(waiting) {
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
            metrics::histogram!("muster_raft_apply_duration_seconds")
                .record(began.elapsed().as_secs_f64());
        }
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
        self.shared.inbox.push_all([Input::Done { sequences }, Input::Applied { index }]);
    }
}

fn known(answer: Option<Answer>) -> Result<Applied, ProposeError> {
    answer.map(Applied::from).ok_or(ProposeError::MayBeDone(MayBeDone::Forgotten))
}
