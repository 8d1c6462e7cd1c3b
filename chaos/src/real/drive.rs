//! The run: a group, clients, one fault after the other, and the reckoning at the end.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::abilities::{Abilities, Ability};
use super::clients::{self, Crowd};
use super::faults::{self, Kind, PATIENCE};
use super::recorder::Recorder;
use super::replicas::Replicas;
use super::stage::{Stage, text};
use super::tools::run;
use super::{RealArgs, report};
use crate::chance::Chance;
use crate::history::{self, Checked, Judgement};

/// Clients that work at once: what the search can still decide.
const CLIENTS: u64 = 8;
/// Entries that a replica may lag behind while clients go on.
const LAG: u64 = 200;
/// Steps that a checker takes for one key.
const BUDGET: usize = 2_000_000;
/// Exit codes that say what a replica found wrong with its disk.
const DISK_FAILED: [i32; 2] = [70, 74];

/// One fault, from its beginning until everything was well again. Times in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Struck {
    pub(super) kind: Kind,
    /// The longest time without an answer to any client's write.
    pub(super) silence: u64,
    /// From the healing until every replica was level again.
    pub(super) recovery: u64,
    /// Attempts without an answer: UNAVAILABLE, and others.
    pub(super) unavailable: u64,
    pub(super) failed: u64,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) struck: Vec<Struck>,
    /// Wanted, but the machine cannot do what they need.
    pub(super) skipped: Vec<Kind>,
    pub(super) missing: Vec<(Ability, String)>,
    pub(super) writes: u64,
    pub(super) reads: u64,
    pub(super) checked: Option<Checked>,
    /// Index and digest of the state of every replica at the end.
    pub(super) digests: Vec<(u64, u32)>,
    /// What must not be.
    pub(super) wrong: Vec<String>,
}

impl Outcome {
    pub(super) fn judgement(&self) -> Judgement {
        match &self.checked {
            Some(checked) if self.wrong.is_empty() => checked.judgement(),
            _ => Judgement::Wrong,
        }
    }
}

/// Lets the group be hurt for as long as asked; `told` ends it early.
pub(super) async fn drive(
    stage: Stage,
    binary: &Path,
    args: &RealArgs,
    told: &AtomicBool,
) -> Outcome {
    let abilities = Abilities::find(&stage, binary);
    let mut outcome = Outcome { missing: abilities.missing.clone(), ..Outcome::default() };
    report::missing(&outcome.missing);
    if let Err(why) = hurt(stage, binary, args, told, &abilities, &mut outcome).await {
        outcome.wrong.push(why);
    }
    outcome
}

async fn hurt(
    stage: Stage,
    binary: &Path,
    args: &RealArgs,
    told: &AtomicBool,
    abilities: &Abilities,
    outcome: &mut Outcome,
) -> Result<(), String> {
    let mut replicas = Replicas::prepare(stage, binary, abilities)?;
    for at in 0..replicas.len() {
        replicas.start(at)?;
    }
    replicas.await_level(LAG, PATIENCE).await?;
    let crowd = Arc::new(Crowd {
        recorder: Arc::new(Recorder::new()),
        channels: (0..replicas.places()).filter_map(|at| replicas.channel(at)).collect(),
        current: replicas.current(),
        code: issue_code(&replicas)?,
        stop: AtomicBool::new(false),
    });
    if !clients::activate(&crowd).await {
        return Err("the first license was not taken".into());
    }
    let work = |number| tokio::spawn(clients::work(Arc::clone(&crowd), args.seed, number));
    let tasks: Vec<_> = (1..=CLIENTS).map(work).collect();
    let hurting = strike_all(&mut replicas, args, told, abilities, &crowd, outcome).await;
    crowd.stop.store(true, Ordering::Relaxed);
    for task in tasks {
        if task.await.is_err() {
            outcome.wrong.push("a client panicked".into());
        }
    }
    (outcome.writes, outcome.reads) = crowd.recorder.answered();
    // Also after a failure: the history may say why.
    let reckoned = match &hurting {
        Ok(()) => reckon(&mut replicas, &crowd, outcome).await,
        Err(_) => Ok(()),
    };
    outcome.wrong.extend(replicas.panics());
    let records = crowd.recorder.records();
    let file = replicas.stage.folder.join("history.jsonl");
    history::write(&file, &records).map_err(|error| error.to_string())?;
    if let Some(path) = &args.export {
        history::write(path, &records).map_err(|error| error.to_string())?;
    }
    outcome.checked = Some(history::check(&records, BUDGET).map_err(|error| error.to_string())?);
    hurting.and(reckoned)
}

