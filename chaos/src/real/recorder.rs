//! Writes down what every client asked and was told, and when.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::history::{Op, Phase, Record, Value};

/// The book of one run. Times are microseconds since it was opened.
pub(super) struct Recorder {
    opened: Instant,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    records: Vec<Record>,
    processes: u64,
    /// When a write was answered.
    acknowledged: Vec<u64>,
    reads: u64,
    /// When an attempt got no answer, and why.
    refused: Vec<(u64, tonic::Code)>,
}

/// An attempt under way.
pub(super) struct Attempt {
    record: Record,
}

/// What came of an attempt.
pub(super) enum End {
    /// The rules' answer, and its place in the log.
    Told(Value, Option<u64>),
    /// It certainly did not happen.
    NotDone(tonic::Code),
    Unknown(tonic::Code),
}

impl Recorder {
    pub(super) fn new() -> Recorder {
        Recorder { opened: Instant::now(), book: Mutex::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn time(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The time of the book now.
    pub(super) fn now(&self) -> u64 {
        self.time()
    }

    /// A number for a client; to be drawn anew after an unknown end.
    pub(super) fn process(&self) -> u64 {
        let mut book = self.book();
        book.processes += 1;
        book.processes
    }

    pub(super) fn begin(
        &self,
        process: u64,
        op: Op,
        key: &str,
        value: Value,
        request: Option<String>,
    ) -> Attempt {
        let mut book = self.book();
        let record = Record {
            process,
            phase: Phase::Invoke,
            op,
            key: key.to_owned(),
            value,
            time: self.time(),
            index: None,
            request,
        };
        book.records.push(record.clone());
        Attempt { record }
    }

    pub(super) fn end(&self, attempt: Attempt, end: End) {
        let mut book = self.book();
        let time = self.time();
        let (phase, value, index) = match end {
            End::Told(value, index) => {
                if matches!(attempt.record.op, Op::List | Op::License) {
                    book.reads += 1;
                } else {
                    book.acknowledged.push(time);
                }
                (Phase::Ok, value, index)
            }
            End::NotDone(code) => {
                book.refused.push((time, code));
                (Phase::Fail, Value::default(), None)
            }
            End::Unknown(code) => {
                book.refused.push((time, code));
                (Phase::Info, Value::default(), None)
            }
        };
        book.records.push(Record { phase, value, time, index, ..attempt.record });
    }

    /// The longest time between `from` and `to` without an answer to a write, microseconds.
    pub(super) fn silence(&self, from: u64, to: u64) -> u64 {
        let book = self.book();
        let first = book.acknowledged.partition_point(|time| *time <= from);
        let inside = book.acknowledged.iter().skip(first).copied().take_while(|time| *time < to);
        let (mut longest, mut last) = (0, from);
        for time in inside.chain([to]) {
            longest = longest.max(time - last);
            last = time;
        }
        longest
    }

    /// Whether a write that was answered after `from` was.
    pub(super) fn acknowledged_since(&self, from: u64) -> bool {
        self.book().acknowledged.last().is_some_and(|time| *time > from)
    }

    /// Attempts without an answer between `from` and `to`: those that were told UNAVAILABLE, and others.
    pub(super) fn refused(&self, from: u64, to: u64) -> (u64, u64) {
        let (mut unavailable, mut others) = (0, 0);
        for (time, code) in &self.book().refused {
            if (from..=to).contains(time) {
                let count =
                    if *code == tonic::Code::Unavailable { &mut unavailable } else { &mut others };
                *count += 1;
            }
        }
        (unavailable, others)
    }

    /// Writes and reads that were answered.
    pub(super) fn answered(&self) -> (u64, u64) {
        let book = self.book();
        (book.acknowledged.len() as u64, book.reads)
    }

    /// Everything so far.
    pub(super) fn records(&self) -> Vec<Record> {
        self.book().records.clone()
    }
}
