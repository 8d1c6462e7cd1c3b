//! What goes wrong, and how it ends.

use crate::agenda::{MILLIS, Micros, SECONDS};
use crate::invariants::Violation;
use crate::network::Place;
use crate::replica::ROOMY;
use crate::world::{Event, Local, World, signed};

/// A kind of fault; where it strikes is drawn when it does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Strike {
    /// The replicas fall into two parts.
    Partition,
    /// One direction between two replicas is cut.
    OneWay,
    /// One replica is cut off, in both directions or in one.
    Isolate,
    /// The connection between two replicas comes and goes.
    Flap,
    Crash,
    CrashAll,
    /// A replica crashes again and again right after its start.
    CrashLoop,
    Pause,
    /// A disk answers nothing for a while.
    Stall,
    ClockJump,
    Transfer,
    Disconnect,
    /// A disk refuses a write or a sync.
    Trouble,
    /// A bit flips, or a write goes astray.
    Rot,
    /// A disk fills.
    Fill,
    /// A disk answers nothing for longer than a leader may bear.
    Hang,
    /// An operator saves a snapshot.
    Backup,
}

/// How a fault ends.
#[derive(Debug)]
pub(crate) enum Undo {
    Cuts(Vec<(Place, Place)>),
    Pause(Place),
    /// The next turn of a flapping connection; this many are left; odd ones cut, even ones heal.
    Flap(Place, Place, u64),
    Fill(Place),
}

const ALL: [Strike; 17] = [
    Strike::Partition,
    Strike::OneWay,
    Strike::Isolate,
    Strike::Flap,
    Strike::Crash,
    Strike::CrashAll,
    Strike::CrashLoop,
    Strike::Pause,
    Strike::Stall,
    Strike::ClockJump,
    Strike::Transfer,
    Strike::Disconnect,
    Strike::Trouble,
    Strike::Rot,
    Strike::Fill,
    Strike::Hang,
    Strike::Backup,
];

impl World {
    fn every(&self, strike: Strike) -> Option<Micros> {
        let faults = &self.plan.faults;
        match strike {
            Strike::Partition => faults.partition,
            Strike::OneWay => faults.one_way,
            Strike::Isolate => faults.isolate,
            Strike::Flap => faults.flap,
            Strike::Crash => faults.crash,
            Strike::CrashAll => faults.crash_all,
            Strike::CrashLoop => faults.crash_loop,
            Strike::Pause => faults.pause,
            Strike::Stall => faults.stall,
            Strike::ClockJump => faults.clock_jump,
            Strike::Transfer => faults.transfer,
            Strike::Disconnect => faults.disconnect,
            Strike::Trouble => faults.trouble,
            Strike::Rot => faults.rot,
            Strike::Fill => faults.fill,
            Strike::Hang => faults.hang,
            Strike::Backup => faults.backup,
        }
    }

    pub(crate) fn schedule_strikes(&mut self) {
        for strike in ALL {
            self.schedule(strike);
        }
    }

    fn schedule(&mut self, strike: Strike) {
        if let Some(every) = self.every(strike) {
            let after = self.chance.faults.between(every / 4, every * 7 / 4);
            self.agenda.after(after, Event::Strike(strike));
        }
    }

    fn lasting(&mut self) -> Micros {
        self.chance.faults.between(20 * MILLIS, self.plan.faults.lasting_max)
    }

    fn any_place(&mut self) -> Place {
        self.chance.faults.place(self.replicas.len())
    }

    /// Two different places, if there are two.
    fn two_places(&mut self) -> Option<(Place, Place)> {
        let mut places: Vec<_> = self.places().collect();
        self.chance.faults.shuffle(&mut places);
        match places.as_slice() {
            [a, b, ..] => Some((*a, *b)),
            _ => None,
        }
    }

