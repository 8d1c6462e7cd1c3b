//! Puts every deliberate bug to work and looks for a world that shows it: the proof that the
//! invariants catch what they are meant to catch.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use muster_hooks::Mutant;

use crate::report;
use crate::run::{Effort, Summary, live_all};

/// A line each: the mutant, then a seed.
const KNOWN: &str = include_str!("../mutants.txt");

/// A mutant that so many worlds do not show is missed.
const WORLDS_MAX: u64 = 2_000;

/// Whether every mutant is found, or the `only` one. The known seeds come first, then those from
/// `from` on. One mutant per thread at a time.
pub(crate) fn hunt(from: u64, only: Option<Mutant>, effort: Effort) -> bool {
    if !muster_hooks::LIVE {
        report::say("deliberate bugs exist only in builds with debug assertions");
        return false;
    }
    // Most mutants make something panic sooner or later; that is a way to be found.
    std::panic::set_hook(Box::new(|_| {}));
    let wanted = |mutant: &&Mutant| only.is_none_or(|only| only == **mutant);
    let hunted: Vec<Mutant> = Mutant::ALL.iter().filter(wanted).copied().collect();
    let next = AtomicUsize::new(0);
    let found = Mutex::new(0);
    thread::scope(|scope| {
        for _ in 0..effort.threads.max(1) {
            scope.spawn(|| {
                while let Some(mutant) = hunted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = Instant::now();
                    let summary = hunt_one(from, *mutant, effort);
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    *found += usize::from(tell(*mutant, &summary, begun));
                }
            });
        }
    });
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    report::say(format_args!("mutants: {found} of {} found", hunted.len()));
    found == hunted.len()
}

fn hunt_one(from: u64, mutant: Mutant, effort: Effort) -> Summary {
    let seeds: Vec<u64> = known(mutant).chain(from..from.saturating_add(WORLDS_MAX)).collect();
    let hunting =
        Effort { first_only: true, quiet: true, threads: 1, mutant: Some(mutant), ..effort };
    live_all(&seeds, hunting)
}

fn tell(mutant: Mutant, summary: &Summary, begun: Instant) -> bool {
    let worlds = summary.figures.worlds;
    let found = summary.failures.first().and_then(|it| Some((it.seed, it.violation.as_ref()?)));
    match found {
        Some((seed, violation)) => report::say(format_args!(
            "{mutant:?}: seed {seed}, world {worlds}, {} ms: {violation}",
            begun.elapsed().as_millis()
        )),
        None => report::say(format_args!("{mutant:?}: MISSED in {worlds} worlds")),
    }
    found.is_some()
}

/// The seeds that are said to find a mutant.
fn known(mutant: Mutant) -> impl Iterator<Item = u64> {
    let name = format!("{mutant:?}");
    let lines = KNOWN.lines().filter_map(|line| line.split_once(' '));
    lines.filter(move |(it, _)| *it == name).filter_map(|(_, seed)| seed.parse().ok())
}

/// The mutant of that name.
pub(crate) fn named(name: &str) -> Result<Mutant, String> {
    let found = Mutant::ALL.iter().find(|mutant| format!("{mutant:?}") == name);
    found.copied().ok_or_else(|| format!("there is no such mutant; there are {:?}", Mutant::ALL))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What README.md says of each: name, sentence, seed, what it breaks.
    const README: &str = include_str!("../README.md");

    #[test]
    fn each_mutant_has_a_known_seed_and_a_line_in_the_readme() {
        for mutant in Mutant::ALL {
            let seed = known(*mutant).next().map(|seed| seed.to_string());
            let row = format!("| {mutant:?} | ");
            let line = README.lines().find(|line| line.starts_with(&row));
            let told =
                line.and_then(|line| line.split('|').nth(3)).map(|cell| cell.trim().to_owned());
            assert!(seed.is_some(), "{mutant:?} has no seed in mutants.txt");
            assert_eq!(told, seed, "{mutant:?}: README.md and mutants.txt");
        }
        assert!(Mutant::ALL.len() >= 15);
    }
}
