//! Data that outlives its group: snapshots verified and restored, the quarantine after it, and the one
//! replica that a lost group left.

use std::fs;
use std::path::Path;

use muster_proto::muster::v1::restore_client::RestoreClient;
use tonic::Code;

use crate::support::authority::code;
use crate::support::cli::Cli;
use crate::support::operator::{Operator, join};
use crate::support::replicas::{Replicas, Setup};
use crate::support::secured::{ROOT, robot, secured, signed, who};
use crate::support::{http, wait};

/// What switches a member off.
const FATAL: &str = "cluster ID or secret is not valid";
const DAMAGED: i32 = 71;
const REFUSES: i32 = 78;

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

/// A replica with a license and one cluster, its snapshot and the secret of the cluster.
async fn saved() -> (Replicas, String, String) {
    let world = Replicas::start(1);
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    let secret = client.add("kept", "grpc://member:1").await.unwrap();
    client.beat("kept", &secret, "2.11.6").await.unwrap();
    let path = client.save_snapshot().await.unwrap().path;
    (world, path, secret)
}

/// The replica started again on a folder restored from `file`.
fn restore(world: &mut Replicas, cli: &Cli, file: &str, more: &[&str]) {
    world.terminate(0);
    let folder = world.folder().join("restored");
    let to = folder.display().to_string();
    let mut arguments = vec!["snapshot", "restore", file, "--data", &to, "--name", "r0"];
    arguments.extend(more);
    cli.ok(&arguments);
    world.move_data(0, folder);
    world.launch(0);
    world.wait_ready_one(0);
}

#[tokio::test]
async fn a_snapshot_is_verified_restored_and_holds_the_same() {
    let (mut world, file, secret) = saved().await;
    let cli = Cli::new();
    let before = json(&cli.ok(&["snapshot", "verify", &file, "-o", "json"]));
    assert_eq!(before["clusters"], 1);
    let old = world.client(0).status().await.unwrap();
    // The same by the wire.
    let connected = Cli::connected(&world.pachd_address(0));
    let fetched = world.folder().join("fetched.snap").display().to_string();
    let told = json(&connected.ok(&["snapshot", "save", &fetched, "-o", "json"]));
    assert_eq!(told["content"], before["content"]);
    assert_eq!(fs::read(&fetched).unwrap(), fs::read(&file).unwrap());
    assert!(connected.fails(&["snapshot", "save", &fetched]).contains("of that name"));
    restore(&mut world, &cli, &file, &[]);

    let client = world.client(0);
    let new = client.status().await.unwrap();
    assert_ne!(old.group, new.group);
    assert_ne!(old.id, new.id);
    assert!(new.applied_index > old.applied_index + 1_000_000, "positions jump forward");
    assert!(new.term > old.term && new.quarantined);
    let time = |status: &muster_proto::muster::v1::ReplicaStatus| {
        status.applied_time.as_ref().map(|time| (time.seconds, time.nanos))
    };
    assert!(time(&new) > time(&old), "log time jumps forward");
    let again = client.save_snapshot().await.unwrap().path;
    let after = json(&cli.ok(&["snapshot", "verify", &again, "-o", "json"]));
    assert_eq!(after["content"], before["content"]);
    assert_eq!(after["quarantined"], true);
    client.beat("kept", &secret, "2.11.6").await.unwrap();
    world.restart(0);
    assert_eq!(world.client(0).status().await.unwrap().group, new.group);
}

