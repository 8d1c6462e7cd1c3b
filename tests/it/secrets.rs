//! Secrets are planted through every method that takes one, then everything that the run wrote is
//! searched for them: logs at their most talkative, metrics, answers of every list, data folders,
//! snapshots, audit files.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use muster_proto::auth_v2::{
    AuthenticateRequest, GetConfigurationRequest, GetOidcLoginRequest, GetRobotTokenRequest,
    OidcConfig, RestoreAuthTokenRequest, RevokeAuthTokenRequest, RotateRootTokenRequest,
    SetConfigurationRequest, TokenInfo, WhoAmIRequest,
};
use muster_proto::enterprise_v2::ActivateRequest as JoinRequest;
use muster_proto::identity_v2::{
    CreateIdpConnectorRequest, CreateOidcClientRequest, IdpConnector, OidcClient,
    UpdateIdpConnectorRequest, UpdateOidcClientRequest,
};
use muster_proto::license_v2::{
    ActivateRequest, AddClusterRequest, GetActivationCodeRequest, HeartbeatRequest,
    UpdateClusterRequest,
};
use muster_proto::muster::v1::membership_client::MembershipClient;
use muster_proto::muster::v1::{JoinRequest as AdmitRequest, MintJoinTokenRequest};

use crate::support::authority::{Authority, FAR};
use crate::support::cli::Cli;
use crate::support::client::Client;
use crate::support::http;
use crate::support::replicas::{Replicas, Setup};
use crate::support::secured::{ROOT, robot, secure, signed};
use crate::support::{issuer, ports, wait};

/// The address of a cluster, which everybody who lists the fleet reads.
const ADDRESS: &str = "grpc://planted-address-that-is-no-secret.example:30650";

/// A secret that was given to the server, or that it gave.
struct Planted {
    what: &'static str,
    text: String,
    /// Where it may stand in clear, and why; nowhere unless it is none.
    allowed: Option<&'static str>,
}

/// All that were planted.
#[derive(Default)]
struct Plot(Vec<Planted>);

impl Plot {
    fn plant(&mut self, what: &'static str, text: &str) -> String {
        self.0.push(Planted { what, text: text.to_owned(), allowed: None });
        text.to_owned()
    }
}

/// The spellings in which a secret might be written.
fn spellings(text: &str) -> Vec<Vec<u8>> {
    let bytes = text.as_bytes();
    let mut found = vec![
        bytes.to_vec(),
        hex::encode(bytes).into_bytes(),
        hex::encode_upper(bytes).into_bytes(),
        STANDARD.encode(bytes).into_bytes(),
        URL_SAFE_NO_PAD.encode(bytes).into_bytes(),
    ];
    // Base64 of a text that the secret is a part of: at each of three places in it, without the
    // characters that the text around it decides.
    for skip in 0..3 {
        let shifted = [vec![0; skip], bytes.to_vec()].concat();
        let encoded = STANDARD_NO_PAD.encode(shifted).into_bytes();
        let inner = encoded.get(4..encoded.len() - 4).unwrap_or_default().to_vec();
        if inner.len() >= 12 {
            found.push(inner);
        }
    }
    // As Rust prints bytes.
    found.push(format!("{bytes:?}").trim_matches(['[', ']']).as_bytes().to_vec());
    found
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found
}

fn is_snapshot(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str().to_string_lossy().contains("snap"))
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    let first = part[0];
    bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == first)
        .any(|(at, _)| bytes[at..].starts_with(part))
}

