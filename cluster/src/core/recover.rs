//! What a start makes of the log and the snapshot that it finds on the disk.

use muster_hooks::mutant;

use crate::{
    log::{HardState, LoadedLog, LogBatch, LogMark},
    snapshot::SnapshotMeta,
};

use super::CoreError;

/// Brings log and newest snapshot together. The second result, if any, must be written to the log
/// before the core starts.
///
/// A crash may come between the moment when a received snapshot is on disk and the one when the log
/// is: then the snapshot reaches further than the log, or contradicts it, and stands in for all of
/// it. It holds a committed prefix, so nothing that counts is lost.
pub fn reconcile(
    mut log: LoadedLog,
    snapshot: Option<&SnapshotMeta>,
) -> Result<(LoadedLog, Option<LogBatch>), CoreError> {
    let covered =
        snapshot.map_or(LogMark::default(), |meta| LogMark { index: meta.index, term: meta.term });
    if log.mark.index > covered.index {
        return Err(CoreError::Damaged(format!(
            "the log begins after {}, but the newest snapshot ends at {}",
            log.mark.index, covered.index
        )));
    }
    let repair = if term_at(&log, covered.index) == Some(covered.term) || mutant!(SnapshotIgnored) {
        None
    } else {
        let hard_state = HardState { commit: covered.index, ..log.hard_state };
        let hard_state = HardState { term: hard_state.term.max(covered.term), ..hard_state };
        let vote = if hard_state.term == log.hard_state.term { log.hard_state.vote } else { 0 };
        let hard_state = HardState { vote, ..hard_state };
        log = LoadedLog { mark: covered, entries: Vec::new(), hard_state, conf: log.conf };
        Some(LogBatch {
            reset: Some(covered),
            hard_state: Some(hard_state),
            conf: snapshot.map(|meta| meta.conf.clone()),
            sync: true,
            ..LogBatch::default()
        })
    };
    // The commit index is written late; a snapshot proves more.
    log.hard_state.commit = log.hard_state.commit.max(covered.index);
    let last = log.mark.index + log.entries.len() as u64;
    if log.hard_state.commit > last {
        return Err(CoreError::Damaged(format!(
            "the log ends at {last}, but {} was known to be committed",
            log.hard_state.commit
        )));
    }
    Ok((log, repair))
}

fn term_at(log: &LoadedLog, index: u64) -> Option<u64> {
    if index == log.mark.index {
        return Some(log.mark.term);
    }
    let place = usize::try_from(index.checked_sub(log.mark.index + 1)?).ok()?;
    log.entries.get(place).map(|entry| entry.term)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        log::LogEntry,
        types::{GroupId, Timestamp},
    };
    use bytes::Bytes;

    fn log(mark: (u64, u64), terms: &[u64], commit: u64) -> LoadedLog {
        LoadedLog {
            mark: LogMark { index: mark.0, term: mark.1 },
            entries: (mark.0 + 1..)
                .zip(terms)
                .map(|(index, &term)| LogEntry { index, term, ..LogEntry::default() })
                .collect(),
            hard_state: HardState { term: 9, vote: 3, commit },
            conf: None,
        }
    }

    fn snapshot(index: u64, term: u64) -> SnapshotMeta {
        SnapshotMeta {
            group: GroupId(1),
            index,
            term,
            conf: Bytes::new(),
            time: Timestamp(0),
            digest: 0,
        }
    }

    #[test]
    fn an_old_commit_index_is_raised_to_the_snapshot() {
        let (log, repair) = reconcile(log((0, 0), &[1, 1, 2], 1), Some(&snapshot(2, 1))).unwrap();
        assert_eq!(log.hard_state.commit, 2);
        assert_eq!(log.entries.len(), 3);
        assert_eq!(repair, None);
    }

    #[test]
    fn a_snapshot_beyond_the_log_stands_in_for_it() {
        let (log, repair) = reconcile(log((0, 0), &[1, 1], 2), Some(&snapshot(7, 4))).unwrap();
        assert_eq!(log.mark, LogMark { index: 7, term: 4 });
        assert!(log.entries.is_empty());
        assert_eq!(log.hard_state, HardState { term: 9, vote: 3, commit: 7 });
        assert_eq!(repair.unwrap().reset, Some(LogMark { index: 7, term: 4 }));
    }

    #[test]
    fn a_log_that_contradicts_its_snapshot_yields() {
        let (log, repair) = reconcile(log((0, 0), &[1, 2, 2], 1), Some(&snapshot(2, 3))).unwrap();
        assert_eq!(log.mark, LogMark { index: 2, term: 3 });
        assert!(repair.is_some());
    }

    #[test]
    fn a_log_without_its_snapshot_is_damage() {
        assert!(matches!(reconcile(log((5, 1), &[1], 5), None), Err(CoreError::Damaged(_))));
    }

    #[test]
    fn a_log_shorter_than_its_commit_is_damage() {
        assert!(matches!(reconcile(log((0, 0), &[1], 2), None), Err(CoreError::Damaged(_))));
    }
}
