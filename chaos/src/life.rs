//! How processes start and die, and what their disks look like in between.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use muster_cluster::core::{Core, CoreConfig, CoreError, Leadership, SnapshotPolicy, reconcile};
use muster_cluster::disk::{DiskLimits, DiskWatch};
use muster_cluster::log::{FileLog, LoadedLog, LogError, LogStore};
use muster_cluster::sessions::Replicated;
use muster_cluster::snapshot::SnapshotStore;
use muster_cluster::stall::StallWatch;
use muster_cluster::types::{GroupId, Timestamp};

use crate::agenda::{MILLIS, SECONDS};
use crate::applier::{Refusal, load_snapshot};
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
        let rate = self.replicas.get(place).map_or(0, |replica| replica.rate);
        let now = signed(self.now());
        let micros = EPOCH + now + now / 1_000_000 * rate + ahead;
        Timestamp(u64::try_from(micros).unwrap_or(0))
    }

    /// Starts a process on what the disk of `place` holds.
    pub(crate) fn start(&mut self, place: Place) -> Result<(), Violation> {
        if self.alive(place) || self.replicas.get(place).is_none_or(|replica| replica.lost) {
            return Ok(());
        }
        let now = self.now();
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
            state_format: 1,
            seed,
            election_ticks: ELECTION_TICKS,
            heartbeat_ticks: 2,
            snapshot: policy,
            changes: self.plan.churn.policy(self.plan.tick),
        };
        let opened = replica
            .disk
            .open_log(&replica.fence)
            .and_then(|mut store| store.load().map(|loaded| (store, loaded)));
        let (store, loaded) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.not_started(place, &refusal(&error)),
        };
        let found = Model::of(&loaded);
        durability::recovers(place, &replica.shadow, &found)?;
        replica.shadow.recovered(found);
        let mut process = match begin(replica, config, loaded, store) {
            Ok(process) => process,
            Err(Refusal::Removed) => {
                self.say(|| format!("{place} was removed and does not start"));
                return Ok(());
            }
            Err(error) => return self.not_started(place, &error),
        };
        process.look(replica.space);
        if process.applied > 0 {
            self.checks.sameness.state(place, process.applied, process.state_hash())?;
        }
        replica.process = Some(process);
        let incarnation = replica.incarnation;
        self.say(|| format!("{place} starts as incarnation {incarnation}"));
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

    /// A process refused to start on what its disk holds.
    fn not_started(&mut self, place: Place, error: &Refusal) -> Result<(), Violation> {
        let Some(replica) = self.replicas.get_mut(place) else { return Ok(()) };
        match error {
            Refusal::Damaged(what) if replica.rotten => {
                self.lose(place, what);
                Ok(())
            }
            Refusal::Disk(_) if replica.take_failed() => {
                self.tally.fail_stops += 1;
                self.say(|| format!("{place} does not start: {error}"));
                let after = self.chance.trouble.between(100 * MILLIS, SECONDS);
                self.agenda.after(after, Event::Start(place));
                Ok(())
            }
            _ => require(false, "DUR-2", || format!("replica {place}: {error}")),
        }
    }

    /// Kills the process at `place`, mostly together with its machine's power.
    pub(crate) fn crash(&mut self, place: Place) {
        let power = self.chance.trouble.permille(700);
        self.end(place, power);
    }

    /// The process at `place` ends, and with `power` its machine too.
    pub(crate) fn end(&mut self, place: Place, power: bool) {
        if !self.alive(place) {
            return;
        }
        self.tally.crashes += 1;
        let now = self.now();
        self.trace.event(now, &[4, place as u64]);
        self.say(|| format!("{place} crashes"));
        self.stop(place, power);
        let after = self.chance.crash.between(5 * MILLIS, 2 * SECONDS);
        if !self.healed {
            self.agenda.after(after, Event::Start(place));
        }
    }

    /// The process at `place` ends, and with `power` its machine too; nobody starts it again.
    pub(crate) fn stop(&mut self, place: Place, power: bool) {
        self.cut_off(place, power);
        self.orphan(place);
        for peer in self.places().filter(|peer| *peer != place) {
            self.hang_up(place, peer);
            self.hang_up(peer, place);
        }
    }

    /// The process ends, perhaps in the middle of a write; when the power fails, un-synced sectors are
    /// lost at random.
    fn cut_off(&mut self, place: Place, power: bool) {
        let chance = &mut self.chance.crash;
        let Some(replica) = self.replicas.get_mut(place) else { return };
        replica.paused = false;
        replica.backlog.clear();
        let under_way = replica.process.as_ref().is_some_and(|process| process.writing > 0);
        if under_way && chance.permille(800) {
            replica.disk.fail_after(chance.below(2));
            // It fails or it does not: the model allows for both.
            drop(try_write(replica));
        }
        replica.disk.cut_power();
        replica.fence.cut_power();
        replica.folder.cut_power();
        replica.process = None;
        if power {
            replica.disk.restore_power(chance);
            replica.fence.restore_power(chance);
            replica.folder.restore_power(chance);
        } else {
            replica.disk.outlive_process();
            replica.fence.outlive_process();
            replica.folder.outlive_process();
        }
    }

    /// Copies a disk as a power cut would leave it now, and opens the copy.
    pub(crate) fn autopsy(&mut self) -> Result<(), Violation> {
        let chance = &mut self.chance.autopsy;
        let after = chance.between(100 * MILLIS, SECONDS);
        self.agenda.after(after, Event::Autopsy);
        let place = chance.place(self.replicas.len());
        let Some(replica) = self.replicas.get(place) else { return Ok(()) };
        let copy = replica.disk.as_after_power_cut(chance);
        let fence = replica.fence.as_after_power_cut(chance);
        copy.mend();
        self.tally.autopsies += 1;
        let loaded = copy.open_log(&fence).and_then(|mut store| store.load());
        match loaded {
            Err(LogError::Damaged { .. }) if replica.rotten => Ok(()),
            Ok(loaded) => durability::recovers(place, &replica.shadow, &Model::of(&loaded)),
            Err(error) => require(false, "DUR-2", || format!("replica {place}: {error}")),
        }
    }
}

