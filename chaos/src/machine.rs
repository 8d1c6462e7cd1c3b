//! What the simulated group replicates, what clients ask of it and what they look at.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use muster_cluster::machine::{Committed, LoadError, StateMachine};

use crate::chance::Chance;
use crate::shadow::Fold;

/// Counters by number: add to one, answer its sum.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    sums: Arc<BTreeMap<u64, u64>>,
}

impl StateMachine for Machine {
    type View = Arc<BTreeMap<u64, u64>>;

    fn empty() -> Self {
        Self::default()
    }

    fn apply(&mut self, entry: Committed<'_>) -> Bytes {
        let (words, _) = entry.command.as_chunks::<8>();
        let [key, value] = words else { return Bytes::from_static(b"?") };
        let sum = Arc::make_mut(&mut self.sums).entry(u64::from_be_bytes(*key)).or_default();
        *sum = sum.wrapping_mul(31).wrapping_add(u64::from_be_bytes(*value));
        Bytes::copy_from_slice(&sum.to_be_bytes())
    }

    fn view(&self) -> Self::View {
        Arc::clone(&self.sums)
    }

    fn save(view: &Self::View) -> Box<dyn Iterator<Item = Bytes> + Send + '_> {
        Box::new(view.iter().map(|(key, sum)| {
            let mut record = key.to_be_bytes().to_vec();
            record.extend(sum.to_be_bytes());
            record.into()
        }))
    }

    fn load(records: &mut dyn Iterator<Item = Bytes>) -> Result<Self, LoadError> {
        let mut sums = BTreeMap::new();
        for record in records {
            let (words, _) = record.as_chunks::<8>();
            let [key, sum] = words else { return Err(LoadError("a record".into())) };
            sums.insert(u64::from_be_bytes(*key), u64::from_be_bytes(*sum));
        }
        Ok(Self { sums: Arc::new(sums) })
    }
}

/// A command that a client might want.
pub(crate) fn draw_command(chance: &mut Chance, clusters: u64, _request: u64) -> Bytes {
    let mut command = chance.below(clusters).to_be_bytes().to_vec();
    command.extend(chance.any().to_be_bytes());
    command.into()
}

/// What a reader of the whole state sees, as a hash.
pub(crate) fn observe(view: &<Machine as StateMachine>::View) -> u64 {
    let mut fold = Fold::new();
    for record in Machine::save(view) {
        fold.add(&record);
    }
    fold.value()
}
