//! Watches whether this machine's clock agrees with the time that leaders stamped. A leader whose clock is
//! far ahead ends licenses and tokens before their time, and log time never runs back: whoever can
//! mend a clock must hear of it while little is lost.

use std::sync::Arc;
use std::time::Duration;

use crate::actors::Reader;
use crate::clock::Clock;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(10);
/// Microseconds that a stamp may be ahead of this clock: what machines without time service drift apart
/// in weeks.
const AHEAD_MAX_US: u64 = 30_000_000;

/// Looks for ever.
pub(super) async fn watch(reader: Reader, clock: Arc<dyn Clock>) -> ! {
    let mut every = tokio::time::interval(EVERY);
    let mut told = false;
    loop {
        every.tick().await;
        let ahead = ahead(reader.local().time().0, clock.now().0);
        metrics::gauge!("muster_clock_skew_seconds")
            .set(Duration::from_micros(ahead).as_secs_f64());
        let is_far = ahead > AHEAD_MAX_US;
        if is_far && !told {
            let seconds = ahead / 1_000_000;
            tracing::error!(
                seconds,
                "the group's time is ahead of this machine's clock: the leader's clock was wrong, or this \
                 one is; licenses and tokens end by the group's time, so set the clocks right"
            );
        }
        if told && !is_far {
            tracing::info!("the group's time and this machine's clock agree again");
        }
        told = is_far;
    }
}

/// How many microseconds the stamp lies ahead. Behind is nothing: the log may have stood still.
fn ahead(stamp: u64, now: u64) -> u64 {
    stamp.saturating_sub(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_stands_still_is_no_skew_and_a_stamp_from_the_future_is() {
        assert_eq!(ahead(5, 9_000_000_000), 0);
        assert_eq!(ahead(3_600_000_000, 0), 3_600_000_000);
    }
}
