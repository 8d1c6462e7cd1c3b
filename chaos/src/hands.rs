//! The driver of a core, as a simulated one: hands it inputs and does what it says.

use muster_cluster::core::{Input, Output};
use muster_cluster::net::Lane;

use crate::invariants::members::Members;
use crate::invariants::members::is_alone;
use crate::invariants::votes::Votes;
use crate::invariants::{Violation, require};
use crate::network::Place;
use crate::peek::{self, Promise};
use crate::replica::{Applying, Process, Writing, id_of, place_of};
use crate::shadow::Sketch;
use crate::snapshots::{Sending, Storing};
use crate::world::{Local, World};

impl World {
    pub(crate) fn process(&mut self, place: Place) -> Option<&mut Process> {
        self.replicas.get_mut(place)?.process.as_mut()
    }

    /// Something happens to a process that is awake.
    pub(crate) fn act(&mut self, place: Place, local: Local) -> Result<(), Violation> {
        match local {
            Local::Tick => self.tick(place),
            Local::Message(parcel) => {
                let now = self.now();
                self.trace.event(now, &[1, place as u64, parcel.from as u64]);
                self.trace.bytes(&parcel.payload);
                self.say(|| {
                    format!("{place} <- {} {}", parcel.from, peek::describe(&parcel.payload))
                });
                let from = id_of(parcel.from);
                self.step(place, Input::Received { from, payload: parcel.payload })
            }
            Local::PeerUp(peer) => self.step(place, Input::PeerUp(id_of(peer))),
            Local::PeerDown(peer) => self.step(place, Input::PeerDown(id_of(peer))),
            Local::Drain => self.drain(place),
            Local::Write(turn) => self.write(place, turn),
            Local::Apply => self.apply(place),
            Local::Save(saving) => self.save(place, &saving),
            Local::SendChunks(sending) => self.send_chunks(place, sending),
            Local::StoreChunk(storing) => self.store_chunk(place, &storing),
            Local::Propose => {
                let Some(process) = self.process(place) else { return Ok(()) };
                let proposals = std::mem::take(&mut process.inbox);
                self.step(place, Input::Propose(proposals))
            }
            Local::Crash => {
                if !self.healed {
                    self.crash(place);
                }
                Ok(())
            }
            Local::Ask(operation) => self.ask(operation),
            Local::Abandon(operation) => self.abandon(operation, place),
            Local::ToldRemoved => self.step(place, Input::ToldRemoved),
            Local::Look => {
                self.look(place);
                Ok(())
            }
            Local::Backup => {
                let ticket = self.now();
                self.step(place, Input::SaveSnapshot { ticket })
            }
            Local::Transfer(to) => self.step(place, Input::Transfer { to: to.map(id_of) }),
        }
    }

    fn tick(&mut self, place: Place) -> Result<(), Violation> {
        let jitter = self.chance.work.between(0, self.plan.tick / 10);
        let after = self.by_its_clock(place, self.plan.tick + jitter);
        self.later(place, after, Local::Tick);
        let inputs = self.look_at_stall(place)?;
        let now = self.now();
        self.trace.event(now, &[2, place as u64]);
        self.step_all(place, inputs)
    }

    /// Hands one input to a core, now or with the next drain of its inbox.
    pub(crate) fn step(&mut self, place: Place, input: Input) -> Result<(), Violation> {
        self.step_all(place, vec![input])
    }

    /// Hands inputs that come together to a core.
    fn step_all(&mut self, place: Place, inputs: Vec<Input>) -> Result<(), Violation> {
        let slow = self.plan.drain_max;
        let Some(process) = self.process(place).filter(|_| !inputs.is_empty()) else {
            return Ok(());
        };
        let first = process.inputs.is_empty();
        process.inputs.extend(inputs);
        if slow == 0 {
            return self.drain(place);
        }
        if first {
            let after = self.chance.work.between(0, slow);
            self.later(place, after, Local::Drain);
        }
        Ok(())
    }

