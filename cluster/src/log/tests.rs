//! The promises of the log, against a model, a disk that loses sectors and flipped bits.

use std::{io, path::Path};

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use redb::backends::InMemoryBackend;

use super::{
    HardState, LoadedLog, LogBatch, LogEntry, LogError, LogMark, LogStore, RedbLog,
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

fn memory() -> RedbLog {
    RedbLog::with_backend(InMemoryBackend::new()).unwrap()
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
    let path = folder.path().join("log.redb");
    let mut chance = ChaCha8Rng::seed_from_u64(1);
    let mut model = LoadedLog::default();
    let mut bytes = 0;
    for round in 0..40 {
        let mut log = RedbLog::open(&path).unwrap();
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
    type Refused = fn(&mut RedbLog) -> Result<(), LogError>;
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
fn only_a_batch_that_says_so_is_synced_and_it_syncs_those_before_it() {
    let disk = SimDisk::default();
    let mut log = RedbLog::with_backend(disk.clone()).unwrap();
    let mut unsynced = entries(1..=3, 1);
    unsynced.sync = false;
    log.write(&[unsynced]).unwrap();
    let nothing = LogBatch { sync: true, ..LogBatch::default() };
    log.write(std::slice::from_ref(&nothing)).unwrap();
    let after = disk.operations();
    log.write(&[nothing]).unwrap();
    assert_eq!(disk.operations(), after, "nothing to sync any more");
    let mut chance = ChaCha8Rng::seed_from_u64(2);
    for _ in 0..8 {
        let mut again = RedbLog::with_backend(disk.crash(&mut chance)).unwrap();
        assert_eq!(again.load().unwrap().entries.len(), 3);
    }
}

#[test]
fn no_crash_loses_an_acknowledged_batch_or_shows_half_of_one() {
    let mut crashes_amid = 0;
    for seed in 0..40 {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        let mut disk = SimDisk::default();
        drop(RedbLog::with_backend(disk.clone()).unwrap());
        // What may be found: the state last acknowledged and those written since.
        let mut possible = vec![LoadedLog::default()];
        for round in 0..8 {
            if chance.random_bool(0.2) {
                disk.break_after(chance.random_range(0..20), io::ErrorKind::Other);
            }
            if let Ok(mut log) = RedbLog::with_backend(disk.clone()) {
                let found = log.load().unwrap();
                assert!(possible.contains(&found), "seed {seed}, round {round}");
                possible = vec![found];
                disk.break_after(chance.random_range(0..120), io::ErrorKind::Other);
                work_until_it_breaks(&mut log, &mut possible, &mut chance);
                crashes_amid += usize::from(possible.len() > 1);
            }
            disk = disk.crash(&mut chance);
        }
        let mut log = RedbLog::with_backend(disk).unwrap();
        assert!(possible.contains(&log.load().unwrap()), "seed {seed}");
    }
    assert!(crashes_amid > 100, "only {crashes_amid} crashes amid a write");
}

fn work_until_it_breaks(log: &mut RedbLog, possible: &mut Vec<LoadedLog>, chance: &mut impl Rng) {
    for _ in 0..30 {
        let mut next = possible.last().unwrap().clone();
        let (done, synced) = if next.entries.len() > 4 && chance.random_bool(0.1) {
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
        let disk = SimDisk::default();
        let mut log = RedbLog::with_backend(disk.clone()).unwrap();
        log.write(&[entries(1..=3, 1)]).unwrap();
        disk.break_after(0, kind);
        match log.write(&[entries(4..=4, 1)]).unwrap_err() {
            LogError::Io { source, .. } => assert_eq!(source.kind(), kind),
            other => panic!("{other}"),
        }
        disk.break_after(u64::MAX / 2, kind);
        let error = log.write(&[entries(4..=4, 1)]).unwrap_err();
        assert!(matches!(error, LogError::Stopped), "{error}");
        drop(log);
        let mut again = RedbLog::with_backend(disk).unwrap();
        assert!(again.load().unwrap().entries.len() >= 3);
    }
}

/// The file of a small log with everything in it, and what it remembers.
fn small_log() -> (Vec<u8>, LoadedLog) {
    let disk = SimDisk::default();
    let mut log = RedbLog::with_backend(disk.clone()).unwrap();
    let mut batch = entries(1..=20, 1);
    batch.conf = Some(Bytes::from_static(b"conf"));
    batch.hard_state = Some(HardState { term: 2, vote: 1, commit: 19 });
    log.write(&[batch]).unwrap();
    log.write(&[entries(18..=25, 2)]).unwrap();
    let loaded = log.load().unwrap();
    drop(log);
    (disk.content(), loaded)
}

#[test]
fn a_flipped_bit_is_reported_or_harmless() {
    let (content, loaded) = small_log();
    let mut chance = ChaCha8Rng::seed_from_u64(3);
    let used: Vec<usize> = (0..content.len()).filter(|&at| content[at] != 0).collect();
    let mut reported = 0;
    for round in 0..400 {
        let at = used[chance.random_range(0..used.len())];
        let mut flipped = content.clone();
        flipped[at] ^= 1 << chance.random_range(0..8);
        match RedbLog::with_backend(SimDisk::with_content(flipped)) {
            Ok(mut log) => assert_eq!(log.load().unwrap(), loaded, "round {round}, byte {at}"),
            Err(LogError::Damaged { .. }) => reported += 1,
            Err(other) => panic!("round {round}, byte {at}: {other}"),
        }
    }
    assert!(reported > 30, "only {reported} reported");
}

/// Sectors that were zeroed, scrambled or swapped, as failing disks do.
#[test]
fn a_damaged_sector_is_reported_or_harmless() {
    let (content, loaded) = small_log();
    let mut chance = ChaCha8Rng::seed_from_u64(5);
    let used: Vec<usize> = (0..content.len() / 512)
        .filter(|sector| content[sector * 512..][..512].iter().any(|&byte| byte != 0))
        .collect();
    let mut pick = |chance: &mut ChaCha8Rng| used[chance.random_range(0..used.len())] * 512;
    for round in 0..300 {
        let mut bad = content.clone();
        let (at, other) = (pick(&mut chance), pick(&mut chance));
        match round % 3 {
            0 => bad[at..at + 512].fill(0),
            1 => chance.fill(&mut bad[at..at + 512]),
            _ => bad.copy_within(other..other + 512, at),
        }
        match RedbLog::with_backend(SimDisk::with_content(bad)) {
            Ok(mut log) => assert_eq!(log.load().unwrap(), loaded, "round {round}, byte {at}"),
            Err(LogError::Damaged { .. }) => {}
            Err(other) => panic!("round {round}, byte {at}: {other}"),
        }
    }
}

#[test]
fn a_file_cut_short_or_of_another_kind_is_damage() {
    let (content, loaded) = small_log();
    for length in [1, 100, 511, 4096, 5000, content.len() / 2, content.len() - 1] {
        match RedbLog::with_backend(SimDisk::with_content(content[..length].to_vec())) {
            Ok(mut log) => assert_eq!(log.load().unwrap(), loaded, "cut to {length}"),
            Err(error) => {
                assert!(matches!(error, LogError::Damaged { .. }), "cut to {length}: {error}");
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.redb");
    std::fs::write(&path, "some text that is no log\n".repeat(500)).unwrap();
    let error = RedbLog::open(&path).unwrap_err();
    assert!(matches!(error, LogError::Damaged { .. }), "{error}");
}

#[test]
fn a_log_without_its_records_or_with_a_hole_is_damage() {
    let (content, _) = small_log();
    let strikes: [fn(&mut redb::WriteTransaction); 5] = [
        |work| assert!(work.delete_table(super::redb_log::RECORDS).unwrap()),
        |work| {
            let mut records = work.open_table(super::redb_log::RECORDS).unwrap();
            records.remove("head").unwrap();
        },
        |work| assert!(work.delete_table(super::redb_log::ENTRIES).unwrap()),
        |work| {
            let mut table = work.open_table(super::redb_log::ENTRIES).unwrap();
            table.remove(7).unwrap();
        },
        |work| {
            let mut table = work.open_table(super::redb_log::ENTRIES).unwrap();
            table.remove(25).unwrap();
        },
    ];
    for (case, strike) in strikes.iter().enumerate() {
        let disk = SimDisk::with_content(content.clone());
        let database = redb::Builder::new().create_with_backend(disk.clone()).unwrap();
        let mut work = database.begin_write().unwrap();
        strike(&mut work);
        work.commit().unwrap();
        drop(database);
        let error = RedbLog::with_backend(disk).unwrap_err();
        assert!(matches!(error, LogError::Damaged { .. }), "{case}: {error}");
    }
}

#[test]
fn an_older_file_put_back_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.redb");
    let write = |batch| RedbLog::open(&path).unwrap().write(&[batch]).unwrap();
    write(entries(1..=3, 1));
    let older = std::fs::read(&path).unwrap();
    write(entries(4..=6, 1));
    std::fs::write(&path, older).unwrap();
    assert_damaged(&path);
    std::fs::write(&path, []).unwrap();
    assert_damaged(&path);
}

fn assert_damaged(path: &Path) {
    let error = RedbLog::open(path).unwrap_err();
    assert!(matches!(error, LogError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("acknowledged"), "{error}");
}

#[test]
fn a_killed_process_whose_last_commit_is_damaged_later_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.redb");
    let mut log = RedbLog::open(&path).unwrap();
    log.write(&[entries(1..=3, 1)]).unwrap();
    log.write(&[entries(4..=4, 1)]).unwrap();
    let loaded = log.load().unwrap();
    // As a kill leaves them: nothing was closed.
    let content = std::fs::read(&path).unwrap();
    let fence = std::fs::read(path.with_extension("fence")).unwrap();
    drop(log);

    let used: Vec<usize> = (0..content.len()).filter(|&at| content[at] != 0).collect();
    let mut chance = ChaCha8Rng::seed_from_u64(4);
    for round in 0..200 {
        let at = used[chance.random_range(0..used.len())];
        let mut flipped = content.clone();
        flipped[at] ^= 1 << chance.random_range(0..8);
        std::fs::write(&path, flipped).unwrap();
        std::fs::write(path.with_extension("fence"), &fence).unwrap();
        match RedbLog::open(&path) {
            Ok(mut log) => assert_eq!(log.load().unwrap(), loaded, "round {round}, byte {at}"),
            Err(LogError::Damaged { .. }) => {}
            Err(other) => panic!("round {round}, byte {at}: {other}"),
        }
    }
}

#[test]
fn a_crash_amid_the_birth_of_a_log_leaves_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.redb");
    std::fs::write(&path, []).unwrap();
    std::fs::write(path.with_extension("draft"), "half a log").unwrap();
    let mut log = RedbLog::open(&path).unwrap();
    assert_eq!(log.load().unwrap(), LoadedLog::default());
    assert!(!path.with_extension("draft").exists());
}

#[test]
fn a_log_has_one_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.redb");
    let _log = RedbLog::open(&path).unwrap();
    match RedbLog::open(&path).unwrap_err() {
        LogError::Io { source, .. } => assert_eq!(source.kind(), io::ErrorKind::WouldBlock),
        other => panic!("{other}"),
    }
}
