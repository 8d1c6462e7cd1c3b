//! Takes a command to the group and brings its reply back.

use muster_cluster::group::{Group, NotDone as NotDoneReason, ProposeError, ReadError};
use muster_cluster::types::Timestamp;
use muster_hooks::mutant;
use muster_proto::muster::log::v1::{Command, Reply, command, reply};
use prost::Message as _;
use tokio::time::Instant;

use super::call::{Call, CallError, NotDone};
use super::machine::Machine;

/// The way into the log. Cheap to clone.
#[derive(Clone)]
pub struct Proposer {
    group: Group<Machine>,
}

/// A reply and the place of its command in the log.
#[derive(Clone, Debug)]
pub struct Answered {
    /// What the command came to; never a rejection.
    pub reply: reply::Kind,
    /// Position in the log.
    pub index: u64,
    /// When the leader took it.
    pub time: Timestamp,
}

impl std::fmt::Debug for Proposer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proposer")
    }
}

impl Proposer {
    /// Proposes to `group`.
    pub fn new(group: Group<Machine>) -> Proposer {
        Proposer { group }
    }

    /// Proposes `kind` and waits for what it came to, at the longest until the call's deadline.
    ///
    /// # Errors
    /// The variants of [`CallError`] tell "certainly not done" from "may have been done".
    pub async fn propose(&self, call: Call, kind: command::Kind) -> Result<Answered, CallError> {
        if call.deadline <= Instant::now() {
            return Err(NotDone::Late.into());
        }
        let grows = grows(&kind);
        let context = Some(call.origin.context.clone()).filter(|it| !it.rpc.is_empty());
        let command = Command {
            caller: Some(call.caller),
            request_id: call.request_id,
            context,
            kind: Some(kind),
        };
        let command = command.encode_to_vec().into();
        let applied = if grows {
            self.group.propose_growing(command, call.deadline).await
        } else {
            self.group.propose(command, call.deadline).await
        };
        // What may have been done is written down if it was.
        if !matches!(applied, Err(ProposeError::NotDone(_))) {
            call.origin.set_logged();
        }
        let applied = applied.map_err(not_applied)?;
        call.place.note(applied.index);
        let reply = Reply::decode(applied.reply).map_err(|_| CallError::Misunderstood)?;
        match reply.kind {
            Some(reply::Kind::Rejected(rejection)) => Err(CallError::Rejected(rejection)),
            Some(reply) => Ok(Answered { reply, index: applied.index, time: applied.time }),
            None => Err(CallError::Misunderstood),
        }
    }
}

/// Whether a command may let the state grow for good: such ones are refused first when the disk
/// fills, so that beats, deletions and revocations are taken as long as possible.
pub fn grows(kind: &command::Kind) -> bool {
    use command::Kind;
    if mutant!(GrowWhenLow) {
        return false;
    }
    !matches!(
        kind,
        Kind::RecordHeartbeats(_)
            | Kind::HeartbeatEnterprise(_)
            | Kind::TakeLicenseServerAnswer(_)
            | Kind::DeactivateEnterprise(_)
            | Kind::ConfigureServer(_)
            | Kind::ConfirmRestore(_)
            | Kind::ConfigureAudit(_)
            | Kind::DeleteCluster(_)
            | Kind::RemoveLicenseAndClusters(_)
            | Kind::RevokeToken(_)
            | Kind::RevokeTokensOf(_)
            | Kind::DeleteExpiredTokens(_)
            | Kind::DeleteExpiredLogins(_)
            | Kind::ForgetRevokedTokens(_)
            | Kind::DeactivateAuth(_)
    )
}

fn not_applied(error: ProposeError) -> CallError {
    match error {
        ProposeError::NotDone(reason) => not_done(reason).into(),
        ProposeError::MayBeDone(_) => CallError::MayBeDone,
    }
}

/// Why a state could not be read; a read changes nothing, so it is always "not done".
pub(super) fn unread(error: ReadError) -> CallError {
    CallError::NotDone(match error {
        ReadError::NoLeader | ReadError::Timeout => NotDone::NoLeader,
        ReadError::Overloaded => NotDone::Overloaded,
        ReadError::Stopping => NotDone::Stopping,
    })
}

fn not_done(reason: NotDoneReason) -> NotDone {
    match reason {
        NotDoneReason::NoLeader => NotDone::NoLeader,
        NotDoneReason::Overloaded => NotDone::Overloaded,
        NotDoneReason::Stopping => NotDone::Stopping,
        NotDoneReason::TooLarge => NotDone::TooLarge,
        NotDoneReason::DiskFull => NotDone::DiskFull,
    }
}
