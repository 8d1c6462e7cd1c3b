//! Tokens, roles, groups and logins: draws what is drawn, proposes, and forgets in time what has
//! expired.
//!
//! in:  [`Session`]'s methods, from `api::auth`, `identity` and `serve`
//! out: [`Proposer::propose`]
//!
//! There is no cache of tokens: every request is judged by the state at its own place in the log or
//! in a linearizable read, so that nothing outlives a revocation.

use std::sync::Arc;
use std::time::Duration;

use actix::fut::ActorFutureExt as _;
use actix::{Actor, AsyncContext as _, Context, Handler, WrapFuture as _};
use bytes::Bytes;
use muster_proto::muster::log::v1::{
    ActivateAuth, ConfigureAuth, DeactivateAuth, DeleteExpiredLogins, DeleteExpiredTokens,
    FinishLogin, ForgetRevokedTokens, Internal, IssueRobotToken, IssueUserToken, ModifyMembers,
    ModifyRoleBinding, OidcConfig, RestoreToken, RevokeToken, RevokeTokensOf, RotateRootToken,
    SetGroups, StartLogin, TokensRemoved, command, reply,
};
use tokio::time::Instant;

use super::ask::{self, Ask, UNDER_WAY_MAX};
use super::call::{Call, CallError};
use super::proposer::{Answered, Proposer};
use super::reader::Reader;
use super::replica::{Replica, Role};
use super::thread::{Alarm, Alarms};
use crate::clock::Clock;
use crate::entropy::{self, Entropy};
use crate::state::LogTime;
use crate::state::auth::Auth;
use crate::state::secret::token_digest;

/// Between two entries of one sweep, so that others come in between.
const SWEEP_PAUSE: Duration = Duration::from_millis(50);
/// Between two entries of a sweep that somebody waits for.
const WAITED_SWEEP_PAUSE: Duration = Duration::from_millis(5);
/// Between two looks for tokens that ended with all others of their owner.
const REVOKED_EVERY: Duration = Duration::from_secs(5);
/// Tokens that one entry forgets: about a millisecond in which nothing else is applied.
const FORGOTTEN_MAX: u32 = 128;
/// How long one entry of a sweep may take.
const SWEEP_PATIENCE: Duration = Duration::from_secs(10);

/// What the actor works with.
#[derive(Clone)]
pub struct SessionOptions {
    /// Where tokens come from.
    pub entropy: Arc<dyn Entropy>,
    /// The time of day, for the look at what has expired.
    pub clock: Arc<dyn Clock>,
    /// Between two looks for what has expired. It is refused long before it is forgotten.
    pub sweep_every: Duration,
}

/// The way to the actor. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    actor: actix::Addr<Sessions>,
    entropy: Arc<dyn Entropy>,
}

impl Session {
    /// Starts the actor on the current actor thread.
    pub fn start(
        options: SessionOptions,
        proposer: Proposer,
        reader: Reader,
        replica: Replica,
        alarms: &Alarms,
    ) -> Session {
        let sessions = Sessions {
            proposer,
            reader,
            replica,
            clock: options.clock,
            sweep_every: options.sweep_every,
            under_way: 0,
            sweeping: false,
            _alarm: alarms.of("session"),
        };
        Session { actor: sessions.start(), entropy: options.entropy }
    }

    /// Turns auth on and gives the root token: the given one, or a drawn one for an empty text.
    pub async fn activate(&self, call: Call, given: String) -> Result<String, CallError> {
        let token = self.token_or(given);
        let command = ActivateAuth { root_token_digest: digest(&token) };
        self.done(call, command::Kind::ActivateAuth(command)).await?;
        Ok(token)
    }

    /// Turns auth off and forgets everything about it.
    pub async fn deactivate(&self, call: Call) -> Result<(), CallError> {
        self.done(call, command::Kind::DeactivateAuth(DeactivateAuth {})).await
    }

    /// Replaces the configuration of logins; none resets it.
    pub async fn configure(
        &self,
        call: Call,
        configuration: Option<OidcConfig>,
    ) -> Result<(), CallError> {
        self.done(call, command::Kind::ConfigureAuth(ConfigureAuth { configuration })).await
    }

