//! The command line: parses it, runs one command, says how the process ends.

mod completion;
mod environment;
pub mod output;
mod pachctl;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use environment::Environment;
use output::{Exit, Failure};
use pachctl::contexts;

/// An enterprise server for fleets of Pachyderm clusters, and its command line.
#[derive(Debug, Parser)]
#[command(name = "muster", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    noun: Noun,
}

/// The flags that pachctl takes everywhere.
#[derive(Debug, Args)]
struct Global {
    /// Say more about what is done, on standard error.
    #[arg(short, long, global = true)]
    verbose: bool,
    /// No colours (Muster prints none).
    #[arg(long, global = true, hide = true)]
    no_color: bool,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// Contexts: which servers there are, and which one commands talk to.
    #[command(subcommand)]
    Config(contexts::Config),
    /// Print a script that completes Muster's commands in a shell.
    Completion(completion::Completion),
}

/// Runs the process's command line.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return wrong_usage(&error),
    };
    output::end(run(cli))
}

fn run(cli: Cli) -> Result<(), Failure> {
    let environment = Environment::of_process();
    match cli.noun {
        Noun::Config(command) => contexts::run(command, &environment),
        Noun::Completion(command) => completion::run(&command),
    }
}

/// The nouns whose every failure ends with 1, because pachctl's do.
const OF_PACHCTL: [&str; 4] = ["config", "enterprise", "license", "version"];

fn wrong_usage(error: &clap::Error) -> ExitCode {
    let is_help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    // Printing can only fail when nobody reads.
    let _ = error.print();
    if is_help {
        return ExitCode::SUCCESS;
    }
    let noun = std::env::args().skip(1).find(|word| !word.starts_with('-')).unwrap_or_default();
    if OF_PACHCTL.contains(&noun.as_str()) {
        return ExitCode::from(Exit::Failed as u8);
    }
    ExitCode::from(Exit::Usage as u8)
}