/// Gives every secret to every method that takes one, right or wrong.
async fn plant(world: &Replicas, plot: &mut Plot) {
    let client = world.client(0);
    plot.plant("the root token", ROOT);
    plant_registry(&client, plot).await;
    plant_auth(&client, plot).await;
    plant_identity(&client, plot).await;
    plant_joins(&client, plot).await;
    let code = plot.plant("the activation code", &crate::support::authority::code());
    let activate = ActivateRequest { activation_code: code.clone(), expires: None };
    client.license.clone().activate(signed(activate, ROOT)).await.unwrap();
    let get = signed(GetActivationCodeRequest {}, ROOT);
    let got = client.license.clone().get_activation_code(get).await.unwrap().into_inner();
    assert_eq!(got.activation_code, code);
    plot.0.push(Planted {
        what: "the address of a cluster",
        text: ADDRESS.to_owned(),
        allowed: Some(
            "in the log and in snapshots: it is no secret, but what the search has to find",
        ),
    });
}

/// `muster.v1.Membership`.
async fn plant_joins(client: &Client, plot: &mut Plot) {
    let mut membership = MembershipClient::new(client.channel.clone());
    let wrong = plot.plant("a wrong join token", "planted-join-token-Q7wq0015");
    let mint = signed(MintJoinTokenRequest { ttl_seconds: 0 }, ROOT);
    let minted = membership.mint_join_token(mint).await.unwrap().into_inner().token;
    let admit = |token: String| AdmitRequest {
        token,
        name: "late".to_owned(),
        peer_address: format!("127.0.0.1:{}", ports::free()),
        ..AdmitRequest::default()
    };
    membership.join(admit(wrong)).await.unwrap_err();
    let minted = plot.plant("a join token", &minted);
    membership.join(admit(minted.clone())).await.unwrap();
    membership.join(admit(minted)).await.unwrap_err();
}

/// A login that is begun at one replica, comes back to another and fails at the issuer.
async fn plant_login(client: &Client, pages: u16, plot: &mut Plot) {
    let secret = plot.plant("the issuer's client secret", "planted-issuer-secret-Q7wq0016");
    let configuration = OidcConfig {
        issuer: issuer::start(),
        client_id: "pachd".to_owned(),
        client_secret: secret,
        redirect_uri: "http://localhost:31657/authorization-code/callback".to_owned(),
        ..OidcConfig::default()
    };
    let set = SetConfigurationRequest { configuration: Some(configuration) };
    client.auth.clone().set_configuration(signed(set, ROOT)).await.unwrap();
    let begun = client.auth.clone().get_oidc_login(GetOidcLoginRequest {}).await.unwrap();
    let begun = begun.into_inner();
    let state = plot.plant("the state of a login", &begun.state);
    let nonce = begun.login_url.split('&').find_map(|it| it.strip_prefix("nonce=")).unwrap();
    plot.plant("the nonce of a login", nonce);
    let code = plot.plant("an authorization code", "planted-authorization-code-Q7wq0017");
    let path = format!("/authorization-code/callback?code={code}&state={state}");
    let shown = http::get(pages, &path).unwrap();
    assert_eq!(shown.status, 401, "{shown:?}");
    let end = AuthenticateRequest { oidc_state: state, id_token: String::new() };
    client.auth.clone().authenticate(end).await.unwrap_err();
}

/// The replica that leads; who may ask a replica itself is nobody without a token.
fn leader(world: &Replicas) -> usize {
    wait::until("a leader", || {
        (0..world.len()).filter(|at| world.is_running(*at)).find(|at| {
            http::get(world.replica(*at).ops, "/leaderz").is_some_and(|it| it.status == 200)
        })
    })
}

/// Starts a replica with an audit file and a port for pages of its own.
fn launch(world: &mut Replicas, folder: &Path, at: usize, pages: u16) {
    let mut command = world.command(at);
    command.arg("--audit-file").arg(audit_file(folder, at));
    command.arg(format!("--login-listen=127.0.0.1:{pages}"));
    world.launch_as(at, &mut command);
}

fn audit_file(folder: &Path, at: usize) -> PathBuf {
    folder.join(format!("audit-{at}.jsonl"))
}