impl From<CoreError> for Refusal {
    fn from(error: CoreError) -> Self {
        match error {
            CoreError::Damaged(what) => Self::Damaged(what),
            CoreError::Removed(_) => Self::Removed,
            other => Self::Other(other.to_string()),
        }
    }
}

fn refusal(error: &LogError) -> Refusal {
    match error {
        LogError::Damaged { what } => Refusal::Damaged(what.clone()),
        LogError::Io { .. } => Refusal::Disk(error.to_string()),
        other => Refusal::Other(other.to_string()),
    }
}

/// A process as production builds it: the newest snapshot, then the log behind it.
fn begin(
    replica: &mut Replica,
    config: CoreConfig,
    loaded: LoadedLog,
    mut store: FileLog,
) -> Result<Process, Refusal> {
    let snapshots = replica.folder.open_snapshots()?;
    let latest = snapshots.latest()?;
    let machine = match &latest {
        Some(meta) => load_snapshot(&snapshots, meta.index)?,
        None => Replicated::<Machine>::empty(),
    };
    let applied = latest.as_ref().map_or(0, |meta| meta.index);
    let (log, repair) = reconcile(loaded, latest.as_ref()).map_err(Refusal::from)?;
    if let Some(repair) = repair {
        replica.shadow.writing(&repair);
        replica.shadow.trying(1);
        store.write(&[repair]).map_err(|error| refusal(&error))?;
        replica.shadow.wrote(true);
    }
    let memory = Model::of(&log);
    let core = Core::new(config, log, latest.clone())?;
    Ok(Process {
        core,
        store,
        snapshots,
        watch: DiskWatch::new(Path::new(""), DiskLimits::default()),
        low: false,
        full: false,
        stall: StallWatch::default(),
        write_times: VecDeque::new(),
        machine,
        applied,
        leadership: Leadership::default(),
        memory,
        to_write: VecDeque::new(),
        writing: 0,
        write_turn: 0,
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
