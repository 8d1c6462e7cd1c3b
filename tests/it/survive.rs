//! kill -9 under load: what was acknowledged is there afterwards, once, and the same on every replica.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tonic::transport::Endpoint;
use tonic::{Code, Status};

use crate::support::authority::code;
use crate::support::client::Client;
use crate::support::replicas::{Replicas, Setup};
use crate::support::wait;

const WORKERS: usize = 6;
const FIRST_END: i64 = 4_000_000_000;

/// Whether the client made this itself, as its connection broke, perhaps in the middle of an answer:
/// nothing that came over the wire has a source.
fn is_broken(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

/// What clients were told.
#[derive(Default)]
struct Ledger {
    /// Secrets of acknowledged registrations.
    registered: Mutex<BTreeMap<String, String>>,
    /// The newest acknowledged beat of each cluster; beats count up in their version.
    beaten: Mutex<BTreeMap<String, u64>>,
    /// The newest acknowledged end of the license.
    license_end: Mutex<i64>,
    acknowledged: AtomicU64,
    /// Answers that must never be given.
    wrong: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Ledger {
    fn acknowledge(&self) {
        self.acknowledged.fetch_add(1, Ordering::SeqCst);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// An error is allowed to say "not now"; a verdict on valid data is wrong.
    fn judge(&self, doing: &str, status: &Status) {
        let tolerated = matches!(
            status.code(),
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::ResourceExhausted
        ) || is_broken(status);
        if !tolerated {
            self.wrong.lock().unwrap().push(format!("{doing}: {status:?}"));
        }
    }
}

/// One client: registers clusters, and beats for those it has, at any replica that answers.
async fn work(worker: usize, clients: Vec<Client>, ledger: Arc<Ledger>) {
    let mut turn = worker;
    let mut beats = 0_u64;
    let mut own: Vec<(String, String)> = Vec::new();
    while !ledger.stopped() {
        if own.len() < 200 && beats.is_multiple_of(8) {
            let id = format!("cluster-{worker}-{}", own.len());
            let secret = format!("secret-of-{id}");
            while !ledger.stopped() {
                turn += 1;
                match clients[turn % clients.len()].add_once(&id, &id, &secret).await {
                    Ok(answer) => {
                        assert_eq!(answer, secret);
                        ledger.registered.lock().unwrap().insert(id.clone(), secret.clone());
                        own.push((id, secret));
                        ledger.acknowledge();
                        break;
                    }
                    Err(status) => ledger.judge(&format!("add {id}"), &status),
                }
            }
        }
        beats += 1;
        turn += 1;
        let Some((id, secret)) = own.get(turn % own.len().max(1)) else { continue };
        match clients[turn % clients.len()].beat(id, secret, &beats.to_string()).await {
            Ok(_) => {
                ledger.beaten.lock().unwrap().insert(id.clone(), beats);
                ledger.acknowledge();
            }
            Err(status) => ledger.judge(&format!("beat {id}"), &status),
        }
    }
}

/// One administrator: moves the end of the license, second by second.
async fn administer(clients: Vec<Client>, ledger: Arc<Ledger>) {
    let code = code();
    let mut end = FIRST_END;
    while !ledger.stopped() {
        end += 1;
        let at = usize::try_from(end).unwrap() % clients.len();
        match clients[at].activate_until(&code, Some(end)).await {
            Ok(stored) => {
                assert_eq!(stored, end);
                *ledger.license_end.lock().unwrap() = end;
                ledger.acknowledge();
            }
            Err(status) => ledger.judge("activate", &status),
        }
    }
}

/// Clients that give up soon, so that a dead replica costs little.
fn hasty_clients(world: &Replicas) -> Vec<Client> {
    (0..world.len())
        .map(|at| {
            let endpoint = Endpoint::from_shared(world.address(at))
                .unwrap()
                .connect_timeout(Duration::from_secs(1))
                .timeout(Duration::from_secs(5));
            Client::over(endpoint.connect_lazy())
        })
        .collect()
}

async fn wait_acknowledged(ledger: &Ledger, more: u64) {
    let aim = ledger.acknowledged.load(Ordering::SeqCst) + more;
    wait::until_ok("progress of the clients", || async {
        let now = ledger.acknowledged.load(Ordering::SeqCst);
        if now >= aim { Ok(()) } else { Err(format!("{now} of {aim} acknowledged")) }
    })
    .await;
}

fn rounds() -> u64 {
    std::env::var("MUSTER_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_done_twice_when_replicas_are_killed_under_load() {
    let setup = Setup { flags: vec!["--snapshot-entries=400".to_owned()], ..Setup::default() };
    let mut world = Replicas::start_with(3, setup);
    world.client(0).activate(&code()).await.unwrap();
    let ledger = Arc::new(Ledger::default());
    let mut tasks = vec![tokio::spawn(administer(hasty_clients(&world), Arc::clone(&ledger)))];
    for worker in 0..WORKERS {
        tasks.push(tokio::spawn(work(worker, hasty_clients(&world), Arc::clone(&ledger))));
    }

    for round in 0..rounds() {
        let mut dice = StdRng::seed_from_u64(round);
        wait_acknowledged(&ledger, dice.random_range(20..200)).await;
        match round % 3 {
            0 => {
                let leader = world.leader().await;
                world.kill(leader);
                wait_acknowledged(&ledger, dice.random_range(5..50)).await;
                world.launch(leader);
            }
            1 => {
                let follower = world.follower().await;
                world.kill(follower);
                wait_acknowledged(&ledger, dice.random_range(5..50)).await;
                world.launch(follower);
            }
            _ => {
                (0..3).for_each(|at| world.kill(at));
                (0..3).for_each(|at| world.launch(at));
            }
        }
        world.wait_ready();
        let wrong = ledger.wrong.lock().unwrap().clone();
        assert!(wrong.is_empty(), "round {round}: {wrong:#?}");
    }

    wait_acknowledged(&ledger, 50).await;
    ledger.stop.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    check(&world, &ledger).await;
}

async fn check(world: &Replicas, ledger: &Ledger) {
    let wrong = ledger.wrong.lock().unwrap().clone();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let registered = ledger.registered.lock().unwrap().clone();
    let beaten = ledger.beaten.lock().unwrap().clone();
    let license_end = *ledger.license_end.lock().unwrap();
    for at in 0..world.len() {
        let client = world.client(at);
        let rows = client.clusters().await.unwrap();
        let mut seen = BTreeMap::new();
        for row in rows {
            let id = row.id.clone();
            assert!(seen.insert(row.id.clone(), row).is_none(), "{id} is registered twice");
        }
        for id in registered.keys() {
            assert!(seen.contains_key(id), "replica {at} lost the registration of {id}");
        }
        for (id, beat) in &beaten {
            let recorded: u64 = seen[id].version.parse().unwrap_or(0);
            assert!(recorded >= *beat, "replica {at} lost beat {beat} of {id}: has {recorded}");
        }
        let license = client.license().await.unwrap();
        let end = license.info.unwrap().expires.unwrap().seconds;
        assert!(end >= license_end, "replica {at} lost the license that ends {license_end}: {end}");
    }
    for (id, secret) in registered.iter().take(20) {
        world.client(0).beat(id, secret, "9999999").await.unwrap();
    }
    let digests = world.state_digests().await;
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "states differ: {digests:?}");
    eprintln!(
        "{} acknowledged, {} registrations, {} clusters with beats: none lost, none twice",
        ledger.acknowledged.load(Ordering::SeqCst),
        registered.len(),
        beaten.len()
    );
}

#[tokio::test]
async fn without_a_quorum_requests_are_refused_within_their_time_and_nobody_is_judged() {
    let mut world = Replicas::start(3);
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    let secret = client.add("pach-1", "grpc://member:1").await.unwrap();
    world.kill(1);
    world.kill(2);
    for _ in 0..3 {
        let mut request = tonic::Request::new(muster_proto::license_v2::HeartbeatRequest {
            id: "pach-1".to_owned(),
            secret: secret.clone(),
            version: "2.11.6".to_owned(),
            ..Default::default()
        });
        request.set_timeout(Duration::from_secs(3));
        let refused = client.license.clone().heartbeat(request).await.unwrap_err();
        assert!(
            matches!(refused.code(), Code::Unavailable | Code::DeadlineExceeded),
            "{refused:?}"
        );
        assert!(!refused.message().contains("is not valid"), "{refused:?}");
    }
    let refused = client.beat("nobody", "wrong", "1").await.unwrap_err();
    assert!(!refused.message().contains("cluster ID or secret is not valid"), "{refused:?}");
    world.launch(1);
    world.launch(2);
    world.wait_ready();
    client.beat("pach-1", &secret, "2.11.7").await.unwrap();
}

#[tokio::test]
async fn a_follower_that_missed_more_than_the_log_keeps_comes_back_by_snapshot() {
    let setup = Setup { flags: vec!["--snapshot-entries=50".to_owned()], ..Setup::default() };
    let mut world = Replicas::start_with(3, setup);
    let follower = world.follower().await;
    let leader = world.leader().await;
    let client = world.client(leader);
    client.activate(&code()).await.unwrap();
    let secret = client.add("pach-1", "grpc://member:1").await.unwrap();
    world.kill(follower);
    for beat in 0..entries() {
        client.beat("pach-1", &secret, &beat.to_string()).await.unwrap();
    }
    world.launch(follower);
    world.wait_ready_one(follower);
    world.wait_level().await;
    let row = world.client(follower).cluster("pach-1").await.unwrap().unwrap();
    assert_eq!(row.version, (entries() - 1).to_string());
    let digests = world.state_digests().await;
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "states differ: {digests:?}");
    let printed = world.printed(follower);
    assert!(printed.contains("received a snapshot"), "it came back by the log:\n{printed}");
}

fn entries() -> u64 {
    std::env::var("MUSTER_TEST_ENTRIES").ok().and_then(|text| text.parse().ok()).unwrap_or(1000)
}

#[tokio::test]
async fn the_leader_hands_over_before_it_ends_and_no_request_fails() {
    let mut world = Replicas::start(3);
    let leader = world.leader().await;
    world.client(leader).activate(&code()).await.unwrap();
    let secret = world.client(leader).add("pach-1", "grpc://member:1").await.unwrap();
    let status = world.terminate(leader);
    assert_eq!(status.code(), Some(0), "{}", world.printed(leader));
    let other = (leader + 1) % 3;
    wait::until_ok("a heartbeat at another replica", || {
        let client = world.client(other);
        let secret = secret.clone();
        async move { client.beat("pach-1", &secret, "2.11.6").await.map_err(|e| e.to_string()) }
    })
    .await;
    world.launch(leader);
    world.wait_ready_one(leader);
    world.client(leader).beat("pach-1", &secret, "2.11.7").await.unwrap();
}

#[tokio::test]
async fn one_replica_alone_keeps_everything_over_kill_9() {
    let mut world = Replicas::start(1);
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    let secret = client.add("pach-1", "grpc://member:1").await.unwrap();
    client.beat("pach-1", &secret, "2.11.6").await.unwrap();
    world.restart(0);
    let client = world.client(0);
    assert_eq!(client.license().await.unwrap().activation_code, code());
    assert_eq!(client.cluster("pach-1").await.unwrap().unwrap().version, "2.11.6");
    client.beat("pach-1", &secret, "2.11.7").await.unwrap();
}
