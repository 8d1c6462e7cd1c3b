//! Makes a failing world simpler for as long as it still breaks the same promise.

use crate::agenda::SECONDS;
use crate::plan::Plan;
use crate::run::live;

type Simplify = fn(&mut Plan);

/// One thing each that a world can do without.
const STEPS: [Simplify; 30] = [
    |plan| plan.hurting = plan.hurting / 2 / SECONDS * SECONDS,
    |plan| plan.hurting = plan.hurting * 3 / 4,
    |plan| plan.faults.partition = None,
    |plan| plan.faults.one_way = None,
    |plan| plan.faults.isolate = None,
    |plan| plan.faults.flap = None,
    |plan| plan.faults.crash = None,
    |plan| plan.faults.crash_all = None,
    |plan| plan.faults.crash_loop = None,
    |plan| plan.faults.pause = None,
    |plan| plan.faults.stall = None,
    |plan| plan.faults.clock_jump = None,
    |plan| plan.faults.transfer = None,
    |plan| plan.faults.disconnect = None,
    |plan| plan.faults.trouble = None,
    |plan| plan.faults.rot = None,
    |plan| plan.faults.fill = None,
    |plan| plan.faults.hang = None,
    |plan| plan.faults.backup = None,
    |plan| plan.clocks.rate_max = 0,
    |plan| plan.weather.bytes_per_second = 0,
    |plan| plan.weather.late_permille = 0,
    |plan| plan.weather.break_per_100k = 0,
    |plan| plan.disk.stall_permille = 0,
    |plan| plan.applier.slow_permille = 0,
    |plan| plan.clocks.offset_max = 0,
    |plan| plan.clients.count = 1,
    |plan| plan.clients.retry_permille = 0,
    |plan| plan.clients.auth_permille = 0,
    |plan| plan.snapshots.every_entries = u64::MAX,
];

/// The simplest plan found that breaks the same invariant as `plan`.
pub(crate) fn shrink(mut plan: Plan) -> Plan {
    let broken = live(plan.clone(), false).violation.map(|violation| violation.id);
    let mut simpler = true;
    while simpler {
        simpler = false;
        for step in STEPS {
            let mut candidate = plan.clone();
            step(&mut candidate);
            if candidate.to_string() == plan.to_string() {
                continue;
            }
            let still = live(candidate.clone(), false).violation.map(|violation| violation.id);
            if still.is_some() && still == broken {
                plan = candidate;
                simpler = true;
            }
        }
    }
    plan
}
