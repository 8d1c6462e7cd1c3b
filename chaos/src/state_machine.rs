//! The state as the group replicates it: commands and replies as bytes, snapshots as records.

use bytes::Bytes;
use muster_cluster::machine::{Committed, LoadError, StateMachine};
use muster_proto::muster::log::v1::{Command, Record, RejectionKind, Reply, reply};
use prost::Message as _;

use muster::state::{LogTime, State, rejection};

/// The state of Muster behind the group's interface.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine(State);

impl StateMachine for Machine {
    type View = State;

    fn empty() -> Machine {
        Machine::default()
    }

    fn apply(&mut self, entry: Committed<'_>) -> Bytes {
        let reply = match Command::decode(entry.command) {
            Ok(command) => self.0.apply(&command, entry.index, LogTime(entry.time.0)),
            // Only this program writes commands, and the log checks every byte: a command that
            // cannot be read was proposed by a newer version, on every replica alike.
            Err(_) => Reply {
                kind: Some(reply::Kind::Rejected(rejection::plain(
                    RejectionKind::CommandIncomplete,
                ))),
            },
        };
        reply.encode_to_vec().into()
    }

    fn view(&self) -> State {
        self.0.clone()
    }

    fn save(view: &State) -> Box<dyn Iterator<Item = Bytes> + Send + '_> {
        Box::new(view.records().map(|record| record.encode_to_vec().into()))
    }

    fn load(records: &mut dyn Iterator<Item = Bytes>) -> Result<Machine, LoadError> {
        let records = records
            .map(Record::decode)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| LoadError(error.to_string()))?;
        State::from_records(records).map(Machine).map_err(|error| LoadError(error.to_string()))
    }
}