#[tokio::test]
async fn a_restored_server_switches_nobody_off_until_it_is_confirmed() {
    let (mut world, file, secret) = saved().await;
    // Registered and changed after the snapshot, hence lost by the restore.
    let late = world.client(0).add("late", "grpc://member:2").await.unwrap();
    let cli = Cli::connected(&world.pachd_address(0));
    restore(&mut world, &cli, &file, &[]);
    let client = world.client(0);

    client.beat("kept", &secret, "2.11.6").await.unwrap();
    for (id, secret) in [("late", late.as_str()), ("kept", "changed since")] {
        let told = client.beat(id, secret, "2.11.6").await.unwrap_err();
        assert_eq!(told.code(), Code::Unavailable, "{told:?}");
        assert!(!told.message().contains(FATAL), "{told:?}");
    }
    let told = client.join("grpc://localhost:1653", "late", &late).await.unwrap_err();
    assert_eq!(told.code(), Code::Unavailable, "{told:?}");
    assert!(!told.message().contains(FATAL), "{told:?}");

    let status = json(&cli.ok(&["restore", "status", "-o", "json"]));
    assert_eq!(status["origin"], "snapshot");
    assert_eq!(status["strays"][0]["id"], "kept");
    assert_eq!(status["strays"][0]["registered"], true);
    assert_eq!(status["strays"][1]["id"], "late");
    let ops = world.replica(0).ops;
    assert!(http::get(ops, "/readyz").unwrap().body.contains("quarantine"));
    assert!(http::get(ops, "/healthz").unwrap().body.contains("quarantined: yes"));
    assert!(http::get(ops, "/metrics").unwrap().body.contains("muster_restore_quarantined 1"));
    assert!(world.printed(0).contains("in quarantine"));

    // The quarantine is the group's, not the process's.
    world.restart(0);
    let client = world.client(0);
    let told = client.beat("late", &late, "2.11.6").await.unwrap_err();
    assert_eq!(told.code(), Code::Unavailable, "{told:?}");

    let asked = cli.run(&["restore", "confirm"]);
    assert_eq!(asked.code, 2, "{asked:?}");
    assert!(asked.err.contains("--yes"), "{asked:?}");
    cli.ok(&["restore", "confirm", "--yes"]);
    let told = client.beat("late", &late, "2.11.6").await.unwrap_err();
    assert!(told.message().contains(FATAL), "{told:?}");
    client.beat("kept", &secret, "2.11.6").await.unwrap();
    assert!(!client.status().await.unwrap().quarantined);
    assert!(cli.ok(&["restore", "confirm"]).contains("nothing to confirm"));
}

#[tokio::test]
async fn damage_and_folders_in_use_are_refused() {
    let (mut world, file, _) = saved().await;
    let cli = Cli::new();
    let taken = world.data(0).display().to_string();
    let refused = cli.fails(&["snapshot", "restore", &file, "--data", &taken]);
    assert!(refused.contains("not empty"), "{refused}");
    world.terminate(0);

    let copy = world.folder().join("copy.snap");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&copy, bytes).unwrap();
    let (copy, to) = (copy.display().to_string(), world.folder().join("to").display().to_string());
    for arguments in [
        &["snapshot", "verify", &copy][..],
        &["snapshot", "inspect", &copy],
        &["snapshot", "restore", &copy, "--data", &to],
    ] {
        let ran = cli.run(arguments);
        assert_eq!(ran.code, DAMAGED, "{arguments:?}: {ran:?}");
    }
    assert!(!Path::new(&to).exists());
}

#[tokio::test]
async fn tokens_can_be_left_behind_but_root_stays() {
    let mut world = secured(1).await;
    let token = robot(&world.client(0), "r", 0).await;
    let mut replica = world.client(0).replica;
    let request = muster_proto::muster::v1::SaveSnapshotRequest {};
    let file = replica.save_snapshot(signed(request, ROOT)).await.unwrap().into_inner().path;
    restore(&mut world, &Cli::new(), &file, &["--drop-tokens"]);
    let client = world.client(0);
    assert_eq!(who(&client, ROOT).await.unwrap().username, "pach:root");
    assert!(who(&client, &token).await.is_err());
    let mut restore = RestoreClient::new(client.channel.clone());
    let request = muster_proto::muster::v1::ConfirmRestoreRequest {};
    let stranger = restore.confirm(request).await.unwrap_err();
    assert_eq!(stranger.code(), Code::Unauthenticated, "{stranger:?}");
    restore.confirm(signed(request, ROOT)).await.unwrap();
}

