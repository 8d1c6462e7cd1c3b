//! What is printed.

use std::fmt;
use std::io::Write;

use crate::run::{Figures, Summary, Verdict};

/// Writes one line to standard output.
pub(crate) fn say(line: impl fmt::Display) {
    // Whoever closed the pipe reads no more; the exit code still tells.
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// Tells what one failing seed did and how to see it again.
pub(crate) fn failure(verdict: &Verdict) {
    if let Some(violation) = &verdict.violation {
        say(format_args!("FAILED seed={} {violation}", verdict.seed));
        say(format_args!("  again: cargo run -p muster-chaos -- --seed {} --trace", verdict.seed));
    }
}

/// Tells what many seeds came to.
pub(crate) fn summary(what: &str, summary: &Summary) {
    let Figures { worlds, events, entries, elections, writes, reads, tally } = summary.figures;
    let millis = u64::try_from(summary.took.as_millis()).unwrap_or(u64::MAX).max(1);
    say(format_args!(
        "{what}: {worlds} worlds, {} failed, {}.{:01} s, {} events/s",
        summary.failures.len(),
        millis / 1000,
        millis % 1000 / 100,
        events.saturating_mul(1000) / millis,
    ));
    say(format_args!(
        "  {events} events, {elections} elections, {} crashes, {entries} entries agreed, {writes} \
         writes and {reads} reads checked, {} snapshots, {} installed, {} disks opened on trial",
        tally.crashes, tally.snapshots, tally.installs, tally.autopsies,
    ));
    say(format_args!(
        "  disks: {} processes ended by a failing one, {} replicas lost to damage, {} growing \
         commands refused for want of room",
        tally.fail_stops, tally.lost, tally.refused,
    ));
}
