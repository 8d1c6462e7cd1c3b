//! The promises of the log, against a model, a disk that loses sectors and flipped bits.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    FileLog, HardState, LoadedLog, LogBatch, LogEntry, LogError, LogMark, LogStore,
    sim_disk::SimDisk,
};

fn entry(index: u64, term: u64, data: &str) -> LogEntry {
    LogEntry {
        index,
        term,
        kind: u8::try_from(index % 3).unwrap(),
        data: Bytes::copy_from_slice(data.as_bytes()),
        context: Bytes::copy_from_slice(&index.to_le_bytes()[..1]),
    }
}

fn entries(range: std::ops::RangeInclusive<u64>, term: u64) -> LogBatch {
    LogBatch {
        entries: range.map(|index| entry(index, term, "data")).collect(),
        sync: true,
        ..LogBatch::default()
    }
}

fn mark(index: u64, term: u64) -> LogMark {
    LogMark { index, term }
}

/// Bytes of an extent: a few commits fill it, and a large one does not fit.
const EXTENT: usize = 4096;

fn on(disk: SimDisk) -> Result<FileLog, LogError> {
    FileLog::with_disk(disk, EXTENT, 7)
}

fn memory() -> FileLog {
    on(SimDisk::default()).unwrap()
}

fn at(path: &Path) -> Result<FileLog, LogError> {
    FileLog::open_sized(path, EXTENT)
}

/// What a log should remember, written as plainly as can be.
fn remember(model: &mut LoadedLog, batch: &LogBatch) {
    if let Some(mark) = batch.reset {
        model.mark = mark;
        model.entries.clear();
    }
    if let Some(first) = batch.entries.first() {
        model.entries.retain(|held| held.index < first.index);
        model.entries.extend_from_slice(&batch.entries);
    }
    if let Some(hard_state) = batch.hard_state {
        model.hard_state = hard_state;
    }
    if let Some(conf) = &batch.conf {
        model.conf = Some(conf.clone());
    }
}

/// A batch that fits the model: appends, overwrites, resets, records.
fn chance_batch(model: &LoadedLog, chance: &mut impl Rng) -> LogBatch {
    let mut batch = LogBatch { sync: chance.random_bool(0.8), ..LogBatch::default() };
    let mut last = model.mark.index + model.entries.len() as u64;
    let mut floor = model.mark.index;
    if chance.random_bool(0.05) {
        last += chance.random_range(0..5);
        floor = last;
        batch.reset = Some(mark(last, chance.random_range(1..9)));
    }
    let first =
        if chance.random_bool(0.2) { chance.random_range(floor..=last) + 1 } else { last + 1 };
    for index in first..first + chance.random_range(0..6) {
        let data = "x".repeat(chance.random_range(0..700));
        batch.entries.push(entry(index, chance.random_range(1..9), &data));
    }
    if chance.random_bool(0.5) {
        batch.hard_state = Some(HardState {
            term: chance.random(),
            vote: chance.random(),
            commit: chance.random(),
        });
    }
    if chance.random_bool(0.1) {
        batch.conf = Some(Bytes::from(vec![7; chance.random_range(0..40)]));
    }
    batch
}

fn forget(model: &mut LoadedLog, through: LogMark) {
    model.entries.retain(|held| held.index > through.index);
    model.mark = through;
}

#[test]
fn a_fresh_log_is_empty() {
    let mut log = memory();
    assert_eq!(log.load().unwrap(), LoadedLog::default());
    assert_eq!(log.size_bytes(), 0);
}

