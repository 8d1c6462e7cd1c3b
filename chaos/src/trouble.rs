//! Disks that fail, fill, hang and rot, clocks that run fast, and what a process does about it.

use std::time::Duration;

use muster_cluster::core::{Input, Role};
use muster_cluster::disk::{DiskHealth, DiskSpace};
use muster_cluster::stall::{Advice, HANG};

use crate::agenda::{MILLIS, Micros, SECONDS};
use crate::chance::Chance;
use crate::disk::Trouble;
use crate::faults::Undo;
use crate::invariants::{Violation, require};
use crate::network::Place;
use crate::replica::ROOMY;
use crate::world::{Event, Local, World};

/// Room that a filling disk comes to, bytes: refused is all, growth, growth, nothing.
const ROOMS: [u64; 4] = [0, 40 << 20, 2 << 30, 8 << 30];

impl World {
    /// A process finds that it must not go on; its supervisor starts it again.
    pub(crate) fn fail_stop(&mut self, place: Place, why: &str) {
        self.tally.fail_stops += 1;
        self.say(|| format!("{place} ends: {why}"));
        self.end(place, false);
    }

    /// A replica found that its disk is damaged, and stays away for ever.
    pub(crate) fn lose(&mut self, place: Place, what: &str) {
        self.tally.lost += 1;
        self.say(|| format!("{place} is lost: {what}"));
        self.end(place, false);
        if let Some(replica) = self.replicas.get_mut(place) {
            replica.lost = true;
        }
    }

    /// The next write or sync of a disk fails.
    pub(crate) fn disk_trouble(&mut self, place: Place) {
        let chance = &mut self.chance.trouble;
        let dice = Chance::stream(chance.below(u64::MAX), "disk in trouble");
        let Some(replica) = self.replicas.get(place) else { return };
        match chance.below(3) {
            0 => replica.disk.trouble(Trouble::Sync, dice),
            1 => replica.disk.trouble(Trouble::Write, dice),
            _ => replica.folder.trouble(),
        }
    }

    /// Something acknowledged changes on a disk: only while a quorum of others is sound, since what no
    /// replica has any more is lost.
    pub(crate) fn rot(&mut self, place: Place) {
        let rotten = self.replicas.iter().filter(|replica| replica.rotten).count();
        let Some(replica) = self.replicas.get(place) else { return };
        if replica.rotten || (rotten + 1) * 2 > self.replicas.len() {
            return;
        }
        let chance = &mut self.chance.trouble;
        let dice = Chance::stream(chance.below(u64::MAX), "rot");
        let rotten = match chance.below(8) {
            0 => {
                replica.disk.trouble(Trouble::Misdirected, dice);
                true
            }
            1 | 2 => replica.folder.rot(chance),
            _ => (0..chance.between(1, 3)).fold(false, |any, _| replica.disk.rot(chance) || any),
        };
        if let Some(replica) = self.replicas.get_mut(place) {
            replica.rotten = rotten;
        }
    }

    /// A disk fills, for a while.
    pub(crate) fn fill_for_a_while(&mut self, place: Place, lasting: Micros) {
        let available = self.chance.trouble.pick(&ROOMS).unwrap_or(0);
        self.fill(place, available);
        self.agenda.after(lasting, Event::Undo(Undo::Fill(place)));
    }

    /// A disk has so many bytes left.
    pub(crate) fn fill(&mut self, place: Place, available: u64) {
        let Some(replica) = self.replicas.get_mut(place) else { return };
        replica.space = DiskSpace { available, ..ROOMY };
        replica.disk.fill(available == 0);
        replica.folder.fill(available == 0);
        let after = self.chance.trouble.between(0, SECONDS);
        self.later(place, after, Local::Look);
    }

    /// A process looks how much room its disk has.
    pub(crate) fn look(&mut self, place: Place) {
        let Some(replica) = self.replicas.get_mut(place) else { return };
        let space = replica.space;
        if let Some(process) = &mut replica.process {
            process.look(space);
        }
    }

    /// The disk of whoever leads, or of anybody, answers nothing for longer than is borne.
    pub(crate) fn hang(&mut self, place: Place) {
        let leads = |place: &Place| {
            let process = self.replicas.get(*place).and_then(|replica| replica.process.as_ref());
            process.is_some_and(|process| process.leadership.role == Role::Leader)
        };
        let leader = self.places().find(leads);
        let chance = &mut self.chance.trouble;
        let place = leader.filter(|_| chance.permille(700)).unwrap_or(place);
        let lasting = chance.pick(&[2, 8, 40]).unwrap_or(8) * SECONDS;
        let until = self.now() + lasting + self.chance.trouble.between(0, SECONDS);
        if let Some(replica) = self.replicas.get_mut(place) {
            replica.stalled_until = until;
        }
    }

    /// What the production watch says of a disk, at every tick. WAT-1: no process outlives a write that
    /// hangs for longer than is borne. What the tick brings to the core.
    pub(crate) fn look_at_stall(&mut self, place: Place) -> Result<Vec<Input>, Violation> {
        let now = self.now();
        let Some(process) = self.process(place) else { return Ok(Vec::new()) };
        let began = process.write_times.front().map_or(now, |(_, began)| *began);
        let stalled = Duration::from_micros(now - began);
        let leads = process.leadership.role == Role::Leader;
        let (low, full) = (process.low, process.full);
        let advice = process.stall.look(Duration::from_micros(now), stalled, full, leads);
        require(stalled <= HANG || advice == Advice::GiveUp, "WAT-1", || {
            format!("replica {place} goes on with a write that has hung for {stalled:?}")
        })?;
        if advice == Advice::GiveUp {
            self.fail_stop(place, "its disk hangs");
        }
        Ok(advice.inputs(DiskHealth::of(stalled, low, full)))
    }

    /// How long `micros` of a process's own clock really take.
    pub(crate) fn by_its_clock(&self, place: Place, micros: Micros) -> Micros {
        let rate = self.replicas.get(place).map_or(0, |replica| replica.rate);
        let parts = u64::try_from(1_000_000 - rate).unwrap_or(1_000_000);
        micros.saturating_mul(parts) / 1_000_000
    }

    /// An operator wants a snapshot of somebody.
    pub(crate) fn backup(&mut self, place: Place) {
        let after = self.chance.trouble.between(0, MILLIS);
        self.later(place, after, Local::Backup);
    }
}
