//! What the simulated clients asked and were told, as a history: see `history`.

use std::collections::BTreeMap;

use bytes::Bytes;
use muster::state::State;
use muster_cluster::types::RequestId;
use muster_proto::muster::log::v1::{
    BeatOutcome, Command, RejectionKind, Reply, command::Kind, reply,
};
use prost::Message as _;

use crate::clients::{Outcome as End, Wish};
use crate::history::{ALL, LICENSE, Op, Outcome, Phase, Record, Row, Value};
use crate::machine::code_of;
use crate::oracle::Oracle;

/// Between the processes of one client: a batch of beats is as many operations.
const STRIDE: u64 = 1000;

/// The history of one world; empty unless it is wanted.
#[derive(Default)]
pub(crate) struct Journal {
    wanted: bool,
    records: Vec<Record>,
    /// The records that began each operation.
    open: BTreeMap<u64, Vec<Record>>,
    /// The process that does a client's operations now.
    processes: BTreeMap<u64, u64>,
    last_process: u64,
    /// Unknown ends, by record, and under what they would be in the log.
    unknown: Vec<(usize, Option<RequestId>)>,
}

impl Journal {
    /// From now on everything is written down.
    pub(crate) fn begin(&mut self) {
        self.wanted = true;
    }

    /// A client asked.
    pub(crate) fn asked(&mut self, time: u64, id: u64, client: usize, wish: &Wish) {
        if !self.wanted {
            return;
        }
        let begun: Vec<Record> = asked(wish)
            .into_iter()
            .zip(0..)
            .map(|((op, key, value, request), part)| {
                let process = self.process(client as u64 + STRIDE * part);
                Record { process, phase: Phase::Invoke, op, key, value, time, index: None, request }
            })
            .collect();
        self.records.extend(begun.iter().cloned());
        self.open.insert(id, begun);
    }

    fn process(&mut self, place: u64) -> u64 {
        let last = &mut self.last_process;
        *self.processes.entry(place).or_insert_with(|| {
            *last += 1;
            *last
        })
    }

    /// A write was answered.
    pub(crate) fn wrote(&mut self, time: u64, id: u64, index: u64, reply: &Bytes) {
        let Some(begun) = self.open.remove(&id) else { return };
        let values = answered(reply);
        for (record, value) in begun.into_iter().zip(values) {
            let index = Some(index);
            self.records.push(Record { phase: Phase::Ok, value, time, index, ..record });
        }
    }

    /// A read was answered.
    pub(crate) fn saw(&mut self, time: u64, id: u64, index: u64, state: &State) {
        let Some(begun) = self.open.remove(&id) else { return };
        let row = |cluster: &muster::state::fleet::Cluster| Row {
            address: Some(cluster.address.to_string()),
            user_address: Some(cluster.user_address.to_string()),
            version: Some(cluster.version.to_string()),
        };
        let rows =
            state.fleet().iter().map(|(id, cluster)| (id.to_owned(), row(cluster))).collect();
        let code = state.licensing().record().map(|license| code_of(license));
        let value =
            Value { rows: Some(rows), code: Some(code.unwrap_or_default()), ..Value::default() };
        for record in begun {
            let (value, index) = (value.clone(), Some(index));
            self.records.push(Record { phase: Phase::Ok, value, time, index, ..record });
        }
    }

    /// An operation is over; if it was answered, that is written down already.
    pub(crate) fn ended(&mut self, time: u64, id: u64, end: End, request: Option<RequestId>) {
        let Some(begun) = self.open.remove(&id) else { return };
        for record in begun {
            let phase = if end == End::NotDone { Phase::Fail } else { Phase::Info };
            if phase == Phase::Info {
                self.unknown.push((self.records.len(), request));
                self.processes.retain(|_, process| *process != record.process);
            }
            let value = Value::default();
            self.records.push(Record { phase, value, time, index: None, ..record });
        }
    }

