//! How replicas come to be connected, and what breaks that.

use bytes::Bytes;

use crate::agenda::{MILLIS, Micros};
use crate::invariants::Violation;
use crate::network::{Parcel, Passage, Place};
use crate::world::{Event, Local, World};

impl World {
    /// `from` tries to connect to `to`, and will again until it succeeds.
    pub(crate) fn dial(&mut self, from: Place, to: Place) {
        if self.network.is_up(from, to) || !self.alive(from) {
            return;
        }
        if self.tells_removed(to, from) {
            if self.network.reachable(from, to) {
                self.later(from, MILLIS, Local::ToldRemoved);
            }
            return;
        }
        let awake = self.replicas.get(to).is_some_and(|replica| !replica.paused);
        let reachable = self.network.reachable(from, to) && self.lets_in(to, from);
        if self.alive(to) && awake && reachable {
            self.network.connect(from, to);
            self.say(|| format!("{from} -> {to} connected"));
            self.later(from, MILLIS, Local::PeerUp(to));
        } else {
            let backoff = self.chance.work.between(20 * MILLIS, 300 * MILLIS);
            self.agenda.after(backoff, Event::Dial(from, to));
        }
    }

    /// What `from` sends to `to` on breaks; `from` notices and dials again.
    pub(crate) fn hang_up(&mut self, from: Place, to: Place) {
        if self.network.disconnect(from, to) {
            self.say(|| format!("{from} -> {to} disconnected"));
            let notices = self.chance.work.between(0, 5 * MILLIS);
            self.later(from, notices, Local::PeerDown(to));
            let backoff = notices + self.chance.work.between(20 * MILLIS, 200 * MILLIS);
            self.agenda.after(backoff, Event::Dial(from, to));
        }
    }

    pub(crate) fn give_up(&mut self, from: Place, to: Place, connection: u64) {
        let same = self.network.connection(from, to) == connection;
        if same && !self.network.reachable(from, to) {
            self.hang_up(from, to);
        }
    }

    /// Cuts one direction; what is connected gives up after a while.
    pub(crate) fn cut(&mut self, from: Place, to: Place) {
        self.network.cut(from, to);
        let patience = self.network.weather.patience;
        let mut giving_up = vec![(from, to)];
        if !self.network.weather.one_way_lives {
            giving_up.push((to, from));
        }
        for (a, b) in giving_up {
            let connection = self.network.connection(a, b);
            self.agenda.after(patience, Event::GiveUp(a, b, connection));
        }
    }

    /// Takes one cut back.
    pub(crate) fn heal(&mut self, from: Place, to: Place) -> Result<(), Violation> {
        for parcel in self.network.heal(from, to) {
            self.deliver(parcel)?;
        }
        Ok(())
    }

    /// Hands a message to the process it is for.
    pub(crate) fn deliver(&mut self, parcel: Parcel) -> Result<(), Violation> {
        let to = parcel.to;
        let Some(replica) = self.replicas.get(to) else { return Ok(()) };
        self.local(to, replica.incarnation, Local::Message(parcel))
    }

    /// Gives a message to the network.
    pub(crate) fn send(&mut self, from: Place, to: Place, lane: usize, payload: Bytes) {
        self.samples.message(&payload);
        let now: Micros = self.now();
        match self.network.send(now, from, to, lane, payload) {
            Passage::At(at, parcel) => self.agenda.at(at, Event::Arrive(parcel)),
            Passage::Held => {}
            Passage::Broke => self.hang_up(from, to),
        }
    }
}
