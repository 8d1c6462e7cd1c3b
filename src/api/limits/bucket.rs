//! How often something may happen, in memory that no caller can grow. Pure: the time is an argument.
//!
//! A bucket holds so many goes and fills evenly. There is none of its own for each caller: callers
//! fall into slots by a seeded hash, twice over, and one that finds a go in either of its two slots
//! passes. So nothing is ever thrown out to make room, which an attacker with many addresses could
//! use to be forgotten; and whoever shares a slot with an attacker still has the other one.

use std::time::Duration;

/// Slots of one row. With as many as a twentieth of them emptied by attackers, one caller in four
/// hundred who gave no reason would be refused.
pub(super) const SLOTS: usize = 1 << 15;
/// Rows; a caller has a slot in each.
const ROWS: usize = 2;
/// Callers in good standing that are remembered: about half a MiB.
const KNOWN_MAX: usize = 1 << 16;

/// So many at once, and again so many over each span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At least 1.
    pub count: u32,
    /// Longer than nothing.
    pub span: Duration,
}

/// The buckets of one limit. A slot holds the time, in microseconds, at which it is full again.
#[derive(Debug)]
pub(super) struct Buckets {
    /// Microseconds that one go costs.
    cost: u64,
    /// Microseconds that an empty bucket takes to fill.
    span: u64,
    full_at: Vec<u64>,
}

impl Buckets {
    pub(super) fn new(rate: Rate) -> Buckets {
        let span = micros(rate.span).max(u64::from(rate.count));
        let cost = span / u64::from(rate.count.max(1));
        Buckets { cost, span, full_at: vec![0; ROWS * SLOTS] }
    }

    /// Takes a go, or tells how many microseconds from `now` there will be one.
    pub(super) fn take(&mut self, key: u64, now: u64) -> Result<(), u64> {
        self.look(key, now)?;
        self.charge(key, now);
        Ok(())
    }

    /// As [`Buckets::take`], without taking it.
    pub(super) fn look(&self, key: u64, now: u64) -> Result<(), u64> {
        let spare = self.span - self.cost;
        let waits = slots(key).map(|slot| {
            let full_at = self.full_at.get(slot).copied().unwrap_or(0);
            full_at.saturating_sub(now.saturating_add(spare))
        });
        match waits.into_iter().min() {
            Some(wait) if wait > 0 => Err(wait),
            _ => Ok(()),
        }
    }

    /// Takes a go even from an empty bucket, which then has none for the time of one.
    pub(super) fn charge(&mut self, key: u64, now: u64) {
        for slot in slots(key) {
            if let Some(full_at) = self.full_at.get_mut(slot) {
                let later = (*full_at).max(now).saturating_add(self.cost);
                *full_at = later.min(now.saturating_add(self.span));
            }
        }
    }

    /// Puts a go back that was taken.
    pub(super) fn give_back(&mut self, key: u64) {
        for slot in slots(key) {
            if let Some(full_at) = self.full_at.get_mut(slot) {
                *full_at = full_at.saturating_sub(self.cost);
            }
        }
    }
}

