//! The checkers are checked: honest histories pass, and each way of lying is found by both.

use std::collections::BTreeMap;

use super::{Checked, LICENSE, Op, Outcome, Phase, Record, Row, Value, check, read, write};
use crate::chance::Chance;

const BUDGET: usize = 200_000;

/// What the server does wrong, once, halfway through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    /// A list shows what was there before the last writes.
    StaleRead,
    /// A write is acknowledged and forgotten.
    Dropped,
    /// A write happens again, later.
    Twice,
    /// A write gets a place in the log before what was seen already.
    Reordered,
}

#[derive(Clone, Debug)]
enum Stage {
    Idle,
    Asked(Record),
    Applied(Record, Value, u64),
}

/// A server of one map and its clients, one step at a time.
struct Server {
    clusters: BTreeMap<String, (String, String)>,
    index: u64,
    before: (BTreeMap<String, (String, String)>, u64),
    lie: Lie,
    again: Option<Record>,
}

impl Server {
    fn rows(clusters: &BTreeMap<String, (String, String)>) -> BTreeMap<String, Row> {
        let row = |version: &String| Row { version: Some(version.clone()), ..Row::default() };
        clusters.iter().map(|(id, (_, version))| (id.clone(), row(version))).collect()
    }

    fn perform(&mut self, record: &Record, lies: bool) -> (Value, u64) {
        if record.op == Op::List {
            let (clusters, index) = if lies && self.lie == Lie::StaleRead {
                self.lie = Lie::None;
                self.before.clone()
            } else {
                (self.clusters.clone(), self.index)
            };
            let rows = Some(Server::rows(&clusters));
            return (Value { rows, ..Value::default() }, index);
        }
        self.index += 1;
        let mut index = self.index;
        let backup = self.clusters.clone();
        let secret = record.value.secret.clone().unwrap_or_default();
        let version = record.value.version.clone().unwrap_or_default();
        let outcome = match (record.op, self.clusters.get_mut(&record.key)) {
            (Op::Add, Some(_)) => Outcome::Taken,
            (Op::Add, None) => {
                self.clusters.insert(record.key.clone(), (secret, "unknown".to_owned()));
                Outcome::Done
            }
            (Op::Beat, Some(found)) if found.0 == secret => {
                found.1 = version;
                Outcome::Done
            }
            (Op::Beat, _) => Outcome::Invalid,
            (Op::Delete, _) => {
                self.clusters.remove(&record.key);
                Outcome::Done
            }
            _ => unreachable!("no such operation here"),
        };
        if lies && outcome == Outcome::Done && self.clusters != backup {
            match self.lie {
                Lie::Dropped => self.clusters = backup,
                Lie::Twice if record.op == Op::Beat => self.again = Some(record.clone()),
                Lie::Reordered => index = index.saturating_sub(12),
                _ => return (Value { result: Some(outcome), ..Value::default() }, index),
            }
            self.lie = Lie::None;
        }
        (Value { result: Some(outcome), ..Value::default() }, index)
    }
}

fn wish(chance: &mut Chance, number: u64) -> (Op, String, Value) {
    let key = format!("c{}", chance.below(3));
    let secret = Some(format!("s{}", chance.below(10) / 9));
    match chance.below(10) {
        0..2 => (Op::Add, key, Value { secret, ..Value::default() }),
        2 => (Op::Delete, key, Value::default()),
        3..7 => {
            (Op::Beat, key, Value { secret, version: Some(number.to_string()), ..Value::default() })
        }
        _ => (Op::List, super::ALL.to_owned(), Value::default()),
    }
}

fn history(seed: u64, lie: Lie) -> Vec<Record> {
    let mut chance = Chance::stream(seed, "history");
    let mut server = Server {
        clusters: BTreeMap::new(),
        index: 0,
        before: Default::default(),
        lie,
        again: None,
    };
    let mut clients = vec![Stage::Idle; 5];
    let mut processes: Vec<u64> = (0..5).collect();
    let mut records: Vec<Record> = Vec::new();
    for time in 1..3000 {
        if time % 40 == 0 {
            server.before = (server.clusters.clone(), server.index);
        }
        if time % 40 == 20
            && let Some(record) = server.again.take()
        {
            server.perform(&record, false);
        }
        let at = usize::try_from(chance.below(5)).unwrap();
        let end = |record: &Record, phase, value, index| Record {
            phase,
            value,
            time,
            index,
            ..record.clone()
        };
        clients[at] = match clients[at].clone() {
            Stage::Idle => {
                let (op, key, value) = wish(&mut chance, time);
                let phase = Phase::Invoke;
                let process = processes[at];
                let record =
                    Record { process, phase, op, key, value, time, index: None, request: None };
                records.push(record.clone());
                Stage::Asked(record)
            }
            Stage::Asked(record) if chance.permille(20) => {
                // The server never hears of it, and the client never knows.
                records.push(end(&record, Phase::Info, Value::default(), None));
                processes[at] += 10;
                Stage::Idle
            }
            Stage::Asked(record) => {
                let (value, index) = server.perform(&record, time > 1500 && time % 40 > 25);
                Stage::Applied(record, value, index)
            }
            Stage::Applied(record, ..) if chance.permille(20) => {
                records.push(end(&record, Phase::Info, Value::default(), None));
                processes[at] += 10;
                Stage::Idle
            }
            Stage::Applied(record, value, index) => {
                records.push(end(&record, Phase::Ok, value, Some(index)));
                Stage::Idle
            }
        };
    }
    records
}

