//! Raft's configuration in the record's words, and both as they are kept in snapshots and logs.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;

use super::{GroupRecord, wire};
use crate::types::ReplicaId;

/// Who counts for an agreement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conf {
    /// The voters; while two configurations hold, those of the coming one.
    pub voters: BTreeSet<ReplicaId>,
    /// Those who receive the log without a vote.
    pub learners: BTreeSet<ReplicaId>,
    /// While two configurations hold, the voters of the going one; both majorities must agree.
    pub outgoing: BTreeSet<ReplicaId>,
    /// Voters of the going configuration who become learners.
    pub learners_next: BTreeSet<ReplicaId>,
}

impl Conf {
    /// Of voters alone.
    pub fn of_voters(voters: impl IntoIterator<Item = ReplicaId>) -> Self {
        Self { voters: voters.into_iter().collect(), ..Self::default() }
    }

    /// Whether two configurations hold at once.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether this replica has any part in it.
    pub fn contains(&self, id: ReplicaId) -> bool {
        [&self.voters, &self.learners, &self.outgoing, &self.learners_next]
            .into_iter()
            .any(|part| part.contains(&id))
    }

    /// Whether this replica is a voter of either configuration.
    pub fn votes(&self, id: ReplicaId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    /// Everybody in it.
    pub fn everybody(&self) -> BTreeSet<ReplicaId> {
        let parts = [&self.voters, &self.learners, &self.outgoing, &self.learners_next];
        parts.into_iter().flatten().copied().collect()
    }

    /// Whether `fit` holds for a majority of each configuration.
    pub fn is_quorum(&self, fit: impl Fn(ReplicaId) -> bool) -> bool {
        [&self.voters, &self.outgoing].into_iter().all(|voters| {
            voters.is_empty() || voters.iter().filter(|id| fit(**id)).count() > voters.len() / 2
        })
    }
}

/// Configuration and record at one entry of the log. Its bytes begin like raft's own `ConfState`:
/// what was written before there was a record can be read, and says only who the voters are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredConf {
    /// The configuration.
    pub conf: Conf,
    /// The record; `None` while it only says what the settings say.
    pub record: Option<GroupRecord>,
}

impl StoredConf {
    /// As bytes.
    pub fn encode(&self) -> Bytes {
        let ids = |part: &BTreeSet<ReplicaId>| part.iter().map(|id| id.0).collect();
        wire::StoredConf {
            voters: ids(&self.conf.voters),
            learners: ids(&self.conf.learners),
            outgoing: ids(&self.conf.outgoing),
            learners_next: ids(&self.conf.learners_next),
            auto_leave: false,
            record: self.record.as_ref().map(wire::Record::from),
        }
        .encode_to_vec()
        .into()
    }

    /// The inverse of [`StoredConf::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, prost::DecodeError> {
        let stored = wire::StoredConf::decode(bytes)?;
        let ids = |part: Vec<u64>| part.into_iter().map(ReplicaId).collect();
        Ok(Self {
            conf: Conf {
                voters: ids(stored.voters),
                learners: ids(stored.learners),
                outgoing: ids(stored.outgoing),
                learners_next: ids(stored.learners_next),
            },
            record: stored.record.map(GroupRecord::from),
        })
    }
}
