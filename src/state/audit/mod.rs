//! The audit log: who did what, from where, on what, and what came of it; never a secret.
//!
//! A command's record is written by the same `apply` that carries the command out, so that neither is
//! there without the other. `acts` says which commands are acts, `quiet` which calls are written down
//! only when they are refused. Records form a chain of hashes, see `chain`; the oldest go when the
//! retention says so, and the hash of the last that went stays as the anchor of the rest.
//!
//! What was done is written down each time. What was refused, and what only reads, is written down
//! once in a window and counted after that, see `window`: nobody can push the acts of others out of
//! the log by being refused often.

pub(super) mod acts;
pub mod chain;
pub mod quiet;
mod records;
mod window;

use std::sync::Arc;

use imbl::Vector;
use muster_proto::muster::log::v1::{
    AuditRecord, Caller, ConfigureAudit, RecordCalls, Rejection, RejectionKind, caller::Who,
};

use self::chain::Link;
use self::window::Window;
use crate::state::auth::Auth;
use crate::state::auth::principal::Principal;
use crate::state::secret::Digest;
use crate::state::time::LogTime;
use crate::state::{limits, rejection};

/// Who showed no token that is known.
pub const ANONYMOUS: &str = "anonymous";

/// The kept records and what they continue.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// Oldest first.
    records: Vector<Arc<AuditRecord>>,
    anchor: Link,
    retention: Retention,
    window: Window,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// At most so many records.
    pub records: u64,
    /// None older than so many seconds.
    pub seconds: u64,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { records: limits::AUDIT_RECORDS_DEFAULT, seconds: limits::AUDIT_SECONDS_DEFAULT }
    }
}

/// The entry at which something is written down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) index: u64,
    pub(super) time: LogTime,
}

impl Audit {
    /// The last record that is not kept any more.
    pub fn anchor(&self) -> Link {
        self.anchor
    }

    /// The newest record, or the anchor when none is kept.
    pub fn last(&self) -> Link {
        self.records.last().map_or(self.anchor, |record| Link::of(record))
    }

    /// How many records are kept.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether no record is kept.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How much is kept.
    pub fn retention(&self) -> Retention {
        self.retention
    }

    /// The record of that number, if it is kept.
    pub fn get(&self, sequence: u64) -> Option<&Arc<AuditRecord>> {
        let place = sequence.checked_sub(self.anchor.sequence)?.checked_sub(1)?;
        self.records.get(usize::try_from(place).ok()?)
    }

    /// All kept records, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &AuditRecord> {
        self.records.iter().map(AsRef::as_ref)
    }

    /// Whether counted calls wait for an entry to be written down.
    pub fn is_due(&self, now: LogTime) -> bool {
        self.window.is_over(now)
    }

    /// Writes down what became of an act: each that was done, and one of each kind that was refused.
    pub(super) fn conclude(&mut self, at: Stamp, act: AuditRecord, refused: Option<&Rejection>) {
        match refused {
            None => self.append(at, act),
            Some(rejection) => {
                let refusal = refusal(rejection.kind()).to_owned();
                self.repeatable(at, AuditRecord { refusal, ..act });
            }
        }
    }

    /// Closes the window when it is over.
    pub(super) fn tend(&mut self, at: Stamp) {
        if self.window.is_over(at.time) {
            for counted in self.window.close() {
                self.append(at, counted);
            }
        }
    }

    fn repeatable(&mut self, at: Stamp, act: AuditRecord) {
        if let Some(first) = self.window.note(at.time, act) {
            self.append(at, first);
        }
    }

    fn append(&mut self, at: Stamp, act: AuditRecord) {
        let last = self.last();
        let sequence = last.sequence.saturating_add(1);
        let mut record = AuditRecord { sequence, time_us: at.time.0, index: at.index, ..act };
        record.hash = chain::hash(&last.hash, &record).to_vec().into();
        self.records.push_back(Arc::new(record));
        self.trim(at.time);
    }

    /// Lets the oldest go, a bounded number at once.
    fn trim(&mut self, now: LogTime) {
        for _ in 0..limits::AUDIT_TRIMMED_MAX {
            let Some(oldest) = self.records.front() else { return };
            let held = u64::try_from(self.records.len()).unwrap_or(u64::MAX);
            let age_over = LogTime(oldest.time_us).plus_seconds(self.retention.seconds) < now;
            if held <= self.retention.records && !age_over {
                return;
            }
            self.anchor = Link::of(oldest);
            self.records.pop_front();
        }
    }

    /// Whether the records have no gaps, the newest few hold together, and all bounds hold.
    pub(in crate::state) fn is_consistent(&self) -> bool {
        let first = self.anchor.sequence.saturating_add(1);
        let numbered = self.iter().zip(first..).all(|(record, number)| record.sequence == number);
        let newest = self.last().sequence.saturating_sub(NEWEST).max(self.anchor.sequence);
        let mut before = match newest {
            number if number == self.anchor.sequence => Some(self.anchor),
            number => self.get(number).map(|record| Link::of(record)),
        };
        for number in newest.saturating_add(1)..=self.last().sequence {
            before = match (before, self.get(number)) {
                (Some(before), Some(record)) => before.then(record).ok(),
                _ => None,
            };
        }
        numbered && before.is_some()
    }

    /// Whether no more is held than may be.
    pub(in crate::state) fn is_bounded(&self) -> bool {
        let max = usize::try_from(limits::AUDIT_RECORDS_MAX).unwrap_or(usize::MAX);
        self.records.len() <= max && self.window.is_bounded()
    }
}

