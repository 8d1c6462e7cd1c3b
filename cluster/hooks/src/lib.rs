//! Where the simulator reaches into the production code.
//!
//! [`mutant!`] is a deliberate bug: one at a time is put to work, and the simulator must find it.
//! [`buggify!`] is a choice that is always allowed and seldom made: the simulator makes it often. Both
//! belong to a thread, since the simulator lives through one world in each.
//!
//! A hook can be set only in a build that has the feature `simulated` *and* debug assertions. In every
//! other build, a release build of the whole workspace included, it is the constant `false`, and
//! nothing of it is left. The bugs of the cluster crate and those of the state share this list, so that
//! neither has to name the other.

mod mutants;
mod points;

pub use mutants::Mutant;
pub use points::Point;

/// Whether hooks can be set in this build.
pub const LIVE: bool = cfg!(all(feature = "simulated", debug_assertions));

/// Whether the named deliberate bug is at work.
#[macro_export]
macro_rules! mutant {
    ($name:ident) => {
        $crate::is_at_work($crate::Mutant::$name)
    };
}

/// Whether the named rare choice is made this time.
#[macro_export]
macro_rules! buggify {
    ($name:ident) => {
        $crate::is_chosen($crate::Point::$name)
    };
}

/// What [`mutant!`] asks.
#[inline]
pub fn is_at_work(mutant: Mutant) -> bool {
    LIVE && mutants::at_work() == Some(mutant)
}

/// What [`buggify!`] asks.
#[inline]
pub fn is_chosen(point: Point) -> bool {
    LIVE && points::choose(point)
}

/// Puts one deliberate bug to work on this thread, or none.
pub fn put_to_work(mutant: Option<Mutant>) {
    mutants::put(mutant);
}

/// Lets this thread make rare choices, drawn from `seed`; `None`: none.
pub fn stir(seed: Option<u64>) {
    points::stir(seed);
}
