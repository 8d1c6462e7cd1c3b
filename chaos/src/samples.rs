//! What passed through a world, a few of each kind, for the fuzz targets to begin from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fs, io};

use bytes::Bytes;
use muster_cluster::core::message::PeerMessage;
use muster_cluster::log::LogEntry;
use muster_cluster::sessions::Envelope;
use muster_proto::muster::log::v1::Command;
use prost::Message as _;

/// Samples kept of one kind.
const OF_A_KIND: usize = 3;
/// Nothing longer is a good beginning, bytes.
const LONGEST: usize = 4_096;

/// Commands that were agreed on and messages between replicas.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    wanted: bool,
    commands: BTreeMap<String, BTreeSet<Bytes>>,
    messages: BTreeMap<String, BTreeSet<Bytes>>,
}

impl Samples {
    /// From here on samples are kept.
    pub(crate) fn begin(&mut self) {
        self.wanted = true;
    }

    /// An entry that was agreed on.
    pub(crate) fn entry(&mut self, entry: &LogEntry) {
        if !self.wanted || entry.kind != 0 || entry.data.is_empty() {
            return;
        }
        let Ok(envelope) = Envelope::read(entry.data.clone()) else { return };
        let Ok(command) = Command::decode(envelope.command.clone()) else { return };
        let Some(kind) = &command.kind else { return };
        keep(&mut self.commands, name_of(kind), envelope.command);
    }

    /// A message on its way.
    pub(crate) fn message(&mut self, payload: &Bytes) {
        if !self.wanted {
            return;
        }
        let Ok(message) = PeerMessage::decode(payload.clone()) else { return };
        let Some(kind) = &message.kind else { return };
        keep(&mut self.messages, name_of(kind), payload.clone());
    }

    /// Writes `commands/KIND-N` and `messages/KIND-N` below `folder`.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        for (name, kinds) in [("commands", &self.commands), ("messages", &self.messages)] {
            let folder = folder.join(name);
            fs::create_dir_all(&folder)?;
            for (kind, samples) in kinds {
                for (number, bytes) in samples.iter().enumerate() {
                    fs::write(folder.join(format!("{kind}-{number}")), bytes)?;
                }
            }
        }
        Ok(())
    }
}

fn keep(kinds: &mut BTreeMap<String, BTreeSet<Bytes>>, kind: String, bytes: Bytes) {
    let samples = kinds.entry(kind).or_default();
    if samples.len() < OF_A_KIND && bytes.len() <= LONGEST {
        samples.insert(bytes);
    }
}

/// The variant's name, which is what its `Debug` begins with.
fn name_of<K: std::fmt::Debug>(kind: &K) -> String {
    let told = format!("{kind:?}");
    told.chars().take_while(|letter| letter.is_alphanumeric()).collect()
}
