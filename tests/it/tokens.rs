//! Many tokens: forgotten in time, extracted page by page; and times that are none.

use muster::clock::{Clock as _, SystemClock};
use muster_proto::auth_v2::{
    ExtractAuthTokensRequest, GetRobotTokenRequest, RestoreAuthTokenRequest,
    RevokeAuthTokenRequest, RevokeAuthTokensForUserRequest, TokenInfo,
};
use muster_proto::license_v2;
use prost_types::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::support::authority::code;
use crate::support::client::Client;
use crate::support::http;
use crate::support::replicas::{Replicas, Setup};
use crate::support::secured::{ROOT, robot, secured, secured_with, signed, who};
use crate::support::wait;

const BAD: &str = "provided auth token is corrupted or has expired (try logging in again)";

async fn restore(client: &Client, token: &str, ends: Option<Timestamp>) -> Result<(), Status> {
    let info = TokenInfo {
        subject: "robot:restored".to_owned(),
        expiration: ends,
        hashed_token: hex::encode(Sha256::digest(token)),
    };
    let request = signed(RestoreAuthTokenRequest { token: Some(info) }, ROOT);
    client.auth.clone().restore_auth_token(request).await.map(drop)
}

/// The sum of a counter over all replicas.
fn counted(world: &Replicas, name: &str) -> u64 {
    let of_one = |at| {
        let metrics = http::get(world.replica(at).ops, "/metrics").unwrap().body;
        let line = metrics.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
    };
    (0..world.len()).map(of_one).sum()
}

