//! Connections between replicas as TCP gives them: in order, never doubled, delayed; a broken one
//! loses its tail, a cut one keeps it until the cut heals or patience ends.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::agenda::{MILLIS, Micros, SECONDS};
use crate::chance::Chance;

/// A replica by its place in the world.
pub(crate) type Place = usize;

/// What one link does to what it carries.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// Shortest way, microseconds.
    pub(crate) delay_min: Micros,
    /// Longest ordinary way, microseconds.
    pub(crate) delay_max: Micros,
    /// Of 1000 messages, how many are held up by ten times the longest way.
    pub(crate) late_permille: u64,
    /// Of 100,000 messages, how many break their connection.
    pub(crate) break_per_100k: u64,
    /// What one direction of one lane carries; 0: without limit.
    pub(crate) bytes_per_second: u64,
    /// Whether a connection survives being cut in one direction only.
    pub(crate) one_way_lives: bool,
    /// How long a cut connection is kept before both ends give it up, microseconds.
    pub(crate) patience: Micros,
}

impl Weather {
    /// Weather without any fault.
    pub(crate) fn fine() -> Self {
        Self {
            delay_min: 100,
            delay_max: MILLIS,
            late_permille: 0,
            break_per_100k: 0,
            one_way_lives: false,
            bytes_per_second: 0,
            patience: 2 * SECONDS,
        }
    }
}

/// Heartbeats do not wait behind megabytes: two connections per pair.
pub(crate) const LANES: usize = 2;

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    pub(crate) from: Place,
    pub(crate) to: Place,
    pub(crate) lane: usize,
    pub(crate) payload: Bytes,
    /// Which connection carries it; a later one drops it.
    pub(crate) connection: u64,
}

/// What becomes of a message that is sent or due.
#[derive(Debug)]
pub(crate) enum Passage {
    /// Arrives then.
    At(Micros, Parcel),
    /// Waits in a cut, or is gone.
    Held,
    /// The connection broke under it.
    Broke,
}

/// One direction between two replicas: each side sends only on connections that it dialled.
#[derive(Debug, Default)]
struct Way {
    up: bool,
    connection: u64,
    /// How many faults cut this direction now.
    cuts: u32,
    last_arrival: [Micros; LANES],
    held: VecDeque<Parcel>,
}

/// All connections of one world.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) weather: Weather,
    chance: Chance,
    ways: BTreeMap<(Place, Place), Way>,
}

impl Network {
    pub(crate) fn new(weather: Weather, chance: Chance) -> Self {
        Self { weather, chance, ways: BTreeMap::new() }
    }

    fn way(&mut self, from: Place, to: Place) -> &mut Way {
        self.ways.entry((from, to)).or_default()
    }

    pub(crate) fn is_up(&self, from: Place, to: Place) -> bool {
        self.ways.get(&(from, to)).is_some_and(|way| way.up)
    }

    /// Numbers the connections of this direction, to tell one from later ones.
    pub(crate) fn connection(&self, from: Place, to: Place) -> u64 {
        self.ways.get(&(from, to)).map_or(0, |way| way.connection)
    }

    pub(crate) fn is_cut(&self, from: Place, to: Place) -> bool {
        self.ways.get(&(from, to)).is_some_and(|way| way.cuts > 0)
    }

    /// Whether a new connection between the two would come about: dialling needs both directions.
    pub(crate) fn reachable(&self, a: Place, b: Place) -> bool {
        !self.is_cut(a, b) && !self.is_cut(b, a)
    }

    /// Connects `from` to `to` anew. True if it was not.
    pub(crate) fn connect(&mut self, from: Place, to: Place) -> bool {
        let way = self.way(from, to);
        let fresh = !way.up;
        way.up = true;
        way.connection += u64::from(fresh);
        fresh
    }

    /// Breaks what `from` sends to `to` on; everything under way is lost. True if there was any.
    pub(crate) fn disconnect(&mut self, from: Place, to: Place) -> bool {
        let way = self.way(from, to);
        way.connection += 1;
        way.held.clear();
        std::mem::take(&mut way.up)
    }