    /// Draws a token for a robot that ends after `ttl_seconds`, or never for 0.
    pub async fn robot_token(
        &self,
        call: Call,
        robot: String,
        ttl_seconds: i64,
    ) -> Result<String, CallError> {
        let token = entropy::uuid(self.entropy.as_ref());
        let command = IssueRobotToken { robot, token_digest: digest(&token), ttl_seconds };
        match self.ask(call, command::Kind::IssueRobotToken(command)).await?.reply {
            reply::Kind::TokenIssued(_) => Ok(token),
            _ => Err(CallError::Misunderstood),
        }
    }

    /// Remembers a person on the way to the provider.
    pub async fn start_login(&self, call: Call, login: StartLogin) -> Result<(), CallError> {
        self.done(call, command::Kind::StartLogin(login)).await
    }

    /// Writes down what the provider sent the person back with. Said twice, the first time counts.
    pub async fn finish_login(&self, call: Call, login: FinishLogin) -> Result<(), CallError> {
        self.done(call, command::Kind::FinishLogin(login)).await
    }

    /// Makes a token of `token` for a person whom the server has checked.
    pub async fn user_token(&self, call: Call, token: IssueUserToken) -> Result<(), CallError> {
        match self.ask(call, command::Kind::IssueUserToken(token)).await?.reply {
            reply::Kind::TokenIssued(_) => Ok(()),
            _ => Err(CallError::Misunderstood),
        }
    }

    /// Ends one token; tells whether there was one.
    pub async fn revoke(&self, call: Call, token: &str) -> Result<u64, CallError> {
        let command = RevokeToken { token_digest: digest(token) };
        Ok(self.removed(call, command::Kind::RevokeToken(command)).await?.number)
    }

    /// Ends all tokens of one principal; tells how many. They are dead with the entry that says so; the
    /// sweep forgets what is too much for it.
    pub async fn revoke_all_of(&self, call: Call, subject: String) -> Result<u64, CallError> {
        let command = RevokeTokensOf { subject, at_once: FORGOTTEN_MAX };
        Ok(self.removed(call, command::Kind::RevokeTokensOf(command)).await?.number)
    }

    /// Forgets all tokens that have expired.
    pub async fn delete_expired(&self, call: Call) -> Result<(), CallError> {
        let kind = Sweep::Expired.step();
        // Each entry is a request of its own: one name for all of them would repeat the first answer.
        let call = Call { request_id: String::new(), ..call };
        while self.removed(call.clone(), kind.clone()).await?.more {
            tokio::time::sleep(WAITED_SWEEP_PAUSE).await;
        }
        Ok(())
    }

    /// Puts a token of a backup in place.
    pub async fn restore(&self, call: Call, token: RestoreToken) -> Result<(), CallError> {
        self.done(call, command::Kind::RestoreToken(token)).await
    }

    /// Ends all root tokens and gives the new one: the given one, or a drawn one for an empty text.
    pub async fn rotate_root(&self, call: Call, given: String) -> Result<String, CallError> {
        let token = self.token_or(given);
        let command = RotateRootToken { token_digest: digest(&token), at_once: FORGOTTEN_MAX };
        self.done(call, command::Kind::RotateRootToken(command)).await?;
        Ok(token)
    }

    /// Gives a principal exactly these roles on a resource.
    pub async fn bind(&self, call: Call, binding: ModifyRoleBinding) -> Result<(), CallError> {
        self.done(call, command::Kind::ModifyRoleBinding(binding)).await
    }

    /// Puts a principal into exactly these groups.
    pub async fn set_groups(&self, call: Call, groups: SetGroups) -> Result<(), CallError> {
        self.done(call, command::Kind::SetGroups(groups)).await
    }

    /// Adds members to a group, then removes some.
    pub async fn modify_members(
        &self,
        call: Call,
        members: ModifyMembers,
    ) -> Result<(), CallError> {
        self.done(call, command::Kind::ModifyMembers(members)).await
    }

    fn token_or(&self, given: String) -> String {
        if given.is_empty() { entropy::uuid(self.entropy.as_ref()) } else { given }
    }

    async fn removed(&self, call: Call, kind: command::Kind) -> Result<TokensRemoved, CallError> {
        match self.ask(call, kind).await?.reply {
            reply::Kind::TokensRemoved(removed) => Ok(removed),
            _ => Err(CallError::Misunderstood),
        }
    }

    async fn done(&self, call: Call, kind: command::Kind) -> Result<(), CallError> {
        match self.ask(call, kind).await?.reply {
            reply::Kind::Done(_) => Ok(()),
            _ => Err(CallError::Misunderstood),
        }
    }

