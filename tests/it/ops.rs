//! The operations port, logs and the end of a replica.

use crate::support::authority::code;
use crate::support::http;
use crate::support::replicas::Replicas;
use crate::support::wait;

fn status(world: &Replicas, at: usize, path: &str) -> u16 {
    http::get(world.replica(at).ops, path).map_or(0, |answer| answer.status)
}

#[tokio::test]
async fn a_replica_that_serves_is_started_alive_and_ready() {
    let world = Replicas::start(1);
    for path in ["/startupz", "/livez", "/readyz"] {
        assert_eq!(status(&world, 0, path), 200, "{path}");
    }
    assert_eq!(status(&world, 0, "/nothing-here"), 404);
}

#[tokio::test]
async fn without_a_quorum_a_replica_is_alive_and_not_ready() {
    let mut world = Replicas::start(3);
    world.kill(1);
    world.kill(2);
    wait::until("the last replica to be unready", || {
        (status(&world, 0, "/readyz") == 503).then_some(())
    });
    assert_eq!(status(&world, 0, "/livez"), 200, "a restart cannot help");
    world.launch(1);
    world.wait_ready_one(1);
    wait::until("the quorum to be back", || (status(&world, 0, "/readyz") == 200).then_some(()));
}

#[tokio::test]
async fn a_replica_that_waits_for_its_peers_is_alive_and_not_ready() {
    let mut world = Replicas::prepare(3, crate::support::replicas::Setup::default());
    world.launch(0);
    wait::until("the probes to answer", || (status(&world, 0, "/livez") == 200).then_some(()));
    assert_eq!(status(&world, 0, "/readyz"), 503);
    // To read certificates again is no reason to end, however early it is said.
    world.process(0).signal("-HUP");
    world.launch(1);
    world.launch(2);
    world.wait_ready();
}

#[tokio::test]
async fn metrics_are_in_the_prometheus_format_under_one_prefix() {
    let world = Replicas::start(1);
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    let secret = client.add("pach-with-a-name", "grpc://member:1").await.unwrap();
    client.beat("pach-with-a-name", &secret, "2.11.6").await.unwrap();
    client.add("silent", "grpc://member:2").await.unwrap();
    let answer = http::get(world.replica(0).ops, "/metrics").unwrap();
    assert_eq!(answer.status, 200);
    for line in [
        "muster_clusters 2",
        "muster_cluster_heartbeat_age_clusters{bracket=\"60\"} 1",
        "muster_cluster_heartbeat_age_clusters{bracket=\"never\"} 1",
        "muster_state_objects{kind=\"clusters\"} 2",
        "muster_cluster_versions{version=\"2.11.6\"} 1",
        "muster_cluster_versions{version=\"unknown\"} 1",
        "muster_connections{listener=\"api\"} 1",
    ] {
        assert!(answer.body.contains(line), "no {line} in:\n{}", answer.body);
    }
    let mut typed = Vec::new();
    for line in answer.body.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            typed.push(name.to_owned());
        } else if !line.starts_with('#') {
            assert!(line.starts_with("muster_") || line.starts_with("process_"), "{line}");
            assert!(typed.iter().any(|name| line.starts_with(name.as_str())), "no type: {line}");
        }
    }
    assert!(typed.len() > 10, "{typed:?}");
    assert!(!answer.body.contains("pach-with-a-name"), "no label per cluster");
}

#[tokio::test]
async fn logs_hold_no_secrets() {
    let mut world = Replicas::start(1);
    let client = world.client(0);
    let code = code();
    client.activate(&code).await.unwrap();
    let secret = client.add("pach-1", "grpc://member:1").await.unwrap();
    client.beat("pach-1", &secret, "2.11.6").await.unwrap();
    client.beat("pach-1", "a-guessed-secret", "2.11.6").await.unwrap_err();
    world.terminate(0);
    let printed = world.printed(0);
    for hidden in [code.as_str(), secret.as_str(), "a-guessed-secret"] {
        assert!(!printed.contains(hidden), "{hidden} is in the log");
    }
}

#[tokio::test]
async fn sigterm_ends_a_replica_in_order() {
    let mut world = Replicas::start(1);
    world.client(0).activate(&code()).await.unwrap();
    assert_eq!(world.terminate(0).code(), Some(0), "{}", world.printed(0));
    world.launch(0);
    world.wait_ready();
    assert_eq!(world.client(0).license().await.unwrap().activation_code, code());
}
