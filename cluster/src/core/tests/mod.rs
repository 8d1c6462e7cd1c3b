//! The core in a network of one thread, alone at the edge of what raft-rs bears, and under nonsense.

mod members;
mod net;
mod nonsense;
mod rules;
mod scenarios;

use super::{ChangePolicy, Core, CoreConfig, Input, Output, SnapshotPolicy};
use crate::{
    log::LoadedLog,
    types::{GroupId, Member, ReplicaId, Timestamp},
};

const NEVER: SnapshotPolicy = SnapshotPolicy {
    every_entries: u64::MAX,
    every_bytes: u64::MAX,
    keep_entries: 10,
    keep_bytes: 1 << 20,
};

fn member(id: u64) -> Member {
    Member { id: ReplicaId(id), name: format!("r{id}"), address: format!("r{id}:1") }
}

fn lone_core(voters: &[u64]) -> Core {
    let config = CoreConfig {
        group: GroupId(5),
        me: ReplicaId(1),
        incarnation: 1,
        founders: voters.iter().copied().map(member).collect(),
        members: voters.iter().copied().map(member).collect(),
        state_format: 1,
        seed: 1,
        election_ticks: 10,
        heartbeat_ticks: 2,
        snapshot: NEVER,
        changes: ChangePolicy::default(),
    };
    Core::new(config, LoadedLog::default(), None).unwrap()
}

fn step(core: &mut Core, input: Input) -> Vec<Output> {
    let mut out = Vec::new();
    core.step(Timestamp(1), [input], &mut out).unwrap();
    out
}
