//! Repeated calls: each kind is written down at once the first time, and then counted until the
//! window closes. So an attacker writes at most [`limits::AUDIT_KINDS_MAX`] records, and as many
//! counts and one more, in each [`limits::AUDIT_WINDOW_SECONDS`].

use imbl::OrdMap;
use muster_proto::muster::log::v1::{AuditRecord, AuditTally};

use crate::state::limits;
use crate::state::time::LogTime;

/// Of a record that stands for calls of more kinds than are counted apart.
const OTHERS: &str = "(others)";

/// What was written down in this window already.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    /// [`LogTime::NEVER`] = nothing yet.
    pub(super) began: LogTime,
    pub(super) tallies: OrdMap<Key, Tally>,
}

/// Calls that are counted together. Not by resource: it is what an attacker would vary.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) principal: String,
    pub(super) host: String,
    pub(super) rpc: String,
    pub(super) refusal: String,
}

/// How many came after the first, and what the last of them said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) count: u64,
    pub(super) peer: String,
    pub(super) resource: String,
    pub(super) request_id: String,
}

impl Key {
    fn of(act: &AuditRecord) -> Key {
        Key {
            principal: act.principal.clone(),
            host: host(&act.peer).to_owned(),
            rpc: act.rpc.clone(),
            refusal: act.refusal.clone(),
        }
    }

    fn others() -> Key {
        let others = || OTHERS.to_owned();
        Key { principal: others(), host: String::new(), rpc: others(), refusal: others() }
    }
}

/// An address without its port: the next attempt comes from another one.
pub(super) fn host(peer: &str) -> &str {
    peer.rsplit_once(':').map_or(peer, |(host, _)| host)
}

impl Window {
    /// Counts a call; gives it back when it has to be written down at once.
    pub(super) fn note(&mut self, now: LogTime, act: AuditRecord) -> Option<AuditRecord> {
        if self.tallies.is_empty() {
            self.began = now;
        }
        let key = Key::of(&act);
        if !self.tallies.contains_key(&key) && self.tallies.len() < limits::AUDIT_KINDS_MAX {
            self.tallies.insert(key, Tally::default());
            return Some(act);
        }
        if let Some(tally) = self.tallies.get_mut(&key) {
            tally.count = tally.count.saturating_add(act.count);
            tally.peer = act.peer;
            tally.resource = act.resource;
            tally.request_id = act.request_id;
            return None;
        }
        let others = self.tallies.entry(Key::others()).or_default();
        others.count = others.count.saturating_add(act.count);
        None
    }

    pub(super) fn is_over(&self, now: LogTime) -> bool {
        !self.tallies.is_empty() && self.began.plus_seconds(limits::AUDIT_WINDOW_SECONDS) <= now
    }

    /// What was counted, as records; and a new window.
    pub(super) fn close(&mut self) -> Vec<AuditRecord> {
        let closed = std::mem::take(self);
        let counted = closed.tallies.into_iter().filter(|(_, tally)| tally.count > 0);
        counted
            .map(|(key, tally)| AuditRecord {
                principal: key.principal,
                peer: tally.peer,
                rpc: key.rpc,
                resource: tally.resource,
                refusal: key.refusal,
                request_id: tally.request_id,
                count: tally.count,
                ..AuditRecord::default()
            })
            .collect()
    }

    pub(super) fn is_bounded(&self) -> bool {
        // One more for the others.
        self.tallies.len() <= limits::AUDIT_KINDS_MAX + 1
            && (self.began == LogTime::NEVER || !self.tallies.is_empty())
    }

    pub(super) fn records(&self) -> Vec<AuditTally> {
        let record = |(key, tally): (&Key, &Tally)| AuditTally {
            principal: key.principal.clone(),
            host: key.host.clone(),
            rpc: key.rpc.clone(),
            refusal: key.refusal.clone(),
            count: tally.count,
            peer: tally.peer.clone(),
            resource: tally.resource.clone(),
            request_id: tally.request_id.clone(),
        };
        self.tallies.iter().map(record).collect()
    }

    pub(super) fn load(began: LogTime, tallies: Vec<AuditTally>) -> Window {
        let loaded = tallies.into_iter().map(|it| {
            let key =
                Key { principal: it.principal, host: it.host, rpc: it.rpc, refusal: it.refusal };
            let tally = Tally {
                count: it.count,
                peer: it.peer,
                resource: it.resource,
                request_id: it.request_id,
            };
            (key, tally)
        });
        Window { began, tallies: loaded.collect() }
    }
}
