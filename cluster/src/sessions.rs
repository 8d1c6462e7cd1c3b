//! Exactly once: whatever is proposed twice, because an answer was lost or a leader changed, is
//! applied once and answered alike each time.
//!
//! Every process numbers its proposals. The table here, a part of the replicated state, remembers
//! the answers that a process may still ask for; with each proposal a process says from where on it
//! may, and the table forgets the rest. What is older than that is refused, on every replica alike.

use std::collections::BTreeMap;

use bytes::Bytes;
use muster_hooks::mutant;
use prost::Message as _;

use crate::{
    log::LogEntry,
    machine::{Committed, LoadError, StateMachine},
    types::{ReplicaId, RequestId, Timestamp},
};

/// Answers remembered per replica: at most so many
const ANSWERS: usize = 16_384;
/// and of so many bytes together.
const ANSWER_BYTES: usize = 16 << 20;
/// A reply longer than this is not remembered; a retry learns only that it is too late.
const REPLY_BYTES: usize = 256 << 10;
/// [`LogEntry::kind`] of a wish about the group record, and the mark of one in its context.
pub(crate) const WISH: u8 = 3;
/// [`LogEntry::kind`] of a step of raft's configuration.
pub(crate) const STEP: u8 = 2;
/// The incarnation of a session whose replica was removed: no process ever comes to it.
const RETIRED: u64 = u64::MAX;
/// A record of the table in a snapshot is closed when it has so many bytes.
const RECORD_BYTES: usize = 512 << 10;

/// The `data` of a log entry: one command and who asked for it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Envelope {
    /// The replica that took the request.
    #[prost(uint64, tag = "1")]
    pub origin: u64,
    /// Which start of its process.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Which request of that process, from 1.
    #[prost(uint64, tag = "3")]
    pub sequence: u64,
    /// The origin will never again ask about a smaller sequence.
    #[prost(uint64, tag = "4")]
    pub lowest_open: u64,
    /// The command itself; empty when there is a wish.
    #[prost(bytes = "bytes", tag = "5")]
    pub command: Bytes,
    /// Not for the state machine but for the group record: a [`crate::members::Wish`].
    #[prost(bytes = "bytes", tag = "6")]
    pub wish: Bytes,
}

impl Envelope {
    /// A command on its way into the log.
    pub fn new(request: RequestId, lowest_open: u64, command: Bytes) -> Self {
        Self {
            origin: request.replica.0,
            incarnation: request.incarnation,
            sequence: request.sequence,
            lowest_open,
            command,
            wish: Bytes::new(),
        }
    }

    /// A wish about the group record on its way into the log.
    pub fn of_wish(request: RequestId, lowest_open: u64, wish: Bytes) -> Self {
        Self { wish, ..Self::new(request, lowest_open, Bytes::new()) }
    }

    /// Whether it is for the group record.
    pub fn is_wish(&self) -> bool {
        !self.wish.is_empty()
    }

    /// Reads an envelope; the command shares the memory of `data`.
    pub fn read(data: Bytes) -> Result<Self, prost::DecodeError> {
        Self::decode(data)
    }

    /// The bytes for the log.
    pub fn write(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// Who asked.
    pub fn request(&self) -> RequestId {
        RequestId {
            replica: ReplicaId(self.origin),
            incarnation: self.incarnation,
            sequence: self.sequence,
        }
    }
}

/// The `context` of a log entry: when its leader took it.
pub fn stamp(time: Timestamp) -> Bytes {
    Bytes::copy_from_slice(&time.0.to_be_bytes())
}

/// The `context` of an entry that holds a wish about the group record.
pub(crate) fn stamp_of_wish(time: Timestamp) -> Bytes {
    let mut context = [0; 9];
    for (place, byte) in context.iter_mut().zip(time.0.to_be_bytes().into_iter().chain([WISH])) {
        *place = byte;
    }
    Bytes::copy_from_slice(&context)
}

/// Whether the entry with this `context` holds a wish about the group record.
pub(crate) fn is_wish(context: &[u8]) -> bool {
    context.len() == 9 && context.last() == Some(&WISH)
}

/// The time in the `context` of a log entry, if it has one.
pub fn stamp_of(context: &[u8]) -> Option<Timestamp> {
    let stamp = if is_wish(context) { context.split_at_checked(8)?.0 } else { context };
    stamp.try_into().ok().map(u64::from_be_bytes).map(Timestamp)
}

/// The log time at the entry with this `context`, when it was `before` at the one before it.
pub fn next_time(before: Timestamp, context: &[u8]) -> Timestamp {
    let stamp = stamp_of(context).unwrap_or_default();
    let earliest = if mutant!(StampFromClock) { 0 } else { before.0.saturating_add(1) };
    Timestamp(stamp.0.max(earliest))
}

/// What a request got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The entry that was applied for it.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
    /// Log time of that entry.
    pub time: Timestamp,
    /// What the state machine answered.
    pub reply: Bytes,
}