#[test]
fn everything_is_there_again_after_every_batch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.wal");
    let mut chance = ChaCha8Rng::seed_from_u64(1);
    let mut model = LoadedLog::default();
    let mut bytes = 0;
    for round in 0..40 {
        let mut log = at(&path).unwrap();
        assert_eq!(log.load().unwrap(), model, "round {round}");
        assert_eq!(log.load().unwrap(), model, "round {round}, read again");
        assert_eq!(log.size_bytes(), bytes, "round {round}");
        let batches: Vec<LogBatch> = (0..chance.random_range(1..4))
            .map(|_| {
                let batch = chance_batch(&model, &mut chance);
                remember(&mut model, &batch);
                batch
            })
            .collect();
        log.write(&batches).unwrap();
        if let Some(held) = model.entries.get(1).filter(|_| round % 4 == 3) {
            let through = held.mark();
            log.compact(through).unwrap();
            forget(&mut model, through);
        }
        assert_eq!(log.load().unwrap(), model, "round {round}, written");
        bytes = log.size_bytes();
    }
}

#[test]
fn a_tail_is_overwritten_and_nothing_of_it_returns() {
    let mut log = memory();
    log.write(&[entries(1..=9, 1), entries(4..=5, 2)]).unwrap();
    let loaded = log.load().unwrap();
    let terms: Vec<u64> = loaded.entries.iter().map(|held| held.term).collect();
    assert_eq!(terms, [1, 1, 1, 2, 2]);
    log.write(&[entries(6..=6, 2)]).unwrap();
    assert_eq!(log.load().unwrap().entries.len(), 6);
}

#[test]
fn a_reset_leaves_the_mark_and_what_follows_it() {
    let mut log = memory();
    log.write(&[entries(1..=9, 1)]).unwrap();
    let mut batch = entries(101..=102, 5);
    batch.reset = Some(mark(100, 4));
    log.write(&[batch]).unwrap();
    let loaded = log.load().unwrap();
    assert_eq!(loaded.mark, mark(100, 4));
    assert_eq!(loaded.entries[0].index, 101);
    assert_eq!(loaded.entries.len(), 2);
}

#[test]
fn compaction_drops_the_front_and_an_older_mark_changes_nothing() {
    let mut log = memory();
    log.write(&[entries(1..=9, 1)]).unwrap();
    let full = log.size_bytes();
    log.compact(mark(6, 1)).unwrap();
    assert_eq!(log.size_bytes(), full / 3);
    log.compact(mark(3, 1)).unwrap();
    let loaded = log.load().unwrap();
    assert_eq!(loaded.mark, mark(6, 1));
    assert_eq!(loaded.entries[0].index, 7);
    log.compact(mark(9, 1)).unwrap();
    assert_eq!(log.load().unwrap().entries, []);
    assert_eq!(log.size_bytes(), 0);
    log.write(&[entries(10..=10, 1)]).unwrap();
}

#[test]
fn holes_are_refused_before_anything_is_written_and_for_good() {
    type Refused = fn(&mut FileLog) -> Result<(), LogError>;
    let refused: [Refused; 6] = [
        |log| log.write(&[entries(5..=5, 1)]),
        |log| log.write(&[entries(4..=4, 1), entries(6..=6, 1)]),
        |log| log.write(&[entries(1..=1, 1)]),
        |log| {
            let mut batch = entries(4..=5, 1);
            batch.entries[1].index = 6;
            log.write(&[batch])
        },
        |log| log.compact(mark(4, 1)),
        |log| log.compact(mark(2, 7)),
    ];
    for (case, refuse) in refused.iter().enumerate() {
        let mut log = memory();
        log.write(&[entries(1..=3, 1)]).unwrap();
        log.compact(mark(1, 1)).unwrap();
        let error = refuse(&mut log).unwrap_err();
        assert!(matches!(error, LogError::Misuse { .. }), "{case}: {error}");
        let error = log.write(&[entries(4..=4, 1)]).unwrap_err();
        assert!(matches!(error, LogError::Stopped), "{case}: {error}");
        assert!(matches!(log.load(), Err(LogError::Stopped)), "{case}");
    }
}

