//! From records to what happened to each key. An operation on many keys becomes one event on each of
//! them; attempts of one named request become one event, since it has at most one effect.

use std::collections::{BTreeMap, BTreeSet};

use super::model::Action;
use super::{ALL, LICENSE, Op, Outcome, Phase, Record, Row, Value};

/// Something that happened to one key, or may have.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) action: Action,
    /// None: nobody knows whether it happened.
    pub(super) outcome: Option<Outcome>,
    pub(super) invoked: u64,
    /// `u64::MAX`: never.
    pub(super) returned: u64,
    /// Where in the log.
    pub(super) place: Place,
    /// The record that it ended with, or began with if it has no end.
    pub(super) line: usize,
}

impl Event {
    /// Whether it certainly happened.
    pub(super) fn certain(&self) -> bool {
        self.returned != u64::MAX || matches!(self.place, Place::At(_))
    }

    /// Whether it changes nothing wherever it is put: a look, or a no of the rules. Where the answer fits,
    /// it may be put at once, as no other operation can tell the difference.
    pub(super) fn without_effect(&self) -> bool {
        self.action.looks() || self.outcome.is_some_and(|outcome| outcome != Outcome::Done)
    }
}

/// Where in the log something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    At(u64),
    /// After the first, and not after the second.
    Within(u64, u64),
    /// The server did not say.
    Untold,
}

/// One operation of the records.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) op: Op,
    key: String,
    asked: Value,
    request: Option<String>,
    pub(super) invoked: u64,
    pub(super) returned: u64,
    /// The answer; none for an unknown end.
    answer: Option<Value>,
    /// What the record of the end says.
    pub(super) index: Option<u64>,
    place: Place,
    pub(super) line: usize,
    /// The highest index that was answered before it was asked.
    pub(super) floor: u64,
}

/// Why records are no history.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EventsError {
    #[error("record {0} begins an operation of a process that has one under way")]
    Twice(usize),
    #[error("record {0} ends an operation that was not begun")]
    NotBegun(usize),
    #[error("record {0} lies before the record before it")]
    Backwards(usize),
    #[error("record {0} lacks what its operation needs")]
    Incomplete(usize),
}

/// Pairs beginnings and ends. Operations that certainly did not happen are left out.
pub(super) fn operations(records: &[Record]) -> Result<Vec<Operation>, EventsError> {
    let mut open: BTreeMap<u64, Operation> = BTreeMap::new();
    let mut done = Vec::new();
    let (mut time, mut floor) = (0, 0);
    // Ends of one moment count after its beginnings: what is not strictly before is concurrent.
    let mut seen_now = 0;
    for (at, record) in records.iter().enumerate() {
        let line = at + 1;
        if record.time < time {
            return Err(EventsError::Backwards(line));
        }
        if record.time > time {
            floor = seen_now;
        }
        time = record.time;
        if record.phase == Phase::Invoke {
            let operation = Operation {
                op: record.op,
                key: record.key.clone(),
                asked: record.value.clone(),
                request: record.request.clone(),
                invoked: record.time,
                returned: u64::MAX,
                answer: None,
                index: None,
                place: Place::Within(floor, u64::MAX),
                line,
                floor,
            };
            if open.insert(record.process, operation).is_some() {
                return Err(EventsError::Twice(line));
            }
            continue;
        }
        let Some(mut operation) = open.remove(&record.process) else {
            return Err(EventsError::NotBegun(line));
        };
        operation.index = record.index;
        if let Some(index) = record.index {
            operation.place = Place::At(index);
        } else if record.phase == Phase::Ok {
            operation.place = Place::Untold;
        }
        match record.phase {
            Phase::Ok => {
                seen_now = seen_now.max(record.index.unwrap_or(0));
                operation.returned = record.time;
                operation.answer = Some(record.value.clone());
                operation.line = line;
                done.push(operation);
            }
            Phase::Info if record.index != Some(0) => done.push(operation),
            Phase::Info | Phase::Fail | Phase::Invoke => {}
        }
    }
    done.extend(open.into_values());
    Ok(merge(done))
}

