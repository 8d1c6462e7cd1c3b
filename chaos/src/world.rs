//! One world: replicas, their disks and connections, clients and faults, all on one agenda.

use std::collections::BTreeMap;

use crate::agenda::{Agenda, MILLIS, Micros};
use crate::chance::Chance;
use crate::clients::{Client, Operation};
use crate::faults::{Strike, Undo};
use crate::invariants::agreement::Agreement;
use crate::invariants::election::Election;
use crate::invariants::members::Members;
use crate::invariants::sameness::Sameness;
use crate::invariants::votes::Votes;
use crate::invariants::{Violation, require};
use crate::journal::Journal;
use crate::network::{Network, Parcel, Place};
use crate::oracle::Oracle;
use crate::plan::Plan;
use crate::replica::Replica;
use crate::roll::Roll;
use crate::run::Figures;
use crate::samples::Samples;
use crate::trace::Trace;

/// Fifty times what the busiest worlds need.
const HAPPENINGS: u64 = 10_000_000;

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Event {
    /// To one process; dropped when that process is no more.
    Local(Place, u64, Local),
    /// A message reaches its receiver's machine.
    Arrive(Parcel),
    /// One replica dials another.
    Dial(Place, Place),
    /// A connection was cut for too long, if it is still the same.
    GiveUp(Place, Place, u64),
    /// A replica's supervisor starts it.
    Start(Place),
    /// A client goes on to its next operation.
    Think(usize),
    /// A client's patience with an operation ends.
    Deadline(u64),
    /// A fault.
    Strike(Strike),
    /// The end of a fault.
    Undo(Undo),
    /// A disk is copied and opened.
    Autopsy,
    /// Somebody changes the members.
    Churn,
}

/// Something that happens to one process.
#[derive(Debug)]
pub(crate) enum Local {
    Tick,
    /// A message from a peer.
    Message(Parcel),
    PeerUp(Place),
    PeerDown(Place),
    /// The core takes what waits for it.
    Drain,
    /// The log writer's work under way is due, if it is still this one.
    Write(u64),
    /// The applier's work under way is due.
    Apply,
    /// The snapshot under way is due.
    Save(Box<crate::snapshots::Saving>),
    /// Chunks of a snapshot are read and sent.
    SendChunks(crate::snapshots::Sending),
    /// A received chunk is due to be stored.
    StoreChunk(crate::snapshots::Storing),
    /// The inbox is drained.
    Propose,
    /// A client's operation arrives.
    Ask(u64),
    /// A client's patience has ended.
    Abandon(u64),
    /// A crash loop goes on.
    Crash,
    /// A peer says that this replica was removed.
    ToldRemoved,
    /// It looks how much room its disk has.
    Look,
    /// An operator wants a snapshot.
    Backup,
    /// An operator wants another leader.
    Transfer(Option<Place>),
}

/// The streams of chance, one per area.
pub(crate) struct Streams {
    pub(crate) disk: Chance,
    pub(crate) crash: Chance,
    pub(crate) workload: Chance,
    pub(crate) clock: Chance,
    pub(crate) faults: Chance,
    pub(crate) work: Chance,
    pub(crate) autopsy: Chance,
    pub(crate) snapshots: Chance,
    pub(crate) members: Chance,
    pub(crate) trouble: Chance,
}

impl Streams {
    fn new(seed: u64) -> Self {
        let stream = |name| Chance::stream(seed, name);
        Self {
            disk: stream("disk"),
            crash: stream("crash"),
            workload: stream("workload"),
            clock: stream("clock"),
            faults: stream("faults"),
            work: stream("work"),
            autopsy: stream("autopsy"),
            snapshots: stream("snapshots"),
            members: stream("members"),
            trouble: stream("trouble"),
        }
    }
}

/// What the invariants remember.
pub(crate) struct Checks {
    pub(crate) election: Election,
    pub(crate) votes: Votes,
    pub(crate) agreement: Agreement,
    pub(crate) sameness: Sameness,
    pub(crate) members: Members,
}

impl Checks {
    fn new(founders: usize) -> Self {
        Self {
            election: Election::default(),
            votes: Votes::default(),
            agreement: Agreement::default(),
            sameness: Sameness::default(),
            members: Members::new(founders),
        }
    }
}

/// Counters for the report.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) crashes: u64,
    pub(crate) installs: u64,
    pub(crate) snapshots: u64,
    pub(crate) autopsies: u64,
    /// Steps of the members that were begun or taken.
    pub(crate) changes: u64,
    /// Replicas that were removed.
    pub(crate) removals: u64,
    /// Processes that ended because their disk failed.
    pub(crate) fail_stops: u64,
    /// Replicas that found damage and stay away.
    pub(crate) lost: u64,
    /// Growing commands that a low disk refused.
    pub(crate) refused: u64,
}

/// The whole.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) agenda: Agenda<Event>,
    pub(crate) network: Network,
    pub(crate) replicas: Vec<Replica>,
    /// Who is in the group and who is not.
    pub(crate) roll: Roll,
    pub(crate) clients: Vec<Client>,
    pub(crate) operations: BTreeMap<u64, Operation>,
    pub(crate) next_operation: u64,
    pub(crate) oracle: Oracle,
    pub(crate) checks: Checks,
    pub(crate) chance: Streams,
    pub(crate) trace: Trace,
    /// How many things have happened.
    happened: u64,
    pub(crate) journal: Journal,
    pub(crate) samples: Samples,
    pub(crate) tally: Tally,
    /// Faults strike no more.
    pub(crate) healed: bool,
    /// Clients begin nothing any more.
    pub(crate) quiet: bool,
    /// The replicas that are well after the healing.
    pub(crate) core: Vec<Place>,
    /// Operations served since the healing, by place: writes, reads.
    pub(crate) served: Vec<(u64, u64)>,
}

