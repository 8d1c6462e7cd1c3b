//! What clients ask before anything else: who are you, which version, are you well, what do you serve.

use muster_proto::admin_v2::InspectClusterRequest;
use muster_proto::auth_v2;
use muster_proto::identity_v2;
use muster_proto::pfs_v2::Project;
use muster_proto::versionpb_v2::Version;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::replicas::{Replicas, Setup};
use crate::support::wait;

#[tokio::test]
async fn inspect_cluster_answers_everybody_even_with_a_nonsensical_project() {
    let world = Replicas::start(1);
    let request = InspectClusterRequest {
        client_version: Some(Version { major: 2, minor: 11, micro: 6, ..Version::default() }),
        current_project: Some(Project { name: "\u{1F9C0}/../..".to_owned() }),
    };
    let info = world.client(0).admin.inspect_cluster(request).await.unwrap().into_inner();
    assert_ne!(info.id, "");
    assert_ne!(info.deployment_id, "");
    assert!(info.warnings_ok);
}

#[tokio::test]
async fn all_replicas_have_one_deployment_id_and_it_survives_a_restart() {
    let mut world = Replicas::start(3);
    let mut ids = Vec::new();
    for at in 0..3 {
        ids.push(world.client(at).inspect().await.unwrap().deployment_id);
    }
    world.restart(0);
    ids.push(world.client(0).inspect().await.unwrap().deployment_id);
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
}

#[tokio::test]
async fn the_version_is_the_one_that_clients_are_compatible_with() {
    let world = Replicas::start(1);
    let version = world.client(0).version().await.unwrap();
    assert_eq!((version.major, version.minor, version.micro), (2, 11, 6));
}

#[tokio::test]
async fn a_replica_that_serves_is_healthy() {
    let world = Replicas::start(1);
    let client = HealthClient::new(world.client(0).channel);
    // It says so a moment after its probes do.
    wait::until_ok("the replica to call itself healthy", || async {
        let request = HealthCheckRequest { service: String::new() };
        let status = client.clone().check(request).await.unwrap().into_inner().status;
        if status == 1 { Ok(()) } else { Err(format!("status {status}")) }
    })
    .await;
}

#[tokio::test]
async fn while_auth_is_off_whoever_asks_is_told_so_in_the_words_clients_know() {
    let world = Replicas::start(1);
    let mut auth = world.client(0).auth;
    let refused = auth.who_am_i(auth_v2::WhoAmIRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("the auth service is not activated"), "{refused:?}");
}

#[tokio::test]
async fn while_auth_is_off_the_identity_service_says_so_too() {
    let world = Replicas::start(1);
    let mut identity = world.client(0).identity;
    let request = identity_v2::ListIdpConnectorsRequest {};
    let refused = identity.list_idp_connectors(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert_eq!(refused.message(), "the auth service is not activated");
}

#[tokio::test]
async fn bootstrap_from_the_environment_is_idempotent() {
    let code = crate::support::authority::code();
    let setup = Setup {
        env: vec![
            ("LICENSE_KEY".to_owned(), code.clone()),
            ("ENTERPRISE_SECRET".to_owned(), "a secret of the environment".to_owned()),
        ],
        ..Setup::default()
    };
    let mut world = Replicas::start_with(1, setup);
    let state = wait::until_ok("the license of the environment", || async {
        let license = world.client(0).license().await.map_err(|e| e.to_string())?;
        if license.activation_code == code { Ok(license.state) } else { Err("none".to_owned()) }
    })
    .await;
    assert_eq!(state, 1);
    world.restart(0);
    assert_eq!(world.client(0).license().await.unwrap().activation_code, code);
    let refused = world.client(0).activate(&code).await.unwrap_err();
    assert_eq!(
        refused.message(),
        "license.Activate() is disabled when the license key is configured via environment"
    );
}
