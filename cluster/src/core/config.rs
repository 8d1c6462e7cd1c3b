//! What a core is told once.

use crate::types::{GroupId, Member, ReplicaId};

/// Settings of one core. Durations are counted in ticks.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// The group.
    pub group: GroupId,
    /// This replica.
    pub me: ReplicaId,
    /// Which start of this replica's process it is.
    pub incarnation: u64,
    /// The voters with whom the group's log begins.
    pub founders: Vec<Member>,
    /// Everybody, as far as the settings know: asked only while the log says nothing of it.
    pub members: Vec<Member>,
    /// The newest format that the state machine understands.
    pub state_format: u32,
    /// Seeds the election timeouts. Two cores of one seed, id and history act alike.
    pub seed: u64,
    /// Silence of the leader before an election; the drawn timeout is up to twice that.
    pub election_ticks: u32,
    /// Between two heartbeats of the leader.
    pub heartbeat_ticks: u32,
    /// When to save a snapshot and how much log to keep behind it.
    pub snapshot: SnapshotPolicy,
    /// When members change by themselves, and how far an observer may lag to vote.
    pub changes: ChangePolicy,
}

/// When members change. Durations are counted in ticks, except where they are of log time.
#[derive(Clone, Copy, Debug)]
pub struct ChangePolicy {
    /// An observer that is to vote lacks fewer entries than this,
    pub lag_entries: u64,
    /// and fewer microseconds of log time than this.
    pub lag_us: u64,
    /// It must have been so without a break for so long before it is promoted by itself; somebody's
    /// own wish waits so long for it to be so at all.
    pub gate_ticks: u64,
    /// A new leader removes nobody by itself for so long.
    pub settle_ticks: u64,
    /// Nor does any leader for so long after a member came back.
    pub return_ticks: u64,
    /// Microseconds that one tick lasts.
    pub tick_us: u64,
    /// Microseconds of log time between two removals that nobody asked for.
    pub cleanup_pause_us: u64,
}

impl Default for ChangePolicy {
    fn default() -> Self {
        Self {
            lag_entries: 1_000,
            lag_us: 1_000_000,
            gate_ticks: 200,
            settle_ticks: 1_200,
            return_ticks: 200,
            tick_us: 50_000,
            cleanup_pause_us: 3_600_000_000,
        }
    }
}

/// When a snapshot is saved and how much of the log stays behind it.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotPolicy {
    /// Save one after this many entries,
    pub every_entries: u64,
    /// or after this many bytes of them.
    pub every_bytes: u64,
    /// Keep at most this many entries that a snapshot already holds, for peers that lag,
    pub keep_entries: u64,
    /// and at most this many bytes of them.
    pub keep_bytes: u64,
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        Self {
            every_entries: 50_000,
            every_bytes: 64 << 20,
            keep_entries: 20_000,
            keep_bytes: 64 << 20,
        }
    }
}
