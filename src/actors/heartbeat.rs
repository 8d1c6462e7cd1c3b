//! Gathers the heartbeats of this replica's members: while one log entry is under way, the next one
//! fills. A lone beat never waits for company.
//!
//! in:  [`Heartbeats::beat`], from `api::license`
//! out: [`Proposer::propose`] with `RecordHeartbeats`

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::fut::ActorFutureExt as _;
use actix::{Actor, AsyncContext as _, Context, Handler, Message, WrapFuture as _};
use muster_hooks::mutant;
use muster_proto::muster::log::v1::{
    Beat, BeatOutcome, Internal, License, RecordHeartbeats, Rejection, RejectionKind, command,
    reply,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::call::{Call, CallError, NotDone};
use super::gather::Gather;
use super::proposer::{Answered, Proposer};
use super::thread::{Alarm, Alarms};
use crate::state::{fleet, limits, rejection};

/// Beats that may wait at once: a hundred thousand members that all come back within a second are
/// told to come again rather than kept for longer than they wait.
const WAITING_MAX: usize = 65_536;

/// How long the group may take over one entry of beats; members give up after a minute.
const PATIENCE: Duration = Duration::from_secs(20);

/// The way to the actor. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Heartbeats {
    actor: actix::Addr<Heartbeat>,
    waiting: Arc<Mutex<Waiting>>,
}

/// A beat is in the log.
#[derive(Clone, Debug)]
pub struct Beaten {
    /// The license at that entry; all beats of the entry share it.
    pub license: Arc<License>,
}

type Answer = Result<Beaten, CallError>;

/// What one beat came to, and where in the log; 0 when nobody knows.
type Told = (u64, Answer);

impl Heartbeats {
    /// Starts the actor on the current actor thread.
    pub fn start(proposer: Proposer, alarms: &Alarms) -> Heartbeats {
        let alarm = alarms.of("heartbeat");
        let gather = Gather::new(WAITING_MAX, limits::BEATS_MAX);
        let waiting = Arc::new(Mutex::new(Waiting { gather, under_way: false }));
        let actor = Heartbeat { proposer, waiting: Arc::clone(&waiting), _alarm: alarm }.start();
        Heartbeats { actor, waiting }
    }

    /// Records that a member lives, and answers once a majority of replicas has that on disk.
    ///
    /// # Errors
    /// A rejection for a wrong pair comes out of the log only.
    pub async fn beat(&self, beat: Beat, call: &Call) -> Answer {
        // Before the log, which must not carry what no rule would take.
        limits::check_text("id", &beat.id, limits::TEXT_BYTES_MAX)
            .and_then(|()| fleet::check_beat(&beat))
            .map_err(CallError::Rejected)?;
        let id = beat.id.clone();
        let (answer, answered) = oneshot::channel();
        self.add(beat, answer)?;
        match tokio::time::timeout_at(call.deadline, answered).await {
            Ok(Ok((index, answer))) => {
                call.place.note(index);
                answer.map_err(|error| about(error, id))
            }
            // Out of time, or the actor is gone: it may have proposed before.
            Ok(Err(_)) | Err(_) => Err(CallError::MayBeDone),
        }
    }
}

impl Heartbeats {
    fn add(&self, beat: Beat, answer: oneshot::Sender<Told>) -> Result<(), CallError> {
        let mut waiting = lock(&self.waiting);
        if waiting.gather.add(beat, answer).is_some() {
            return Err(NotDone::Overloaded.into());
        }
        if !waiting.under_way {
            if let Err(error) = self.actor.try_send(Propose) {
                // Nobody else can have added to it: the lock is still held.
                drop(waiting.gather.take());
                return Err(refused(&error));
            }
            waiting.under_way = true;
        }
        Ok(())
    }
}

/// A rejection of one beat of a batch, with the id that it is about.
fn about(error: CallError, id: String) -> CallError {
    match error {
        CallError::Rejected(no)
            if matches!(
                no.kind(),
                RejectionKind::IdOrSecretInvalid | RejectionKind::Quarantined
            ) =>
        {
            CallError::Rejected(Rejection { subject: id, ..no })
        }
        other => other,
    }
}

pub(super) fn refused<T>(error: &actix::prelude::SendError<T>) -> CallError {
    match error {
        actix::prelude::SendError::Full(_) => NotDone::Overloaded.into(),
        actix::prelude::SendError::Closed(_) => NotDone::Stopping.into(),
    }
}

/// Beats that wait for an entry. They come here from the edge's own threads, so that the actor is woken
/// once for each entry and not for each beat.
#[derive(Debug)]
struct Waiting {
    gather: Gather<Told>,
    /// The actor proposes, or is told to; when it is through it looks here again.
    under_way: bool,
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Beats wait, and nothing is under way.
#[derive(Message)]
#[rtype(result = "()")]
struct Propose;

#[derive(Debug)]
struct Heartbeat {
    proposer: Proposer,
    waiting: Arc<Mutex<Waiting>>,
    _alarm: Alarm,
}

impl Actor for Heartbeat {
    type Context = Context<Heartbeat>;
}

impl Handler<Propose> for Heartbeat {
    type Result = ();

