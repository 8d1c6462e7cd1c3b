//! What a replica's core shows to the outside.

use std::{collections::BTreeMap, time::Duration};

use metrics::{Gauge, gauge};

use crate::{
    core::{CoreStatus, MemberStatus, Role},
    members::GroupRecord,
    types::ReplicaId,
};

/// A peer heard of within so many ticks counts as alive.
const ALIVE_TICKS: u64 = 40;

pub(crate) struct Gauges {
    is_leader: Gauge,
    has_leader: Gauge,
    term: Gauge,
    commit: Gauge,
    applied: Gauge,
    last: Gauge,
    log_bytes: Gauge,
    tolerance: Gauge,
    alive: Gauge,
    silent: Gauge,
    observers_alive: Gauge,
    observers_silent: Gauge,
    me: ReplicaId,
    peers: BTreeMap<ReplicaId, (Gauge, Gauge)>,
}

impl Gauges {
    pub(crate) fn new(me: ReplicaId, record: &GroupRecord) -> Self {
        let mut gauges = Self::of(me);
        gauges.set_members(record);
        gauges
    }

    /// A member that is gone is shown as nothing, not as its last value.
    pub(crate) fn set_members(&mut self, record: &GroupRecord) {
        for (_, (lag, contact)) in
            self.peers.extract_if(.., |id, _| !record.members.contains_key(id))
        {
            lag.set(f64::NAN);
            contact.set(f64::NAN);
        }
        for member in record.members.values().map(|record| &record.member) {
            if member.id == self.me {
                continue;
            }
            self.peers.entry(member.id).or_insert_with(|| {
                let name = member.name.clone();
                let lag = gauge!("muster_raft_peer_lag_entries", "peer" => name.clone());
                let contact = gauge!("muster_raft_peer_last_contact_seconds", "peer" => name);
                (lag, contact)
            });
        }
    }

    fn of(me: ReplicaId) -> Self {
        let members = |role, state| gauge!("muster_raft_members", "role" => role, "state" => state);
        Self {
            is_leader: gauge!("muster_raft_is_leader"),
            has_leader: gauge!("muster_raft_has_leader"),
            term: gauge!("muster_raft_term"),
            commit: gauge!("muster_raft_commit_index"),
            applied: gauge!("muster_raft_applied_index"),
            last: gauge!("muster_raft_last_log_index"),
            log_bytes: gauge!("muster_raft_log_size_bytes"),
            tolerance: gauge!("muster_raft_failure_tolerance"),
            alive: members("voter", "alive"),
            silent: members("voter", "silent"),
            observers_alive: members("observer", "alive"),
            observers_silent: members("observer", "silent"),
            me,
            peers: BTreeMap::new(),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; 2^53 entries are far off")]
    pub(crate) fn set(&self, core: &CoreStatus, applied: u64, tick: Duration) {
        let leads = core.leadership.role == Role::Leader;
        self.is_leader.set(f64::from(u8::from(leads)));
        self.has_leader.set(f64::from(u8::from(core.leadership.leader.is_some())));
        self.term.set(core.leadership.term as f64);
        self.commit.set(core.commit as f64);
        self.applied.set(applied as f64);
        self.last.set(core.last_index as f64);
        self.log_bytes.set(core.log_bytes as f64);
        let heard =
            |member: &&MemberStatus| member.last_contact.is_some_and(|ticks| ticks <= ALIVE_TICKS);
        let (voters, observers): (Vec<&MemberStatus>, Vec<&MemberStatus>) =
            core.members.iter().partition(|member| member.voter);
        let alive = voters.iter().copied().filter(heard).count();
        let quorum = voters.len() / 2 + 1;
        self.alive.set(alive as f64);
        self.silent.set((voters.len() - alive) as f64);
        let alive_too = observers.iter().copied().filter(heard).count();
        self.observers_alive.set(alive_too as f64);
        self.observers_silent.set((observers.len() - alive_too) as f64);
        // Only the leader hears from everybody.
        self.tolerance.set(if leads { alive.saturating_sub(quorum) as f64 } else { f64::NAN });
        for member in &core.members {
            let Some((lag, contact)) = self.peers.get(&member.id) else { continue };
            let behind = member.matched.map(|matched| core.last_index.saturating_sub(matched));
            lag.set(behind.map_or(f64::NAN, |entries| entries as f64));
            let silence = member.last_contact.filter(|_| leads);
            contact.set(silence.map_or(f64::NAN, |ticks| ticks as f64 * tick.as_secs_f64()));
        }
    }
}
