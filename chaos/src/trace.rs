//! A running hash of everything that happens, and on wish the story in words.

use std::fmt;
use std::io::Write;

use crate::agenda::Micros;
use crate::shadow::Fold;

/// What happened so far.
#[derive(Debug)]
pub(crate) struct Trace {
    fold: Fold,
    events: u64,
    told: bool,
}

impl Trace {
    /// `told`: write every event to standard output.
    pub(crate) fn new(told: bool) -> Self {
        Self { fold: Fold::new(), events: 0, told }
    }

    /// Notes one event: `parts` must tell it from every other that could have happened.
    pub(crate) fn event(&mut self, now: Micros, parts: &[u64]) {
        self.events += 1;
        self.fold.number(now);
        for part in parts {
            self.fold.number(*part);
        }
    }

    /// Mixes bytes into the hash.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.fold.add(bytes);
    }

    /// Tells something to whoever reads along.
    pub(crate) fn say(&self, now: Micros, words: impl FnOnce() -> String) {
        if self.told {
            write(now, &words());
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.fold.value()
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }
}

fn write(now: Micros, words: &dyn fmt::Display) {
    let mut out = std::io::stdout().lock();
    // Whoever closed the pipe reads no more; the run goes on.
    drop(writeln!(out, "{:>6}.{:06} {words}", now / 1_000_000, now % 1_000_000));
}