/// What an entry meant to the request that caused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The request.
    pub request: RequestId,
    /// Its answer, given now or when it was applied before; `None` if it is not remembered: it may
    /// have been applied.
    pub answer: Option<Answer>,
}

/// Why an entry cannot be applied. It is the same on every replica, and none may go on.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The bytes are not an envelope.
    #[error("entry {index} cannot be read: {source}")]
    Unreadable {
        /// Which entry.
        index: u64,
        /// What is wrong with it.
        source: prost::DecodeError,
    },
    /// A newer release wrote it.
    #[error("entry {index} is of a kind that this release does not know; upgrade this replica")]
    Unknown {
        /// Which entry.
        index: u64,
    },
}

#[derive(Clone, Debug, Default)]
struct Session {
    incarnation: u64,
    lowest: u64,
    answers: BTreeMap<u64, Option<Answer>>,
    bytes: usize,
}

impl Session {
    fn remember(&mut self, sequence: u64, answer: Answer) {
        let length = answer.reply.len();
        let kept = (length <= REPLY_BYTES).then_some(answer);
        self.bytes += kept.as_ref().map_or(0, |_| length);
        self.answers.insert(sequence, kept);
        while self.answers.len() > ANSWERS || self.bytes > ANSWER_BYTES {
            let Some((&oldest, _)) = self.answers.first_key_value() else { break };
            self.forget_below(oldest + 1);
        }
    }

    fn forget_below(&mut self, lowest: u64) {
        self.lowest = self.lowest.max(lowest);
        while let Some(first) = self.answers.first_entry() {
            if *first.key() >= self.lowest {
                break;
            }
            self.bytes -= first.remove().map_or(0, |answer| answer.reply.len());
        }
    }
}

/// A state machine that applies each request once.
#[derive(Debug)]
pub struct Replicated<M> {
    machine: M,
    sessions: BTreeMap<u64, Session>,
    index: u64,
    term: u64,
    time: Timestamp,
    /// Replicas that are removed by an entry that is still to come.
    leaving: BTreeMap<u64, Vec<ReplicaId>>,
}

impl<M: StateMachine> Replicated<M> {
    /// The state before the first entry.
    pub fn empty() -> Self {
        Self {
            machine: M::empty(),
            sessions: BTreeMap::new(),
            index: 0,
            term: 0,
            time: Timestamp(0),
            leaving: BTreeMap::new(),
        }
    }

    /// The entry `at` removes these replicas: from then on nothing of theirs is remembered, and
    /// nothing of theirs that is still on its way is applied.
    pub fn retire(&mut self, at: u64, replicas: Vec<ReplicaId>) {
        if at > self.index {
            self.leaving.insert(at, replicas);
        }
    }

    /// Index of the last entry applied.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Term of the last entry applied.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Log time of the last entry applied.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The state machine.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// The state machine alone.
    pub fn into_machine(self) -> M {
        self.machine
    }

    /// Applies the next entry. `None` is an entry of the group itself: its first of a term, a wish
    /// about its record, or a step of its configuration.
    pub fn apply(&mut self, entry: &LogEntry) -> Result<Option<Outcome>, EntryError> {
        if ![0, STEP, WISH].contains(&entry.kind) {
            return Err(EntryError::Unknown { index: entry.index });
        }
        self.index = entry.index;
        self.term = entry.term;
        for replica in self.leaving.remove(&entry.index).into_iter().flatten() {
            let session = Session { incarnation: RETIRED, ..Session::default() };
            self.sessions.insert(replica.0, session);
        }
        if entry.data.is_empty() && entry.context.is_empty() {
            return Ok(None);
        }
        self.time = next_time(self.time, &entry.context);
        if entry.kind != 0 || entry.data.is_empty() {
            return Ok(None);
        }
        let envelope = Envelope::read(entry.data.clone())
            .map_err(|source| EntryError::Unreadable { index: entry.index, source })?;
        let request = envelope.request();
        Ok(Some(Outcome { request, answer: self.once(entry, &envelope) }))
    }

