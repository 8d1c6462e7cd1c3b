//! How processes start and die, and what their disks look like in between.

use std::collections::{BTreeMap, VecDeque};

use muster_cluster::core::{Core, CoreConfig, CoreError, Leadership, SnapshotPolicy, reconcile};
use muster_cluster::log::{FileLog, LoadedLog, LogStore};
use muster_cluster::sessions::Replicated;
use muster_cluster::snapshot::SnapshotStore;
use muster_cluster::types::{GroupId, Timestamp};

use crate::agenda::{MILLIS, SECONDS};
use crate::applier::load_snapshot;
use crate::invariants::{Violation, durability, require};
use crate::machine::Machine;
use crate::network::Place;
use crate::replica::{Process, Replica, id_of};
use crate::shadow::Model;
use crate::world::{Event, Local, World, signed};
use crate::writer::try_write;

/// The one group of a world.
pub(crate) const GROUP: GroupId = GroupId(0x6d75_7374_6572);

/// The wall clock when a world begins, microseconds since the Unix epoch.
const EPOCH: i64 = 1_700_000_000_000_000;

/// Ticks of silence before an election.
pub(crate) const ELECTION_TICKS: u32 = 10;

impl World {
    /// What the clock on the wall of `place` shows.
    pub(crate) fn wall_clock(&self, place: Place) -> Timestamp {
        let ahead = self.replicas.get(place).map_or(0, |replica| replica.clock);
        let micros = EPOCH + signed(self.now()) + ahead;
        Timestamp(u64::try_from(micros).unwrap_or(0))
    }

    /// Starts a process on what the disk of `place` holds.
    pub(crate) fn start(&mut self, place: Place) -> Result<(), Violation> {
        if self.alive(place) {
            return Ok(());
        }
        let snapshots = &self.plan.snapshots;
        let policy = SnapshotPolicy {
            every_entries: snapshots.every_entries,
            keep_entries: snapshots.keep_entries,
            ..SnapshotPolicy::default()
        };
        if !self.roll.may_start(place) {
            return Ok(());
        }
        let (founders, members) = self.roll.settings();
        let seed = self.plan.seed;
        let Some(replica) = self.replicas.get_mut(place) else { return Ok(()) };
        replica.incarnation += 1;
        replica.progress.starts(place, replica.incarnation)?;
        let config = CoreConfig {
            group: GROUP,
            me: id_of(place),
            incarnation: replica.incarnation,
            founders,
            members,
            seed,
            election_ticks: ELECTION_TICKS,
            heartbeat_ticks: 2,
            snapshot: policy,
            changes: self.plan.churn.policy(self.plan.tick),
        };
        let opened = replica
            .disk
            .open_log()
            .and_then(|mut store| store.load().map(|loaded| (store, loaded)));
        let (store, loaded) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                return require(false, "DUR-2", || format!("replica {place}: {error}"));
            }
        };
        let found = Model::of(&loaded);
        durability::recovers(place, &replica.shadow, &found)?;
        replica.shadow.recovered(found);
        let process = match begin(replica, config, loaded, store) {
            Ok(process) => process,
            Err(error) if error.is_removed() => {
                self.say(|| format!("{place} was removed and does not start"));
                return Ok(());
            }
            Err(error) => {
                return require(false, "DUR-2", || format!("replica {place}: {error}"));
            }
        };
        if process.applied > 0 {
            self.checks.sameness.state(place, process.applied, process.state_hash())?;
        }
        replica.process = Some(process);
        let incarnation = replica.incarnation;
        self.say(|| format!("{place} starts as incarnation {incarnation}"));
        let now = self.now();
        self.trace.event(now, &[3, place as u64, incarnation]);
        self.later(place, self.plan.tick, Local::Tick);
        for peer in self.places().filter(|peer| *peer != place) {
            let after = self.chance.work.between(0, 50 * MILLIS);
            self.agenda.after(after, Event::Dial(place, peer));
        }
        self.crash_again(place);
        Ok(())
    }

    fn crash_again(&mut self, place: Place) {
        let Some(replica) = self.replicas.get_mut(place) else { return };
        if replica.crash_again > 0 && !self.healed {
            replica.crash_again -= 1;
            let after = self.chance.crash.between(0, 80 * MILLIS);
            self.later(place, after, Local::Crash);
        }
    }

    /// Kills the process at `place` together with its machine's power.
    pub(crate) fn crash(&mut self, place: Place) {
        if !self.alive(place) {
            return;
        }
        self.tally.crashes += 1;
        let now = self.now();
        self.trace.event(now, &[4, place as u64]);
        self.say(|| format!("{place} crashes"));
        self.stop(place);
        let after = self.chance.crash.between(5 * MILLIS, 2 * SECONDS);
        if !self.healed {
            self.agenda.after(after, Event::Start(place));
        }
    }

    /// The process at `place` ends by itself.
    pub(crate) fn stop(&mut self, place: Place) {
        self.cut_power(place);
        self.orphan(place);
        for peer in self.places().filter(|peer| *peer != place) {
            self.hang_up(place, peer);
            self.hang_up(peer, place);
        }
    }

    /// The power fails, perhaps in the middle of a write; un-synced sectors are lost at random.
    fn cut_power(&mut self, place: Place) {
        let chance = &mut self.chance.crash;
        let Some(replica) = self.replicas.get_mut(place) else { return };
        replica.paused = false;
        replica.backlog.clear();
        let under_way = replica.process.as_ref().is_some_and(|process| process.writing > 0);
        if under_way && chance.permille(800) {
            replica.disk.fail_after(chance.below(2));
            // It fails or it does not: the model allows for both.
            let _ = try_write(replica);
        }
        replica.disk.cut_power();
        replica.process = None;
        replica.disk.restore_power(chance);
    }

    /// Copies a disk as a power cut would leave it now, and opens the copy.
    pub(crate) fn autopsy(&mut self) -> Result<(), Violation> {
        let chance = &mut self.chance.autopsy;
        let after = chance.between(100 * MILLIS, SECONDS);
        self.agenda.after(after, Event::Autopsy);
        let place = chance.place(self.replicas.len());
        let Some(replica) = self.replicas.get(place) else { return Ok(()) };
        let copy = replica.disk.as_after_power_cut(chance);
        self.tally.autopsies += 1;
        let loaded = copy.open_log().and_then(|mut store| store.load());
        match loaded {
            Ok(loaded) => durability::recovers(place, &replica.shadow, &Model::of(&loaded)),
            Err(error) => require(false, "DUR-2", || format!("replica {place}: {error}")),
        }
    }
}

