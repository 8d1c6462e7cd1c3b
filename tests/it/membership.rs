//! The group grows, shrinks and heals while clients go on: real processes, no write that was
//! acknowledged and is gone, no restart of the others.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::authority::code;
use crate::support::client::Client;
use crate::support::operator::{Operator, join, joining};
use crate::support::replicas::{Replicas, Setup};
use crate::support::tmpfs::Tmpfs;
use crate::support::wait;

const REMOVED: i32 = 79;
const REFUSES: i32 = 78;

/// Writes that three clients get through during any change of the members, at the very least.
const SERVED_MIN: usize = 10;

/// So that a test need not wait for ten seconds at each promotion.
fn setup() -> Setup {
    let flags = ["--promote-after", "1s"].map(str::to_owned).to_vec();
    Setup { flags, ..Setup::default() }
}

/// A group in which all replicas but the first are still to come.
fn alone(size: usize) -> Replicas {
    let mut world = Replicas::prepare(size, setup());
    let mut command = world.command_alone(0);
    world.launch_as(0, &mut command);
    world.wait_ready_one(0);
    world
}

/// Clients that register clusters one after the other, each through the replica that answers.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn on(world: &Replicas) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let tasks = (0..3)
            .map(|writer| {
                let clients: Vec<Client> = (0..world.len()).map(|at| world.client(at)).collect();
                tokio::spawn(write(writer, clients, Arc::clone(&stop), Arc::clone(&acknowledged)))
            })
            .collect();
        Load { stop, acknowledged, tasks }
    }

    /// Makes a change of the members, and demands that clients were served all the while.
    fn during(&self, what: &str, change: impl FnOnce()) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        tokio::task::block_in_place(change);
        let served = self.acknowledged.load(Ordering::Relaxed) - before;
        assert!(served >= SERVED_MIN, "only {served} writes were acknowledged during {what}");
    }

    /// The ids that were acknowledged.
    async fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for task in self.tasks {
            all.extend(task.await.unwrap());
        }
        all
    }
}