    /// The whole history. Where the log has what nobody was told about is known here, to the oracle.
    pub(crate) fn finish(mut self, oracle: &Oracle) -> Vec<Record> {
        for (at, request) in self.unknown {
            let effect = request.and_then(|request| oracle.effect(request));
            let done = effect.filter(|(_, reply)| !is_rejected(reply));
            if let Some(record) = self.records.get_mut(at)
                && !matches!(record.op, Op::List | Op::License)
            {
                record.index = Some(done.map_or(0, |(index, _)| index));
            }
        }
        self.records
    }
}

type Asked = (Op, String, Value, Option<String>);

fn asked(wish: &Wish) -> Vec<Asked> {
    let Wish::Write(command) = wish else {
        return vec![(Op::List, ALL.to_owned(), Value::default(), None)];
    };
    let command = Command::decode(command.clone()).unwrap_or_default();
    let request = Some(command.request_id).filter(|name| !name.is_empty());
    let secret = |digest: &Bytes| Some(hex::encode(digest)).filter(|digest| !digest.is_empty());
    let one = |op, key: &str, value| vec![(op, key.to_owned(), value, request.clone())];
    let some = |text: &String| Some(text.clone());
    match command.kind {
        Some(Kind::AddCluster(it)) => {
            let secret = secret(&it.secret_digest);
            let (address, user_address) = (some(&it.address), some(&it.user_address));
            one(Op::Add, &it.id, Value { secret, address, user_address, ..Value::default() })
        }
        Some(Kind::UpdateCluster(it)) => {
            let secret = secret(&it.secret_digest);
            let (address, user_address) = (some(&it.address), some(&it.user_address));
            one(Op::Update, &it.id, Value { secret, address, user_address, ..Value::default() })
        }
        Some(Kind::DeleteCluster(it)) => one(Op::Delete, &it.id, Value::default()),
        Some(Kind::ActivateLicense(it)) => {
            let code = it.license.as_ref().map(code_of);
            one(Op::Activate, LICENSE, Value { code, ..Value::default() })
        }
        Some(Kind::RecordHeartbeats(it)) => {
            let beat = |beat: &muster_proto::muster::log::v1::Beat| {
                let (secret, version) = (secret(&beat.secret_digest), some(&beat.version));
                (Op::Beat, beat.id.clone(), Value { secret, version, ..Value::default() }, None)
            };
            it.beats.iter().map(beat).collect()
        }
        Some(Kind::RemoveLicenseAndClusters(_)) => one(Op::Clear, ALL, Value::default()),
        _ => Vec::new(),
    }
}

fn answered(reply: &Bytes) -> Vec<Value> {
    let of = |outcome| Value { result: Some(outcome), ..Value::default() };
    let reply = Reply::decode(reply.clone()).unwrap_or_default();
    match reply.kind {
        Some(reply::Kind::HeartbeatsRecorded(it)) => {
            let code = it.license.as_ref().map(code_of);
            let beat = |outcome| match outcome {
                BeatOutcome::Recorded => Value { code: code.clone(), ..of(Outcome::Done) },
                BeatOutcome::LicenseAbsent => of(Outcome::Unlicensed),
                _ => of(Outcome::Invalid),
            };
            it.outcomes().map(beat).collect()
        }
        Some(reply::Kind::Rejected(it)) => vec![of(match it.kind() {
            RejectionKind::ClusterIdTaken => Outcome::Taken,
            RejectionKind::ClusterUnknown => Outcome::Unknown,
            _ => Outcome::Unlicensed,
        })],
        _ => vec![of(Outcome::Done)],
    }
}

fn is_rejected(reply: &Bytes) -> bool {
    let reply = Reply::decode(reply.clone()).unwrap_or_default();
    matches!(reply.kind, Some(reply::Kind::Rejected(_)))
}

#[cfg(test)]
mod tests {
    use crate::history::check;
    use crate::plan::Plan;
    use crate::run::live_and_tell;

    #[test]
    fn both_checkers_agree_with_the_oracle_about_worlds() {
        for seed in 1..5 {
            let (verdict, records) = live_and_tell(Plan::grow(seed, Some(2)), false);
            assert!(verdict.violation.is_none(), "{:?}", verdict.violation);
            let checked = check(&records, 200_000).unwrap();
            assert!(checked.is_well() && checked.certified, "seed {seed}: {checked}");
            assert!(checked.answered > 20, "seed {seed}: {checked}");
        }
    }
}
