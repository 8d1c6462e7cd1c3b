//! The controller of the members: on the leader, it takes the change under way to its next step when
//! that is safe, or gives it up; and it wishes for changes itself where the record says so.
//!
//! What it knows beside the record (who is in contact, who keeps up) is a leader's own and is gained
//! anew by every leader; a leader that does not know yet waits.

use std::collections::BTreeMap;

use muster_hooks::mutant;
use protobuf::Message as _;
use raft::{
    StateRole,
    eraftpb::{Entry, EntryType, Message, MessageType},
};

use super::{Core, conf, fitness::Unfit, message::Condition};
use crate::{
    members::{Command, Conf, MemberRole, Refusal, Step, Wish},
    sessions::{self, Envelope},
    types::{ReplicaId, RequestId, Timestamp},
};

/// Voters below which nobody is removed that nobody wants removed.
const CLEANUP_VOTERS: usize = 4;

/// What a leader knows of the changes. Counted in ticks.
#[derive(Default)]
pub(super) struct Changes {
    /// The term it leads, and since when.
    leads: Option<(u64, u64)>,
    /// Since when each observer has been fit to vote.
    fit_since: BTreeMap<ReplicaId, u64>,
    /// What keeps the others from it.
    unfit: BTreeMap<ReplicaId, Unfit>,
    /// What members said of themselves.
    conditions: BTreeMap<ReplicaId, Condition>,
    /// The change under way, and since when this leader looks after it.
    looked: Option<(u64, u64)>,
    /// It wishes nothing of its own before this.
    not_before: u64,
    /// When each member came back.
    returned: BTreeMap<ReplicaId, u64>,
}

impl Changes {
    pub(super) fn returned(&mut self, peer: ReplicaId, tick: u64) {
        self.returned.insert(peer, tick);
        // It may be another program now, on another disk.
        self.conditions.remove(&peer);
    }

    pub(super) fn told(&mut self, peer: ReplicaId, condition: Condition) {
        self.conditions.insert(peer, condition);
    }

    pub(super) fn condition(&self, id: ReplicaId) -> Option<Condition> {
        self.conditions.get(&id).copied()
    }

    /// What kept an observer from voting when this was last looked at.
    pub(super) fn unfit(&self, id: ReplicaId) -> Option<Unfit> {
        self.unfit.get(&id).copied()
    }

    /// Ticks for which an observer has been fit without a break.
    pub(super) fn fit_for(&self, id: ReplicaId, now: u64) -> Option<u64> {
        self.fit_since.get(&id).map(|since| now - since)
    }
}

impl Core {
    /// Takes the members one step on, if this replica leads and a step is due.
    pub(super) fn control(&mut self, now: Timestamp) {
        let raft = &self.node.raft;
        if raft.state != StateRole::Leader {
            self.changes = Changes::default();
            return;
        }
        let (term, tick) = (raft.term, self.ticks);
        if self.changes.leads.is_none_or(|(led, _)| led != term) {
            self.changes = Changes { leads: Some((term, tick)), ..Changes::default() };
        }
        self.watch_observers(now);
        let raft = &self.node.raft;
        // A step that is not applied yet, or that a leader before this one may have appended.
        let unsettled = raft.has_pending_conf() || !raft.commit_to_current_term();
        if unsettled || raft.lead_transferee.is_some() || self.is_clogged() {
            return;
        }
        match self.record.group.next_step(&self.record.conf) {
            Some(step) => self.take_step(&step, now),
            None => self.wish_by_itself(now),
        }
    }

    fn leads_for(&self) -> u64 {
        self.changes.leads.map_or(0, |(_, since)| self.ticks - since)
    }

    /// Ticks since a member was last heard; `None` if not since this replica leads.
    pub(super) fn silence(&self, id: ReplicaId) -> Option<u64> {
        if id == self.config.me {
            return Some(0);
        }
        self.contacts.get(&id).map(|heard| self.ticks - heard)
    }

