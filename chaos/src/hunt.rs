//! Puts every deliberate bug of the cluster crate to work and looks for a world that shows it: the
//! proof that the invariants catch what they are meant to catch.

use muster_cluster::mutants::{ALL, Mutant, put_to_work};

use crate::report;
use crate::run::{Effort, live_all};

/// A line each: the mutant, then a seed.
const KNOWN: &str = include_str!("../mutants.txt");

/// A mutant that so many worlds do not show is missed.
const WORLDS_MAX: u64 = 2_000;

/// Whether every mutant is found, or the `only` one. `from` is the first seed that is tried.
pub(crate) fn hunt(from: u64, only: Option<&str>, effort: Effort) -> bool {
    // Most mutants make something panic sooner or later; that is a way to be found.
    std::panic::set_hook(Box::new(|_| {}));
    let effort = Effort { first_only: true, quiet: true, ..effort };
    let mut missed = 0;
    let wanted = |mutant: &Mutant| only.is_none_or(|name| format!("{mutant:?}") == name);
    let hunted: Vec<Mutant> = ALL.into_iter().filter(wanted).collect();
    for mutant in &hunted {
        let known = known(*mutant);
        let seeds: Vec<u64> = known.chain(from..from.saturating_add(WORLDS_MAX)).collect();
        put_to_work(Some(*mutant));
        let summary = live_all(&seeds, effort);
        put_to_work(None);
        let worlds = summary.figures.worlds;
        let found = summary.failures.first().and_then(|it| Some((it.seed, it.violation.as_ref()?)));
        if let Some((seed, violation)) = found {
            report::say(format_args!("{mutant:?}: seed {seed}, world {worlds}: {violation}"));
        } else {
            missed += 1;
            report::say(format_args!("{mutant:?}: MISSED in {worlds} worlds"));
        }
    }
    report::say(format_args!("mutants: {} of {} found", hunted.len() - missed, hunted.len()));
    missed == 0
}

/// The seeds that are said to find a mutant.
fn known(mutant: Mutant) -> impl Iterator<Item = u64> {
    let name = format!("{mutant:?}");
    let lines = KNOWN.lines().filter_map(|line| line.split_once(' '));
    lines.filter(move |(it, _)| *it == name).filter_map(|(_, seed)| seed.parse().ok())
}

/// Puts the mutant of that name to work for the rest of the process.
pub(crate) fn release(name: &str) {
    put_to_work(ALL.into_iter().find(|mutant| format!("{mutant:?}") == name));
}