    fn once(&mut self, entry: &LogEntry, envelope: &Envelope) -> Option<Answer> {
        let session = self.sessions.entry(envelope.origin).or_default();
        if envelope.incarnation < session.incarnation {
            return None;
        }
        if envelope.incarnation > session.incarnation {
            let before = std::mem::take(session);
            if mutant!(RememberDeadProcess) {
                *session = before;
            }
            session.incarnation = envelope.incarnation;
        }
        let oldest = if mutant!(ForgetEarly) { u64::MAX } else { envelope.lowest_open };
        session.forget_below(oldest.min(envelope.sequence));
        if envelope.sequence < session.lowest {
            return None;
        }
        if let Some(answer) = session.answers.get(&envelope.sequence)
            && !mutant!(ApplyTwice)
        {
            return answer.clone();
        }
        let time = self.time;
        let committed = Committed { index: entry.index, time, command: &envelope.command };
        let reply = self.machine.apply(committed);
        let answer = Answer { index: entry.index, term: entry.term, time, reply };
        session.remember(envelope.sequence, answer.clone());
        Some(answer)
    }

    /// What is remembered of the requests of one process: a process whose state was replaced by a
    /// snapshot finds in it the answers to requests whose entries it never saw.
    pub fn answers(
        &self,
        replica: ReplicaId,
        incarnation: u64,
    ) -> impl Iterator<Item = (u64, Option<&Answer>)> {
        self.sessions
            .get(&replica.0)
            .filter(|session| session.incarnation == incarnation)
            .into_iter()
            .flat_map(|session| &session.answers)
            .map(|(sequence, answer)| (*sequence, answer.as_ref()))
    }

    /// A picture of the whole, to be saved while applying goes on.
    pub fn picture(&self) -> Picture<M> {
        Picture {
            index: self.index,
            term: self.term,
            time: self.time,
            table: self.table(),
            view: self.machine.view(),
        }
    }

    fn table(&self) -> Vec<Bytes> {
        let mut records = Vec::new();
        for (&origin, session) in self.sessions.iter().filter(|_| !mutant!(ForgetTable)) {
            let mut record = session.record(origin);
            let mut bytes = 0;
            for (&sequence, answer) in &session.answers {
                if bytes > RECORD_BYTES {
                    records.push(record.encode_to_vec().into());
                    record = session.record(origin);
                    bytes = 0;
                }
                bytes += 48 + answer.as_ref().map_or(0, |answer| answer.reply.len());
                record.answers.push(AnswerRecord::new(sequence, answer.as_ref()));
            }
            records.push(record.encode_to_vec().into());
        }
        let head = TableRecord {
            index: self.index,
            term: self.term,
            time: self.time.0,
            sessions: records.len() as u64,
        };
        records.insert(0, head.encode_to_vec().into());
        records
    }

    /// The inverse of [`Picture::records`].
    pub fn load(records: &mut dyn Iterator<Item = Bytes>) -> Result<Self, LoadError> {
        let head = records.next().ok_or_else(|| LoadError("it is empty".into()))?;
        let head = TableRecord::decode(head).map_err(|error| unreadable(&error))?;
        let mut sessions = BTreeMap::<u64, Session>::new();
        for _ in 0..head.sessions {
            let record = records.next().ok_or_else(|| LoadError("it ends early".into()))?;
            let record = SessionRecord::decode(record).map_err(|error| unreadable(&error))?;
            let session = sessions.entry(record.origin).or_default();
            session.incarnation = record.incarnation;
            session.lowest = record.lowest;
            for answer in record.answers {
                let (sequence, answer) = answer.read();
                session.bytes += answer.as_ref().map_or(0, |answer| answer.reply.len());
                session.answers.insert(sequence, answer);
            }
        }
        Ok(Self {
            machine: M::load(records)?,
            sessions,
            index: head.index,
            term: head.term,
            time: Timestamp(head.time),
            leaving: BTreeMap::new(),
        })
    }
}

fn unreadable(error: &prost::DecodeError) -> LoadError {
    LoadError(format!("the table of requests cannot be read: {error}"))
}