    pub(super) fn in_contact(&self, id: ReplicaId) -> bool {
        self.silence(id).is_some_and(|ticks| ticks <= u64::from(self.config.election_ticks))
    }

    fn watch_observers(&mut self, now: Timestamp) {
        let observers: Vec<ReplicaId> = self.record.conf.learners.iter().copied().collect();
        self.changes.fit_since.retain(|id, _| observers.contains(id));
        self.changes.unfit.retain(|id, _| observers.contains(id));
        self.changes.conditions.retain(|id, _| observers.contains(id));
        for id in observers {
            if let Some(unfit) = self.unfit(id, now) {
                self.changes.fit_since.remove(&id);
                self.changes.unfit.insert(id, unfit);
            } else {
                self.changes.fit_since.entry(id).or_insert(self.ticks);
                self.changes.unfit.remove(&id);
            }
        }
    }

    /// Proposes the next step, waits, or gives the change up.
    fn take_step(&mut self, step: &Step, now: Timestamp) {
        let after = step.after(&self.record.conf);
        let change = self.record.group.change.as_ref();
        let (id, force) = change.map_or((0, false), |change| (change.id, change.force));
        if self.changes.looked.is_none_or(|(looked, _)| looked != id) {
            self.changes.looked = Some((id, self.ticks));
        }
        let waited = self.changes.looked.map_or(0, |(_, since)| self.ticks - since);
        if !after.voters.contains(&self.config.me) {
            // Never without a leader: it hands over first, and its successor goes on.
            match self.successor(|other| after.voters.contains(&other)) {
                Some(to) => self.node.transfer_leader(to.0),
                None if waited < self.config.changes.gate_ticks => {}
                None => self.give_up(id, Refusal::Leads(self.config.me), now),
            }
            return;
        }
        if let Some(refusal) = self.below_quorum(&after).filter(|_| !force) {
            // A new leader has not heard of everybody yet.
            if self.leads_for() > u64::from(self.config.election_ticks) * 2 {
                self.give_up(id, refusal, now);
            }
            return;
        }
        let refusal = step.promotes().iter().find_map(|new| {
            let unfit = self.unfit(*new, now)?;
            Some(unfit.refusal(*new))
        });
        if let Some(refusal) = refusal.filter(|_| !mutant!(PromoteUncaught)) {
            if waited > self.config.changes.gate_ticks {
                self.give_up(id, refusal, now);
            }
            return;
        }
        self.propose_step(step, now);
    }

    /// Whether a change of voters would leave too few of them in contact.
    fn below_quorum(&self, after: &Conf) -> Option<Refusal> {
        if after.voters == self.record.conf.voters {
            return None;
        }
        let healthy = after.voters.iter().filter(|id| self.in_contact(**id)).count() as u64;
        let needed = after.voters.len() as u64 / 2 + 1;
        (healthy < needed).then_some(Refusal::BelowQuorum { healthy, needed })
    }

    /// Changes that the record asks for by itself: whoever came in takes a dead namesake's place or
    /// becomes a voter, and whoever is silent for long gives way.
    fn wish_by_itself(&mut self, now: Timestamp) {
        if self.ticks < self.changes.not_before {
            return;
        }
        let wish = self.replacement().or_else(|| self.promotion()).or_else(|| self.clean_up(now));
        if let Some(command) = wish {
            self.changes.not_before = self.ticks + self.config.changes.gate_ticks.max(1);
            self.propose_wish(command, now);
        }
    }

    /// Observers that have kept up for long enough.
    fn fit(&self) -> impl Iterator<Item = ReplicaId> {
        let gate = self.config.changes.gate_ticks;
        let fit = self.changes.fit_since.iter();
        fit.filter(move |(_, since)| self.ticks - **since >= gate).map(|(id, _)| *id)
    }