fn judged(records: &[Record]) -> Checked {
    check(records, BUDGET).unwrap()
}

#[test]
fn honest_histories_pass_both_checkers() {
    for seed in 0..20 {
        let checked = judged(&history(seed, Lie::None));
        assert!(checked.is_well() && checked.is_decided(), "seed {seed}: {checked}");
        assert!(checked.answered > 500 && checked.unknown > 5, "{checked}");
    }
}

#[test]
fn every_way_of_lying_is_found_by_the_certificate_and_all_that_shows_by_the_search() {
    for lie in [Lie::StaleRead, Lie::Dropped, Lie::Twice, Lie::Reordered] {
        let (mut certificate, mut search) = (0, 0);
        for seed in 0..20 {
            let checked = judged(&history(seed, lie));
            let found = checked.stale.len() + checked.misplaced.len() + checked.unexplained.len();
            certificate += usize::from(found > 0);
            search += usize::from(!checked.impossible.is_empty());
        }
        // Some lies change nothing that anybody looked at.
        assert!(certificate >= 8, "{lie:?}: found {certificate} times of 20");
        // A place in the log is nothing that the search looks at.
        let enough = if lie == Lie::Reordered { 0 } else { 4 };
        assert!(search >= enough, "{lie:?}: the search found {search} of 20");
    }
}

/// `process op key value → result @index`, one operation after the other.
fn told(lines: &[(&str, Op, &str, Value, Value, u64)]) -> Vec<Record> {
    let mut records = Vec::new();
    for (time, (phase, op, key, asked, answer, index)) in (1_u64..).zip(lines) {
        let record = |phase, value: &Value, time, index| Record {
            process: time / 10,
            phase,
            op: *op,
            key: (*key).to_owned(),
            value: value.clone(),
            time,
            index,
            request: None,
        };
        records.push(record(Phase::Invoke, asked, time * 10, None));
        let (phase, index) = match *phase {
            "ok" => (Phase::Ok, Some(*index)),
            _ => (Phase::Info, None),
        };
        records.push(record(phase, answer, time * 10 + 5, index));
    }
    records
}

fn secret(text: &str) -> Value {
    Value { secret: Some(text.to_owned()), ..Value::default() }
}

fn result(outcome: Outcome) -> Value {
    Value { result: Some(outcome), ..Value::default() }
}

fn list(ids: &[&str]) -> Value {
    let rows = ids.iter().map(|id| ((*id).to_owned(), Row::default())).collect();
    Value { rows: Some(rows), ..Value::default() }
}

#[test]
fn a_lost_write_a_stale_read_and_a_doubled_write_are_told_apart() {
    let none = Value::default;
    let add = |at| ("ok", Op::Add, "c", secret("s"), result(Outcome::Done), at);
    let lost = judged(&told(&[add(1), ("ok", Op::List, "*", none(), list(&[]), 2)]));
    assert_eq!((lost.unexplained.len(), lost.impossible.len(), lost.stale.len()), (1, 1, 0));
    let stale = judged(&told(&[add(2), ("ok", Op::List, "*", none(), list(&[]), 1)]));
    assert_eq!((stale.unexplained.len(), stale.impossible.len(), stale.stale.len()), (0, 1, 1));
    let doubled = judged(&told(&[add(1), add(2)]));
    assert_eq!((doubled.unexplained.len(), doubled.impossible.len()), (1, 1));
    let well = judged(&told(&[add(1), ("ok", Op::List, "*", none(), list(&["c"]), 1)]));
    assert!(well.is_well() && well.is_decided(), "{well}");
}

