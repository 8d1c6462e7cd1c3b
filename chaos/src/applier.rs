//! The applier of a process: committed entries go through the production sessions into the state
//! machine, answers go to the clients, and the core learns how far it is.

use muster_cluster::core::Input;
use muster_cluster::log::LogEntry;
use muster_cluster::machine::StateMachine;
use muster_cluster::sessions::Replicated;
use muster_cluster::snapshot::{FileSnapshots, SnapshotError, SnapshotMeta, SnapshotStore};

use crate::invariants::{Violation, durability, require};
use crate::machine::{Machine, observe};
use crate::network::Place;
use crate::replica::{Applying, Process, hash_of, id_of};
use crate::shadow::{Fold, Sketch};
use crate::world::{Local, World};

/// Every how many entries the whole states of replicas are compared.
const COMPARED_EVERY: u64 = 256;

impl Process {
    /// The whole replicated state, sessions and all, as one hash.
    pub(crate) fn state_hash(&self) -> u64 {
        hash_of(self.machine.picture().records())
    }
}

impl World {
    /// Queues work and starts it if the applier is idle.
    pub(crate) fn apply_soon(&mut self, place: Place, work: Applying) {
        let Some(process) = self.process(place) else { return };
        process.to_apply.push_back(work);
        if !process.applying {
            self.start_applying(place);
        }
    }

    fn start_applying(&mut self, place: Place) {
        let plan = &self.plan.applier;
        let mut took = self.chance.work.between(1, plan.batch_max);
        if self.chance.work.permille(plan.slow_permille) {
            took *= 100;
        }
        let Some(process) = self.process(place) else { return };
        process.applying = !process.to_apply.is_empty();
        if process.applying {
            self.later(place, took, Local::Apply);
        }
    }
}

impl World {
    /// The work under way comes to its end.
    pub(crate) fn apply(&mut self, place: Place) -> Result<(), Violation> {
        let Some(process) = self.process(place) else { return Ok(()) };
        let Some(work) = process.to_apply.pop_front() else { return Ok(()) };
        match work {
            Applying::Entries(entries) => self.apply_entries(place, &entries)?,
            Applying::Install(meta) => self.install(place, &meta)?,
            Applying::Retire(at, replicas) => {
                if let Some(process) = self.process(place) {
                    process.machine.retire(at, replicas);
                }
            }
            Applying::Picture(conf) => self.save_soon(place, conf)?,
        }
        self.start_applying(place);
        let Some(process) = self.process(place) else { return Ok(()) };
        let index = process.applied;
        self.serve_reads(place)?;
        self.step(place, Input::Applied { index })
    }

    fn apply_entries(&mut self, place: Place, entries: &[LogEntry]) -> Result<(), Violation> {
        let mut done = Vec::new();
        for entry in entries {
            if let Some(sequence) = self.apply_entry(place, entry)? {
                done.push(sequence);
            }
        }
        if done.is_empty() {
            return Ok(());
        }
        self.step(place, Input::Done { sequences: done })
    }

    /// Applies one entry; tells the sequence if it was this process's own.
    fn apply_entry(&mut self, place: Place, entry: &LogEntry) -> Result<Option<u64>, Violation> {
        let sketch = Sketch::of(entry);
        let index = entry.index;
        let now = self.now();
        self.trace.event(now, &[5, place as u64, index, sketch.digest]);
        let Some(replica) = self.replicas.get(place) else { return Ok(None) };
        let Some(process) = &replica.process else { return Ok(None) };
        let incarnation = replica.incarnation;
        if self.checks.agreement.applies(place, process.applied, index, sketch)? {
            let disks = self.replicas.iter().map(|replica| replica.shadow.durable());
            let confs = self.checks.members.confs_at(index);
            durability::on_a_quorum(index, sketch, &confs, disks)?;
            self.oracle.agreed(entry)?;
            self.samples.entry(entry);
        }
        let Some(replica) = self.replicas.get_mut(place) else { return Ok(None) };
        let Some(process) = &mut replica.process else { return Ok(None) };
        let outcome = match process.machine.apply(entry) {
            Ok(outcome) => outcome,
            Err(error) => return require(false, "STM-1", || error.to_string()).map(|()| None),
        };
        process.applied = index;
        replica.progress.applies(place, index, process.machine.time().0)?;
        if index.is_multiple_of(COMPARED_EVERY) {
            let hash = process.state_hash();
            self.checks.sameness.state(place, index, hash)?;
        }
        let Some(outcome) = outcome else { return Ok(None) };
        let mut fold = Fold::new();
        if let Some(answer) = &outcome.answer {
            fold.number(answer.index);
            fold.number(answer.time.0);
            fold.add(&answer.reply);
        }
        self.checks.sameness.answers(place, index, fold.value())?;
        let request = outcome.request;
        if request.replica != id_of(place) || request.incarnation != incarnation {
            return Ok(None);
        }
        let process = self.process(place);
        let operation = process.and_then(|process| process.writes.remove(&request.sequence));
        if let Some(operation) = operation {
            match outcome.answer {
                Some(answer) => self.wrote(operation, answer.index, &answer.reply)?,
                // Its process still waits, so the table must remember.
                None => require(false, "EXO-3", || format!("{request:?} has no answer"))?,
            }
        }
        Ok(Some(request.sequence))
    }

