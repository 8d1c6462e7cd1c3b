//! The activation code in log and snapshots: sealed with the group's data key, or in clear without one.

use std::path::Path;
use std::process::Command;

use muster_proto::enterprise_v2::State;
use tonic::{Code, Status};

use crate::support::authority::{Authority, FAR, code};
use crate::support::client::Client;
use crate::support::replicas::{Replicas, Setup};
use crate::support::{http, wait};

/// Starts a replica with the data key that stands for `text`, or with none.
fn launch(world: &mut Replicas, at: usize, text: Option<&str>) {
    let mut command = world.command(at);
    if let Some(text) = text {
        let key = world.folder().join(format!("{text}.key"));
        std::fs::write(&key, text.repeat(32)).unwrap();
        command.arg("--data-key-file").arg(key);
    }
    world.launch_as(at, &mut command);
}

fn restart(world: &mut Replicas, at: usize, text: Option<&str>) {
    world.terminate(at);
    launch(world, at, text);
    world.wait_ready_one(at);
}

/// Whether the data of a replica has this code in clear anywhere.
fn is_in_clear(data: &Path, code: &str) -> bool {
    Command::new("grep").args(["-r", "-q", "-F", code]).arg(data).status().unwrap().success()
}

/// Nothing in the answer makes a member believe that it is unknown.
fn assert_closed(refused: &Status) {
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(refused.message().contains("stays closed"), "{refused:?}");
    assert!(!refused.message().contains("cluster ID or secret"), "{refused:?}");
}

async fn assert_answers_with(client: &Client, secret: &str, code: &str) {
    assert_eq!(client.license().await.unwrap().activation_code, code);
    assert_eq!(client.beat("a", secret, "2.11.6").await.unwrap().activation_code, code);
}

#[tokio::test]
async fn a_replica_without_the_key_of_the_group_refuses_clearly_and_the_others_answer() {
    let mut world = Replicas::prepare(3, Setup::default());
    for (at, key) in [Some("one"), Some("one"), None].into_iter().enumerate() {
        launch(&mut world, at, key);
    }
    world.wait_ready();
    let (first, second, keyless) = (world.client(0), world.client(1), world.client(2));
    first.activate(&code()).await.unwrap();
    let secret = first.add("a", "grpc://a:1").await.unwrap();
    for client in [&first, &second] {
        assert_answers_with(client, &secret, &code()).await;
    }

    assert_closed(&keyless.beat("a", &secret, "2.11.6").await.unwrap_err());
    assert_closed(&keyless.license().await.unwrap_err());
    let wrong = keyless.beat("a", "wrong", "2.11.6").await.unwrap_err();
    assert!(wrong.message().contains("cluster ID or secret is not valid"), "{wrong:?}");
    // What needs no code is answered: the own gate too.
    first.join("grpc://localhost:1653", "a", &secret).await.unwrap();
    assert_eq!(keyless.standing_state().await.unwrap(), State::Active);
    assert_eq!(keyless.clusters().await.unwrap().len(), 1);
    // It does not put a code in clear where others have sealed one.
    let refused = keyless.activate(&code()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    assert!(refused.message().contains("--data-key-file"), "{refused:?}");
    for (at, line) in [(0, "muster_license_code_closed 0\n"), (2, "muster_license_code_closed 1\n")]
    {
        wait::until(line, || {
            let metrics = http::get(world.replica(at).ops, "/metrics")?;
            metrics.body.contains(line).then_some(())
        });
    }
    assert!(world.printed(2).contains("stays closed here"));

    world.state_digests().await;
    for at in 0..3 {
        assert!(!is_in_clear(&world.data(at), &code()), "replica {at}");
    }
}

#[tokio::test]
async fn a_code_stored_in_clear_serves_on_and_is_sealed_by_the_next_activation() {
    let mut world = Replicas::start(1);
    let client = world.client(0);
    let old = Authority::get().code("2098-01-31T00:00:00Z");
    client.activate(&old).await.unwrap();
    let secret = client.add("a", "grpc://a:1").await.unwrap();
    assert_answers_with(&client, &secret, &old).await;
    assert!(is_in_clear(&world.data(0), &old), "without a key it is stored as it is");

    restart(&mut world, 0, Some("one"));
    let client = world.client(0);
    assert_answers_with(&client, &secret, &old).await;
    client.activate(&code()).await.unwrap();
    assert_answers_with(&client, &secret, &code()).await;
    let saved = client.save_snapshot().await.unwrap().path;
    assert!(!is_in_clear(Path::new(&saved), &old), "it is gone from what is stored from now on");
    assert!(!is_in_clear(&world.data(0), &code()));

    // A new key opens nothing of the old one; the next activation is sealed with it.
    restart(&mut world, 0, Some("two"));
    let client = world.client(0);
    assert_closed(&client.beat("a", &secret, "2.11.6").await.unwrap_err());
    client.activate(&code()).await.unwrap();
    assert_answers_with(&client, &secret, &code()).await;
    assert!(!is_in_clear(&world.data(0), &code()));
}

#[tokio::test]
async fn the_same_activation_asked_twice_is_done_once() {
    let mut world = Replicas::prepare(1, Setup::default());
    launch(&mut world, 0, Some("one"));
    world.wait_ready();
    let client = world.client(0);
    let activate = |expiry: &str| {
        let mut request = tonic::Request::new(muster_proto::license_v2::ActivateRequest {
            activation_code: Authority::get().code(expiry),
            expires: None,
        });
        request.metadata_mut().insert("muster-request-id", "activate-1".parse().unwrap());
        let mut license = client.license.clone();
        async move { license.activate(request).await }
    };
    activate(FAR).await.unwrap();
    activate(FAR).await.unwrap();
    let other = activate("2098-01-31T00:00:00Z").await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists, "{other:?}");
}