    fn handle(&mut self, _propose: Propose, context: &mut Self::Context) {
        self.propose(context);
    }
}

impl Heartbeat {
    /// Sends what waits, and after it what has come meanwhile.
    fn propose(&mut self, context: &mut Context<Heartbeat>) {
        let (beats, answers) = {
            let mut waiting = lock(&self.waiting);
            let taken = waiting.gather.take();
            waiting.under_way = !taken.0.is_empty();
            taken
        };
        if beats.is_empty() {
            return;
        }
        metrics::histogram!("muster_heartbeat_batch_size").record(metrics_count(beats.len()));
        let proposer = self.proposer.clone();
        let proposed = async move {
            let call = Call::internal(Internal::LicenseServer, Instant::now() + PATIENCE);
            proposer
                .propose(call, command::Kind::RecordHeartbeats(RecordHeartbeats { beats }))
                .await
        };
        context.spawn(proposed.into_actor(self).map(|outcome, this, context| {
            tell(outcome, answers);
            this.propose(context);
        }));
    }
}

fn metrics_count(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

/// Tells each member what became of its own beat.
fn tell(outcome: Result<Answered, CallError>, answers: Vec<oneshot::Sender<Told>>) {
    let index = outcome.as_ref().map_or(0, |answered| answered.index);
    let verdicts = verdicts(outcome.map(|answered| answered.reply), answers.len());
    for (verdict, answer) in verdicts.into_iter().zip(answers) {
        drop(answer.send((index, verdict)));
    }
}

/// What to tell each of so many members whose beats went into one command that came to `outcome`.
/// Only an answer out of the log condemns a member.
pub fn verdicts(
    outcome: Result<reply::Kind, CallError>,
    count: usize,
) -> Vec<Result<Beaten, CallError>> {
    let all = |error: CallError| vec![Err(error); count];
    let recorded = match outcome {
        Ok(reply::Kind::HeartbeatsRecorded(recorded)) => recorded,
        Ok(_) => return all(CallError::Misunderstood),
        Err(CallError::MayBeDone) if mutant!(BeatAckedEarly) => {
            return vec![Ok(Beaten { license: Arc::default() }); count];
        }
        Err(CallError::NotDone(_)) if mutant!(FatalWhenUnsure) => {
            return all(CallError::Rejected(rejection::plain(RejectionKind::IdOrSecretInvalid)));
        }
        Err(error) => return all(error),
    };
    if recorded.outcomes.len() != count {
        return all(CallError::Misunderstood);
    }
    let license = recorded.license.map(Arc::new);
    let outcomes = recorded.outcomes.iter();
    let outcomes =
        outcomes.map(|it| BeatOutcome::try_from(*it).unwrap_or(BeatOutcome::Unspecified));
    outcomes.map(|outcome| of_one(outcome, license.as_ref())).collect()
}

fn of_one(outcome: BeatOutcome, license: Option<&Arc<License>>) -> Answer {
    let no = |rejection: Rejection| Err(CallError::Rejected(rejection));
    match outcome {
        BeatOutcome::Recorded => match license {
            Some(license) => Ok(Beaten { license: Arc::clone(license) }),
            None => Err(CallError::Misunderstood),
        },
        BeatOutcome::IdOrSecretInvalid => no(rejection::plain(RejectionKind::IdOrSecretInvalid)),
        BeatOutcome::Quarantined => no(rejection::plain(RejectionKind::Quarantined)),
        BeatOutcome::LicenseAbsent => no(rejection::plain(RejectionKind::LicenseAbsent)),
        BeatOutcome::FieldInvalid => no(rejection::about(RejectionKind::FieldTooLong, "heartbeat")),
        BeatOutcome::Unspecified => Err(CallError::Misunderstood),
    }
}

#[cfg(test)]
mod tests {
    use muster_cluster::types::Timestamp;
    use muster_proto::muster::log::v1::HeartbeatsRecorded;

    use super::*;

    fn answered(outcomes: &[BeatOutcome]) -> Answered {
        let recorded = HeartbeatsRecorded {
            outcomes: outcomes.iter().map(|outcome| i32::from(*outcome)).collect(),
            license: Some(License { activation_code: "code".into(), ..License::default() }),
        };
        let reply = reply::Kind::HeartbeatsRecorded(recorded);
        Answered { reply, index: 1, time: Timestamp(1) }
    }

    fn told(outcome: Result<Answered, CallError>, count: usize) -> Vec<Answer> {
        let (answers, heard): (Vec<_>, Vec<_>) = (0..count).map(|_| oneshot::channel()).unzip();
        tell(outcome, answers);
        heard.into_iter().map(|mut heard| heard.try_recv().unwrap().1).collect()
    }

    #[test]
    fn each_member_hears_of_its_own_beat() {
        let told = told(Ok(answered(&[BeatOutcome::Recorded, BeatOutcome::IdOrSecretInvalid])), 2);
        assert_eq!(told[0].as_ref().unwrap().license.activation_code, "code");
        let Err(CallError::Rejected(no)) = &told[1] else { panic!("{told:?}") };
        assert_eq!(no.kind(), RejectionKind::IdOrSecretInvalid);
    }

    #[test]
    fn a_failed_batch_condemns_nobody() {
        for error in [CallError::MayBeDone, NotDone::NoLeader.into()] {
            for answer in told(Err(error.clone()), 3) {
                assert_eq!(answer.unwrap_err(), error);
            }
        }
    }

    #[test]
    fn an_answer_of_the_wrong_length_is_given_to_nobody() {
        for answer in told(Ok(answered(&[BeatOutcome::IdOrSecretInvalid])), 2) {
            assert_eq!(answer.unwrap_err(), CallError::Misunderstood);
        }
    }
}
