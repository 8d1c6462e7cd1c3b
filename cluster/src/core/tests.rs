//! A group of cores in one thread: a network that can be cut, disks that can hang and forget.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use protobuf::Message as _;
use raft::{
    StateRole,
    eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, Entry, Message, MessageType},
};

use super::{
    Core, CoreConfig, CoreError, Input, Output, Proposal, Role, SnapshotPolicy,
    message::{Kind, PeerMessage},
    reconcile, splitmix,
};
use crate::{
    log::{LoadedLog, LogBatch, LogEntry, LogMark},
    machine::{Committed, LoadError, StateMachine},
    sessions::{Envelope, Replicated},
    snapshot::SnapshotMeta,
    types::{GroupId, ReplicaId, RequestId, Timestamp},
};

/// Keeps every command; answers with how many there are.
struct Tape(Vec<Bytes>);

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
struct Disk {
    log: LoadedLog,
    snapshots: BTreeMap<u64, (SnapshotMeta, Vec<Bytes>)>,
    incarnation: u64,
}

impl Disk {
    fn write(&mut self, batch: LogBatch) {
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

    fn compact(&mut self, through: LogMark) {
        self.log.entries.retain(|entry| entry.index > through.index);
        self.log.mark = through;
    }
}

struct Replica {
    core: Core,
    state: Replicated<Tape>,
    writes: VecDeque<(u64, LogBatch)>,
    inbox: VecDeque<Input>,
    receiving: Vec<Bytes>,
    receiving_meta: Option<SnapshotMeta>,
    sequence: u64,
    answers: BTreeMap<u64, Bytes>,
    reads: BTreeMap<u64, u64>,
    unsent: BTreeSet<u64>,
}

struct Net {
    voters: Vec<ReplicaId>,
    policy: SnapshotPolicy,
    now: u64,
    disks: BTreeMap<ReplicaId, Disk>,
    replicas: BTreeMap<ReplicaId, Replica>,
    /// Nothing goes from or to these.
    cut: BTreeSet<ReplicaId>,
    /// Their writes do not finish.
    hung: BTreeSet<ReplicaId>,
    snapshots_sent: u64,
    trace: u64,
}

const NEVER: SnapshotPolicy = SnapshotPolicy {
    every_entries: u64::MAX,
    every_bytes: u64::MAX,
    keep_entries: 10,
    keep_bytes: 1 << 20,
};

impl Net {
    fn new(count: u64, policy: SnapshotPolicy) -> Self {
        let voters: Vec<ReplicaId> = (1..=count).map(ReplicaId).collect();
        let mut net = Self {
            voters: voters.clone(),
            policy,
            now: 1_000_000,
            disks: voters.iter().map(|id| (*id, Disk::default())).collect(),
            replicas: BTreeMap::new(),
            cut: BTreeSet::new(),
            hung: BTreeSet::new(),
            snapshots_sent: 0,
            trace: 0,
        };
        for id in voters {
            net.start(id);
        }
        net
    }

    fn config(&self, me: ReplicaId) -> CoreConfig {
        CoreConfig {
            group: GroupId(5),
            me,
            incarnation: self.disks[&me].incarnation,
            voters: self.voters.clone(),
            seed: 42,
            election_ticks: 10,
            heartbeat_ticks: 2,
            snapshot: self.policy,
        }
    }

    fn start(&mut self, id: ReplicaId) {
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
        };
        self.replicas.insert(id, replica);
    }

    /// The process is gone, and with it what was not on its disk.
    fn crash(&mut self, id: ReplicaId) {
        self.replicas.remove(&id);
        self.hung.remove(&id);
    }

    fn live(&self) -> Vec<ReplicaId> {
        self.replicas.keys().copied().collect()
    }

    fn tick(&mut self) {
        self.now += 50_000;
        for id in self.live() {
            self.replicas.get_mut(&id).unwrap().inbox.push_back(Input::Tick);
        }
        self.run();
    }

