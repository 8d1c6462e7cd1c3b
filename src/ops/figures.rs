//! Figures that are read when somebody asks, from the state. (The group sets its
//! own.)

use metrics::gauge;
use prost_types::Timestamp;

use super::versions::Versions;
use crate::actors::Reader;
use crate::state::license::end;
use crate::state::{LogTime, State};

/// Ages of last heartbeats that are told apart, in seconds; closed, so that no label grows.
const AGES: [u64; 10] = [60, 300, 900, 1800, 3600, 4500, 8100, 11_700, 21_600, 86_400];

/// Sets every figure to what it is at `now`. Looks at every cluster, which takes a while in a large fleet.
pub(super) fn refresh(reader: &Reader, versions: &Versions, now: LogTime) {
    let view = reader.local();
    fleet(&view);
    ages(&view, now);
    versions.refresh(&view);
    objects(&view);
    gauge!("muster_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

fn fleet(view: &State) {
    let clusters = u64::try_from(view.fleet().len()).unwrap_or(u64::MAX);
    gauge!("muster_clusters").set(number(clusters));
    let quarantine = view.quarantine();
    gauge!("muster_restore_quarantined").set(f64::from(u8::from(quarantine.is_on())));
    let strays = u64::try_from(quarantine.len()).unwrap_or(u64::MAX);
    gauge!("muster_restore_unknown_clusters").set(number(strays));
    let license = view.licensing().record();
    let seconds = |time: Option<Timestamp>| {
        number(time.map_or(0, |time| u64::try_from(time.seconds).unwrap_or(0)))
    };
    let expires = license.and_then(|license| license.expires);
    gauge!("muster_license_expiry_timestamp_seconds").set(seconds(expires));
    let end = license.and_then(|license| end(license));
    gauge!("muster_license_end_timestamp_seconds").set(seconds(end));
    gauge!("muster_audit_records").set(number(u64::try_from(view.audit().len()).unwrap_or(0)));
    gauge!("muster_audit_last_sequence").set(number(view.audit().last().sequence));
}

/// How many clusters beat how long ago: each is counted once, in the first bracket that its age is within.
fn ages(view: &State, now: LogTime) {
    let mut within = [0_u64; AGES.len()];
    let (mut older, mut never) = (0_u64, 0_u64);
    for (_, cluster) in view.fleet().iter() {
        if cluster.last_heartbeat == LogTime::NEVER {
            never += 1;
            continue;
        }
        let age = now.0.saturating_sub(cluster.last_heartbeat.0) / 1_000_000;
        let bracket = AGES.iter().zip(&mut within).find(|(most, _)| age <= **most);
        match bracket {
            Some((_, count)) => *count += 1,
            None => older += 1,
        }
    }
    let brackets = AGES.iter().map(ToString::to_string).zip(within);
    let rest = [("older".to_owned(), older), ("never".to_owned(), never)];
    for (bracket, count) in brackets.chain(rest) {
        gauge!("muster_cluster_heartbeat_age_clusters", "bracket" => bracket).set(number(count));
    }
}

fn objects(view: &State) {
    let auth = view.auth();
    let sizes = [
        ("clusters", view.fleet().len()),
        ("tokens", auth.tokens().len()),
        ("memberships", auth.groups().size()),
    ];
    for (kind, size) in sizes {
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        gauge!("muster_state_objects", "kind" => kind).set(number(size));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure on a dashboard may lose its last digits")]
pub(super) fn number(value: u64) -> f64 {
    value as f64
}