#[tokio::test]
async fn the_one_that_is_left_goes_on_and_the_others_are_refused_for_ever() {
    let flags = ["--promote-after", "1s"].map(str::to_owned).to_vec();
    let mut world = Replicas::start_with(3, Setup { peer_tls: true, flags, ..Setup::default() });
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    let secret = client.add("kept", "grpc://member:1").await.unwrap();
    // One of them misses what follows.
    world.kill(2);
    world.client(0).add("late", "grpc://member:2").await.unwrap();
    let ids: Vec<String> = json(&fs_status(&world))["replicas"]
        .as_array()
        .unwrap()
        .iter()
        .map(|replica| replica["id"].as_str().unwrap().to_owned())
        .collect();

    let cli = Cli::new();
    let folders: Vec<String> = (0..3).map(|at| world.data(at).display().to_string()).collect();
    let recover = ["recover", "force-new-group", "--data", &folders[0], "--data", &folders[2]];
    let running = cli.fails(&recover);
    assert!(running.contains("in use by another process"), "{running}");
    world.terminate(0);
    world.terminate(1);

    let seen = json(&cli.ok(&[&recover[..], &["-o", "json"]].concat()));
    assert_eq!(seen["most_advanced_first"][0]["name"], "r0");
    assert_eq!(seen["most_advanced_first"][1]["name"], "r2");
    let with = |more: &[&str]| cli.run(&[&recover[..], more].concat());
    let behind = with(&["--survivor", "r2", "--lost", &ids[0], "--lost", &ids[1]]);
    assert!(behind.code == 1 && behind.err.contains("more of the log"), "{behind:?}");
    let unsaid = with(&["--survivor", "r0"]);
    assert!(unsaid.code == 2 && unsaid.err.contains("--lost"), "{unsaid:?}");
    let wrong = with(&["--survivor", "r0", "--lost", &ids[1]]);
    assert!(wrong.code == 2 && wrong.err.contains(&ids[2]), "{wrong:?}");
    let done = with(&["--survivor", "r0", "--lost", &ids[1], "--lost", &ids[2]]);
    assert_eq!(done.code, 0, "{done:?}");

    // With the flags of before: what the folder says counts.
    world.launch(0);
    world.wait_ready_one(0);
    let client = world.client(0);
    assert_eq!(client.clusters().await.unwrap().len(), 2, "nothing that it knew is lost");
    client.beat("kept", &secret, "2.11.6").await.unwrap();
    let told = client.beat("unknown", "s", "2.11.6").await.unwrap_err();
    assert_eq!(told.code(), Code::Unavailable, "{told:?}");
    assert!(client.status().await.unwrap().quarantined);

    // The majority that was given up comes back, and could agree without the survivor.
    world.launch(1);
    world.launch(2);
    for at in [1, 2] {
        let status = world.wait_ended(at);
        assert_eq!(status.code(), Some(REFUSES), "{}", world.printed(at));
        assert!(world.printed(at).contains("given up"), "{}", world.printed(at));
    }
    assert!(world.is_running(0));
    client.beat("kept", &secret, "2.11.6").await.unwrap();

    // With emptied folders they join the group that took its place, as what they never were.
    Cli::connected(&world.pachd_address(0)).ok(&["restore", "confirm", "--yes"]);
    let operator = Operator::of(&world);
    for at in [1, 2] {
        fs::remove_dir_all(world.data(at)).unwrap();
        join(&mut world, &operator, at);
    }
    operator.wait_voters(&["r0", "r1", "r2"]);
    let list = operator.list();
    for replica in list["replicas"].as_array().unwrap() {
        let id = replica["id"].as_str().unwrap().to_owned();
        assert!(!ids[1..].contains(&id), "no id comes back: {list}");
    }
    // So far that the one that was left is not needed any more.
    world.wait_level().await;
    world.kill(0);
    let client = world.client(1);
    wait::until_ok("the newcomers to agree", || async {
        client.beat("kept", &secret, "2.11.7").await.map_err(|status| status.to_string())
    })
    .await;
    assert_eq!(client.clusters().await.unwrap().len(), 2);
    assert_eq!(client.cluster("kept").await.unwrap().unwrap().version, "2.11.7");
}

/// `muster replica list` of the first replica.
fn fs_status(world: &Replicas) -> String {
    let cli = Cli::connected(&world.pachd_address(0));
    wait::until("the list of replicas", || {
        let ran = cli.run(&["replica", "list", "-o", "json"]);
        (!ran.out.is_empty()).then_some(ran.out)
    })
}