/// The whole replicated state between two entries.
pub struct Picture<M: StateMachine> {
    /// The last entry in it.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Its log time.
    pub time: Timestamp,
    table: Vec<Bytes>,
    view: M::View,
}

impl<M: StateMachine> Picture<M> {
    /// The first state of a group at that place of its log. No request of another group is remembered:
    /// nobody of it can ask again.
    pub fn founding(index: u64, term: u64, time: Timestamp, view: M::View) -> Self {
        let head = TableRecord { index, term, time: time.0, sessions: 0 };
        Self { index, term, time, table: vec![head.encode_to_vec().into()], view }
    }

    /// All of it as records of at most 1 MiB.
    pub fn records(&self) -> impl Iterator<Item = Bytes> + Send + '_ {
        self.table.iter().cloned().chain(M::save(&self.view))
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct TableRecord {
    #[prost(uint64, tag = "1")]
    index: u64,
    #[prost(uint64, tag = "2")]
    term: u64,
    #[prost(uint64, tag = "3")]
    time: u64,
    /// How many session records follow.
    #[prost(uint64, tag = "4")]
    sessions: u64,
}

/// One session, or a part of it: parts of one session follow each other.
#[derive(Clone, PartialEq, prost::Message)]
struct SessionRecord {
    #[prost(uint64, tag = "1")]
    origin: u64,
    #[prost(uint64, tag = "2")]
    incarnation: u64,
    #[prost(uint64, tag = "3")]
    lowest: u64,
    #[prost(message, repeated, tag = "4")]
    answers: Vec<AnswerRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AnswerRecord {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    /// `false`: applied, but its reply was too long to keep.
    #[prost(bool, tag = "2")]
    kept: bool,
    #[prost(uint64, tag = "3")]
    index: u64,
    #[prost(uint64, tag = "4")]
    term: u64,
    #[prost(uint64, tag = "5")]
    time: u64,
    #[prost(bytes = "bytes", tag = "6")]
    reply: Bytes,
}

impl Session {
    fn record(&self, origin: u64) -> SessionRecord {
        SessionRecord {
            origin,
            incarnation: self.incarnation,
            lowest: self.lowest,
            answers: Vec::new(),
        }
    }
}

impl AnswerRecord {
    fn new(sequence: u64, answer: Option<&Answer>) -> Self {
        let mut record = Self { sequence, kept: answer.is_some(), ..Self::default() };
        if let Some(answer) = answer {
            record.index = answer.index;
            record.term = answer.term;
            record.time = answer.time.0;
            record.reply = answer.reply.clone();
        }
        record
    }

