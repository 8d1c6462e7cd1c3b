//! Gathers what the audit log is told of calls that did not reach the log by themselves, and writes
//! it there: at once when an answer waits for it, else once a second, as counts by kind, so that a
//! storm of refusals is one small entry.
//!
//! in:  [`Auditor::record`], from `api::entrance`, before the answer; [`Auditor::note`], which waits for
//!      nothing
//! out: [`Proposer::propose`] with `RecordCalls`, one at a time
//!
//! What was noted and not written yet goes with a replica that is killed; one that is told to end
//! writes it first. Acts that are commands are never here: they are written by their own entry.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::fut::ActorFutureExt as _;
use actix::{Actor, Addr, AsyncContext as _, Context, Handler, Message, WrapFuture as _};
use muster_proto::muster::log::v1::{
    Caller, ConfigureAudit, Internal, RecordCalls, ServedCall, caller::Who, command,
};
use tokio::sync::oneshot;
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
/// The longest that an answer waits for its record. Without a majority of replicas the record comes
/// later, and what was done is answered all the same.
const RECORD_MAX: Duration = Duration::from_secs(2);
/// Answers that wait at once; more of them go out before their record is written.
const WAITING_MAX: usize = 1024;

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
    reader: Reader,
    clock: Arc<dyn Clock>,
    writer: Addr<Writer>,
}

/// Caller, host, method and refusal; and of an act what it is about and its name, so that each stands for
/// itself.
type Kind = (Vec<u8>, String, String, String, Option<(String, String)>);

#[derive(Default)]
struct Noted {
    by_kind: BTreeMap<Kind, ServedCall>,
    /// Whose answers wait until these are written.
    waiting: Vec<oneshot::Sender<()>>,
    /// What was proposed and may or may not have become an entry; asked again under the same name.
    unsure: Option<Batch>,
}

