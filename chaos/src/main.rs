//! The simulated world that Muster's consensus, log and state are tried in: see README.md.

mod access;
mod agenda;
mod applier;
mod args;
mod chance;
mod clients;
mod commands;
mod disk;
mod faults;
mod folder;
mod hands;
mod history;
mod hunt;
mod invariants;
mod journal;
mod ladder;
mod life;
mod links;
mod machine;
mod network;
mod oracle;
mod peek;
mod pinned;
mod plan;
mod real;
mod reference;
mod replica;
mod report;
mod roll;
mod run;
mod samples;
#[cfg(test)]
mod scenarios;
mod shadow;
mod shrink;
mod snapshots;
#[cfg(test)]
mod store_test;
mod survive;
mod trace;
mod trouble;
mod world;
mod writer;

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;

use crate::args::{Args, Command};
use crate::history::Judgement;
use crate::plan::Plan;
use crate::run::{Effort, Summary};

/// Worlds are made of many small pieces.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Worlds that continuous integration lives through twice.
const CI_DETERMINISM: u64 = 20;
/// Fresh worlds in continuous integration, unless told otherwise.
const CI_FRESH: u64 = 300;

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(command) = &args.command {
        let judgement = match command {
            Command::Check { file, budget } => check(file, *budget),
            Command::Real(args) => real::run(args),
            Command::Delay(args) => real::delay(args).into(),
        };
        return judgement.exit_code();
    }
    let well = if args.mutants {
        hunt::hunt(args.from, args.mutant, effort(&args))
    } else if let Some(seed) = args.seed {
        one(seed, &args)
    } else if args.ci {
        continuous_integration(&args)
    } else if let Some(count) = args.determinism {
        let effort = Effort { twice: true, ..effort(&args) };
        many("determinism", &range(args.from, count), effort)
    } else {
        many("seeds", &range(args.from, args.seeds.unwrap_or(100)), effort(&args))
    };
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn effort(args: &Args) -> Effort {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Effort {
        seconds: args.seconds,
        twice: false,
        quiet: false,
        first_only: !args.keep_going,
        threads: args.threads.unwrap_or(cores),
        budget: args.budget.map(Duration::from_secs),
        mutant: args.mutant,
    }
}

fn range(from: u64, count: u64) -> Vec<u64> {
    (from..from.saturating_add(count)).collect()
}

fn one(seed: u64, args: &Args) -> bool {
    muster_hooks::put_to_work(args.mutant);
    let plan = Plan::grow(seed, args.seconds);
    report::say(&plan);
    let verdict = if let Some(path) = &args.export {
        let (verdict, records) = run::live_and_tell(plan.clone(), args.trace);
        if let Err(error) = history::write(path, &records) {
            report::say(error);
            return false;
        }
        verdict
    } else if let Some(folder) = &args.corpus {
        let (verdict, samples) = run::live_and_sample(plan.clone(), args.trace);
        if let Err(error) = samples.write(folder) {
            report::say(format_args!("{}: {error}", folder.display()));
            return false;
        }
        verdict
    } else {
        run::live(plan.clone(), args.trace)
    };
    report::say(format_args!("{:#?}", verdict.figures));
    report::say(format_args!("seed={seed} hash={:016x}", verdict.hash));
    report::failure(&verdict);
    if args.shrink && verdict.violation.is_some() {
        report::say(format_args!("still fails:\n{}", shrink::shrink(plan)));
    }
    verdict.violation.is_none()
}

fn many(what: &str, seeds: &[u64], effort: Effort) -> bool {
    let summary: Summary = run::live_all(seeds, effort);
    report::summary(what, &summary);
    summary.failures.is_empty()
}

fn continuous_integration(args: &Args) -> bool {
    let effort = effort(args);
    let twice = Effort { twice: true, ..effort };
    let determinism = args.determinism.unwrap_or(CI_DETERMINISM);
    let fresh = args.seeds.unwrap_or(CI_FRESH);
    many("pinned", &pinned::seeds(), effort)
        && many("determinism", &range(args.from, determinism), twice)
        && many("fresh", &range(args.from.saturating_add(determinism), fresh), effort)
}

/// Tells what both checkers make of a history.
fn check(file: &Path, budget: usize) -> Judgement {
    let checked = history::read(file)
        .map_err(|error| error.to_string())
        .and_then(|records| history::check(&records, budget).map_err(|error| error.to_string()));
    match checked {
        Ok(checked) => {
            report::say(&checked);
            checked.judgement()
        }
        Err(error) => {
            report::say(format_args!("{}: {error}", file.display()));
            Judgement::Wrong
        }
    }
}
