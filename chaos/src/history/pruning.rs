//! Leaving orders out must never change a verdict: both checkers against searches that leave out nothing,
//! over small histories, right and wrong ones.

use super::certificate::{Verdict, replay};
use super::events::{Event, Place};
use super::model::{Action, State};
use super::wgl::search;
use super::{Outcome, Row};
use crate::chance::Chance;

const HISTORIES: u64 = 6_000;
/// Operations of one history: beyond this, trying all orders takes too long.
const OPERATIONS_MAX: u64 = 6;
const OUTCOMES: [Outcome; 5] =
    [Outcome::Done, Outcome::Taken, Outcome::Unknown, Outcome::Invalid, Outcome::Unlicensed];

/// Whether any order of all that ended, and of any of the rest, respects real time and gives the answers.
fn any_order(events: &[Event], done: u32, state: &State) -> bool {
    let left = |at: &usize| done & (1 << at) == 0;
    let places = || (0..events.len()).filter(left);
    let has_end = |at: &usize| events[*at].returned != u64::MAX;
    if !places().any(|at| has_end(&at)) {
        return true;
    }
    places().any(|at| {
        let too_early =
            places().any(|other| has_end(&other) && events[other].returned < events[at].invoked);
        let after = state.after(&events[at].action, events[at].outcome);
        !too_early && after.is_some_and(|state| any_order(events, done | 1 << at, &state))
    })
}

/// Whether any order by the places in the log gives the answers.
fn any_replay(events: &[Event], done: u32, state: &State) -> bool {
    let left = |at: &usize| done & (1 << at) == 0;
    let places = || (0..events.len()).filter(left);
    let fixed = |at: usize| match events[at].place {
        Place::At(index) => Some((index, events[at].action.looks())),
        _ => None,
    };
    if !places().any(|at| events[at].certain() || fixed(at).is_some()) {
        return true;
    }
    let next = places().filter_map(fixed).min();
    let index = next.map_or(u64::MAX, |(index, _)| index);
    let window = |at: usize| match events[at].place {
        Place::Within(after, upto) => (after, upto),
        _ => (0, u64::MAX),
    };
    let missed = |at: usize| fixed(at).is_none() && events[at].certain() && window(at).1 < index;
    let missed = next.is_some() && places().any(missed);
    places().any(|at| {
        let may = match fixed(at) {
            Some(place) => Some(place) == next && !missed,
            None => window(at).0 < index,
        };
        let after = state.after(&events[at].action, events[at].outcome);
        may && after.is_some_and(|state| any_replay(events, done | 1 << at, &state))
    })
}

fn action(chance: &mut Chance) -> Action {
    let secret = format!("s{}", chance.below(2));
    let version = Some(format!("v{}", chance.below(2)));
    match chance.below(10) {
        0..3 => Action::Add { secret, row: Row::default() },
        3 => Action::Update { secret: Some(secret), row: Row::default() },
        4 => Action::Delete,
        5..8 => Action::Beat { secret, version },
        _ => look(chance),
    }
}

fn look(chance: &mut Chance) -> Action {
    let version = chance.pick(&[None, Some("unknown"), Some("v0"), Some("v1")]).unwrap_or_default();
    Action::Look(version.map(|version| Row { version: Some(version.to_owned()), ..Row::default() }))
}

/// The true answer of `state`, if there is one.
fn answer(state: &State, action: &Action, chance: &mut Chance) -> Option<Outcome> {
    let possible: Vec<Outcome> = OUTCOMES
        .into_iter()
        .filter(|outcome| state.after(action, Some(*outcome)).is_some())
        .filter(|outcome| *outcome != Outcome::Unlicensed || chance.permille(100))
        .collect();
    chance.pick(&possible)
}

/// A history as an honest server would give it: each operation takes effect at one moment, or never.
fn honest(chance: &mut Chance) -> Vec<Event> {
    let count = chance.between(2, OPERATIONS_MAX);
    let mut moments: Vec<(u64, u64, u64)> = (0..count)
        .map(|_| {
            let invoked = chance.below(12);
            let endless = chance.permille(250);
            let returned = if endless { u64::MAX } else { invoked + chance.below(8) };
            (chance.between(invoked, returned.min(invoked + 10)), invoked, returned)
        })
        .collect();
    moments.sort_unstable();
    let mut state = State::default();
    let mut events = Vec::new();
    for (index, (_, invoked, returned)) in (1_u64..).zip(moments) {
        let endless = returned == u64::MAX;
        let mut action = action(chance);
        let mut outcome = answer(&state, &action, chance);
        while outcome.is_none() {
            action = look(chance);
            outcome = answer(&state, &action, chance);
        }
        let never = endless && chance.coin();
        if !never && let Some(after) = state.after(&action, outcome) {
            state = after;
        }
        let place = match chance.below(10) {
            _ if never => Place::Within(chance.below(index), u64::MAX),
            0 => Place::Untold,
            1 => Place::Within(index - 1, index + chance.below(2)),
            2 if endless => Place::Within(chance.below(index), u64::MAX),
            _ => Place::At(index),
        };
        let outcome = if endless && !action.looks() { None } else { outcome };
        let line = events.len() + 1;
        events.push(Event { action, outcome, invoked, returned, place, line });
    }
    chance.shuffle(&mut events);
    events
}

/// One thing in it is not as it was.
fn mutate(events: &mut [Event], chance: &mut Chance) {
    let at = chance.place(events.len());
    let event = &mut events[at];
    match chance.below(4) {
        0 if event.action.looks() => event.action = look(chance),
        0 | 1 if event.outcome.is_some() => event.outcome = chance.pick(&OUTCOMES),
        2 => event.place = Place::At(chance.below(6)),
        _ if event.returned != u64::MAX => {
            event.invoked = chance.below(14);
            event.returned = event.invoked + chance.below(4);
        }
        _ => event.invoked = chance.below(14),
    }
}

#[test]
fn what_is_left_out_never_changes_a_verdict() {
    let mut counts = [[0_usize; 2]; 2];
    for seed in 0..HISTORIES {
        let mut chance = Chance::stream(seed, "pruning");
        let mut events = honest(&mut chance);
        for _ in 0..chance.below(3) {
            mutate(&mut events, &mut chance);
        }
        let judged = [search(&events, usize::MAX), replay(&events, usize::MAX)];
        let exists =
            [any_order(&events, 0, &State::default()), any_replay(&events, 0, &State::default())];
        for (who, (verdict, exists)) in judged.iter().zip(exists).enumerate() {
            let holds = match verdict {
                Verdict::Holds => true,
                Verdict::Broken(_) => false,
                Verdict::Undecided => panic!("seed {seed}: undecided without a budget"),
            };
            let name = ["search", "certificate"][who];
            assert_eq!(holds, exists, "seed {seed}: the {name} is wrong about {events:#?}");
            counts[who][usize::from(holds)] += 1;
        }
    }
    for [broken, well] in counts {
        assert!(broken > 500 && well > 500, "too much of one kind: {counts:?}");
    }
}
