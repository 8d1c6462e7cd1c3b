//! The state as the group replicates it: commands and replies as bytes, snapshots as records.

use bytes::Bytes;
use muster_cluster::machine::{Committed, LoadError, StateMachine};
use muster_proto::muster::log::v1::{Command, Record, RejectionKind, Reply, reply};
use prost::Message as _;

use crate::state::{LogTime, State, rejection, snapshot};

/// The state of Muster behind the group's interface.
#[derive(Clone, Debug, Default)]
pub struct Machine(State);

impl StateMachine for Machine {
    type View = State;

    const FORMAT: u32 = snapshot::FORMAT;

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

#[cfg(test)]
mod tests {
    use muster_cluster::types::Timestamp;
    use muster_proto::muster::log::v1::{Caller, ConfigureServer, Internal, caller, command};

    use super::*;

    fn configure() -> Vec<u8> {
        Command {
            caller: Some(Caller {
                who: Some(caller::Who::Internal(Internal::LicenseServer.into())),
            }),
            kind: Some(command::Kind::ConfigureServer(ConfigureServer {
                cluster_id: "c".into(),
                deployment_id: "d".into(),
            })),
            ..Command::default()
        }
        .encode_to_vec()
    }

    #[test]
    fn what_was_saved_is_loaded_again() {
        let mut machine = Machine::empty();
        machine.apply(Committed { index: 1, time: Timestamp(5), command: &configure() });
        let view = machine.view();
        let loaded = Machine::load(&mut Machine::save(&view)).unwrap();
        assert_eq!(loaded.view().digest(), view.digest());
        assert_eq!(loaded.view().server().cluster_id, "c");
    }

    #[test]
    fn a_command_that_cannot_be_read_is_rejected_and_changes_nothing() {
        let mut machine = Machine::empty();
        let before = machine.view().digest();
        let reply = machine.apply(Committed { index: 1, time: Timestamp(5), command: b"\xff" });
        let Some(reply::Kind::Rejected(rejection)) = Reply::decode(reply).unwrap().kind else {
            panic!("no rejection");
        };
        assert_eq!(rejection.kind(), RejectionKind::CommandIncomplete);
        assert_eq!(machine.view().digest(), before);
    }
}
