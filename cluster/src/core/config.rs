//! What a core is told once.

use crate::types::{GroupId, ReplicaId};

/// Settings of one core. Durations are counted in ticks.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// The group.
    pub group: GroupId,
    /// This replica.
    pub me: ReplicaId,
    /// Which start of this replica's process it is.
    pub incarnation: u64,
    /// All voters, this replica among them.
    pub voters: Vec<ReplicaId>,
    /// Seeds the election timeouts. Two cores of one seed, id and history act alike.
    pub seed: u64,
    /// Silence of the leader before an election; the drawn timeout is up to twice that.
    pub election_ticks: u32,
    /// Between two heartbeats of the leader.
    pub heartbeat_ticks: u32,
    /// When to save a snapshot and how much log to keep behind it.
    pub snapshot: SnapshotPolicy,
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
