//! Who is in the group changes, by the command line, while clients work and something else is wrong too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use muster_proto::muster::v1::replica_client::ReplicaClient;
use muster_proto::muster::v1::{GroupStatus, GroupStatusRequest};
use tokio::time::{Instant, sleep, timeout};

use super::faults::{PATIENCE, filter, unfilter};
use super::replicas::Replicas;
use super::stage::{SPARES, text};
use super::tools::run;
use crate::chance::Chance;

/// The exit code of a replica that was removed.
const REMOVED: i32 = 79;
/// Between two tries of a change.
const AGAIN: Duration = Duration::from_millis(200);
/// How long the other trouble may stand in the way of a change before it ends.
const TROUBLE_MAX: Duration = Duration::from_secs(8);
/// Entries that a new replica may lag behind before its name may be given the lead.
const LAG: u64 = 1000;

/// What else is wrong meanwhile.
enum Trouble {
    None,
    Killed(usize),
    Stopped(usize),
    Lossy,
}

impl Trouble {
    /// `spared` is hit by something else already.
    fn begin(
        chance: &mut Chance,
        replicas: &mut Replicas,
        spared: usize,
    ) -> Result<Trouble, String> {
        let others: Vec<usize> = (0..replicas.len()).filter(|at| *at != spared).collect();
        let at = chance.pick(&others).ok_or("a group of one")?;
        match chance.below(3) {
            0 => {
                replicas.kill(at);
                Ok(Trouble::Killed(at))
            }
            1 => replicas.signal(at, "STOP").map(|()| Trouble::Stopped(at)),
            _ => Ok(Trouble::lossy(chance, replicas)),
        }
    }

    /// Packets between peers are lost, where the machine can do that.
    fn lossy(chance: &mut Chance, replicas: &Replicas) -> Trouble {
        let rule = format!("numgen random mod 100 < {} drop", chance.between(5, 15));
        let all = (0..replicas.len()).all(|at| filter(replicas, at, &["input"], &rule).is_ok());
        if all { Trouble::Lossy } else { Trouble::None }
    }

    fn end(&mut self, replicas: &mut Replicas) -> Result<(), String> {
        match std::mem::replace(self, Trouble::None) {
            Trouble::None => Ok(()),
            Trouble::Killed(at) => replicas.start(at),
            Trouble::Stopped(at) => replicas.signal(at, "CONT"),
            Trouble::Lossy => {
                (0..replicas.len()).for_each(|at| unfilter(replicas, at));
                Ok(())
            }
        }
    }
}

/// Two replicas join with tokens and vote, one of them leads for a while, and both leave for ever.
pub(super) async fn grow_and_shrink(
    chance: &mut Chance,
    replicas: &mut Replicas,
) -> Result<(), String> {
    let first = replicas.len();
    let spares: Vec<usize> = (first..first + SPARES).collect();
    let mut trouble = Trouble::begin(chance, replicas, usize::MAX)?;
    for at in &spares {
        join(replicas, *at, &mut trouble).await?;
    }
    let names: Vec<String> = spares.iter().map(|at| name(*at)).collect();
    let [one, two] = names.as_slice() else { return Err("two at once".into()) };
    let wanted = voters(0..first + SPARES);
    change(replicas, &mut trouble, &["promote", one, two], &wanted).await?;
    trouble.end(replicas)?;
    replicas.resize(first + SPARES);
    replicas.await_level(LAG, PATIENCE).await?;
    let until = Instant::now() + PATIENCE;
    while replicas.leader().await != Some(first) {
        let told = operate(replicas, &["transfer-leader", "--to", one]);
        if let Err(why) = bear(told, until) {
            return Err(format!("{one} does not lead: {why}"));
        }
        sleep(AGAIN).await;
    }
    sleep(Duration::from_millis(chance.between(300, 1500))).await;
    let mut trouble = Trouble::begin(chance, replicas, first)?;
    replicas.resize(first);
    change(replicas, &mut trouble, &["remove", one, two], &voters(0..first)).await?;
    // Also the one that was killed meanwhile has to hear of it.
    trouble.end(replicas)?;
    for at in spares {
        gone(replicas, at).await?;
    }
    Ok(())
}

/// A voter gives way to a new replica in one step, comes back as another one, and takes its place again.
pub(super) async fn replace(chance: &mut Chance, replicas: &mut Replicas) -> Result<(), String> {
    let first = replicas.len();
    let at = chance.place(first);
    let (old, new) = (name(at), name(first));
    let mut trouble = Trouble::begin(chance, replicas, at)?;
    join(replicas, first, &mut trouble).await?;
    let wanted = voters((0..=first).filter(|other| *other != at));
    change(replicas, &mut trouble, &["replace", &old, &new], &wanted).await?;
    trouble.end(replicas)?;
    gone(replicas, at).await?;
    let mut trouble = Trouble::begin(chance, replicas, at)?;
    join(replicas, at, &mut trouble).await?;
    change(replicas, &mut trouble, &["replace", &new, &old], &voters(0..first)).await?;
    trouble.end(replicas)?;
    gone(replicas, first).await
}

/// A replica loses its disk and comes back under its name: another one, in the place of what it was.
pub(super) async fn wipe(
    chance: &mut Chance,
    replicas: &mut Replicas,
    at: usize,
) -> Result<(), String> {
    let before = members(&group(replicas).await?).get(&name(at)).cloned();
    replicas.kill(at);
    empty(replicas, at)?;
    let mut trouble = Trouble::lossy(chance, replicas);
    join(replicas, at, &mut trouble).await?;
    let until = Instant::now() + PATIENCE;
    let begun = Instant::now();
    loop {
        let now = group(replicas).await;
        let there = now.as_ref().is_ok_and(|now| {
            let id = members(now).get(&name(at)).cloned();
            id.is_some() && id != before && stands(now, &voters(0..replicas.len()))
        });
        if there {
            return trouble.end(replicas);
        }
        if begun.elapsed() > TROUBLE_MAX {
            trouble.end(replicas)?;
        }
        if Instant::now() > until {
            return Err(format!("{} did not take the place of what it was: {now:?}", name(at)));
        }
        sleep(AGAIN).await;
    }
}

