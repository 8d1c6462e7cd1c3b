//! The license service, line by line of what upstream's own tests assert.

use muster_proto::enterprise_v2::State;
use muster_proto::license_v2::{AddClusterRequest, UpdateClusterRequest};
use serde_json::json;
use tonic::{Code, Status};

use crate::support::authority::{Authority, FAR, FAR_SECONDS, PAST, code};
use crate::support::client::Client;
use crate::support::replicas::Replicas;

const MEMBER: &str = "grpc://member:30650";

/// One replica that holds a license.
async fn licensed() -> (Replicas, Client) {
    let world = Replicas::start(1);
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    (world, client)
}

fn assert_refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, text: &str) {
    let status = result.unwrap_err();
    assert_eq!(status.code(), code, "{status:?}");
    assert_eq!(status.message(), text);
}

#[tokio::test]
async fn after_activation_the_license_is_active_and_its_code_is_what_was_entered() {
    let world = Replicas::start(1);
    let client = world.client(0);
    let code = code();
    assert_eq!(client.activate(&code).await.unwrap(), FAR_SECONDS);
    let license = client.license().await.unwrap();
    assert_eq!(license.state(), State::Active);
    assert_eq!(license.activation_code, code);
    assert_eq!(license.info.unwrap().expires.unwrap().seconds, FAR_SECONDS);
}

#[tokio::test]
async fn without_a_license_only_the_state_none_is_told() {
    let world = Replicas::start(1);
    let license = world.client(0).license().await.unwrap();
    assert_eq!(license.state(), State::None);
    assert_eq!(license.activation_code, "");
    assert!(license.info.is_none());
}

#[tokio::test]
async fn activating_again_with_a_past_end_succeeds_and_the_license_is_expired() {
    let (_world, client) = licensed().await;
    let code = code();
    let past = 1_600_000_000;
    assert_eq!(client.activate_until(&code, Some(past)).await.unwrap(), past);
    let license = client.license().await.unwrap();
    assert_eq!(license.state(), State::Expired);
    assert_eq!(license.activation_code, code);
}

#[tokio::test]
async fn an_end_later_than_the_signed_one_changes_nothing() {
    let (_world, client) = licensed().await;
    let later = FAR_SECONDS + 1;
    assert_eq!(client.activate_until(&code(), Some(later)).await.unwrap(), FAR_SECONDS);
}