#[test]
fn a_commit_is_one_write_and_one_sync() {
    let disk = SimDisk::default();
    let mut log = on(disk.clone()).unwrap();
    log.write(&[entries(1..=1, 1)]).unwrap();
    for index in 2..7 {
        let before = disk.operations();
        log.write(&[entries(index..=index, 1), LogBatch::default()]).unwrap();
        assert_eq!(disk.operations() - before, 2, "entry {index}");
    }
}

#[test]
fn only_a_batch_that_says_so_is_synced_and_it_syncs_those_before_it() {
    let disk = SimDisk::default();
    let mut log = on(disk.clone()).unwrap();
    let before = disk.operations();
    let mut unsynced = entries(1..=3, 1);
    unsynced.sync = false;
    log.write(&[unsynced]).unwrap();
    assert_eq!(disk.operations(), before, "nothing to acknowledge");
    let nothing = LogBatch { sync: true, ..LogBatch::default() };
    log.write(std::slice::from_ref(&nothing)).unwrap();
    let after = disk.operations();
    assert!(after > before);
    log.write(&[nothing]).unwrap();
    assert_eq!(disk.operations(), after, "nothing to sync any more");
    let mut chance = ChaCha8Rng::seed_from_u64(2);
    for _ in 0..8 {
        let mut again = on(disk.crash(&mut chance)).unwrap();
        assert_eq!(again.load().unwrap().entries.len(), 3);
    }
}

#[test]
fn what_nobody_asked_to_sync_neither_piles_up_nor_is_thrown_away() {
    let disk = SimDisk::default();
    let mut log = FileLog::with_disk(disk.clone(), 1 << 20, 7).unwrap();
    let before = disk.operations();
    let large =
        LogBatch { entries: vec![entry(1, 1, &"x".repeat(300 << 10))], ..LogBatch::default() };
    log.write(&[large]).unwrap();
    assert!(disk.operations() > before);
    let small = LogBatch { entries: vec![entry(2, 1, "x")], ..LogBatch::default() };
    log.write(&[small]).unwrap();
    drop(log);
    assert_eq!(on(disk).unwrap().load().unwrap().entries.len(), 2);
}

#[test]
fn no_crash_loses_an_acknowledged_batch_or_shows_half_of_one() {
    let mut crashes_amid = 0;
    for seed in 0..400 {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        let extent = [1024, 2048, EXTENT, 4 * EXTENT][usize::try_from(seed % 4).unwrap()];
        let mut disk = SimDisk::default();
        // What may be found: the state last acknowledged and those written since.
        let mut possible = vec![LoadedLog::default()];
        for round in 0..8 {
            if chance.random_bool(0.3) {
                disk.break_after(chance.random_range(0..6), io::ErrorKind::Other);
            }
            match FileLog::with_disk(disk.clone(), extent, 7) {
                Ok(mut log) => {
                    let found = log.load().unwrap();
                    assert!(possible.contains(&found), "seed {seed}, round {round}");
                    possible = vec![found];
                    disk.break_after(chance.random_range(0..80), io::ErrorKind::Other);
                    work_until_it_breaks(&mut log, &mut possible, &mut chance);
                    crashes_amid += usize::from(possible.len() > 1);
                }
                Err(error) => assert!(matches!(error, LogError::Io { .. }), "{seed}: {error}"),
            }
            // Either the process alone dies or its machine.
            if chance.random_bool(0.2) {
                disk.break_after(u64::MAX / 2, io::ErrorKind::Other);
            } else {
                disk = disk.crash(&mut chance);
            }
        }
        disk.break_after(u64::MAX / 2, io::ErrorKind::Other);
        let mut log = FileLog::with_disk(disk, extent, 7).unwrap();
        assert!(possible.contains(&log.load().unwrap()), "seed {seed}");
    }
    assert!(crashes_amid > 1500, "only {crashes_amid} crashes amid a write");
}

