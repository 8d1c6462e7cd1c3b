//! TLS between replicas and towards clients, with certificates of `muster tls init`.

use std::fs;

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use crate::support::authority::code;
use crate::support::cli::Cli;
use crate::support::client::Client;
use crate::support::http;
use crate::support::replicas::{Replicas, Setup};
use crate::support::wait;

#[tokio::test]
async fn replicas_under_mutual_tls_agree() {
    let world = Replicas::start_with(3, Setup { peer_tls: true, ..Setup::default() });
    world.client(0).activate(&code()).await.unwrap();
    world.client(1).add("pach-1", "grpc://member:1").await.unwrap();
    assert_eq!(world.client(2).clusters().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_replica_with_a_certificate_of_another_authority_stays_outside() {
    let mut world = Replicas::start_with(3, Setup { peer_tls: true, ..Setup::default() });
    world.client(0).activate(&code()).await.unwrap();
    world.terminate(2);
    world.make_certificates("stranger");
    let (own, stranger) = (world.folder().join("tls/r2"), world.folder().join("stranger/r2"));
    for file in ["peer.crt", "peer.key"] {
        fs::copy(stranger.join(file), own.join(file)).unwrap();
    }
    world.launch(2);
    wait::until("the stranger to tell of its certificate", || {
        world.printed(2).contains("certificates of both sides").then_some(())
    });
    let ready = http::get(world.replica(2).ops, "/readyz").is_some_and(|it| it.status == 200);
    assert!(!ready, "{}", world.printed(2));
    world.client(1).add("pach-1", "grpc://member:1").await.unwrap();
}

#[tokio::test]
async fn the_api_speaks_tls_to_those_who_trust_its_authority() {
    let world = Replicas::start_with(1, Setup { api_tls: true, ..Setup::default() });
    let ca = fs::read(world.folder().join("tls/api-ca.crt")).unwrap();
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&ca));
    let address = world.address(0).replace("http://", "https://");
    let channel = Endpoint::from_shared(address).unwrap().tls_config(tls).unwrap().connect_lazy();
    Client::over(channel).activate(&code()).await.unwrap();
    world.client(0).version().await.unwrap_err();
    let stranger = Endpoint::from_shared(world.address(0).replace("http://", "https://"))
        .unwrap()
        .tls_config(ClientTlsConfig::new())
        .unwrap();
    Client::over(stranger.connect_lazy()).version().await.unwrap_err();
}

#[test]
fn the_command_line_trusts_the_authority_of_its_context() {
    use base64::Engine as _;
    let world = Replicas::start_with(1, Setup { api_tls: true, ..Setup::default() });
    let ca = fs::read(world.folder().join("tls/api-ca.crt")).unwrap();
    let ca = base64::engine::general_purpose::STANDARD.encode(ca);
    let port = world.replica(0).grpc;
    let cli = Cli::new();
    let context =
        format!("{{\"pachd_address\": \"grpcs://localhost:{port}\", \"server_cas\": \"{ca}\"}}");
    cli.ok_with(&["config", "set", "context", "es"], &context);
    cli.ok(&["config", "set", "active-context", "es"]);
    cli.ok_with(&["license", "activate"], &format!("{}\n", code()));
    assert!(cli.ok(&["license", "get-state"]).contains("ACTIVE"));
}

#[test]
fn plaintext_beyond_this_machine_is_refused_unless_asked_for() {
    let cli = Cli::new();
    let ran = cli.run(&["serve", "--check-config", "--data", "d", "--grpc-listen", "0.0.0.0:1"]);
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(ran.err.contains("--insecure"), "{ran:?}");
}

/// Serial numbers tell certificates of one authority apart; a client that trusts only the new authority
/// tells them apart too.
fn client_of(world: &Replicas, folder: &str) -> Client {
    let ca = fs::read(world.folder().join(folder).join("api-ca.crt")).unwrap();
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&ca));
    let address = world.address(0).replace("http://", "https://");
    Client::over(Endpoint::from_shared(address).unwrap().tls_config(tls).unwrap().connect_lazy())
}

fn replace(world: &Replicas, at: usize, files: &[&str]) {
    for file in files {
        let name = format!("r{at}/{file}");
        fs::copy(world.folder().join("new").join(&name), world.folder().join("tls").join(&name))
            .unwrap();
    }
}

#[tokio::test]
async fn a_new_certificate_of_the_api_is_taken_without_a_restart() {
    let mut world = Replicas::start_with(1, Setup { api_tls: true, ..Setup::default() });
    let old = client_of(&world, "tls");
    old.activate(&code()).await.unwrap();
    world.make_certificates("new");
    client_of(&world, "new").version().await.unwrap_err();

    // Half of it is of no use, and changes nothing.
    replace(&world, 0, &["api.crt"]);
    world.process(0).signal("-HUP");
    wait::until("the useless certificate to be told of", || {
        world.printed(0).contains("the certificate before stays").then_some(())
    });
    client_of(&world, "tls").version().await.unwrap();

    replace(&world, 0, &["api.key"]);
    world.process(0).signal("-HUP");
    wait::until_ok("the new certificate to be served", || async {
        client_of(&world, "new").version().await.map_err(|status| status.to_string())
    })
    .await;
    old.version().await.expect("a connection that stands goes on");
    client_of(&world, "tls").version().await.unwrap_err();
    let metrics = http::get(world.replica(0).ops, "/metrics").unwrap().body;
    for line in [
        "muster_tls_reloads_total{listener=\"api\",result=\"ok\"} 1",
        "muster_tls_reloads_total{listener=\"api\",result=\"failed\"} 1",
        "muster_tls_certificate_expiry_timestamp_seconds{listener=\"api\"}",
        "muster_tls_handshakes_total{listener=\"api\",result=\"ok\"}",
    ] {
        assert!(metrics.contains(line), "no {line} in:\n{metrics}");
    }
}

#[tokio::test]
async fn new_certificates_between_replicas_are_taken_without_a_restart() {
    let mut world = Replicas::start_with(3, Setup { peer_tls: true, ..Setup::default() });
    world.client(0).activate(&code()).await.unwrap();
    world.make_certificates("new");
    for at in 0..3 {
        replace(&world, at, &["peer-ca.crt", "peer.crt", "peer.key"]);
        world.process(at).signal("-HUP");
    }
    for at in 0..3 {
        wait::until("the new certificate to be taken", || {
            world.printed(at).contains("the certificate was renewed").then_some(())
        });
    }
    // A replica that starts now has only the new ones, and meets the others by them.
    world.restart(2);
    world.client(2).add("pach-1", "grpc://member:1").await.unwrap();
    world.wait_level().await;
    assert_eq!(world.client(1).clusters().await.unwrap().len(), 1);
}
