//! Many worlds, one after the other on every core, and what came of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use muster_hooks::Mutant;

use crate::history::Record;
use crate::invariants::Violation;
use crate::plan::Plan;
use crate::report;
use crate::samples::Samples;
use crate::world::{Tally, World};

/// What one seed came to.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) seed: u64,
    pub(crate) violation: Option<Violation>,
    /// Of everything that happened.
    pub(crate) hash: u64,
    pub(crate) figures: Figures,
}

/// How much happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) worlds: u64,
    pub(crate) events: u64,
    pub(crate) entries: u64,
    pub(crate) elections: u64,
    pub(crate) writes: u64,
    pub(crate) reads: u64,
    pub(crate) tally: Tally,
}

impl Figures {
    fn add(&mut self, other: &Self) {
        self.worlds += other.worlds;
        self.events += other.events;
        self.entries += other.entries;
        self.elections += other.elections;
        self.writes += other.writes;
        self.reads += other.reads;
        self.tally.crashes += other.tally.crashes;
        self.tally.installs += other.tally.installs;
        self.tally.snapshots += other.tally.snapshots;
        self.tally.autopsies += other.tally.autopsies;
        self.tally.fail_stops += other.tally.fail_stops;
        self.tally.lost += other.tally.lost;
        self.tally.refused += other.tally.refused;
    }
}

/// Lives through the world of one seed. A panic inside the product is a violation too.
pub(crate) fn live(plan: Plan, told: bool) -> Verdict {
    live_through(plan, told, false).0
}

/// As [`live`], and gives the history of its clients. Auth stays off: the checkers of histories know
/// no tokens, so a refusal for the want of one would look like a wrong answer.
pub(crate) fn live_and_tell(mut plan: Plan, told: bool) -> (Verdict, Vec<Record>) {
    plan.clients.auth_permille = 0;
    live_through(plan, told, true)
}

/// As [`live`], and gives a few of all the kinds of bytes that passed through the world.
pub(crate) fn live_and_sample(plan: Plan, told: bool) -> (Verdict, Samples) {
    let mut world = world_of(plan, told);
    world.samples.begin();
    let verdict = live_in(&mut world);
    (verdict, world.samples)
}

fn live_through(plan: Plan, told: bool, journal: bool) -> (Verdict, Vec<Record>) {
    let mut world = world_of(plan, told);
    if journal {
        world.journal.begin();
    }
    let verdict = live_in(&mut world);
    let records = world.journal.finish(&world.oracle);
    (verdict, records)
}

fn world_of(plan: Plan, told: bool) -> World {
    muster_hooks::stir(Some(plan.seed));
    World::new(plan, told)
}

fn live_in(world: &mut World) -> Verdict {
    let end = catch_unwind(AssertUnwindSafe(|| world.run()));
    let violation = match end {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some(violation),
        Err(panic) => Some(Violation { id: "PANIC", what: words_of(panic.as_ref()) }),
    };
    let figures = world.figures();
    let mut hash = world.trace.hash();
    if let Some(violation) = &violation {
        for byte in violation.what.bytes() {
            hash = hash.wrapping_mul(31).wrapping_add(u64::from(byte));
        }
    }
    Verdict { seed: world.plan.seed, violation, hash, figures }
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().cloned();
    words
        .or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()))
        .unwrap_or_else(|| "a panic without words".into())
}

/// What many seeds came to.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) failures: Vec<Verdict>,
    pub(crate) figures: Figures,
    pub(crate) took: Duration,
}

/// How to live through many seeds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Overrules how long faults rage, seconds.
    pub(crate) seconds: Option<u64>,
    /// Live through every seed twice and compare.
    pub(crate) twice: bool,
    /// Print nothing while it goes on.
    pub(crate) quiet: bool,
    /// Stop at the first failure.
    pub(crate) first_only: bool,
    pub(crate) threads: usize,
    /// Begin no further seed after this time.
    pub(crate) budget: Option<Duration>,
    /// The deliberate bug that is at work.
    pub(crate) mutant: Option<Mutant>,
}

/// Lives through all `seeds`, in parallel.
pub(crate) fn live_all(seeds: &[u64], effort: Effort) -> Summary {
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let summary = Mutex::new((Vec::new(), Figures::default()));
    thread::scope(|scope| {
        for _ in 0..effort.threads.max(1) {
            scope.spawn(|| {
                muster_hooks::put_to_work(effort.mutant);
                while !stop.load(Ordering::Relaxed) {
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    let late = effort.budget.is_some_and(|budget| begun.elapsed() > budget);
                    let seed = usize::try_from(turn).ok().and_then(|turn| seeds.get(turn));
                    let (Some(seed), false) = (seed, late) else { return };
                    let verdict = live_once(*seed, effort);
                    let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
                    summary.1.add(&verdict.figures);
                    if verdict.violation.is_some() {
                        if !effort.quiet {
                            report::failure(&verdict);
                        }
                        summary.0.push(verdict);
                        stop.fetch_or(effort.first_only, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let (mut failures, figures) = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.sort_by_key(|verdict: &Verdict| verdict.seed);
    Summary { failures, figures, took: begun.elapsed() }
}

fn live_once(seed: u64, effort: Effort) -> Verdict {
    let mut verdict = live(Plan::grow(seed, effort.seconds), false);
    if effort.twice && verdict.violation.is_none() {
        let again = live(Plan::grow(seed, effort.seconds), false);
        if again.hash != verdict.hash {
            verdict.violation = Some(Violation {
                id: "DET-1",
                what: format!("two runs differ: {:016x} and {:016x}", verdict.hash, again.hash),
            });
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_world_twice() {
        let effort = Effort {
            seconds: Some(2),
            twice: true,
            quiet: false,
            first_only: false,
            threads: 1,
            budget: None,
            mutant: None,
        };
        let summary = live_all(&[2, 3], effort);
        assert!(summary.failures.is_empty(), "{:?}", summary.failures);
        assert_eq!(summary.figures.worlds, 2);
    }
}
