//! Latencies, counted in buckets that are less than 1.6 % wide.

use std::time::Duration;

/// Buckets per doubling, as a power of two.
const FINENESS: u32 = 6;
const PER_DOUBLING: u64 = 1 << FINENESS;
const BUCKETS: usize = ((u64::BITS - FINENESS + 1) as usize) << FINENESS;

/// How often each latency, in microseconds, was seen.
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    longest: u64,
}

impl Histogram {
    pub(super) fn new() -> Histogram {
        Histogram { counts: vec![0; BUCKETS], total: 0, longest: 0 }
    }

    pub(super) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(micros)) {
            *count += 1;
        }
        self.total += 1;
        self.longest = self.longest.max(micros);
    }

    pub(super) fn add(&mut self, other: &Histogram) {
        for (count, others) in self.counts.iter_mut().zip(&other.counts) {
            *count += others;
        }
        self.total += other.total;
        self.longest = self.longest.max(other.longest);
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn longest(&self) -> Duration {
        Duration::from_micros(self.longest)
    }

    /// The latency that `per_mille` of all did not exceed.
    pub(super) fn quantile(&self, per_mille: u64) -> Duration {
        let rank = (self.total.saturating_mul(per_mille)).div_ceil(1000).max(1);
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_micros(highest(at).min(self.longest));
            }
        }
        Duration::ZERO
    }
}

fn bucket(micros: u64) -> usize {
    let shift = micros.checked_ilog2().unwrap_or(0).saturating_sub(FINENESS);
    let step = micros >> shift;
    let doubling = if step < PER_DOUBLING { 0 } else { u64::from(shift) + 1 };
    usize::try_from(doubling * PER_DOUBLING + step % PER_DOUBLING).unwrap_or(BUCKETS)
}

/// The largest value of a bucket.
fn highest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let (doubling, step) = (bucket / PER_DOUBLING, bucket % PER_DOUBLING);
    if doubling == 0 {
        return step;
    }
    let shift = doubling - 1;
    ((u128::from(PER_DOUBLING + step + 1) << shift) - 1).try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_and_buckets_are_narrow() {
        let near_powers = (0..64).flat_map(|bit| {
            let power = 1_u64 << bit;
            [power - 1, power, power + 1, power + power / 3]
        });
        for value in near_powers.chain(0..5000) {
            let at = bucket(value);
            assert!(at < BUCKETS, "{value}");
            let top = highest(at);
            assert!(top >= value && top - value <= value / 63, "{value} in {at} up to {top}");
            assert!(at == 0 || highest(at - 1) < value, "{value} in {at}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::new();
        let mut other = Histogram::new();
        for micros in 1..=1000 {
            let half = if micros % 2 == 0 { &mut histogram } else { &mut other };
            half.record(Duration::from_micros(micros));
        }
        histogram.add(&other);
        assert_eq!(histogram.total(), 1000);
        let near = |per_mille, micros: u64| {
            let quantile = u64::try_from(histogram.quantile(per_mille).as_micros()).unwrap();
            assert!(quantile >= micros && quantile <= micros + micros / 60, "{quantile}");
        };
        near(500, 500);
        near(990, 990);
        assert_eq!(histogram.quantile(1000), Duration::from_millis(1));
        assert_eq!(Histogram::new().quantile(500), Duration::ZERO);
    }
}
