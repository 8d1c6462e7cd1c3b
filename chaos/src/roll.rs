//! Members that come and go: who may run, what an operator wishes, and what the handshake refuses.
//!
//! A place is one data folder. Beyond the founders' places there are spare ones, fresh machines that
//! are let in one after the other. A wiped disk is a place that never runs again; a spare one comes
//! in under its name. So the id of a place never changes, as that of a data folder never does.

use std::collections::BTreeSet;
use std::sync::Arc;

use muster_cluster::core::{ChangePolicy, Proposal};
use muster_cluster::members::{Command, Conf, GroupRecord, Outcome, Refusal, Wish};
use muster_cluster::sessions::Envelope;
use muster_cluster::types::{Member, ReplicaId, RequestId};

use crate::agenda::{MILLIS, Micros, SECONDS};
use crate::chance::Chance;
use crate::invariants::{Violation, require};
use crate::network::Place;
use crate::replica::{id_of, place_of};
use crate::world::{Event, Local, World};

/// Seeds whose worlds were pinned, with what they find, before members came and went.
const STEADY: [u64; 2] = [1, 10_001];

/// How the members change.
#[derive(Clone, Debug)]
pub(crate) struct ChurnPlan {
    /// Every how many microseconds, on average; `None`: never.
    pub(crate) every: Option<Micros>,
    /// Machines that may come in.
    spares: usize,
    /// Of 1000 changes, how many begin with a disk that is wiped.
    wipe_permille: u64,
    /// Entries that a new voter may lack.
    lag_entries: u64,
}

impl ChurnPlan {
    pub(crate) fn grow(seed: u64) -> Self {
        let mut chance = Chance::stream(seed, "plan of members");
        let on = chance.permille(400) && !STEADY.contains(&seed);
        let every = chance.between(300, 2_000) * MILLIS;
        Self {
            every: on.then_some(every),
            spares: usize::try_from(chance.between(2, 6)).unwrap_or(2),
            wipe_permille: chance.pick(&[0, 100]).unwrap_or(0),
            lag_entries: chance.pick(&[5, 20]).unwrap_or(5),
        }
    }

    pub(crate) fn spares(&self) -> usize {
        if self.every.is_some() { self.spares } else { 0 }
    }

    /// Everything that takes long, in a moment.
    pub(crate) fn policy(&self, tick: Micros) -> ChangePolicy {
        ChangePolicy {
            lag_entries: self.lag_entries,
            lag_us: SECONDS,
            gate_ticks: 15,
            settle_ticks: 60,
            return_ticks: 20,
            tick_us: tick,
            cleanup_pause_us: SECONDS,
        }
    }
}

/// Who is in the group and who is not.
pub(crate) struct Roll {
    founders: usize,
    /// Founders, and those who were let in.
    let_in: BTreeSet<Place>,
    /// Their disks are gone.
    wiped: BTreeSet<Place>,
    /// They know that they were removed, and have shown twice that they do not come back.
    gone: BTreeSet<Place>,
}

impl Roll {
    pub(crate) fn new(founders: usize) -> Self {
        let (wiped, gone) = (BTreeSet::new(), BTreeSet::new());
        Self { founders, let_in: (0..founders).collect(), wiped, gone }
    }

    pub(crate) fn may_start(&self, place: Place) -> bool {
        self.let_in.contains(&place) && !self.wiped.contains(&place) && !self.gone.contains(&place)
    }

    /// Founders and members for a replica's settings.
    pub(crate) fn settings(&self) -> (Vec<Member>, Vec<Member>) {
        let founders = (0..self.founders).map(member_at).collect();
        (founders, self.let_in.iter().copied().map(member_at).collect())
    }
}

fn member_at(place: Place) -> Member {
    Member { id: id_of(place), name: format!("r{place}"), address: format!("r{place}:1") }
}

impl World {
    pub(crate) fn schedule_churn(&mut self) {
        if let Some(every) = self.plan.churn.every {
            let after = self.chance.members.between(every / 4, every * 7 / 4);
            self.agenda.after(after, Event::Churn);
        }
    }

