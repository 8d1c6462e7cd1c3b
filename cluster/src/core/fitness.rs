//! Whether an observer would be of use as a voter: what it says of itself, and what its leader sees of
//! it. An observer tells its leader its formats and how its disk is with every heartbeat; what it said
//! is the leader's own knowledge and no part of the record, so every leader learns it anew.

use std::fmt;

use raft::{ProgressState, StateRole};

use super::{
    Core, Output,
    message::{Condition, Kind, PeerMessage},
};
use crate::{
    disk::DiskHealth,
    members::{self, MAX_VOTERS, MemberRecord, Refusal},
    net::Lane,
    types::{ReplicaId, Timestamp},
};

/// The newest formats that a program applies alike with the others of its release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Formats {
    /// Of the group's own commands, [`members::FORMAT`].
    pub group: u32,
    /// Of the state machine's, [`crate::machine::StateMachine::FORMAT`].
    pub state: u32,
}

impl Formats {
    /// Whether all that `other` writes is understood.
    fn cover(self, other: Self) -> bool {
        self.group >= other.group && self.state >= other.state
    }
}

impl fmt::Display for Formats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.group, self.state)
    }
}

/// Why an observer is of no use as a voter at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It was not heard of within the time of two heartbeats.
    Silent,
    /// A snapshot is on its way to it.
    Installing,
    /// It lacks so many entries.
    Entries(u64),
    /// It lacks so many microseconds of log time; `None`: more than the leader's log reaches back.
    Behind(Option<u64>),
    /// It has not said yet how it is.
    Untold,
    /// Its program is older than the leader's.
    Outdated {
        /// What it understands,
        its: Formats,
        /// and what the leader writes.
        ours: Formats,
    },
    /// Its disk would not do.
    Disk(DiskHealth),
}

impl Unfit {
    /// What a wish to promote it is refused with.
    pub(super) fn refusal(self, replica: ReplicaId) -> Refusal {
        match self {
            Self::Outdated { .. } => Refusal::Outdated(replica),
            Self::Disk(health) => Refusal::Disk { replica, health },
            _ => Refusal::NotCaughtUp(replica),
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("the leader does not hear of it"),
            Self::Installing => f.write_str("a snapshot is on its way to it"),
            Self::Entries(lag) => write!(f, "it lacks {lag} entries of the log"),
            Self::Behind(Some(us)) => write!(f, "it is {} ms behind the log", us / 1000),
            Self::Behind(None) => f.write_str("it is further behind than the log reaches back"),
            Self::Untold => f.write_str("it has not said yet how its disk is"),
            Self::Outdated { its, ours } => write!(
                f,
                "its program understands the formats {its}, the leader's writes {ours}: upgrade it"
            ),
            Self::Disk(health) => write!(f, "its disk {health}"),
        }
    }
}

/// Why an observer is not promoted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// It would be of no use.
    Unfit(Unfit),
    /// It has been fit, but not for long enough.
    Gate {
        /// So many ticks more.
        ticks: u64,
    },
    /// It was let in to stay an observer.
    Standby,
    /// The member whose name it bears is in contact.
    Namesake(ReplicaId),
    /// There are as many voters as are wanted.
    Enough,
    /// The number of voters would be even.
    Even,
    /// Nothing: it is its turn, or that of a change under way.
    Turn,
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfit(unfit) => unfit.fmt(f),
            Self::Gate { .. } => f.write_str("it has to keep up for a while first"),
            Self::Standby => f.write_str("it is a standby until somebody promotes it"),
            Self::Namesake(id) => {
                write!(f, "the replica {id} of the same name is in contact: remove that one first")
            }
            Self::Enough => f.write_str("there are as many voters as are wanted"),
            Self::Even => f.write_str(
                "the number of voters would be even: let one more replica join, or promote it by force",
            ),
            Self::Turn => f.write_str("it is about to be"),
        }
    }
}

impl Core {
    fn formats(&self) -> Formats {
        Formats { group: members::FORMAT, state: self.config.state_format }
    }

