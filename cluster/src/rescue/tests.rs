//! The promises of founding and taking over, without a running replica.

use std::fs;

use bytes::Bytes;

use super::*;
use crate::{
    log::{HardState, LogBatch, LogEntry},
    machine::Committed,
    sessions::{Envelope, stamp},
    types::RequestId,
};

/// Keeps every command.
#[derive(Debug)]
struct Tape(Vec<Bytes>);

impl StateMachine for Tape {
    type View = Vec<Bytes>;

    fn empty() -> Self {
        Self(Vec::new())
    }

    fn apply(&mut self, entry: Committed<'_>) -> Bytes {
        self.0.push(Bytes::copy_from_slice(entry.command));
        Bytes::new()
    }

    fn view(&self) -> Vec<Bytes> {
        self.0.clone()
    }

    fn save(view: &Vec<Bytes>) -> Box<dyn Iterator<Item = Bytes> + Send + '_> {
        Box::new(view.iter().cloned())
    }

    fn load(records: &mut dyn Iterator<Item = Bytes>) -> Result<Self, LoadError> {
        Ok(Self(records.collect()))
    }
}

const OLD: GroupId = GroupId(0xAB);
const NEW: GroupId = GroupId(0xCD);

fn identity(name: &str) -> Identity {
    Identity {
        group: OLD,
        replica: replica_id(OLD, name),
        name: name.to_owned(),
        created: Timestamp(1),
        lineage: Lineage::default(),
    }
}

fn entry(index: u64) -> LogEntry {
    let request = RequestId { replica: ReplicaId(5), incarnation: 1, sequence: index };
    let command = Bytes::from(format!("command {index}"));
    LogEntry {
        index,
        term: 3,
        kind: 0,
        data: Envelope::new(request, 1, command).write(),
        context: stamp(Timestamp(1000 + index)),
    }
}

/// A folder with so many entries, of which all but the last are known to be agreed.
fn stopped(path: &Path, name: &str, entries: u64) {
    let mut folder = DataFolder::open(path).unwrap();
    folder.adopt(identity(name)).unwrap();
    let mut log = FileLog::open(&folder.log_path()).unwrap();
    log.load().unwrap();
    let voters = ["a", "b", "c"].map(|name| replica_id(OLD, name));
    let conf = StoredConf { conf: Conf::of_voters(voters), record: None };
    log.write(&[LogBatch {
        entries: (1..=entries).map(entry).collect(),
        hard_state: Some(HardState { term: 4, vote: 0, commit: entries - 1 }),
        conf: Some(conf.encode()),
        sync: true,
        ..LogBatch::default()
    }])
    .unwrap();
}

fn beginning() -> Beginning {
    Beginning {
        group: NEW,
        name: "a".to_owned(),
        lineage: Lineage { epoch: 1, before: vec![OLD] },
        index: 1000,
        term: 9,
        time: Timestamp(77),
        now: Timestamp(5),
    }
}

fn assert_founded(path: &Path, commands: usize) {
    let found = survey::<Tape>(path).unwrap();
    assert_eq!(found.survey.identity.group, NEW);
    assert_eq!(found.survey.identity.lineage, beginning().lineage);
    assert!(found.survey.others.is_empty());
    assert_eq!((found.survey.last.index, found.survey.last.term), (1000, 9));
    assert_eq!(found.machine.0.len(), commands);
}

