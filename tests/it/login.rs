//! Signing in where there is no provider to sign in at. With one, and a browser: `tests/login`.

use std::sync::atomic::Ordering;

use muster_proto::auth_v2::{
    AuthenticateRequest, GetConfigurationRequest, GetOidcLoginRequest, OidcConfig,
    SetConfigurationRequest,
};
use tonic::{Code, Request};

use crate::support::authority::code;
use crate::support::http;
use crate::support::issuer;
use crate::support::ports;
use crate::support::replicas::{Replicas, Setup};
use crate::support::secured::{ROOT, secured_with, signed, who};
use crate::support::wait;

fn configuration() -> OidcConfig {
    OidcConfig {
        issuer: "http://pachd:1658".to_owned(),
        client_id: "pachd".to_owned(),
        redirect_uri: "http://pachd:1657/authorization-code/callback".to_owned(),
        localhost_issuer: true,
        ..OidcConfig::default()
    }
}

#[tokio::test]
async fn who_signs_in_where_nobody_can_is_told_why() {
    let dead = ports::free();
    let setup = Setup {
        flags: vec![format!("--localhost-issuer=http://127.0.0.1:{dead}")],
        ..Setup::default()
    };
    let world = secured_with(1, setup).await;
    let mut auth = world.client(0).auth;
    let refused = auth.get_oidc_login(GetOidcLoginRequest {}).await.unwrap_err();
    assert_eq!(refused.message(), "OIDC ID provider configuration not found");
    let id_token =
        |text: &str| AuthenticateRequest { id_token: text.to_owned(), ..Default::default() };
    let refused = auth.authenticate(id_token("x")).await.unwrap_err();
    assert_eq!(refused.message(), "OIDC ID provider configuration not found");
    let refused = auth.authenticate(AuthenticateRequest::default()).await.unwrap_err();
    assert_eq!(refused.message(), "unrecognized authentication mechanism (old pachd?)");

    let configuration = Some(configuration());
    let set = signed(SetConfigurationRequest { configuration }, ROOT);
    auth.set_configuration(set).await.unwrap();
    let refused = auth.get_oidc_login(GetOidcLoginRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let text =
        "could not create OIDC login session: the issuer does not answer: it cannot be reached";
    assert_eq!(refused.message(), text);
    let refused = auth.authenticate(id_token("a.b.c")).await.unwrap_err();
    assert!(refused.message().starts_with("could not verify token: "), "{refused:?}");
    let state = AuthenticateRequest { oidc_state: "a".repeat(31), ..Default::default() };
    let refused = auth.authenticate(Request::new(state)).await.unwrap_err();
    assert_eq!(refused.message(), "error during authorization: OIDC state token expired");
}

#[tokio::test]
async fn d47_the_issuer_is_asked_once_for_many_logins() {
    let (issuer, discoveries) = issuer::counted();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("data-key");
    std::fs::write(&key, "a data key of more than thirty-two bytes").unwrap();
    let flags = vec![format!("--data-key-file={}", key.display())];
    let world = secured_with(1, Setup { flags, ..Setup::default() }).await;
    let mut auth = world.client(0).auth;
    let configuration = Some(OidcConfig { issuer, localhost_issuer: false, ..configuration() });
    let set = signed(SetConfigurationRequest { configuration }, ROOT);
    auth.set_configuration(set).await.unwrap();
    auth.get_oidc_login(GetOidcLoginRequest {}).await.unwrap();
    let first = discoveries.load(Ordering::Relaxed);
    assert!((1..=2).contains(&first), "{first}");
    for _ in 0..10 {
        auth.get_oidc_login(GetOidcLoginRequest {}).await.unwrap();
    }
    assert_eq!(discoveries.load(Ordering::Relaxed), first);
}

#[tokio::test]
async fn a_secret_that_cannot_be_sealed_is_left_out_and_the_replica_serves() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let pages = ports::free();
    let setup = Setup {
        env: vec![
            pair("LICENSE_KEY", &code()),
            pair("ENTERPRISE_SECRET", "a secret of the environment"),
            pair("ACTIVATE_AUTH", "true"),
            pair("AUTH_ROOT_TOKEN", ROOT),
            pair("AUTH_CONFIG", "issuer: http://pachd:1658\nclient_id: pachd\n"),
            pair("AUTH_CLIENT_SECRET", "a-planted-client-secret"),
        ],
        flags: vec![format!("--login-listen=127.0.0.1:{pages}")],
        ..Setup::default()
    };
    let world = Replicas::start_with(1, setup);
    let client = world.client(0);
    wait::until_ok("the root token", || who(&client, ROOT)).await;
    let told = wait::until("a word on the key", || {
        let told = std::fs::read_to_string(world.log(0)).unwrap();
        told.contains("give every replica the same --data-key-file").then_some(told)
    });
    assert!(!told.contains("a-planted-client-secret"), "{told}");
    let asked = signed(GetConfigurationRequest {}, ROOT);
    let stored = client.auth.clone().get_configuration(asked).await.unwrap().into_inner();
    assert_eq!(stored.configuration, Some(OidcConfig::default()));
    assert_eq!(http::get(pages, "/").unwrap().status, 200);
    assert_eq!(http::get(pages, "/authorization-code/callback").unwrap().status, 400);
    assert_eq!(http::get(pages, "/elsewhere").unwrap().status, 404);
}
