//! Virtual time: what happens when, in one order for ever.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Microseconds since the world began.
pub(crate) type Micros = u64;

/// One thousand microseconds.
pub(crate) const MILLIS: Micros = 1_000;
/// One million microseconds.
pub(crate) const SECONDS: Micros = 1_000_000;

/// The things still to come, earliest first; things of one moment in the order they were added.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    now: Micros,
    added: u64,
    heap: BinaryHeap<Reverse<Due<E>>>,
}

#[derive(Debug)]
struct Due<E> {
    at: Micros,
    order: u64,
    event: E,
}

impl<E> PartialEq for Due<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl<E> Eq for Due<E> {}

impl<E> PartialOrd for Due<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Due<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl<E> Agenda<E> {
    pub(crate) fn new() -> Self {
        Self { now: 0, added: 0, heap: BinaryHeap::new() }
    }

    pub(crate) fn now(&self) -> Micros {
        self.now
    }

    /// Lets `event` happen at `at`, or now when that has passed.
    pub(crate) fn at(&mut self, at: Micros, event: E) {
        self.added += 1;
        self.heap.push(Reverse(Due { at: at.max(self.now), order: self.added, event }));
    }

    /// Lets `event` happen `after` microseconds from now.
    pub(crate) fn after(&mut self, after: Micros, event: E) {
        self.at(self.now.saturating_add(after), event);
    }

    /// The next event, if it is due by `until`; time moves to it, or to `until`.
    pub(crate) fn next(&mut self, until: Micros) -> Option<E> {
        match self.heap.peek() {
            Some(Reverse(due)) if due.at <= until => {
                let Reverse(due) = self.heap.pop()?;
                self.now = due.at;
                Some(due.event)
            }
            _ => {
                self.now = self.now.max(until);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_moment_keeps_its_order() {
        let mut agenda = Agenda::new();
        agenda.at(5, 'b');
        agenda.at(3, 'a');
        agenda.at(5, 'c');
        agenda.at(9, 'd');
        let mut seen = String::new();
        while let Some(event) = agenda.next(6) {
            seen.push(event);
        }
        assert_eq!(seen, "abc");
        assert_eq!(agenda.now(), 6);
    }
}
