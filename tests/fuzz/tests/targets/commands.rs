//! Commands of the log as bytes: every kind, and what a newer or broken program might write.

use bolero::check;
use bytes::Bytes;
use muster_cluster::sessions::Envelope;
use muster_fuzz::{Damage, samples};
use muster_proto::muster::log::v1::Command;
use prost::Message as _;

/// What decodes is written and read as the same.
#[test]
fn a_command() {
    let good = samples("commands");
    check!().with_iterations(20_000).with_type::<Damage>().for_each(|damage| {
        if let Ok(command) = Command::decode(damage.of(&good).as_slice()) {
            assert_eq!(Command::decode(command.encode_to_vec().as_slice()), Ok(command));
        }
    });
}

/// The samples have all that a world does, so that the target above has them too.
#[test]
fn the_samples_are_sound() {
    let kinds: std::collections::BTreeSet<_> = samples("commands")
        .iter()
        .map(|bytes| {
            let kind = Command::decode(bytes.as_slice()).unwrap().kind.unwrap();
            std::mem::discriminant(&kind)
        })
        .map(|kind| format!("{kind:?}"))
        .collect();
    assert!(kinds.len() >= 10, "{kinds:?}");
}

#[test]
fn an_envelope() {
    let good = samples("commands");
    check!().with_iterations(10_000).with_type::<Damage>().for_each(|damage| {
        let command = Bytes::from(Damage::none(damage.which()).of(&good));
        let envelope =
            Envelope { origin: 1, incarnation: 2, sequence: 3, command, ..Envelope::default() };
        let written = damage.of(&[envelope.write().to_vec()]);
        if let Ok(envelope) = Envelope::read(written.into()) {
            drop(Command::decode(envelope.command));
        }
    });
}
