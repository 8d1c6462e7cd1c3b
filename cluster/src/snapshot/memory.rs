//! Snapshots in memory, for simulated replicas. Clones share what they hold, as a disk outlives the
//! process that wrote it.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::{
    MAX_CHUNK, Sink, SnapshotError, SnapshotMeta, SnapshotReader, SnapshotReceiver, SnapshotStore,
    meta::Digest,
};

const KEPT: usize = 2;

type Held = BTreeMap<(u64, u64), (SnapshotMeta, Vec<Bytes>)>;

/// The snapshots of one simulated replica.
#[derive(Clone, Debug, Default)]
pub struct MemorySnapshots {
    held: Arc<Mutex<Held>>,
}

impl MemorySnapshots {
    /// A store with nothing in it.
    pub fn new() -> MemorySnapshots {
        MemorySnapshots::default()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draft(&self, meta: SnapshotMeta) -> Draft {
        Draft { store: self.clone(), meta, chunks: Vec::new(), digest: Digest::default() }
    }
}

impl SnapshotStore for MemorySnapshots {
    fn write(
        &self,
        meta: SnapshotMeta,
        chunks: &mut dyn Iterator<Item = Bytes>,
    ) -> Result<SnapshotMeta, SnapshotError> {
        let mut draft = self.draft(meta);
        for chunk in chunks {
            draft.push(&chunk)?;
        }
        Ok(draft.publish())
    }

    fn latest(&self) -> Result<Option<SnapshotMeta>, SnapshotError> {
        Ok(self.held().values().next_back().map(|(meta, _)| meta.clone()))
    }

    fn open(&self, index: u64) -> Result<SnapshotReader, SnapshotError> {
        let held = self.held();
        let (meta, chunks) = held
            .range((index, 0)..=(index, u64::MAX))
            .next_back()
            .map(|(_, snapshot)| snapshot.clone())
            .ok_or(SnapshotError::Missing { index })?;
        Ok(SnapshotReader { meta, chunks: Box::new(chunks.into_iter().map(Ok)) })
    }

    fn receive(&self, meta: SnapshotMeta) -> Result<SnapshotReceiver, SnapshotError> {
        Ok(SnapshotReceiver { sink: Box::new(self.draft(meta)) })
    }

    fn path(&self, _index: u64) -> Option<PathBuf> {
        None
    }
}

struct Draft {
    store: MemorySnapshots,
    meta: SnapshotMeta,
    chunks: Vec<Bytes>,
    digest: Digest,
}

impl Draft {
    fn publish(self) -> SnapshotMeta {
        let meta = SnapshotMeta { digest: self.digest.crc, ..self.meta };
        let mut held = self.store.held();
        held.insert((meta.index, meta.term), (meta.clone(), self.chunks));
        while held.len() > KEPT {
            held.pop_first();
        }
        meta
    }
}

impl Sink for Draft {
    fn push(&mut self, chunk: &Bytes) -> Result<(), SnapshotError> {
        if chunk.len() > MAX_CHUNK {
            return Err(SnapshotError::TooLarge { length: chunk.len() });
        }
        self.digest.add(chunk);
        self.chunks.push(chunk.clone());
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<SnapshotMeta, SnapshotError> {
        if self.digest.crc != self.meta.digest {
            return Err(SnapshotError::Refused {
                what: "its chunks are not those that were announced".to_owned(),
            });
        }
        Ok(self.publish())
    }
}
