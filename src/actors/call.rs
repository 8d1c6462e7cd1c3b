//! A call on its way to the group, and what may become of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use muster_proto::muster::log::v1::{Anonymous, Caller, Context, Internal, Rejection, caller::Who};
use tokio::time::Instant;

use crate::activation::CodeError;

/// Who asks, under which name, and until when the answer is awaited.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who asks; the state decides what that one may.
    pub caller: Caller,
    /// The client's own name for the request; empty for none.
    pub request_id: String,
    /// When nobody waits any more.
    pub deadline: Instant,
    /// How old a state a read may be answered from; writes do not look at it.
    pub freshness: Freshness,
    /// How it came in.
    pub origin: Origin,
    /// Where the answer's place in the log is noted.
    pub place: LogPlace,
}

/// The place in the log that an answer was given at: what it says is true after that entry. Clones note
/// into one place.
#[derive(Clone, Debug, Default)]
pub struct LogPlace(Arc<AtomicU64>);

impl LogPlace {
    /// The answer was given at `index`.
    pub fn note(&self, index: u64) {
        self.0.store(index, Ordering::Relaxed);
    }

    /// Where the answer was given; none if it was not given by the log.
    pub fn index(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|index| *index > 0)
    }
}

/// How old a state a read may be answered from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Everything acknowledged before the call, anywhere in the group, is in it.
    Current,
    /// The replica's own state, unless it may be older than this. Needs no leader.
    Within(Duration),
}

/// How a request came in, for the audit log; of the server itself by default.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// What the edge saw.
    pub context: Context,
    logged: Arc<AtomicBool>,
    /// What it is about, of an act whose own entry writes no record; empty of all others.
    act: Arc<Mutex<String>>,
}

impl Origin {
    /// Of a request that an edge has taken.
    pub fn of(context: Context) -> Origin {
        Origin { context, logged: Arc::default(), act: Arc::default() }
    }

    /// The request is an act on `resource`, which the edge has to have written down. Said again, the last
    /// word counts.
    pub fn set_act(&self, resource: String) {
        *self.act.lock().unwrap_or_else(PoisonError::into_inner) = resource;
    }

    /// What such an act is about; none when it is none.
    pub fn act(&self) -> Option<String> {
        let resource = self.act.lock().unwrap_or_else(PoisonError::into_inner);
        Some(resource.clone()).filter(|resource| !resource.is_empty())
    }

    /// From now on it is the log that has written down what becomes of the request, or will have.
    pub(super) fn set_logged(&self) {
        self.logged.store(true, Ordering::Relaxed);
    }

    /// Whether the request has reached the log, as this call or through another part of the server.
    pub fn is_logged(&self) -> bool {
        self.logged.load(Ordering::Relaxed)
    }
}

impl Call {
    /// A call of somebody without credentials.
    pub fn anonymous(deadline: Instant) -> Call {
        let caller = Caller { who: Some(Who::Anonymous(Anonymous {})) };
        Call::new(caller, deadline)
    }

    /// A call of a part of the server itself.
    pub fn internal(part: Internal, deadline: Instant) -> Call {
        let caller = Caller { who: Some(Who::Internal(part.into())) };
        Call::new(caller, deadline)
    }

    fn new(caller: Caller, deadline: Instant) -> Call {
        Call {
            caller,
            request_id: String::new(),
            deadline,
            freshness: Freshness::Current,
            origin: Origin::default(),
            place: LogPlace::default(),
        }
    }

    /// The same call in the name of a part of the server, which acts on behalf of whoever made it: its
    /// record still tells where it came from.
    #[must_use]
    pub fn on_behalf(self, part: Internal) -> Call {
        Call { caller: Caller { who: Some(Who::Internal(part.into())) }, ..self }
    }
}

/// Why a call has no good answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CallError {
    /// The rules say no; nothing was changed.
    #[error("the request was refused: {0:?}")]
    Rejected(Rejection),
    /// The rules never saw it: certainly not done.
    #[error("the request was not taken: {0}")]
    NotDone(NotDone),
    /// Nobody knows whether it was done, or will be.
    #[error("the outcome is unknown: no answer in time")]
    MayBeDone,
    /// An activation code did not pass its checks.
    #[error("{0}")]
    CodeInvalid(CodeError),
    /// The replica's own state may be older than the read allows: so old, if anybody knows.
    #[error("the state of this replica is too old: {0:?}")]
    Stale(Option<Duration>),
    /// The license server, which is another one, gave no answer to go by; the reason is in own words.
    #[error("the license server was not reached: {0}")]
    LicenseServer(String),
    /// The license's code is sealed, and this replica cannot open it; another one may.
    #[error("the activation code of the license stays closed: {0}")]
    CodeClosed(&'static str),
    /// A secret cannot be sealed or opened.
    #[error("{0}")]
    Sealed(&'static str),
    /// The answer makes no sense to this version.
    #[error("the group gave an answer that this version does not understand")]
    Misunderstood,
}

/// Why a call was not taken. Asking again later, or elsewhere, can do no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    /// No majority of replicas answers.
    #[error("no leader is known")]
    NoLeader,
    /// Too much is waiting already.
    #[error("too many requests are waiting")]
    Overloaded,
    /// This replica is about to end.
    #[error("this replica is stopping")]
    Stopping,
    /// One log entry cannot hold it.
    #[error("the request is too large")]
    TooLarge,
    /// Room on the disk is kept for heartbeats and deletions.
    #[error("the disk is almost full")]
    DiskFull,
    /// Its time was over before anything began.
    #[error("no time was left")]
    Late,
}

impl From<NotDone> for CallError {
    fn from(reason: NotDone) -> CallError {
        CallError::NotDone(reason)
    }
}