#[tokio::test]
async fn an_invalid_code_is_refused_with_the_reason_and_changes_nothing() {
    let (_world, client) = licensed().await;
    let encoded = |text: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(text)
    };
    let cases = [
        ("", "activation code is not valid JSON"),
        ("not base64!", "activation code is not base64 encoded"),
        (&encoded("not json"), "activation code is not valid JSON"),
        (&encoded(r#"{"token": "{}", "signature": "?"}"#), "signature is not base64 encoded"),
        (&encoded(r#"{"token": "{}", "signature": ""}"#), "invalid signature in activation code"),
        (&Authority::stranger().code(FAR), "invalid signature in activation code"),
        (&Authority::get().code_over("not json"), "token is not valid JSON"),
        (&Authority::get().code("tomorrow"), "expiration is not valid ISO 8601 string"),
        (&Authority::get().code(PAST), "the activation code has expired"),
    ];
    for (code, reason) in cases {
        let text = format!("error validating activation code: {reason}");
        assert_refused(client.activate(code).await, Code::InvalidArgument, &text);
    }
    assert_eq!(client.license().await.unwrap().activation_code, code());
}

#[tokio::test]
async fn a_code_of_json_null_is_refused_and_nothing_breaks() {
    let (_world, client) = licensed().await;
    let refused = client.activate("bnVsbA==").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("error validating activation code: "), "{refused:?}");
    assert_eq!(client.license_state().await.unwrap(), State::Active);
}

#[tokio::test]
async fn white_space_around_a_code_is_ignored() {
    let world = Replicas::start(1);
    let client = world.client(0);
    client.activate(&format!("{}\n", code())).await.unwrap();
    assert_eq!(client.license_state().await.unwrap(), State::Active);
}

#[tokio::test]
async fn a_license_for_two_clusters_refuses_the_third() {
    let world = Replicas::start(1);
    let client = world.client(0);
    let claims = json!({ "expiry": FAR, "max_clusters": 2, "customer": "Acme" });
    client.activate(&Authority::get().code_with(&claims)).await.unwrap();
    client.add("one", MEMBER).await.unwrap();
    client.add("two", MEMBER).await.unwrap();
    let refused = client.add("three", MEMBER).await.unwrap_err();
    assert!(refused.message().contains('2'), "the bound is told: {refused:?}");
    client.delete("one").await.unwrap();
    client.add("three", MEMBER).await.unwrap();
}

#[tokio::test]
async fn delete_all_forgets_license_and_clusters() {
    let (_world, client) = licensed().await;
    client.add("pach-1", MEMBER).await.unwrap();
    client.delete_all().await.unwrap();
    assert_eq!(client.license_state().await.unwrap(), State::None);
    client.activate(&code()).await.unwrap();
    assert_eq!(client.clusters().await.unwrap(), []);
}

#[tokio::test]
async fn a_generated_secret_has_at_least_thirty_characters() {
    let (_world, client) = licensed().await;
    let secret = client.add("pach-1", MEMBER).await.unwrap();
    assert!(secret.len() >= 30, "{secret}");
    assert_ne!(secret, client.add("pach-2", MEMBER).await.unwrap());
}

#[tokio::test]
async fn a_given_secret_is_kept() {
    let (_world, client) = licensed().await;
    let request = AddClusterRequest {
        id: "pach-1".to_owned(),
        address: MEMBER.to_owned(),
        secret: "chosen".to_owned(),
        ..AddClusterRequest::default()
    };
    assert_eq!(client.add_cluster(request).await.unwrap(), "chosen");
    client.beat("pach-1", "chosen", "2.11.6").await.unwrap();
}

#[tokio::test]
async fn a_registration_is_listed_changed_and_removed() {
    let (_world, client) = licensed().await;
    client
        .add_cluster(AddClusterRequest {
            id: "localhost".to_owned(),
            address: "grpc://localhost:1653".to_owned(),
            secret: "localhost".to_owned(),
            enterprise_server: true,
            ..AddClusterRequest::default()
        })
        .await
        .unwrap();
    client
        .add_cluster(AddClusterRequest {
            id: "pach-1".to_owned(),
            address: MEMBER.to_owned(),
            user_address: "grpc://users:30650".to_owned(),
            cluster_deployment_id: "deployment".to_owned(),
            ..AddClusterRequest::default()
        })
        .await
        .unwrap();

    let rows = client.clusters().await.unwrap();
    let seen: Vec<_> = rows.iter().map(|row| (row.id.as_str(), row.address.as_str())).collect();
    assert_eq!(seen, [("localhost", "grpc://localhost:1653"), ("pach-1", MEMBER)]);
    assert!(rows.iter().all(|row| !row.auth_enabled && row.last_heartbeat.is_none()));
    assert!(rows.iter().all(|row| row.version == "unknown" && row.created_at.is_some()));

    let users = client.user_clusters().await.unwrap();
    assert_eq!(users.len(), 1, "{users:?}");
    assert_eq!(users[0].id, "pach-1");
    assert_eq!(users[0].address, "grpc://users:30650");
    assert_eq!(users[0].cluster_deployment_id, "deployment");
    assert!(!users[0].enterprise_server);

    client
        .update(UpdateClusterRequest {
            id: "pach-1".to_owned(),
            address: "no-scheme:1".to_owned(),
            user_address: "grpc://new:2".to_owned(),
            cluster_deployment_id: "another".to_owned(),
            ..UpdateClusterRequest::default()
        })
        .await
        .unwrap();
    let row = client.cluster("pach-1").await.unwrap().unwrap();
    assert_eq!(row.address, "no-scheme:1");
    let users = client.user_clusters().await.unwrap();
    assert_eq!(users[0].address, "grpc://new:2");
    assert_eq!(users[0].cluster_deployment_id, "another");

    client.delete("pach-1").await.unwrap();
    assert!(client.cluster("pach-1").await.unwrap().is_none());
    assert_eq!(client.user_clusters().await.unwrap(), []);
    client.delete("pach-1").await.unwrap();
}

#[tokio::test]
async fn an_update_touches_only_the_fields_that_are_not_empty() {
    let (_world, client) = licensed().await;
    let secret = client.add("pach-1", MEMBER).await.unwrap();
    client
        .update(UpdateClusterRequest {
            id: "pach-1".to_owned(),
            user_address: "grpc://users:1".to_owned(),
            ..UpdateClusterRequest::default()
        })
        .await
        .unwrap();
    assert_eq!(client.cluster("pach-1").await.unwrap().unwrap().address, MEMBER);
    client.beat("pach-1", &secret, "2.11.6").await.unwrap();
}

#[tokio::test]
async fn a_new_secret_replaces_the_old_one() {
    let (_world, client) = licensed().await;
    let old = client.add("pach-1", MEMBER).await.unwrap();
    client
        .update(UpdateClusterRequest {
            id: "pach-1".to_owned(),
            secret: "new".to_owned(),
            ..UpdateClusterRequest::default()
        })
        .await
        .unwrap();
    client.beat("pach-1", "new", "2.11.6").await.unwrap();
    let refused = client.beat("pach-1", &old, "2.11.6").await.unwrap_err();
    assert!(refused.message().contains("cluster ID or secret is not valid"), "{refused:?}");
}

#[tokio::test]
async fn a_cluster_without_an_address_is_refused() {
    let (_world, client) = licensed().await;
    assert_refused(
        client.add("pach-1", "").await,
        Code::InvalidArgument,
        "no address provided for cluster",
    );
}

#[tokio::test]
async fn a_cluster_without_an_id_is_refused() {
    let (_world, client) = licensed().await;
    assert_refused(
        client.add("", MEMBER).await,
        Code::InvalidArgument,
        "no id provided for cluster",
    );
}

#[tokio::test]
async fn an_id_is_taken_once() {
    let (_world, client) = licensed().await;
    client.add("pach-1", MEMBER).await.unwrap();
    assert_refused(
        client.add("pach-1", MEMBER).await,
        Code::Unimplemented,
        "cluster ID is not unique",
    );
    client.delete("pach-1").await.unwrap();
    client.add("pach-1", MEMBER).await.unwrap();
}

#[tokio::test]
async fn an_update_without_any_field_is_refused() {
    let (_world, client) = licensed().await;
    let request = UpdateClusterRequest { id: "pach-1".to_owned(), ..Default::default() };
    assert_refused(
        client.update(request).await,
        Code::InvalidArgument,
        "No cluster fields were provided to the UpdateCluster RPC",
    );
}

#[tokio::test]
async fn an_update_of_an_unknown_id_is_an_error_that_locks_nobody_out() {
    let (_world, client) = licensed().await;
    let request = UpdateClusterRequest {
        id: "nobody".to_owned(),
        address: MEMBER.to_owned(),
        ..UpdateClusterRequest::default()
    };
    let refused = client.update(request).await.unwrap_err();
    assert!(!refused.message().contains("cluster ID or secret is not valid"), "{refused:?}");
    assert!(refused.message().contains("nobody"), "{refused:?}");
}

#[tokio::test]
async fn without_an_active_license_no_cluster_is_added() {
    let world = Replicas::start(1);
    let client = world.client(0);
    assert_refused(
        client.add("pach-1", MEMBER).await,
        Code::FailedPrecondition,
        "enterprise license is not valid - NONE",
    );
    client.activate_until(&code(), Some(1_600_000_000)).await.unwrap();
    assert_refused(
        client.add("pach-1", MEMBER).await,
        Code::FailedPrecondition,
        "enterprise license is not valid - EXPIRED",
    );
}

#[tokio::test]
async fn a_heartbeat_brings_the_license_and_is_written_down() {
    let (_world, client) = licensed().await;
    let secret = client.add("pach-1", MEMBER).await.unwrap();
    let record = client.beat("pach-1", &secret, "2.11.6").await.unwrap();
    assert_eq!(record.activation_code, code());
    assert_eq!(record.expires.unwrap().seconds, FAR_SECONDS);
    let first = client.cluster("pach-1").await.unwrap().unwrap();
    assert_eq!(first.version, "2.11.6");
    client.beat("pach-1", &secret, "2.11.7").await.unwrap();
    let second = client.cluster("pach-1").await.unwrap().unwrap();
    assert_eq!(second.version, "2.11.7");
    let at = |row: &muster_proto::license_v2::ClusterStatus| {
        let time = row.last_heartbeat.unwrap();
        (time.seconds, time.nanos)
    };
    assert!(at(&first) < at(&second), "{first:?} {second:?}");
}

#[tokio::test]
async fn auth_is_shown_as_on_from_the_heartbeat_that_says_so() {
    let (_world, client) = licensed().await;
    let secret = client.add("pach-1", MEMBER).await.unwrap();
    assert!(!client.cluster("pach-1").await.unwrap().unwrap().auth_enabled);
    let request = muster_proto::license_v2::HeartbeatRequest {
        id: "pach-1".to_owned(),
        secret,
        version: "2.11.6".to_owned(),
        auth_enabled: true,
        client_id: "client".to_owned(),
    };
    client.license.clone().heartbeat(request).await.unwrap();
    let row = client.cluster("pach-1").await.unwrap().unwrap();
    assert!(row.auth_enabled);
    assert_eq!(row.client_id, "client");
}

#[tokio::test]
async fn a_heartbeat_with_a_wrong_secret_is_refused_and_changes_nothing() {
    let (_world, client) = licensed().await;
    client.add("pach-1", MEMBER).await.unwrap();
    let text = |id: &str| {
        format!(
            "got 0, want 1 for cluster id \"{id}\": rpc error: code = Unimplemented desc = \
             cluster ID or secret is not valid"
        )
    };
    assert_refused(
        client.beat("pach-1", "wrong", "9.9.9").await,
        Code::Unimplemented,
        &text("pach-1"),
    );
    assert_refused(
        client.beat("nobody", "wrong", "9.9.9").await,
        Code::Unimplemented,
        &text("nobody"),
    );
    let row = client.cluster("pach-1").await.unwrap().unwrap();
    assert_eq!(row.version, "unknown");
    assert!(row.last_heartbeat.is_none());
}

#[tokio::test]
async fn an_expired_license_is_still_handed_out_with_heartbeats() {
    let (_world, client) = licensed().await;
    let secret = client.add("pach-1", MEMBER).await.unwrap();
    client.activate_until(&code(), Some(1_600_000_000)).await.unwrap();
    let record = client.beat("pach-1", &secret, "2.11.6").await.unwrap();
    assert_eq!(record.activation_code, code());
    assert_eq!(record.expires.unwrap().seconds, 1_600_000_000);
}

#[tokio::test]
async fn a_request_with_an_id_of_its_own_is_done_once_however_often_it_is_sent() {
    let (_world, client) = licensed().await;
    let first = client.add_once("request-1", "pach-1", "").await.unwrap();
    let again = client.add_once("request-1", "pach-1", "").await.unwrap();
    // The secret is kept as a digest only, so it cannot be told again; both are good.
    client.beat("pach-1", &first, "2.11.6").await.unwrap();
    client.beat("pach-1", &again, "2.11.6").await.unwrap();
    let other = client.add_once("request-2", "pach-1", "").await.unwrap_err();
    assert_eq!(other.message(), "cluster ID is not unique");
}