#[test]
fn a_survivor_keeps_every_entry_even_one_that_it_never_knew_to_be_agreed() {
    let folder = tempfile::tempdir().unwrap();
    stopped(folder.path(), "a", 5);
    let survivor = survey::<Tape>(folder.path()).unwrap();
    assert_eq!(survivor.survey.rank(), (3, 5));
    assert_eq!((survivor.survey.term, survivor.survey.commit), (4, 4));
    let others: Vec<_> = survivor.survey.others.keys().copied().collect();
    let mut lost = ["b", "c"].map(|name| replica_id(OLD, name));
    lost.sort_unstable();
    assert_eq!(others, lost);
    assert_eq!(survivor.machine.0.len(), 5);
    let locked = survey::<Tape>(folder.path()).unwrap_err();
    assert!(matches!(locked, RescueError::Folder(FolderError::Locked { .. })), "{locked}");

    let view = survivor.machine.view();
    take_over(survivor, &beginning(), view).unwrap();
    assert_founded(folder.path(), 5);
    let kept = folder.path().join("before-epoch-1");
    let old = survey::<Tape>(&kept).unwrap();
    assert_eq!(old.survey.identity, identity("a"), "what it held before is still there");
    assert_eq!(old.machine.0.len(), 5);
}

#[test]
fn a_take_over_that_was_cut_short_anywhere_goes_on_and_no_replica_starts_before() {
    for cut in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        stopped(path, "a", 5);
        let survivor = survey::<Tape>(path).unwrap();
        let view = survivor.machine.view();
        found::<Tape>(&path.join(NEXT), &beginning(), view).unwrap();
        drop(survivor);
        let steps = moves();
        if cut > steps.len() {
            break;
        }
        fs::create_dir_all(path.join("before-epoch-1")).unwrap();
        for (from, to) in &steps[..cut] {
            // Not each of them is there.
            drop(fs::rename(path.join(from), path.join(to)));
        }
        let started = DataFolder::open(path).map(|_| ()).unwrap_err();
        assert!(matches!(started, FolderError::CutShort { .. }), "{cut}: {started}");
        assert_founded(path, 5);
    }
}

/// The moves of `swap`, in its order.
fn moves() -> Vec<(String, String)> {
    let mut moves = vec![("identity".to_owned(), "before-epoch-1/identity".to_owned())];
    for name in ["log.fence", "promise"] {
        moves.push((name.to_owned(), format!("before-epoch-1/{name}")));
    }
    for name in ["log.wal", "incarnation", "admission", "snapshots"] {
        moves.push((name.to_owned(), format!("before-epoch-1/{name}")));
        moves.push((format!("next/{name}"), name.to_owned()));
    }
    moves.push(("next/identity".to_owned(), "identity".to_owned()));
    moves
}

#[test]
fn contents_that_were_never_finished_are_cleared_away() {
    let folder = tempfile::tempdir().unwrap();
    stopped(folder.path(), "a", 5);
    fs::create_dir_all(folder.path().join("next/snapshots")).unwrap();
    assert_eq!(survey::<Tape>(folder.path()).unwrap().survey.identity, identity("a"));
    assert!(!folder.path().join("next").exists());
}

#[test]
fn a_group_is_founded_in_an_empty_folder_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new");
    let view = vec![Bytes::from_static(b"one")];
    found::<Tape>(&path, &beginning(), view.clone()).unwrap();
    assert_founded(&path, 1);
    let taken = found::<Tape>(&path, &beginning(), view).unwrap_err();
    assert!(matches!(taken, RescueError::Folder(FolderError::Taken { .. })), "{taken}");
    let fresh = survey::<Tape>(&folder.path().join("nothing")).unwrap_err();
    assert!(matches!(fresh, RescueError::Folder(FolderError::Fresh { .. })), "{fresh}");
}

#[test]
fn a_snapshot_file_is_read_whole_wherever_it_lies() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new");
    found::<Tape>(&path, &beginning(), vec![Bytes::from_static(b"one")]).unwrap();
    let file = fs::read_dir(path.join("snapshots")).unwrap().next().unwrap().unwrap().path();
    let copy = folder.path().join("copy");
    fs::copy(&file, &copy).unwrap();
    let read = read_snapshot::<Tape>(&copy).unwrap();
    assert_eq!((read.meta.group, read.meta.index), (NEW, 1000));
    assert_eq!(read.machine.0, [Bytes::from_static(b"one")]);
    let mut bytes = fs::read(&copy).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&copy, bytes).unwrap();
    assert!(read_snapshot::<Tape>(&copy).unwrap_err().is_damage());
}
