//! Rate limits over real connections: who guesses is stopped and told for how long; who is right is not.

use std::collections::BTreeSet;

use http_body_util::StreamBody;
use muster::state::access::Need;
use muster::state::auth::rpcs::{RPCS, need};
use muster_proto::auth_v2::{AuthenticateRequest, GetOidcLoginRequest, WhoAmIRequest};
use muster_proto::google::rpc::{RetryInfo, Status as Details};
use muster_proto::license_v2::HeartbeatRequest;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tokio::task::JoinSet;
use tonic::client::Grpc;
use tonic::codegen::Bytes;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::support::authority::code;
use crate::support::client::Client;
use crate::support::http;
use crate::support::ports;
use crate::support::replicas::{Replicas, Setup};
use crate::support::secured::{ROOT, robot, secured_with, signed, who};
use crate::support::wait;

const MEMBER: &str = "grpc://member:30650";
const WRONG: &str = "cluster ID or secret is not valid";
const BAD: &str = "provided auth token is corrupted or has expired (try logging in again)";
/// What clients look for in an error: none of it may be in a refusal.
const MATCHED: [&str; 6] = [
    WRONG,
    BAD,
    "the auth service is not activated",
    "no authentication token",
    "not authorized to perform this operation",
    "token expiration is in the past",
];

/// Clients on this machine are limited, and say whom they speak for as a proxy does.
fn limited(flags: &[&str]) -> Setup {
    let fixed = ["--limit-loopback", "--trusted-proxy=127.0.0.1"];
    let flags = fixed.iter().chain(flags).map(|flag| (*flag).to_owned()).collect();
    Setup { flags, ..Setup::default() }
}

/// The same request from another address.
fn from<T>(address: &str, mut request: Request<T>) -> Request<T> {
    request.metadata_mut().insert("x-forwarded-for", address.parse().unwrap());
    request
}

async fn beat(client: &Client, address: &str, id: &str, secret: &str) -> Result<(), Status> {
    let request = HeartbeatRequest {
        id: id.to_owned(),
        secret: secret.to_owned(),
        ..HeartbeatRequest::default()
    };
    client.license.clone().heartbeat(from(address, Request::new(request))).await.map(drop)
}

/// Seconds that a refusal says to wait, which it must in both ways.
fn told_to_wait(refused: &Status) -> i64 {
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    for text in MATCHED {
        assert!(!refused.message().contains(text), "{refused:?}");
    }
    let details = Details::decode(refused.details()).unwrap();
    assert_eq!(details.details[0].type_url, "type.googleapis.com/google.rpc.RetryInfo");
    let hint = RetryInfo::decode(details.details[0].value.as_slice()).unwrap();
    let seconds = hint.retry_delay.unwrap().seconds;
    let header = refused.metadata().get("retry-after").unwrap().to_str().unwrap();
    assert!(header.parse::<i64>().unwrap() >= seconds.max(1), "{header}");
    seconds
}