/// Links that a look at the invariants follows: all of them would make every look slower with every
/// record. `chain::Link::then` over all records is what `muster audit verify` does.
const NEWEST: u64 = 8;

/// The name of a refusal.
pub fn refusal(kind: RejectionKind) -> &'static str {
    let name = kind.as_str_name();
    name.strip_prefix("REJECTION_KIND_").unwrap_or(name)
}

/// Who a caller is, whatever that one may: for the records only.
pub(super) fn principal(auth: &Auth, caller: Option<&Caller>) -> String {
    match caller.and_then(|caller| caller.who.as_ref()) {
        Some(Who::Internal(part)) => {
            Principal::Server((*part).try_into().unwrap_or_default()).name().to_owned()
        }
        Some(Who::TokenDigest(bytes)) => Digest::try_from(bytes.as_ref())
            .ok()
            .and_then(|digest| auth.tokens().get(&digest))
            .map_or_else(|| ANONYMOUS.to_owned(), |token| token.subject.to_string()),
        Some(Who::Anonymous(_)) | None => ANONYMOUS.to_owned(),
    }
}

/// Writes down calls that did not reach the log by themselves.
pub(super) fn record_calls(
    audit: &mut Audit,
    auth: &Auth,
    at: Stamp,
    command: &RecordCalls,
) -> Result<(), Rejection> {
    if command.calls.len() > limits::AUDIT_CALLS_MAX {
        let limit = u64::try_from(limits::AUDIT_CALLS_MAX).unwrap_or(u64::MAX);
        return Err(rejection::bound(RejectionKind::CommandTooLarge, limit));
    }

    for call in command.calls.iter().filter(|call| call.count > 0) {
        let context = call.context.clone().unwrap_or_default();
        let act = AuditRecord {
            principal: principal(auth, call.caller.as_ref()),
            peer: acts::shortened(&context.peer, limits::AUDIT_PEER_BYTES_MAX),
            rpc: acts::shortened(&context.rpc, limits::AUDIT_RPC_BYTES_MAX),
            resource: acts::shortened(&call.resource, limits::AUDIT_RESOURCE_BYTES_MAX),
            refusal: acts::shortened(&call.refusal, limits::AUDIT_REFUSAL_BYTES_MAX),
            request_id: acts::shortened(&context.request_id, limits::REQUEST_ID_BYTES_MAX),
            count: call.count,
            ..AuditRecord::default()
        };
        if call.act && call.refusal.is_empty() {
            audit.append(at, act);
        } else {
            audit.repeatable(at, act);
        }
    }
    Ok(())
}

/// Replaces the retention; what is beyond it goes with the next records.
pub(super) fn configure(audit: &mut Audit, command: ConfigureAudit) {
    let usual = Retention::default();
    let or = |given: u64, usual: u64| if given == 0 { usual } else { given };
    audit.retention = Retention {
        records: or(command.records, usual.records).min(limits::AUDIT_RECORDS_MAX),
        seconds: or(command.seconds, usual.seconds),
    };
}
