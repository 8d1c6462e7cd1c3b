//! A group of cores in one thread: a network that can be cut, disks that can hang and forget.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};

use super::member;
use crate::{
    core::{
        ChangePolicy, Core, CoreConfig, Input, Output, Proposal, Role, SnapshotPolicy,
        message::{Kind, PeerMessage},
        reconcile, splitmix,
    },
    disk::DiskHealth,
    log::{LoadedLog, LogBatch, LogEntry, LogMark},
    machine::{Committed, LoadError, StateMachine},
    members::{Command, GroupRecord, Outcome, Refusal, Wish},
    sessions::{Envelope, Replicated},
    snapshot::SnapshotMeta,
    stall::Advice,
    types::{GroupId, Member, ReplicaId, RequestId, Timestamp},
};

/// Keeps every command; answers with how many there are.
pub(super) struct Tape(pub(super) Vec<Bytes>);

impl StateMachine for Tape {
    type View = Vec<Bytes>;

    fn empty() -> Self {
        Self(Vec::new())
    }

    fn apply(&mut self, entry: Committed<'_>) -> Bytes {
        self.0.push(Bytes::copy_from_slice(entry.command));
        Bytes::from(self.0.len().to_string())
    }

    fn view(&self) -> Vec<Bytes> {
        self.0.clone()
    }

    fn save(view: &Vec<Bytes>) -> Box<dyn Iterator<Item = Bytes> + Send + '_> {
        Box::new(view.iter().cloned())
    }

    fn load(records: &mut dyn Iterator<Item = Bytes>) -> Result<Self, LoadError> {
        Ok(Self(records.collect()))
    }
}

/// What survives a crash.
#[derive(Default)]
pub(super) struct Disk {
    pub(super) log: LoadedLog,
    pub(super) snapshots: BTreeMap<u64, (SnapshotMeta, Vec<Bytes>)>,
    pub(super) incarnation: u64,
}

impl Disk {
    pub(super) fn write(&mut self, batch: LogBatch) {
        let log = &mut self.log;
        if let Some(mark) = batch.reset {
            log.mark = mark;
            log.entries.clear();
        }
        if let Some(first) = batch.entries.first() {
            let keep = usize::try_from(first.index - log.mark.index - 1).unwrap();
            assert!(keep <= log.entries.len(), "a hole in the log");
            log.entries.truncate(keep);
            log.entries.extend(batch.entries);
        }
        log.hard_state = batch.hard_state.unwrap_or(log.hard_state);
        log.conf = batch.conf.or(log.conf.take());
    }

    pub(super) fn compact(&mut self, through: LogMark) {
        self.log.entries.retain(|entry| entry.index > through.index);
        self.log.mark = through;
    }
}

pub(super) struct Replica {
    pub(super) core: Core,
    pub(super) state: Replicated<Tape>,
    pub(super) writes: VecDeque<(u64, LogBatch)>,
    pub(super) inbox: VecDeque<Input>,
    pub(super) receiving: Vec<Bytes>,
    pub(super) receiving_meta: Option<SnapshotMeta>,
    pub(super) sequence: u64,
    pub(super) answers: BTreeMap<u64, Bytes>,
    pub(super) reads: BTreeMap<u64, u64>,
    pub(super) unsent: BTreeSet<u64>,
    pub(super) outcomes: BTreeMap<u64, Outcome>,
}

/// Everything that takes time, in a few ticks.
const QUICK: ChangePolicy = ChangePolicy {
    lag_entries: 20,
    lag_us: 1_000_000,
    gate_ticks: 10,
    settle_ticks: 40,
    return_ticks: 10,
    tick_us: 50_000,
    cleanup_pause_us: 1_000_000,
};