fn name(at: usize) -> String {
    format!("r{at}")
}

fn voters(all: impl IntoIterator<Item = usize>) -> BTreeSet<String> {
    all.into_iter().map(name).collect()
}

/// Ids by name.
fn members(group: &GroupStatus) -> BTreeMap<String, String> {
    group.replicas.iter().map(|it| (it.name.clone(), it.id.clone())).collect()
}

/// Whether exactly these are the members, all of them vote, and nothing changes.
fn stands(group: &GroupStatus, wanted: &BTreeSet<String>) -> bool {
    let voting: BTreeSet<String> =
        group.replicas.iter().filter(|it| it.voter).map(|it| it.name.clone()).collect();
    group.change.is_empty() && voting == *wanted && group.replicas.len() == wanted.len()
}

/// The group as the leader has it, or whoever else answers.
async fn group(replicas: &Replicas) -> Result<GroupStatus, String> {
    let mut last = "no replica runs".to_owned();
    let leader = replicas.leader().await;
    for at in leader.into_iter().chain(0..replicas.places()) {
        let Some(channel) = replicas.channel(at).filter(|_| replicas.runs(at)) else { continue };
        let asked = async move { ReplicaClient::new(channel).group(GroupStatusRequest {}).await };
        match timeout(Duration::from_secs(4), asked).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => last = status.to_string(),
            Err(_) => last = format!("r{at} does not answer"),
        }
    }
    Err(last)
}

/// `muster replica …`, of whichever replica answers first.
fn operate(replicas: &Replicas, words: &[&str]) -> Result<String, String> {
    let running = (0..replicas.places()).filter(|at| replicas.runs(*at));
    let addresses: Vec<String> = running.map(|at| replicas.stage.address(at, 0)).collect();
    let (muster, addresses) = (text(replicas.binary()), addresses.join(","));
    let mut line = vec![muster.as_str(), "replica"];
    line.extend(words);
    line.extend(["--address", &addresses, "--rpc-timeout", "5s"]);
    run(&line).map_err(|error| error.to_string())
}

/// Failures count only once patience is over.
fn bear(told: Result<String, String>, until: Instant) -> Result<(), String> {
    if Instant::now() < until {
        return Ok(());
    }
    Err(told.err().unwrap_or_else(|| "told so, and nothing came of it".to_owned()))
}

/// Tries a change until the voters are as wanted.
async fn change(
    replicas: &mut Replicas,
    trouble: &mut Trouble,
    words: &[&str],
    wanted: &BTreeSet<String>,
) -> Result<(), String> {
    let (begun, until) = (Instant::now(), Instant::now() + PATIENCE);
    loop {
        if begun.elapsed() > TROUBLE_MAX {
            trouble.end(replicas)?;
        }
        if group(replicas).await.is_ok_and(|group| stands(&group, wanted)) {
            return Ok(());
        }
        let told = operate(replicas, words);
        if group(replicas).await.is_ok_and(|group| stands(&group, wanted)) {
            return Ok(());
        }
        if let Err(why) = bear(told, until) {
            let now = group(replicas).await.map(|group| members(&group));
            return Err(format!("{words:?}: {why}; the group: {now:?}"));
        }
        sleep(AGAIN).await;
    }
}

/// Starts a replica with an empty folder and a token of its own, and waits until the group knows it.
async fn join(replicas: &mut Replicas, at: usize, trouble: &mut Trouble) -> Result<(), String> {
    let before = group(replicas).await.ok().and_then(|it| members(&it).get(&name(at)).cloned());
    let (begun, until) = (Instant::now(), Instant::now() + PATIENCE);
    loop {
        if begun.elapsed() > TROUBLE_MAX {
            trouble.end(replicas)?;
        }
        let now = group(replicas).await;
        let id = now.as_ref().ok().and_then(|now| members(now).get(&name(at)).cloned());
        if id.is_some() && id != before && replicas.status(at).await.is_some() {
            return Ok(());
        }
        // One that could not ask ends and says so; its token may have been used up.
        let ended = replicas.has_ended(at);
        if Instant::now() > until {
            return Err(format!("{} did not join: {ended:?}, the group: {now:?}", name(at)));
        }
        if !replicas.runs(at) {
            let file = replicas.stage.folder.join(format!("{}.token", name(at)));
            if let Ok(token) = operate(replicas, &["token"]) {
                fs::write(&file, token).map_err(|error| error.to_string())?;
                replicas.start_joining(at, file)?;
            }
        }
        sleep(AGAIN).await;
    }
}

/// A removed replica ends and says why, also when it is started again. Its disk is emptied.
async fn gone(replicas: &mut Replicas, at: usize) -> Result<(), String> {
    for again in [false, true] {
        if again {
            replicas.start(at)?;
        }
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = replicas.has_ended(at) {
                break status;
            }
            if Instant::now() > until {
                return Err(format!("{} was removed and did not end", name(at)));
            }
            sleep(Duration::from_millis(20)).await;
        };
        if status.code() != Some(REMOVED) {
            return Err(format!("{} was removed and ended with {status}", name(at)));
        }
    }
    empty(replicas, at)
}

fn empty(replicas: &Replicas, at: usize) -> Result<(), String> {
    let data = replicas.stage.data(at);
    fs::remove_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))?;
    fs::create_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))
}
