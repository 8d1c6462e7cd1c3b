//! Puts every deliberate bug of the cluster crate to work and looks for a world that shows it: the
//! proof that the invariants catch what they are meant to catch.

use muster_cluster::mutants::{ALL, Mutant, put_to_work};

use crate::report;
use crate::run::{Effort, live_all};

/// A mutant that so many worlds do not show is missed.
const WORLDS_MAX: u64 = 2_000;

/// Whether every mutant is found, or the `only` one. `from` is the first seed that is tried.
pub(crate) fn hunt(from: u64, only: Option<&str>, effort: Effort) -> bool {
    // Most mutants make something panic sooner or later; that is a way to be found.
    std::panic::set_hook(Box::new(|_| {}));
    let seeds: Vec<u64> = (from..from.saturating_add(WORLDS_MAX)).collect();
    let effort = Effort { first_only: true, quiet: true, ..effort };
    let mut missed = 0;
    let wanted = |mutant: &Mutant| only.is_none_or(|name| format!("{mutant:?}") == name);
    let hunted: Vec<Mutant> = ALL.into_iter().filter(wanted).collect();
    for mutant in &hunted {
        put_to_work(Some(*mutant));
        let summary = live_all(&seeds, effort);
        put_to_work(None);
        match summary.failures.first() {
            Some(verdict) => {
                let shown = verdict.violation.as_ref().map(ToString::to_string);
                report::say(format_args!(
                    "{mutant:?}: seed {} of {} worlds, {}",
                    verdict.seed,
                    summary.figures.worlds,
                    shown.unwrap_or_default()
                ));
            }
            None => {
                missed += 1;
                report::say(format_args!(
                    "{mutant:?}: MISSED in {} worlds",
                    summary.figures.worlds
                ));
            }
        }
    }
    report::say(format_args!("mutants: {} of {} found", hunted.len() - missed, hunted.len()));
    missed == 0
}

/// Puts the mutant of that name to work for the rest of the process.
pub(crate) fn release(name: &str) {
    put_to_work(ALL.into_iter().find(|mutant| format!("{mutant:?}") == name));
}