#[tokio::test]
async fn guessing_a_clusters_secret_ends_after_ten_and_never_switches_a_member_off() {
    let world = Replicas::start_with(1, limited(&[]));
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    let secret = client.add("pach-1", MEMBER).await.unwrap();
    let other = client.add("pach-2", MEMBER).await.unwrap();
    for guess in 0..10 {
        let wrong = beat(&client, "192.0.2.1", "pach-1", &guess.to_string()).await.unwrap_err();
        assert!(wrong.message().contains(WRONG), "{wrong:?}");
    }
    for secret in ["11", "12", &secret] {
        let refused = beat(&client, "192.0.2.1", "pach-1", secret).await.unwrap_err();
        assert!((1..=30).contains(&told_to_wait(&refused)), "{refused:?}");
    }
    beat(&client, "192.0.2.1", "pach-2", &other).await.unwrap();
    beat(&client, "192.0.2.2", "pach-1", &secret).await.unwrap();

    // Of IPv6 a customer has a whole network.
    for guess in 0..10 {
        let address = format!("2001:db8::{guess:x}");
        let wrong = beat(&client, &address, "pach-1", "guess").await.unwrap_err();
        assert!(wrong.message().contains(WRONG), "{wrong:?}");
    }
    told_to_wait(&beat(&client, "2001:db8::ffff", "pach-1", "guess").await.unwrap_err());
    beat(&client, "2001:db8:0:1::1", "pach-1", &secret).await.unwrap();

    let metrics = http::get(world.replica(0).ops, "/metrics").unwrap().body;
    let line = "muster_rate_limited_total{lane=\"heartbeat-secret\"} 4";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_behind_one_address_beats_at_once_also_after_its_leader_died() {
    const FLEET: usize = 300;
    let mut world = Replicas::start_with(3, limited(&[]));
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    let mut secrets = Vec::new();
    for number in 0..FLEET {
        secrets.push(client.add(&format!("pach-{number}"), MEMBER).await.unwrap());
    }
    let all_beat = async |world: &Replicas| {
        let running: Vec<usize> = (0..3).filter(|at| world.is_running(*at)).collect();
        let clients: Vec<Client> = running.iter().map(|at| world.client(*at)).collect();
        let mut beats = JoinSet::new();
        for (number, secret) in secrets.iter().cloned().enumerate() {
            let client = clients[number % clients.len()].clone();
            beats.spawn(async move {
                let id = format!("pach-{number}");
                beat(&client, "192.0.2.1", &id, &secret).await.map_err(|status| status.code())
            });
        }
        beats.join_all().await
    };
    assert!(all_beat(&world).await.iter().all(Result::is_ok));
    world.kill(world.leader().await);
    let mut seen = BTreeSet::new();
    wait::until_ok("the whole fleet to be answered", || async {
        let answers = all_beat(&world).await;
        let failed: BTreeSet<String> =
            answers.iter().filter_map(|it| it.err()).map(|code| format!("{code:?}")).collect();
        if failed.is_empty() { Ok(()) } else { Err(format!("{failed:?}")) }
    })
    .await;
    seen.extend(all_beat(&world).await.into_iter().filter_map(Result::err).map(|it| it as i32));
    assert!(seen.is_empty(), "{seen:?}");
    for at in (0..3).filter(|at| world.is_running(*at)) {
        let metrics = http::get(world.replica(at).ops, "/metrics").unwrap().body;
        assert!(!metrics.contains("muster_rate_limited_total{"), "{metrics}");
    }
}

#[tokio::test]
async fn guessing_tokens_ends_and_the_callers_of_before_go_on() {
    let world = secured_with(1, limited(&["--rate-limit=token=5/10m"])).await;
    let client = world.client(0);
    let known = robot(&client, "known", 0).await;
    let fresh = robot(&client, "fresh", 0).await;
    let ask = |address: &'static str, token: &str| {
        let request = from(address, signed(WhoAmIRequest {}, token));
        let mut auth = client.auth.clone();
        async move { auth.who_am_i(request).await.map(|answer| answer.into_inner().username) }
    };
    assert_eq!(ask("192.0.2.1", &known).await.unwrap(), "robot:known");
    for guess in ["a", "b", "c", "d", "e"] {
        assert_eq!(ask("192.0.2.1", guess).await.unwrap_err().message(), BAD);
    }
    // Right or wrong, nobody learns which.
    for token in ["f", &fresh] {
        told_to_wait(&ask("192.0.2.1", token).await.unwrap_err());
    }
    // Not even by asking for what is open to all first, which goes on with any token.
    for token in ["g", &fresh] {
        let version = from("192.0.2.1", signed((), token));
        client.version.clone().get_version(version).await.unwrap();
        told_to_wait(&ask("192.0.2.1", token).await.unwrap_err());
    }
    assert_eq!(ask("192.0.2.1", &known).await.unwrap(), "robot:known");
    assert_eq!(ask("192.0.2.2", &fresh).await.unwrap(), "robot:fresh");
}

#[tokio::test]
async fn sign_ins_and_calls_without_a_token_are_limited_by_address() {
    let flags = ["--rate-limit=sign-in=3/10m", "--rate-limit=login=2/10m,open=30/10m"];
    let world = secured_with(1, limited(&flags)).await;
    let client = world.client(0);
    let sign_in = |address: &'static str| {
        let request = AuthenticateRequest { oidc_state: "x".repeat(31), ..Default::default() };
        let request = from(address, Request::new(request));
        let mut auth = client.auth.clone();
        async move { auth.authenticate(request).await.unwrap_err() }
    };
    for _ in 0..3 {
        assert_ne!(sign_in("192.0.2.1").await.code(), Code::ResourceExhausted);
    }
    told_to_wait(&sign_in("192.0.2.1").await);
    assert_ne!(sign_in("192.0.2.2").await.code(), Code::ResourceExhausted);
    let login = |address: &'static str| {
        let request = from(address, Request::new(GetOidcLoginRequest {}));
        let mut auth = client.auth.clone();
        async move { auth.get_oidc_login(request).await.unwrap_err() }
    };
    for _ in 0..2 {
        assert_ne!(login("192.0.2.3").await.code(), Code::ResourceExhausted);
    }
    told_to_wait(&login("192.0.2.3").await);
    let open = |address: &'static str| {
        let mut version = client.version.clone();
        async move { version.get_version(from(address, Request::new(()))).await }
    };
    let mut passed = 0;
    while open("192.0.2.4").await.is_ok() {
        passed += 1;
        assert!(passed <= 31, "no end");
    }
    assert_eq!(passed, 30);
    told_to_wait(&open("192.0.2.4").await.unwrap_err());
    let request = from("192.0.2.4", signed(WhoAmIRequest {}, ROOT));
    client.auth.clone().who_am_i(request).await.unwrap();
}

