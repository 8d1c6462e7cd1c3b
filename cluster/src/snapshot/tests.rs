//! The promises of both snapshot stores.

use std::{fs, io, path::Path};

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    FileSnapshots, MAX_CHUNK, MemorySnapshots, SnapshotError, SnapshotMeta, SnapshotStore,
    frames::FrameWriter, inspect,
};
use crate::types::{GroupId, Timestamp};

fn meta(index: u64) -> SnapshotMeta {
    SnapshotMeta {
        group: GroupId(77),
        index,
        term: 3,
        conf: Bytes::from_static(b"conf"),
        time: Timestamp(1_000_000),
        digest: 0,
    }
}

fn chunks(of: u64) -> Vec<Bytes> {
    vec![Bytes::from(format!("first of {of}")), Bytes::new(), Bytes::from(format!("last of {of}"))]
}

fn write(store: &dyn SnapshotStore, index: u64) -> SnapshotMeta {
    store.write(meta(index), &mut chunks(index).into_iter()).unwrap()
}

fn read(store: &dyn SnapshotStore, index: u64) -> Result<Vec<Bytes>, SnapshotError> {
    store.open(index)?.collect()
}

fn on_both(promise: impl Fn(&dyn SnapshotStore)) {
    let folder = tempfile::tempdir().unwrap();
    promise(&FileSnapshots::open(&folder.path().join("snapshots")).unwrap());
    promise(&MemorySnapshots::new());
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_newest_two_are_kept_and_read_back() {
    on_both(|store| {
        assert_eq!(store.latest().unwrap(), None);
        for index in [5, 9, 12] {
            let written = write(store, index);
            assert_eq!(store.latest().unwrap(), Some(written.clone()));
            assert_eq!(store.open(index).unwrap().meta(), &written);
            assert_eq!(read(store, index).unwrap(), chunks(index));
        }
        assert_eq!(read(store, 9).unwrap(), chunks(9));
        let gone = read(store, 5).unwrap_err();
        assert!(matches!(gone, SnapshotError::Missing { index: 5 }), "{gone}");
    });
}

#[test]
fn the_digest_depends_on_the_chunks_alone() {
    on_both(|store| {
        let one = store.write(meta(1), &mut chunks(0).into_iter()).unwrap();
        let two = store.write(meta(2), &mut chunks(0).into_iter()).unwrap();
        assert_eq!(one.digest, two.digest);
        let joined = Bytes::from(chunks(0).concat());
        let three = store.write(meta(3), &mut [joined].into_iter()).unwrap();
        assert_ne!(one.digest, three.digest);
    });
}

#[test]
fn a_snapshot_travels_from_store_to_store() {
    let sender = MemorySnapshots::new();
    let announced = write(&sender, 8);
    let announced = SnapshotMeta::decode(&announced.encode()).unwrap();
    on_both(|store| {
        let mut receiver = store.receive(announced.clone()).unwrap();
        for chunk in sender.open(8).unwrap() {
            receiver.push(&chunk.unwrap()).unwrap();
        }
        assert_eq!(receiver.finish().unwrap(), announced);
        assert_eq!(store.latest().unwrap(), Some(announced.clone()));
        assert_eq!(read(store, 8).unwrap(), chunks(8));
    });
}

#[test]
fn what_was_not_announced_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let files = FileSnapshots::open(folder.path()).unwrap();
    let memory = MemorySnapshots::new();
    for store in [&files as &dyn SnapshotStore, &memory] {
        let mut receiver = store.receive(meta(8)).unwrap();
        receiver.push(&Bytes::from_static(b"other")).unwrap();
        let refused = receiver.finish().unwrap_err();
        assert!(matches!(refused, SnapshotError::Refused { .. }), "{refused}");

        let mut abandoned = store.receive(meta(9)).unwrap();
        abandoned.push(&Bytes::from_static(b"half")).unwrap();
        drop(abandoned);

        let large = Bytes::from(vec![0; MAX_CHUNK + 1]);
        let refused = store.write(meta(10), &mut [large].into_iter()).unwrap_err();
        assert!(matches!(refused, SnapshotError::TooLarge { .. }), "{refused}");
        assert_eq!(store.latest().unwrap(), None);
    }
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[test]
fn a_receiver_that_failed_takes_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileSnapshots::open(folder.path()).unwrap();
    let mut receiver = store.receive(meta(8)).unwrap();
    receiver.push(&Bytes::from(vec![0; MAX_CHUNK + 1])).unwrap_err();
    receiver.push(&Bytes::new()).unwrap_err();
    receiver.finish().unwrap_err();
}