async fn strike_all(
    replicas: &mut Replicas,
    args: &RealArgs,
    told: &AtomicBool,
    abilities: &Abilities,
    crowd: &Crowd,
    outcome: &mut Outcome,
) -> Result<(), String> {
    let mut chance = Chance::stream(args.seed, "faults");
    let wanted = |kind: &Kind| args.only.is_empty() || args.only.contains(kind);
    let mut kinds = Vec::new();
    for kind in Kind::ALL.into_iter().filter(wanted) {
        let lacks = abilities.missing.iter().any(|(ability, _)| *ability == kind.needs());
        if lacks { &mut outcome.skipped } else { &mut kinds }.push(kind);
    }
    let until = Instant::now() + Duration::from_secs(args.seconds);
    'rounds: while !kinds.is_empty() {
        chance.shuffle(&mut kinds);
        for kind in &kinds {
            if Instant::now() >= until || told.load(Ordering::Relaxed) {
                break 'rounds;
            }
            let struck = strike(*kind, &mut chance, replicas, &crowd.recorder, outcome).await;
            let struck = struck.map_err(|why| format!("{}: {why}", kind.words()))?;
            report::struck(&struck);
            outcome.struck.push(struck);
        }
    }
    Ok(())
}

async fn strike(
    kind: Kind,
    chance: &mut Chance,
    replicas: &mut Replicas,
    recorder: &Recorder,
    outcome: &mut Outcome,
) -> Result<Struck, String> {
    let mut strike = faults::strike(kind, chance, replicas).await?;
    let began = recorder.now();
    strike.hit(chance, replicas).await?;
    let (least, most) = strike.lasts();
    sleep(Duration::from_millis(chance.between(least, most))).await;
    strike.heal(replicas)?;
    let healed = recorder.now();
    for ended in replicas.ended() {
        let fine = kind.may_end_replicas()
            && ended.status.code().is_some_and(|code| DISK_FAILED.contains(&code));
        if !fine {
            let (at, status) = (ended.at, ended.status);
            outcome.wrong.push(format!("{}: r{at} ended by itself with {status}", kind.words()));
        }
    }
    for at in 0..replicas.len() {
        replicas.start(at)?;
    }
    served(recorder, healed).await?;
    replicas.await_level(LAG, PATIENCE).await?;
    let well = recorder.now();
    let (unavailable, failed) = recorder.refused(began, well);
    sleep(Duration::from_millis(300)).await;
    let silence = recorder.silence(began, well);
    Ok(Struck { kind, silence, recovery: well - healed, unavailable, failed })
}

/// Waits until a write is answered that was under way after `from`.
async fn served(recorder: &Recorder, from: u64) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if recorder.acknowledged_since(from) {
            return Ok(());
        }
        sleep(Duration::from_millis(5)).await;
    }
    Err(format!("no write was answered within {PATIENCE:?} of the healing"))
}

/// Everybody is well and nobody writes: all must show the same.
async fn reckon(
    replicas: &mut Replicas,
    crowd: &Arc<Crowd>,
    outcome: &mut Outcome,
) -> Result<(), String> {
    replicas.await_level(0, PATIENCE).await?;
    if !clients::look_everywhere(crowd).await {
        return Err("a replica did not show the state at the end".into());
    }
    // Servers write on their own now and then, so the snapshots may be of different entries at first.
    for _ in 0..20 {
        replicas.await_level(0, PATIENCE).await?;
        let mut digests = Vec::new();
        for at in 0..replicas.len() {
            digests.push(replicas.save(at).await?.1);
        }
        let level = digests.iter().all(|one| Some(one.0) == digests.first().map(|first| first.0));
        outcome.digests.clone_from(&digests);
        if level {
            if digests.iter().any(|one| Some(one) != digests.first()) {
                outcome.wrong.push(format!("the replicas' states differ: {digests:x?}"));
            }
            return Ok(());
        }
    }
    Err(format!("snapshots of one entry could not be had: {:x?}", outcome.digests))
}

fn issue_code(replicas: &Replicas) -> Result<String, String> {
    let key = text(&replicas.stage.folder.join("license.key"));
    let muster = text(replicas.binary());
    let line = [&muster, "license", "issue", "--key", &key, "--expires", "2200-01-01"];
    run(&line).map_err(|error| error.to_string())
}
