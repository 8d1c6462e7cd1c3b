//! One command on its way through an actor's mailbox.

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message};
use muster_proto::muster::log::v1::command;
use tokio::sync::oneshot;

use super::call::{Call, CallError, NotDone};
use super::heartbeat::refused;
use super::proposer::{Answered, Proposer};

/// Commands under way at once in one actor.
pub(super) const UNDER_WAY_MAX: usize = 1024;

/// A command with whom to answer.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Ask {
    call: Call,
    kind: Box<command::Kind>,
    answer: oneshot::Sender<Result<Answered, CallError>>,
}

impl Ask {
    /// Says that there is no room.
    pub(super) fn refuse(self) {
        // Nobody there to tell is no harm: the caller has given up.
        drop(self.answer.send(Err(NotDone::Overloaded.into())));
    }

    /// Proposes the command and tells what it came to.
    pub(super) async fn propose(self, proposer: Proposer) {
        drop(self.answer.send(proposer.propose(self.call, *self.kind).await));
    }
}

/// Hands a command to an actor and waits for its answer until the call's deadline.
pub(super) async fn ask<A>(
    actor: &Addr<A>,
    call: Call,
    kind: command::Kind,
) -> Result<Answered, CallError>
where
    A: Actor + Handler<Ask>,
    A::Context: ToEnvelope<A, Ask>,
{
    let (answer, answered) = oneshot::channel();
    let deadline = call.deadline;
    actor.try_send(Ask { call, kind: Box::new(kind), answer }).map_err(|error| refused(&error))?;
    match tokio::time::timeout_at(deadline, answered).await {
        Ok(Ok(answer)) => answer,
        // Out of time, or the actor is gone: it may have proposed before.
        Ok(Err(_)) | Err(_) => Err(CallError::MayBeDone),
    }
}
