//! Who turns the core and applies what is agreed on. A hand-over to another thread costs more than
//! most of what is handed over, so whoever brings something to the core turns the core itself, and
//! then applies what came of it if that is little. When another thread is at it already, that one
//! looks again before it goes. Each has a thread of its own as well: for the ticks, and for what
//! takes long.

use std::{
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{applier::Applier, end::guarded, runner::Runner, shared::Shared};
use crate::{core::Input, machine::StateMachine};

/// Turns in a row of a thread that has other things to do; after them the own threads go on.
const TURNS: usize = 8;

/// Where one thread at a time works, while the replica runs.
pub(crate) struct Seat<W> {
    worker: Mutex<Option<W>>,
    /// The own thread waits to be let in, which would take long while others come and go.
    wanted: AtomicBool,
}

impl<W> Default for Seat<W> {
    fn default() -> Self {
        Self { worker: Mutex::default(), wanted: AtomicBool::new(false) }
    }
}

impl<W> Seat<W> {
    fn lock(&self) -> MutexGuard<'_, Option<W>> {
        self.worker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take(&self, worker: W) {
        *self.lock() = Some(worker);
    }

    /// For its own thread: before all others.
    fn enter(&self) -> MutexGuard<'_, Option<W>> {
        self.wanted.store(true, Ordering::SeqCst);
        let worker = self.lock();
        // Before it is looked what waits: who saw it wanted has put something there before.
        self.wanted.store(false, Ordering::SeqCst);
        worker
    }

    /// For all others; none when somebody else is about to look what waits.
    fn try_enter(&self) -> Option<MutexGuard<'_, Option<W>>> {
        if self.wanted.load(Ordering::SeqCst) {
            return None;
        }
        self.worker.try_lock().ok()
    }

    fn leave(&self) {
        let gone = self.lock().take();
        drop(gone);
    }
}

impl<M: StateMachine> Shared<M> {
    /// Brings something to the core, and turns it.
    pub(crate) fn bring(&self, inputs: impl IntoIterator<Item = Input>) {
        self.inbox.put(inputs);
        self.turn();
    }

    /// Turns the core on this thread, and applies what came of it, until nothing waits.
    pub(crate) fn turn(&self) {
        for _ in 0..TURNS {
            let turned = !self.inbox.is_empty()
                && self.core.try_enter().is_some_and(|core| self.turn_once(core, false));
            let applied = !self.jobs.is_empty() && self.apply_once();
            if !turned && !applied {
                return;
            }
        }
        self.inbox.call();
        self.jobs.call();
    }

    /// `false` when the replica stops.
    fn turn_once(&self, mut core: MutexGuard<'_, Option<Runner<M>>>, ticks: bool) -> bool {
        let Some(runner) = core.as_mut() else { return false };
        let Some(inputs) = self.inbox.take() else { return false };
        if let Some(ended) = guarded("core", || runner.turn(inputs, ticks)) {
            self.end(ended);
            return false;
        }
        let mail = mem::take(&mut runner.mail);
        if mail.is_empty() {
            return true;
        }
        let peers = runner.peers.clone();
        // The next turn need not wait for the sockets.
        drop(core);
        peers.flush(mail);
        true
    }

    /// `false` when it is left to others.
    fn apply_once(&self) -> bool {
        if !self.jobs.is_light() {
            self.jobs.call();
            return false;
        }
        self.state.try_enter().is_some_and(|state| self.apply_all(state, false))
    }

    fn apply_all(&self, mut state: MutexGuard<'_, Option<Applier<M>>>, own: bool) -> bool {
        let Some(applier) = state.as_mut() else { return false };
        match guarded("apply", || applier.work(own)) {
            None => true,
            Some(ended) => {
                // Still in the seat: nobody may go on behind what failed.
                self.end(ended);
                false
            }
        }
    }
}

/// The core's own thread: ticks, and turns when it is called, until the replica stops.
pub(crate) fn keep_ticking<M: StateMachine>(shared: &Shared<M>, tick: Duration) {
    let mut due = Instant::now();
    while shared.inbox.wait(due) {
        let now = Instant::now();
        let ticks = now >= due;
        if ticks {
            // A pause is not made up for: ticks in a row would pass for a silent leader.
            due = (due + tick).max(now + tick / 2);
        }
        shared.turn_once(shared.core.enter(), ticks);
        shared.turn();
    }
    shared.core.leave();
}

/// The state's own thread: applies when it is called, until the replica stops.
pub(crate) fn keep_applying<M: StateMachine>(shared: &Shared<M>) {
    while shared.jobs.wait() {
        shared.apply_all(shared.state.enter(), true);
        shared.turn();
    }
    shared.state.leave();
}
