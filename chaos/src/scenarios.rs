//! Worlds with a purpose, and the shrinking of one that fails.

use std::collections::BTreeSet;

use muster_hooks::Mutant;

use crate::agenda::{MILLIS, SECONDS};
use crate::ladder::{RUNGS, STEPS};
use crate::plan::{FaultPlan, Plan};
use crate::run::live;
use crate::shrink::shrink;
use crate::world::World;

/// Administrators revoke while the group is torn apart and its leader changes.
fn torn_apart(seed: u64) -> Plan {
    let mut plan = Plan::grow(seed, Some(6));
    plan.replicas = 3;
    plan.churn.every = None;
    plan.clients.auth_permille = 500;
    plan.clients.count = 8;
    plan.clients.think_max = 20 * MILLIS;
    plan.clients.patience = SECONDS;
    plan.clients.read_permille = 400;
    plan.faults.partition = Some(700 * MILLIS);
    plan.faults.isolate = Some(900 * MILLIS);
    plan.faults.transfer = Some(500 * MILLIS);
    plan.faults.lasting_max = 600 * MILLIS;
    plan
}

/// The certificate check and AUT-1 to AUT-6 hold, see `oracle.rs` and `access.rs`.
#[test]
fn revocations_hold_through_partitions_and_changes_of_the_leader() {
    let (mut revoked, mut refused, mut elections, mut reads) = (0, 0, 0, 0);
    for seed in 1..=3 {
        let mut world = World::new(torn_apart(seed), false);
        world.run().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        revoked += world.oracle.access.revoked;
        refused += world.oracle.access.refused;
        elections += world.figures().elections;
        reads += world.oracle.reads;
    }
    assert!(revoked > 10 && refused > 100, "{revoked} {refused}");
    assert!(elections > 6 && reads > 100, "{elections} {reads}");
}

/// One administrator makes an enterprise server and takes it back, and everybody crashes all the while.
fn climbing(seed: u64) -> Plan {
    let mut plan = Plan::grow(seed, Some(20));
    plan.replicas = 3;
    plan.churn.every = None;
    plan.clients.climb = true;
    plan.clients.count = 1;
    plan.clients.think_max = 5 * MILLIS;
    plan.clients.patience = 60 * SECONDS;
    plan.clients.read_permille = 100;
    plan.clients.retry_permille = 1_000;
    plan.faults = FaultPlan {
        crash_all: Some(300 * MILLIS),
        lasting_max: 50 * MILLIS,
        ..FaultPlan::default()
    };
    plan
}

/// ACT-1 holds, see `ladder.rs`, wherever the crash comes: before each step, and while nobody knows whether it
/// was taken.
#[test]
fn an_activation_is_whole_wherever_everybody_crashes() {
    let mut rungs = [0; RUNGS];
    let mut unsure = BTreeSet::new();
    for seed in 1..=6 {
        let mut world = World::new(climbing(seed), false);
        world.oracle.rungs = Some(rungs);
        world.run().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        rungs = world.oracle.rungs.unwrap();
        let after = &world.clients.first().unwrap().unsure_after;
        unsure.extend(after.iter().map(|done| done % STEPS));
    }
    assert!(rungs.iter().all(|times| *times > 20), "{rungs:?}");
    assert_eq!(unsure.len() as u64, STEPS, "{unsure:?}");
}

#[test]
fn half_an_activation_is_seen_at_once() {
    muster_hooks::put_to_work(Some(Mutant::ActivateHalf));
    let mut world = World::new(climbing(1), false);
    world.oracle.rungs = Some([0; RUNGS]);
    let violation = world.run().err();
    muster_hooks::put_to_work(None);
    assert_eq!(violation.map(|it| it.id), Some("ACT-1"));
}

#[test]
fn a_failing_world_shrinks_to_a_calm_one_that_fails_alike() {
    muster_hooks::put_to_work(Some(Mutant::ApplyUncommitted));
    let plan = Plan::grow(1, None);
    let before = live(plan.clone(), false).violation;
    let small = shrink(plan.clone());
    let after = live(small.clone(), false).violation;
    muster_hooks::put_to_work(None);
    assert_eq!(before.map(|it| it.id), Some("DUR-1"));
    assert_eq!(after.map(|it| it.id), Some("DUR-1"));
    assert!(small.hurting < plan.hurting && small.clients.count == 1, "{small}");
    let faults = &small.faults;
    assert!(faults.crash.is_none() && faults.partition.is_none() && faults.rot.is_none());
}
