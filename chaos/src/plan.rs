//! What a seed grows into: sizes, rates, delays and which faults exist, all printed.

use std::fmt;

use crate::agenda::{MILLIS, Micros, SECONDS};
use crate::chance::Chance;
use crate::network::Weather;
use crate::roll::ChurnPlan;

/// The whole configuration of one world.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) replicas: usize,
    /// How long faults rage before the healing, microseconds.
    pub(crate) hurting: Micros,
    pub(crate) tick: Micros,
    /// How long inputs may wait for their core, microseconds; 0: each is taken at once.
    pub(crate) drain_max: Micros,
    pub(crate) weather: Weather,
    pub(crate) disk: DiskPlan,
    pub(crate) applier: ApplierPlan,
    pub(crate) snapshots: SnapshotPlan,
    pub(crate) clients: ClientPlan,
    pub(crate) faults: FaultPlan,
    pub(crate) clocks: ClockPlan,
    pub(crate) churn: ChurnPlan,
}

/// How fast a log writer is.
#[derive(Clone, Debug)]
pub(crate) struct DiskPlan {
    /// Quickest sync, microseconds.
    pub(crate) sync_min: Micros,
    /// Slowest ordinary sync, microseconds.
    pub(crate) sync_max: Micros,
    /// Of 1000 writes, how many stall.
    pub(crate) stall_permille: u64,
    /// Longest stall, microseconds.
    pub(crate) stall_max: Micros,
}

/// How fast committed entries are applied.
#[derive(Clone, Debug)]
pub(crate) struct ApplierPlan {
    /// Longest time for a batch, microseconds.
    pub(crate) batch_max: Micros,
    /// Of 1000 batches, how many take a hundred times that.
    pub(crate) slow_permille: u64,
}

/// When snapshots are taken and how much log is kept behind them.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotPlan {
    /// Entries between two snapshots.
    pub(crate) every_entries: u64,
    /// Entries kept behind a snapshot.
    pub(crate) keep_entries: u64,
    /// Longest time to write one, microseconds.
    pub(crate) write_max: Micros,
    /// Of 1000 that are to be written, how many find no room.
    pub(crate) fail_permille: u64,
    /// Of 1000 that are received, how many are followed by a crash at once.
    pub(crate) crash_permille: u64,
}

/// Who uses the group and how.
#[derive(Clone, Debug)]
pub(crate) struct ClientPlan {
    pub(crate) count: usize,
    /// Longest pause between two operations, microseconds.
    pub(crate) think_max: Micros,
    /// How long an answer is waited for, microseconds.
    pub(crate) patience: Micros,
    /// Of 1000 operations, how many are linearizable reads.
    pub(crate) read_permille: u64,
    /// Clusters that the clients share: few make hot keys.
    pub(crate) clusters: u64,
    /// Of 1000 commands, how many are about tokens and roles; 0: auth stays off for ever.
    pub(crate) auth_permille: u64,
    /// They make an enterprise server and take it back, and nothing else (`ladder.rs`).
    pub(crate) climb: bool,
    /// Of 1000 unanswered operations, how many are sent again under the same request.
    pub(crate) retry_permille: u64,
}

/// Every how many microseconds, on average, each fault strikes; `None`: never.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultPlan {
    pub(crate) partition: Option<Micros>,
    pub(crate) one_way: Option<Micros>,
    pub(crate) isolate: Option<Micros>,
    pub(crate) flap: Option<Micros>,
    pub(crate) crash: Option<Micros>,
    pub(crate) crash_all: Option<Micros>,
    pub(crate) crash_loop: Option<Micros>,
    pub(crate) pause: Option<Micros>,
    pub(crate) stall: Option<Micros>,
    pub(crate) clock_jump: Option<Micros>,
    pub(crate) transfer: Option<Micros>,
    pub(crate) disconnect: Option<Micros>,
    /// A disk refuses a write or a sync.
    pub(crate) trouble: Option<Micros>,
    /// A bit flips in what was acknowledged, or a write goes astray.
    pub(crate) rot: Option<Micros>,
    /// A disk fills.
    pub(crate) fill: Option<Micros>,
    /// A disk hangs for longer than a leader may bear.
    pub(crate) hang: Option<Micros>,
    /// An operator saves a snapshot.
    pub(crate) backup: Option<Micros>,
    /// Longest time until a fault is taken back, microseconds.
    pub(crate) lasting_max: Micros,
}

/// How wrong the wall clocks are.
#[derive(Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "each is the most that is drawn")]
pub(crate) struct ClockPlan {
    /// Largest offset at the start, either way, microseconds.
    pub(crate) offset_max: Micros,
    /// Largest jump, either way, microseconds.
    pub(crate) jump_max: Micros,
    /// Millionths by which a clock, ticks included, may be too fast or too slow.
    pub(crate) rate_max: u64,
}

impl Plan {
    /// The plan of `seed`; `seconds` overrules how long it hurts.
    pub(crate) fn grow(seed: u64, seconds: Option<u64>) -> Self {
        let mut plan = Self::draw(seed, seconds);
        if plan.churn.every.is_some() {
            // Members that come and go bring their own lost disks, and know how many are borne.
            plan.faults.rot = None;
        }
        plan
    }

