//! The promises of a data folder.

use super::*;
use crate::bootstrap::TokenDigest;

fn identity() -> Identity {
    Identity {
        group: GroupId(0xABCD),
        replica: ReplicaId(0x17),
        name: "muster-0".to_owned(),
        lineage: Lineage::default(),
        created: Timestamp(5),
    }
}

fn promise(disk: u128) -> Promise {
    let disks = [("muster-0".to_owned(), DiskMark(disk))].into();
    Promise::new(TokenDigest::of("secret"), &disks)
}

fn adopted(path: &Path) {
    let mut folder = DataFolder::open(path).unwrap();
    folder.mark_disk(DiskMark(5)).unwrap();
    folder.make_promise(DiskMark(5), promise(1)).unwrap();
    folder.adopt(identity()).unwrap();
}

#[test]
fn a_fresh_folder_is_nobodys_until_adopted_and_counts_its_starts() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("deep").join("data");
    let mut folder = DataFolder::open(&path).unwrap();
    assert_eq!(folder.identity(), None);
    assert_eq!(folder.promise(), None);
    assert_eq!(folder.incarnation(), 1);
    folder.adopt(identity()).unwrap();
    folder.adopt(identity()).unwrap();
    drop(folder);
    for start in 2..5 {
        let folder = DataFolder::open(&path).unwrap();
        assert_eq!(folder.identity(), Some(&identity()));
        assert_eq!(folder.incarnation(), start);
    }
}

#[test]
fn one_process_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    let held = DataFolder::open(root.path()).unwrap();
    let error = DataFolder::open(root.path()).unwrap_err();
    assert!(matches!(error, FolderError::Locked { .. }), "{error}");
    drop(held);
    DataFolder::open(root.path()).unwrap();
}

#[test]
fn another_groups_replicas_or_names_folder_is_refused() {
    let root = tempfile::tempdir().unwrap();
    adopted(root.path());
    let mut folder = DataFolder::open(root.path()).unwrap();
    let mut others = [identity(), identity(), identity()];
    others[0].group = GroupId(1);
    others[1].replica = ReplicaId(1);
    others[2].name = "muster-1".to_owned();
    for other in others {
        let error = folder.adopt(other).unwrap_err();
        assert!(matches!(error, FolderError::Foreign { .. }), "{error}");
        assert!(error.to_string().contains("muster-0"), "{error}");
    }
    assert_eq!(folder.identity(), Some(&identity()));
}

#[test]
fn a_promise_is_kept() {
    let root = tempfile::tempdir().unwrap();
    let mut folder = DataFolder::open(root.path()).unwrap();
    assert_eq!(folder.mark_disk(DiskMark(5)).unwrap(), DiskMark(5));
    assert_eq!(folder.mark_disk(DiskMark(6)).unwrap(), DiskMark(5));
    folder.make_promise(DiskMark(5), promise(1)).unwrap();
    folder.make_promise(DiskMark(5), promise(1)).unwrap();
    drop(folder);
    let mut folder = DataFolder::open(root.path()).unwrap();
    assert_eq!(folder.disk_mark(), Some(DiskMark(5)));
    assert_eq!(folder.promise(), Some(&promise(1)));
    let error = folder.make_promise(DiskMark(5), promise(2)).unwrap_err();
    assert!(matches!(error, FolderError::Promised { .. }), "{error}");
}

#[test]
fn every_flipped_bit_is_found_and_nothing_is_written_over_it() {
    let root = tempfile::tempdir().unwrap();
    adopted(root.path());
    for name in [IDENTITY, PROMISE, INCARNATION] {
        let path = root.path().join(name);
        let good = fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut flipped = good.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &flipped).unwrap();
            let error = DataFolder::open(root.path()).unwrap_err();
            assert!(matches!(error, FolderError::Damaged { .. }), "{name} {bit}: {error}");
            assert_eq!(fs::read(&path).unwrap(), flipped, "{name} {bit}");
        }
        for length in 0..good.len() {
            fs::write(&path, &good[..length]).unwrap();
            DataFolder::open(root.path()).unwrap_err();
        }
        fs::write(&path, good).unwrap();
    }
    DataFolder::open(root.path()).unwrap();
}

#[test]
fn a_folder_that_lost_a_part_does_not_pass_for_a_fresh_one() {
    for name in [IDENTITY, INCARNATION, "log.wal"] {
        let root = tempfile::tempdir().unwrap();
        adopted(root.path());
        fs::write(root.path().join("log.wal"), "entries").unwrap();
        fs::remove_file(root.path().join(name)).unwrap();
        let error = DataFolder::open(root.path()).unwrap_err();
        assert!(matches!(error, FolderError::Damaged { .. }), "{name}: {error}");
    }
}

#[test]
fn a_crash_amid_adoption_leaves_a_fresh_folder() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("log.wal"), "").unwrap();
    fs::write(root.path().join("identity.new"), "{\"for").unwrap();
    let mut folder = DataFolder::open(root.path()).unwrap();
    assert_eq!(folder.identity(), None);
    folder.adopt(identity()).unwrap();
}

#[test]
fn a_newer_format_is_named() {
    let root = tempfile::tempdir().unwrap();
    adopted(root.path());
    durable::write_sealed(&root.path().join(IDENTITY), "{\"format\":9}").unwrap();
    match DataFolder::open(root.path()).unwrap_err() {
        FolderError::Format { found, .. } => assert_eq!(found, 9),
        other => panic!("{other}"),
    }
}

#[test]
fn a_refusing_disk_says_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let error = DataFolder::open(&file).unwrap_err().to_string();
    assert!(error.contains("name a folder, not a file"), "{error}");

    for (kind, what) in [
        (io::ErrorKind::StorageFull, "make room"),
        (io::ErrorKind::ReadOnlyFilesystem, "writable"),
        (io::ErrorKind::PermissionDenied, "let the user"),
        (io::ErrorKind::Other, "kernel log"),
    ] {
        let error = refused(&file, "be written")(kind.into()).to_string();
        assert!(error.contains(what), "{error}");
    }
}

/// The superuser may write anywhere, so this says something only for everybody else.
#[cfg(unix)]
#[test]
fn a_read_only_folder_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let root = tempfile::tempdir().unwrap();
    adopted(root.path());
    let set = |mode| fs::set_permissions(root.path(), fs::Permissions::from_mode(mode)).unwrap();
    set(0o500);
    let writable = fs::write(root.path().join("probe"), "").is_ok();
    let opened = DataFolder::open(root.path());
    set(0o700);
    match opened {
        Ok(_) => assert!(writable),
        Err(error) => assert!(error.to_string().contains("let the user"), "{error}"),
    }
}
