//! The certificate: every answer says where in the log it was given. The order of those places must be
//! possible in real time, and replaying each key in that order must give exactly the answers. Only
//! operations of unknown outcome leave a choice, of where in the log they are, if anywhere.

use std::collections::BTreeMap;

use super::events::{Event, Operation, Place};
use super::model::State;
use super::wgl::is_within;

/// How one check of one key came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Holds,
    /// The record that nothing explains.
    Broken(usize),
    /// The budget was used up first.
    Undecided,
}

/// LIN-1: whoever asks after an answer was given sees at least what that answer saw; a write comes
/// after it. Gives the records that break it.
pub(super) fn real_time(operations: &[Operation]) -> Vec<usize> {
    let broken = |operation: &&Operation| {
        let Some(index) = operation.index.filter(|_| operation.fresh()) else { return false };
        if operation.looks() { index < operation.floor } else { index <= operation.floor }
    };
    operations.iter().filter(broken).map(|operation| operation.line).collect()
}

/// Whether each answer of a history has its place in the log.
pub(super) fn is_complete(operations: &[Operation]) -> bool {
    operations.iter().all(|it| it.index.is_some() || it.returned == u64::MAX)
}

/// Where a replay stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    /// Groups done; a group is what one entry of the log did, or what was seen after it.
    group: usize,
    /// Which of the next group are done: within one entry the order is not told.
    done: Vec<usize>,
    /// Which of the operations without a fixed place are done.
    placed: Vec<usize>,
    state: State,
}

impl Step {
    /// With one more of the next group, which has so many, done.
    fn with(&self, at: usize, members: usize, state: State) -> Step {
        let mut further = Step { state, ..self.clone() };
        if further.done.len() + 1 == members {
            further.group += 1;
            further.done.clear();
        } else {
            further.done.push(at);
            further.done.sort_unstable();
        }
        further
    }
}

/// Steps that were taken. What need not have happened is better kept for later: of steps that are alike
/// otherwise only those are gone on with that used the least of it.
#[derive(Default)]
struct Memo {
    seen: BTreeMap<Step, Vec<Vec<usize>>>,
    steps: usize,
}

impl Memo {
    /// Whether the step leads to something new.
    fn is_new(&mut self, step: &Step, certain: impl Fn(&usize) -> bool) -> bool {
        let (placed, spent): (Vec<usize>, Vec<usize>) =
            step.placed.iter().partition(|at| certain(at));
        let used = self.seen.entry(Step { placed, ..step.clone() }).or_default();
        if used.iter().any(|fewer| is_within(fewer, &spent)) {
            return false;
        }
        used.push(spent);
        self.steps += 1;
        true
    }
}

/// LIN-2 for one key: replaying gives the answers.
pub(super) fn replay(events: &[Event], budget: usize) -> Verdict {
    let mut groups: BTreeMap<(u64, bool), Vec<&Event>> = BTreeMap::new();
    let mut loose: Vec<(&Event, u64, u64)> = Vec::new();
    for event in events {
        match event.place {
            Place::At(index) => {
                groups.entry((index, event.action.looks())).or_default().push(event);
            }
            Place::Within(after, upto) => loose.push((event, after, upto)),
            Place::Untold => loose.push((event, 0, u64::MAX)),
        }
    }
    let groups: Vec<_> = groups.into_iter().collect();
    let mut open = vec![Step { group: 0, done: vec![], placed: vec![], state: State::default() }];
    let mut memo = Memo::default();
    let mut furthest = (0, 0, 0);
    while let Some(step) = open.pop() {
        let certain = |at: &usize| loose.get(*at).is_some_and(|it| it.0.certain());
        if !memo.is_new(&step, certain) {
            continue;
        }
        if memo.steps > budget {
            return Verdict::Undecided;
        }
        let next = groups.get(step.group);
        let index = next.map_or(u64::MAX, |((index, _), _)| *index);
        let Some((_, members)) = next else {
            let all = (0..loose.len()).all(|at| {
                step.placed.contains(&at) || !loose.get(at).is_some_and(|it| it.0.certain())
            });
            if all {
                return Verdict::Holds;
            }
            place_loose(&step, &loose, index, &mut open);
            continue;
        };
        let reached = (step.group, step.done.len());
        if reached >= (furthest.0, furthest.1) {
            let stuck = (0..members.len()).find(|at| !step.done.contains(at));
            let line = stuck.and_then(|at| members.get(at)).map_or(0, |event| event.line);
            furthest = (reached.0, reached.1, line);
        }
        // What had to be done by now and is not, can only be placed here.
        let missed = loose.iter().enumerate().any(|(at, (event, _, upto))| {
            event.certain() && *upto < index && !step.placed.contains(&at)
        });
        let free = members.iter().enumerate().find_map(|(at, event)| {
            let fits = !missed && !step.done.contains(&at) && event.without_effect();
            let state = step.state.after(&event.action, event.outcome).filter(|_| fits)?;
            Some(step.with(at, members.len(), state))
        });
        if let Some(further) = free {
            open.push(further);
            continue;
        }
        place_loose(&step, &loose, index, &mut open);
        if missed {
            continue;
        }
        for (at, event) in members.iter().enumerate() {
            if step.done.contains(&at) {
                continue;
            }
            let Some(state) = step.state.after(&event.action, event.outcome) else { continue };
            open.push(step.with(at, members.len(), state));
        }
    }
    Verdict::Broken(furthest.2)
}

/// Tries each operation without a fixed place at this one, before the entry `index`.
fn place_loose(step: &Step, loose: &[(&Event, u64, u64)], index: u64, open: &mut Vec<Step>) {
    for (at, (event, after, _)) in loose.iter().enumerate() {
        if *after >= index || step.placed.contains(&at) {
            continue;
        }
        let Some(state) = step.state.after(&event.action, event.outcome) else { continue };
        if state == step.state && !event.certain() {
            continue;
        }
        let mut placed = step.placed.clone();
        placed.push(at);
        placed.sort_unstable();
        open.push(Step { placed, state, ..step.clone() });
    }
}
