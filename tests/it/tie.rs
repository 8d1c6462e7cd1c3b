//! A server whose license server is another one, and a license in its days of grace.

use muster_proto::enterprise_v2::{HeartbeatRequest, State};
use serde_json::json;
use tonic::Code;

use crate::support::authority::{Authority, FAR_SECONDS, PAST, code};
use crate::support::client::Client;
use crate::support::http;
use crate::support::replicas::{Replicas, Setup};
use crate::support::wait;

fn with_data_key() -> Setup {
    let key = std::env::temp_dir().join(format!("muster-data-key-{}", std::process::id()));
    std::fs::write(&key, "a data key that is long enough to be one").unwrap();
    Setup {
        flags: vec![
            format!("--data-key-file={}", key.display()),
            "--own-heartbeat-interval=1s".to_owned(),
        ],
        ..Setup::default()
    }
}

/// A license server with a license, and a secret under which `other` may ask for it.
async fn upstream() -> (Replicas, Client, String) {
    let world = Replicas::start(1);
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    let secret = client.add("other", "grpc://other:1650").await.unwrap();
    (world, client, secret)
}

async fn until(client: &Client, state: State) {
    wait::until_ok("the gate to follow the other license server", || async {
        let found = client.standing_state().await.map_err(|status| status.to_string())?;
        if found == state { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_server_can_be_a_member_of_another_license_server() {
    let (mut upstream, upstream_client, secret) = upstream().await;
    let mut world = Replicas::start_with(3, with_data_key());
    let client = world.client(0);
    let address = upstream.pachd_address(0);

    let refused = client.join(&address, "other", "wrong").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("cluster ID or secret is not valid"), "{refused:?}");
    assert_eq!(client.standing_state().await.unwrap(), State::None, "nothing is stored");

    client.join(&address, "other", &secret).await.unwrap();
    for at in 0..3 {
        assert_eq!(world.client(at).standing_state().await.unwrap(), State::Active);
    }
    let standing = client.standing().await.unwrap();
    assert_eq!(standing.info.unwrap().expires.unwrap().seconds, FAR_SECONDS);
    assert_eq!(client.license_state().await.unwrap(), State::None, "the own fleet has no license");

    // The leader beats on its own.
    let first = upstream_client.cluster("other").await.unwrap().unwrap();
    assert!(!first.auth_enabled);
    wait::until_ok("a later heartbeat", || async {
        let later = upstream_client.cluster("other").await.unwrap().unwrap();
        if later.last_heartbeat == first.last_heartbeat { Err("none yet") } else { Ok(()) }
    })
    .await;

    // What the license server says is what the gate does, also after the leader is gone.
    let leader = world.leader().await;
    world.kill(leader);
    let client = world.client(world.follower().await);
    upstream_client.delete("other").await.unwrap();
    until(&client, State::HeartbeatFailed).await;
    let request = muster_proto::license_v2::AddClusterRequest {
        id: "other".to_owned(),
        address: "grpc://other:1650".to_owned(),
        secret: secret.clone(),
        ..Default::default()
    };
    upstream_client.add_cluster(request).await.unwrap();
    client.sync().await.unwrap();
    assert_eq!(client.standing_state().await.unwrap(), State::Active);

    // Out of reach is no verdict.
    upstream.kill(0);
    let mut request = tonic::Request::new(HeartbeatRequest {});
    request.set_timeout(std::time::Duration::from_secs(4));
    let unreached = client.enterprise.clone().heartbeat(request).await.unwrap_err();
    assert_eq!(unreached.code(), Code::Unavailable, "{unreached:?}");
    assert_eq!(client.standing_state().await.unwrap(), State::Active, "the license stays good");

    client.leave().await.unwrap();
    assert_eq!(client.standing_state().await.unwrap(), State::None);
    for at in 0..3 {
        assert!(!world.printed(at).contains(&secret), "the secret is in the log of {at}");
    }
}

#[tokio::test]
async fn the_secret_for_another_license_server_is_kept_sealed_or_not_at_all() {
    let (upstream, _client, secret) = upstream().await;
    let world = Replicas::start(1);
    let client = world.client(0);
    let refused = client.join(&upstream.pachd_address(0), "other", &secret).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("--data-key-file"), "{refused:?}");

    let world = Replicas::start_with(1, with_data_key());
    let client = world.client(0);
    client.join(&upstream.pachd_address(0), "other", &secret).await.unwrap();
    client.save_snapshot().await.unwrap();
    assert_eq!(client.standing_code().await.unwrap().activation_code, code());
    for planted in [secret, code()] {
        let stored = std::process::Command::new("grep")
            .args(["-r", "-c", "-F", &planted])
            .arg(world.data(0))
            .output()
            .unwrap();
        assert!(!stored.status.success(), "{}", String::from_utf8_lossy(&stored.stdout));
    }
}

/// A server that was given a code of long ago with so many days of grace.
fn with_grace(days: u32) -> Replicas {
    let code = Authority::get().code_with(&json!({ "expiry": PAST, "grace_days": days }));
    let env = vec![
        ("LICENSE_KEY".to_owned(), code),
        ("ENTERPRISE_SECRET".to_owned(), "an enterprise secret".to_owned()),
    ];
    Replicas::start_with(1, Setup { env, ..Setup::default() })
}

#[tokio::test]
async fn in_its_days_of_grace_a_license_works_and_warns() {
    let world = with_grace(30_000);
    let client = world.client(0);
    until(&client, State::Active).await;
    let license = client.license().await.unwrap();
    assert_eq!(license.state(), State::Active);
    let expired = license.info.unwrap().expires.unwrap().seconds;
    assert_eq!(expired, 1_582_934_400, "the expiry is told as it was signed");

    let secret = client.add("a", "grpc://a:1").await.unwrap();
    let beaten = client.beat("a", &secret, "2.11.6").await.unwrap();
    let until = beaten.expires.unwrap().seconds;
    assert_eq!(until, expired + 30_000 * 86_400, "members go by the end of the grace");

    let warnings = client.inspect().await.unwrap().warnings;
    assert!(warnings.iter().any(|line| line.contains("30000 days of grace")), "{warnings:?}");
    wait::until("the metric of the grace", || {
        let metrics = http::get(world.replica(0).ops, "/metrics")?;
        metrics.body.contains("muster_license_state{state=\"grace\"} 1").then_some(())
    });
    assert!(world.printed(0).contains("in its days of grace"));
}

#[tokio::test]
async fn after_its_days_of_grace_a_license_is_expired() {
    let world = with_grace(10);
    let client = world.client(0);
    until(&client, State::Expired).await;
    assert_eq!(client.license_state().await.unwrap(), State::Expired);
    assert!(client.add("a", "grpc://a:1").await.is_err());
}

#[tokio::test]
async fn who_ends_a_license_early_ends_its_grace_too() {
    let world = Replicas::start(1);
    let client = world.client(0);
    let code = Authority::get().code_with(&json!({
        "expiry": "2099-01-31T00:00:00Z",
        "grace_days": 30_000,
    }));
    client.activate_until(&code, Some(1_600_000_000)).await.unwrap();
    assert_eq!(client.license_state().await.unwrap(), State::Expired);
}
