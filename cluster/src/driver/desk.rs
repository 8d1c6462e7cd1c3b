//! Where clients wait for what they asked for.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::group::{Applied, MayBeDone, NotDone, ProposeError};

/// Proposals and reads that may be open at once.
const OPEN: usize = 16_384;
/// Bytes of open proposals.
const OPEN_BYTES: usize = 64 << 20;
/// The largest command.
pub(crate) const COMMAND_BYTES: usize = (1 << 20) - 1024;

type Answer = Result<Applied, ProposeError>;

/// The open proposals of this process.
#[derive(Default)]
pub(crate) struct Proposals {
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    sequence: u64,
    waiting: BTreeMap<u64, (usize, oneshot::Sender<Answer>)>,
    bytes: usize,
    closed: bool,
}

/// A proposal that was let in.
pub(crate) struct Admitted {
    pub(crate) sequence: u64,
    pub(crate) lowest_open: u64,
    pub(crate) answer: oneshot::Receiver<Answer>,
}

impl Proposals {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn admit(&self, bytes: usize) -> Result<Admitted, NotDone> {
        if bytes > COMMAND_BYTES {
            return Err(NotDone::TooLarge);
        }
        let mut open = self.lock();
        if open.closed {
            return Err(NotDone::Stopping);
        }
        if open.waiting.len() >= OPEN || open.bytes + bytes > OPEN_BYTES {
            return Err(NotDone::Overloaded);
        }
        let (tell, answer) = oneshot::channel();
        open.sequence += 1;
        open.bytes += bytes;
        let sequence = open.sequence;
        open.waiting.insert(sequence, (bytes, tell));
        let lowest_open = open.waiting.first_key_value().map_or(sequence, |(first, _)| *first);
        Ok(Admitted { sequence, lowest_open, answer })
    }

    pub(crate) fn answer(&self, answers: impl IntoIterator<Item = (u64, Answer)>) {
        let mut open = self.lock();
        for (sequence, answer) in answers {
            if let Some((bytes, tell)) = open.waiting.remove(&sequence) {
                open.bytes -= bytes;
                // Nobody waits any more: then nobody is told.
                let _gone = tell.send(answer);
            }
        }
    }

    /// Lets nobody in any more.
    pub(crate) fn refuse(&self) {
        self.lock().closed = true;
    }

    /// Tells everybody that the replica stops.
    pub(crate) fn close(&self) {
        let mut open = self.lock();
        open.closed = true;
        open.bytes = 0;
        for (_, (_, tell)) in std::mem::take(&mut open.waiting) {
            let _gone = tell.send(Err(ProposeError::MayBeDone(MayBeDone::Stopped)));
        }
    }
}

/// People who wait for something that one ticket covers, or that an index makes possible.
pub(crate) struct Tickets<T> {
    queue: Mutex<Queue<T>>,
}

struct Queue<T> {
    ticket: u64,
    waiting: BTreeMap<u64, oneshot::Sender<T>>,
    /// Their ticket was called; they wait for this index.
    called: BTreeMap<u64, Vec<oneshot::Sender<T>>>,
    closed: bool,
}

impl<T> Default for Tickets<T> {
    fn default() -> Self {
        let queue =
            Queue { ticket: 0, waiting: BTreeMap::new(), called: BTreeMap::new(), closed: false };
        Self { queue: Mutex::new(queue) }
    }
}

/// Why no ticket is to be had.
pub(crate) enum NoTicket {
    TooMany,
    Closed,
}

impl<T: Clone> Tickets<T> {
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take(&self) -> Result<(u64, oneshot::Receiver<T>), NoTicket> {
        let mut queue = self.lock();
        if queue.closed {
            return Err(NoTicket::Closed);
        }
        if queue.people() >= OPEN {
            // Those who left early still hold theirs.
            queue.waiting.retain(|_, tell| !tell.is_closed());
            for called in queue.called.values_mut() {
                called.retain(|tell| !tell.is_closed());
            }
        }
        if queue.people() >= OPEN {
            return Err(NoTicket::TooMany);
        }
        let (tell, told) = oneshot::channel();
        queue.ticket += 1;
        let ticket = queue.ticket;
        queue.waiting.insert(ticket, tell);
        Ok((ticket, told))
    }

    /// Answers all tickets up to `ticket`.
    pub(crate) fn answer(&self, ticket: u64, answer: &T) {
        let mut queue = self.lock();
        for tell in queue.up_to(ticket) {
            let _gone = tell.send(answer.clone());
        }
    }

    /// Answers all tickets up to `ticket` as soon as `index` is reached; `now` tells how far it is.
    pub(crate) fn answer_at(&self, ticket: u64, index: u64, now: impl FnOnce() -> (u64, T)) {
        let mut queue = self.lock();
        let called = queue.up_to(ticket);
        // Under the lock, so that `reached` comes either before and is seen, or after and sees these.
        let (reached, answer) = now();
        if reached < index {
            queue.called.entry(index).or_default().extend(called);
            return;
        }
        for tell in called {
            let _gone = tell.send(answer.clone());
        }
    }

    /// Answers those who wait for an index up to `index`.
    pub(crate) fn reached(&self, index: u64, answer: impl Fn() -> T) {
        let mut queue = self.lock();
        while let Some(first) = queue.called.first_entry() {
            if *first.key() > index {
                break;
            }
            for tell in first.remove() {
                let _gone = tell.send(answer());
            }
        }
    }

    /// Sends everybody home.
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        queue.waiting.clear();
        queue.called.clear();
    }
}

impl<T> Queue<T> {
    /// Everybody who waits, called or not.
    fn people(&self) -> usize {
        self.waiting.len() + self.called.values().map(Vec::len).sum::<usize>()
    }

    fn up_to(&mut self, ticket: u64) -> Vec<oneshot::Sender<T>> {
        let later = self.waiting.split_off(&(ticket + 1));
        std::mem::replace(&mut self.waiting, later).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_were_called_and_wait_on_count_too() {
        let tickets = Tickets::<u64>::default();
        let mut people = Vec::new();
        for _ in 0..OPEN {
            let Ok((ticket, told)) = tickets.take() else { panic!("no room") };
            // Called, but what they wait for is not applied yet.
            tickets.answer_at(ticket, 9, || (1, 1));
            people.push(told);
        }
        assert!(matches!(tickets.take(), Err(NoTicket::TooMany)));
        people.pop();
        assert!(tickets.take().is_ok(), "one of them left");
        tickets.reached(9, || 9);
        assert!(people.iter_mut().all(|told| told.try_recv() == Ok(9)));
    }
}
