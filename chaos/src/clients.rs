//! Clients: one operation at a time, with a deadline, at any replica. What was not answered is
//! unknown, and often asked again, elsewhere, under the same request.

use bytes::Bytes;
use muster::actors::{CallError, NotDone, grows, verdicts};
use muster_cluster::core::Input;
use muster_cluster::types::RequestId;
use muster_proto::muster::log::v1::{
    BeatOutcome, Command, RejectionKind, Reply, command::Kind, reply,
};
use prost::Message as _;

use crate::agenda::MILLIS;
use crate::commands;
use crate::invariants::{Violation, require};
use crate::ladder;
use crate::network::Place;
use crate::replica::{Process, id_of};
use crate::world::{Event, Local, World};

/// One client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    /// What it asks again because nobody said how it went.
    again: Option<Bytes>,
    /// Its writes that were answered.
    pub(crate) done: u64,
    /// After how many of them it was not told what became of the next.
    pub(crate) unsure_after: Vec<u64>,
}

/// What a client wants.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    Write(Bytes),
    Read,
}

/// One operation from its start to its answer.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    client: usize,
    pub(crate) place: Place,
    incarnation: u64,
    pub(crate) wish: Wish,
    /// The highest index any client had seen before this one asked.
    pub(crate) floor: u64,
    /// Under what the write is in the log, once its replica has taken it.
    pub(crate) request: Option<RequestId>,
    /// Sequence of a write or ticket of a read.
    pub(crate) number: u64,
    after_healing: bool,
}

/// How an operation ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// It did not happen and never will.
    NotDone,
    Unknown,
}

impl World {
    /// A client begins its next operation.
    pub(crate) fn think(&mut self, client: usize) {
        if self.clients_rest(client) {
            return;
        }
        let Some(place) = self.choose_place(client) else { return };
        let wish = self.choose_wish(client);
        let Some(replica) = self.replicas.get(place) else { return };
        let alive = replica.process.is_some();
        let operation = Operation {
            client,
            place,
            incarnation: replica.incarnation,
            wish,
            floor: self.oracle.floor(),
            request: None,
            number: 0,
            after_healing: self.healed,
        };
        self.next_operation += 1;
        let id = self.next_operation;
        self.journal.asked(self.agenda.now(), id, client, &operation.wish);
        self.operations.insert(id, operation);
        if !alive {
            self.settle(id, Outcome::NotDone);
            return;
        }
        self.later(place, 0, Local::Ask(id));
        let patience = self.plan.clients.patience;
        self.agenda.after(patience, Event::Deadline(id));
    }

    fn choose_place(&mut self, client: usize) -> Option<Place> {
        if self.healed {
            // Every surviving replica must serve: each client goes around them.
            let turn = usize::try_from(self.next_operation).unwrap_or(0).wrapping_add(client);
            return self.core.get(turn % self.core.len().max(1)).copied();
        }
        Some(self.chance.workload.place(self.replicas.len()))
    }

    fn choose_wish(&mut self, client: usize) -> Wish {
        let plan = &self.plan.clients;
        let again = self.clients.get_mut(client).and_then(|client| client.again.take());
        if let Some(command) = again {
            return Wish::Write(command);
        }
        if self.chance.workload.permille(plan.read_permille) {
            return Wish::Read;
        }
        if plan.climb {
            let done = self.clients.get(client).map_or(0, |client| client.done);
            return Wish::Write(ladder::step(done));
        }
        let request = self.next_operation;
        Wish::Write(commands::draw(&mut self.chance.workload, plan, request))
    }