fn work_until_it_breaks(log: &mut FileLog, possible: &mut Vec<LoadedLog>, chance: &mut impl Rng) {
    for _ in 0..40 {
        let mut next = possible.last().unwrap().clone();
        let (done, synced) = if next.entries.len() > 4 && chance.random_bool(0.2) {
            let through = next.entries[chance.random_range(0..4)].mark();
            forget(&mut next, through);
            (log.compact(through), true)
        } else {
            let batch = chance_batch(&next, chance);
            remember(&mut next, &batch);
            (log.write(std::slice::from_ref(&batch)), batch.sync)
        };
        possible.push(next);
        match done {
            Ok(()) if synced => drop(possible.drain(..possible.len() - 1)),
            Ok(()) => {}
            Err(_) => {
                assert!(matches!(log.load(), Err(LogError::Stopped)));
                return;
            }
        }
    }
}

#[test]
fn a_refusing_disk_is_named_and_ends_the_store() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        for good in 0..2 {
            let disk = SimDisk::default();
            let mut log = on(disk.clone()).unwrap();
            log.write(&[entries(1..=3, 1)]).unwrap();
            disk.break_after(good, kind);
            match log.write(&[entries(4..=4, 1)]).unwrap_err() {
                LogError::Io { source, .. } => assert_eq!(source.kind(), kind),
                other => panic!("{other}"),
            }
            disk.break_after(u64::MAX / 2, kind);
            let error = log.write(&[entries(4..=4, 1)]).unwrap_err();
            assert!(matches!(error, LogError::Stopped), "{error}");
            drop(log);
            let mut again = on(disk).unwrap();
            assert!(again.load().unwrap().entries.len() >= 3);
        }
    }
}

#[test]
fn a_disk_too_full_to_grow_is_named_and_nothing_is_lost() {
    let disk = SimDisk::default();
    let mut log = on(disk.clone()).unwrap();
    let size = disk.content().len();
    let mut last = 0;
    // The next commit does not fit into what is there.
    while last < 7 {
        last += 1;
        log.write(&[entries(last..=last, 1)]).unwrap();
    }
    let large = LogBatch {
        entries: vec![entry(last + 1, 1, &"x".repeat(EXTENT * 3))],
        sync: true,
        ..LogBatch::default()
    };
    for good in [0, 1, 3, 5] {
        disk.break_after(good, io::ErrorKind::StorageFull);
        match log.write(std::slice::from_ref(&large)).unwrap_err() {
            LogError::Io { source, .. } => assert_eq!(source.kind(), io::ErrorKind::StorageFull),
            other => panic!("{other}"),
        }
        disk.break_after(u64::MAX / 2, io::ErrorKind::Other);
        log = on(disk.clone()).unwrap();
        assert_eq!(log.load().unwrap().entries.len() as u64, last, "after {good}");
    }
    log.write(&[large]).unwrap();
    assert_eq!(log.load().unwrap().entries.len() as u64, last + 1);
    assert!(disk.content().len() > size);
}

#[test]
fn the_file_stops_growing_when_its_front_is_dropped() {
    let disk = SimDisk::default();
    let mut log = on(disk.clone()).unwrap();
    let mut sizes = Vec::new();
    for round in 0..200 {
        let last = round * 10 + 10;
        log.write(&[entries(last - 9..=last, 1)]).unwrap();
        if last > 30 {
            log.compact(mark(last - 30, 1)).unwrap();
        }
        sizes.push(disk.content().len());
    }
    assert_eq!(sizes[20], sizes[199]);
    drop(log);
    let loaded = on(disk).unwrap().load().unwrap();
    assert_eq!((loaded.mark.index, loaded.entries.len()), (1970, 30));
}

#[test]
fn a_long_log_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.wal");
    let mut log = FileLog::open(&path).unwrap();
    for block in 0..100 {
        log.write(&[entries(block * 1000 + 1..=block * 1000 + 1000, 1)]).unwrap();
    }
    let bytes = log.size_bytes();
    drop(log);
    let mut log = FileLog::open(&path).unwrap();
    assert_eq!(log.size_bytes(), bytes);
    assert_eq!(log.load().unwrap().entries.len(), 100_000);
}