#[test]
fn a_full_chunk_passes_and_snapshots_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let full = vec![Bytes::from(vec![9; MAX_CHUNK]); 2];
    let store = FileSnapshots::open(folder.path()).unwrap();
    let written = store.write(meta(4), &mut full.clone().into_iter()).unwrap();
    fs::write(folder.path().join("7.draft"), "half").unwrap();
    fs::write(folder.path().join("notes.txt"), "not ours").unwrap();

    let again = FileSnapshots::open(folder.path()).unwrap();
    assert_eq!(again.latest().unwrap(), Some(written));
    assert_eq!(read(&again, 4).unwrap(), full);
    assert_eq!(names(folder.path()).len(), 2, "{:?}", names(folder.path()));
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileSnapshots::open(folder.path()).unwrap();
    let written = write(&store, 6);
    let path = store.path(6).unwrap();
    let good = fs::read(&path).unwrap();
    let assert_found = |content: &[u8], how: String| {
        fs::write(&path, content).unwrap();
        for found in
            [inspect(&path).map(|_| ()), store.latest().map(|_| ()), read(&store, 6).map(|_| ())]
        {
            assert!(matches!(found, Err(SnapshotError::Damaged { .. })), "{how}");
        }
    };
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_found(&flipped, format!("bit {bit}"));
    }
    for length in 0..good.len() {
        assert_found(&good[..length], format!("cut to {length}"));
    }
    assert_found(&[&good[..], b"x"].concat(), "longer".to_owned());
    fs::write(&path, &good).unwrap();
    assert_eq!(store.latest().unwrap(), Some(written));
}

#[test]
fn a_damaged_newest_one_is_never_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileSnapshots::open(folder.path()).unwrap();
    write(&store, 6);
    write(&store, 7);
    fs::write(store.path(7).unwrap(), "").unwrap();
    assert!(matches!(store.latest(), Err(SnapshotError::Damaged { .. })));
    assert_eq!(read(&store, 6).unwrap(), chunks(6));
}

#[test]
fn any_content_at_all_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileSnapshots::open(folder.path()).unwrap();
    write(&store, 6);
    let path = store.path(6).unwrap();
    let good = fs::read(&path).unwrap();
    let mut chance = ChaCha8Rng::seed_from_u64(1);
    for round in 0..500 {
        let mut content = vec![0; chance.random_range(0..400)];
        chance.fill(&mut content[..]);
        // Half of them behind a magic that is right.
        let start = good[..8 * (round % 2)].to_vec();
        fs::write(&path, [start, content].concat()).unwrap();
        let found = inspect(&path);
        assert!(matches!(found, Err(SnapshotError::Damaged { .. })), "{round}: {found:?}");
    }
}

#[test]
fn a_refusing_disk_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snapshots");
    let store = FileSnapshots::open(&path).unwrap();
    fs::remove_dir(&path).unwrap();
    let error = store.write(meta(1), &mut chunks(1).into_iter()).unwrap_err();
    assert!(matches!(error, SnapshotError::Io { doing: "be written", .. }), "{error}");
    assert!(matches!(store.latest(), Err(SnapshotError::Io { .. })));

    let full = FrameWriter::begin(FullAfter(100), &meta(1)).and_then(|mut writer| {
        writer.chunk(&[0; 80])?;
        writer.finish()
    });
    assert_eq!(full.map(|_| ()).unwrap_err().kind(), io::ErrorKind::StorageFull);
}

/// A disk with so many bytes left.
struct FullAfter(usize);

impl io::Write for FullAfter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_snapshot_under_another_name_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileSnapshots::open(folder.path()).unwrap();
    write(&store, 6);
    let other = folder.path().join("0000000000000009-0000000000000003.snap");
    fs::rename(store.path(6).unwrap(), other).unwrap();
    assert!(matches!(store.latest(), Err(SnapshotError::Damaged { .. })));
}

#[test]
fn an_inspection_counts() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileSnapshots::open(folder.path()).unwrap();
    let written = write(&store, 6);
    let elsewhere = folder.path().join("copy of it");
    fs::copy(store.path(6).unwrap(), &elsewhere).unwrap();
    let found = inspect(&elsewhere).unwrap();
    assert_eq!(found.meta, written);
    assert_eq!(found.records, 3);
    assert_eq!(found.content_bytes, chunks(6).concat().len() as u64);
    assert_eq!(found.file_bytes, fs::metadata(&elsewhere).unwrap().len());
}

#[test]
fn an_open_reader_reads_on_after_its_file_is_pruned() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileSnapshots::open(folder.path()).unwrap();
    write(&store, 1);
    let reader = store.open(1).unwrap();
    write(&store, 2);
    write(&store, 3);
    assert_eq!(store.path(1), None);
    let found: Result<Vec<Bytes>, SnapshotError> = reader.collect();
    assert_eq!(found.unwrap(), chunks(1));
}
