//! The command line: parses it, runs one command, says how the process ends.

mod agent;
mod audit;
mod auth;
mod authority;
mod bench;
mod completion;
mod confirm;
mod demo;
mod environment;
mod fleet;
mod go;
pub mod output;
mod pachctl;
mod recover;
mod remote;
mod replica;
mod restore;
mod serve;
mod snapshot;
mod table;
mod tls;
mod wrong_use;

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use tokio::time::Instant;

use environment::Environment;
use output::{Exit, Failure};
use pachctl::connect::Invocation;
use pachctl::{contexts, enterprise, license, making, version};

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
    /// How long connecting and all calls may take together, such as `10s` (0: no limit).
    #[arg(long, global = true, value_name = "DURATION", value_parser = go::parse_duration)]
    rpc_timeout: Option<Duration>,
    /// Let one replica answer from its own state if that is at most so old, such as `10s`: reads of the
    /// license and the fleet then need no majority, and say how old the answer may be.
    #[arg(long, global = true, value_name = "DURATION", value_parser = go::parse_duration)]
    staleness: Option<Duration>,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// The license of the fleet, and the clusters registered under it.
    #[command(subcommand)]
    License(license::License),
    /// Tokens, roles and groups.
    #[command(subcommand)]
    Auth(auth::Auth),
    /// A cluster's tie to the enterprise server.
    #[command(subcommand)]
    Enterprise(enterprise::Enterprise),
    /// Contexts: which servers there are, and which one commands talk to.
    #[command(subcommand)]
    Config(contexts::Config),
    /// Make a context for an address, and make it the active one.
    Connect(making::Connect),
    Version(version::Show),
    Serve(serve::Serve),
    Demo(demo::Demo),
    #[command(subcommand)]
    Tls(tls::Tls),
    Agent(Box<agent::Serve>),
    /// The processes of Muster that agree on one state.
    #[command(subcommand)]
    Replica(replica::Replica),
    /// The whole state as a file.
    #[command(subcommand)]
    Snapshot(snapshot::Snapshot),
    #[command(subcommand)]
    Restore(restore::Restore),
    #[command(subcommand)]
    Recover(recover::Recover),
    /// All registered clusters.
    #[command(subcommand)]
    Fleet(fleet::Fleet),
    /// Who did what.
    #[command(subcommand)]
    Audit(audit::Audit),
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Print a script that completes Muster's commands in a shell.
    Completion(completion::Completion),
}

/// Runs the process's command line.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let words: Vec<String> =
                env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
            return wrong_use::end(&error, Cli::command(), &words);
        }
    };
    output::end(run(cli))
}

fn run(cli: Cli) -> Result<(), Failure> {
    let limit = cli.global.rpc_timeout.filter(|limit| !limit.is_zero());
    let invocation = Invocation {
        environment: Environment::of_process(),
        deadline: limit.map(|limit| Instant::now() + limit),
        staleness: cli.global.staleness,
        verbose: cli.global.verbose,
    };
    match cli.noun {
        Noun::License(command) => block_on(license::run(command, &invocation)),
        Noun::Auth(command) => block_on(auth::run(command, &invocation)),
        Noun::Enterprise(command) => block_on(enterprise::run(command, &invocation)),
        Noun::Config(command) => block_on(contexts::run(command, &invocation)),
        Noun::Connect(command) => making::connect(&command, &invocation.environment),
        Noun::Version(command) => block_on(version::run(command, invocation)),
        Noun::Serve(command) => serve::run(command),
        Noun::Demo(command) => demo::run(&command),
        Noun::Tls(command) => tls::run(&command),
        Noun::Agent(command) => block_on(agent::run(*command, &invocation.environment)),
        Noun::Replica(command) => block_on(replica::run(command, &invocation)),
        Noun::Fleet(command) => block_on(fleet::run(command, &invocation)),
        Noun::Snapshot(command) => block_on(snapshot::run(command, &invocation)),
        Noun::Restore(command) => block_on(restore::run(command, &invocation)),
        Noun::Recover(command) => recover::run(command),
        Noun::Audit(command) => block_on(audit::run(command, &invocation)),
        Noun::Bench(command) => bench::run(&command),
        Noun::Completion(command) => completion::run(&command),
    }
}

/// Runs a client's command on a small runtime of its own.
fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start").because(&error).exit(Exit::Internal))?
        .block_on(command)
}
