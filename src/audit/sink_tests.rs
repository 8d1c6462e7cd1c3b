use muster_proto::muster::log::v1::{
    Caller, Command, ConfigureAudit, DeleteCluster, Internal, caller::Who, command::Kind,
};
use tempfile::TempDir;

use super::*;
use crate::audit::verify;
use crate::state::{LogTime, State};

/// A state with that many records; `salt` makes it another history.
fn state(records: u64, salt: &str) -> State {
    let mut state = State::default();
    add(&mut state, records, salt);
    state
}

fn add(state: &mut State, records: u64, salt: &str) {
    for _ in 0..records {
        let kind = Kind::DeleteCluster(DeleteCluster { id: salt.to_owned() });
        let (index, command) =
            (state.index() + 1, Command { kind: Some(kind), ..Command::default() });
        state.apply(&command, index, LogTime(index));
    }
}

fn retain(state: &mut State, records: u64) {
    let caller = Caller { who: Some(Who::Internal(Internal::AuthServer.into())) };
    let kind = Some(Kind::ConfigureAudit(ConfigureAudit { records, seconds: 0 }));
    let command = Command { caller: Some(caller), kind, ..Command::default() };
    state.apply(&command, state.index() + 1, LogTime(0));
}

struct World {
    folder: TempDir,
    bytes_max: u64,
}

impl World {
    fn new() -> World {
        World { folder: tempfile::tempdir().unwrap(), bytes_max: 1 << 20 }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("audit.jsonl")
    }

    fn open(&self) -> Sink {
        self.try_open().unwrap()
    }

    fn try_open(&self) -> Result<Sink, SinkError> {
        let bytes_max = self.bytes_max;
        Sink::open(SinkOptions { path: self.path(), bytes_max, files_max: 2 })
    }

    /// The numbers in the file, which holds together.
    fn numbers(&self) -> Vec<u64> {
        numbers(&self.path())
    }
}

fn numbers(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap();
    verify(text.as_bytes()).unwrap();
    text.lines().map(|line| Line::read(line).unwrap().record.sequence).collect()
}

fn follow(sink: &mut Sink, state: &State) {
    while sink.last.sequence < state.audit().last().sequence {
        sink.catch_up(state.audit()).unwrap();
    }
}

#[test]
fn a_start_goes_on_where_the_file_ends_even_behind_a_torn_line() {
    let world = World::new();
    let mut state = state(3, "a");
    follow(&mut world.open(), &state);
    let mut file = OpenOptions::new().append(true).open(world.path()).unwrap();
    file.write_all(b"{\"sequence\":4,\"ti\0\0\0\n{\"half").unwrap();
    add(&mut state, BATCH * 2, "a");
    follow(&mut world.open(), &state);
    assert_eq!(world.numbers(), (1..=3 + BATCH * 2).collect::<Vec<_>>());
}

#[test]
fn a_state_that_is_behind_the_file_is_waited_for() {
    let world = World::new();
    follow(&mut world.open(), &state(5, "a"));
    let mut sink = world.open();
    sink.catch_up(state(2, "a").audit()).unwrap();
    follow(&mut sink, &state(6, "a"));
    assert_eq!(world.numbers(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_full_file_is_renamed_and_the_oldest_goes() {
    let world = World { bytes_max: 1, ..World::new() };
    let mut sink = world.open();
    let mut state = State::default();
    for _ in 0..4 {
        add(&mut state, 2, "a");
        follow(&mut sink, &state);
    }
    assert_eq!(world.numbers(), [7, 8]);
    assert_eq!(numbers(&numbered(&world.path(), 1)), [5, 6]);
    assert_eq!(numbers(&numbered(&world.path(), 2)), [3, 4]);
    assert!(!numbered(&world.path(), 3).exists());
}

#[test]
fn a_start_right_after_a_rotation_writes_nothing_twice() {
    let world = World::new();
    let mut state = state(3, "a");
    follow(&mut world.open(), &state);
    fs::rename(world.path(), numbered(&world.path(), 1)).unwrap();
    add(&mut state, 1, "a");
    follow(&mut world.open(), &state);
    assert_eq!(world.numbers(), [4]);
}

#[test]
fn a_file_that_was_moved_away_is_begun_anew_without_a_hole() {
    let world = World::new();
    let mut state = state(2, "a");
    let mut sink = world.open();
    follow(&mut sink, &state);
    fs::remove_file(world.path()).unwrap();
    add(&mut state, 1, "a");
    follow(&mut sink, &state);
    assert_eq!(world.numbers(), [3]);
}

#[test]
fn what_went_before_it_was_written_leaves_a_gap_that_is_seen() {
    let world = World::new();
    let mut sink = world.open();
    let mut state = state(3, "a");
    follow(&mut sink, &state);
    retain(&mut state, 2);
    add(&mut state, 5, "a");
    follow(&mut sink, &state);
    let text = fs::read_to_string(world.path()).unwrap();
    let numbers: Vec<u64> =
        text.lines().map(|line| Line::read(line).unwrap().record.sequence).collect();
    assert_eq!(numbers, [1, 2, 3, 8, 9]);
    assert!(verify(text.as_bytes()).is_err());
}

#[test]
fn another_history_gets_another_file() {
    let world = World::new();
    follow(&mut world.open(), &state(4, "a"));
    follow(&mut world.open(), &state(6, "b"));
    assert_eq!(world.numbers(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(numbers(&numbered(&world.path(), 1)), [1, 2, 3, 4]);
}

#[test]
fn a_write_that_failed_halfway_leaves_nothing_behind() {
    let world = World::new();
    let mut sink = world.open();
    let mut state = state(2, "a");
    follow(&mut sink, &state);
    let mut other = OpenOptions::new().append(true).open(world.path()).unwrap();
    other.write_all(b"{\"sequence\":3,").unwrap();
    add(&mut state, 1, "a");
    follow(&mut sink, &state);
    assert_eq!(world.numbers(), [1, 2, 3]);
}

#[test]
fn a_file_of_somebody_else_is_refused_and_not_touched() {
    let world = World::new();
    fs::write(world.path(), "dear diary\n").unwrap();
    assert!(matches!(world.try_open(), Err(SinkError::Foreign(_))));
    assert_eq!(fs::read_to_string(world.path()).unwrap(), "dear diary\n");
}