pub(super) struct Net {
    /// Those who began the group.
    pub(super) voters: Vec<ReplicaId>,
    pub(super) changes: ChangePolicy,
    /// Who said that it was removed.
    pub(super) removed: BTreeSet<ReplicaId>,
    pub(super) policy: SnapshotPolicy,
    pub(super) now: u64,
    pub(super) disks: BTreeMap<ReplicaId, Disk>,
    pub(super) replicas: BTreeMap<ReplicaId, Replica>,
    /// What the programs of these understand of the state; the others understand 1.
    pub(super) formats: BTreeMap<ReplicaId, u32>,
    /// How the disks of these are, if not sound.
    pub(super) health: BTreeMap<ReplicaId, DiskHealth>,
    /// Nothing goes from or to these.
    pub(super) cut: BTreeSet<ReplicaId>,
    /// Their writes do not finish.
    pub(super) hung: BTreeSet<ReplicaId>,
    pub(super) snapshots_sent: u64,
    /// Received snapshots take long to become durable: their ends wait in `late`.
    pub(super) slow_snapshots: bool,
    pub(super) late: Vec<(ReplicaId, Input)>,
    pub(super) trace: u64,
}

impl Net {
    pub(super) fn new(count: u64, policy: SnapshotPolicy) -> Self {
        let voters: Vec<ReplicaId> = (1..=count).map(ReplicaId).collect();
        let mut net = Self {
            voters: voters.clone(),
            changes: QUICK,
            removed: BTreeSet::new(),
            policy,
            now: 1_000_000,
            disks: voters.iter().map(|id| (*id, Disk::default())).collect(),
            replicas: BTreeMap::new(),
            formats: BTreeMap::new(),
            health: BTreeMap::new(),
            cut: BTreeSet::new(),
            hung: BTreeSet::new(),
            snapshots_sent: 0,
            slow_snapshots: false,
            late: Vec::new(),
            trace: 0,
        };
        for id in voters {
            net.start(id);
        }
        net
    }

    pub(super) fn config(&self, me: ReplicaId) -> CoreConfig {
        CoreConfig {
            group: GroupId(5),
            me,
            incarnation: self.disks[&me].incarnation,
            founders: self.voters.iter().map(|id| member(id.0)).collect(),
            members: self.disks.keys().map(|id| member(id.0)).collect(),
            state_format: self.formats.get(&me).copied().unwrap_or(1),
            seed: 42,
            election_ticks: 10,
            heartbeat_ticks: 2,
            snapshot: self.policy,
            changes: self.changes,
        }
    }

    pub(super) fn start(&mut self, id: ReplicaId) {
        let disk = self.disks.get_mut(&id).unwrap();
        disk.incarnation += 1;
        let newest = disk.snapshots.last_key_value().map(|(_, stored)| stored.clone());
        let meta = newest.as_ref().map(|(meta, _)| meta.clone());
        let (log, repair) = reconcile(disk.log.clone(), meta.as_ref()).unwrap();
        if let Some(batch) = repair {
            disk.write(batch);
        }
        let state = match newest {
            Some((_, chunks)) => Replicated::load(&mut chunks.into_iter()).unwrap(),
            None => Replicated::empty(),
        };
        let core = Core::new(self.config(id), log, meta).unwrap();
        let replica = Replica {
            core,
            state,
            writes: VecDeque::new(),
            inbox: VecDeque::new(),
            receiving: Vec::new(),
            receiving_meta: None,
            sequence: 0,
            answers: BTreeMap::new(),
            reads: BTreeMap::new(),
            unsent: BTreeSet::new(),
            outcomes: BTreeMap::new(),
        };
        self.replicas.insert(id, replica);
    }

    /// The process is gone, and with it what was not on its disk.
    pub(super) fn crash(&mut self, id: ReplicaId) {
        self.replicas.remove(&id);
        self.hung.remove(&id);
    }

    pub(super) fn live(&self) -> Vec<ReplicaId> {
        self.replicas.keys().copied().collect()
    }

    pub(super) fn tick(&mut self) {
        self.tick_to(|_| false);
    }

    /// A tick that stops right after the step that made something hold.
    fn tick_to(&mut self, holds: impl Fn(&Self) -> bool) -> bool {
        self.now += 50_000;
        for id in self.live() {
            let health = self.health.get(&id).copied().unwrap_or_default();
            let inputs = Advice::GoOn.inputs(health);
            self.replicas.get_mut(&id).unwrap().inbox.extend(inputs);
        }
        self.run_to(holds)
    }