impl World {
    pub(crate) fn new(plan: Plan, told: bool) -> Self {
        let mut chance = Streams::new(plan.seed);
        let (offset, rate) = (plan.clocks.offset_max, plan.clocks.rate_max);
        let mut either_way = |most: u64| signed(chance.clock.between(0, 2 * most)) - signed(most);
        let replicas: Vec<_> = (0..plan.replicas + plan.churn.spares())
            .map(|_| Replica::new(either_way(offset), either_way(rate)))
            .collect();
        Self {
            agenda: Agenda::new(),
            network: Network::new(plan.weather.clone(), Chance::stream(plan.seed, "network")),
            served: vec![(0, 0); replicas.len()],
            replicas,
            clients: (0..plan.clients.count).map(|_| Client::default()).collect(),
            operations: BTreeMap::new(),
            next_operation: 0,
            oracle: Oracle::new(),
            checks: Checks::new(plan.replicas),
            roll: Roll::new(plan.replicas),
            chance,
            trace: Trace::new(told),
            happened: 0,
            journal: Journal::default(),
            samples: Samples::default(),
            tally: Tally::default(),
            healed: false,
            quiet: false,
            core: Vec::new(),
            plan,
        }
    }

    /// Lives from the beginning to the end.
    pub(crate) fn run(&mut self) -> Result<(), Violation> {
        for place in 0..self.replicas.len() {
            let after = self.chance.work.between(0, 100 * MILLIS);
            self.agenda.after(after, Event::Start(place));
            for peer in (0..self.replicas.len()).filter(|peer| *peer != place) {
                self.agenda.after(after + 1, Event::Dial(place, peer));
            }
        }
        for client in 0..self.clients.len() {
            self.agenda.after(200 * MILLIS, Event::Think(client));
        }
        self.schedule_strikes();
        self.schedule_churn();
        self.agenda.after(self.plan.tick, Event::Autopsy);
        self.run_until(self.plan.hurting)?;
        self.survive()
    }

    /// Lets everything happen that is due by `until`. END-1: that is not endless.
    pub(crate) fn run_until(&mut self, until: Micros) -> Result<(), Violation> {
        while let Some(event) = self.agenda.next(until) {
            self.happened += 1;
            require(self.happened <= HAPPENINGS, "END-1", || {
                format!("{HAPPENINGS} things happened and it is only {} µs", self.now())
            })?;
            self.happen(event)?;
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Local(place, incarnation, local) => self.local(place, incarnation, local),
            Event::Arrive(parcel) => {
                let Some(parcel) = self.network.arrive(parcel) else { return Ok(()) };
                self.deliver(parcel)
            }
            Event::Dial(from, to) => {
                self.dial(from, to);
                Ok(())
            }
            Event::GiveUp(from, to, connection) => {
                self.give_up(from, to, connection);
                Ok(())
            }
            Event::Start(place) => self.start(place),
            Event::Think(client) => {
                self.think(client);
                Ok(())
            }
            Event::Deadline(operation) => self.deadline(operation),
            Event::Strike(strike) => self.strike(strike),
            Event::Undo(undo) => self.undo(undo),
            Event::Autopsy => self.autopsy(),
            Event::Churn => {
                self.churn();
                Ok(())
            }
        }
    }

    /// Something happens to a process, or waits until that process is awake again.
    pub(crate) fn local(
        &mut self,
        place: Place,
        incarnation: u64,
        local: Local,
    ) -> Result<(), Violation> {
        let Some(replica) = self.replicas.get_mut(place) else { return Ok(()) };
        if replica.incarnation != incarnation || replica.process.is_none() {
            return Ok(());
        }
        if replica.paused {
            // Ticks are never made up for.
            let ticks_already =
                || replica.backlog.iter().any(|waiting| matches!(waiting, Local::Tick));
            if !(matches!(local, Local::Tick) && ticks_already()) {
                replica.backlog.push_back(local);
            }
            return Ok(());
        }
        self.act(place, local)
    }

    /// Plans something for the process that runs at `place` now.
    pub(crate) fn later(&mut self, place: Place, after: Micros, local: Local) {
        if let Some(replica) = self.replicas.get(place) {
            self.agenda.after(after, Event::Local(place, replica.incarnation, local));
        }
    }

    /// How much happened.
    pub(crate) fn figures(&self) -> Figures {
        Figures {
            worlds: 1,
            events: self.trace.events(),
            entries: self.checks.agreement.last_index(),
            elections: self.checks.election.count() as u64,
            writes: self.oracle.writes,
            reads: self.oracle.reads,
            tally: self.tally,
        }
    }

    pub(crate) fn now(&self) -> Micros {
        self.agenda.now()
    }

    pub(crate) fn places(&self) -> std::ops::Range<Place> {
        0..self.replicas.len()
    }

    pub(crate) fn alive(&self, place: Place) -> bool {
        self.replicas.get(place).is_some_and(|replica| replica.process.is_some())
    }

    pub(crate) fn say(&self, words: impl FnOnce() -> String) {
        self.trace.say(self.now(), words);
    }
}

/// A duration as a signed number.
pub(crate) fn signed(micros: Micros) -> i64 {
    i64::try_from(micros).unwrap_or(i64::MAX)
}
