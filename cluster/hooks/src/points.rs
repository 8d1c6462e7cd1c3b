//! The rare choices.

use std::cell::Cell;

thread_local! {
    static DICE: Cell<Option<Dice>> = const { Cell::new(None) };
}

/// A place where the code may choose something that it seldom does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The core takes nothing in, as if too much lay before the disk.
    Clogged,
    /// A snapshot is due, however few entries there are.
    SnapshotDue,
    /// The log goes on in its next extent, though there is room in this one.
    NextExtent,
    /// What could wait in memory for the next synced write is written now.
    WriteEarly,
    /// Proposals are not merged into one message.
    LoneProposal,
}

impl Point {
    /// It is chosen once in so many times, in the worlds where it is chosen at all.
    fn odds(self) -> u64 {
        match self {
            Point::SnapshotDue => 500,
            Point::Clogged => 50,
            Point::NextExtent | Point::WriteEarly => 20,
            Point::LoneProposal => 3,
        }
    }
}

#[derive(Clone, Copy)]
struct Dice {
    state: u64,
    /// A bit per point: each is on in half of the worlds, since some bugs need one left in peace.
    on: u64,
}

pub(crate) fn stir(seed: Option<u64>) {
    DICE.set(seed.map(|seed| Dice { state: mix(seed), on: mix(!seed) }));
}

pub(crate) fn choose(point: Point) -> bool {
    let Some(mut dice) = DICE.get() else { return false };
    if dice.on >> (point as u32) & 1 == 0 {
        return false;
    }
    dice.state = mix(dice.state);
    DICE.set(Some(dice));
    dice.state.is_multiple_of(point.odds())
}

/// One step of the generator called splitmix64.
fn mix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64) -> Vec<bool> {
        stir(Some(seed));
        let drawn = (0..2_000).map(|_| choose(Point::NextExtent)).collect();
        stir(None);
        drawn
    }

    #[test]
    fn choices_repeat_with_their_seed_and_end_with_it() {
        assert_eq!(drawn(3), drawn(3));
        assert!((0..20).any(|seed| drawn(seed).contains(&true)), "a point is on somewhere");
        assert!((0..20).any(|seed| !drawn(seed).contains(&true)), "and off elsewhere");
        assert!(!choose(Point::NextExtent));
    }
}
