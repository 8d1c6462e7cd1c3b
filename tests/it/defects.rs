//! Defects of upstream's enterprise server that are done right here and that no test of a whole service shows
//! already. `promises/` has the table of all of them.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use muster_proto::admin_v2::InspectClusterRequest;
use muster_proto::auth_v2;
use muster_proto::enterprise_v2::{ActivateRequest, HeartbeatRequest, State};
use muster_proto::license_v2::{AddClusterRequest, UpdateClusterRequest};
use muster_proto::pfs_v2::Project;
use muster_proto::versionpb_v2::Version;
use serde_json::json;
use tonic::{Code, Request};

use crate::support::authority::{Authority, FAR, FAR_SECONDS, PAST, code};
use crate::support::client::Client;
use crate::support::replicas::{Replicas, Setup};
use crate::support::secured::{ROOT, secured, signed, who};
use crate::support::{http, wait};

const SELF: &str = "grpc://localhost:1653";
const MEMBER: &str = "grpc://member:30650";

/// Replicas that hold a license and are members of themselves.
async fn joined(size: usize) -> (Replicas, Client) {
    let world = Replicas::start(size);
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    let secret = client.add("localhost", SELF).await.unwrap();
    client.join(SELF, "localhost", &secret).await.unwrap();
    (world, client)
}

#[tokio::test]
async fn d01_quotes_and_statements_in_a_field_are_text() {
    let (_world, client) = joined(1).await;
    client.add("it's", MEMBER).await.unwrap();
    let address = "h'; DROP TABLE clusters; --";
    let request = UpdateClusterRequest {
        id: "it's".to_owned(),
        address: address.to_owned(),
        ..UpdateClusterRequest::default()
    };
    client.update(request).await.unwrap();
    assert_eq!(client.cluster("it's").await.unwrap().unwrap().address, address);
    assert_eq!(client.clusters().await.unwrap().len(), 2);
}

#[tokio::test]
async fn d05_clusters_are_listed_by_id_with_their_birth_and_what_calls_them() {
    let (_world, client) = joined(1).await;
    for id in ["z", "a", "m"] {
        let secret = client.add(id, MEMBER).await.unwrap();
        let beat = muster_proto::license_v2::HeartbeatRequest {
            id: id.to_owned(),
            secret,
            client_id: format!("client of {id}"),
            ..Default::default()
        };
        client.license.clone().heartbeat(beat).await.unwrap();
    }
    let listed = client.clusters().await.unwrap();
    let ids: Vec<&str> = listed.iter().map(|cluster| cluster.id.as_str()).collect();
    assert_eq!(ids, ["a", "localhost", "m", "z"]);
    for cluster in listed.iter().filter(|cluster| cluster.id != "localhost") {
        assert!(cluster.created_at.is_some(), "{cluster:?}");
        assert_eq!(cluster.client_id, format!("client of {}", cluster.id));
    }
}

#[tokio::test]
async fn d12_an_expired_license_of_the_environment_stops_no_start() {
    let expired = Authority::get().code(PAST);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let setup = Setup {
        env: vec![pair("LICENSE_KEY", &expired), pair("ENTERPRISE_SECRET", "a secret")],
        ..Setup::default()
    };
    let mut world = Replicas::start_with(1, setup);
    for _ in 0..2 {
        wait::until_ok("the expired license", || async {
            let state = world.client(0).license_state().await.map_err(|e| e.to_string())?;
            if state == State::Expired { Ok(()) } else { Err(format!("{state:?}")) }
        })
        .await;
        world.restart(0);
    }
    let is_told = || {
        let printed = world.printed(0);
        let mut lines = printed.lines();
        lines
            .any(|line| line.contains("ERROR") && line.contains("license has expired"))
            .then_some(())
    };
    wait::until("the log to say so aloud", is_told);
}

#[tokio::test]
async fn d13_auth_that_is_on_is_so_also_when_the_license_has_expired() {
    let world = secured(1).await;
    let client = world.client(0);
    let activate = muster_proto::license_v2::ActivateRequest {
        activation_code: code(),
        expires: Some(prost_types::Timestamp { seconds: 1_600_000_000, nanos: 0 }),
    };
    client.license.clone().activate(signed(activate, ROOT)).await.unwrap();
    let request = auth_v2::ActivateRequest { root_token: ROOT.to_owned() };
    let refused = client.auth.clone().activate(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().ends_with("already activated"), "{refused:?}");
}

