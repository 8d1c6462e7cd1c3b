//! Reads that may be old: `staleness: 10s` in a request's metadata asks this replica alone, and the
//! answer's metadata say under the same key how old the state may be.

use std::time::Duration;

use tonic::metadata::MetadataMap;
use tonic::{Response, Status};

use crate::actors::Freshness;

/// The metadata key, both ways.
const KEY: &str = "staleness";

/// How old an answer the caller takes.
///
/// # Errors
/// When the value is no duration.
pub(super) fn asked(metadata: &MetadataMap) -> Result<Freshness, Status> {
    let Some(value) = metadata.get(KEY) else { return Ok(Freshness::Current) };
    value.to_str().ok().and_then(duration).map(Freshness::Within).ok_or_else(|| {
        Status::invalid_argument(format!(
            "{KEY} must be a whole number and a unit, such as 500ms, 10s, 5m or 1h"
        ))
    })
}

/// The answer, and how old the state was that it came from.
pub(super) fn told<T>(answer: T, age: Option<Duration>) -> Response<T> {
    let mut response = Response::new(answer);
    let age = age.and_then(|age| format!("{}ms", age.as_millis()).parse().ok());
    if let Some(age) = age {
        response.metadata_mut().insert(KEY, age);
    }
    response
}

/// The refusal of a state that is older than asked for.
pub(super) fn too_old(age: Option<Duration>) -> Status {
    let age = age.map_or("of unknown age".to_owned(), |age| format!("{}ms old", age.as_millis()));
    Status::unavailable(format!(
        "the state of this replica is {age}, older than the {KEY} asked for: ask another replica, or \
         allow more"
    ))
}

fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(unit)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Freshness> {
        let mut metadata = MetadataMap::new();
        metadata.insert(KEY, text.parse().unwrap());
        asked(&metadata).ok()
    }

    #[test]
    fn a_bound_is_a_whole_number_and_a_unit() {
        let within = |ms| Some(Freshness::Within(Duration::from_millis(ms)));
        assert_eq!(of("500ms"), within(500));
        assert_eq!(of("10s"), within(10_000));
        assert_eq!(of("5m"), within(300_000));
        assert_eq!(of("1h"), within(3_600_000));
        for wrong in ["", "10", "s", "-1s", "1.5s", "10 s", "any", "99999999999999999999s"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert_eq!(of("18446744073709551615h"), None);
        assert_eq!(asked(&MetadataMap::new()).unwrap(), Freshness::Current);
    }

    #[test]
    fn only_an_answer_that_may_be_old_says_so() {
        let age =
            |age| told((), age).metadata().get(KEY).map(|age| age.to_str().unwrap().to_owned());
        assert_eq!(age(None), None);
        assert_eq!(age(Some(Duration::from_micros(1_234_567))).as_deref(), Some("1234ms"));
    }
}
