//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use muster_hooks::Mutant;

use crate::hunt;
use crate::real::{DelayArgs, RealArgs};

/// Lives through simulated worlds, in which Muster's replicas crash, lose messages and disagree about
/// the time, and checks that they keep every promise.
#[derive(Clone, Debug, Parser)]
#[command(name = "muster-chaos", version, args_conflicts_with_subcommands = true)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Live through one world again and print its plan.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// With --seed: tell everything that happens.
    #[arg(long, requires = "seed")]
    pub(crate) trace: bool,
    /// With --seed: look for a simpler world that still fails.
    #[arg(long, requires = "seed")]
    pub(crate) shrink: bool,
    /// With --seed: write what clients asked and were told into this file, as `check` reads it.
    #[arg(long, requires = "seed", value_name = "FILE")]
    pub(crate) export: Option<PathBuf>,
    /// With --seed: write a few commands and messages of each kind into this folder, for the fuzz
    /// targets to begin from.
    #[arg(long, requires = "seed", conflicts_with = "export", value_name = "FOLDER")]
    pub(crate) corpus: Option<PathBuf>,
    /// Live through so many worlds.
    #[arg(long, value_name = "COUNT")]
    pub(crate) seeds: Option<u64>,
    /// The first of --seeds.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) from: u64,
    /// Live through so many worlds twice, from --from on, and compare every step.
    #[arg(long, value_name = "COUNT")]
    pub(crate) determinism: Option<u64>,
    /// What continuous integration runs: the pinned seeds, some worlds twice, then --seeds fresh ones
    /// from --from on.
    #[arg(long)]
    pub(crate) ci: bool,
    /// Put every deliberate bug to work and look for a world that shows it.
    #[arg(long)]
    pub(crate) mutants: bool,
    /// With --seed or --seeds: put this deliberate bug to work. With --mutants: look for this one only.
    #[arg(long, value_name = "NAME", value_parser = hunt::named)]
    pub(crate) mutant: Option<Mutant>,
    /// Begin no further world after so many seconds of real time.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) budget: Option<u64>,
    /// Let faults rage for so many simulated seconds instead of what the plan says.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) seconds: Option<u64>,
    /// Worlds at a time; all cores by default.
    #[arg(long, value_name = "COUNT")]
    pub(crate) threads: Option<usize>,
    /// Go on after a failure.
    #[arg(long)]
    pub(crate) keep_going: bool,
}

/// What there is to do besides simulated worlds.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a history, simulated or real, for linearizability.
    Check {
        /// One record a line: see chaos/README.md.
        file: PathBuf,
        /// Steps that a checker takes for one key before it gives up.
        #[arg(long, default_value_t = 300_000)]
        budget: usize,
    },
    Real(RealArgs),
    #[command(hide = true)]
    Delay(DelayArgs),
}