    /// Tells the leader how this replica is, if it waits for a vote.
    pub(super) fn tell_condition(&self, out: &mut Vec<Output>) {
        let me = self.config.me;
        let due = self.ticks.is_multiple_of(u64::from(self.config.heartbeat_ticks.max(1)));
        let leader = self.leadership.leader.filter(|leader| *leader != me);
        let Some(to) = leader.filter(|_| due && !self.record.conf.votes(me)) else { return };
        let condition = Condition::new(self.formats(), self.disk);
        let payload = PeerMessage::payload(Kind::Condition(condition));
        out.push(Output::Send { to, lane: Lane::Control, payload });
    }

    /// A peer said how it is.
    pub(super) fn told_condition(&mut self, from: ReplicaId, condition: Condition) {
        if self.node.raft.state == StateRole::Leader && self.record.conf.contains(from) {
            self.changes.told(from, condition);
        }
    }

    /// What keeps an observer from being of use as a voter now.
    pub(super) fn unfit(&self, id: ReplicaId, now: Timestamp) -> Option<Unfit> {
        self.lags(id, now).or_else(|| {
            let Some(condition) = self.changes.condition(id) else { return Some(Unfit::Untold) };
            let (its, ours) = (condition.formats(), self.formats());
            if !its.cover(ours) {
                return Some(Unfit::Outdated { its, ours });
            }
            let disk = condition.disk();
            (disk != DiskHealth::Sound).then_some(Unfit::Disk(disk))
        })
    }

    /// What keeps an observer from being level with the log.
    pub(super) fn lags(&self, id: ReplicaId, now: Timestamp) -> Option<Unfit> {
        let raft = &self.node.raft;
        let policy = self.config.changes;
        let heartbeats = u64::from(self.config.heartbeat_ticks) * 2;
        let peer = raft.prs().get(id.0);
        let heard = self.silence(id).is_some_and(|ticks| ticks <= heartbeats);
        let Some(peer) = peer.filter(|_| heard) else { return Some(Unfit::Silent) };
        if peer.state == ProgressState::Snapshot {
            return Some(Unfit::Installing);
        }
        let lag = raft.raft_log.last_index().saturating_sub(peer.matched);
        if lag >= policy.lag_entries {
            return Some(Unfit::Entries(lag));
        }
        // The oldest entry that it lacks tells how far back it is.
        if lag == 0 {
            return None;
        }
        if peer.matched + 1 < self.node.store().first() {
            return Some(Unfit::Behind(None));
        }
        let stamp = self.node.store().stamp_at(peer.matched + 1);
        let behind = stamp.map_or(0, |stamp| now.0.saturating_sub(stamp.0));
        (behind >= policy.lag_us).then_some(Unfit::Behind(Some(behind)))
    }

    /// Why this observer does not vote yet; known to the leader only.
    pub(super) fn waits(&self, record: &MemberRecord) -> Option<Waits> {
        let id = record.member.id;
        if self.node.raft.state != StateRole::Leader || self.record.conf.votes(id) {
            return None;
        }
        if let Some(unfit) = self.changes.unfit(id) {
            return Some(Waits::Unfit(unfit));
        }
        let gate = self.config.changes.gate_ticks;
        let kept_up = self.changes.fit_for(id, self.ticks).unwrap_or(0);
        if kept_up < gate {
            return Some(Waits::Gate { ticks: gate - kept_up });
        }
        if record.standby {
            return Some(Waits::Standby);
        }
        if let Some(old) = record.replaces {
            return Some(if self.in_contact(old) { Waits::Namesake(old) } else { Waits::Turn });
        }
        Some(self.waits_for_number())
    }

    fn waits_for_number(&self) -> Waits {
        let voters = self.record.conf.voters.len();
        let more = if voters.is_multiple_of(2) { 1 } else { 2 };
        if voters + more > self.voters_wanted() {
            return Waits::Enough;
        }
        if self.promotable().count() >= more { Waits::Turn } else { Waits::Even }
    }

    /// Voters up to which observers are promoted by themselves.
    pub(super) fn voters_wanted(&self) -> usize {
        match self.record.group.target as usize {
            0 => MAX_VOTERS,
            target => target.min(MAX_VOTERS),
        }
    }
}