    /// Somebody wishes for other members, at any replica.
    pub(crate) fn churn(&mut self) {
        if self.healed {
            return;
        }
        self.schedule_churn();
        if self.chance.members.permille(self.plan.churn.wipe_permille) {
            self.wipe();
        }
        let alive: Vec<Place> = self.places().filter(|place| self.alive(*place)).collect();
        let (Some(place), Some(command)) = (self.chance.members.pick(&alive), self.draw_wish())
        else {
            return;
        };
        self.say(|| format!("{place} is asked for {command:?}"));
        self.wish(place, command);
    }

    fn draw_wish(&mut self) -> Option<Command> {
        let conf = self.checks.members.conf().clone();
        let voters: Vec<ReplicaId> = conf.voters.iter().copied().collect();
        let observers: Vec<ReplicaId> = conf.learners.iter().copied().collect();
        let all: Vec<ReplicaId> = conf.everybody().into_iter().collect();
        let wiped = voters.iter().copied().find(|id| self.roll.wiped.contains(&place_of(*id)));
        // An even number is allowed now and then, but nothing that could leave dead voters behind.
        let force = self.chance.members.permille(200) && wiped.is_none();
        Some(match self.chance.members.below(11) {
            0..=3 => self.newcomer(wiped)?,
            4 | 5 => Command::Promote { ids: self.some(&observers), force },
            6 | 7 => Command::Remove { ids: self.some(&all), force },
            8 => {
                let old = wiped.or_else(|| self.chance.members.pick(&voters))?;
                let new = self.chance.members.pick(&observers)?;
                Command::Replace { old, new, force }
            }
            9 => {
                let record = self.checks.members.newest()?;
                let change = record.change.as_ref()?.id;
                let only_whole = self.chance.members.coin();
                Command::Abandon { change, why: Refusal::GivenUp, only_whole }
            }
            _ => {
                let silence_us = self.chance.members.pick(&[None, Some(2 * SECONDS)])?;
                Command::SetDeadAfter { silence_us }
            }
        })
    }

    fn some(&mut self, from: &[ReplicaId]) -> Vec<ReplicaId> {
        let mut ids = from.to_vec();
        self.chance.members.shuffle(&mut ids);
        ids.truncate(if self.chance.members.coin() { 1 } else { 2 });
        ids
    }

    /// A spare machine, under the name of one that was wiped if there is one.
    fn newcomer(&mut self, wiped: Option<ReplicaId>) -> Option<Command> {
        let place = self.places().find(|place| !self.roll.let_in.contains(place))?;
        let Member { id, name, address } = member_at(place);
        let name = wiped.map_or(name, |wiped| member_at(place_of(wiped)).name);
        let zone = self.chance.members.pick(&["", "a", "b"])?.to_owned();
        let standby = self.chance.members.permille(300);
        Some(Command::Add { id: Some(id), name, address, zone, standby })
    }

    /// A voter's disk is lost for ever, if the others can bear it.
    fn wipe(&mut self) {
        let conf = self.checks.members.conf().clone();
        let place = self.chance.members.place(self.replicas.len());
        let bearable = conf.voters.len() >= 3
            && !conf.is_joint()
            && self.roll.wiped.iter().all(|place| !conf.contains(id_of(*place)))
            && conf.voters.contains(&id_of(place))
            && self.checks.members.newest().is_none_or(|record| record.change.is_none());
        if bearable {
            self.say(|| format!("the disk of {place} is lost"));
            self.crash(place);
            self.roll.wiped.insert(place);
        }
    }

    fn wish(&mut self, place: Place, command: Command) {
        let Some(replica) = self.replicas.get_mut(place) else { return };
        let incarnation = replica.incarnation;
        let Some(process) = &mut replica.process else { return };
        let record = process.core.record();
        let founders = if record.revision == 0 { record.founders.clone() } else { Vec::new() };
        let sequence = process.next_sequence;
        process.next_sequence += 1;
        let request = RequestId { replica: id_of(place), incarnation, sequence };
        let oldest = process.writes.keys().next().copied().unwrap_or(sequence);
        let wish = Wish { founders, command }.encode();
        let data = Envelope::of_wish(request, oldest, wish).write();
        process.inbox.push(Proposal { sequence, data });
        self.later(place, 0, Local::Propose);
    }

