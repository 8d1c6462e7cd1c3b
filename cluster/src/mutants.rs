//! Deliberate bugs, for proving that the simulator finds such bugs. They exist only with the feature
//! `mutants`, one at a time; without it every hook is the constant `false`.

#[cfg(feature = "mutants")]
use std::sync::atomic::{AtomicUsize, Ordering};

/// Whether the named mutant is at work.
macro_rules! mutant {
    ($name:ident) => {{
        #[cfg(feature = "mutants")]
        let on = crate::mutants::is_on(crate::mutants::Mutant::$name);
        #[cfg(not(feature = "mutants"))]
        let on = false;
        on
    }};
}

/// A deliberate bug.
#[cfg(feature = "mutants")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Votes and acknowledgements leave before what they speak of is on the disk.
    SendBeforePersist,
    /// A new term or vote alone is not written.
    ForgetVote,
    /// Entries are applied when they are appended, not when they are committed.
    ApplyUncommitted,
    /// A leader serves reads without asking whether it still is one.
    ReadUnconfirmed,
    /// A read may be served one entry early.
    ReadBehind,
    /// Every round of reads has the same name.
    ReadNameReused,
    /// A request that comes out of the log twice is applied twice.
    ApplyTwice,
    /// Snapshots do not hold the table of requests.
    ForgetTable,
    /// A request forgets all that came before it, answered or not.
    ForgetEarly,
    /// The answers given to a process are given to its successor.
    RememberDeadProcess,
    /// Log time is the wall clock of whoever leads.
    StampFromClock,
    /// A proposal that is given up is called not done, sent or not.
    DenyAbandoned,
    /// The log does not wait for the disk.
    LogUnsynced,
    /// The log is compacted up to what is applied instead of what is saved.
    CompactUnsaved,
    /// An installed snapshot leaves the old log in place on the disk.
    KeepLogAtInstall,
    /// A snapshot beyond the log is not taken into account at the start.
    SnapshotIgnored,
    /// Raft is not told that sending a snapshot failed.
    ReportForgotten,
    /// Elections are held without asking first, and no leader steps down by itself.
    NoPreVote,
    /// A replica campaigns while a snapshot is not on its disk yet.
    CampaignDuringInstall,
}

/// All of them.
#[cfg(feature = "mutants")]
pub const ALL: [Mutant; 19] = [
    Mutant::SendBeforePersist,
    Mutant::ForgetVote,
    Mutant::ApplyUncommitted,
    Mutant::ReadUnconfirmed,
    Mutant::ReadBehind,
    Mutant::ReadNameReused,
    Mutant::ApplyTwice,
    Mutant::ForgetTable,
    Mutant::ForgetEarly,
    Mutant::RememberDeadProcess,
    Mutant::StampFromClock,
    Mutant::DenyAbandoned,
    Mutant::LogUnsynced,
    Mutant::CompactUnsaved,
    Mutant::KeepLogAtInstall,
    Mutant::SnapshotIgnored,
    Mutant::ReportForgotten,
    Mutant::NoPreVote,
    Mutant::CampaignDuringInstall,
];

#[cfg(feature = "mutants")]
static AT_WORK: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Puts one mutant to work in this process, or none.
#[cfg(feature = "mutants")]
pub fn put_to_work(mutant: Option<Mutant>) {
    AT_WORK.store(mutant.map_or(usize::MAX, |mutant| mutant as usize), Ordering::SeqCst);
}

#[cfg(feature = "mutants")]
pub(crate) fn is_on(mutant: Mutant) -> bool {
    AT_WORK.load(Ordering::Relaxed) == mutant as usize
}
