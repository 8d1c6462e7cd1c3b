//! The deliberate bugs.

use std::cell::Cell;

thread_local! {
    static AT_WORK: Cell<Option<Mutant>> = const { Cell::new(None) };
}

pub(crate) fn at_work() -> Option<Mutant> {
    AT_WORK.get()
}

pub(crate) fn put(mutant: Option<Mutant>) {
    AT_WORK.set(mutant);
}

/// The list and the enum from one place, so that none is forgotten.
macro_rules! mutants {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A deliberate bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Mutant] = &[$(Mutant::$name,)+];

            /// What it does wrong, in one sentence.
            pub fn story(self) -> &'static str {
                match self {
                    $(Mutant::$name => concat!($($doc),+),)+
                }
            }
        }
    };
}

mutants! {
    // Consensus.
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
    /// A proposal that is given up is called not done, sent or not.
    DenyAbandoned,
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
    /// Observers become voters as soon as somebody wants it, caught up or not.
    PromoteUncaught,
    /// A removed replica is not remembered.
    TombstoneForgotten,
    // Exactly once.
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
    // The disk.
    /// The log does not wait for the disk.
    LogUnsynced,
    /// After a failed sync the log goes on as if nothing had happened.
    SyncRetried,
    /// What a killed process left is believed without writing it again.
    TailBelieved,
    /// Of a damaged log the rest is cut off, whatever stands behind it and whatever the fence says.
    DamageCut,
    /// A snapshot gets its name before its content is on the disk.
    SnapshotUnsynced,
    /// The name of a snapshot is not made durable.
    SnapshotNameUnsynced,
    /// Nobody looks at a disk that hangs.
    HangUnnoticed,
    // The state.
    /// The authorization check is skipped on apply.
    ApplyUnchecked,
    /// A valid token permits everything, bound or not.
    BindingIgnored,
    /// Tokens serve beyond their end.
    ExpiryIgnored,
    /// Auth is turned on without a token for root.
    ActivateHalf,
    /// The tokens of somebody who lost all of them serve until they are forgotten.
    RevocationIgnored,
    /// Who lost all tokens loses those that are issued afterwards as well.
    RevocationSpreads,
    /// Snapshots do not hold who lost all tokens.
    RevocationUnsaved,
    /// A token that exists is restored over.
    RestoreUnchecked,
    /// Root's own binding can be changed.
    RootUnbound,
    /// A heartbeat's secret is not compared.
    BeatUnchecked,
    /// A request with a name of its own is done again when asked again.
    RequestForgotten,
    /// Snapshots do not hold the secret that still serves after a change.
    PreviousForgotten,
    // The queues before the log.
    /// A heartbeat is acknowledged before it is known to be committed.
    BeatAckedEarly,
    /// A replica that is not sure answers a heartbeat with what switches a member off.
    FatalWhenUnsure,
    /// A low disk refuses nothing.
    GrowWhenLow,
}
