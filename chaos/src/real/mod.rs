//! Real processes under real faults: see README.md. A first process builds the stage and takes it down
//! again, whatever happens; a second one, inside it, runs replicas, clients and faults.

mod abilities;
mod cgroups;
mod churn;
mod clients;
mod delay;
mod drive;
mod faults;
mod recorder;
mod replicas;
mod report;
mod restore;
mod stage;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::history::Judgement;
use crate::report::say;
use faults::Kind;
use stage::{Stage, text};

/// Where runs keep their files.
const FOLDER: &str = "target/chaos-real";
/// How long the inner process may take to end when told to.
const ENDING: Duration = Duration::from_secs(20);

/// Hurt a group of real processes and check what its clients were told.
#[derive(Args, Clone, Debug)]
pub(crate) struct RealArgs {
    /// Replicas in the group.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=7))]
    replicas: u8,
    /// Begin no further fault after so many seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Chooses faults, victims, spans and what clients ask.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The program to run; the `muster` beside this program by default.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Only these faults.
    #[arg(long, value_delimiter = ',', value_name = "FAULT,…")]
    only: Vec<Kind>,
    /// Write the report into this file too, as Markdown.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write the history into this file.
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// Keep the run's folder also when everything went well.
    #[arg(long)]
    keep: bool,
    /// The stage that stands already: of the inner process.
    #[arg(long, hide = true, num_args = 4)]
    stage: Vec<String>,
}

/// Hold the packets of a queue of the kernel back; used by `real`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DelayArgs {
    #[arg(long, default_value_t = 7)]
    queue: u16,
    #[arg(long)]
    delay_ms: u64,
    #[arg(long)]
    spread_ms: u64,
    #[arg(long)]
    lost_permille: u64,
    #[arg(long)]
    seed: u64,
    /// The folder of the run.
    #[arg(long)]
    of: String,
}

/// Holds packets back until killed.
pub(crate) fn delay(args: &DelayArgs) -> bool {
    match delay::serve(args) {
        Ok(()) => true,
        Err(error) => {
            say(format_args!("cannot hold packets of {} back: {error}", args.of));
            false
        }
    }
}

/// Runs it all; whether every promise was kept.
pub(crate) fn run(args: &RealArgs) -> Judgement {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let done = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        runtime.block_on(async {
            if args.stage.is_empty() { outer(args).await } else { inner(args).await }
        })
    });
    match done {
        Ok(judgement) => judgement,
        Err(why) => {
            say(format_args!("FAILED: {why}"));
            Judgement::Wrong
        }
    }
}

/// SIGINT and SIGTERM.
struct Signals(Signal, Signal);

impl Signals {
    fn listen() -> Result<Signals, String> {
        let listen = |kind| signal(kind).map_err(|error| error.to_string());
        Ok(Signals(listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?))
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => (),
            _ = self.1.recv() => (),
        }
    }
}

/// A stage that is taken down whatever becomes of who built it, short of a kill -9.
struct Standing(Stage);

impl Drop for Standing {
    fn drop(&mut self) {
        self.0.remove();
    }
}

async fn outer(args: &RealArgs) -> Result<Judgement, String> {
    let mut signals = Signals::listen()?;
    let parent = Path::new(FOLDER);
    fs::create_dir_all(parent).map_err(|error| format!("{FOLDER}: {error}"))?;
    for name in stage::sweep(parent) {
        say(format_args!("took down what {name} had left behind"));
    }
    let stage = Stage::build(parent, usize::from(args.replicas), std::process::id())?;
    if let Some(why) = &stage.without_namespaces {
        say(format_args!("NO NAMESPACES, everything on the loopback, fewer faults: {why}"));
    }
    let folder = stage.folder.clone();
    let standing = Standing(stage);
    let ran = among_clients(&standing.0, &mut signals).await;
    drop(standing);
    let judgement = match ran?.code() {
        Some(0) => Judgement::Well,
        Some(code) if code == Judgement::Undecided as i32 => Judgement::Undecided,
        _ => Judgement::Wrong,
    };
    if judgement == Judgement::Well && !args.keep {
        let _gone = fs::remove_dir_all(&folder);
    } else {
        say(format_args!("logs, data and history: {}", folder.display()));
    }
    Ok(judgement)
}

/// This program again, where the clients are.
async fn among_clients(stage: &Stage, signals: &mut Signals) -> Result<ExitStatus, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut line = stage.enter_hub();
    line.push(text(&program));
    line.extend(std::env::args().skip(1));
    line.push("--stage".into());
    let or_dash = |why: &Option<String>| why.clone().unwrap_or_else(|| "-".into());
    line.extend([
        stage.name.clone(),
        format!("{}/", text(&stage.folder)),
        or_dash(&stage.without_namespaces),
        or_dash(&stage.without_disks),
    ]);
    let (first, rest) = line.split_first().ok_or("nothing to run")?;
    let mut child = Command::new(first)
        .args(rest)
        // What a terminal sends is for this process, which then tells the others in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{first}: {error}"))?;
    tokio::select! {
        ended = child.wait() => return ended.map_err(|error| error.to_string()),
        () = signals.next() => say("told to end: taking everything down"),
    }
    if let Some(pid) = child.id() {
        tools::try_run(&["kill", "-TERM", &pid.to_string()]);
    }
    let ended = tokio::select! {
        ended = tokio::time::timeout(ENDING, child.wait()) => ended.ok(),
        () = signals.next() => None,
    };
    match ended {
        Some(ended) => ended.map_err(|error| error.to_string()),
        None => Err("ended before its time".into()),
    }
}

async fn inner(args: &RealArgs) -> Result<Judgement, String> {
    let [name, folder, namespaces, disks] = args.stage.as_slice() else {
        return Err("a stage has four parts".into());
    };
    let lacks = |why: &String| Some(why.clone()).filter(|why| why != "-");
    let stage = Stage {
        name: name.clone(),
        folder: PathBuf::from(folder),
        size: usize::from(args.replicas),
        without_namespaces: lacks(namespaces),
        without_disks: lacks(disks),
    };
    let beside = std::env::current_exe().map_err(|error| error.to_string())?;
    let binary = args.binary.clone().unwrap_or_else(|| beside.with_file_name("muster"));
    let binary = binary.canonicalize().map_err(|error| format!("{}: {error}", binary.display()))?;
    let told = Arc::new(AtomicBool::new(false));
    let mut signals = Signals::listen()?;
    let teller = Arc::clone(&told);
    let listener = tokio::spawn(async move {
        signals.next().await;
        teller.store(true, Ordering::Relaxed);
    });
    let outcome = drive::drive(stage, &binary, args, &told).await;
    listener.abort();
    let page = report::page(&outcome, args);
    say(format_args!("\n{page}"));
    if let Some(checked) = &outcome.checked {
        say(checked);
    }
    if let Some(path) = &args.report {
        fs::write(path, page).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if told.load(Ordering::Relaxed) {
        return Err("ended before its time".into());
    }
    Ok(outcome.judgement())
}