#[tokio::test]
async fn limits_can_be_switched_off_and_one_principal_cannot_take_all() {
    let world = secured_with(1, limited(&["--no-rate-limits"])).await;
    let client = world.client(0);
    for _ in 0..150 {
        assert_eq!(who(&client, "guess").await.unwrap_err().message(), BAD);
    }
    let world = secured_with(1, limited(&["--rate-limit=principal=40/10m"])).await;
    let client = world.client(0);
    let token = robot(&client, "r", 0).await;
    let mut passed = 0;
    while who(&client, &token).await.is_ok() {
        passed += 1;
        assert!(passed <= 41, "no end");
    }
    assert_eq!(passed, 40);
    told_to_wait(&who(&client, &token).await.unwrap_err());
    who(&client, ROOT).await.unwrap();
}

#[tokio::test]
async fn the_callback_page_is_limited_by_address_and_takes_whatever_comes() {
    let pages = ports::free();
    let flags = [format!("--login-listen=127.0.0.1:{pages}"), "--rate-limit=callback=3/10m".into()];
    let world = secured_with(1, limited(&flags.each_ref().map(String::as_str))).await;
    let path = "/authorization-code/callback";
    let back = |address: &str, query: &str| {
        let headers = [("x-forwarded-for", address), ("accept", "text/html")];
        http::ask(pages, "GET", &format!("{path}?{query}"), &headers).unwrap()
    };
    for _ in 0..3 {
        assert_eq!(back("192.0.2.1", "code=c&state=s").status, 400);
    }
    let refused = back("192.0.2.1", "code=c&state=s");
    assert_eq!(refused.status, 429);
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    assert!(refused.body.contains("Too many sign-ins come from your network"), "{}", refused.body);
    assert_eq!(back("192.0.2.2", "code=c&state=s").status, 400);
    let metrics = http::get(world.replica(0).ops, "/metrics").unwrap().body;
    assert!(metrics.contains("muster_rate_limited_total{lane=\"callback\"} 1"), "{metrics}");

    let script = "<script>alert(1)</script>";
    let encoded = "%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    let huge = "x".repeat(20 << 10);
    for (number, query) in [
        format!("code={encoded}&state={encoded}"),
        format!("error={encoded}&error_description={encoded}&state={encoded}"),
        format!("code={script}&state={script}"),
        "code=c&code=d&state=s".to_owned(),
        "code=c&state=s&state=t".to_owned(),
        "code=%00%0d%0aset-cookie:x&state=%ff%fe".to_owned(),
        "code[]=c&state[]=s".to_owned(),
        "&&&===&%".to_owned(),
        "../../etc/passwd".to_owned(),
        format!("code={huge}&state={huge}"),
    ]
    .iter()
    .enumerate()
    {
        let answer = back(&format!("198.51.100.{number}"), query);
        assert_eq!(answer.status, 400, "{query:.80}: {}", answer.head);
        for part in ["alert", "set-cookie", "passwd"] {
            assert!(!answer.head.contains(part) && !answer.body.contains(part), "{query:.80}");
        }
        // What is no address at all is answered with nothing.
        let policy = "content-security-policy: default-src 'none'";
        assert!(answer.body.is_empty() || answer.head.contains(policy), "{}", answer.head);
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "NONSENSE"] {
        let query = format!("{path}?code=c&state=s");
        let answer = http::ask(pages, method, &query, &[("x-forwarded-for", "192.0.2.9")]).unwrap();
        assert!((400..500).contains(&answer.status), "{method}: {}", answer.head);
    }
    assert_eq!(http::get(pages, "/").unwrap().status, 200, "it serves on");
}