    /// Ticks until right after the step that makes something hold.
    pub(super) fn until_just(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let came = (0..400).any(|_| self.tick_to(&holds));
        assert!(came, "it never came to this: {what}");
    }

    /// Ticks until something holds, within reason.
    pub(super) fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        for _ in 0..400 {
            if holds(self) {
                return;
            }
            self.tick();
        }
        panic!("it never came to this: {what}");
    }

    pub(super) fn run(&mut self) {
        self.run_to(|_| false);
    }

    /// Runs until nothing is left to do, or something holds.
    fn run_to(&mut self, holds: impl Fn(&Self) -> bool) -> bool {
        loop {
            let mut idle = true;
            for id in self.live() {
                let Some(replica) = self.replicas.get_mut(&id) else { continue };
                let inputs: Vec<Input> = replica.inbox.drain(..).collect();
                if !inputs.is_empty() {
                    idle = false;
                    self.step(id, inputs);
                    if holds(self) {
                        return true;
                    }
                }
                if !self.hung.contains(&id) {
                    idle &= !self.flush(id);
                }
            }
            if idle {
                return false;
            }
        }
    }

    /// Finishes the writes under way.
    pub(super) fn flush(&mut self, id: ReplicaId) -> bool {
        let Some(replica) = self.replicas.get_mut(&id) else { return false };
        let mut last = None;
        for (number, batch) in replica.writes.drain(..) {
            self.disks.get_mut(&id).unwrap().write(batch);
            last = Some(number);
        }
        if let Some(number) = last {
            replica.inbox.push_back(Input::Persisted { number });
        }
        last.is_some()
    }

    pub(super) fn step(&mut self, id: ReplicaId, inputs: Vec<Input>) {
        let mut out = Vec::new();
        let core = &mut self.replicas.get_mut(&id).unwrap().core;
        core.step(Timestamp(self.now), inputs, &mut out).unwrap();
        for output in out {
            if !self.replicas.contains_key(&id) {
                return;
            }
            for byte in format!("{id}{output:?}").bytes() {
                self.trace = splitmix(self.trace ^ u64::from(byte));
            }
            self.obey(id, output);
        }
    }

    pub(super) fn obey(&mut self, id: ReplicaId, output: Output) {
        let replica = self.replicas.get_mut(&id).unwrap();
        let disk = self.disks.get_mut(&id).unwrap();
        match output {
            Output::Persist { number, batch } => replica.writes.push_back((number, batch)),
            Output::Send { to, payload, .. } => self.deliver(id, to, payload),
            Output::Apply { entries } => apply(replica, id, disk.incarnation, &entries),
            Output::Install { meta } => {
                let chunks = disk.snapshots[&meta.index].1.clone();
                replica.state = Replicated::load(&mut chunks.into_iter()).unwrap();
                replica.inbox.push_back(Input::Applied { index: meta.index });
            }
            Output::ReadAt { ticket, index } => {
                replica.reads.insert(ticket, index);
            }
            Output::Abandoned { sequence, sent } => {
                if !sent {
                    replica.unsent.insert(sequence);
                }
            }
            Output::BuildSnapshot { conf, .. } => {
                let picture = replica.state.picture();
                let meta = SnapshotMeta {
                    group: GroupId(5),
                    index: picture.index,
                    term: picture.term,
                    conf,
                    time: picture.time,
                    digest: 0,
                };
                disk.snapshots.insert(picture.index, (meta.clone(), picture.records().collect()));
                replica.inbox.push_back(Input::SnapshotSaved(meta));
            }
            Output::SendChunks { to, transfer, index, first, count } => {
                let chunks = disk.snapshots[&index].1.clone();
                for number in first..first + count {
                    let place = usize::try_from(number).unwrap();
                    let Some(data) = chunks.get(place).cloned() else { break };
                    let last = place + 1 == chunks.len();
                    let payload = PeerMessage::snapshot_chunk(transfer, number, last, data);
                    self.deliver(id, to, payload);
                }
            }
            Output::ReceiveSnapshot { meta, .. } => {
                replica.receiving.clear();
                replica.receiving_meta = Some(meta);
            }
            Output::StoreChunk { from, transfer, last, data } => {
                replica.receiving.push(data);
                let input = if last {
                    let meta = replica.receiving_meta.take().unwrap();
                    let chunks = std::mem::take(&mut replica.receiving);
                    disk.snapshots.insert(meta.index, (meta, chunks));
                    let received = Input::SnapshotReceived { from, transfer, ok: true };
                    if self.slow_snapshots {
                        self.late.push((id, received));
                        return;
                    }
                    received
                } else {
                    Input::ChunkStored { from, transfer }
                };
                replica.inbox.push_back(input);
            }
            Output::Compact { through } => disk.compact(through),
            Output::Leadership(_) | Output::Record { .. } => {}
            Output::Answered { sequence, outcome } => {
                replica.outcomes.insert(sequence, outcome);
            }
            Output::Retire { at, replicas } => replica.state.retire(at, replicas),
            Output::Removed => {
                self.removed.insert(id);
                self.crash(id);
                // What it said last may be lost with its connections.
                let last =
                    |input: &Input| matches!(input, Input::Received { from, .. } if *from == id);
                for other in self.replicas.values_mut() {
                    other.inbox.retain(|input| !last(input));
                }
            }
        }
    }

    pub(super) fn deliver(&mut self, from: ReplicaId, to: ReplicaId, payload: Bytes) {
        self.check_durable(from, &payload);
        if self.cut.contains(&from) || self.cut.contains(&to) {
            return;
        }
        // As the handshake does.
        let told = self
            .replicas
            .get(&to)
            .is_some_and(|replica| replica.core.record().tombstones.contains_key(&from));
        if told {
            if let Some(replica) = self.replicas.get_mut(&from) {
                replica.inbox.push_back(Input::ToldRemoved);
            }
        } else if let Some(replica) = self.replicas.get_mut(&to) {
            replica.inbox.push_back(Input::Received { from, payload });
        }
    }

    /// Whatever a replica says of its term is on its disk before.
    pub(super) fn check_durable(&mut self, from: ReplicaId, payload: &Bytes) {
        match PeerMessage::from_payload(payload.clone()).unwrap().kind.unwrap() {
            Kind::Raft(bytes) => {
                let message = Message::parse_from_bytes(&bytes).unwrap();
                let asks_for_later = matches!(
                    message.get_msg_type(),
                    MessageType::MsgRequestPreVote | MessageType::MsgRequestPreVoteResponse
                );
                let durable = self.disks[&from].log.hard_state.term;
                assert!(asks_for_later || message.term <= durable, "{message:?}");
            }
            Kind::SnapshotHead(_) => self.snapshots_sent += 1,
            _ => {}
        }
    }

    pub(super) fn leader(&self) -> Option<ReplicaId> {
        self.replicas
            .iter()
            .filter(|(id, _)| !self.cut.contains(id))
            .find(|(_, replica)| replica.core.status().leadership.role == Role::Leader)
            .map(|(id, _)| *id)
    }

    pub(super) fn elect(&mut self) -> ReplicaId {
        self.until("a leader", |net| net.leader().is_some());
        self.leader().unwrap()
    }

    pub(super) fn follower(&self) -> ReplicaId {
        let leader = self.leader();
        self.live().into_iter().find(|id| Some(*id) != leader && !self.cut.contains(id)).unwrap()
    }

    pub(super) fn propose(&mut self, id: ReplicaId, command: &str) -> u64 {
        let incarnation = self.disks[&id].incarnation;
        let replica = self.replicas.get_mut(&id).unwrap();
        replica.sequence += 1;
        let sequence = replica.sequence;
        let request = RequestId { replica: id, incarnation, sequence };
        let data = Envelope::new(request, 1, Bytes::from(command.to_owned())).write();
        replica.inbox.push_back(Input::Propose(vec![Proposal { sequence, data }]));
        sequence
    }

    pub(super) fn answered(&self, id: ReplicaId, sequence: u64) -> bool {
        self.replicas[&id].answers.contains_key(&sequence)
    }

    /// Proposes and waits for the answer.
    pub(super) fn write(&mut self, id: ReplicaId, command: &str) {
        let sequence = self.propose(id, command);
        self.until("an answer", |net| net.answered(id, sequence));
    }

    pub(super) fn tape(&self, id: ReplicaId) -> Vec<Bytes> {
        self.replicas[&id].state.machine().0.clone()
    }

    pub(super) fn agree(&mut self) {
        self.until("agreement", |net| {
            let ids = net.live();
            ids.windows(2).all(|pair| net.tape(pair[0]) == net.tape(pair[1]))
        });
    }
}