/// `license_v2` and `enterprise_v2`.
async fn plant_registry(client: &Client, plot: &mut Plot) {
    let secret = plot.plant("a chosen cluster secret", "planted-cluster-secret-Q7wq0001");
    let add = AddClusterRequest {
        id: "c1".to_owned(),
        address: ADDRESS.to_owned(),
        secret: secret.clone(),
        ..AddClusterRequest::default()
    };
    client.license.clone().add_cluster(signed(add.clone(), ROOT)).await.unwrap();
    client.license.clone().add_cluster(signed(add, ROOT)).await.unwrap_err();
    let drawn = AddClusterRequest {
        id: "c2".to_owned(),
        address: "grpc://c2".to_owned(),
        ..AddClusterRequest::default()
    };
    let drawn = client.license.clone().add_cluster(signed(drawn, ROOT)).await.unwrap();
    let drawn = plot.plant("a drawn cluster secret", &drawn.into_inner().secret);
    let changed = plot.plant("a changed cluster secret", "planted-changed-secret-Q7wq0002");
    let update = UpdateClusterRequest {
        id: "c1".to_owned(),
        secret: changed.clone(),
        ..UpdateClusterRequest::default()
    };
    client.license.clone().update_cluster(signed(update, ROOT)).await.unwrap();
    let wrong = plot.plant("a wrong cluster secret", "planted-wrong-secret-Q7wq0003");
    let beat = |id: &str, secret: &str| HeartbeatRequest {
        id: id.to_owned(),
        secret: secret.to_owned(),
        version: "2.11.6".to_owned(),
        ..HeartbeatRequest::default()
    };
    for (id, secret) in [("c1", &changed), ("c2", &drawn), ("c1", &wrong), ("nobody", &wrong)] {
        drop(client.license.clone().heartbeat(beat(id, secret)).await);
    }
    let join = JoinRequest {
        license_server: "grpc://localhost:1653".to_owned(),
        id: "c1".to_owned(),
        secret: wrong.clone(),
    };
    client.enterprise.clone().activate(signed(join, ROOT)).await.unwrap_err();
    let bad_code = plot.plant("a code that is none", "planted-activation-code-Q7wq0004");
    let activate = |code: String| ActivateRequest { activation_code: code, expires: None };
    client.license.clone().activate(signed(activate(bad_code), ROOT)).await.unwrap_err();
    let strange = Authority::stranger().code(FAR);
    plot.plant("a stranger's code", &strange);
    client.license.clone().activate(signed(activate(strange), ROOT)).await.unwrap_err();
}

/// `auth_v2`.
async fn plant_auth(client: &Client, plot: &mut Plot) {
    let token = plot.plant("a robot's token", &robot(client, "r", 0).await);
    let client_secret = plot.plant("a client secret", "planted-client-secret-Q7wq0005");
    let configuration = OidcConfig {
        issuer: "http://pachd:1658/".to_owned(),
        client_id: "pachd".to_owned(),
        client_secret: client_secret.clone(),
        ..OidcConfig::default()
    };
    let set =
        |configuration: OidcConfig| SetConfigurationRequest { configuration: Some(configuration) };
    drop(client.auth.clone().set_configuration(signed(set(configuration.clone()), ROOT)).await);
    let bad = OidcConfig { issuer: client_secret.clone(), ..configuration };
    client.auth.clone().set_configuration(signed(set(bad), ROOT)).await.unwrap_err();
    drop(client.auth.clone().get_configuration(signed(GetConfigurationRequest {}, ROOT)).await);
    let unknown = plot.plant("an unknown token", "planted-unknown-token-Q7wq0006");
    client.auth.clone().who_am_i(signed(WhoAmIRequest {}, &unknown)).await.unwrap_err();
    let revoke = RevokeAuthTokenRequest { token: unknown };
    client.auth.clone().revoke_auth_token(signed(revoke, &token)).await.unwrap();
    let (state, id_token) = (
        plot.plant("a login's state", "planted-oidc-state-Q7wq0007"),
        plot.plant("an ID token", "planted.id.token-Q7wq0008"),
    );
    for request in [
        AuthenticateRequest { oidc_state: state, id_token: String::new() },
        AuthenticateRequest { oidc_state: String::new(), id_token },
    ] {
        client.auth.clone().authenticate(request).await.unwrap_err();
    }
    let restored = TokenInfo {
        subject: "robot:old".to_owned(),
        hashed_token: "planted-no-hash-of-a-token-Q7wq0009".to_owned(),
        ..TokenInfo::default()
    };
    plot.plant("what is no hash of a token", &restored.hashed_token);
    let restore = RestoreAuthTokenRequest { token: Some(restored) };
    client.auth.clone().restore_auth_token(signed(restore, ROOT)).await.unwrap_err();
    let next = plot.plant("the next root token", "planted-next-root-token-Q7wq0010");
    let rotate = |token: &str| RotateRootTokenRequest { root_token: token.to_owned() };
    client.auth.clone().rotate_root_token(signed(rotate(&next), ROOT)).await.unwrap();
    client.auth.clone().rotate_root_token(signed(rotate(ROOT), &next)).await.unwrap();
}

