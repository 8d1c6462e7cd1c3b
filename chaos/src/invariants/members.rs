//! MEM-1: a leader was elected by a quorum of its own configuration, and by nobody who was removed
//! from it. MEM-2: one step at a time leads from one configuration to the next, so that their quorums
//! meet. MEM-3: at one entry every replica has the same record. MEM-4: whoever was a member and is
//! none has a tombstone, for ever. MEM-5: nobody becomes a voter who lags.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_cluster::members::{Conf, GroupRecord, StoredConf};
use muster_cluster::types::ReplicaId;

use super::votes::Votes;
use super::{Violation, require};
use crate::network::Place;
use crate::replica::{id_of, place_of};
use crate::shadow::{Fold, Model};

/// What is known of the members, by the entry that last changed it.
#[derive(Debug)]
pub(crate) struct Members {
    beginning: Conf,
    seen: BTreeMap<u64, Seen>,
}

#[derive(Debug)]
struct Seen {
    hash: u64,
    conf: Conf,
    record: Arc<GroupRecord>,
}

/// Whether `id` is the only voter.
pub(crate) fn is_alone(conf: &Conf, id: ReplicaId) -> bool {
    !conf.is_joint() && conf.voters.len() == 1 && conf.voters.contains(&id)
}

impl Members {
    pub(crate) fn new(founders: usize) -> Self {
        let beginning = Conf::of_voters((0..founders).map(id_of));
        Self { beginning, seen: BTreeMap::new() }
    }

    /// The configurations under which the entry at `index` may have been agreed on: a step takes
    /// effect when it is applied, so the one before it may still have counted.
    pub(crate) fn confs_at(&self, index: u64) -> Vec<Conf> {
        let mut confs: Vec<Conf> = Vec::new();
        let before = self.seen.range(..index).rev().map(|(_, seen)| &seen.conf);
        for conf in before.chain([&self.beginning]) {
            if confs.last() != Some(conf) {
                confs.push(conf.clone());
            }
            if confs.len() == 2 {
                break;
            }
        }
        confs
    }

    /// The record that anybody knows of.
    pub(crate) fn newest(&self) -> Option<&Arc<GroupRecord>> {
        self.seen.last_key_value().map(|(_, seen)| &seen.record)
    }

    /// The configuration that anybody knows of.
    pub(crate) fn conf(&self) -> &Conf {
        self.seen.last_key_value().map_or(&self.beginning, |(_, seen)| &seen.conf)
    }

    /// `place` leads `term`.
    pub(crate) fn leads(
        place: Place,
        term: u64,
        conf: &Conf,
        votes: &Votes,
    ) -> Result<(), Violation> {
        let id = id_of(place);
        // The only voter asks nobody.
        let fit = |voter: ReplicaId| votes.gave(place_of(voter), term, id.0);
        require(is_alone(conf, id) || conf.is_quorum(fit), "MEM-1", || {
            format!("replica {place} leads term {term} without a quorum of {conf:?}")
        })
    }

    /// `place` has this record and configuration now. `disks` tells what a replica's disk holds, and
    /// `lag` how many entries a new voter may lack.
    pub(crate) fn recorded<'a>(
        &mut self,
        place: Place,
        record: &Arc<GroupRecord>,
        conf: &Conf,
        lag: u64,
        disk: impl Fn(Place) -> Option<&'a Model>,
    ) -> Result<(), Violation> {
        let index = record.revision;
        let stored = StoredConf { conf: conf.clone(), record: Some(GroupRecord::clone(record)) };
        let mut fold = Fold::new();
        fold.add(&stored.encode());
        let hash = fold.value();
        if let Some(seen) = self.seen.get(&index) {
            return require(seen.hash == hash, "MEM-3", || {
                format!("replica {place} has another record at entry {index} than the others")
            });
        }
        let before = self.conf();
        require(is_one_step(before, conf), "MEM-2", || {
            format!("entry {index} leads from {before:?} to {conf:?}")
        })?;
        for id in conf.voters.iter().filter(|id| !before.votes(**id)) {
            let last = disk(place_of(*id)).map_or(0, Model::last_index);
            require(last + lag + 1 >= index, "MEM-5", || {
                format!("replica {} votes from entry {index} on, but ends at {last}", place_of(*id))
            })?;
        }
        if let Some(before) = self.newest() {
            let forgotten = |id: &&ReplicaId| {
                !record.members.contains_key(id) && !record.tombstones.contains_key(id)
            };
            let known = before.members.keys().chain(before.tombstones.keys());
            let lost = known.clone().find(forgotten);
            let back = before.tombstones.keys().find(|id| record.members.contains_key(id));
            require(lost.is_none() && back.is_none(), "MEM-4", || {
                format!("entry {index} forgets {lost:?} and brings back {back:?}")
            })?;
        }
        let record = Arc::clone(record);
        self.seen.insert(index, Seen { hash, conf: conf.clone(), record });
        Ok(())
    }
}

/// Whether quorums of both meet.
fn is_one_step(before: &Conf, after: &Conf) -> bool {
    match (before.is_joint(), after.is_joint()) {
        (false, false) => before.voters.symmetric_difference(&after.voters).count() <= 1,
        (false, true) => after.outgoing == before.voters,
        (true, false) => after.voters == before.voters,
        (true, true) => before == after,
    }
}