/// Why no process comes up on a disk.
enum NoStart {
    /// Its core says no.
    Core(CoreError),
    Other(String),
}

impl NoStart {
    fn is_removed(&self) -> bool {
        matches!(self, Self::Core(CoreError::Removed(_)))
    }
}

impl From<CoreError> for NoStart {
    fn from(error: CoreError) -> Self {
        Self::Core(error)
    }
}

impl From<String> for NoStart {
    fn from(error: String) -> Self {
        Self::Other(error)
    }
}

impl std::fmt::Display for NoStart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Core(error) => error.fmt(f),
            Self::Other(error) => error.fmt(f),
        }
    }
}

/// A process as production builds it: the newest snapshot, then the log behind it.
fn begin(
    replica: &mut Replica,
    config: CoreConfig,
    loaded: LoadedLog,
    mut store: FileLog,
) -> Result<Process, NoStart> {
    let latest = replica.snapshots.latest().map_err(|error| error.to_string())?;
    let machine = match &latest {
        Some(meta) => load_snapshot(replica, meta.index)?,
        None => Replicated::<Machine>::empty(),
    };
    let applied = latest.as_ref().map_or(0, |meta| meta.index);
    let (log, repair) = reconcile(loaded, latest.as_ref()).map_err(|error| error.to_string())?;
    if let Some(repair) = repair {
        replica.shadow.writing(&repair);
        replica.shadow.trying(1);
        store.write(&[repair]).map_err(|error| error.to_string())?;
        replica.shadow.wrote(true);
    }
    let memory = Model::of(&log);
    let core = Core::new(config, log, latest.clone())?;
    Ok(Process {
        core,
        store,
        machine,
        applied,
        leadership: Leadership::default(),
        memory,
        to_write: VecDeque::new(),
        writing: 0,
        to_apply: VecDeque::new(),
        applying: false,
        inputs: Vec::new(),
        inbox: Vec::new(),
        next_sequence: 1,
        next_ticket: 1,
        writes: BTreeMap::new(),
        reads: BTreeMap::new(),
        ready_reads: Vec::new(),
        newest: latest,
        snapshots_busy_until: 0,
        sending: BTreeMap::new(),
        receiving: None,
    })
}