#[tokio::test]
async fn a_body_that_stays_half_is_given_up_and_holds_nobody_back() {
    let setup = Setup { flags: vec!["--request-timeout=1s".to_owned()], ..Setup::default() };
    let world = Replicas::start_with(1, setup);
    let client = world.client(0);
    let mut halves = JoinSet::new();
    // As many as operators have places for, and more.
    for _ in 0..100 {
        let mut channel = client.channel.clone();
        halves.spawn(async move {
            // The frame says a hundred bytes, and three come.
            let half = Bytes::from_static(&[0, 0, 0, 0, 100, 1, 2, 3]);
            let frames = futures::stream::iter([Ok::<_, Status>(http_body::Frame::data(half))]);
            let frames = futures::StreamExt::chain(frames, futures::stream::pending());
            let request = tonic::codegen::http::Request::post("http://x/muster.v1.Replica/Status")
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(tonic::body::Body::new(StreamBody::new(frames)))
                .unwrap();
            std::future::poll_fn(|context| {
                tonic::codegen::Service::poll_ready(&mut channel, context)
            })
            .await
            .unwrap();
            let answer = tonic::codegen::Service::call(&mut channel, request).await.unwrap();
            answer.headers().get("grpc-status").unwrap().to_str().unwrap().to_owned()
        });
    }
    client.status().await.unwrap();
    let late = (Code::DeadlineExceeded as i32).to_string();
    for answer in halves.join_all().await {
        assert_eq!(answer, late);
    }
}

/// Every method of every service that a replica serves, from what the services say of themselves.
fn served() -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for descriptors in [
        muster_proto::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ] {
        for file in FileDescriptorSet::decode(descriptors).unwrap().file {
            for service in &file.service {
                let name = format!("{}.{}", file.package(), service.name());
                let methods = service.method.iter();
                paths.extend(methods.map(|method| format!("/{name}/{}", method.name())));
            }
        }
    }
    paths
}

/// One call without a token and with an empty message; of a stream only its beginning is awaited.
async fn call_from(client: &Client, address: &str, path: &str) -> Result<(), Status> {
    let mut grpc = Grpc::new(client.channel.clone());
    grpc.ready().await.unwrap();
    let path: PathAndQuery = path.parse().unwrap();
    let request = from(address, Request::new(()));
    let asked = grpc.server_streaming(request, path, ProstCodec::<(), ()>::default());
    tokio::time::timeout(wait::PATIENCE, asked).await.unwrap().map(drop)
}

#[tokio::test]
async fn every_method_is_limited_for_callers_without_a_token() {
    const TIMES: usize = 10;
    let flags: Vec<String> = ["open", "login", "health", "heartbeat-address"]
        .map(|name| format!("--rate-limit={name}={TIMES}/10m"))
        .to_vec();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    // The set-up of the world calls without a token too.
    let world = secured_with(1, limited(&flags)).await;
    let client = world.client(0);
    let mut paths = served();
    for (path, _) in RPCS {
        assert!(paths.contains(path), "{path} of the access table is served by nobody");
    }
    paths.insert("/no.such.Service/Method".to_owned());
    let open = paths.iter().filter(|path| need(path) == Some(Need::Open)).count();
    assert!(open > 5 && paths.len() > 70, "{open} of {}", paths.len());
    for (number, path) in paths.iter().enumerate() {
        // Each from its own address, so that none is stopped for another.
        let address = format!("198.51.100.{number}");
        let mut passed = 0;
        let refused = loop {
            match call_from(&client, &address, path).await {
                Err(status) if status.code() == Code::ResourceExhausted => break status,
                _ => passed += 1,
            }
            assert!(passed <= TIMES, "{path} is not limited");
        };
        assert_eq!(passed, TIMES, "{path}: {refused:?}");
        told_to_wait(&refused);
    }
}

#[tokio::test]
async fn questions_after_the_health_are_answered_whatever_else_comes_from_their_address() {
    let world = Replicas::start_with(1, limited(&["--rate-limit=open=10/10m"]));
    let client = world.client(0);
    let flood = async || call_from(&client, "192.0.2.9", "/versionpb_v2.API/GetVersion").await;
    let refused = wait::until_ok("the flood to be refused", || async {
        flood().await.err().ok_or("it passed")
    })
    .await;
    told_to_wait(&refused);
    for _ in 0..100 {
        call_from(&client, "192.0.2.9", "/grpc.health.v1.Health/Check").await.unwrap();
    }
}