    /// An operation arrives at its replica.
    pub(crate) fn ask(&mut self, id: u64) -> Result<(), Violation> {
        let Some(operation) = self.operations.get_mut(&id) else { return Ok(()) };
        let place = operation.place;
        let Some(replica) = self.replicas.get_mut(place) else { return Ok(()) };
        let Some(process) = &mut replica.process else { return Ok(()) };
        match operation.wish.clone() {
            Wish::Write(command) if refused_for_room(process, place, &command)? => {
                self.tally.refused += 1;
                self.settle(id, Outcome::NotDone);
                Ok(())
            }
            Wish::Write(command) => {
                let request = RequestId {
                    replica: id_of(place),
                    incarnation: replica.incarnation,
                    sequence: process.next_sequence,
                };
                process.next_sequence += 1;
                operation.request = Some(request);
                operation.number = request.sequence;
                process.writes.insert(request.sequence, id);
                let first = process.inbox.is_empty();
                process.queue_command(request, command);
                if first {
                    let after = self.chance.work.between(0, MILLIS / 4);
                    self.later(place, after, Local::Propose);
                }
                Ok(())
            }
            Wish::Read => {
                let ticket = process.next_ticket;
                process.next_ticket += 1;
                operation.number = ticket;
                process.reads.insert(ticket, id);
                self.step(place, Input::Read { ticket })
            }
        }
    }

    /// A client waits no longer.
    pub(crate) fn deadline(&mut self, id: u64) -> Result<(), Violation> {
        let Some(operation) = self.operations.get(&id) else { return Ok(()) };
        let (place, incarnation) = (operation.place, operation.incarnation);
        if matches!(operation.wish, Wish::Write(_)) {
            // The answer of a paused replica is not waited for.
            let paused = self.replicas.get(place).is_none_or(|replica| replica.paused);
            self.local(place, incarnation, Local::Abandon(id))?;
            if !paused {
                return Ok(());
            }
        }
        self.settle(id, Outcome::Unknown);
        Ok(())
    }

    /// The replica is told that nobody waits for this write any more.
    pub(crate) fn abandon(&mut self, id: u64, place: Place) -> Result<(), Violation> {
        let Some(process) = self.process(place) else { return Ok(()) };
        let known = process.writes.iter().find(|(_, operation)| **operation == id);
        let Some((sequence, _)) = known else { return Ok(()) };
        let sequence = *sequence;
        if process.inbox.iter().any(|proposal| proposal.sequence == sequence) {
            process.inbox.retain(|proposal| proposal.sequence != sequence);
            process.writes.remove(&sequence);
            return self.denied(id);
        }
        self.step(place, Input::Abandon { sequence })
    }

    /// The core gave up a write.
    pub(crate) fn abandoned(
        &mut self,
        place: Place,
        sequence: u64,
        sent: bool,
    ) -> Result<(), Violation> {
        let Some(process) = self.process(place) else { return Ok(()) };
        let Some(id) = process.writes.remove(&sequence) else { return Ok(()) };
        if !sent {
            return self.denied(id);
        }
        if let Some(operation) = self.operations.get(&id) {
            told_of_beats(&operation.wish, Err(CallError::MayBeDone))?;
        }
        self.settle(id, Outcome::Unknown);
        Ok(())
    }

    fn denied(&mut self, id: u64) -> Result<(), Violation> {
        if let Some(operation) = self.operations.get(&id) {
            told_of_beats(&operation.wish, Err(NotDone::NoLeader.into()))?;
        }
        if let Some(request) = self.operations.get(&id).and_then(|operation| operation.request) {
            self.oracle.denied(request)?;
        }
        self.settle(id, Outcome::NotDone);
        Ok(())
    }

    /// A write came out of the log at `index` with `reply`.
    pub(crate) fn wrote(&mut self, id: u64, index: u64, reply: &Bytes) -> Result<(), Violation> {
        let Some(operation) = self.operations.get(&id) else { return Ok(()) };
        let (floor, place) = (operation.floor, operation.place);
        if let Some(request) = operation.request {
            self.oracle.wrote(request, floor, index, reply)?;
        }
        self.journal.wrote(self.agenda.now(), id, index, reply);
        if operation.after_healing
            && let Some((writes, _)) = self.served.get_mut(place)
        {
            *writes += 1;
        }
        if let Some(operation) = self.operations.get(&id) {
            told_of_beats(&operation.wish, Ok(reply))?;
        }
        self.settle(id, Outcome::Done);
        Ok(())
    }