fn in_seconds(seconds: u64) -> Timestamp {
    let now = SystemClock.now().0 / 1_000_000;
    Timestamp { seconds: i64::try_from(now + seconds).unwrap(), nanos: 0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_tokens_are_forgotten_by_themselves_a_few_at_a_time_while_others_are_served() {
    const SHORT: usize = 700;
    let setup = Setup { flags: vec!["--token-sweep=300ms".to_owned()], ..Setup::default() };
    let world = secured_with(3, setup).await;
    let client = world.client(0);
    let kept = robot(&client, "kept", 3600).await;
    let forever = robot(&client, "forever", 0).await;
    let ends = Some(in_seconds(6));
    let mut restoring = JoinSet::new();
    for number in 0..SHORT {
        let client = world.client(number % 3);
        restoring.spawn(async move { restore(&client, &format!("short-{number}"), ends).await });
    }
    for restored in restoring.join_all().await {
        restored.unwrap();
    }
    wait::until_ok("every short token to be forgotten", || async {
        who(&client, &kept).await.map_err(|status| status.to_string())?;
        for number in [0, SHORT / 2 - 1, SHORT - 2, SHORT - 1] {
            let refused = who(&world.client(number % 3), &format!("short-{number}"))
                .await
                .map_err(|e| e.to_string());
            let refused = refused.err().ok_or("it lives")?;
            if !refused.contains(BAD) {
                return Err(refused);
            }
        }
        match counted(&world, "muster_expired_tokens_forgotten_total") {
            700 => Ok(()),
            other => Err(format!("{other} forgotten")),
        }
    })
    .await;
    who(&client, &forever).await.unwrap();
    who(&client, ROOT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tokens_of_a_robot_end_at_once_and_are_forgotten_by_themselves_a_few_at_a_time() {
    const MANY: usize = 700;
    let setup = Setup { flags: vec!["--token-sweep=300ms".to_owned()], ..Setup::default() };
    let world = secured_with(3, setup).await;
    let client = world.client(0);
    let other = robot(&client, "other", 0).await;
    let mut restoring = JoinSet::new();
    for number in 0..MANY {
        let client = world.client(number % 3);
        restoring.spawn(async move { restore(&client, &format!("many-{number}"), None).await });
    }
    for restored in restoring.join_all().await {
        restored.unwrap();
    }
    let revoke = |at| {
        let request = RevokeAuthTokensForUserRequest { username: "robot:restored".to_owned() };
        let mut auth = world.client(at).auth;
        async move {
            auth.revoke_auth_tokens_for_user(signed(request, ROOT))
                .await
                .unwrap()
                .into_inner()
                .number
        }
    };
    assert_eq!(revoke(1).await, 700);
    let fresh = robot(&client, "restored", 0).await;
    for number in 0..MANY {
        let refused = who(&world.client(number % 3), &format!("many-{number}")).await.unwrap_err();
        assert!(refused.message().contains(BAD), "{number}: {refused:?}");
    }
    // What the revocation's own entry forgets is not the sweep's.
    wait::until_ok("every revoked token to be forgotten", || async {
        match counted(&world, "muster_revoked_tokens_forgotten_total") {
            572 => Ok(()),
            other => Err(format!("{other} forgotten")),
        }
    })
    .await;
    for at in 0..3 {
        for token in [&fresh, &other] {
            who(&world.client(at), token).await.unwrap();
        }
        assert!(who(&world.client(at), "many-699").await.is_err());
    }
    assert_eq!(revoke(2).await, 1);
}

#[tokio::test]
async fn an_extract_comes_whole_or_page_by_page_also_while_tokens_go() {
    let world = secured(1).await;
    let client = world.client(0);
    let mut tokens = Vec::new();
    for number in 0..25 {
        tokens.push(robot(&client, &format!("r{:02}", number / 2), 0).await);
    }
    let page = |size: &'static str, after: String| {
        let mut request = signed(ExtractAuthTokensRequest {}, ROOT);
        if !size.is_empty() {
            request.metadata_mut().insert("muster-page-size", size.parse().unwrap());
            request.metadata_mut().insert("muster-page-token", after.parse().unwrap());
        }
        let mut auth = client.auth.clone();
        async move {
            let answer = auth.extract_auth_tokens(request).await?;
            let next = answer.metadata().get("muster-next-page-token");
            let next = next.map(|next| next.to_str().unwrap().to_owned());
            Ok::<_, Status>((answer.into_inner().tokens, next))
        }
    };
    let (whole, next) = page("", String::new()).await.unwrap();
    assert_eq!((whole.len(), next), (25, None));
    let (mut found, mut next) = page("10", String::new()).await.unwrap();
    // The last of the page is gone when the next one is asked for.
    let last = found.last().unwrap().hashed_token.clone();
    let gone = tokens.iter().find(|token| hex::encode(Sha256::digest(token)) == last).unwrap();
    let request = RevokeAuthTokenRequest { token: gone.clone() };
    client.auth.clone().revoke_auth_token(signed(request, ROOT)).await.unwrap();
    let mut sizes = vec![found.len()];
    while let Some(after) = next {
        let (more, further) = page("10", after).await.unwrap();
        sizes.push(more.len());
        found.extend(more);
        next = further;
    }
    assert_eq!(sizes, [10, 10, 5]);
    assert_eq!(found, whole, "each once, in the same order");
    for (size, after) in [("0", ""), ("x", ""), ("10", "nonsense")] {
        let refused = page(size, after.to_owned()).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{size} {after}");
    }
}

#[tokio::test]
async fn what_is_no_time_is_refused_by_every_method_that_takes_one() {
    let world = secured(1).await;
    let client = world.client(0);
    let bad = [
        Timestamp { seconds: i64::MAX, nanos: 0 },
        Timestamp { seconds: i64::MIN, nanos: 0 },
        Timestamp { seconds: 4_000_000_000, nanos: -1 },
        Timestamp { seconds: 4_000_000_000, nanos: 1_000_000_000 },
        Timestamp { seconds: 253_402_300_800, nanos: 0 },
    ];
    for time in bad {
        let request = license_v2::ActivateRequest { activation_code: code(), expires: Some(time) };
        let refused = client.license.clone().activate(signed(request, ROOT)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{time:?} {refused:?}");
        assert!(refused.message().contains("expires is no time"), "{refused:?}");
        let refused = restore(&client, "t", Some(time)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{time:?} {refused:?}");
        assert!(refused.message().contains("expiration is no time"), "{refused:?}");
    }
    restore(&client, "t", Some(Timestamp { seconds: 253_402_300_799, nanos: 0 })).await.unwrap();
    assert_eq!(who(&client, "t").await.unwrap().expiration.unwrap().seconds, 253_402_300_799);
    let mint = |ttl: i64| {
        let request = GetRobotTokenRequest { robot: "r".to_owned(), ttl };
        let mut auth = client.auth.clone();
        async move { auth.get_robot_token(signed(request, ROOT)).await }
    };
    for ttl in [i64::MAX, i64::MIN, -1, 200_000_000_001] {
        assert_eq!(mint(ttl).await.unwrap_err().code(), Code::InvalidArgument, "{ttl}");
    }
    mint(200_000_000_000).await.unwrap();
}