pub(super) fn apply(replica: &mut Replica, id: ReplicaId, incarnation: u64, entries: &[LogEntry]) {
    let mut done = Vec::new();
    for entry in entries {
        assert_eq!(entry.index, replica.state.index() + 1, "a hole in what is applied");
        let Some(outcome) = replica.state.apply(entry).unwrap() else { continue };
        let request = outcome.request;
        if request.replica == id && request.incarnation == incarnation {
            done.push(request.sequence);
            if let Some(answer) = outcome.answer {
                replica.answers.entry(request.sequence).or_insert(answer.reply);
            }
        }
    }
    replica.inbox.push_back(Input::Done { sequences: done });
    replica.inbox.push_back(Input::Applied { index: replica.state.index() });
}

impl Net {
    /// Wishes something of the group record at `id`; tells the proposal's sequence.
    pub(super) fn ask(&mut self, id: ReplicaId, command: Command) -> u64 {
        let incarnation = self.disks[&id].incarnation;
        let replica = self.replicas.get_mut(&id).unwrap();
        replica.sequence += 1;
        let sequence = replica.sequence;
        let record = replica.core.record();
        let founders = if record.revision == 0 { record.founders.clone() } else { Vec::new() };
        let request = RequestId { replica: id, incarnation, sequence };
        let wish = Wish { founders, command }.encode();
        let data = Envelope::of_wish(request, 1, wish).write();
        replica.inbox.push_back(Input::Propose(vec![Proposal { sequence, data }]));
        sequence
    }

