//! What one replica's log must hold after a crash, kept beside the real store and far simpler.

use std::collections::VecDeque;

use bytes::Bytes;
use muster_cluster::log::{HardState, LoadedLog, LogBatch, LogEntry, LogMark};

/// An entry by what it says: cheap to keep, as telling as the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sketch {
    pub(crate) term: u64,
    pub(crate) digest: u64,
}

impl Sketch {
    pub(crate) fn of(entry: &LogEntry) -> Self {
        let mut digest = Fold::new();
        digest.add(&[entry.kind]);
        digest.add(&entry.data);
        digest.add(&entry.context);
        Self { term: entry.term, digest: digest.value() }
    }
}

/// A 64-bit hash (FNV-1a over lengths and bytes): not for strangers, but stable and quick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fold(u64);

impl Fold {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn number(&mut self, number: u64) {
        for byte in number.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.0 = (self.0 ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.0 ^= self.0 >> 29;
        }
        for byte in rest {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) fn value(self) -> u64 {
        self.0
    }
}

/// A log as a model sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) mark: LogMark,
    pub(crate) entries: VecDeque<Sketch>,
    pub(crate) hard_state: HardState,
    pub(crate) conf: Option<Bytes>,
}

impl Model {
    pub(crate) fn of(loaded: &LoadedLog) -> Self {
        Self {
            mark: loaded.mark,
            entries: loaded.entries.iter().map(Sketch::of).collect(),
            hard_state: loaded.hard_state,
            conf: loaded.conf.clone(),
        }
    }

    /// The entry at `index`, if the log still has it.
    pub(crate) fn get(&self, index: u64) -> Option<Sketch> {
        let place = index.checked_sub(self.mark.index + 1)?;
        self.entries.get(usize::try_from(place).ok()?).copied()
    }

    pub(crate) fn last_index(&self) -> u64 {
        self.mark.index + self.entries.len() as u64
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write(batch) => self.take(batch),
            Step::Compact(through) => self.compact(*through),
        }
    }

    pub(crate) fn write(&mut self, batch: &LogBatch) {
        self.take(&SketchBatch::of(batch));
    }

    fn take(&mut self, batch: &SketchBatch) {
        if let Some(mark) = batch.reset {
            self.entries.clear();
            self.mark = mark;
        }
        if let Some(first) = batch.first {
            let keep = first.saturating_sub(self.mark.index + 1);
            self.entries.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
            self.entries.extend(&batch.entries);
        }
        if let Some(hard_state) = batch.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(conf) = &batch.conf {
            self.conf = Some(conf.clone());
        }
    }

    pub(crate) fn compact(&mut self, through: LogMark) {
        if through.index > self.mark.index {
            let gone = usize::try_from(through.index - self.mark.index).unwrap_or(usize::MAX);
            self.entries.drain(..gone.min(self.entries.len()));
            self.mark = through;
        }
    }
}

#[derive(Clone, Debug)]
struct SketchBatch {
    reset: Option<LogMark>,
    first: Option<u64>,
    entries: Vec<Sketch>,
    hard_state: Option<HardState>,
    conf: Option<Bytes>,
}

impl SketchBatch {
    fn of(batch: &LogBatch) -> Self {
        Self {
            reset: batch.reset,
            first: batch.entries.first().map(|entry| entry.index),
            entries: batch.entries.iter().map(Sketch::of).collect(),
            hard_state: batch.hard_state,
            conf: batch.conf.clone(),
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(SketchBatch),
    Compact(LogMark),
}

/// What is certainly on one disk, and the steps that may be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shadow {
    durable: Model,
    /// Tried or still to be tried, in order.
    maybe: VecDeque<Step>,
    /// How many of them were written, or are being written.
    tried: usize,
}

impl Shadow {
    /// What survives any crash.
    pub(crate) fn durable(&self) -> &Model {
        &self.durable
    }

    /// Notes a batch that is to be written.
    pub(crate) fn writing(&mut self, batch: &LogBatch) {
        self.maybe.push_back(Step::Write(SketchBatch::of(batch)));
    }

    /// Notes a compaction that is to be done.
    pub(crate) fn compacting(&mut self, through: LogMark) {
        self.maybe.push_back(Step::Compact(through));
    }

    /// The store is about to take `count` more steps.
    pub(crate) fn trying(&mut self, count: usize) {
        self.tried += count;
    }

    /// The store took what was tried; with `synced` all of it is certain.
    pub(crate) fn wrote(&mut self, synced: bool) {
        if synced {
            for step in self.maybe.drain(..self.tried) {
                self.durable.step(&step);
            }
            self.tried = 0;
        }
    }

    /// Holds what a recovery found against the model: all that was certain, then a prefix of the
    /// steps that were not.
    pub(crate) fn admits(&self, found: &Model) -> bool {
        let mut model = self.durable.clone();
        for step in self.maybe.iter().take(self.tried) {
            if model == *found {
                return true;
            }
            model.step(step);
        }
        model == *found
    }

    /// Goes on from what a recovery found.
    pub(crate) fn recovered(&mut self, found: Model) {
        self.durable = found;
        self.maybe.clear();
        self.tried = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(index: u64, term: u64) -> LogBatch {
        let entry = LogEntry { index, term, ..LogEntry::default() };
        LogBatch { entries: vec![entry], sync: true, ..LogBatch::default() }
    }

    fn write(shadow: &mut Shadow, batch: &LogBatch) {
        shadow.writing(batch);
        shadow.trying(1);
    }

    #[test]
    fn a_lost_synced_entry_is_not_admitted() {
        let mut shadow = Shadow::default();
        write(&mut shadow, &batch(1, 1));
        assert!(shadow.admits(&Model::default()));
        shadow.wrote(true);
        assert!(!shadow.admits(&Model::default()));
        assert_eq!(shadow.durable().last_index(), 1);
    }

    #[test]
    fn an_unsynced_overwrite_may_or_may_not_be_there() {
        let mut shadow = Shadow::default();
        write(&mut shadow, &batch(1, 1));
        write(&mut shadow, &batch(2, 1));
        shadow.wrote(true);
        let old = shadow.durable().clone();
        write(&mut shadow, &batch(1, 2));
        assert!(shadow.admits(&old));
        let mut new = shadow.clone();
        new.wrote(true);
        assert_eq!(new.durable().last_index(), 1);
        assert!(shadow.admits(new.durable()));
    }

    #[test]
    fn what_was_never_tried_is_not_admitted() {
        let mut shadow = Shadow::default();
        shadow.writing(&batch(1, 1));
        let mut tried = shadow.clone();
        tried.trying(1);
        tried.wrote(true);
        assert!(!shadow.admits(tried.durable()));
    }
}
