//! The replicated state itself: any commands in any order.

use bolero::{TypeGenerator, check};
use bytes::Bytes;
use muster::actors::Machine;
use muster::state::invariants::first_broken;
use muster_cluster::log::LogEntry;
use muster_cluster::machine::StateMachine as _;
use muster_cluster::sessions::{Answer, Envelope, Replicated, stamp};
use muster_cluster::types::Timestamp;
use muster_fuzz::{Damage, samples};

/// One entry: what it says, who sent it when, and whether the second replica stops to save and load
/// before it.
#[derive(Clone, Debug, TypeGenerator)]
struct Step {
    command: Damage,
    origin: bool,
    /// Sequences that are left out, or told again.
    skip: u8,
    /// Seconds.
    later: u16,
    reload: bool,
}

/// Entries of one run at the most.
const STEPS: usize = 24;

fn entries(steps: &[Step], good: &[Vec<u8>]) -> Vec<LogEntry> {
    let mut now = 1_700_000_000_000_000_u64;
    let mut sequence = 0;
    (1..)
        .zip(steps.iter().take(STEPS))
        .map(|(index, step)| {
            now += u64::from(step.later) * 1_000_000;
            // Now and then a request is told again.
            sequence += u64::from(step.skip % 4);
            let envelope = Envelope {
                origin: u64::from(step.origin) + 1,
                incarnation: 1 + u64::from(step.skip) / 200,
                sequence: sequence.max(1),
                command: Bytes::from(step.command.of(good)),
                ..Envelope::default()
            };
            let (data, context) = (envelope.write(), stamp(Timestamp(now)));
            LogEntry { index, term: 1, kind: 0, data, context }
        })
        .collect()
}

fn apply(state: &mut Replicated<Machine>, entry: &LogEntry) -> Option<Answer> {
    state.apply(entry).unwrap().and_then(|outcome| outcome.answer)
}

fn reloaded(state: &Replicated<Machine>) -> Replicated<Machine> {
    let records: Vec<Bytes> = state.picture().records().collect();
    Replicated::load(&mut records.into_iter()).unwrap()
}

/// Two replicas that saw the same entries give the same answers and have the same state, though one of
/// them was stopped and loaded again in between; and what must always be true of a state is.
#[test]
fn any_commands() {
    let good = samples("commands");
    check!().with_iterations(1_500).with_type::<Vec<Step>>().for_each(|steps| {
        let (mut one, mut other) = (Replicated::<Machine>::empty(), Replicated::<Machine>::empty());
        for (entry, step) in entries(steps, &good).iter().zip(steps) {
            if step.reload {
                other = reloaded(&other);
            }
            assert_eq!(apply(&mut one, entry), apply(&mut other, entry));
            assert_eq!(first_broken(&one.machine().view()), None);
        }
        assert_eq!(one.machine().view().digest(), other.machine().view().digest());
        let (one, other) = (one.picture(), other.picture());
        assert!(one.records().eq(other.records()));
    });
}

/// Records of a state that somebody else wrote, behind all checksums.
#[test]
fn the_records_of_a_state() {
    let good = samples("commands");
    let mut state = Replicated::<Machine>::empty();
    let steps: Vec<Step> = (0..)
        .map(|sample| Step {
            command: Damage::none(sample),
            origin: sample % 2 == 0,
            skip: 1,
            later: 1,
            reload: false,
        })
        .take(STEPS)
        .collect();
    for entry in entries(&steps, &good) {
        apply(&mut state, &entry);
    }
    let records: Vec<Vec<u8>> = state.picture().records().map(|record| record.to_vec()).collect();
    check!().with_iterations(3_000).with_type::<(u8, Damage)>().for_each(|(at, damage)| {
        let mut given: Vec<Bytes> = records.iter().cloned().map(Bytes::from).collect();
        let at = usize::from(*at) % given.len();
        given[at] = damage.of(&records[at..=at]).into();
        if let Ok(loaded) = Replicated::<Machine>::load(&mut given.into_iter()) {
            drop(reloaded(&loaded));
        }
    });
}
