//! The words that every layer of the crate shares.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names one data folder's replica for ever; never zero, never used again after its disk is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaId(pub u64);

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Names one group; replicas of different groups refuse each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId(pub u128);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Log time: microseconds since the Unix epoch as the leader stamped them. Strictly rising with the
/// log position; may stand still between entries, never runs back.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(pub u64);

/// One request of one replica's process, for exactly-once application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// The replica that took the request from its client.
    pub replica: ReplicaId,
    /// Which start of that replica's process: rises by one with every start.
    pub incarnation: u64,
    /// Rises by one with every request of that process, from 1.
    pub sequence: u64,
}

/// A replica as the others find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub id: ReplicaId,
    /// What people call it, unique in the group.
    pub name: String,
    /// `host:port` of its peer listener; looked up again at every dial.
    pub address: String,
}
