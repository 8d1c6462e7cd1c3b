//! What the log holds, without the entries themselves.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{HardState, LogBatch, LogEntry, LogError, LogMark};

/// Everything about the log but its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Base {
    /// The place just before the first entry.
    pub(super) mark: LogMark,
    /// Index of the last entry; the mark's when there is none.
    pub(super) last: u64,
    pub(super) hard_state: HardState,
    pub(super) conf: Option<Bytes>,
}

/// What is remembered of an entry.
#[derive(Clone, Copy, Debug)]
struct Held {
    term: u64,
    size: usize,
    /// The extent that its commit begins in; none before that is written.
    extent: Option<u64>,
}

/// The base and the entries behind it.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    pub(super) base: Base,
    /// The last of them is entry `base.last`.
    held: VecDeque<Held>,
    bytes: usize,
}

impl Holdings {
    /// At some commit, with none of the entries before it.
    pub(super) fn at(base: Base) -> Holdings {
        Holdings { base, held: VecDeque::new(), bytes: 0 }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many entries are held.
    pub(super) fn count(&self) -> usize {
        self.held.len()
    }

    /// Whether every entry behind the mark is held.
    pub(super) fn is_whole(&self) -> bool {
        self.base.last.checked_sub(self.base.mark.index) == Some(self.held.len() as u64)
    }

    /// The extent that the commit of the first entry begins in; none when that is not written yet.
    pub(super) fn first_extent(&self) -> Option<u64> {
        self.held.front().and_then(|held| held.extent)
    }

    /// Notes that the entries not yet written are in a commit that begins in `extent`.
    pub(super) fn place(&mut self, extent: u64) {
        for held in self.held.iter_mut().rev().take_while(|held| held.extent.is_none()) {
            held.extent = Some(extent);
        }
    }

    pub(super) fn reset(&mut self, mark: LogMark) {
        self.held.clear();
        self.bytes = 0;
        self.base.mark = mark;
        self.base.last = mark.index;
    }

    /// Takes the entry in place of everything from its index on; false when that leaves a hole.
    #[must_use]
    pub(super) fn append(&mut self, entry: &LogEntry) -> bool {
        let base = &mut self.base;
        if entry.index <= base.mark.index || entry.index > base.last.saturating_add(1) {
            return false;
        }
        while base.last >= entry.index {
            let Some(dropped) = self.held.pop_back() else { break };
            self.bytes -= dropped.size;
            base.last -= 1;
        }
        base.last = entry.index;
        let size = entry.data.len() + entry.context.len() + size_of::<LogMark>();
        self.held.push_back(Held { term: entry.term, size, extent: None });
        self.bytes += size;
        true
    }

    /// Drops the entries up to and including `through`, held or not; false when that is beyond the
    /// last.
    #[must_use]
    pub(super) fn cut(&mut self, through: LogMark) -> bool {
        if through.index > self.base.last {
            return false;
        }
        let stay = self.base.last - through.index;
        while self.held.len() as u64 > stay {
            self.bytes -= self.held.pop_front().map_or(0, |dropped| dropped.size);
        }
        self.base.mark = through;
        true
    }

    /// Takes the batch; what has been taken of one that would leave a hole is of no use any more.
    pub(super) fn apply(&mut self, batch: &LogBatch) -> Result<(), LogError> {
        if let Some(mark) = batch.reset {
            self.reset(mark);
        }
        for (place, entry) in batch.entries.iter().enumerate() {
            let (mark, last) = (self.base.mark.index, self.base.last);
            let follows = place == 0 || Some(entry.index) == last.checked_add(1);
            if !follows || !self.append(entry) {
                return misuse(format!(
                    "entry {} next to the entries behind {mark} up to {last}",
                    entry.index
                ));
            }
        }
        if let Some(hard_state) = batch.hard_state {
            self.base.hard_state = hard_state;
        }
        if let Some(conf) = &batch.conf {
            self.base.conf = Some(conf.clone());
        }
        Ok(())
    }

    /// Drops the entries up to and including `through`, which must be one of them.
    pub(super) fn compact(&mut self, through: LogMark) -> Result<(), LogError> {
        let LogMark { index, term } = through;
        let place = index.checked_sub(self.base.mark.index + 1);
        let held = place
            .and_then(|place| usize::try_from(place).ok())
            .and_then(|place| self.held.get(place));
        if held.is_some_and(|held| held.term == term) && self.cut(through) {
            return Ok(());
        }
        misuse(format!("to drop entries up to {index} of term {term}, which it does not hold"))
    }
}

fn misuse(what: String) -> Result<(), LogError> {
    Err(LogError::Misuse { what })
}