    /// Wishes something and waits for the answer.
    pub(super) fn wish(&mut self, id: ReplicaId, command: Command) -> Outcome {
        let sequence = self.ask(id, command);
        self.until("an outcome", |net| net.replicas[&id].outcomes.contains_key(&sequence));
        self.replicas[&id].outcomes[&sequence].clone()
    }

    /// Wishes for a change and waits for its end.
    pub(super) fn change(&mut self, id: ReplicaId, command: Command) -> Result<(), Refusal> {
        let change = match self.wish(id, command) {
            Outcome::Begun { change } => change,
            Outcome::Refused(refusal) => return Err(refusal),
            other => panic!("{other:?}"),
        };
        let ending =
            |net: &Self| net.live().iter().find_map(|id| net.record(*id).ending(change).cloned());
        self.until("the end of a change", |net| ending(net).is_some());
        ending(self).and_then(|finished| finished.refused).map_or(Ok(()), Err)
    }

    /// Lets a fresh replica in, through any replica, and starts it.
    pub(super) fn join(&mut self, through: ReplicaId, id: u64) {
        let Member { id, name, address } = member(id);
        let (zone, standby) = (String::new(), false);
        let outcome =
            self.wish(through, Command::Add { id: Some(id), name, address, zone, standby });
        assert_eq!(outcome, Outcome::Admitted { replica: id });
        self.disks.insert(id, Disk::default());
        self.start(id);
    }

    pub(super) fn record(&self, id: ReplicaId) -> &GroupRecord {
        self.replicas[&id].core.record()
    }

    /// The voters as `id` sees them.
    pub(super) fn conf(&self, id: ReplicaId) -> Vec<u64> {
        self.replicas[&id].core.conf().voters.iter().map(|id| id.0).collect()
    }
}