    pub(crate) fn strike(&mut self, strike: Strike) -> Result<(), Violation> {
        if self.healed {
            return Ok(());
        }
        self.schedule(strike);
        self.trace.event(self.agenda.now(), &[100, strike as u64]);
        self.say(|| format!("fault {strike:?}"));
        match strike {
            Strike::Partition => self.partition(),
            Strike::OneWay => {
                if let Some(pair) = self.two_places() {
                    self.cut_for_a_while(vec![pair]);
                }
            }
            Strike::Isolate => self.isolate(),
            Strike::Flap => {
                if let Some((a, b)) = self.two_places() {
                    let turns = self.chance.faults.between(1, 6) * 2 - 1;
                    self.undo(Undo::Flap(a, b, turns))?;
                }
            }
            Strike::Crash => {
                let place = self.any_place();
                self.crash(place);
            }
            Strike::CrashAll => {
                for place in self.places() {
                    self.crash(place);
                }
            }
            Strike::CrashLoop => {
                let place = self.any_place();
                let again = self.chance.faults.between(2, 6);
                if let Some(replica) = self.replicas.get_mut(place) {
                    replica.crash_again = again;
                }
                self.crash(place);
            }
            Strike::Pause => {
                let place = self.any_place();
                let lasting = self.lasting();
                self.pause(place);
                self.agenda.after(lasting, Event::Undo(Undo::Pause(place)));
            }
            Strike::Stall => {
                let place = self.any_place();
                let until = self.now() + self.lasting();
                if let Some(replica) = self.replicas.get_mut(place) {
                    replica.stalled_until = until;
                }
            }
            Strike::ClockJump => {
                let place = self.any_place();
                let jump = self.plan.clocks.jump_max;
                let to = signed(self.chance.clock.between(0, 2 * jump)) - signed(jump);
                if let Some(replica) = self.replicas.get_mut(place) {
                    replica.clock = to;
                }
            }
            Strike::Transfer => {
                let place = self.any_place();
                let to = self.chance.faults.coin().then(|| self.any_place());
                self.later(place, 0, Local::Transfer(to));
            }
            Strike::Disconnect => {
                if let Some((a, b)) = self.two_places() {
                    self.hang_up(a, b);
                }
            }
            Strike::Trouble | Strike::Rot | Strike::Fill | Strike::Hang | Strike::Backup => {
                self.strike_disk(strike);
            }
        }
        Ok(())
    }

    fn strike_disk(&mut self, strike: Strike) {
        let place = self.chance.trouble.place(self.replicas.len());
        match strike {
            Strike::Trouble => self.disk_trouble(place),
            Strike::Rot => self.rot(place),
            Strike::Fill => {
                let lasting = self.chance.trouble.between(SECONDS, 8 * SECONDS);
                self.fill_for_a_while(place, lasting);
            }
            Strike::Hang => self.hang(place),
            _ => self.backup(place),
        }
    }

    /// Into two parts, or sometimes three.
    fn partition(&mut self) {
        let mut places: Vec<_> = self.places().collect();
        self.chance.faults.shuffle(&mut places);
        let (left, right) = places.split_at(self.chance.faults.place(places.len()));
        let mut parts = vec![left, right];
        if right.len() > 1 && self.chance.trouble.permille(300) {
            let (middle, right) = right.split_at(right.len() / 2);
            parts = vec![left, middle, right];
        }
        let mut cuts = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            for other in parts.iter().skip(number + 1) {
                cuts.extend(
                    part.iter().flat_map(|a| other.iter().flat_map(|b| [(*a, *b), (*b, *a)])),
                );
            }
        }
        self.cut_for_a_while(cuts);
    }

    fn isolate(&mut self) {
        let place = self.any_place();
        let style = self.chance.faults.below(3);
        let mut cuts = Vec::new();
        for peer in self.places().filter(|peer| *peer != place) {
            if style != 0 {
                cuts.push((place, peer));
            }
            if style != 1 {
                cuts.push((peer, place));
            }
        }
        self.cut_for_a_while(cuts);
    }

    fn cut_for_a_while(&mut self, cuts: Vec<(Place, Place)>) {
        let lasting = self.lasting();
        self.say(|| format!("cut {cuts:?} for {lasting} us"));
        for (from, to) in &cuts {
            self.cut(*from, *to);
        }
        self.agenda.after(lasting, Event::Undo(Undo::Cuts(cuts)));
    }

    pub(crate) fn pause(&mut self, place: Place) {
        if let Some(replica) = self.replicas.get_mut(place) {
            replica.paused = replica.process.is_some();
        }
    }

    pub(crate) fn resume(&mut self, place: Place) -> Result<(), Violation> {
        let Some(replica) = self.replicas.get_mut(place) else { return Ok(()) };
        replica.paused = false;
        let incarnation = replica.incarnation;
        for local in std::mem::take(&mut replica.backlog) {
            self.local(place, incarnation, local)?;
        }
        Ok(())
    }

    pub(crate) fn undo(&mut self, undo: Undo) -> Result<(), Violation> {
        // The healing has undone everything at once, and froze what is to stay.
        if self.healed {
            return Ok(());
        }
        match undo {
            Undo::Cuts(cuts) => {
                self.say(|| format!("heal {cuts:?}"));
                for (from, to) in cuts {
                    self.heal(from, to)?;
                }
                Ok(())
            }
            Undo::Pause(place) => self.resume(place),
            Undo::Fill(place) => {
                self.fill(place, ROOMY.available);
                Ok(())
            }
            Undo::Flap(a, b, turns) => {
                if turns % 2 == 1 {
                    self.cut(a, b);
                    self.cut(b, a);
                } else {
                    self.heal(a, b)?;
                    self.heal(b, a)?;
                }
                if turns > 0 {
                    let after = self.chance.faults.between(10 * MILLIS, 400 * MILLIS);
                    self.agenda.after(after, Event::Undo(Undo::Flap(a, b, turns - 1)));
                }
                Ok(())
            }
        }
    }
}
