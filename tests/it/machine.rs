//! What a machine can do to a replica: fill its disk, make it read-only, set its clock back. Real file
//! systems and a real clock, which takes root and Debian's libfaketime; without them a test says so.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tonic::Code;

use crate::support::authority::code;
use crate::support::client::Client;
use crate::support::replicas::{Replicas, Setup};
use crate::support::tmpfs::Tmpfs;
use crate::support::wait;

const AT_START: i32 = 74;

async fn until_refused(client: &Client) -> tonic::Status {
    let mut at = 0;
    wait::until_ok("registrations to be refused", || {
        at += 1;
        let (client, id) = (client.clone(), format!("more-{at}"));
        async move { client.add(&id, "grpc://member:1").await.err().ok_or("still taken") }
    })
    .await
}

#[tokio::test]
async fn a_full_disk_refuses_growth_and_nothing_else_and_ends_by_itself() {
    let mut world = Replicas::prepare(1, Setup::default());
    let Some(disk) = Tmpfs::mount(&world.data(0), 300) else { return };
    world.launch(0);
    world.wait_ready();
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    let secret = client.add("kept", "grpc://member:1").await.unwrap();
    client.add("deleted", "grpc://member:1").await.unwrap();

    // Somebody else fills the disk: below a quarter, and above the 64 MiB that the log itself wants.
    let ballast = disk.fill(72);
    let refused = until_refused(&client).await;
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("the disk is almost full"), "{refused:?}");
    let before = client.clusters().await.unwrap().len();

    // What saves the fleet, and what makes room, goes on.
    for _ in 0..50 {
        client.beat("kept", &secret, "2.11.6").await.unwrap();
    }
    client.delete("deleted").await.unwrap();
    assert_eq!(client.clusters().await.unwrap().len(), before - 1);
    assert!(world.process(0).ended().is_none());

    fs::remove_file(&ballast).unwrap();
    wait::until_ok("registrations to be taken again", || async {
        match client.add("later", "grpc://member:1").await {
            Ok(_) => Ok(()),
            Err(status) => Err(status.to_string()),
        }
    })
    .await;

    world.restart(0);
    let ids: Vec<String> =
        world.client(0).clusters().await.unwrap().into_iter().map(|cluster| cluster.id).collect();
    assert!(ids.contains(&"kept".to_owned()) && ids.contains(&"later".to_owned()), "{ids:?}");
    assert!(!ids.contains(&"deleted".to_owned()), "{ids:?}");
}

#[tokio::test]
async fn a_disk_without_any_room_loses_nothing_that_was_acknowledged() {
    let mut world = Replicas::prepare(1, Setup::default());
    let Some(_disk) = Tmpfs::mount(&world.data(0), 90) else { return };
    world.launch(0);
    world.wait_ready();
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    let secret = client.add("kept", "grpc://member:1").await.unwrap();

    // To the last byte: `write` goes on until the disk refuses.
    let ballast = world.data(0).join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut file, &[7; 4096]).is_ok() {}
    let refused = until_refused(&client).await;
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    // Beats are refused too by now, or taken; a wrong verdict on a member is never given.
    if let Err(status) = client.beat("kept", &secret, "2.11.6").await {
        assert!(matches!(status.code(), Code::ResourceExhausted | Code::Unavailable), "{status:?}");
        assert!(!status.message().contains("cluster ID or secret is not valid"), "{status:?}");
    }

    drop(file);
    fs::remove_file(&ballast).unwrap();
    wait::until_ok("heartbeats to be taken again", || async {
        match client.beat("kept", &secret, "2.11.7").await {
            Ok(_) => Ok(()),
            Err(status) => Err(status.to_string()),
        }
    })
    .await;
    world.restart(0);
    let kept = world.client(0).cluster("kept").await.unwrap().unwrap();
    assert_eq!(kept.version, "2.11.7");
}

