//! What a run tells: while it goes on, and at its end as a page of Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::RealArgs;
use super::abilities::Ability;
use super::drive::{Outcome, Struck};
use super::faults::Kind;
use crate::history::Judgement;
use crate::report::say;

/// Says loudly what this machine cannot do.
pub(super) fn missing(missing: &[(Ability, String)]) {
    for (ability, why) in missing {
        say(format_args!("NOT ON THIS MACHINE: {ability:?}: {why}"));
    }
}

/// One line while the run goes on.
pub(super) fn struck(struck: &Struck) {
    let Struck { kind, silence, recovery, unavailable, failed } = struck;
    say(format_args!(
        "{:<55} {:>6} ms without service, well {:>6} ms after the end, {unavailable} unavailable, \
         {failed} failed",
        kind.words(),
        silence / 1000,
        recovery / 1000,
    ));
}

/// The whole report.
pub(super) fn page(outcome: &Outcome, args: &RealArgs) -> String {
    let mut page = String::new();
    // Writing into memory cannot fail.
    let _written = write_page(&mut page, outcome, args);
    page
}

fn write_page(page: &mut String, outcome: &Outcome, args: &RealArgs) -> std::fmt::Result {
    let RealArgs { replicas, seconds, seed, .. } = args;
    let faults = outcome.struck.len();
    let checked = outcome.checked.clone().unwrap_or_default();
    let (stale, wrong) = (checked.stale.len(), checked.misplaced.len());
    writeln!(
        page,
        "    muster-chaos real --replicas {replicas} --seconds {seconds} --seed {seed}\n"
    )?;
    writeln!(page, "| | |\n| --- | --- |")?;
    writeln!(page, "| faults injected | {faults} |")?;
    writeln!(page, "| writes acknowledged | {} |", outcome.writes)?;
    writeln!(page, "| reads answered | {} |", outcome.reads)?;
    writeln!(page, "| attempts of unknown outcome | {} |", checked.unknown)?;
    writeln!(
        page,
        "| lost or done twice: keys that the replay of the log does not explain | {} |",
        checked.unexplained.len()
    )?;
    writeln!(page, "| stale reads | {stale} |")?;
    writeln!(page, "| writes placed before what was seen | {wrong} |")?;
    writeln!(
        page,
        "| keys that no order explains (search, without the log) | {} |",
        checked.impossible.len()
    )?;
    let (certificate, search) = (&checked.undecided.0, &checked.undecided.1);
    writeln!(
        page,
        "| undecided keys: certificate, search | {}, {} |",
        certificate.len(),
        search.len()
    )?;
    let equal = outcome.digests.iter().all(|one| Some(one) == outcome.digests.first());
    let equal = if equal && !outcome.digests.is_empty() { "equal" } else { "NOT EQUAL" };
    writeln!(page, "| states at the end | {equal} |")?;
    writeln!(page, "| anything else wrong | {} |", outcome.wrong.len())?;
    let verdict = match outcome.judgement() {
        Judgement::Well => "well",
        Judgement::Wrong => "WRONG",
        Judgement::Undecided => "UNDECIDED, which is no success",
    };
    writeln!(page, "| verdict | {verdict} |")?;
    for wrong in &outcome.wrong {
        writeln!(page, "\nWRONG: {wrong}")?;
    }
    write_kinds(page, outcome)?;
    if !outcome.missing.is_empty() {
        writeln!(page, "\n**NOT ON THIS MACHINE**, and hence not injected:\n")?;
        for (ability, why) in &outcome.missing {
            let skipped = outcome.skipped.iter().filter(|kind| kind.needs() == *ability);
            let words: Vec<&str> = skipped.map(|kind| kind.words()).collect();
            let words = if words.is_empty() { "no fault".to_owned() } else { words.join("; ") };
            writeln!(page, "- {ability:?} ({why}): {words}")?;
        }
    }
    Ok(())
}

fn write_kinds(page: &mut String, outcome: &Outcome) -> std::fmt::Result {
    let mut kinds: BTreeMap<Kind, Vec<&Struck>> = BTreeMap::new();
    for struck in &outcome.struck {
        kinds.entry(struck.kind).or_default().push(struck);
    }
    writeln!(
        page,
        "\n| fault | times | without service: median | 99 of 100 | worst | well after its end: worst | \
         told UNAVAILABLE | failed otherwise |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
    )?;
    for (kind, all) in kinds {
        let mut silences: Vec<u64> = all.iter().map(|struck| struck.silence / 1000).collect();
        silences.sort_unstable();
        let at = |percent: usize| {
            let place = (silences.len() * percent).div_ceil(100).max(1) - 1;
            silences.get(place).copied().unwrap_or(0)
        };
        let recovery = all.iter().map(|struck| struck.recovery / 1000).max().unwrap_or(0);
        let unavailable: u64 = all.iter().map(|struck| struck.unavailable).sum();
        let failed: u64 = all.iter().map(|struck| struck.failed).sum();
        writeln!(
            page,
            "| {} | {} | {} ms | {} ms | {} ms | {recovery} ms | {unavailable} | {failed} |",
            kind.words(),
            all.len(),
            at(50),
            at(99),
            at(100),
        )?;
    }
    Ok(())
}
