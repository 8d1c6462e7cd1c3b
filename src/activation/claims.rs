//! What a token says.

use prost_types::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::activation::CodeError;

/// The claims that mean something here. A token may hold others; they are signed and ignored.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    /// Until when the code may be activated and the license is in force.
    pub expiry: Timestamp,
    /// For whom it was issued; may be empty.
    pub customer: String,
    /// How many clusters may be registered; none = as many as a group can hold.
    pub max_clusters: Option<u64>,
    /// Days after the expiry in which people are warned rather than stopped.
    pub grace_days: Option<u32>,
}

#[derive(Serialize)]
struct Token<'a> {
    expiry: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    customer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_clusters: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grace_days: Option<u32>,
}

impl Claims {
    /// Reads a token.
    ///
    /// The bounds must be whole numbers: to overlook one would lift it. A `customer` that is no text
    /// is another authority's claim of the same name, and is passed over.
    pub fn read(token: &str) -> Result<Claims, CodeError> {
        let claims: Map<String, Value> =
            serde_json::from_str(token).map_err(|_| CodeError::TokenNotJson)?;
        let expiry = match claim(&claims, "expiry") {
            Some(Value::String(text)) => text.as_str(),
            None | Some(Value::Null) => "",
            Some(_) => return Err(CodeError::TokenNotJson),
        };
        let max_clusters = whole(claim(&claims, "max_clusters"))?;
        let grace_days = whole(claim(&claims, "grace_days"))?
            .map(|days| u32::try_from(days).map_err(|_| CodeError::TokenNotJson))
            .transpose()?;
        let customer = claim(&claims, "customer").and_then(Value::as_str).unwrap_or_default();
        Ok(Claims {
            expiry: instant(expiry).ok_or(CodeError::ExpiryInvalid)?,
            customer: customer.to_owned(),
            max_clusters,
            grace_days,
        })
    }

    /// The token that says this.
    pub(super) fn write(&self) -> Option<String> {
        let token = Token {
            expiry: text(&self.expiry)?,
            customer: &self.customer,
            max_clusters: self.max_clusters,
            grace_days: self.grace_days,
        };
        serde_json::to_string(&token).ok()
    }

    /// Whether `now` is strictly later than the signed expiry.
    pub fn is_expired(&self, now: &Timestamp) -> bool {
        is_later(now, &self.expiry)
    }
}

/// The expiry that a license gets: the signed one, or the one asked for if that is earlier.
pub fn earlier_expiry(signed: Timestamp, asked: Option<Timestamp>) -> Timestamp {
    match asked {
        Some(asked) if is_later(&signed, &asked) => asked,
        _ => signed,
    }
}

fn is_later(one: &Timestamp, other: &Timestamp) -> bool {
    (one.seconds, one.nanos) > (other.seconds, other.nanos)
}

/// The claim of that name in any case; an exact name goes first.
fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let mut others = claims.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        others.next().map(|(_, value)| value)
    })
}

fn whole(claim: Option<&Value>) -> Result<Option<u64>, CodeError> {
    match claim {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or(CodeError::TokenNotJson),
    }
}

fn instant(text: &str) -> Option<Timestamp> {
    let instant = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Some(Timestamp {
        seconds: instant.unix_timestamp(),
        nanos: i32::try_from(instant.nanosecond()).ok()?,
    })
}

fn text(instant: &Timestamp) -> Option<String> {
    let nanos = i64::from(instant.nanos);
    let whole = OffsetDateTime::from_unix_timestamp(instant.seconds).ok()?;
    whole.checked_add(time::Duration::nanoseconds(nanos))?.format(&Rfc3339).ok()
}