    fn draw(seed: u64, seconds: Option<u64>) -> Self {
        let mut chance = Chance::stream(seed, "plan");
        let chance = &mut chance;
        // Draws that came later have a stream of their own, so that older seeds keep their plans.
        let mut later = Chance::stream(seed, "plan of snapshots");
        let mut disks = Chance::stream(seed, "plan of disks");
        let replicas = chance.pick(&[1, 3, 3, 3, 3, 5, 5]).unwrap_or(3);
        let hurting = chance.between(8, 25) * SECONDS;
        let tick = chance.pick(&[10, 20, 50]).unwrap_or(50) * MILLIS;
        Self {
            seed,
            replicas,
            hurting: seconds.map_or(hurting, |seconds| seconds * SECONDS),
            tick,
            drain_max: chance.pick(&[0, 100, 3 * MILLIS]).unwrap_or(0),
            weather: Weather {
                bytes_per_second: disks.pick(&[0, 0, 0, 300_000]).unwrap_or(0),
                ..weather(chance, tick)
            },
            disk: DiskPlan {
                sync_min: 50,
                sync_max: chance.pick(&[100, 1_000, 8 * MILLIS]).unwrap_or(1_000),
                stall_permille: chance.pick(&[0, 0, 1, 20]).unwrap_or(0),
                stall_max: chance.pick(&[100 * MILLIS, 3 * SECONDS]).unwrap_or(SECONDS),
            },
            applier: ApplierPlan {
                batch_max: chance.pick(&[20, 500, 5 * MILLIS]).unwrap_or(500),
                slow_permille: chance.pick(&[0, 0, 5, 50]).unwrap_or(0),
            },
            snapshots: SnapshotPlan {
                every_entries: chance.pick(&[10, 40, 200, 100_000]).unwrap_or(200),
                keep_entries: chance.pick(&[0, 5, 50, 1_000]).unwrap_or(50),
                write_max: chance.pick(&[MILLIS, 50 * MILLIS, SECONDS]).unwrap_or(MILLIS),
                fail_permille: later.pick(&[0, 0, 100]).unwrap_or(0),
                crash_permille: later.pick(&[0, 300]).unwrap_or(0),
            },
            clients: ClientPlan {
                count: chance.pick(&[1, 3, 8, 16]).unwrap_or(3),
                think_max: chance.pick(&[5, 50, 300]).unwrap_or(50) * MILLIS,
                patience: chance.pick(&[500, 2_000, 10_000]).unwrap_or(2_000) * MILLIS,
                read_permille: chance.pick(&[100, 300, 700]).unwrap_or(300),
                auth_permille: disks.pick(&[0, 0, 200, 500]).unwrap_or(0),
                climb: false,
                clusters: chance.pick(&[1, 4, 40]).unwrap_or(4),
                retry_permille: chance.pick(&[0, 500, 1_000]).unwrap_or(500),
            },
            faults: faults(chance, &mut disks),
            clocks: ClockPlan {
                offset_max: chance.pick(&[0, 500 * MILLIS, 3_600 * SECONDS]).unwrap_or(0),
                jump_max: chance.pick(&[SECONDS, 3_600 * SECONDS]).unwrap_or(SECONDS),
                rate_max: disks.pick(&[0, 0, 10_000, 50_000]).unwrap_or(0),
            },
            churn: ChurnPlan::grow(seed),
        }
    }
}

fn weather(chance: &mut Chance, tick: Micros) -> Weather {
    Weather {
        delay_min: 50,
        delay_max: chance.pick(&[200, 2 * MILLIS, tick / 2]).unwrap_or(200),
        late_permille: chance.pick(&[0, 0, 5, 50]).unwrap_or(0),
        break_per_100k: chance.pick(&[0, 0, 10, 300]).unwrap_or(0),
        one_way_lives: chance.coin(),
        bytes_per_second: 0,
        patience: chance.pick(&[20, 40, 200]).unwrap_or(20) * tick,
    }
}

fn faults(chance: &mut Chance, disks: &mut Chance) -> FaultPlan {
    // Each fault exists in about half of the worlds: some bugs need one fault left in peace.
    let calm = chance.permille(60);
    let mut every = |low: u64, high: u64| {
        let on = chance.coin();
        let interval = chance.between(low * MILLIS, high * MILLIS);
        (on && !calm).then_some(interval)
    };
    FaultPlan {
        partition: every(1_500, 8_000),
        one_way: every(1_500, 8_000),
        isolate: every(1_500, 8_000),
        flap: every(3_000, 10_000),
        crash: every(400, 6_000),
        crash_all: every(3_000, 12_000),
        crash_loop: every(4_000, 12_000),
        pause: every(1_000, 8_000),
        stall: every(1_000, 8_000),
        clock_jump: every(1_000, 8_000),
        transfer: every(500, 6_000),
        disconnect: every(500, 4_000),
        trouble: disk_fault(disks, calm, 1_000, 8_000),
        rot: disk_fault(disks, calm, 2_000, 10_000),
        fill: disk_fault(disks, calm, 2_000, 10_000),
        hang: disk_fault(disks, calm, 4_000, 20_000),
        backup: disk_fault(disks, calm, 1_000, 8_000),
        lasting_max: chance.pick(&[500, 3_000, 6_000]).unwrap_or(3_000) * MILLIS,
    }
}

/// Exists in a third of the worlds: what a disk does ends much else that could go on.
fn disk_fault(chance: &mut Chance, calm: bool, low: u64, high: u64) -> Option<Micros> {
    let on = chance.permille(333);
    let interval = chance.between(low * MILLIS, high * MILLIS);
    (on && !calm).then_some(interval)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:#?}")
    }
}