    /// Ticks until something holds, within reason.
    fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        for _ in 0..400 {
            if holds(self) {
                return;
            }
            self.tick();
        }
        panic!("it never came to this: {what}");
    }

    fn run(&mut self) {
        loop {
            let mut idle = true;
            for id in self.live() {
                let Some(replica) = self.replicas.get_mut(&id) else { continue };
                let inputs: Vec<Input> = replica.inbox.drain(..).collect();
                if !inputs.is_empty() {
                    idle = false;
                    self.step(id, inputs);
                }
                if !self.hung.contains(&id) {
                    idle &= !self.flush(id);
                }
            }
            if idle {
                return;
            }
        }
    }

    /// Finishes the writes under way.
    fn flush(&mut self, id: ReplicaId) -> bool {
        let replica = self.replicas.get_mut(&id).unwrap();
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

    fn step(&mut self, id: ReplicaId, inputs: Vec<Input>) {
        let mut out = Vec::new();
        let core = &mut self.replicas.get_mut(&id).unwrap().core;
        core.step(Timestamp(self.now), inputs, &mut out).unwrap();
        for output in out {
            for byte in format!("{id}{output:?}").bytes() {
                self.trace = splitmix(self.trace ^ u64::from(byte));
            }
            self.obey(id, output);
        }
    }

    fn obey(&mut self, id: ReplicaId, output: Output) {
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
                    Input::SnapshotReceived { from, transfer, ok: true }
                } else {
                    Input::ChunkStored { from, transfer }
                };
                replica.inbox.push_back(input);
            }
            Output::Compact { through } => disk.compact(through),
            Output::Leadership(_) => {}
        }
    }

    fn deliver(&mut self, from: ReplicaId, to: ReplicaId, payload: Bytes) {
        self.check_durable(from, &payload);
        if self.cut.contains(&from) || self.cut.contains(&to) {
            return;
        }
        if let Some(replica) = self.replicas.get_mut(&to) {
            replica.inbox.push_back(Input::Received { from, payload });
        }
    }

    /// Whatever a replica says of its term is on its disk before.
    fn check_durable(&mut self, from: ReplicaId, payload: &Bytes) {
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

    fn leader(&self) -> Option<ReplicaId> {
        self.replicas
            .iter()
            .filter(|(id, _)| !self.cut.contains(id))
            .find(|(_, replica)| replica.core.status().leadership.role == Role::Leader)
            .map(|(id, _)| *id)
    }

    fn elect(&mut self) -> ReplicaId {
        self.until("a leader", |net| net.leader().is_some());
        self.leader().unwrap()
    }

    fn follower(&self) -> ReplicaId {
        let leader = self.leader();
        self.live().into_iter().find(|id| Some(*id) != leader && !self.cut.contains(id)).unwrap()
    }

    fn propose(&mut self, id: ReplicaId, command: &str) -> u64 {
        let incarnation = self.disks[&id].incarnation;
        let replica = self.replicas.get_mut(&id).unwrap();
        replica.sequence += 1;
        let sequence = replica.sequence;
        let request = RequestId { replica: id, incarnation, sequence };
        let data = Envelope::new(request, 1, Bytes::from(command.to_owned())).write();
        replica.inbox.push_back(Input::Propose(vec![Proposal { sequence, data }]));
        sequence
    }

    fn answered(&self, id: ReplicaId, sequence: u64) -> bool {
        self.replicas[&id].answers.contains_key(&sequence)
    }

    /// Proposes and waits for the answer.
    fn write(&mut self, id: ReplicaId, command: &str) {
        let sequence = self.propose(id, command);
        self.until("an answer", |net| net.answered(id, sequence));
    }

    fn tape(&self, id: ReplicaId) -> Vec<Bytes> {
        self.replicas[&id].state.machine().0.clone()
    }

    fn agree(&mut self) {
        self.until("agreement", |net| {
            let ids = net.live();
            ids.windows(2).all(|pair| net.tape(pair[0]) == net.tape(pair[1]))
        });
    }
}

