//! The search of Wing and Gong with the memo of Lowe: is there any order of the operations on one key
//! that respects real time and gives these answers? It knows nothing of the log and believes no index.

use std::collections::BTreeMap;

use super::certificate::Verdict;
use super::events::Event;
use super::model::State;

/// Which operations are in their place already, and what came of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    /// Every operation with an end before this one is done,
    low: usize,
    /// and these beyond it,
    ahead: Vec<usize>,
    /// and these of those without an end.
    endless: Vec<usize>,
    state: State,
}

impl Step {
    fn is_done(&self, at: usize) -> bool {
        at < self.low || self.ahead.binary_search(&at).is_ok()
    }

    fn with(&self, at: usize, state: State) -> Step {
        let mut step = Step { state, ..self.clone() };
        if at == step.low {
            step.low += 1;
            while step.ahead.first() == Some(&step.low) {
                step.ahead.remove(0);
                step.low += 1;
            }
        } else if let Err(place) = step.ahead.binary_search(&at) {
            step.ahead.insert(place, at);
        }
        step
    }

    fn with_endless(&self, at: usize, state: State) -> Step {
        let mut step = Step { state, ..self.clone() };
        if let Err(place) = step.endless.binary_search(&at) {
            step.endless.insert(place, at);
        }
        step
    }
}

/// Steps that were taken, but for the operations without an end: who used fewer of those can do all that
/// who used more can, so of steps that are alike otherwise only the most frugal are gone on with.
#[derive(Default)]
struct Memo {
    seen: BTreeMap<(usize, Vec<usize>, State), Vec<Vec<usize>>>,
    steps: usize,
}

impl Memo {
    /// Whether the step leads to something new.
    fn is_new(&mut self, step: &Step) -> bool {
        let alike = (step.low, step.ahead.clone(), step.state.clone());
        let used = self.seen.entry(alike).or_default();
        if used.iter().any(|fewer| is_within(fewer, &step.endless)) {
            return false;
        }
        used.push(step.endless.clone());
        self.steps += 1;
        true
    }
}

/// Whether every one of `few` is among `many`; both are sorted.
pub(super) fn is_within(few: &[usize], many: &[usize]) -> bool {
    few.len() <= many.len() && few.iter().all(|one| many.binary_search(one).is_ok())
}

/// Judges the events of one key; looks at no more than `budget` steps.
pub(super) fn search(events: &[Event], budget: usize) -> Verdict {
    let mut ended: Vec<&Event> = events.iter().filter(|event| event.returned != u64::MAX).collect();
    let mut endless: Vec<&Event> =
        events.iter().filter(|event| event.returned == u64::MAX && !event.action.looks()).collect();
    ended.sort_by_key(|event| (event.invoked, event.returned));
    endless.sort_by_key(|event| event.invoked);
    let first = Step { low: 0, ahead: vec![], endless: vec![], state: State::default() };
    let (mut open, mut memo) = (vec![first], Memo::default());
    let (mut furthest, mut stuck) = (0, 0);
    while let Some(step) = open.pop() {
        if step.low == ended.len() {
            return Verdict::Holds;
        }
        if !memo.is_new(&step) {
            continue;
        }
        if memo.steps > budget {
            return Verdict::Undecided;
        }
        let (candidates, first_return) = candidates(&step, &ended);
        let reached = step.low + step.ahead.len();
        if reached >= furthest {
            let blocked = candidates.iter().filter_map(|at| ended.get(*at));
            let blocked = blocked.min_by_key(|event| event.returned);
            (furthest, stuck) = (reached, blocked.map_or(0, |event| event.line));
        }
        let free = candidates.iter().find_map(|at| {
            let event = ended.get(*at).filter(|event| event.without_effect())?;
            Some(step.with(*at, step.state.after(&event.action, event.outcome)?))
        });
        if let Some(further) = free {
            open.push(further);
            continue;
        }
        // What is pushed last is tried first: those with an end, the earliest of them before the others.
        for (at, event) in endless.iter().enumerate() {
            if event.invoked > first_return || step.endless.binary_search(&at).is_ok() {
                continue;
            }
            if let Some(state) = step.state.after(&event.action, event.outcome)
                && state != step.state
            {
                open.push(step.with_endless(at, state));
            }
        }
        for at in candidates.into_iter().rev() {
            let Some(event) = ended.get(at) else { continue };
            if let Some(state) = step.state.after(&event.action, event.outcome) {
                open.push(step.with(at, state));
            }
        }
    }
    Verdict::Broken(stuck)
}

/// What may come next: whatever began before the first of the rest ended. And when that was.
fn candidates(step: &Step, ended: &[&Event]) -> (Vec<usize>, u64) {
    let (mut found, mut first_return) = (Vec::new(), u64::MAX);
    for (at, event) in ended.iter().enumerate().skip(step.low) {
        if step.is_done(at) {
            continue;
        }
        if event.invoked > first_return {
            break;
        }
        first_return = first_return.min(event.returned);
        found.push(at);
    }
    (found, first_return)
}
