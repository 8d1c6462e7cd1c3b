//! `muster demo --once`: kills the leader under load and checks that nothing acknowledged was lost.

use std::fs;
use std::path::Path;
use std::time::Duration;

use muster_proto::muster::v1::SaveSnapshotRequest;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use super::members::Fleet;
use super::replicas::Replicas;
use crate::cli::output::{self, Failure};

const INTERVAL: Duration = Duration::from_millis(20);
/// Beats of all members together, before the kill and again after it.
const BEATS: u64 = 300;
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);
/// Another entry may slip in between two snapshots.
const SNAPSHOT_TRIES: u32 = 5;

/// Walks through it all; `until` says when the license ends.
pub(super) async fn walk(
    replicas: &mut Replicas,
    fleet: &mut Fleet,
    until: &str,
) -> Result<(), Failure> {
    row("activation", &format!("a self-issued license, valid until {until}"))?;
    row("registration", &format!("{} clusters, through all replicas in turn", fleet.len()))?;
    fleet.beat(INTERVAL);
    wait_for_beats(replicas, fleet, BEATS).await?;

    let leader = replicas.wait_for_leader().await?;
    let name = replicas.names().nth(leader).unwrap_or_default();
    let before = fleet.acknowledged();
    replicas.kill(leader).await?;
    let killed = Instant::now();
    fleet.mark(killed);
    // Registrations go on, too.
    fleet.register(1).await?;
    fleet.beat(INTERVAL);
    let (first, all) = loop {
        if let Some(times) = fleet.since_mark() {
            break times;
        }
        if killed.elapsed() > PATIENCE {
            return Err(Failure::new("not all members were heard again after the leader died"));
        }
        sleep(POLL).await;
    };
    row(
        "failover",
        &format!(
            "leader {name} killed (kill -9): a new beat acknowledged after {} ms, of each member after {} ms",
            (first - killed).as_millis(),
            (all - killed).as_millis()
        ),
    )?;
    wait_for_beats(replicas, fleet, fleet.acknowledged() + BEATS).await?;

    replicas.restart(leader)?;
    replicas.wait_for_leader().await?;
    row("return", &format!("{name} started again and caught up"))?;
    fleet.stop().await;
    replicas.wait_level().await?;
    let acknowledged = fleet.acknowledged();
    let mut lost_beats = 0;
    let mut lost_registrations = 0;
    for replica in 0..replicas.names().count() {
        let lost = fleet.lost(replica).await?;
        lost_beats = lost_beats.max(lost.beats);
        lost_registrations = lost_registrations.max(lost.registrations);
    }
    row(
        "beats",
        &format!("{acknowledged} acknowledged ({before} before the kill), {lost_beats} lost"),
    )?;
    row("clusters", &format!("{} registered, {lost_registrations} lost", fleet.len()))?;
    let (index, hash) = equal_states(replicas).await?;
    row("state", &format!("equal on all replicas at position {index}: sha256 {hash}"))?;
    if lost_beats + lost_registrations > 0 {
        return Err(Failure::new("something acknowledged was lost"));
    }
    row("proved", "nothing acknowledged was lost")
}

async fn wait_for_beats(
    replicas: &mut Replicas,
    fleet: &Fleet,
    wanted: u64,
) -> Result<(), Failure> {
    let end = Instant::now() + PATIENCE;
    while fleet.acknowledged() < wanted {
        replicas.check_running()?;
        if Instant::now() >= end {
            return Err(Failure::new("the members' beats are not acknowledged"));
        }
        sleep(POLL).await;
    }
    Ok(())
}

/// The position at which all replicas hold the same state, and the hash of the snapshots they wrote.
async fn equal_states(replicas: &mut Replicas) -> Result<(u64, String), Failure> {
    let mut last = Vec::new();
    for _ in 0..SNAPSHOT_TRIES {
        replicas.wait_level().await?;
        last.clear();
        for mut client in replicas.clients() {
            let saved = client.save_snapshot(SaveSnapshotRequest {}).await.map_err(|status| {
                Failure::new("a replica cannot save its state").cause(status.message())
            })?;
            let saved = saved.into_inner();
            last.push((saved.index, hash(Path::new(&saved.path))?));
        }
        if let [first, rest @ ..] = last.as_slice()
            && rest.iter().all(|(index, _)| *index == first.0)
        {
            return if rest.iter().all(|other| other == first) {
                Ok(first.clone())
            } else {
                Err(Failure::new("the replicas' states differ").cause(format!("{last:?}")))
            };
        }
    }
    Err(Failure::new("the replicas did not rest at one position").cause(format!("{last:?}")))
}

fn hash(snapshot: &Path) -> Result<String, Failure> {
    let unreadable = |error: &dyn std::error::Error| {
        Failure::new(format!("cannot read the snapshot {}", snapshot.display()))
            .cause(error.to_string())
    };
    muster_cluster::snapshot::inspect(snapshot).map_err(|error| unreadable(&error))?;
    let bytes = fs::read(snapshot).map_err(|error| unreadable(&error))?;
    Ok(hex::encode(Sha256::digest(bytes)))
}

fn row(what: &str, text: &str) -> Result<(), Failure> {
    output::data(&format!("{what:<13} {text}\n"))
}