    fn install(&mut self, place: Place, meta: &SnapshotMeta) -> Result<(), Violation> {
        let Some(replica) = self.replicas.get_mut(place) else { return Ok(()) };
        let Some(process) = &mut replica.process else { return Ok(()) };
        let machine = match load_snapshot(&process.snapshots, meta.index) {
            Ok(machine) => machine,
            Err(Refusal::Damaged(what)) if replica.rotten => {
                self.lose(place, &what);
                return Ok(());
            }
            Err(error) => {
                return require(false, "SAM-3", || format!("replica {place} installs: {error}"));
            }
        };
        process.machine = machine;
        process.applied = meta.index;
        replica.progress.applies(place, meta.index, meta.time.0)?;
        let hash = process.state_hash();
        self.tally.installs += 1;
        self.say(|| format!("{place} installed a snapshot of {}", meta.index));
        self.checks.sameness.state(place, meta.index, hash)?;
        self.answers_of_snapshot(place)
    }

    /// A snapshot may hold the answers to requests whose entries this process never sees.
    fn answers_of_snapshot(&mut self, place: Place) -> Result<(), Violation> {
        let Some(replica) = self.replicas.get_mut(place) else { return Ok(()) };
        let Some(process) = &mut replica.process else { return Ok(()) };
        let mut sequences = Vec::new();
        let mut answers = Vec::new();
        for (sequence, answer) in process.machine.answers(id_of(place), replica.incarnation) {
            sequences.push(sequence);
            if let Some(operation) = process.writes.remove(&sequence) {
                answers.push((operation, answer.cloned()));
            }
        }
        for (operation, answer) in answers {
            match answer {
                Some(answer) => self.wrote(operation, answer.index, &answer.reply)?,
                None => require(false, "EXO-3", || "a snapshot forgot an answer".into())?,
            }
        }
        self.step(place, Input::Done { sequences })
    }

    /// A linearizable read may be served once `index` is applied.
    pub(crate) fn read_at(
        &mut self,
        place: Place,
        ticket: u64,
        index: u64,
    ) -> Result<(), Violation> {
        let Some(process) = self.process(place) else { return Ok(()) };
        let later = process.reads.split_off(&(ticket + 1));
        let ready = std::mem::replace(&mut process.reads, later);
        process.ready_reads.extend(ready.into_values().map(|operation| (index, operation)));
        self.serve_reads(place)
    }

    fn serve_reads(&mut self, place: Place) -> Result<(), Violation> {
        let Some(process) = self.process(place) else { return Ok(()) };
        let applied = process.applied;
        let (ready, waiting): (Vec<_>, Vec<_>) =
            process.ready_reads.drain(..).partition(|(index, _)| *index <= applied);
        process.ready_reads = waiting;
        if ready.is_empty() {
            return Ok(());
        }
        let view = process.machine.machine().view();
        let seen = observe(&view);
        for (_, operation) in ready {
            self.journal.saw(self.agenda.now(), operation, applied, &view);
            self.read(operation, applied, seen)?;
        }
        Ok(())
    }
}

/// Why what a disk holds is of no use.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The product says that it is damaged.
    #[error("damaged: {0}")]
    Damaged(String),
    /// The disk refuses.
    #[error("{0}")]
    Disk(String),
    /// The group has removed it.
    #[error("it was removed from its group")]
    Removed,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<SnapshotError> for Refusal {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Damaged { .. } => Self::Damaged(error.to_string()),
            SnapshotError::Io { .. } => Self::Disk(error.to_string()),
            other => Self::Other(other.to_string()),
        }
    }
}

/// The state in the stored snapshot of `index`.
pub(crate) fn load_snapshot(
    snapshots: &FileSnapshots,
    index: u64,
) -> Result<Replicated<Machine>, Refusal> {
    let chunks: Vec<_> = snapshots.open(index)?.collect::<Result<_, _>>()?;
    Replicated::load(&mut chunks.into_iter()).map_err(|error| Refusal::Other(error.to_string()))
}