#[test]
fn an_unknown_write_may_have_happened_or_not_but_not_both() {
    let add = ("info", Op::Add, "c", secret("s"), Value::default(), 0);
    let look = |ids: &[&str], at| ("ok", Op::List, "*", Value::default(), list(ids), at);
    for seen in [look(&["c"], 1), look(&[], 1)] {
        assert!(judged(&told(&[add.clone(), seen])).is_well());
    }
    let late = judged(&told(&[look(&[], 0), add.clone(), look(&[], 0), look(&["c"], 1)]));
    assert!(late.is_well(), "{late}");
    let gone = judged(&told(&[add, look(&["c"], 1), look(&[], 2)]));
    assert_eq!((gone.unexplained.len(), gone.impossible.len()), (1, 1), "{gone}");
}

#[test]
fn a_request_that_was_asked_again_happened_once() {
    let add = |phase, at| (phase, Op::Add, "c", secret("s"), result(Outcome::Done), at);
    let delete = |at| ("ok", Op::Delete, "c", Value::default(), result(Outcome::Done), at);
    let look = |ids: &[&str], at| ("ok", Op::List, "*", Value::default(), list(ids), at);
    let named = |mut records: Vec<Record>| {
        for record in records.iter_mut().filter(|record| record.op == Op::Add) {
            record.request = Some("r".to_owned());
        }
        judged(&records)
    };
    // Done at the first attempt, removed, and the second attempt is told the remembered answer.
    let once = named(told(&[add("info", 0), delete(2), add("ok", 3), look(&[], 3)]));
    assert!(once.is_well(), "{once}");
    // The window of the first attempt ends with the answer, before the next place that is known.
    let beat = ("ok", Op::Beat, "c", secret("s"), result(Outcome::Invalid), 1);
    let late = named(told(&[add("info", 0), beat, add("ok", 3), look(&["c"], 5)]));
    assert!(late.is_well(), "{late}");
    let twice =
        named(told(&[add("info", 0), look(&["c"], 1), delete(2), add("ok", 3), look(&["c"], 3)]));
    assert_eq!((twice.unexplained.len(), twice.impossible.len()), (1, 1), "{twice}");
}

#[test]
fn beats_of_one_entry_may_be_in_any_order() {
    let beat = |version: &str, at| {
        let asked = Value { version: Some(version.to_owned()), ..secret("s") };
        ("ok", Op::Beat, "c", asked, result(Outcome::Done), at)
    };
    let row = Row { version: Some("1".to_owned()), ..Row::default() };
    let shown = Value { rows: Some([("c".to_owned(), row)].into()), ..Value::default() };
    let mut records = told(&[
        ("ok", Op::Add, "c", secret("s"), result(Outcome::Done), 1),
        beat("1", 2),
        beat("2", 2),
        ("ok", Op::List, "*", Value::default(), shown, 2),
    ]);
    // Both are under way at once.
    let second = records.remove(4);
    records.insert(3, Record { time: records[2].time, ..second });
    assert!(judged(&records).is_well());
}

#[test]
fn a_license_is_what_was_activated_last() {
    let code = |text: &str| Value { code: Some(text.to_owned()), ..Value::default() };
    let activate = |text, at| ("ok", Op::Activate, LICENSE, code(text), result(Outcome::Done), at);
    let look = |text, at| ("ok", Op::License, LICENSE, Value::default(), code(text), at);
    let well = judged(&told(&[look("", 0), activate("a", 1), activate("b", 2), look("b", 2)]));
    assert!(well.is_well(), "{well}");
    let stale = judged(&told(&[activate("a", 1), activate("b", 2), look("a", 2)]));
    assert_eq!((stale.unexplained.len(), stale.impossible.len()), (1, 1));
}

#[test]
fn without_budget_nothing_is_called_well_decided() {
    let records = history(1, Lie::None);
    let checked = check(&records, 10).unwrap();
    assert!(!checked.is_decided());
    assert!(checked.undecided.0.len() >= 3 && checked.undecided.1.len() >= 3, "{checked}");
}

#[test]
fn without_places_in_the_log_there_is_no_certificate_but_the_search_goes_on() {
    let mut records = history(1, Lie::Dropped);
    for record in &mut records {
        record.index = None;
    }
    let checked = judged(&records);
    assert!(!checked.certified && checked.unexplained.is_empty());
}

#[test]
fn a_history_survives_its_file_and_nonsense_is_refused() {
    let path = std::env::temp_dir().join(format!("muster-history-{}.jsonl", std::process::id()));
    let records = history(1, Lie::None);
    write(&path, &records).unwrap();
    assert_eq!(read(&path).unwrap(), records);
    std::fs::write(&path, "{\"process\": 1}\n").unwrap();
    assert!(read(&path).unwrap_err().to_string().starts_with("line 1 "));
    std::fs::remove_file(&path).unwrap();
    let mut backwards = records;
    backwards.reverse();
    assert!(check(&backwards, BUDGET).is_err());
}
