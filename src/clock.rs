//! The time of day. [`SystemClock`] is the one place that reads the machine's; everything else is
//! given a [`Clock`], so that a test can set it.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use muster_cluster::types::Timestamp;

/// Tells the time of day.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Microseconds since the Unix epoch; may jump either way, as the machine's clock does.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else is given")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

/// The same moment as a protobuf message.
pub fn to_message(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: i64::try_from(time.0 / 1_000_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(time.0 % 1_000_000 * 1000).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_keeps_its_microseconds_as_a_message() {
        let message = to_message(Timestamp(1_700_000_000_000_001));
        assert_eq!((message.seconds, message.nanos), (1_700_000_000, 1000));
    }

    #[test]
    fn the_system_clock_is_past_the_epoch() {
        assert!(SystemClock.now() > Timestamp(0));
    }
}
