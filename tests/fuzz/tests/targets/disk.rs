//! What lies on the disk: the log and its fence, snapshots.

use std::io;
use std::slice;
use std::sync::{Arc, Mutex};

use bolero::check;
use bytes::Bytes;
use muster_cluster::log::{
    FileLog, HardState, LoadedLog, LogBatch, LogDisk, LogEntry, LogStore as _,
};
use muster_cluster::snapshot::{self, FileSnapshots, SnapshotMeta, SnapshotStore as _};
use muster_cluster::types::{GroupId, Timestamp};
use muster_fuzz::{Damage, samples};

/// As small as the log takes, so that it moves to another extent often.
const EXTENT: usize = 16 * 1024;

/// A disk in memory; clones share it.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    fn holding(bytes: Vec<u8>) -> Memory {
        Memory(Arc::new(Mutex::new(bytes)))
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl LogDisk for Memory {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = self.0.lock().unwrap();
        let there = from.checked_add(out.len()).and_then(|to| bytes.get(from..to));
        out.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let mut bytes = self.0.lock().unwrap();
        let length = bytes.len().max(from + data.len());
        bytes.resize(length, 0);
        bytes[from..from + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(log: Vec<u8>, fence: Vec<u8>) -> Option<LoadedLog> {
    let (log, fence) = (Memory::holding(log), Memory::holding(fence));
    FileLog::with_disk_and_fence(log, fence, EXTENT, 1).and_then(|mut log| log.load()).ok()
}

/// A log of many commits in several extents, as bytes with its fence, and what it holds.
fn good_log() -> (Vec<u8>, Vec<u8>, LoadedLog) {
    let (disk, fence) = (Memory::default(), Memory::default());
    let mut log = FileLog::with_disk_and_fence(disk.clone(), fence.clone(), EXTENT, 1).unwrap();
    for (index, data) in (1..).zip(samples("commands").into_iter().cycle().take(120)) {
        let context = Bytes::from_static(b"context");
        let entry = LogEntry { index, term: 1 + index / 50, kind: 0, data: data.into(), context };
        let hard_state = HardState { term: entry.term, vote: 7, commit: index };
        let batch = LogBatch {
            entries: vec![entry],
            hard_state: Some(hard_state),
            conf: Some(Bytes::from_static(b"conf")),
            sync: true,
            ..LogBatch::default()
        };
        log.write(&[batch]).unwrap();
    }
    let loaded = log.load().unwrap();
    drop(log);
    (disk.bytes(), fence.bytes(), loaded)
}

/// Whatever is done to the bytes: refused, or opened; never a panic, never memory without a bound.
#[test]
fn a_log() {
    let (log, fence, _) = good_log();
    check!().with_iterations(400).with_type::<Damage>().for_each(|damage| {
        drop(open(damage.of(slice::from_ref(&log)), fence.clone()));
    });
}

/// One turned bit is found, or it was in what nobody needs.
#[test]
fn a_log_with_one_turned_bit() {
    let (log, fence, good) = good_log();
    check!().with_iterations(400).with_type::<Damage>().for_each(|damage| {
        if let Some(loaded) = open(damage.one_bit(&log), fence.clone()) {
            assert_eq!(loaded, good);
        }
    });
}

/// The small file that remembers how much was acknowledged.
#[test]
fn a_fence() {
    let (log, fence, good) = good_log();
    check!().with_iterations(400).with_type::<Damage>().for_each(|damage| {
        if let Some(loaded) = open(log.clone(), damage.of(slice::from_ref(&fence))) {
            assert_eq!(loaded, good);
        }
    });
}

fn good_snapshot() -> (tempfile::TempDir, Vec<u8>, Vec<Bytes>) {
    let folder = tempfile::tempdir().unwrap();
    let store = FileSnapshots::open(folder.path()).unwrap();
    let chunks: Vec<Bytes> = samples("commands").into_iter().map(Bytes::from).collect();
    let meta = SnapshotMeta {
        group: GroupId(7),
        index: 9,
        term: 2,
        conf: Bytes::from_static(b"conf"),
        time: Timestamp(5),
        digest: 0,
    };
    store.write(meta, &mut chunks.clone().into_iter()).unwrap();
    let bytes = std::fs::read(store.path(9).unwrap()).unwrap();
    (folder, bytes, chunks)
}

/// A damaged snapshot is refused, or holds what it held.
#[test]
fn a_snapshot_file() {
    let (folder, good, chunks) = good_snapshot();
    let file = folder.path().join("given");
    check!().with_iterations(1_500).with_type::<Damage>().for_each(|damage| {
        std::fs::write(&file, damage.of(slice::from_ref(&good))).unwrap();
        drop(snapshot::inspect(&file));
        if let Ok(reader) = snapshot::read(&file) {
            let held: Vec<Bytes> = reader.map(Result::unwrap).collect();
            assert_eq!(held, chunks);
        }
    });
}