    /// A wish was answered.
    pub(crate) fn answered(&mut self, place: Place, sequence: u64, outcome: &Outcome) {
        let now = self.now();
        self.trace.event(now, &[6, place as u64, sequence]);
        self.tally.changes += u64::from(!matches!(outcome, Outcome::Refused(_)));
        self.say(|| format!("{place} is told {outcome:?}"));
    }

    /// A replica's record changed: newcomers start, connections to the removed end.
    pub(crate) fn recorded(
        &mut self,
        place: Place,
        record: &Arc<GroupRecord>,
        conf: &Conf,
    ) -> Result<(), Violation> {
        let replicas = &self.replicas;
        let disk = |place: Place| replicas.get(place).map(|replica| replica.shadow.durable());
        let lag = self.plan.churn.lag_entries;
        self.checks.members.recorded(place, record, conf, lag, disk)?;
        self.say(|| format!("{place} has record {} with {conf:?}", record.revision));
        for newcomer in record.members.keys().map(|id| place_of(*id)) {
            if newcomer < self.replicas.len() && self.roll.let_in.insert(newcomer) {
                let after = self.chance.members.between(0, 500 * MILLIS);
                self.agenda.after(after, Event::Start(newcomer));
                for peer in self.places().filter(|peer| *peer != newcomer) {
                    self.agenda.after(after + MILLIS, Event::Dial(peer, newcomer));
                }
            }
        }
        for removed in record.tombstones.keys().map(|id| place_of(*id)) {
            self.hang_up(place, removed);
            self.hang_up(removed, place);
        }
        Ok(())
    }

    /// A replica knows that it was removed, and ends. Now and then somebody starts it once more.
    pub(crate) fn removed(&mut self, place: Place) {
        self.say(|| format!("{place} knows that it was removed"));
        self.tally.removals += 1;
        self.stop(place, true);
        if self.chance.members.coin() && !self.healed {
            let after = self.chance.members.between(100 * MILLIS, 2 * SECONDS);
            self.agenda.after(after, Event::Start(place));
        } else {
            self.roll.gone.insert(place);
        }
    }

    /// Whether the handshake of `to` tells `from` that it was removed.
    pub(crate) fn tells_removed(&self, to: Place, from: Place) -> bool {
        self.record_of(to).is_some_and(|record| record.tombstones.contains_key(&id_of(from)))
    }

    /// Whether the handshake of `to` lets `from` in: a member, or one who knows more of the record.
    pub(crate) fn lets_in(&self, to: Place, from: Place) -> bool {
        let (Some(mine), Some(theirs)) = (self.record_of(to), self.record_of(from)) else {
            return false;
        };
        mine.members.contains_key(&id_of(from)) || theirs.revision > mine.revision
    }

    fn record_of(&self, place: Place) -> Option<&GroupRecord> {
        let process = self.replicas.get(place)?.process.as_ref()?;
        Some(process.core.record())
    }

    /// After the healing: what is under way comes to its end, and then everybody who is a member must
    /// serve.
    pub(crate) fn let_members_settle(&mut self) -> Result<(), Violation> {
        let by = self.now() + 60 * SECONDS + 2_000 * self.plan.tick;
        loop {
            self.run_until(self.now() + 100 * self.plan.tick)?;
            if self.is_settled() {
                break;
            }
            require(self.now() < by, "LIV-4", || {
                let record = self.checks.members.newest();
                format!(
                    "the members never come to rest: {record:?} {:?}",
                    self.checks.members.conf()
                )
            })?;
        }
        let conf = self.checks.members.conf();
        self.core = conf.everybody().into_iter().map(place_of).collect();
        self.core.retain(|place| !self.roll.wiped.contains(place));
        self.say(|| format!("the members {:?}", self.core));
        Ok(())
    }

    fn is_settled(&self) -> bool {
        let conf = self.checks.members.conf();
        let leader = self.replicas.iter().filter_map(|replica| replica.process.as_ref());
        let settled = self.checks.members.newest().is_none_or(|record| {
            record.next_step(conf).is_none()
                && record.change.is_none()
                && !record.members.values().any(|member| {
                    member.replaces.is_some_and(|old| self.roll.wiped.contains(&place_of(old)))
                })
        });
        settled
            && leader.into_iter().any(|process| {
                process.leadership.role == muster_cluster::core::Role::Leader
                    && process.core.record().revision
                        >= self.checks.members.newest().map_or(0, |record| record.revision)
            })
    }
}
