//! How a core is doing.

use raft::StateRole;

use super::{Core, fitness::Waits, io::Leadership};
use crate::types::ReplicaId;

/// A core at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreStatus {
    /// Who leads.
    pub leadership: Leadership,
    /// Index up to which the log is known to be committed.
    pub commit: u64,
    /// Index up to which the state machine is known to be.
    pub applied: u64,
    /// First entry still in the log.
    pub first_index: u64,
    /// Last entry of the log.
    pub last_index: u64,
    /// Bytes of the entries in the log.
    pub log_bytes: u64,
    /// Ticks since the start.
    pub ticks: u64,
    /// Ticks since the leader was last heard; 0 on the leader, `None` without one.
    pub leader_seen: Option<u64>,
    /// Everybody in the group.
    pub members: Vec<MemberStatus>,
    /// Majorities of two configurations must agree: a change cannot be given up now.
    pub joint: bool,
    /// The change under way is, see [`crate::members::GroupRecord::is_half_done`].
    pub half_done: bool,
    /// Messages of peers that were not fit to be looked at.
    pub dropped: u64,
}

/// A member as this replica sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Which one.
    pub id: ReplicaId,
    /// Whether it votes.
    pub voter: bool,
    /// Index up to which its log agrees; known on the leader only.
    pub matched: Option<u64>,
    /// Ticks since it was last heard; `None` if never, 0 for this replica itself.
    pub last_contact: Option<u64>,
    /// Why it is an observer still; known on the leader only.
    pub waits: Option<Waits>,
}

impl Core {
    /// How it is doing now.
    pub fn status(&self) -> CoreStatus {
        let raft = &self.node.raft;
        let leads = raft.state == StateRole::Leader;
        let last_contact = |id: ReplicaId| {
            if id == self.config.me {
                return Some(0);
            }
            self.contacts.get(&id).map(|heard| self.ticks - heard)
        };
        let conf = &self.record.conf;
        let members = self
            .record
            .group
            .members
            .iter()
            .map(|(&id, member)| MemberStatus {
                id,
                voter: conf.votes(id),
                matched: leads.then(|| raft.prs().get(id.0).map_or(0, |peer| peer.matched)),
                last_contact: last_contact(id),
                waits: self.waits(member),
            })
            .collect();
        CoreStatus {
            leadership: self.leadership,
            commit: raft.raft_log.committed,
            applied: self.snapshots.applied_index(),
            first_index: self.node.store().first(),
            last_index: raft.raft_log.last_index(),
            log_bytes: self.node.store().bytes(),
            ticks: self.ticks,
            leader_seen: self.leadership.leader.and_then(last_contact),
            members,
            joint: conf.is_joint(),
            half_done: self.record.group.is_half_done(conf),
            dropped: self.dropped,
        }
    }
}