fn apply(replica: &mut Replica, id: ReplicaId, incarnation: u64, entries: &[LogEntry]) {
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

#[test]
fn three_replicas_elect_one_leader_and_replicate() {
    let mut net = Net::new(3, NEVER);
    let leader = net.elect();
    for number in 0..20 {
        net.write(leader, &number.to_string());
    }
    net.agree();
    assert_eq!(net.tape(ReplicaId(3)).len(), 20);
    let leaders = net
        .live()
        .into_iter()
        .filter(|id| net.replicas[id].core.status().leadership.role == Role::Leader);
    assert_eq!(leaders.count(), 1);
}

#[test]
fn one_replica_alone_leads_at_the_first_tick() {
    let mut net = Net::new(1, NEVER);
    net.tick();
    assert_eq!(net.leader(), Some(ReplicaId(1)));
    net.write(ReplicaId(1), "alone");
}

#[test]
fn a_follower_forwards() {
    let mut net = Net::new(3, NEVER);
    net.elect();
    let follower = net.follower();
    net.write(follower, "through the leader");
    assert_eq!(net.replicas[&follower].answers[&1], "1");
    net.agree();
}

#[test]
fn proposals_of_one_drain_share_one_write() {
    let mut net = Net::new(3, NEVER);
    let leader = net.elect();
    net.write(leader, "settle");
    for number in 0..50 {
        net.propose(leader, &number.to_string());
    }
    let inputs: Vec<Input> = net.replicas.get_mut(&leader).unwrap().inbox.drain(..).collect();
    let mut out = Vec::new();
    let core = &mut net.replicas.get_mut(&leader).unwrap().core;
    core.step(Timestamp(9), inputs, &mut out).unwrap();
    let writes: Vec<usize> = out
        .iter()
        .filter_map(|output| match output {
            Output::Persist { batch, .. } => Some(batch.entries.len()),
            _ => None,
        })
        .collect();
    assert_eq!(writes, [50]);
    assert_eq!(out.iter().filter(|output| matches!(output, Output::Send { .. })).count(), 2);
}

#[test]
fn a_read_at_a_follower_sees_the_write_before_it() {
    let mut net = Net::new(3, NEVER);
    let leader = net.elect();
    net.write(leader, "before");
    let written = net.replicas[&leader].state.index();
    let follower = net.follower();
    net.replicas.get_mut(&follower).unwrap().inbox.push_back(Input::Read { ticket: 7 });
    net.until("a read", |net| net.replicas[&follower].reads.contains_key(&7));
    assert!(net.replicas[&follower].reads[&7] >= written);
}

#[test]
fn a_read_survives_the_leader() {
    let mut net = Net::new(3, NEVER);
    let leader = net.elect();
    let follower = net.follower();
    net.cut.insert(leader);
    net.replicas.get_mut(&follower).unwrap().inbox.push_back(Input::Read { ticket: 1 });
    net.until("a read", |net| net.replicas[&follower].reads.contains_key(&1));
    net.replicas.get_mut(&leader).unwrap().inbox.push_back(Input::Read { ticket: 2 });
    for _ in 0..50 {
        net.tick();
    }
    assert!(!net.replicas[&leader].reads.contains_key(&2), "an isolated leader served a read");
}

#[test]
fn leadership_moves_on_demand() {
    let mut net = Net::new(3, NEVER);
    let leader = net.elect();
    net.write(leader, "first");
    let follower = net.follower();
    let wish = Input::Transfer { to: Some(follower) };
    // Asked of any replica, the wish reaches the leader.
    net.replicas.get_mut(&follower).unwrap().inbox.push_back(wish);
    net.until("the transfer", |net| net.leader() == Some(follower));
    net.write(leader, "second");
    net.agree();
}

#[test]
fn open_proposals_outlive_a_leader_and_are_applied_once() {
    let mut net = Net::new(3, NEVER);
    let leader = net.elect();
    net.write(leader, "settle");
    let follower = net.follower();
    let sequences: Vec<u64> =
        (0..10).map(|number| net.propose(follower, &number.to_string())).collect();
    // The forwards reach the leader and its appends the others, but no answer comes back.
    net.hung.insert(leader);
    net.run();
    net.crash(leader);
    net.until("answers", |net| sequences.iter().all(|one| net.answered(follower, *one)));
    net.start(leader);
    net.agree();
    assert_eq!(net.tape(leader).len(), 11);
}

#[test]
fn a_proposal_that_never_left_is_certainly_not_done() {
    let mut net = Net::new(3, NEVER);
    let only = ReplicaId(1);
    net.cut.insert(only);
    let sequence = net.propose(only, "nowhere to go");
    net.run();
    net.replicas.get_mut(&only).unwrap().inbox.push_back(Input::Abandon { sequence });
    net.run();
    assert!(net.replicas[&only].unsent.contains(&sequence));
}

#[test]
fn a_crash_forgets_nothing_acknowledged() {
    let mut net = Net::new(3, NEVER);
    let leader = net.elect();
    for number in 0..10 {
        net.write(leader, &number.to_string());
    }
    let before = net.tape(leader);
    for id in net.live() {
        net.crash(id);
    }
    for id in net.voters.clone() {
        net.start(id);
    }
    let leader = net.elect();
    net.write(leader, "after");
    net.agree();
    assert_eq!(net.tape(leader)[..10], before[..]);
    assert_eq!(net.tape(leader).len(), 11);
}

#[test]
fn a_replica_far_behind_is_caught_up_by_a_snapshot() {
    let policy = SnapshotPolicy { every_entries: 20, keep_entries: 5, ..NEVER };
    let mut net = Net::new(3, policy);
    let leader = net.elect();
    let behind = net.follower();
    net.cut.insert(behind);
    for number in 0..100 {
        net.write(leader, &number.to_string());
    }
    assert!(net.disks[&leader].log.mark.index > 50, "the log was not compacted");
    net.cut.clear();
    net.agree();
    assert!(net.snapshots_sent > 0);
    net.write(behind, "and goes on");
    net.agree();
    net.crash(behind);
    net.start(behind);
    net.agree();
}

#[test]
fn a_snapshot_transfer_that_breaks_is_begun_anew() {
    let policy = SnapshotPolicy { every_entries: 20, keep_entries: 5, ..NEVER };
    let mut net = Net::new(3, policy);
    let leader = net.elect();
    let behind = net.follower();
    net.cut.insert(behind);
    for number in 0..100 {
        net.write(leader, &number.to_string());
    }
    let head = Input::PeerDown(behind);
    net.cut.clear();
    net.until("an offer", |net| net.snapshots_sent > 0);
    net.crash(behind);
    net.replicas.get_mut(&leader).unwrap().inbox.push_back(head);
    net.run();
    net.start(behind);
    net.agree();
}

#[test]
fn equal_inputs_give_equal_outputs() {
    let trace = || {
        let policy = SnapshotPolicy { every_entries: 20, keep_entries: 5, ..NEVER };
        let mut net = Net::new(3, policy);
        for round in 0..4 {
            let leader = net.elect();
            for number in 0..15 {
                net.write(net.follower(), &format!("{round}.{number}"));
            }
            net.crash(leader);
            net.elect();
            net.start(leader);
        }
        net.agree();
        net.trace
    };
    assert_eq!(trace(), trace());
}

fn lone_core(voters: &[u64]) -> Core {
    let config = CoreConfig {
        group: GroupId(5),
        me: ReplicaId(1),
        incarnation: 1,
        voters: voters.iter().copied().map(ReplicaId).collect(),
        seed: 1,
        election_ticks: 10,
        heartbeat_ticks: 2,
        snapshot: NEVER,
    };
    Core::new(config, LoadedLog::default(), None).unwrap()
}

fn change(core: &mut Core, kind: ConfChangeType, id: u64) {
    let mut single = ConfChangeSingle::default();
    single.set_change_type(kind);
    single.node_id = id;
    let mut change = ConfChangeV2::default();
    change.set_changes(vec![single].into());
    core.node.apply_conf_change(&change).unwrap();
}

fn step(core: &mut Core, input: Input) -> Vec<Output> {
    let mut out = Vec::new();
    core.step(Timestamp(1), [input], &mut out).unwrap();
    out
}

/// With raft's documented order a single voter sends appends of a term that is not on its disk; after
/// a crash it would lead that term again and append other entries at the same places.
#[test]
fn a_single_voter_says_nothing_before_its_term_is_on_the_disk() {
    let mut core = lone_core(&[1]);
    change(&mut core, ConfChangeType::AddLearnerNode, 2);
    let mut out = step(&mut core, Input::Tick);
    let data = Envelope::new(
        RequestId { replica: ReplicaId(1), incarnation: 1, sequence: 1 },
        1,
        Bytes::new(),
    );
    let proposal = Proposal { sequence: 1, data: data.write() };
    out.extend(step(&mut core, Input::Propose(vec![proposal])));
    assert_eq!(core.node.raft.state, StateRole::Leader);
    let mut numbers = out.iter().filter_map(|output| match output {
        Output::Persist { number, .. } => Some(*number),
        _ => None,
    });
    assert!(!out.iter().any(|output| matches!(output, Output::Send { .. })));
    let first = numbers.next().unwrap();
    let out = step(&mut core, Input::Persisted { number: first });
    assert!(out.iter().any(|output| matches!(output, Output::Send { .. })));
}

/// Raft asserts that whoever becomes leader has everything on its disk.
#[test]
fn the_last_voter_left_waits_for_its_disk() {
    let mut core = lone_core(&[1, 2]);
    let mut append = Message::default();
    append.set_msg_type(MessageType::MsgAppend);
    (append.from, append.to, append.term) = (2, 1, 3);
    let mut entry = Entry::default();
    (entry.index, entry.term) = (1, 3);
    append.set_entries(vec![entry].into());
    let payload = PeerMessage::payload(Kind::Raft(append.write_to_bytes().unwrap().into()));
    let out = step(&mut core, Input::Received { from: ReplicaId(2), payload });
    let number = out.iter().find_map(|output| match output {
        Output::Persist { number, .. } => Some(*number),
        _ => None,
    });
    change(&mut core, ConfChangeType::RemoveNode, 2);
    core.config.voters = vec![ReplicaId(1)];
    for _ in 0..50 {
        step(&mut core, Input::Tick);
    }
    assert_eq!(core.node.raft.state, StateRole::Follower);
    step(&mut core, Input::Persisted { number: number.unwrap() });
    step(&mut core, Input::Tick);
    assert_eq!(core.node.raft.state, StateRole::Leader);
}

#[test]
fn a_disk_that_lost_what_was_acknowledged_stops_the_replica() {
    let mut core = lone_core(&[1, 2, 3]);
    let mut heartbeat = Message::default();
    heartbeat.set_msg_type(MessageType::MsgHeartbeat);
    (heartbeat.from, heartbeat.to, heartbeat.term, heartbeat.commit) = (2, 1, 3, 9);
    let payload = PeerMessage::payload(Kind::Raft(heartbeat.write_to_bytes().unwrap().into()));
    let input = Input::Received { from: ReplicaId(2), payload };
    let error = core.step(Timestamp(1), [input], &mut Vec::new()).unwrap_err();
    assert!(matches!(error, CoreError::LostLog { acknowledged: 9, last: 0 }));
}

/// A source of nonsense.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = splitmix(self.0);
        self.0 % sides
    }

    fn number(&mut self, near: u64) -> u64 {
        match self.roll(8) {
            0 => 0,
            1 => u64::MAX - self.roll(3),
            2 => near + self.roll(1000),
            _ => (near + self.roll(4)).saturating_sub(self.roll(4)),
        }
    }

    fn message(&mut self, core: &Core) -> Message {
        let kinds = [
            MessageType::MsgHup,
            MessageType::MsgBeat,
            MessageType::MsgPropose,
            MessageType::MsgAppend,
            MessageType::MsgAppend,
            MessageType::MsgAppendResponse,
            MessageType::MsgRequestVote,
            MessageType::MsgRequestVoteResponse,
            MessageType::MsgSnapshot,
            MessageType::MsgHeartbeat,
            MessageType::MsgHeartbeatResponse,
            MessageType::MsgTransferLeader,
            MessageType::MsgTimeoutNow,
            MessageType::MsgReadIndex,
            MessageType::MsgReadIndexResp,
            MessageType::MsgRequestPreVote,
            MessageType::MsgRequestPreVoteResponse,
        ];
        let raft = &core.node.raft;
        let last = raft.raft_log.last_index();
        let mut message = Message::default();
        message.set_msg_type(kinds[usize::try_from(self.roll(17)).unwrap()]);
        message.from = self.roll(4) + 1;
        message.to = if self.roll(10) == 0 { self.roll(4) } else { 1 };
        message.term = self.number(raft.term);
        message.log_term = self.number(raft.term);
        message.index = self.number(last);
        message.commit = self.number(raft.raft_log.committed);
        message.commit_term = self.number(raft.term);
        message.reject = self.roll(2) == 0;
        message.reject_hint = self.number(last);
        if self.roll(10) == 0 {
            message.request_snapshot = self.number(last);
        }
        let mut next = message.index.saturating_add(1);
        for _ in 0..self.roll(4) {
            let mut entry = Entry::default();
            entry.index = if self.roll(10) == 0 { self.number(last) } else { next };
            entry.term = if self.roll(2) == 0 { message.term } else { self.number(raft.term) };
            next = next.saturating_add(1);
            message.mut_entries().push(entry);
        }
        if self.roll(4) == 0 {
            let metadata = message.mut_snapshot().mut_metadata();
            metadata.index = self.number(last);
            metadata.term = self.number(raft.term);
            metadata.mut_conf_state().voters = vec![1, 2, 3];
        }
        message
    }

    /// Payloads of every kind around such messages, and pure noise.
    fn payload(&mut self, core: &Core) -> Bytes {
        let message = self.message(core);
        let bytes = Bytes::from(message.write_to_bytes().unwrap());
        match self.roll(12) {
            0 => {
                let metadata = message.get_snapshot().get_metadata();
                let meta = SnapshotMeta {
                    group: GroupId(5),
                    index: metadata.index,
                    term: metadata.term,
                    conf: core.conf.clone(),
                    time: Timestamp(0),
                    digest: 0,
                };
                let head = super::message::SnapshotHead::new(self.roll(3), &meta, bytes);
                PeerMessage::payload(Kind::SnapshotHead(head))
            }
            1 => PeerMessage::snapshot_chunk(self.roll(3), self.roll(3), true, bytes),
            2 => (0..self.roll(40)).map(|_| self.roll(256).to_le_bytes()[0]).collect(),
            3 => bytes,
            _ => PeerMessage::payload(Kind::Raft(bytes)),
        }
    }
}

/// Whatever its peers send, a replica goes on or stops in an orderly way.
#[test]
fn no_bytes_of_a_peer_cause_a_panic() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let mut core = lone_core(&[1, 2, 3]);
        let mut pending = VecDeque::new();
        for _ in 0..600 {
            let input = match dice.roll(10) {
                0 => Input::Tick,
                1 => match pending.pop_front() {
                    Some(input) => input,
                    None => Input::Tick,
                },
                _ => {
                    let from = ReplicaId(dice.roll(4) + 1);
                    Input::Received { from, payload: dice.payload(&core) }
                }
            };
            let mut out = Vec::new();
            // A refusal comes before anything is changed, so the test can go on.
            let _refused = core.step(Timestamp(1), [input], &mut out);
            pending.extend(out.into_iter().filter_map(|output| match output {
                Output::Persist { number, .. } => Some(Input::Persisted { number }),
                Output::Apply { entries } => {
                    Some(Input::Applied { index: entries.last().unwrap().index })
                }
                Output::Install { meta } => Some(Input::Applied { index: meta.index }),
                Output::StoreChunk { from, transfer, .. } => {
                    Some(Input::SnapshotReceived { from, transfer, ok: true })
                }
                _ => None,
            }));
        }
    }
}