#[tokio::test]
async fn d20_a_failed_standing_has_an_empty_info_for_those_who_look_into_it() {
    let (_world, client) = joined(1).await;
    client.delete("localhost").await.unwrap();
    client.sync().await.unwrap();
    let standing = client.standing().await.unwrap();
    assert_eq!(standing.state(), State::HeartbeatFailed);
    assert_eq!(standing.info, Some(muster_proto::enterprise_v2::TokenInfo::default()));
    assert_eq!(standing.activation_code, "");
}

#[tokio::test]
async fn d21_an_answered_change_shows_at_once_everywhere_and_a_wait_ends_with_its_caller() {
    let (mut world, client) = joined(3).await;
    for _ in 0..5 {
        client.leave().await.unwrap();
        for at in 0..3 {
            assert_eq!(world.client(at).standing_state().await.unwrap(), State::None);
        }
        client.add("again", MEMBER).await.unwrap();
        let secret = "given".to_owned();
        let update = UpdateClusterRequest {
            id: "again".to_owned(),
            secret: secret.clone(),
            ..UpdateClusterRequest::default()
        };
        client.update(update).await.unwrap();
        client.join(SELF, "again", &secret).await.unwrap();
        for at in 0..3 {
            assert_eq!(world.client(at).standing_state().await.unwrap(), State::Active);
        }
        client.delete("again").await.unwrap();
    }
    world.kill(1);
    world.kill(2);
    let mut request = Request::new(ActivateRequest {
        license_server: SELF.to_owned(),
        id: "localhost".to_owned(),
        secret: "any".to_owned(),
    });
    request.set_timeout(Duration::from_secs(1));
    let begun = Instant::now();
    let refused = client.enterprise.clone().activate(request).await.unwrap_err();
    assert!(matches!(refused.code(), Code::Unavailable | Code::DeadlineExceeded), "{refused:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn d22_a_tie_and_its_license_are_one_and_outlive_kill_9_together() {
    let (mut world, client) = joined(1).await;
    for round in 0..3 {
        client.leave().await.unwrap();
        let id = format!("round-{round}");
        let secret = client.add(&id, SELF).await.unwrap();
        client.join(SELF, &id, &secret).await.unwrap();
        world.kill(0);
        world.restart(0);
        let client = world.client(0);
        assert_eq!(client.standing_state().await.unwrap(), State::Active);
        assert_eq!(client.standing_code().await.unwrap().activation_code, code());
        client.sync().await.unwrap();
        assert_eq!(client.standing_state().await.unwrap(), State::Active, "the tie serves");
    }
}

#[tokio::test]
async fn d23_the_connection_of_a_heartbeat_ends_with_it() {
    let server = Replicas::start(1);
    let server_client = server.client(0);
    server_client.activate(&code()).await.unwrap();
    let secret = server_client.add("other", MEMBER).await.unwrap();
    let key = server.folder().join("data-key");
    std::fs::write(&key, "a data key that is long enough to be one").unwrap();
    let flags = vec![format!("--data-key-file={}", key.display())];
    let member = Replicas::start_with(1, Setup { flags, ..Setup::default() });
    let client = member.client(0);
    let open = || {
        let port = server.replica(0).ops;
        let body = http::get(port, "/metrics")?.body;
        let line = body.lines().find(|line| line.starts_with("muster_connections{"))?.to_owned();
        line.rsplit(' ').next()?.parse::<f64>().ok()
    };
    let before = wait::until("the metric of connections", open);
    client.join(&server.pachd_address(0), "other", &secret).await.unwrap();
    for _ in 0..20 {
        client.sync().await.unwrap();
    }
    wait::until("the connections of 21 heartbeats to end", || {
        open().filter(|now| *now <= before).map(drop)
    });
}

#[tokio::test]
async fn d24_whoever_asks_for_the_standing_learns_the_end_and_no_customer() {
    let world = Replicas::start(1);
    let client = world.client(0);
    let claims = json!({ "expiry": FAR, "customer": "Planted Ltd", "max_clusters": 7 });
    client.activate(&Authority::get().code_with(&claims)).await.unwrap();
    let secret = client.add("localhost", SELF).await.unwrap();
    client.join(SELF, "localhost", &secret).await.unwrap();
    let standing = client.standing().await.unwrap();
    assert_eq!(standing.info.unwrap().expires.unwrap().seconds, FAR_SECONDS);
    let told = String::from_utf8(STANDARD.decode(&standing.activation_code).unwrap()).unwrap();
    assert!(told.contains("expiry") && !told.contains("Planted"), "{told}");
    assert!(!told.contains("max_clusters"), "{told}");
}

#[tokio::test]
async fn d25_a_refused_heartbeat_is_no_error_of_the_call_and_is_logged_as_one() {
    let (world, client) = joined(1).await;
    client.delete("localhost").await.unwrap();
    client.enterprise.clone().heartbeat(HeartbeatRequest {}).await.unwrap();
    assert_eq!(client.standing_state().await.unwrap(), State::HeartbeatFailed);
    wait::until("the log to tell", || {
        world.printed(0).lines().find(|line| line.contains("ERROR")).map(str::to_owned)
    });
}

#[tokio::test]
async fn d38_a_replica_that_lost_its_peers_calls_no_token_bad() {
    let mut world = secured(3).await;
    let client = world.client(0);
    who(&client, ROOT).await.unwrap();
    world.kill(1);
    world.kill(2);
    for token in [ROOT, "nonsense"] {
        let mut request = signed(auth_v2::WhoAmIRequest {}, token);
        request.set_timeout(Duration::from_secs(2));
        let refused = client.auth.clone().who_am_i(request).await.unwrap_err();
        assert!(
            matches!(refused.code(), Code::Unavailable | Code::DeadlineExceeded),
            "{token}: {refused:?}"
        );
        assert!(!refused.message().contains("token"), "{token}: {refused:?}");
    }
    world.restart(1);
    wait::until_ok("the token to serve again", || who(&client, ROOT)).await;
}

#[tokio::test]
async fn d81_d82_clients_of_every_minor_version_and_project_are_warned_of_nothing() {
    let world = Replicas::start(1);
    let mut admin = world.client(0).admin;
    for minor in 0..=12 {
        let request = InspectClusterRequest {
            client_version: Some(Version { major: 2, minor, ..Version::default() }),
            current_project: Some(Project { name: "default".to_owned() }),
        };
        let info = admin.inspect_cluster(request).await.unwrap().into_inner();
        assert!(info.warnings_ok);
        assert_eq!(info.warnings, [""; 0], "2.{minor}");
    }
}

#[tokio::test]
async fn d84_the_port_between_replicas_serves_no_api() {
    let world = Replicas::start(3);
    let door = Client::new(&format!("http://127.0.0.1:{}", world.replica(0).peer));
    door.license().await.unwrap_err();
    door.inspect().await.unwrap_err();
    door.version().await.unwrap_err();
}

#[tokio::test]
async fn d90_mistakes_have_codes_of_their_own_where_no_text_is_matched() {
    let world = Replicas::start(1);
    let client = world.client(0);
    assert_eq!(client.add("a", MEMBER).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(client.activate("x").await.unwrap_err().code(), Code::InvalidArgument);
    client.activate(&code()).await.unwrap();
    assert_eq!(client.add("", MEMBER).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(client.add("a", "").await.unwrap_err().code(), Code::InvalidArgument);
    let update = |id: &str, address: &str| UpdateClusterRequest {
        id: id.to_owned(),
        address: address.to_owned(),
        ..UpdateClusterRequest::default()
    };
    assert_eq!(client.update(update("a", "")).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(client.update(update("a", "h")).await.unwrap_err().code(), Code::NotFound);
    // These carry texts that clients search for, and keep upstream's code with them.
    client.add("a", MEMBER).await.unwrap();
    assert_eq!(client.add("a", MEMBER).await.unwrap_err().code(), Code::Unimplemented);
    assert_eq!(client.beat("a", "wrong", "1").await.unwrap_err().code(), Code::Unimplemented);
    assert_eq!(client.sync().await.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn d95_d96_members_that_were_registered_badly_are_lived_with() {
    let (_world, client) = joined(1).await;
    client.add("no-user-address", MEMBER).await.unwrap();
    let flagged = AddClusterRequest {
        id: "flagged".to_owned(),
        address: MEMBER.to_owned(),
        enterprise_server: true,
        ..AddClusterRequest::default()
    };
    client.add_cluster(flagged).await.unwrap();
    let seen = client.user_clusters().await.unwrap();
    let of = |id: &str| seen.iter().find(|cluster| cluster.id == id);
    assert_eq!(of("no-user-address").unwrap().address, "");
    assert!(of("flagged").is_none(), "{seen:?}");
}
