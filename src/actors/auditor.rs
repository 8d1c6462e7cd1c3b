//! Gathers what the audit log is told of calls that did not reach the log by themselves, and writes
//! it there once a second: as counts by kind, so that a storm of refusals is one small entry.
//!
//! in:  [`Auditor::note`], from `api::entrance`, which never waits
//! out: [`Proposer::propose`] with `RecordCalls`
//!
//! What was noted and not written yet goes with a replica that is killed; one that is told to end
//! writes it first. Acts are never here: they are written by their own command.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::fut::ActorFutureExt as _;
use actix::{Actor, AsyncContext as _, Context, WrapFuture as _};
use muster_proto::muster::log::v1::{
    ConfigureAudit, Internal, RecordCalls, ServedCall, caller::Who, command,
};
use tokio::time::Instant;

use super::call::{Call, CallError};
use super::proposer::Proposer;
use super::reader::Reader;
use super::replica::{Replica, Role};
use super::thread::{Alarm, Alarms};
use crate::clock::Clock;
use crate::entropy::{self, Entropy};
use crate::state::LogTime;
use crate::state::audit::Retention;

/// Between two entries.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// How long one entry may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Kinds of calls that are kept apart; less than one command may hold.
const KINDS_MAX: usize = 256;

/// What the actor works with.
#[derive(Clone)]
pub struct AuditorOptions {
    /// Where names of entries come from.
    pub entropy: Arc<dyn Entropy>,
    /// The time of day, for counts that are due.
    pub clock: Arc<dyn Clock>,
}

/// The way to the actor. Cheap to clone.
#[derive(Clone)]
pub struct Auditor {
    noted: Arc<Mutex<Noted>>,
    proposer: Proposer,
}

/// Caller, host, method and refusal.
type Kind = (Vec<u8>, String, String, String);

#[derive(Default)]
struct Noted {
    by_kind: BTreeMap<Kind, ServedCall>,
    /// What was proposed and may or may not have become an entry; asked again under the same name.
    unsure: Option<(String, RecordCalls)>,
}

impl std::fmt::Debug for Auditor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auditor")
    }
}

impl Auditor {
    /// Starts the actor on the current actor thread.
    pub fn start(
        options: AuditorOptions,
        proposer: Proposer,
        reader: Reader,
        replica: Replica,
        alarms: &Alarms,
    ) -> Auditor {
        let auditor = Auditor { noted: Arc::default(), proposer };
        let writer = Writer {
            auditor: auditor.clone(),
            reader,
            replica,
            options,
            writing: false,
            _alarm: alarms.of("auditor"),
        };
        writer.start();
        auditor
    }

    /// Keeps a call until it is written down. One of a kind beyond the bound is only counted.
    pub fn note(&self, call: ServedCall) {
        self.noted().add(call);
    }

    /// Writes down what was noted since the last time, before the replica ends.
    pub async fn finish(&self, name: String) {
        if !self.noted().is_empty() {
            self.write(name).await;
        }
    }

    /// Writes down what was noted; what could not be written is kept for the next time. Without
    /// anything noted, the entry still closes a window of counts that is over.
    async fn write(&self, name: String) {
        let (name, calls) = self.noted().take(name);
        let deadline = Instant::now() + PATIENCE;
        let call = Call::internal(Internal::AuthServer, deadline);
        let call = Call { request_id: name.clone(), ..call };
        let kind = command::Kind::RecordCalls(calls.clone());
        match self.proposer.propose(call, kind).await {
            Ok(_) => (),
            Err(CallError::NotDone(_)) => {
                let mut noted = self.noted();
                for call in calls.calls {
                    noted.add(call);
                }
            }
            Err(CallError::MayBeDone) => self.noted().unsure = Some((name, calls)),
            Err(error) => {
                tracing::error!(%error, "calls could not be written into the audit log");
                dropped(calls.calls.iter().map(|call| call.count).sum());
            }
        }
    }

