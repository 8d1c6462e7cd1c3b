//! The group grows, shrinks and heals while clients go on: real processes, no write that was
//! acknowledged and is gone, no restart of the others.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::authority::code;
use crate::support::cli::Cli;
use crate::support::client::Client;
use crate::support::replicas::{Replicas, Setup};
use crate::support::wait;

const REMOVED: i32 = 79;
const REFUSES: i32 = 78;

/// So that a test need not wait for ten seconds at each promotion.
fn setup() -> Setup {
    let flags = ["--promote-after", "1s"].map(str::to_owned).to_vec();
    Setup { flags, ..Setup::default() }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

/// A group in which all replicas but the first are still to come.
fn alone(size: usize) -> Replicas {
    let mut world = Replicas::prepare(size, setup());
    let mut command = world.command_alone(0);
    world.launch_as(0, &mut command);
    world.wait_ready_one(0);
    world
}

/// `muster replica …` against every replica, whichever of them runs.
struct Operator {
    cli: Cli,
    addresses: String,
}

impl Operator {
    fn of(world: &Replicas) -> Operator {
        let addresses: Vec<String> = (0..world.len()).map(|at| world.pachd_address(at)).collect();
        Operator { cli: Cli::new(), addresses: addresses.join(",") }
    }

    fn run(&self, words: &[&str]) -> crate::support::cli::Ran {
        self.cli.run(&[&["replica"], words, &["--address", &self.addresses]].concat())
    }

    fn ok(&self, words: &[&str]) -> String {
        let ran = self.run(words);
        assert_eq!(ran.code, 0, "muster replica {words:?}: {ran:?}");
        ran.out
    }

    fn list(&self) -> serde_json::Value {
        let ran = self.run(&["list", "-o", "json"]);
        if ran.out.is_empty() { serde_json::Value::Null } else { json(&ran.out) }
    }

    /// Waits until exactly these vote and everybody is well.
    fn wait_voters(&self, wanted: &[&str]) {
        wait::until(&format!("{wanted:?} to vote: {}", self.list()), || {
            let list = self.list();
            let replicas = list["replicas"].as_array()?;
            let mut voters: Vec<&str> = replicas
                .iter()
                .filter(|it| it["voter"] == true)
                .filter_map(|it| it["name"].as_str())
                .collect();
            voters.sort_unstable();
            let well = list["health"] == "healthy" && list["change"] == "";
            let well = well && replicas.len() == wanted.len();
            (well && voters == wanted).then_some(())
        });
    }
}

/// Starts a replica with an empty folder that joins through the first one that runs.
fn join(world: &mut Replicas, operator: &Operator, at: usize) {
    let token = operator.ok(&["token"]);
    let file = world.folder().join(format!("join-token-{at}"));
    fs::write(&file, token).unwrap();
    let through = (0..world.len()).find(|other| world.is_running(*other)).unwrap();
    let mut command = joining(world, at, through, &file);
    world.launch_as(at, &mut command);
    world.wait_ready_one(at);
}

fn joining(world: &Replicas, at: usize, through: usize, token: &PathBuf) -> Command {
    let mut command = world.command_alone(at);
    command.args(["--join", &world.pachd_address(through)]);
    command.arg("--join-token-file").arg(token);
    command
}

/// Clients that register clusters one after the other, each through the replica that answers.
struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn on(world: &Replicas) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = (0..3)
            .map(|writer| {
                let clients: Vec<Client> = (0..world.len()).map(|at| world.client(at)).collect();
                tokio::spawn(write(writer, clients, Arc::clone(&stop)))
            })
            .collect();
        Load { stop, tasks }
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
async fn write(writer: usize, clients: Vec<Client>, stop: Arc<AtomicBool>) -> Vec<String> {
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

    for at in [1, 2] {
        tokio::task::block_in_place(|| join(&mut world, &operator, at));
    }
    tokio::task::block_in_place(|| operator.wait_voters(&["r0", "r1", "r2"]));
    for at in [3, 4] {
        tokio::task::block_in_place(|| join(&mut world, &operator, at));
    }
    tokio::task::block_in_place(|| operator.wait_voters(&["r0", "r1", "r2", "r3", "r4"]));
    // The first one among those that go: nobody is needed for ever.
    tokio::task::block_in_place(|| operator.ok(&["remove", "r0", "r1"]));
    tokio::task::block_in_place(|| operator.wait_voters(&["r2", "r3", "r4"]));
    for at in [0, 1] {
        let status = tokio::task::block_in_place(|| world.wait_ended(at));
        assert_eq!(status.code(), Some(REMOVED), "{}", world.printed(at));
        assert!(world.printed(at).contains("removed"), "{}", world.printed(at));
    }
    tokio::task::block_in_place(|| operator.ok(&["remove", "r2", "r3"]));
    tokio::task::block_in_place(|| operator.wait_voters(&["r4"]));

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