    /// Lets a core take everything that waits for it, and carries out its answers.
    pub(crate) fn drain(&mut self, place: Place) -> Result<(), Violation> {
        let clock = self.wall_clock(place);
        let mut outputs = Vec::new();
        let Some(process) = self.process(place) else { return Ok(()) };
        let inputs = std::mem::take(&mut process.inputs);
        if let Err(error) = process.core.step(clock, inputs, &mut outputs) {
            return require(false, "COR-1", || format!("the core of replica {place}: {error}"));
        }
        for output in outputs {
            self.carry_out(place, output)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, place: Place, output: Output) -> Result<(), Violation> {
        match output {
            Output::Persist { number, batch } => {
                self.check_writing(place, &batch)?;
                self.write_soon(place, Writing::Persist { number, batch });
            }
            Output::Compact { through } => self.write_soon(place, Writing::Compact(through)),
            Output::Send { to, lane, payload } => {
                self.check_promise(place, &payload)?;
                let lane = match lane {
                    Lane::Control => 0,
                    Lane::Bulk => 1,
                };
                self.send(place, place_of(to), lane, payload);
            }
            Output::Apply { entries } => self.apply_soon(place, Applying::Entries(entries)),
            Output::Install { meta } => self.apply_soon(place, Applying::Install(meta)),
            Output::ReadAt { ticket, index } => return self.read_at(place, ticket, index),
            Output::Abandoned { sequence, sent } => return self.abandoned(place, sequence, sent),
            Output::BuildSnapshot { conf, .. } => {
                self.apply_soon(place, Applying::Picture(conf));
            }
            Output::SendChunks { to, transfer, index, first, count } => {
                let sending = Sending { to, transfer, index, first, count };
                self.in_turn(place, Local::SendChunks(sending));
            }
            Output::ReceiveSnapshot { from, transfer, meta } => {
                return self.receive(place, from, transfer, meta);
            }
            Output::StoreChunk { from, transfer, last, data } => {
                self.in_turn(place, Local::StoreChunk(Storing { from, transfer, last, data }));
            }
            Output::Leadership(leadership) => return self.lead(place, leadership),
            Output::Answered { sequence, outcome } => self.answered(place, sequence, &outcome),
            Output::Record { record, conf } => return self.recorded(place, &record, &conf),
            Output::Retire { at, replicas } => {
                self.oracle.retire(at, &replicas);
                self.apply_soon(place, Applying::Retire(at, replicas));
            }
            Output::Removed => self.removed(place),
        }
        Ok(())
    }

    fn lead(
        &mut self,
        place: Place,
        leadership: muster_cluster::core::Leadership,
    ) -> Result<(), Violation> {
        self.say(|| format!("{place} {leadership:?}"));
        let Some(replica) = self.replicas.get_mut(place) else { return Ok(()) };
        let Some(process) = &mut replica.process else { return Ok(()) };
        process.leadership = leadership;
        if leadership.role == muster_cluster::core::Role::Leader {
            let agreement = &self.checks.agreement;
            self.checks.election.leads(place, leadership.term, &process.memory, agreement)?;
            let (conf, votes) = (process.core.conf(), &self.checks.votes);
            Members::leads(place, leadership.term, conf, votes)?;
        }
        Ok(())
    }

    fn check_writing(
        &mut self,
        place: Place,
        batch: &muster_cluster::log::LogBatch,
    ) -> Result<(), Violation> {
        let Some(process) = self.replicas.get(place).and_then(|replica| replica.process.as_ref())
        else {
            return Ok(());
        };
        // The only voter may win the same term again after a crash: nobody saw what it lost.
        if is_alone(process.core.conf(), id_of(place)) {
            return Ok(());
        }
        let memory = &process.memory;
        let mut before = batch.entries.first().and_then(|first| {
            let index = first.index.checked_sub(1)?;
            let mark = batch.reset.unwrap_or(memory.mark);
            if index == mark.index {
                Some(mark.term)
            } else {
                memory.get(index).map(|sketch| sketch.term)
            }
        });
        for entry in &batch.entries {
            let sketch = Sketch::of(entry);
            self.checks.agreement.writes(place, entry.index, sketch, before)?;
            before = Some(entry.term);
        }
        Ok(())
    }

    fn check_promise(&mut self, place: Place, payload: &bytes::Bytes) -> Result<(), Violation> {
        let Some(replica) = self.replicas.get(place) else { return Ok(()) };
        let Some(message) = peek::raft_message(payload) else { return Ok(()) };
        let durable = replica.shadow.durable();
        require(message.from == id_of(place).0, "VOT-1", || {
            format!("replica {place} speaks as {:x}", message.from)
        })?;
        match peek::promise(&message) {
            Some(Promise::Vote { term, to }) => self.checks.votes.votes(place, term, to, durable),
            Some(Promise::Append { term, index }) => {
                Votes::acknowledges(place, term, index, durable)
            }
            None => Ok(()),
        }
    }
}
