//! Where a provider sends people back to.

use std::sync::Arc;

use actix_web::http::header::{ACCEPT, HeaderMap, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::page::{Page, page, text};
use crate::actors::CallError;
use crate::api::RateLimits;
use crate::identity::{Callback, Outcome, SignIn, SignInError};

/// Where providers send people back to, as upstream's configurations have it.
pub(super) const PATH: &str = "/authorization-code/callback";

/// People whose return is being looked at.
const UNDER_WAY_MAX: usize = 256;
/// Bytes of a query: a code of 4 KiB and what goes with it.
const QUERY_BYTES_MAX: usize = 16 << 10;

/// What returns are looked at with.
pub(super) struct Callbacks {
    sign_in: SignIn,
    limits: RateLimits,
    room: Arc<Semaphore>,
}

impl Callbacks {
    pub(super) fn new(sign_in: SignIn, limits: RateLimits) -> Callbacks {
        Callbacks { sign_in, limits, room: Arc::new(Semaphore::new(UNDER_WAY_MAX)) }
    }
}

/// What a provider sends people back with (RFC 6749, 4.1.2; RFC 9207). A name that comes twice makes
/// the whole query one that cannot be read.
#[derive(Debug, Default, Deserialize)]
struct Query {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
    iss: Option<String>,
}

/// Takes a person back and says what came of it.
pub(super) async fn answer(request: HttpRequest, callbacks: web::Data<Callbacks>) -> HttpResponse {
    if let Err(seconds) = admit(&callbacks.limits, &request) {
        metrics::counter!("muster_login_callbacks_total", "outcome" => Page::TooMany.word())
            .increment(1);
        let mut answer = respond(request.headers(), Page::TooMany);
        answer.headers_mut().insert(RETRY_AFTER, seconds.into());
        return answer;
    }
    let shown = match read(request.query_string()) {
        None => Page::Invalid,
        Some(callback) => {
            let state = callback.state.clone();
            let shown = take_back(&callbacks, callback).await;
            tracing::info!(login = half(&state), outcome = ?shown, "a person came back from the provider");
            shown
        }
    };
    metrics::counter!("muster_login_callbacks_total", "outcome" => shown.word()).increment(1);
    respond(request.headers(), shown)
}

/// Whether there is room for one more from there; else the seconds until there is.
fn admit(limits: &RateLimits, request: &HttpRequest) -> Result<(), u64> {
    let Some(peer) = request.peer_addr() else { return Ok(()) };
    let values = request.headers().get_all("x-forwarded-for");
    let forwarded: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    limits.callback(peer.ip(), &forwarded)
}

/// Anything else.
pub(super) async fn nothing_here(request: HttpRequest) -> HttpResponse {
    respond(request.headers(), Page::NothingHere)
}

/// The query's parts, if it is one of a provider.
fn read(query: &str) -> Option<Callback> {
    if query.len() > QUERY_BYTES_MAX {
        return None;
    }
    let query = web::Query::<Query>::from_query(query).ok()?.into_inner();
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let state = given(query.state)?;
    let (code, error) = (given(query.code), given(query.error));
    if code.is_some() == error.is_some() {
        return None;
    }
    Some(Callback { state, code, issuer: given(query.iss) })
}

async fn take_back(callbacks: &Callbacks, callback: Callback) -> Page {
    let Ok(_place) = callbacks.room.try_acquire() else { return Page::Busy };
    match callbacks.sign_in.finish(callback).await {
        Ok(Outcome::SignedIn) => Page::SignedIn,
        Ok(Outcome::Denied) => Page::Denied,
        Ok(Outcome::Refused) => Page::Refused,
        Ok(Outcome::EmailUnverified) => Page::EmailUnverified,
        Err(SignInError::Call(CallError::Rejected(_)) | SignInError::NotConfigured) => {
            Page::Unknown
        }
        Err(SignInError::Oidc(error)) => {
            tracing::warn!(%error, "a login is held up by the issuer");
            Page::IssuerAway
        }
        Err(error) => {
            tracing::warn!(%error, "a login is held up");
            Page::Away
        }
    }
}

fn respond(headers: &HeaderMap, shown: Page) -> HttpResponse {
    let accepts = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let is_browser = accepts.is_some_and(|accepts| accepts.contains("text/html"));
    if is_browser { page(shown) } else { text(shown) }
}

/// Enough of a state to find a login in the log, and not enough to end it.
fn half(state: &str) -> String {
    let is_ours = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match state.get(..state.len() / 2) {
        Some(half) if state.len() < 64 && half.chars().all(is_ours) => {
            format!("{half}.../{}", state.len())
        }
        _ => format!(".../{}", state.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_return_has_a_state_and_either_a_code_or_an_error() {
        let good = read("code=c&state=s&iss=https%3A%2F%2Fi").unwrap();
        assert_eq!((good.state.as_str(), good.code.as_deref()), ("s", Some("c")));
        assert_eq!(good.issuer.as_deref(), Some("https://i"));
        assert!(read("error=access_denied&state=s").unwrap().code.is_none());
        for bad in [
            "",
            "code=c",
            "state=s",
            "code=&state=s",
            "code=c&error=e&state=s",
            "code=c&code=d&state=s",
            "state=s&state=t&code=c",
        ] {
            assert!(read(bad).is_none(), "{bad}");
        }
        assert!(read(&format!("state=s&code={}", "x".repeat(QUERY_BYTES_MAX))).is_none());
    }

    #[test]
    fn half_a_state_is_shown_and_nothing_else() {
        assert_eq!(half(&"a".repeat(31)), format!("{}.../31", "a".repeat(15)));
        assert_eq!(half("<script>"), ".../8");
        assert_eq!(half(&"a".repeat(100)), ".../100");
        assert_eq!(half("ééé"), ".../6");
    }
}
