//! Every RPC crossed with every kind of caller, over real connections to three replicas in turn.

use muster::state::access::Need;
use muster::state::auth::roles::ROLES;
use muster::state::auth::rpcs::RPCS;
use muster_proto::auth_v2::{RestoreAuthTokenRequest, RevokeAuthTokenRequest, TokenInfo};
use tonic::Status;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

use crate::support::client::{Client, timestamp};
use crate::support::replicas::Replicas;
use crate::support::secured::{ROOT, bind, license, robot, secured, signed, who};
use crate::support::wait;

const OFF: &str = "the auth service is not activated";
const ABSENT: &str = "no authentication token (try logging in)";
const BAD: &str = "provided auth token is corrupted or has expired (try logging in again)";
const EXPIRED: &str = "token expiration is in the past";
const DENIED: &str = "is not authorized to perform this operation - needs permissions [";

/// What would end the test's own world if it were allowed.
const DESTRUCTIVE: [&str; 5] = [
    "/auth_v2.API/Deactivate",
    "/auth_v2.API/DeleteExpiredAuthTokens",
    "/auth_v2.API/RotateRootToken",
    "/enterprise_v2.API/Deactivate",
    "/license_v2.API/DeleteAll",
];

/// The RPCs of the table that answer once, with what they need in the end: the handler of `WhoAmI`
/// needs a token itself.
fn rpcs() -> impl Iterator<Item = (&'static str, Need)> {
    let asked_for = |(path, need): (&'static str, Need)| match path {
        "/auth_v2.API/WhoAmI" => (path, Need::Token),
        _ => (path, need),
    };
    RPCS.into_iter().filter(|(path, _)| !path.starts_with("/grpc.health")).map(asked_for)
}

/// Calls with an empty message, which every service reads.
async fn call(client: &Client, path: &'static str, token: &str) -> Result<(), Status> {
    let mut grpc: Grpc<Channel> = Grpc::new(client.channel.clone());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static(path);
    grpc.unary(signed((), token), path, ProstCodec::<(), ()>::default()).await.map(drop)
}

/// The access check's no, if that is what it was.
fn refusal(answer: &Result<(), Status>) -> Option<&'static str> {
    let text = answer.as_ref().err()?.message();
    [OFF, ABSENT, BAD, EXPIRED, DENIED].into_iter().find(|known| text.contains(known))
}

fn clients(world: &Replicas) -> impl Iterator<Item = Client> {
    let clients: Vec<Client> = (0..world.len()).map(|at| world.client(at)).collect();
    clients.into_iter().cycle()
}

#[tokio::test]
async fn while_auth_is_off_only_what_is_open_then_answers() {
    let world = Replicas::start(1);
    license(&world.client(0)).await;
    for (path, need) in rpcs() {
        if DESTRUCTIVE.contains(&path) || path == "/auth_v2.API/Activate" {
            continue;
        }
        let expected = match need {
            Need::Token | Need::Permission(_) => Some(OFF),
            _ if path == "/auth_v2.API/Authenticate" => Some(OFF),
            _ => None,
        };
        for token in ["", "nonsense"] {
            let answer = call(&world.client(0), path, token).await;
            let found = refusal(&answer).filter(|_| path != "/auth_v2.API/Authorize");
            assert_eq!(found, expected, "{path} {answer:?}");
        }
    }
}

#[tokio::test]
async fn every_rpc_obeys_the_table_whoever_calls_and_whichever_replica_answers() {
    let world = secured(3).await;
    let first = world.client(0);
    let revoked = robot(&first, "revoked", 0).await;
    let request = RevokeAuthTokenRequest { token: revoked.clone() };
    first.auth.clone().revoke_auth_token(signed(request, ROOT)).await.unwrap();
    let expired = robot(&first, "expired", 1).await;
    wait::until_ok("the token to expire", || async {
        match who(&first, &expired).await {
            Err(status) if status.message() == EXPIRED => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let mut clients = clients(&world);
    let mut calls = 0;
    for (path, need) in rpcs().filter(|(_, need)| *need != Need::Open) {
        for (token, text) in [("", ABSENT), ("nonsense", BAD), (&revoked, BAD), (&expired, EXPIRED)]
        {
            let answer = call(&clients.next().unwrap(), path, token).await;
            assert_eq!(refusal(&answer), Some(text), "{path} {need:?} {answer:?}");
            calls += 1;
        }
    }
    for role in ROLES {
        let name = format!("robot:{}", role.name);
        bind(&first, ROOT, &name, &[role.name]).await.unwrap();
        let token = robot(&first, role.name, 0).await;
        for (path, need) in rpcs().filter(|(path, _)| *path != "/auth_v2.API/Authorize") {
            let allowed = match need {
                Need::Permission(permission) | Need::PermissionIfOn(permission) => {
                    role.permits(permission)
                }
                _ => true,
            };
            if allowed && DESTRUCTIVE.contains(&path) {
                continue;
            }
            let answer = call(&clients.next().unwrap(), path, &token).await;
            let expected = (!allowed).then_some(DENIED);
            assert_eq!(refusal(&answer), expected, "{} {path} {answer:?}", role.name);
            calls += 1;
        }
    }
    assert!(calls > 1000, "{calls}");
}

#[tokio::test]
async fn a_malformed_request_of_a_stranger_is_refused_for_the_stranger() {
    let world = secured(1).await;
    let client = world.client(0);
    let bad = || RestoreAuthTokenRequest {
        token: Some(TokenInfo { expiration: Some(timestamp(1)), ..TokenInfo::default() }),
    };
    let refused = client.auth.clone().restore_auth_token(bad()).await.unwrap_err();
    assert_eq!(refused.message(), ABSENT);
    let refused = call(&client, "/auth_v2.API/RestoreAuthToken", ROOT).await.unwrap_err();
    assert_eq!(
        refused.message(),
        "validate request: invalid RestoreAuthTokenRequest.Token: value is required"
    );
    let mut two = signed(muster_proto::auth_v2::WhoAmIRequest {}, ROOT);
    two.metadata_mut().append("authn-token", ROOT.parse().unwrap());
    let refused = client.auth.clone().who_am_i(two).await.unwrap_err();
    assert_eq!(refused.message(), "multiple authentication token keys found in context");
}