    /// Has the group keep so much of the audit log.
    pub async fn configure(
        &self,
        retention: Retention,
        deadline: Instant,
    ) -> Result<(), CallError> {
        let call = Call::internal(Internal::EnterpriseService, deadline);
        let command = ConfigureAudit { records: retention.records, seconds: retention.seconds };
        self.proposer.propose(call, command::Kind::ConfigureAudit(command)).await.map(drop)
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn dropped(count: u64) {
    metrics::counter!("muster_audit_dropped_total", "sink" => "log").increment(count);
}

impl Noted {
    fn add(&mut self, call: ServedCall) {
        let kind = kind(&call);
        if let Some(known) = self.by_kind.get_mut(&kind) {
            known.count = known.count.saturating_add(call.count);
        } else if self.by_kind.len() < KINDS_MAX {
            self.by_kind.insert(kind, call);
        } else {
            dropped(call.count);
        }
    }

    fn is_empty(&self) -> bool {
        self.by_kind.is_empty() && self.unsure.is_none()
    }

    /// What was unsure first, under its own name; else all that was noted, under a new one.
    fn take(&mut self, name: String) -> (String, RecordCalls) {
        self.unsure.take().unwrap_or_else(|| {
            let calls = std::mem::take(&mut self.by_kind).into_values().collect();
            (name, RecordCalls { calls })
        })
    }
}

fn kind(call: &ServedCall) -> Kind {
    let who = match call.caller.as_ref().and_then(|caller| caller.who.as_ref()) {
        Some(Who::TokenDigest(digest)) => digest.to_vec(),
        Some(Who::Anonymous(_) | Who::Internal(_)) | None => Vec::new(),
    };
    let context = call.context.as_ref();
    let peer = context.map(|context| context.peer.as_str()).unwrap_or_default();
    let host = peer.rsplit_once(':').map_or(peer, |(host, _)| host);
    let rpc = context.map(|context| context.rpc.clone()).unwrap_or_default();
    (who, host.to_owned(), rpc, call.refusal.clone())
}

struct Writer {
    auditor: Auditor,
    reader: Reader,
    replica: Replica,
    options: AuditorOptions,
    writing: bool,
    _alarm: Alarm,
}

impl Actor for Writer {
    type Context = Context<Writer>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(WRITE_EVERY, Writer::tick);
    }
}

impl Writer {
    /// Writes when something was noted, or when counts wait for any entry and this replica leads.
    fn tick(&mut self, context: &mut Context<Writer>) {
        let now = LogTime(self.options.clock.now().0);
        let is_due =
            || self.reader.local().audit().is_due(now) && self.replica.info().role == Role::Leader;
        if self.writing || (self.auditor.noted().is_empty() && !is_due()) {
            return;
        }
        self.writing = true;
        let auditor = self.auditor.clone();
        let name = entropy::uuid(self.options.entropy.as_ref());
        let written = async move { auditor.write(name).await };
        context.spawn(written.into_actor(self).map(|(), this, _| this.writing = false));
    }
}

#[cfg(test)]
mod tests {
    use muster_proto::muster::log::v1::Context;

    use super::*;

    fn call(peer: &str, refusal: &str) -> ServedCall {
        ServedCall {
            context: Some(Context { peer: peer.to_owned(), ..Context::default() }),
            refusal: refusal.to_owned(),
            count: 1,
            ..ServedCall::default()
        }
    }

    #[test]
    fn calls_of_a_kind_are_counted_whatever_port_they_come_from() {
        let mut noted = Noted::default();
        for port in 0..5 {
            noted.add(call(&format!("10.0.0.1:{port}"), "TOKEN_UNKNOWN"));
        }
        noted.add(call("10.0.0.2:1", "TOKEN_UNKNOWN"));
        let (_, calls) = noted.take("n".to_owned());
        let counts: Vec<u64> = calls.calls.iter().map(|call| call.count).collect();
        assert_eq!(counts, [5, 1]);
        assert!(noted.is_empty());
    }

    #[test]
    fn kinds_beyond_the_bound_are_not_kept() {
        let mut noted = Noted::default();
        for host in 0..2 * KINDS_MAX {
            noted.add(call(&format!("h{host}:1"), "X"));
        }
        assert_eq!(noted.by_kind.len(), KINDS_MAX);
    }

    #[test]
    fn what_may_have_been_written_is_asked_again_under_its_own_name() {
        let mut noted = Noted::default();
        noted.add(call("a:1", "X"));
        let taken = noted.take("first".to_owned());
        noted.unsure = Some(taken.clone());
        noted.add(call("b:1", "X"));
        assert_eq!(noted.take("second".to_owned()), taken);
        assert_eq!(noted.take("third".to_owned()).1.calls.len(), 1);
    }
}
