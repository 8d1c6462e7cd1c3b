//! Log time, and how it meets the times of the wire.

use prost_types::Timestamp;

const MICROS_PER_SECOND: u64 = 1_000_000;
const NANOS_PER_MICRO: u64 = 1_000;

/// Microseconds since the Unix epoch, as the leader stamped an entry. Zero stands for "never" where
/// an event may not have happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogTime(pub u64);

impl LogTime {
    /// Before every event.
    pub const NEVER: LogTime = LogTime(0);

    /// The same instant on the wire; none for [`LogTime::NEVER`].
    pub fn on_wire(self) -> Option<Timestamp> {
        (self != LogTime::NEVER).then(|| self.timestamp())
    }

    /// The instant that lies `seconds` later.
    #[must_use]
    pub fn plus_seconds(self, seconds: u64) -> LogTime {
        LogTime(self.0.saturating_add(seconds.saturating_mul(MICROS_PER_SECOND)))
    }

    /// Whether this is strictly later than `instant`, to the nanosecond.
    pub fn is_after(self, instant: &Timestamp) -> bool {
        let own = self.timestamp();
        (own.seconds, own.nanos) > (instant.seconds, instant.nanos)
    }

    fn timestamp(self) -> Timestamp {
        let seconds = self.0 / MICROS_PER_SECOND;
        let nanos = (self.0 % MICROS_PER_SECOND) * NANOS_PER_MICRO;
        Timestamp {
            seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
            nanos: i32::try_from(nanos).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_after_another_by_a_microsecond_but_not_at_it() {
        let instant = Timestamp { seconds: 7, nanos: 1_000 };
        assert!(!LogTime(7_000_000).is_after(&instant));
        assert!(!LogTime(7_000_001).is_after(&instant));
        assert!(LogTime(7_000_002).is_after(&instant));
    }

    #[test]
    fn never_is_absent_on_the_wire() {
        assert_eq!(LogTime::NEVER.on_wire(), None);
        assert_eq!(
            LogTime(1_500_000).on_wire(),
            Some(Timestamp { seconds: 1, nanos: 500_000_000 })
        );
    }
}