    fn read(self) -> (u64, Option<Answer>) {
        let time = Timestamp(self.time);
        let answer = Answer { index: self.index, term: self.term, time, reply: self.reply };
        (self.sequence, self.kept.then_some(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps the commands in order and answers with how many there are.
    #[derive(Debug)]
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

    fn entry(index: u64, incarnation: u64, sequence: u64, lowest: u64) -> LogEntry {
        let request = RequestId { replica: ReplicaId(7), incarnation, sequence };
        let command = Bytes::from(format!("{incarnation}.{sequence}"));
        LogEntry {
            index,
            term: 3,
            kind: 0,
            data: Envelope::new(request, lowest, command).write(),
            context: stamp(Timestamp(1_000 * index)),
        }
    }

    fn answer(state: &mut Replicated<Tape>, entry: &LogEntry) -> Option<Answer> {
        state.apply(entry).unwrap().unwrap().answer
    }

    #[test]
    fn a_repeated_request_gets_the_first_answer() {
        let mut state = Replicated::<Tape>::empty();
        let first = answer(&mut state, &entry(1, 1, 1, 1)).unwrap();
        assert_eq!(answer(&mut state, &entry(2, 1, 1, 1)), Some(first.clone()));
        assert_eq!((first.index, first.reply), (1, Bytes::from("1")));
        assert_eq!(state.machine().0.len(), 1);
    }

    #[test]
    fn requests_out_of_order_are_all_applied() {
        let mut state = Replicated::<Tape>::empty();
        assert!(answer(&mut state, &entry(1, 1, 3, 1)).is_some());
        assert!(answer(&mut state, &entry(2, 1, 1, 1)).is_some());
        assert!(answer(&mut state, &entry(3, 1, 2, 1)).is_some());
        assert_eq!(state.machine().0.len(), 3);
    }

    #[test]
    fn what_its_process_gave_up_is_refused() {
        let mut state = Replicated::<Tape>::empty();
        assert!(answer(&mut state, &entry(1, 1, 5, 5)).is_some());
        assert_eq!(answer(&mut state, &entry(2, 1, 4, 1)), None);
        assert_eq!(state.machine().0.len(), 1);
    }

    #[test]
    fn a_new_process_retires_the_old_one() {
        let mut state = Replicated::<Tape>::empty();
        assert!(answer(&mut state, &entry(1, 2, 1, 1)).is_some());
        assert_eq!(answer(&mut state, &entry(2, 1, 9, 1)), None);
        assert!(answer(&mut state, &entry(3, 3, 1, 1)).is_some());
    }

    #[test]
    fn the_number_of_answers_is_bounded() {
        let mut state = Replicated::<Tape>::empty();
        let count = ANSWERS as u64 + 10;
        for sequence in 1..=count {
            answer(&mut state, &entry(sequence, 1, sequence, 1));
        }
        assert_eq!(state.sessions[&7].answers.len(), ANSWERS);
        assert_eq!(answer(&mut state, &entry(count + 1, 1, 10, 1)), None);
        assert!(answer(&mut state, &entry(count + 2, 1, 11, 1)).is_some());
    }

    #[test]
    fn log_time_only_rises() {
        let mut state = Replicated::<Tape>::empty();
        let late = answer(&mut state, &entry(9, 1, 1, 1)).unwrap().time;
        let mut early = entry(10, 1, 2, 1);
        early.context = stamp(Timestamp(5));
        assert_eq!(answer(&mut state, &early).unwrap().time, Timestamp(late.0 + 1));
    }

    #[test]
    fn a_snapshot_remembers_the_answers() {
        let mut state = Replicated::<Tape>::empty();
        let first = answer(&mut state, &entry(1, 1, 1, 1));
        answer(&mut state, &entry(2, 1, 2, 1));
        let picture = state.picture();
        let mut copy = Replicated::<Tape>::load(&mut picture.records()).unwrap();
        assert_eq!((copy.index(), copy.term(), copy.time()), (2, 3, state.time()));
        assert_eq!(answer(&mut copy, &entry(3, 1, 1, 1)), first);
        assert_eq!(copy.machine().0, state.machine().0);
        let again: Vec<Bytes> = copy.picture().records().skip(1).collect();
        assert_eq!(again, picture.records().skip(1).collect::<Vec<_>>());
    }

    #[test]
    fn a_removed_replica_is_not_heard_again() {
        let mut state = Replicated::<Tape>::empty();
        assert!(answer(&mut state, &entry(1, 1, 1, 1)).is_some());
        state.retire(2, vec![ReplicaId(7)]);
        let step = LogEntry { kind: STEP, ..entry(2, 1, 1, 1) };
        assert_eq!(state.apply(&step).unwrap(), None);
        assert_eq!(state.time(), Timestamp(2_000));
        let mut copy = Replicated::<Tape>::load(&mut state.picture().records()).unwrap();
        for state in [&mut state, &mut copy] {
            assert_eq!(answer(state, &entry(3, 1, 1, 1)), None);
            assert_eq!(answer(state, &entry(4, 2, 1, 1)), None);
            assert_eq!(state.machine().0.len(), 1);
        }
    }

    #[test]
    fn a_wish_passes_the_state_machine_by() {
        let mut state = Replicated::<Tape>::empty();
        let context = stamp_of_wish(Timestamp(77));
        assert_eq!(stamp_of(&context), Some(Timestamp(77)));
        let wish = LogEntry { kind: WISH, context, ..entry(1, 1, 1, 1) };
        assert_eq!(state.apply(&wish).unwrap(), None);
        assert_eq!((state.index(), state.time()), (1, Timestamp(77)));
        assert!(state.machine().0.is_empty());
    }

    #[test]
    fn an_unreadable_entry_is_an_error() {
        let mut state = Replicated::<Tape>::empty();
        let mut bad = entry(1, 1, 1, 1);
        bad.data = Bytes::from_static(&[0xff, 0xff]);
        assert!(matches!(state.apply(&bad), Err(EntryError::Unreadable { index: 1, .. })));
        bad.kind = 1;
        assert!(matches!(state.apply(&bad), Err(EntryError::Unknown { index: 1 })));
    }
}
