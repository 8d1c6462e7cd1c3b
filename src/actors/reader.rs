//! Reads the state: with everything acknowledged, or as old as the caller allows.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use muster_cluster::group::{Group, Published};
use tokio::time::Instant;

use super::call::{Call, CallError, Freshness, NotDone};
use super::machine::Machine;
use crate::clock::Clock;
use crate::state::State;

/// Between two times that the age of the local state is settled anew, and the longest that one takes.
const CONFIRM_EVERY: Duration = Duration::from_secs(1);

/// The way to the state. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    group: Group<Machine>,
    clock: Arc<dyn Clock>,
    confirmed: Arc<Mutex<Option<Moment>>>,
}

/// The state, and how old it may be.
#[derive(Debug)]
pub struct Seen {
    /// The state.
    pub state: State,
    /// Everything acknowledged so long ago is in it; none: everything acknowledged before the call.
    pub age: Option<Duration>,
}

/// One moment by two clocks: a machine that slept counts the time of day, a time of day that was set
/// counts the other.
#[derive(Clone, Copy, Debug)]
struct Moment {
    steady: Instant,
    /// Microseconds since the Unix epoch.
    of_day: u64,
}

impl Moment {
    fn until(self, now: Moment) -> Duration {
        let steady = now.steady.saturating_duration_since(self.steady);
        steady.max(Duration::from_micros(now.of_day.saturating_sub(self.of_day)))
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

impl Reader {
    /// Reads the state that `group` agrees on.
    pub fn new(group: Group<Machine>, clock: Arc<dyn Clock>) -> Reader {
        Reader { group, clock, confirmed: Arc::default() }
    }

    /// The state as fresh as `call` wants it.
    ///
    /// # Errors
    /// As [`Reader::current`], or [`CallError::Stale`] when the local state is older than allowed.
    pub async fn read(&self, call: &Call) -> Result<Seen, CallError> {
        let most = match call.freshness {
            Freshness::Current => {
                let published = self.published(call.deadline).await?;
                call.place.note(published.index);
                return Ok(Seen { state: published.view, age: None });
            }
            Freshness::Within(most) => most,
        };
        // In this order: the state is at least as fresh as its age says.
        let age = self.age();
        match age {
            Some(age) if age <= most => Ok(Seen { state: self.local(), age: Some(age) }),
            _ => Err(CallError::Stale(age)),
        }
    }

    /// The state with everything in it that was acknowledged before this call.
    ///
    /// # Errors
    /// [`CallError::NotDone`] when no majority of replicas answers by `deadline`.
    pub async fn current(&self, deadline: Instant) -> Result<State, CallError> {
        Ok(self.published(deadline).await?.view)
    }

    async fn published(&self, deadline: Instant) -> Result<Published<State>, CallError> {
        let asked = self.now();
        if deadline <= asked.steady {
            return Err(NotDone::Late.into());
        }
        let published = self.group.read(deadline).await.map_err(super::proposer::unread)?;
        self.confirm(asked);
        Ok(published)
    }

    /// The state that this replica has, which may be old. Needs no leader.
    pub fn local(&self) -> State {
        let Published { view, .. } = self.group.local();
        view
    }

    /// How old the local state may be at most: since the last time that a majority said how far the
    /// log was, and it was applied so far. Until that first happens after a start, it is as old as the
    /// stamp of its last entry, by the clock of the leader that stamped it. None: there is no entry.
    pub fn age(&self) -> Option<Duration> {
        let confirmed = *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        if let Some(moment) = confirmed {
            return Some(moment.until(now));
        }
        let stamp = self.group.local().time.0;
        (stamp > 0).then(|| Duration::from_micros(now.of_day.saturating_sub(stamp)))
    }

    /// Keeps the age of the local state small as long as a majority answers; never ends.
    pub async fn keep_fresh(self) -> ! {
        let mut every = tokio::time::interval(CONFIRM_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            // Without a majority the state grows old, and says so.
            let _unconfirmed = self.current(Instant::now() + CONFIRM_EVERY).await;
        }
    }

    fn confirm(&self, asked: Moment) {
        let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        if confirmed.is_none_or(|last| last.steady < asked.steady) {
            *confirmed = Some(asked);
        }
    }

    fn now(&self) -> Moment {
        Moment { steady: Instant::now(), of_day: self.clock.now().0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_that_saw_more_time_pass_is_believed() {
        let steady = Instant::now();
        let then = Moment { steady, of_day: 5_000_000 };
        let later =
            |seconds, of_day| Moment { steady: steady + Duration::from_secs(seconds), of_day };
        assert_eq!(then.until(later(3, 8_000_000)), Duration::from_secs(3));
        assert_eq!(then.until(later(3, 0)), Duration::from_secs(3), "the time of day was set back");
        assert_eq!(then.until(later(0, 65_000_000)), Duration::from_mins(1), "the machine slept");
    }
}