/// Lets the attempts of one request be one operation: the yes, if there is one, from when it was first
/// asked; else a single unknown one. A no had no effect, and stands for itself.
fn merge(operations: Vec<Operation>) -> Vec<Operation> {
    let mut merged = Vec::new();
    let mut by_request: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
    for operation in operations {
        let refused = operation.outcome().is_some_and(|outcome| outcome != Outcome::Done);
        match &operation.request {
            Some(request) if !refused => {
                by_request.entry(request.clone()).or_default().push(operation);
            }
            _ => merged.push(operation),
        }
    }
    for mut attempts in by_request.into_values() {
        attempts.sort_by_key(|attempt| attempt.invoked);
        let Some((invoked, floor)) = attempts.first().map(|first| (first.invoked, first.floor))
        else {
            continue;
        };
        let told = attempts.iter().all(|attempt| attempt.index.is_some());
        let alone = attempts.len() == 1;
        let earliest = attempts.iter().filter_map(|attempt| attempt.index).min();
        let answered = attempts.iter().position(|attempt| attempt.answer.is_some());
        let mut one = attempts.swap_remove(answered.unwrap_or(0));
        one.invoked = invoked;
        one.floor = floor;
        one.place = match (one.index, earliest) {
            (_, Some(earliest)) if told => Place::At(earliest),
            // Somewhere up to the answer, which may be a remembered one.
            (Some(index), _) if !alone => Place::Within(floor, index),
            (Some(index), _) => Place::At(index),
            (None, _) if one.answer.is_some() => Place::Untold,
            (None, _) => Place::Within(floor, u64::MAX),
        };
        merged.push(one);
    }
    merged.sort_by_key(|operation| (operation.invoked, operation.line));
    merged
}

impl Operation {
    fn outcome(&self) -> Option<Outcome> {
        let answer = self.answer.as_ref()?;
        Some(answer.result.unwrap_or(Outcome::Done))
    }

    /// Whether it only looks.
    pub(super) fn looks(&self) -> bool {
        matches!(self.op, Op::List | Op::License)
    }

    /// Whether its answer is one of the moment it was given, not a remembered one.
    pub(super) fn fresh(&self) -> bool {
        self.place == self.index.map_or(Place::Untold, Place::At)
    }
}

/// The events of every key, by key.
pub(super) fn by_key(
    operations: &[Operation],
) -> Result<BTreeMap<String, Vec<Event>>, EventsError> {
    let mut keys: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for key in mentioned(operations) {
        keys.entry(key).or_default();
    }
    for operation in operations {
        for (key, events) in &mut keys {
            for action in actions(operation, key)? {
                events.push(Event {
                    outcome: if action.looks() { Some(Outcome::Done) } else { operation.outcome() },
                    action,
                    invoked: operation.invoked,
                    returned: operation.returned,
                    place: operation.place,
                    line: operation.line,
                });
            }
        }
    }
    Ok(keys)
}

fn mentioned(operations: &[Operation]) -> BTreeSet<String> {
    let mut keys: BTreeSet<String> = operations.iter().map(|it| it.key.clone()).collect();
    let answers = operations.iter().filter_map(|operation| operation.answer.as_ref());
    keys.extend(
        answers.filter_map(|answer| answer.rows.as_ref()).flat_map(|rows| rows.keys().cloned()),
    );
    keys.insert(LICENSE.to_owned());
    keys.remove(ALL);
    keys
}

/// What an operation does to one key.
fn actions(operation: &Operation, key: &str) -> Result<Vec<Action>, EventsError> {
    let asked = &operation.asked;
    let row = || Row {
        address: asked.address.clone(),
        user_address: asked.user_address.clone(),
        version: None,
    };
    let shown = || {
        let code = operation.answer.as_ref().and_then(|answer| answer.code.clone());
        code.filter(|_| key == LICENSE).map(Action::LookLicense)
    };
    let secret = || asked.secret.clone().ok_or(EventsError::Incomplete(operation.line));
    let mine = operation.key == key;
    Ok(match operation.op {
        Op::Add if mine => vec![Action::Add { secret: secret()?, row: row() }],
        Op::Update if mine => vec![Action::Update { secret: asked.secret.clone(), row: row() }],
        Op::Delete if mine => vec![Action::Delete],
        Op::Beat if mine => {
            vec![Action::Beat { secret: secret()?, version: asked.version.clone() }]
        }
        Op::Activate if mine => {
            let code = asked.code.clone().ok_or(EventsError::Incomplete(operation.line))?;
            vec![Action::Activate { code }]
        }
        Op::Clear => vec![Action::Delete],
        Op::List if key != LICENSE => {
            let rows = operation.answer.as_ref().and_then(|answer| answer.rows.as_ref());
            rows.map(|rows| Action::Look(rows.get(key).cloned())).into_iter().collect()
        }
        Op::List | Op::License | Op::Beat => shown().into_iter().collect(),
        Op::Add | Op::Update | Op::Delete | Op::Activate => Vec::new(),
    })
}