/// `identity_v2`.
async fn plant_identity(client: &Client, plot: &mut Plot) {
    let secret = plot.plant("a connector's secret", "planted-connector-secret-Q7wq0011");
    let connector = IdpConnector {
        id: "ldap".to_owned(),
        name: "ldap".to_owned(),
        r#type: "mockPassword".to_owned(),
        json_config: format!("{{\"username\": \"admin\", \"password\": \"{secret}\"}}"),
        ..IdpConnector::default()
    };
    let create = CreateIdpConnectorRequest { connector: Some(connector.clone()) };
    drop(client.identity.clone().create_idp_connector(signed(create, ROOT)).await);
    let update = UpdateIdpConnectorRequest { connector: Some(connector) };
    drop(client.identity.clone().update_idp_connector(signed(update, ROOT)).await);
    let oidc = OidcClient {
        id: "app".to_owned(),
        name: "app".to_owned(),
        secret: plot.plant("an OIDC client's secret", "planted-oidc-client-secret-Q7wq0012"),
        ..OidcClient::default()
    };
    let create = CreateOidcClientRequest { client: Some(oidc.clone()) };
    drop(client.identity.clone().create_oidc_client(signed(create, ROOT)).await);
    let update = UpdateOidcClientRequest { client: Some(oidc) };
    drop(client.identity.clone().update_oidc_client(signed(update, ROOT)).await);
}

/// Asks for everything that there is to be read, and gives what was answered.
fn read_all(world: &Replicas, at: usize) -> Vec<(String, Vec<u8>)> {
    let cli = Cli::connected(&world.pachd_address(at));
    cli.ok_with(&["auth", "use-auth-token"], &format!("{ROOT}\n"));
    let mut read = Vec::new();
    for words in [
        "audit list --limit 0",
        "audit list --limit 0 -o json",
        "audit export",
        "audit verify",
        "fleet list -o json",
        "replica list -o json",
        "license list-clusters",
        "enterprise get-state",
        "auth get enterprise",
        "auth whoami",
        "snapshot save",
        "auth get-robot-token x:y",
        "auth whoami --verbose",
    ] {
        let arguments: Vec<&str> = words.split(' ').collect();
        let ran = cli.run(&arguments);
        read.push((format!("stdout of {words} at {at}"), ran.out.into_bytes()));
        read.push((format!("stderr of {words} at {at}"), ran.err.into_bytes()));
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        let body = http::get(world.replica(at).ops, path).unwrap().body;
        read.push((format!("{path} of replica {at}"), body.into_bytes()));
    }
    read
}