/// A small log with everything in it as a killed process leaves it, and what it remembers.
struct Small {
    _folder: tempfile::TempDir,
    path: PathBuf,
    content: Vec<u8>,
    fence: Vec<u8>,
    loaded: LoadedLog,
}

impl Small {
    fn new() -> Small {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.wal");
        let mut log = at(&path).unwrap();
        log.write(&[entries(1..=200, 1)]).unwrap();
        log.compact(mark(150, 1)).unwrap();
        let mut batch = entries(190..=230, 2);
        batch.conf = Some(Bytes::from_static(b"conf"));
        batch.hard_state = Some(HardState { term: 2, vote: 1, commit: 19 });
        log.write(&[batch]).unwrap();
        for index in 231..250 {
            log.write(&[entries(index..=index, 2)]).unwrap();
        }
        let loaded = log.load().unwrap();
        let content = fs::read(&path).unwrap();
        let fence = fs::read(path.with_extension("fence")).unwrap();
        Small { _folder: folder, path, content, fence, loaded }
    }

    /// Opens the log with another content: it must be as it was, or reported. Whether it was reported.
    fn opens_with(&self, content: &[u8], what: &str) -> bool {
        fs::write(&self.path, content).unwrap();
        fs::write(self.path.with_extension("fence"), &self.fence).unwrap();
        match at(&self.path) {
            Ok(mut log) => {
                assert_eq!(log.load().unwrap(), self.loaded, "{what}");
                false
            }
            Err(LogError::Damaged { .. }) => true,
            Err(other) => panic!("{what}: {other}"),
        }
    }

    fn used(&self) -> Vec<usize> {
        (0..self.content.len()).filter(|&at| self.content[at] != 0).collect()
    }
}

#[test]
fn a_flipped_bit_is_reported_or_harmless() {
    let small = Small::new();
    assert!(!small.opens_with(&small.content, "untouched"));
    let used = small.used();
    let mut chance = ChaCha8Rng::seed_from_u64(3);
    let mut reported = 0;
    for round in 0..600 {
        let at = used[chance.random_range(0..used.len())];
        let mut flipped = small.content.clone();
        flipped[at] ^= 1 << chance.random_range(0..8);
        reported += usize::from(small.opens_with(&flipped, &format!("{round}: byte {at}")));
    }
    assert!(reported > 100, "only {reported} reported");
}

/// Sectors that were zeroed, scrambled or swapped, as failing disks do.
#[test]
fn a_damaged_sector_is_reported_or_harmless() {
    let small = Small::new();
    let used: Vec<usize> = (0..small.content.len() / 512)
        .filter(|sector| small.content[sector * 512..][..512].iter().any(|&byte| byte != 0))
        .collect();
    let mut chance = ChaCha8Rng::seed_from_u64(5);
    let pick = |chance: &mut ChaCha8Rng| used[chance.random_range(0..used.len())] * 512;
    for round in 0..300 {
        let mut bad = small.content.clone();
        let (at, other) = (pick(&mut chance), pick(&mut chance));
        match round % 3 {
            0 => bad[at..at + 512].fill(0),
            1 => chance.fill(&mut bad[at..at + 512]),
            _ => bad.copy_within(other..other + 512, at),
        }
        small.opens_with(&bad, &format!("round {round}, byte {at}"));
    }
}

#[test]
fn the_last_commit_damaged_after_it_was_acknowledged_is_noticed() {
    let small = Small::new();
    let last = small.loaded.entries.last().unwrap().index.to_le_bytes();
    let found = small.content.windows(8).rposition(|window| window == last).unwrap();
    let start = found / 512 * 512;
    for bit in 0..(found + 8 - start) * 8 {
        let mut flipped = small.content.clone();
        flipped[start + bit / 8] ^= 1 << (bit % 8);
        assert!(small.opens_with(&flipped, &format!("bit {bit}")), "bit {bit} is not noticed");
    }
    // Without the fence it passes for a crash, and nothing but that commit is gone.
    let mut flipped = small.content.clone();
    flipped[found] ^= 1;
    let entries = on(SimDisk::with_content(flipped)).unwrap().load().unwrap().entries;
    assert_eq!(entries, small.loaded.entries[..small.loaded.entries.len() - 1]);
}

