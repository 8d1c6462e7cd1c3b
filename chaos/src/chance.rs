//! All chance of a world: one seed, split into named streams so that a draw added in one area does
//! not reshuffle the others.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// One named stream of chance.
#[derive(Clone, Debug)]
pub(crate) struct Chance {
    generator: ChaCha8Rng,
}

impl Chance {
    /// The stream called `name` of the world grown from `seed`.
    pub(crate) fn stream(seed: u64, name: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(seed.to_be_bytes());
        hasher.update(name.as_bytes());
        Self { generator: ChaCha8Rng::from_seed(hasher.finalize().into()) }
    }

    /// A number in `low..=high`; `low` when the range is empty.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        if high <= low { low } else { self.generator.random_range(low..=high) }
    }

    /// A number below `bound`, 0 when there is none.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.between(0, bound.saturating_sub(1))
    }

    /// A place in a list of `len` things.
    pub(crate) fn place(&mut self, len: usize) -> usize {
        if len < 2 { 0 } else { self.generator.random_range(0..len) }
    }

    /// True in `permille` of 1000 cases.
    pub(crate) fn permille(&mut self, permille: u64) -> bool {
        permille > 0 && self.below(1000) < permille
    }

    /// True in half of the cases.
    pub(crate) fn coin(&mut self) -> bool {
        self.generator.random()
    }

    /// One of the things, by value; `None` when there are none.
    pub(crate) fn pick<T: Copy>(&mut self, things: &[T]) -> Option<T> {
        things.get(self.place(things.len())).copied()
    }

    /// The things in any order.
    pub(crate) fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.place(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let draw = |name| Chance::stream(7, name).between(0, u64::MAX);
        assert_eq!(draw("disk"), draw("disk"));
        assert_ne!(draw("disk"), draw("network"));
        assert_ne!(draw("disk"), Chance::stream(8, "disk").between(0, u64::MAX));
    }

    #[test]
    fn empty_ranges_have_their_low_end() {
        let mut chance = Chance::stream(1, "x");
        assert_eq!(chance.between(5, 3), 5);
        assert_eq!(chance.below(0), 0);
        assert!(!chance.permille(0));
        assert!(chance.permille(1000));
    }
}