#[tokio::test]
async fn no_planted_secret_is_in_anything_that_a_run_writes() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("data.key");
    let data_key = "planted-data-key-Q7wq0013-0123456789abcdef";
    fs::write(&key, data_key).unwrap();
    let setup = Setup {
        flags: vec![
            format!("--data-key-file={}", key.display()),
            "--log-level=trace".to_owned(),
            "--snapshot-entries=5".to_owned(),
        ],
        ..Setup::default()
    };
    let mut world = Replicas::prepare(3, setup);
    let pages: Vec<u16> = (0..3).map(|_| ports::free()).collect();
    for (at, page) in pages.iter().enumerate() {
        launch(&mut world, folder.path(), at, *page);
    }
    world.wait_ready();
    secure(&world.client(0)).await;
    let mut secrets = Plot::default();
    plant(&world, &mut secrets).await;
    secrets.plant("the data key", data_key);
    let shared = fs::read_to_string(world.folder().join("token")).unwrap();
    secrets.plant("the bootstrap token", &shared);

    // A new leader takes over, and the old one comes back to snapshots that others made.
    let old = leader(&world);
    world.kill(old);
    let next = leader(&world);
    let third = 3 - old - next;
    let late = wait::until_ok("a token of the new leader", || async {
        let request = GetRobotTokenRequest { robot: "late".to_owned(), ttl: 60 };
        let asked = world.client(next).auth.get_robot_token(signed(request, ROOT)).await;
        asked.map(|answer| answer.into_inner().token)
    })
    .await;
    secrets.plant("a token of the new leader", &late);
    plant_login(&world.client(third), pages[next], &mut secrets).await;
    launch(&mut world, folder.path(), old, pages[old]);
    world.wait_ready_one(old);

    let mut written: Vec<_> = (0..3).flat_map(|at| read_all(&world, at)).collect();
    for at in 0..3 {
        world.terminate(at);
    }
    let data: Vec<PathBuf> = (0..3).map(|at| world.data(at)).collect();
    let own = [key, world.folder().join("token")];
    let files = files_below(world.folder()).into_iter().chain(files_below(folder.path()));
    for path in files.filter(|path| !own.contains(path)) {
        written.push((path.display().to_string(), fs::read(&path).unwrap()));
    }
    let sizes: usize = written.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(sizes > 100_000, "{sizes} bytes are hardly all that was written");
    let mut leaks = Vec::new();
    let mut excused = std::collections::BTreeSet::new();
    for secret in &secrets.0 {
        for (place, bytes) in &written {
            let is_found = spellings(&secret.text).iter().any(|part| holds(bytes, part));
            match (is_found, secret.allowed) {
                (true, Some(_)) => {
                    excused.insert(place);
                }
                (true, None) => leaks.push(format!("{} is in {place}", secret.what)),
                (false, _) => (),
            }
        }
    }
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
    // The search does find what is there.
    for (at, data) in data.iter().enumerate() {
        let found = |snapshot: bool| {
            let own = excused.iter().filter(|it| Path::new(it).starts_with(data));
            own.filter(|it| is_snapshot(Path::new(it)) == snapshot).count()
        };
        assert!(found(true) > 0, "no address of a cluster in a snapshot of replica {at}");
        assert!(found(false) > 0, "no address of a cluster in the log of replica {at}");
    }
    for (at, data) in data.iter().enumerate() {
        let records = fs::read_to_string(audit_file(folder.path(), at)).unwrap();
        assert!(records.lines().count() > 15, "{records}");
        let snapshots = files_below(data).iter().filter(|it| is_snapshot(it)).count();
        assert!(snapshots > 0, "replica {at} has made no snapshot");
    }
}

#[test]
fn a_secret_is_found_in_every_spelling() {
    let secret = "planted-secret-0123456789";
    let json = format!("{{\"password\":\"{secret}\"}}");
    for hay in [
        secret.to_owned(),
        hex::encode(&json),
        STANDARD.encode(&json),
        URL_SAFE_NO_PAD.encode(format!("x{json}")),
        STANDARD.encode(format!("xy{json}")),
        format!("{:?}", json.as_bytes()),
    ] {
        let found = spellings(secret).iter().any(|part| holds(hay.as_bytes(), part));
        assert!(found, "{hay}");
    }
    assert!(!spellings(secret).iter().any(|part| holds(b"planted-secret-012345678", part)));
}