/// What goes into one entry.
#[derive(Debug)]
struct Batch {
    name: String,
    calls: RecordCalls,
    waiting: Vec<oneshot::Sender<()>>,
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
        let context = Context::<Writer>::new();
        let auditor = Auditor {
            noted: Arc::default(),
            proposer,
            reader,
            clock: options.clock,
            writer: context.address(),
        };
        context.run(Writer {
            auditor: auditor.clone(),
            replica,
            entropy: options.entropy,
            writing: false,
            _alarm: alarms.of("auditor"),
        });
        auditor
    }

    /// Has a call written down, and waits until it is: on a majority of disks, so that nobody has an
    /// answer whose record a kill could take away.
    pub async fn record(&self, call: ServedCall) {
        let (written, told) = oneshot::channel();
        if !self.noted().add_awaited(call, written) {
            return;
        }
        // One that is on its way already takes this one too, or another one follows.
        drop(self.writer.try_send(WriteNow));
        drop(tokio::time::timeout(RECORD_MAX, told).await);
    }

    /// Whether somebody has this token, as far as this replica knows. A stranger's refusals are many and
    /// cheap to cause: nothing is written for the sake of a single one.
    pub fn knows(&self, caller: &Caller) -> bool {
        self.reader.local().token_of(Some(caller), LogTime(self.clock.now().0)).is_ok()
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
    /// anything noted, the entry still closes a window of counts that is over. Says whether to go on.
    async fn write(&self, name: String) -> bool {
        let Batch { name, calls, waiting } = self.noted().take(name);
        let deadline = Instant::now() + PATIENCE;
        let call = Call::internal(Internal::AuthServer, deadline);
        let call = Call { request_id: name.clone(), ..call };
        let kind = command::Kind::RecordCalls(calls.clone());
        match self.proposer.propose(call, kind).await {
            // Whoever waits is told by the end of its channel.
            Ok(_) => return true,
            Err(CallError::NotDone(_)) => {
                let mut noted = self.noted();
                for call in calls.calls {
                    noted.add(call);
                }
                noted.waiting.extend(waiting.into_iter().filter(|answer| !answer.is_closed()));
            }
            Err(CallError::MayBeDone) => self.noted().unsure = Some(Batch { name, calls, waiting }),
            Err(error) => {
                tracing::error!(%error, "calls could not be written into the audit log");
                dropped(calls.calls.iter().map(|call| call.count).sum());
            }
        }
        false
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

    /// Adds a call whose answer waits; false when too many do.
    fn add_awaited(&mut self, call: ServedCall, written: oneshot::Sender<()>) -> bool {
        self.add(call);
        self.waiting.retain(|answer| !answer.is_closed());
        let has_room = self.waiting.len() < WAITING_MAX;
        if has_room {
            self.waiting.push(written);
        }
        has_room
    }

    fn is_empty(&self) -> bool {
        self.by_kind.is_empty() && self.unsure.is_none()
    }

    /// What was unsure first, under its own name; else all that was noted, under a new one.
    fn take(&mut self, name: String) -> Batch {
        self.unsure.take().unwrap_or_else(|| {
            let calls = std::mem::take(&mut self.by_kind).into_values().collect();
            let waiting = std::mem::take(&mut self.waiting);
            Batch { name, calls: RecordCalls { calls }, waiting }
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
    let request = || context.map(|context| context.request_id.clone()).unwrap_or_default();
    let itself = (call.act && call.refusal.is_empty()).then(|| (call.resource.clone(), request()));
    (who, host.to_owned(), rpc, call.refusal.clone(), itself)
}

struct Writer {
    auditor: Auditor,
    replica: Replica,
    entropy: Arc<dyn Entropy>,
    writing: bool,
    _alarm: Alarm,
}

impl Actor for Writer {
    type Context = Context<Writer>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(WRITE_EVERY, Writer::tick);
    }
}

/// An answer waits for its record.
#[derive(Message)]
#[rtype(result = "()")]
struct WriteNow;

impl Handler<WriteNow> for Writer {
    type Result = ();

    fn handle(&mut self, WriteNow: WriteNow, context: &mut Self::Context) {
        self.write(context);
    }
}

impl Writer {
    /// Writes when something was noted, or when counts wait for any entry and this replica leads.
    fn tick(&mut self, context: &mut Context<Writer>) {
        let now = LogTime(self.auditor.clock.now().0);
        let local = self.auditor.reader.local();
        let is_due = || local.audit().is_due(now) && self.replica.info().role == Role::Leader;
        if !self.auditor.noted().is_empty() || is_due() {
            self.write(context);
        }
    }

    /// Writes, unless that is under way; and again for those who came to wait meanwhile.
    fn write(&mut self, context: &mut Context<Writer>) {
        if self.writing {
            return;
        }
        self.writing = true;
        let auditor = self.auditor.clone();
        let name = entropy::uuid(self.entropy.as_ref());
        let written = async move { auditor.write(name).await };
        context.spawn(written.into_actor(self).map(|goes_on, this, context| {
            this.writing = false;
            if goes_on && !this.auditor.noted().waiting.is_empty() {
                this.write(context);
            }
        }));
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
        let counts: Vec<u64> =
            noted.take("n".to_owned()).calls.calls.iter().map(|call| call.count).collect();
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
        let (written, mut told) = oneshot::channel();
        assert!(noted.add_awaited(call("a:1", "X"), written));
        let taken = noted.take("first".to_owned());
        let calls = taken.calls.clone();
        noted.unsure = Some(taken);
        noted.add(call("b:1", "X"));
        let again = noted.take("second".to_owned());
        assert_eq!((again.name.as_str(), again.calls), ("first", calls));
        assert_eq!(noted.take("third".to_owned()).calls.calls.len(), 1);
        // Nobody has been told that it is written.
        assert_eq!(told.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        drop(again.waiting);
    }

    #[test]
    fn each_act_that_was_done_stands_for_itself_and_refused_ones_are_counted() {
        let mut noted = Noted::default();
        for resource in ["replica a", "replica b"] {
            for refusal in ["", "NOT_AUTHORIZED"] {
                let resource = resource.to_owned();
                noted.add(ServedCall { resource, act: true, ..call("a:1", refusal) });
            }
        }
        let calls = noted.take("n".to_owned()).calls.calls;
        let mut counts: Vec<(&str, u64)> =
            calls.iter().map(|call| (call.refusal.as_str(), call.count)).collect();
        counts.sort_unstable();
        assert_eq!(counts, [("", 1), ("", 1), ("NOT_AUTHORIZED", 2)]);
    }

    #[test]
    fn only_so_many_answers_wait_and_those_that_gave_up_make_room() {
        let mut noted = Noted::default();
        let mut wait = || {
            let (written, told) = oneshot::channel();
            (noted.add_awaited(call("a:1", "X"), written), told)
        };
        let waiting: Vec<_> = (0..WAITING_MAX).map(|_| wait()).collect();
        assert!(waiting.iter().all(|(has_room, _)| *has_room));
        assert!(!wait().0);
        drop(waiting);
        assert!(wait().0);
    }
}