    async fn ask(&self, call: Call, kind: command::Kind) -> Result<Answered, CallError> {
        ask::ask(&self.actor, call, kind).await
    }
}

fn digest(token: &str) -> Bytes {
    token_digest(token).to_vec().into()
}

struct Sessions {
    proposer: Proposer,
    reader: Reader,
    replica: Replica,
    clock: Arc<dyn Clock>,
    sweep_every: Duration,
    under_way: usize,
    sweeping: bool,
    _alarm: Alarm,
}

impl Actor for Sessions {
    type Context = Context<Sessions>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(UNDER_WAY_MAX);
        context.run_interval(self.sweep_every, |this, context| {
            this.sweep(context, &[Sweep::Logins, Sweep::Expired]);
        });
        context.run_interval(REVOKED_EVERY.min(self.sweep_every), |this, context| {
            this.sweep(context, &[Sweep::Revoked]);
        });
    }
}

impl Handler<Ask> for Sessions {
    type Result = ();

    fn handle(&mut self, ask: Ask, context: &mut Self::Context) {
        if self.under_way >= UNDER_WAY_MAX {
            ask.refuse();
            return;
        }
        self.under_way += 1;
        let proposed = ask.propose(self.proposer.clone());
        context.spawn(proposed.into_actor(self).map(|(), this, _| this.under_way -= 1));
    }
}

impl Sessions {
    /// Forgets what nobody may use any more, if this replica leads and there is any.
    fn sweep(&mut self, context: &mut Context<Sessions>, which: &[Sweep]) {
        let now = LogTime(self.clock.now().0);
        let view = self.reader.local();
        let due = which.iter().copied().filter(|sweep| sweep.is_due(view.auth(), now));
        let due: Vec<Sweep> = due.collect();
        if self.sweeping || due.is_empty() || self.replica.info().role != Role::Leader {
            return;
        }
        self.sweeping = true;
        let swept = sweep(self.proposer.clone(), due);
        context.spawn(swept.into_actor(self).map(|(), this, _| this.sweeping = false));
    }
}

/// What there is to forget.
#[derive(Clone, Copy, Debug)]
enum Sweep {
    /// Logins whose time is over.
    Logins,
    /// Tokens that ended with all others of their owner.
    Revoked,
    /// Tokens whose time is over.
    Expired,
}

impl Sweep {
    fn is_due(self, auth: &Auth, now: LogTime) -> bool {
        match self {
            Sweep::Logins => auth.logins().has_expired(now),
            Sweep::Revoked => auth.tokens().has_revoked(),
            Sweep::Expired => auth.tokens().has_expired(now),
        }
    }

    /// The command that forgets some.
    fn step(self) -> command::Kind {
        match self {
            Sweep::Logins => command::Kind::DeleteExpiredLogins(DeleteExpiredLogins {}),
            Sweep::Revoked => {
                command::Kind::ForgetRevokedTokens(ForgetRevokedTokens { max: FORGOTTEN_MAX })
            }
            Sweep::Expired => {
                command::Kind::DeleteExpiredTokens(DeleteExpiredTokens { max: FORGOTTEN_MAX })
            }
        }
    }

    fn count(self, forgotten: u64) {
        match self {
            Sweep::Logins => (),
            Sweep::Revoked => {
                metrics::counter!("muster_revoked_tokens_forgotten_total").increment(forgotten);
            }
            Sweep::Expired => {
                metrics::counter!("muster_expired_tokens_forgotten_total").increment(forgotten);
            }
        }
    }
}

/// Goes on until nothing is left or something is in the way; the next round tries again.
async fn sweep(proposer: Proposer, due: Vec<Sweep>) {
    for sweep in due {
        while let Some(more) = step(&proposer, sweep).await {
            if !more {
                break;
            }
            tokio::time::sleep(SWEEP_PAUSE).await;
        }
    }
}

/// One entry of a sweep; tells whether there is more, or nothing when something was in the way.
async fn step(proposer: &Proposer, sweep: Sweep) -> Option<bool> {
    let call = Call::internal(Internal::AuthServer, Instant::now() + SWEEP_PATIENCE);
    match proposer.propose(call, sweep.step()).await.map(|answered| answered.reply) {
        Ok(reply::Kind::TokensRemoved(removed)) => {
            sweep.count(removed.number);
            Some(removed.more)
        }
        Ok(_) => Some(false),
        Err(error) => {
            tracing::warn!(%error, ?sweep, "what nobody may use any more is not forgotten yet");
            None
        }
    }
}