/// A failed write is one that no replica takes although it is asked again by its name; none may be.
async fn write(
    writer: usize,
    clients: Vec<Client>,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let mut at = 0;
    while !stop.load(Ordering::Relaxed) {
        let id = format!("w{writer}-{}", acknowledged.len());
        let deadline = std::time::Instant::now() + Duration::from_mins(1);
        loop {
            match clients[at % clients.len()].add_once(&id, &id, "s").await {
                Ok(_) => break,
                Err(status) => {
                    assert!(std::time::Instant::now() < deadline, "{id}: {status:?}");
                    at += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        acknowledged.push(id);
        count.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn from_one_to_three_to_five_and_back_under_load() {
    let mut world = alone(5);
    world.client(0).activate(&code()).await.unwrap();
    let operator = Operator::of(&world);
    let load = Load::on(&world);

    load.during("one to three", || {
        join(&mut world, &operator, 1);
        join(&mut world, &operator, 2);
        operator.wait_voters(&["r0", "r1", "r2"]);
    });
    load.during("three to five", || {
        join(&mut world, &operator, 3);
        join(&mut world, &operator, 4);
        operator.wait_voters(&["r0", "r1", "r2", "r3", "r4"]);
    });
    // The first one leads among those that go: nobody is needed for ever.
    load.during("five to three", || {
        operator.ok(&["transfer-leader", "--to", "r0"]);
        assert_eq!(operator.leader().as_deref(), Some("r0"));
        operator.ok(&["remove", "r0", "r1"]);
        operator.wait_voters(&["r2", "r3", "r4"]);
    });
    for at in [0, 1] {
        let status = tokio::task::block_in_place(|| world.wait_ended(at));
        assert_eq!(status.code(), Some(REMOVED), "{}", world.printed(at));
        assert!(world.printed(at).contains("removed"), "{}", world.printed(at));
    }
    load.during("three to one", || {
        operator.ok(&["remove", "r2", "r3"]);
        operator.wait_voters(&["r4"]);
    });

    let acknowledged = load.end().await;
    assert!(acknowledged.len() > 50, "only {} writes", acknowledged.len());
    let clusters = world.client(4).clusters().await.unwrap();
    let known: std::collections::BTreeSet<&str> =
        clusters.iter().map(|cluster| cluster.id.as_str()).collect();
    let lost: Vec<_> = acknowledged.iter().filter(|id| !known.contains(id.as_str())).collect();
    assert!(lost.is_empty(), "acknowledged and gone: {lost:?}");
    let starts = world.printed(4).matches("starting").count();
    assert_eq!(starts, 1, "nobody was restarted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_disk_was_wiped_comes_back_under_a_new_id() {
    let mut world = Replicas::start_with(3, setup());
    world.client(0).activate(&code()).await.unwrap();
    let operator = Operator::of(&world);
    let id_of = |list: &serde_json::Value, name: &str| {
        let replicas = list["replicas"].as_array().unwrap();
        let found: Vec<_> = replicas.iter().filter(|it| it["name"] == name).collect();
        found.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let before = id_of(&operator.list(), "r2");
    world.kill(2);
    fs::remove_dir_all(world.data(2)).unwrap();
    // Down for a moment, if it led.
    let degraded = tokio::task::block_in_place(|| {
        wait::until("a group that lost one of three", || {
            let ran = operator.run(&["list"]);
            (ran.code == 7).then_some(ran)
        })
    });
    assert!(degraded.out.contains("SILENT"), "{degraded:?}");
    tokio::task::block_in_place(|| join(&mut world, &operator, 2));
    tokio::task::block_in_place(|| operator.wait_voters(&["r0", "r1", "r2"]));
    let after = id_of(&operator.list(), "r2");
    assert_eq!(after.len(), 1);
    assert_ne!(after, before, "it might have voted under its old id");
    assert_eq!(world.client(2).license().await.unwrap().activation_code, code());

    // The same folder again, its token long used.
    world.kill(2);
    let token = world.folder().join("join-token-2");
    let mut command = joining(&world, 2, 0, &token);
    world.launch_as(2, &mut command);
    world.wait_ready_one(2);
    tokio::task::block_in_place(|| operator.wait_voters(&["r0", "r1", "r2"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_break_the_group_is_refused_and_said_why() {
    let mut world = Replicas::start_with(3, setup());
    let operator = Operator::of(&world);
    let even = operator.run(&["remove", "r2"]);
    assert!(even.code == 1 && even.err.contains("2 voters"), "{even:?}");
    let unknown = operator.run(&["remove", "r9"]);
    assert!(unknown.code == 1 && unknown.err.contains("r0, r1, r2"), "{unknown:?}");
    let unasked = operator.run(&["remove", "r2", "--force"]);
    assert!(unasked.code == 2 && unasked.err.contains("--yes"), "{unasked:?}");

    let file = world.folder().join("bad-token");
    fs::write(&file, "no-token-of-this-group").unwrap();
    world.kill(2);
    fs::remove_dir_all(world.data(2)).unwrap();
    let mut command = joining(&world, 2, 0, &file);
    world.launch_as(2, &mut command);
    let status = world.wait_ended(2);
    assert_eq!(status.code(), Some(REFUSES), "{}", world.printed(2));
    assert!(world.printed(2).contains("token"), "{}", world.printed(2));
    assert!(!world.printed(2).contains("no-token-of-this-group"));

    world.kill(1);
    let down = wait::until("the group to be down", || {
        let ran = operator.run(&["status"]);
        (ran.code == 8).then_some(ran)
    });
    assert!(down.out.contains("SILENT"), "{down:?}");
    world.kill(0);
    assert_eq!(operator.run(&["status"]).code, 8);
}

#[test]
fn what_the_group_does_by_itself_is_configured() {
    let world = Replicas::start(1);
    let operator = Operator::of(&world);
    operator.ok(&["configure", "--dead-after", "24h", "--voters", "3"]);
    let list = operator.list();
    assert_eq!((&list["dead_after_seconds"], &list["target_voters"]), (&86_400.into(), &3.into()));
    operator.ok(&["configure", "--dead-after", "off"]);
    assert_eq!(operator.list()["dead_after_seconds"], 0);
}

#[test]
fn a_replica_whose_disk_is_nearly_full_votes_only_when_there_is_room() {
    let mut world = alone(3);
    let operator = Operator::of(&world);
    let Some(disk) = Tmpfs::mount(&world.data(2), 300) else { return };
    // Below a quarter, and above the 64 MiB that the log itself wants.
    let ballast = disk.fill(72);
    join(&mut world, &operator, 1);
    join(&mut world, &operator, 2);
    let waits = |name: &str| operator.waits(name);
    wait::until("the disk to be told of", || waits("r2").filter(|it| it.contains("disk is low")));
    wait::until("the other to be ready", || waits("r1").filter(|it| it.contains("even")));
    let status = operator.ok(&["status"]);
    assert!(status.contains("no vote yet:   its disk is low"), "{status}");
    let refused = operator.run(&["promote", "r1", "r2"]);
    assert!(refused.code == 1 && refused.err.contains("is low: make room"), "{refused:?}");

    fs::remove_file(&ballast).unwrap();
    operator.wait_voters(&["r0", "r1", "r2"]);
    assert_eq!(waits("r2"), None);
}

#[test]
fn a_change_that_does_not_come_to_its_end_is_given_up() {
    let flags = ["--promote-after", "60s"].map(str::to_owned).to_vec();
    let mut world = Replicas::prepare(3, Setup { flags, ..Setup::default() });
    let mut command = world.command_alone(0);
    world.launch_as(0, &mut command);
    world.wait_ready_one(0);
    let operator = Operator::of(&world);
    join(&mut world, &operator, 1);
    join(&mut world, &operator, 2);
    let nothing = operator.run(&["abandon"]);
    assert!(nothing.code == 1 && nothing.err.contains("no change"), "{nothing:?}");

    world.kill(2);
    wait::until("it to be missed", || operator.waits("r2").filter(|it| it.contains("hear")));
    std::thread::scope(|scope| {
        let promoting = scope.spawn(|| operator.run(&["promote", "r1", "r2"]));
        wait::until("the change", || (operator.list()["change_id"].as_u64()? > 0).then_some(()));
        let busy = operator.run(&["remove", "r2"]);
        assert!(busy.code == 1 && busy.err.contains("under way"), "{busy:?}");
        let given_up = operator.ok(&["abandon"]);
        assert!(given_up.contains("r1 and r2 to vote"), "{given_up}");
        let promoted = promoting.join().unwrap();
        assert!(promoted.code == 1 && promoted.err.contains("given up"), "{promoted:?}");
    });
    operator.ok(&["remove", "r2"]);
    let list = operator.list();
    assert_eq!((&list["change_id"], &list["health"]), (&0.into(), &"healthy".into()), "{list}");
}
