//! Figures that are read when somebody asks, from the state. (The group sets its
//! own.)

use metrics::gauge;
use prost_types::Timestamp;

use crate::actors::Reader;
use crate::state::State;
use crate::state::license::end;

/// Sets every figure to what it is now.
pub(super) fn refresh(reader: &Reader) {
    fleet(&reader.local());
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
}

#[expect(clippy::cast_precision_loss, reason = "a figure on a dashboard may lose its last digits")]
fn number(value: u64) -> f64 {
    value as f64
}
