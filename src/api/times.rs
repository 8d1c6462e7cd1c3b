//! Times and spans that callers give, before anything is done with them.

use prost_types::Timestamp;
use tonic::Status;

/// The first second of the year 1, and the last of the year 9999: what the wire's times can be.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
const NANOS: std::ops::Range<i32> = 0..1_000_000_000;
/// Seconds that a token may be asked to live: it still ends before the year 9999 then.
const TTL_SECONDS_MAX: i64 = 200_000_000_000;

/// Says no to what is no time.
pub(super) fn check_time(field: &str, time: Option<&Timestamp>) -> Result<(), Status> {
    let Some(time) = time else { return Ok(()) };
    if SECONDS.contains(&time.seconds) && NANOS.contains(&time.nanos) {
        return Ok(());
    }
    Err(Status::invalid_argument(format!(
        "{field} is no time: its year must be 1 to 9999, its nanos 0 to 999999999"
    )))
}

/// Says no to a life that would end beyond all times. A negative one is the state's to refuse.
pub(super) fn check_ttl(seconds: i64) -> Result<(), Status> {
    if seconds <= TTL_SECONDS_MAX {
        return Ok(());
    }
    Err(Status::invalid_argument(format!("ttl must be at most {TTL_SECONDS_MAX} seconds")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_years_of_four_digits_and_nanos_of_nine() {
        let ok =
            |seconds, nanos| check_time("expires", Some(&Timestamp { seconds, nanos })).is_ok();
        assert!(check_time("expires", None).is_ok());
        assert!(ok(0, 0) && ok(-62_135_596_800, 0) && ok(253_402_300_799, 999_999_999));
        for (seconds, nanos) in [
            (i64::MAX, 0),
            (i64::MIN, 0),
            (253_402_300_800, 0),
            (-62_135_596_801, 0),
            (0, -1),
            (0, 1_000_000_000),
            (0, i32::MIN),
        ] {
            assert!(!ok(seconds, nanos), "{seconds} {nanos}");
        }
    }

    #[test]
    fn no_life_ends_beyond_the_times() {
        assert!(check_ttl(0).is_ok() && check_ttl(TTL_SECONDS_MAX).is_ok());
        assert!(check_ttl(TTL_SECONDS_MAX + 1).is_err() && check_ttl(i64::MAX).is_err());
    }
}