    /// Sends a message. Without a connection it is gone, as with the real transport.
    pub(crate) fn send(
        &mut self,
        now: Micros,
        from: Place,
        to: Place,
        lane: usize,
        payload: Bytes,
    ) -> Passage {
        if !self.is_up(from, to) {
            return Passage::Held;
        }
        let connection = self.connection(from, to);
        let parcel = Parcel { from, to, lane: lane.min(LANES - 1), payload, connection };
        if self.weather.break_per_100k > 0
            && self.chance.below(100_000) < self.weather.break_per_100k
        {
            return Passage::Broke;
        }
        self.carry(now, parcel)
    }

    /// Takes a message that is due: hands it back if it may arrive now.
    pub(crate) fn arrive(&mut self, parcel: Parcel) -> Option<Parcel> {
        if !self.is_up(parcel.from, parcel.to)
            || parcel.connection != self.connection(parcel.from, parcel.to)
        {
            return None;
        }
        let way = self.way(parcel.from, parcel.to);
        if way.cuts > 0 {
            way.held.push_back(parcel);
            return None;
        }
        Some(parcel)
    }

    fn carry(&mut self, now: Micros, parcel: Parcel) -> Passage {
        let weather = &self.weather;
        let mut delay = self.chance.between(weather.delay_min, weather.delay_max);
        if self.chance.permille(weather.late_permille) {
            delay = delay.saturating_add(weather.delay_max * self.chance.between(1, 10));
        }
        let length = parcel.payload.len() as u64;
        // A lane that is still busy with what went before is waited for, see below.
        let sending = (length * SECONDS).checked_div(weather.bytes_per_second).unwrap_or(0);
        let lane = parcel.lane;
        let way = self.way(parcel.from, parcel.to);
        let mut at = now + delay;
        if let Some(last) = way.last_arrival.get_mut(lane) {
            at = at.max(*last + 1) + sending;
            *last = at;
        }
        Passage::At(at, parcel)
    }

    /// Cuts one direction; cuts add up.
    pub(crate) fn cut(&mut self, from: Place, to: Place) {
        self.way(from, to).cuts += 1;
    }

    /// Takes one cut back; what was held arrives at once, ahead of all that is still under way.
    pub(crate) fn heal(&mut self, from: Place, to: Place) -> VecDeque<Parcel> {
        let way = self.way(from, to);
        way.cuts = way.cuts.saturating_sub(1);
        if way.cuts > 0 { VecDeque::new() } else { std::mem::take(&mut way.held) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Network {
        let mut network = Network::new(Weather::fine(), Chance::stream(1, "network"));
        network.connect(0, 1);
        network
    }

    fn sent(network: &mut Network, payload: &'static [u8]) -> (Micros, Parcel) {
        match network.send(0, 0, 1, 0, Bytes::from_static(payload)) {
            Passage::At(at, parcel) => (at, parcel),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_connection_keeps_its_order() {
        let mut network = network();
        let arrivals: Vec<_> = (0..100).map(|_| sent(&mut network, b"x").0).collect();
        assert!(arrivals.is_sorted());
    }

    #[test]
    fn a_broken_connection_loses_what_was_under_way() {
        let mut network = network();
        let (_, parcel) = sent(&mut network, b"x");
        assert!(network.disconnect(0, 1));
        assert!(network.connect(0, 1));
        assert!(network.arrive(parcel).is_none());
    }

    #[test]
    fn a_cut_holds_and_then_lets_go_in_order() {
        let mut network = network();
        let (_, first) = sent(&mut network, b"a");
        let (_, second) = sent(&mut network, b"b");
        network.cut(0, 1);
        assert!(network.arrive(first).is_none());
        assert!(network.arrive(second).is_none());
        let order: Vec<_> = network.heal(0, 1).into_iter().map(|parcel| parcel.payload).collect();
        assert_eq!(order, [&b"a"[..], b"b"]);
    }
}
