//! The enterprise service: the server as a member of itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use muster_proto::enterprise_v2::{self, State};
use muster_proto::license_v2::AddClusterRequest;
use tonic::Code;

use crate::support::authority::{FAR_SECONDS, code};
use crate::support::client::Client;
use crate::support::replicas::Replicas;

const SELF: &str = "grpc://localhost:1653";

/// One replica that holds a license and is registered with itself, as `license activate` leaves it.
async fn joined() -> (Replicas, Client) {
    let world = Replicas::start(1);
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    register_self(&client).await;
    client.join(SELF, "localhost", "localhost").await.unwrap();
    (world, client)
}

async fn register_self(client: &Client) {
    let request = AddClusterRequest {
        id: "localhost".to_owned(),
        address: SELF.to_owned(),
        user_address: SELF.to_owned(),
        secret: "localhost".to_owned(),
        enterprise_server: true,
        ..AddClusterRequest::default()
    };
    assert_eq!(client.add_cluster(request).await.unwrap(), "localhost");
}

#[tokio::test]
async fn the_standing_is_active_and_its_code_has_no_signature() {
    let (_world, client) = joined().await;
    let standing = client.standing().await.unwrap();
    assert_eq!(standing.state(), State::Active);
    assert_eq!(standing.info.unwrap().expires.unwrap().seconds, FAR_SECONDS);
    let outer = STANDARD.decode(&standing.activation_code).unwrap();
    let text = String::from_utf8(outer).unwrap();
    assert!(text.starts_with(r#"{"Token":"{\"expiry\":"#), "{text}");
    assert!(text.ends_with(r#","Signature":""}"#), "{text}");
}

#[tokio::test]
async fn after_an_activation_with_a_past_end_the_standing_is_expired() {
    let (_world, client) = joined().await;
    client.activate_until(&code(), Some(1_600_000_000)).await.unwrap();
    client.join(SELF, "localhost", "localhost").await.unwrap();
    let standing = client.standing().await.unwrap();
    assert_eq!(standing.state(), State::Expired);
    let text = String::from_utf8(STANDARD.decode(&standing.activation_code).unwrap()).unwrap();
    assert!(text.ends_with(r#","Signature":""}"#), "{text}");
    assert_eq!(client.standing_code().await.unwrap().activation_code, code());
}

#[tokio::test]
async fn a_license_change_opens_the_own_gate_at_once() {
    let (_world, client) = joined().await;
    client.activate_until(&code(), Some(1_600_000_000)).await.unwrap();
    assert_eq!(client.standing_state().await.unwrap(), State::Expired);
    client.activate(&code()).await.unwrap();
    assert_eq!(client.standing_state().await.unwrap(), State::Active);
}

#[tokio::test]
async fn the_activation_code_is_exactly_what_was_entered() {
    let (_world, client) = joined().await;
    let answer = client.standing_code().await.unwrap();
    assert_eq!(answer.state(), State::Active);
    assert_eq!(answer.activation_code, code());
}

#[tokio::test]
async fn deactivating_leads_to_none_however_often() {
    let (_world, client) = joined().await;
    client.leave().await.unwrap();
    assert_eq!(client.standing_state().await.unwrap(), State::None);
    client.leave().await.unwrap();
    assert_eq!(client.standing_state().await.unwrap(), State::None);
    assert_eq!(client.license_state().await.unwrap(), State::Active, "the license stays");
    assert_eq!(client.clusters().await.unwrap().len(), 1, "and so do the clusters");
}

#[tokio::test]
async fn a_heartbeat_for_a_removed_registration_succeeds_and_the_standing_is_failed() {
    let (_world, client) = joined().await;
    client.delete("localhost").await.unwrap();
    client.sync().await.unwrap();
    assert_eq!(client.standing_state().await.unwrap(), State::HeartbeatFailed);
    register_self(&client).await;
    client.sync().await.unwrap();
    assert_eq!(client.standing_state().await.unwrap(), State::Active);
}

#[tokio::test]
async fn a_heartbeat_without_a_tie_is_refused_with_the_text_that_members_know() {
    let world = Replicas::start(1);
    let refused = world.client(0).sync().await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert_eq!(refused.message(), "cluster does not have enterprise features enabled");
}

#[tokio::test]
async fn a_tie_with_a_wrong_secret_is_refused_and_nothing_is_stored() {
    let world = Replicas::start(1);
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    let refused = client.join(SELF, "localhost", "wrong").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("cluster ID or secret is not valid"), "{refused:?}");
    assert_eq!(client.standing_state().await.unwrap(), State::None);
}

#[tokio::test]
async fn a_tie_to_no_address_is_refused() {
    let world = Replicas::start(1);
    let refused = world.client(0).join("", "localhost", "x").await.unwrap_err();
    let text = "could not parse the pachd address: no pachd address specified";
    assert!(refused.message().contains(text), "{refused:?}");
}

#[tokio::test]
async fn the_own_address_is_recognised_as_self() {
    let (world, client) = joined().await;
    client.join(&world.pachd_address(0), "localhost", "localhost").await.unwrap();
    assert_eq!(client.standing_state().await.unwrap(), State::Active);
}

#[tokio::test]
async fn the_standing_is_the_same_on_every_replica() {
    let world = Replicas::start(3);
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    register_self(&client).await;
    world.client(1).join(SELF, "localhost", "localhost").await.unwrap();
    for at in 0..3 {
        assert_eq!(world.client(at).standing_state().await.unwrap(), State::Active);
    }
}

#[tokio::test]
async fn an_enterprise_server_cannot_pause() {
    let world = Replicas::start(1);
    let mut client = world.client(0).enterprise;
    let refused = client.pause(enterprise_v2::PauseRequest {}).await.unwrap_err();
    assert_eq!(refused.message(), "this pachd instance is not in a pausable mode");
    let refused = client.unpause(enterprise_v2::UnpauseRequest {}).await.unwrap_err();
    assert_eq!(refused.message(), "this pachd instance is not in an unpausable mode");
    let status = client.pause_status(enterprise_v2::PauseStatusRequest {}).await.unwrap();
    assert_eq!(status.into_inner().status, 0);
}

#[tokio::test]
async fn the_own_record_and_an_added_cluster_are_listed_each_with_its_address() {
    let (_world, client) = joined().await;
    client.add("added", "grpc://added:1650").await.unwrap();
    let listed: Vec<_> = client
        .clusters()
        .await
        .unwrap()
        .into_iter()
        .map(|cluster| (cluster.id, cluster.address, cluster.auth_enabled))
        .collect();
    let row = |id: &str, address: &str| (id.to_owned(), address.to_owned(), false);
    assert_eq!(listed, [row("added", "grpc://added:1650"), row("localhost", SELF)]);
    let users: Vec<_> =
        client.user_clusters().await.unwrap().into_iter().map(|cluster| cluster.id).collect();
    assert_eq!(users, ["added"], "the server itself is no context of users");
}
