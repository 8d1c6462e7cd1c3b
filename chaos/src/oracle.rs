//! What clients were told, held against the log: a certificate check of linearizability that goes on
//! while the world runs. Every answer carries the index it was given at; the order of the indexes must
//! be possible in real time, and replaying the log in that order must give exactly those answers.
//!
//! LIN-1: real time is respected. LIN-2: answers are those of the replay. EXO-1: an acknowledged write
//! is in the log, once effective, for ever. EXO-2: a write that was called not done never happens.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use muster::state::invariants::first_broken;
use muster_cluster::log::LogEntry;
use muster_cluster::machine::{Committed, StateMachine};
use muster_cluster::sessions::{Envelope, next_time};
use muster_cluster::types::{ReplicaId, RequestId, Timestamp};
use muster_proto::muster::log::v1::{Command, Reply};
use prost::Message as _;

use crate::access::Access;
use crate::invariants::{Violation, require};
use crate::ladder::{self, RUNGS};
use crate::machine::{Machine, observe};
use crate::reference::Reference;

/// Every how many entries the state's own invariants are asked.
const EXAMINED_EVERY: u64 = 16;

/// The log replayed once more, with the simplest possible rules.
pub(crate) struct Oracle {
    state: Machine,
    reference: Reference,
    pub(crate) access: Access,
    /// How often each rung was come to, in a world whose clients climb.
    pub(crate) rungs: Option<[u64; RUNGS]>,
    views: Vec<<Machine as StateMachine>::View>,
    effective: BTreeMap<RequestId, Effect>,
    /// By replica: its newest incarnation, and the oldest request that this may still ask about.
    oldest: BTreeMap<u64, (u64, u64)>,
    time: Timestamp,
    denied: BTreeSet<RequestId>,
    /// Replicas that were removed, and by which entry.
    retired: BTreeMap<u64, u64>,
    floor: u64,
    pub(crate) writes: u64,
    pub(crate) reads: u64,
}

struct Effect {
    index: u64,
    reply: Bytes,
}

impl Oracle {
    pub(crate) fn new() -> Self {
        let state = Machine::empty();
        Self {
            views: vec![state.view()],
            state,
            reference: Reference::default(),
            access: Access::default(),
            rungs: None,
            effective: BTreeMap::new(),
            oldest: BTreeMap::new(),
            time: Timestamp(0),
            denied: BTreeSet::new(),
            retired: BTreeMap::new(),
            floor: 0,
            writes: 0,
            reads: 0,
        }
    }

    /// The highest index any client was answered at: whoever asks from now on must see it.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// The entry `at` removes these replicas: nothing of theirs happens after it.
    pub(crate) fn retire(&mut self, at: u64, replicas: &[ReplicaId]) {
        for replica in replicas {
            self.retired.entry(replica.0).or_insert(at);
        }
    }

    /// The entry is in the log for ever.
    pub(crate) fn agreed(&mut self, entry: &LogEntry) -> Result<(), Violation> {
        let index = entry.index;
        if !entry.data.is_empty() || !entry.context.is_empty() {
            self.time = next_time(self.time, &entry.context);
        }
        // What is for the group itself changes no state of ours.
        if entry.kind == 0 && !entry.data.is_empty() {
            let envelope = Envelope::read(entry.data.clone());
            let envelope = envelope.map_err(|error| Violation {
                id: "EXO-1",
                what: format!("entry {index} cannot be read: {error}"),
            })?;
            self.request(index, &envelope)?;
        }
        self.views.push(self.state.view());
        Ok(())
    }

    fn request(&mut self, index: u64, envelope: &Envelope) -> Result<(), Violation> {
        let id = envelope.request();
        let oldest = self.oldest.entry(id.replica.0).or_default();
        if id.incarnation > oldest.0 {
            *oldest = (id.incarnation, 0);
        }
        let removed = self.retired.get(&id.replica.0).is_some_and(|at| index > *at);
        let retired = removed || id.incarnation < oldest.0;
        if !retired {
            oldest.1 = oldest.1.max(envelope.lowest_open.min(id.sequence));
        }
        if retired || id.sequence < oldest.1 || self.effective.contains_key(&id) {
            return Ok(());
        }
        require(!self.denied.contains(&id), "EXO-2", || {
            format!("{id:?} was called not done, but is entry {index}")
        })?;
        let committed = Committed { index, time: self.time, command: &envelope.command };
        let reply = self.state.apply(committed);
        self.judge(&envelope.command, &reply)?;
        if let Some(rungs) = &mut self.rungs {
            let rung = ladder::rung(&self.state.view())?;
            if let Some(times) = rungs.get_mut(rung) {
                *times += 1;
            }
        }
        if index.is_multiple_of(EXAMINED_EVERY) {
            self.access.matches(&self.state.view())?;
            let broken = first_broken(&self.state.view());
            require(broken.is_none(), "STA-1", || format!("{broken:?} at entry {index}"))?;
        }
        self.effective.insert(id, Effect { index, reply });
        Ok(())
    }

    fn judge(&mut self, command: &Bytes, reply: &Bytes) -> Result<(), Violation> {
        let decoded = Command::decode(command.clone()).ok().zip(Reply::decode(reply.clone()).ok());
        let Some((command, answer)) = decoded else { return Ok(()) };
        if self.access.judge(&command, self.time.0, &answer)? {
            self.reference.judge(command, self.time.0, reply)?;
        }
        Ok(())
    }

    /// A client was told that its write is done.
    pub(crate) fn wrote(
        &mut self,
        request: RequestId,
        asked_at_floor: u64,
        index: u64,
        reply: &Bytes,
    ) -> Result<(), Violation> {
        self.writes += 1;
        require(index > asked_at_floor, "LIN-1", || {
            format!("{request:?} is done at {index}, but {asked_at_floor} was seen before it")
        })?;
        let effect = self.effective.get(&request);
        require(effect.is_some_and(|effect| effect.index == index), "EXO-1", || {
            let found = effect.map(|effect| effect.index);
            format!("{request:?} was acknowledged at {index}, but the log has it at {found:?}")
        })?;
        require(effect.is_some_and(|effect| effect.reply == *reply), "LIN-2", || {
            format!("{request:?} was answered otherwise than the log says at {index}")
        })?;
        self.floor = self.floor.max(index);
        Ok(())
    }

    /// A client was shown the state, with this hash, as of `index`.
    pub(crate) fn read(
        &mut self,
        asked_at_floor: u64,
        index: u64,
        seen: u64,
    ) -> Result<(), Violation> {
        self.reads += 1;
        require(index >= asked_at_floor, "LIN-1", || {
            format!("a read shows entry {index}, but {asked_at_floor} was seen before it")
        })?;
        let view = usize::try_from(index).ok().and_then(|index| self.views.get(index));
        require(view.is_some_and(|view| observe(view) == seen), "LIN-2", || {
            format!("a read as of {index} shows another state than the log says")
        })?;
        self.floor = self.floor.max(index);
        Ok(())
    }

    /// Where in the log a request has its effect, and the answer to it.
    pub(crate) fn effect(&self, request: RequestId) -> Option<(u64, &Bytes)> {
        self.effective.get(&request).map(|effect| (effect.index, &effect.reply))
    }

    /// A client was told that its write certainly did not and will not happen.
    pub(crate) fn denied(&mut self, request: RequestId) -> Result<(), Violation> {
        require(!self.effective.contains_key(&request), "EXO-2", || {
            format!("{request:?} is called not done, but it is in the log")
        })?;
        self.denied.insert(request);
        Ok(())
    }
}