#[test]
fn a_file_cut_short_or_of_another_kind_is_damage() {
    let small = Small::new();
    let whole = small.content.len();
    for length in [1, 100, 511, 4096, 5000, whole / 2, whole - EXTENT, whole - 512, whole - 1] {
        small.opens_with(&small.content[..length], &format!("cut to {length}"));
    }
    for length in [1, 100, 4096, 5000, whole / 2] {
        assert!(small.opens_with(&small.content[..length], "cut"), "cut to {length}");
    }
    let text = "some text that is no log\n".repeat(500);
    assert!(small.opens_with(text.as_bytes(), "a text"));
}

/// Extents that went missing or stand in for each other, as a failing translation layer has it.
#[test]
fn a_lost_or_exchanged_extent_is_reported_or_harmless() {
    let small = Small::new();
    let extents = (small.content.len() - 4096) / EXTENT;
    let mut reported = 0;
    for lost in 0..extents {
        let place = 4096 + lost * EXTENT;
        let mut bad = small.content.clone();
        bad[place..place + EXTENT].fill(0);
        reported += usize::from(small.opens_with(&bad, &format!("extent {lost} lost")));
        for other in 0..extents {
            let mut bad = small.content.clone();
            bad.copy_within(4096 + other * EXTENT..4096 + (other + 1) * EXTENT, place);
            small.opens_with(&bad, &format!("extent {other} in place of {lost}"));
        }
    }
    assert!(reported > 2, "only {reported} of {extents}");
}

#[test]
fn an_older_file_put_back_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.wal");
    let write = |batch| at(&path).unwrap().write(&[batch]).unwrap();
    write(entries(1..=3, 1));
    let older = fs::read(&path).unwrap();
    write(entries(4..=6, 1));
    fs::write(&path, older).unwrap();
    assert_damaged(&path);
    fs::write(&path, []).unwrap();
    assert_damaged(&path);
}

fn assert_damaged(path: &Path) {
    let error = at(path).unwrap_err();
    assert!(matches!(error, LogError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("acknowledged"), "{error}");
}

#[test]
fn an_entry_that_looks_like_a_part_is_an_entry() {
    let other = SimDisk::default();
    let mut log = FileLog::with_disk(other.clone(), EXTENT, 8).unwrap();
    (1..7).for_each(|index| log.write(&[entries(index..=index, 1)]).unwrap());
    let imitation = other.content()[4096..].to_vec();
    let disk = SimDisk::default();
    let mut log = FileLog::with_disk(disk.clone(), 4 * EXTENT, 7).unwrap();
    for shift in 0..600 {
        let mut batch = entries(1..=1, 1);
        batch.entries[0].data = Bytes::from([&vec![0; shift], imitation.as_slice()].concat());
        log.write(&[batch]).unwrap();
    }
    let loaded = log.load().unwrap();
    let mut again = FileLog::with_disk(disk, EXTENT, 0).unwrap();
    assert_eq!(again.load().unwrap(), loaded);
}

#[test]
fn a_crash_amid_the_birth_of_a_log_leaves_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.wal");
    for length in [0, 1, 512, 4096, 5000, 4096 + EXTENT, 100_000] {
        fs::write(&path, vec![0; length]).unwrap();
        let mut log = at(&path).unwrap();
        assert_eq!(log.load().unwrap(), LoadedLog::default());
    }
}

#[test]
fn a_log_has_one_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.wal");
    let _log = at(&path).unwrap();
    match at(&path).unwrap_err() {
        LogError::Io { source, .. } => assert_eq!(source.kind(), io::ErrorKind::WouldBlock),
        other => panic!("{other}"),
    }
}
