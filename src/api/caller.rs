//! Reads from a request's metadata who asks, under which name, and until when an answer is awaited.

use std::sync::Arc;
use std::time::Duration;

use muster_proto::muster::log::v1::{Anonymous, Caller, caller::Who};
use tokio::time::Instant;
use tonic::codegen::http::HeaderMap;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use super::lanes::{Entered, Lane};
use super::staleness;
use crate::actors::{Call, LogPlace, Origin};
use crate::clock::Clock;
use crate::state::{LogTime, limits, secret};

/// The metadata key of a token.
pub(super) const TOKEN: &str = "authn-token";
/// The metadata key of the client's own name for a request.
pub(super) const REQUEST_ID: &str = "muster-request-id";
/// Where gRPC carries how long the client waits.
const TIMEOUT: &str = "grpc-timeout";

/// Where the requests of one kind come in.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    pub(super) lane: Lane,
    pub(super) patience: Patience,
    pub(super) clock: Arc<dyn Clock>,
}

impl Desk {
    /// Takes a place in the lane, to be held until the answer, and reads who asks.
    ///
    /// # Errors
    /// When the lane is full or the metadata are wrong: nothing was done.
    pub(super) fn open<T>(&self, request: &Request<T>) -> Result<(Entered, Call), Status> {
        let lane = self.lane.enter()?;
        let call = self.patience.call(request.metadata())?;
        // Put there by `entrance` and `measure`.
        let origin = request.extensions().get().cloned().unwrap_or_default();
        let place = request.extensions().get().cloned().unwrap_or_default();
        Ok((lane, Call { origin, place, ..call }))
    }

    /// The time of day at which a read is judged.
    pub(super) fn now(&self) -> LogTime {
        LogTime(self.clock.now().0)
    }
}

/// The longest that anybody is kept waiting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience(pub(super) Duration);

impl Patience {
    /// What the metadata say of the caller.
    ///
    /// # Errors
    /// When there is more than one token, or a name for the request that cannot be one.
    pub(super) fn call(self, metadata: &MetadataMap) -> Result<Call, Status> {
        Ok(Call {
            caller: caller(metadata)?,
            request_id: request_id(metadata)?,
            deadline: Instant::now() + self.wait(metadata),
            freshness: staleness::asked(metadata)?,
            origin: Origin::default(),
            place: LogPlace::default(),
        })
    }

    /// How long an answer may take: a little shorter than the client waits.
    fn wait(self, metadata: &MetadataMap) -> Duration {
        let given = metadata.get(TIMEOUT).and_then(|value| value.to_str().ok()).and_then(timeout);
        let wait = given.map_or(self.0, |given| given.min(self.0));
        wait.saturating_sub((wait / 10).min(Duration::from_millis(250)))
    }
}

fn caller(metadata: &MetadataMap) -> Result<Caller, Status> {
    let mut tokens = metadata.get_all(TOKEN).iter();
    let who = match (tokens.next(), tokens.next()) {
        (None, _) => Who::Anonymous(Anonymous {}),
        (Some(token), None) => {
            Who::TokenDigest(secret::token_digest(token.as_encoded_bytes()).to_vec().into())
        }
        (Some(_), Some(_)) => {
            return Err(Status::unknown("multiple authentication token keys found in context"));
        }
    };
    Ok(Caller { who: Some(who) })
}

/// The only token that came with a request.
pub(super) fn token(headers: &HeaderMap) -> Option<&[u8]> {
    let mut tokens = headers.get_all(TOKEN).iter();
    let token = tokens.next()?;
    tokens.next().is_none().then(|| token.as_bytes())
}

fn request_id(metadata: &MetadataMap) -> Result<String, Status> {
    let Some(value) = metadata.get(REQUEST_ID) else { return Ok(String::new()) };
    let id = value.to_str().unwrap_or_default();
    if id.is_empty() || id.len() > limits::REQUEST_ID_BYTES_MAX {
        return Err(Status::invalid_argument(format!(
            "{REQUEST_ID} must have 1 to {} visible characters",
            limits::REQUEST_ID_BYTES_MAX
        )));
    }
    Ok(id.to_owned())
}

/// Reads `30S`, `500m` and the like: at most eight digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number.saturating_mul(3600))),
        "M" => Some(Duration::from_secs(number.saturating_mul(60))),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(pairs: &[(&'static str, &'static str)]) -> MetadataMap {
        let mut map = MetadataMap::new();
        for (key, value) in pairs {
            map.append(*key, value.parse().unwrap());
        }
        map
    }

    fn call(pairs: &[(&'static str, &'static str)]) -> Result<Call, Status> {
        Patience(Duration::from_secs(30)).call(&metadata(pairs))
    }

    #[test]
    fn no_token_is_nobody_one_is_its_digest_two_are_refused() {
        assert!(matches!(call(&[]).unwrap().caller.who, Some(Who::Anonymous(_))));
        let one = call(&[("authn-token", "t")]).unwrap().caller.who;
        let digest = secret::token_digest("t").to_vec();
        assert_eq!(one, Some(Who::TokenDigest(digest.into())));
        let two = call(&[("authn-token", "t"), ("authn-token", "u")]).unwrap_err();
        assert_eq!(two.message(), "multiple authentication token keys found in context");
    }

    #[test]
    fn a_request_may_have_a_name_but_not_an_empty_one() {
        assert_eq!(call(&[("muster-request-id", "r1")]).unwrap().request_id, "r1");
        assert!(call(&[("muster-request-id", "")]).is_err());
    }

    #[test]
    fn the_answer_comes_before_the_client_gives_up_and_never_later_than_the_cap() {
        let after = |pairs: &[_]| Patience(Duration::from_secs(30)).wait(&metadata(pairs));
        assert_eq!(after(&[]), Duration::from_millis(29_750));
        assert_eq!(after(&[("grpc-timeout", "1S")]), Duration::from_millis(900));
        assert_eq!(after(&[("grpc-timeout", "99H")]), Duration::from_millis(29_750));
        assert_eq!(after(&[("grpc-timeout", "soon")]), Duration::from_millis(29_750));
    }
}