    /// A read was served as of `index`.
    pub(crate) fn read(&mut self, id: u64, index: u64, seen: u64) -> Result<(), Violation> {
        let Some(operation) = self.operations.get(&id) else { return Ok(()) };
        let (floor, place) = (operation.floor, operation.place);
        self.oracle.read(floor, index, seen)?;
        if operation.after_healing
            && let Some((_, reads)) = self.served.get_mut(place)
        {
            *reads += 1;
        }
        self.settle(id, Outcome::Done);
        Ok(())
    }

    /// An operation is over for its client, which goes on after a while.
    pub(crate) fn settle(&mut self, id: u64, outcome: Outcome) {
        let Some(operation) = self.operations.remove(&id) else { return };
        let now = self.agenda.now();
        self.journal.ended(now, id, outcome, operation.request);
        self.trace.event(now, &[200, id, outcome as u64]);
        self.say(|| format!("client {} operation {id}: {outcome:?}", operation.client));
        let think = self.plan.clients.think_max;
        let pause = self.chance.workload.between(MILLIS, think);
        let retried = self.chance.workload.permille(self.plan.clients.retry_permille);
        let Some(client) = self.clients.get_mut(operation.client) else { return };
        if let Wish::Write(command) = operation.wish {
            match outcome {
                Outcome::Done => client.done += 1,
                Outcome::NotDone => (),
                Outcome::Unknown => client.unsure_after.push(client.done),
            }
            if outcome != Outcome::Done && retried {
                client.again = Some(command);
            }
        }
        self.agenda.after(pause, Event::Think(operation.client));
    }

    /// A process died: what it was asked has no answer any more.
    pub(crate) fn orphan(&mut self, place: Place) {
        let orphans: Vec<_> = self
            .operations
            .iter()
            .filter(|(_, operation)| operation.place == place)
            .map(|(id, _)| *id)
            .collect();
        for id in orphans {
            self.settle(id, Outcome::Unknown);
        }
    }
}

/// Whether production takes no such command now, for want of room. FUL-1: what plainly grows is not
/// taken while the disk is known to be low, and nothing while it is full.
fn refused_for_room(process: &Process, place: Place, command: &Bytes) -> Result<bool, Violation> {
    if !(process.low || process.full) {
        return Ok(false);
    }
    let kind = Command::decode(command.clone()).ok().and_then(|command| command.kind);
    let Some(kind) = kind else { return Ok(false) };
    let refused = process.full || grows(&kind);
    require(refused || !commands::plainly_grows(&kind), "FUL-1", || {
        format!("replica {place} takes {kind:?} though its disk is low")
    })?;
    Ok(refused)
}

/// What the production code tells members of their beats. BEA-1: a beat that is not known to be in the
/// log is neither acknowledged nor told what switches a member off.
fn told_of_beats(wish: &Wish, outcome: Result<&Bytes, CallError>) -> Result<(), Violation> {
    let Wish::Write(command) = wish else { return Ok(()) };
    let kind = Command::decode(command.clone()).ok().and_then(|command| command.kind);
    let Some(Kind::RecordHeartbeats(beats)) = kind else { return Ok(()) };
    let decoded = outcome.map(|reply| Reply::decode(reply.clone()).ok().and_then(|it| it.kind));
    let logged = match &decoded {
        Ok(Some(reply::Kind::HeartbeatsRecorded(recorded))) => recorded.outcomes.clone(),
        _ => Vec::new(),
    };
    let outcome = match decoded {
        Ok(Some(reply::Kind::Rejected(no))) => Err(CallError::Rejected(no)),
        Ok(Some(reply)) => Ok(reply),
        Ok(None) => return Ok(()),
        Err(error) => Err(error),
    };
    for (number, told) in verdicts(outcome, beats.beats.len()).into_iter().enumerate() {
        let logged = logged.get(number).copied();
        let honest = match &told {
            Ok(_) => logged == Some(BeatOutcome::Recorded.into()),
            Err(CallError::Rejected(no)) if no.kind() == RejectionKind::IdOrSecretInvalid => {
                logged == Some(BeatOutcome::IdOrSecretInvalid.into())
            }
            Err(_) => true,
        };
        require(honest, "BEA-1", || {
            format!("beat {number} was told {told:?}, the log says {logged:?}")
        })?;
    }
    Ok(())
}