    fn replacement(&self) -> Option<Command> {
        let members = &self.record.group.members;
        members.values().find_map(|record| {
            let new = record.member.id;
            let old = record.replaces.filter(|old| !self.in_contact(*old))?;
            match members.get(&old)?.role {
                MemberRole::Observer => Some(Command::Remove { ids: vec![old], force: false }),
                MemberRole::Voter => self.fit().any(|fit| fit == new).then_some(Command::Replace {
                    old,
                    new,
                    force: false,
                }),
            }
        })
    }

    /// Always to an odd number of voters: an even one bears no more failures than the odd one below.
    fn promotion(&self) -> Option<Command> {
        let voters = self.record.conf.voters.len();
        let more = if voters.is_multiple_of(2) { 1 } else { 2 };
        let ids: Vec<ReplicaId> = self.promotable().take(more).collect();
        (ids.len() == more && voters + more <= self.voters_wanted())
            .then_some(Command::Promote { ids, force: false })
    }

    /// Fit observers that nobody wants to remain observers.
    pub(super) fn promotable(&self) -> impl Iterator<Item = ReplicaId> {
        let members = &self.record.group.members;
        self.fit().filter(|id| {
            members.get(id).is_some_and(|record| !record.standby && record.replaces.is_none())
        })
    }

    /// Strict: better one dead voter too many than a living one removed.
    fn clean_up(&self, now: Timestamp) -> Option<Command> {
        let group = &self.record.group;
        let policy = self.config.changes;
        let dead_after = group.dead_after?;
        let voters = &self.record.conf.voters;
        let calm = self.leads_for() >= policy.settle_ticks
            && self.changes.returned.values().all(|at| self.ticks - at >= policy.return_ticks)
            && now.0 >= group.cleaned.0.saturating_add(policy.cleanup_pause_us);
        let wanted = voters.len().max(group.target as usize);
        let healthy = voters.iter().filter(|id| self.in_contact(**id)).count();
        if !calm || voters.len() < CLEANUP_VOTERS || healthy <= wanted / 2 {
            return None;
        }
        let silent = |id: &&ReplicaId| {
            let ticks = self.silence(**id).unwrap_or(u64::MAX).min(self.leads_for());
            ticks.saturating_mul(policy.tick_us) > dead_after
        };
        let dead = voters.iter().find(silent).copied()?;
        let zone = |id: ReplicaId| group.members.get(&id).map(|record| record.zone.as_str());
        let may = |id: &ReplicaId| group.members.get(id).is_some_and(|record| !record.standby);
        let with = self.fit().filter(may).max_by_key(|id| zone(*id) == zone(dead))?;
        Some(Command::CleanUp { dead, with })
    }

    fn give_up(&mut self, change: u64, why: Refusal, now: Timestamp) {
        if self.ticks < self.changes.not_before || self.record.group.change.is_none() {
            return;
        }
        self.changes.not_before = self.ticks + u64::from(self.config.election_ticks);
        self.propose_wish(Command::Abandon { change, why, only_whole: false }, now);
    }

    fn propose_wish(&mut self, command: Command, now: Timestamp) {
        let group = &self.record.group;
        let founders = if group.revision == 0 { group.founders.clone() } else { Vec::new() };
        let request = RequestId {
            replica: self.config.me,
            incarnation: self.config.incarnation,
            sequence: 0,
        };
        let wish = Wish { founders, command }.encode();
        let data = Envelope::of_wish(request, 0, wish).write();
        let context = sessions::stamp_of_wish(self.proposals.next_stamp(now));
        self.propose_own(Entry { data, context, ..Entry::default() });
    }

    fn propose_step(&mut self, step: &Step, now: Timestamp) {
        let Ok(data) = conf::change_of(step).write_to_bytes() else { return };
        let context = sessions::stamp(self.proposals.next_stamp(now));
        let mut entry = Entry { data: data.into(), context, ..Entry::default() };
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        self.propose_own(entry);
    }

    /// If raft does not take it, it is proposed again: what is due is looked at every tick.
    fn propose_own(&mut self, entry: Entry) {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.config.me.0;
        message.set_entries(vec![entry].into());
        let _taken = self.node.step(message);
    }
}
