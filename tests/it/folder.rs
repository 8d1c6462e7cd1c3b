//! Data folders that must not be used, and damage that must not pass: a clear message, an exit code of
//! its own, nothing lost.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::authority::code;
use crate::support::process::tail;
use crate::support::replicas::{Replicas, Setup};

const DAMAGED: i32 = 71;
const AT_START: i32 = 74;
const REFUSES: i32 = 78;
const MARKER: &str = "a-cluster-whose-bytes-are-easy-to-find";

/// One replica that has been told something and then ended in order.
async fn stopped(snapshot: bool) -> Replicas {
    let mut world = Replicas::start(1);
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    client.add(MARKER, "grpc://member:1").await.unwrap();
    if snapshot {
        client.save_snapshot().await.unwrap();
    }
    assert_eq!(world.terminate(0).code(), Some(0), "{}", world.printed(0));
    world
}

/// Starts the replica, which has to give up with this code and these words.
fn assert_gives_up(world: &mut Replicas, exit: i32, words: &[&str]) {
    drop(fs::remove_file(world.log(0)));
    world.launch(0);
    let status = world.wait_ended(0);
    let printed = tail(&world.log(0), 20);
    assert_eq!(status.code(), Some(exit), "{printed}");
    for word in words {
        assert!(printed.contains(word), "no `{word}` in:\n{printed}");
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Flips one bit in every copy of `needle` in `file`; says how many there were.
fn flip_in(file: &Path, needle: &[u8]) -> usize {
    let mut bytes = fs::read(file).unwrap();
    let places: Vec<usize> = bytes
        .windows(needle.len())
        .enumerate()
        .filter(|(_, window)| *window == needle)
        .map(|(at, _)| at)
        .collect();
    for at in &places {
        bytes[at + needle.len() / 2] ^= 0x04;
    }
    if !places.is_empty() {
        fs::write(file, bytes).unwrap();
    }
    places.len()
}

#[tokio::test]
async fn a_bit_flipped_in_the_log_stops_the_replica() {
    let mut world = stopped(false).await;
    let flipped: usize =
        files_below(&world.data(0)).iter().map(|file| flip_in(file, MARKER.as_bytes())).sum();
    assert!(flipped > 0, "the marker is nowhere on disk");
    assert_gives_up(&mut world, DAMAGED, &["damaged"]);
}

#[tokio::test]
async fn a_bit_flipped_in_the_snapshot_stops_the_replica() {
    let mut world = stopped(true).await;
    let snapshots: Vec<PathBuf> = files_below(&world.data(0).join("snapshots"));
    let newest = snapshots.last().expect("a snapshot on disk");
    assert!(flip_in(newest, MARKER.as_bytes()) > 0, "the marker is not in the snapshot");
    assert_gives_up(&mut world, DAMAGED, &["damaged"]);
}

#[tokio::test]
async fn any_bit_flipped_in_the_identity_stops_the_replica() {
    let mut world = stopped(false).await;
    let file = world.data(0).join("identity");
    let whole = fs::read(&file).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 6 + 1) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x01;
        fs::write(&file, bytes).unwrap();
        assert_gives_up(&mut world, DAMAGED, &["identity"]);
    }
    fs::write(&file, whole).unwrap();
    world.launch(0);
    world.wait_ready();
    assert_eq!(world.client(0).clusters().await.unwrap().len(), 1, "nothing was lost meanwhile");
}

#[tokio::test]
async fn a_folder_is_used_by_one_process_at_a_time() {
    let mut first = Replicas::start(1);
    let mut second = Replicas::prepare(1, Setup::default());
    second.move_data(0, first.data(0));
    assert_gives_up(&mut second, REFUSES, &["in use by another process"]);
    assert!(first.process(0).ended().is_none(), "the first one goes on");
    first.client(0).activate(&code()).await.unwrap();
}

#[tokio::test]
async fn the_folder_of_another_replica_is_refused() {
    let mut world = Replicas::start(3);
    world.client(0).activate(&code()).await.unwrap();
    for at in 0..3 {
        world.terminate(at);
    }
    let (first, second) = (world.data(0), world.data(1));
    let aside = world.folder().join("aside");
    fs::rename(&first, &aside).unwrap();
    fs::rename(&second, &first).unwrap();
    fs::rename(&aside, &second).unwrap();
    assert_gives_up(&mut world, REFUSES, &["belongs to"]);
}

#[tokio::test]
async fn the_folder_of_another_group_is_refused() {
    let mut world = Replicas::start(3);
    for at in 0..3 {
        world.terminate(at);
    }
    fs::write(world.folder().join("token"), "another token, hence another group").unwrap();
    assert_gives_up(&mut world, REFUSES, &["group"]);
}

#[tokio::test]
async fn a_port_in_use_is_said_so() {
    let mut world = Replicas::prepare(1, Setup::default());
    let _held = std::net::TcpListener::bind(("127.0.0.1", world.replica(0).grpc)).unwrap();
    let port = world.replica(0).grpc.to_string();
    assert_gives_up(&mut world, AT_START, &[&port]);
}

#[test]
fn a_folder_that_cannot_be_made_is_said_so() {
    let mut world = Replicas::prepare(1, Setup::default());
    world.move_data(0, PathBuf::from("/proc/muster"));
    assert_gives_up(&mut world, AT_START, &["/proc/muster"]);
}

#[tokio::test]
async fn a_replica_whose_disk_was_lost_does_not_come_back_under_its_old_id() {
    let mut world = Replicas::start(3);
    world.client(0).activate(&code()).await.unwrap();
    world.kill(0);
    fs::remove_dir_all(world.data(0)).unwrap();
    assert_gives_up(&mut world, REFUSES, &["lost", "new id"]);
    assert_eq!(world.client(1).license().await.unwrap().activation_code, code());
}