/// A key's slot in each row, from different bits of it.
fn slots(key: u64) -> [usize; ROWS] {
    let of = |bits: u64| usize::try_from(bits).unwrap_or(0) % SLOTS;
    [of(key & 0xffff_ffff), SLOTS + of(key >> 32)]
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Who was right before: a table of fixed size in which a newcomer takes the place of another now and
/// then. Only being right gets anybody in.
#[derive(Debug)]
pub(super) struct Known {
    keys: Vec<u64>,
}

impl Known {
    pub(super) fn new() -> Known {
        Known { keys: vec![0; KNOWN_MAX] }
    }

    pub(super) fn has(&self, key: u64) -> bool {
        self.keys.get(place(key)) == Some(&key)
    }

    pub(super) fn remember(&mut self, key: u64) {
        if let Some(held) = self.keys.get_mut(place(key)) {
            *held = key;
        }
    }

    pub(super) fn forget(&mut self, key: u64) {
        if let Some(held) = self.keys.get_mut(place(key)).filter(|held| **held == key) {
            *held = 0;
        }
    }
}

fn place(key: u64) -> usize {
    usize::try_from(key % (KNOWN_MAX as u64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn ten_a_minute() -> Buckets {
        Buckets::new(Rate { count: 10, span: Duration::from_mins(1) })
    }

    /// A key whose slots nobody else in these tests has.
    fn key(number: u64) -> u64 {
        number << 32 | number
    }

    #[test]
    fn so_many_pass_at_once_and_then_one_each_time_that_one_costs() {
        let mut buckets = ten_a_minute();
        let now = 77 * SECOND;
        for _ in 0..10 {
            buckets.take(key(1), now).unwrap();
        }
        assert_eq!(buckets.take(key(1), now), Err(6 * SECOND));
        assert_eq!(buckets.take(key(1), now + SECOND), Err(5 * SECOND));
        buckets.take(key(1), now + 6 * SECOND).unwrap();
        assert_eq!(buckets.take(key(1), now + 6 * SECOND), Err(6 * SECOND));
        buckets.take(key(2), now).unwrap();
    }

    #[test]
    fn a_minute_later_the_bucket_is_full_and_never_fuller() {
        let mut buckets = ten_a_minute();
        for later in [0, 60 * SECOND, 3600 * SECOND] {
            let passed = (0..50).filter(|_| buckets.take(key(1), later).is_ok()).count();
            assert_eq!(passed, 10, "after {later}");
        }
    }

    #[test]
    fn looking_takes_nothing_and_what_is_given_back_serves_again() {
        let mut buckets = ten_a_minute();
        for _ in 0..9 {
            buckets.take(key(1), 0).unwrap();
        }
        for _ in 0..5 {
            buckets.look(key(1), 0).unwrap();
            buckets.take(key(1), 0).unwrap();
            buckets.look(key(1), 0).unwrap_err();
            buckets.give_back(key(1));
        }
        for _ in 0..30 {
            buckets.give_back(key(1));
        }
        let passed = (0..50).filter(|_| buckets.take(key(1), 90 * SECOND).is_ok()).count();
        assert_eq!(passed, 10, "given back too often is no more than full");
    }

    #[test]
    fn charging_an_empty_bucket_lets_nobody_wait_for_longer_than_one_go() {
        let mut buckets = ten_a_minute();
        for _ in 0..1000 {
            buckets.charge(key(1), 0);
        }
        assert_eq!(buckets.look(key(1), 0), Err(6 * SECOND));
        buckets.look(key(1), 6 * SECOND).unwrap();
    }

    #[test]
    fn who_shares_one_slot_with_an_attacker_has_the_other() {
        let mut buckets = ten_a_minute();
        for _ in 0..100 {
            buckets.charge(key(1), 0);
        }
        buckets.take(2 << 32 | 1, 0).unwrap();
        buckets.take(1 << 32 | 2, 0).unwrap();
    }

    #[test]
    fn a_flood_of_addresses_resets_nobody_and_grows_nothing() {
        let mut buckets = ten_a_minute();
        for _ in 0..10 {
            buckets.take(key(1), 0).unwrap();
        }
        let before = buckets.full_at.capacity();
        for other in 0..200_000_u64 {
            let spread = other.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            buckets.charge(spread, 0);
        }
        buckets.take(key(1), 0).unwrap_err();
        assert_eq!(buckets.full_at.capacity(), before);
    }

    #[test]
    fn a_rate_of_more_than_one_in_a_microsecond_is_one_in_a_microsecond() {
        let mut buckets = Buckets::new(Rate { count: u32::MAX, span: Duration::from_micros(1) });
        buckets.take(key(1), 0).unwrap();
        buckets.look(key(1), 0).unwrap();
    }

    #[test]
    fn who_was_right_is_known_until_wrong() {
        let mut known = Known::new();
        assert!(!known.has(5));
        known.remember(5);
        assert!(known.has(5));
        assert!(!known.has(5 + KNOWN_MAX as u64), "the same place is not the same key");
        known.forget(5 + KNOWN_MAX as u64);
        assert!(known.has(5));
        known.forget(5);
        assert!(!known.has(5));
    }
}