#[tokio::test]
async fn a_read_only_data_folder_is_refused_and_stays_whole() {
    let mut world = Replicas::prepare(1, Setup::default());
    let data = world.data(0);
    let disk = Tmpfs::mount(&data, 90);
    world.launch(0);
    world.wait_ready();
    world.client(0).activate(&code()).await.unwrap();
    world.client(0).add("kept", "grpc://member:1").await.unwrap();
    world.terminate(0);

    match &disk {
        Some(disk) => disk.remount("ro"),
        None => fs::set_permissions(&data, fs::Permissions::from_mode(0o555)).unwrap(),
    }
    let before = contents(&data);
    drop(fs::remove_file(world.log(0)));
    world.launch(0);
    let status = world.wait_ended(0);
    let printed = world.printed(0);
    match &disk {
        Some(disk) => disk.remount("rw"),
        None => fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap(),
    }
    assert_eq!(status.code(), Some(AT_START), "{printed}");
    assert!(printed.contains(&*data.to_string_lossy()), "the folder is named: {printed}");
    assert_eq!(contents(&data), before);

    world.launch(0);
    world.wait_ready();
    assert_eq!(world.client(0).clusters().await.unwrap().len(), 1, "nothing was lost");
}

/// Every file directly below, with its bytes.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    found.sort();
    found
}

/// Debian's libfaketime, which tells a process another time of day and leaves its timers alone.
fn faketime() -> Option<PathBuf> {
    let folders = ["x86_64-linux-gnu", "aarch64-linux-gnu"];
    let found = folders
        .iter()
        .map(|folder| PathBuf::from(format!("/usr/lib/{folder}/faketime/libfaketimeMT.so.1")))
        .find(|path| path.exists());
    if found.is_none() {
        eprintln!("SKIPPED: no libfaketime (Debian's package libfaketime)");
    }
    found
}

#[tokio::test]
async fn a_clock_set_back_an_hour_turns_nothing_back_and_is_told_of() {
    let Some(library) = faketime() else { return };
    let offset = tempfile::NamedTempFile::new().unwrap();
    fs::write(offset.path(), "+0").unwrap();
    let env = [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", offset.path().display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let env = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let mut world = Replicas::start_with(3, Setup { env, ..Setup::default() });
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    let secret = client.add("member", "grpc://member:1").await.unwrap();
    client.beat("member", &secret, "2.11.5").await.unwrap();
    let beaten = |found: Option<muster_proto::license_v2::ClusterStatus>| {
        let time = found.unwrap().last_heartbeat.unwrap();
        (time.seconds, time.nanos)
    };
    let before = beaten(client.cluster("member").await.unwrap());
    let time_before = applied_time(&client).await;

    // One file for all three: whoever leads, leads with a clock that was set back.
    fs::write(offset.path(), "-3600").unwrap();
    wait::until("the replicas to tell of the clock", || {
        let told = |at| world.printed(at).contains("time is ahead of this machine's clock");
        (0..3).all(told).then_some(())
    });

    client.beat("member", &secret, "2.11.6").await.unwrap();
    let after = beaten(client.cluster("member").await.unwrap());
    assert!(after >= before, "{after:?} is before {before:?}");
    assert!(after.0 < before.0 + 600, "it did not jump ahead either");
    assert!(applied_time(&client).await >= time_before);
    client.add("new", "grpc://member:2").await.unwrap();

    // A new leader and a replica that starts with the wrong clock go on from the log's time.
    let leader = world.leader().await;
    world.kill(leader);
    let client = world.client(world.follower().await);
    client.beat("member", &secret, "2.11.7").await.unwrap();
    world.launch(leader);
    world.wait_ready_one(leader);
    world.wait_level().await;
    let last = world.client(leader).cluster("member").await.unwrap();
    assert_eq!(last.as_ref().unwrap().version, "2.11.7");
    assert!(beaten(last) >= after);
    assert_eq!(world.client(leader).clusters().await.unwrap().len(), 2);
}

/// Seconds and nanoseconds.
async fn applied_time(client: &Client) -> (i64, i32) {
    let time = client.status().await.unwrap().applied_time.unwrap();
    (time.seconds, time.nanos)
}
