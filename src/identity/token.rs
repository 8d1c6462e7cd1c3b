//! Tokens for people who have signed in.

use std::time::Duration;

use muster_proto::muster::log::v1::{Internal, IssueUserToken, RejectionKind};
use tokio::time::Instant;

use super::configuration::Configuration;
use super::error::SignInError;
use super::oidc::OidcError;
use super::sign_in::{ATTEMPT_MAX, PAUSE, SignIn, claim, digest_of};
use crate::actors::{Call, CallError, NotDone, Origin};
use crate::entropy;
use crate::state::auth::logins::Progress;
use crate::state::auth::principal;
use crate::state::rejection;
use crate::state::secret::{Digest, token_digest};

impl SignIn {
    /// A token for whoever finishes the login of `state`: waits for that person until `deadline`, and
    /// never longer than the login lasts. `origin` says for the audit log how the wish came in.
    ///
    /// # Errors
    /// At once when there is no such login, when the person was refused, or the rules say no.
    pub async fn token_of_login(
        &self,
        state: &str,
        origin: &Origin,
        deadline: Instant,
    ) -> Result<String, SignInError> {
        let digest = digest_of(state)?;
        let mut view = self.current(deadline).await?;
        loop {
            match &self.login(&view, &digest)?.progress {
                Progress::SignedIn { subject, .. } => {
                    let wish = IssueUserToken {
                        subject: subject.clone(),
                        ttl_seconds: self.options.session_lifetime.as_secs(),
                        login_digest: digest.to_vec().into(),
                        ..IssueUserToken::default()
                    };
                    return Ok(self.issue(wish, origin, deadline).await?);
                }
                Progress::Failed => return Err(refused(RejectionKind::LoginFailed).into()),
                Progress::Started => (),
            }
            if self.parts.replica.is_draining() {
                return Err(CallError::from(NotDone::Stopping).into());
            }
            if Instant::now() + PAUSE >= deadline {
                return Err(SignInError::Pending);
            }
            tokio::time::sleep(PAUSE).await;
            // What this replica has may be late, which is no harm: it is looked at again.
            view = self.parts.reader.local();
        }
    }

    /// A token for the owner of an ID token, which it does not outlive.
    ///
    /// # Errors
    /// When the ID token is not good, or the rules say no.
    pub async fn token_of_id_token(
        &self,
        id_token: &str,
        origin: &Origin,
        deadline: Instant,
    ) -> Result<String, SignInError> {
        let view = self.current(deadline).await?;
        let Configuration(configuration) = self.configuration(&view)?;
        let person = self.parts.party.check_token(&configuration, id_token);
        let person = match tokio::time::timeout_at(deadline, person).await {
            Ok(person) => person?,
            Err(_) => return Err(OidcError::NoTime.into()),
        };
        let now = Duration::from_micros(self.parts.clock.now().0);
        let left = Duration::from_secs(person.expires).saturating_sub(now);
        let wish = IssueUserToken {
            subject: format!("{}{}", principal::USER, person.email),
            ttl_seconds: left.min(self.options.session_lifetime).as_secs(),
            groups: claim(person.groups),
            ..IssueUserToken::default()
        };
        Ok(self.issue(wish, origin, deadline).await?)
    }

    /// Draws a token and has it issued, for as long as there is time. An attempt whose answer was lost
    /// may have been done: then the token is there, and nobody else can have drawn it.
    async fn issue(
        &self,
        wish: IssueUserToken,
        origin: &Origin,
        deadline: Instant,
    ) -> Result<String, CallError> {
        let token = entropy::uuid(self.parts.entropy.as_ref());
        let digest = token_digest(&token);
        let wish = IssueUserToken { token_digest: digest.to_vec().into(), ..wish };
        let mut lost = false;
        loop {
            let attempt = deadline.min(Instant::now() + ATTEMPT_MAX);
            let call = Call::internal(Internal::AuthServer, attempt);
            let call = Call { origin: origin.clone(), ..call };
            match self.parts.session.user_token(call, wish.clone()).await {
                Ok(()) => return Ok(token),
                Err(error @ CallError::Rejected(_)) => {
                    let is_there = lost && self.is_issued(&digest, deadline).await?;
                    return if is_there { Ok(token) } else { Err(error) };
                }
                Err(error) if self.is_worth_another(&error, deadline) => {
                    lost |= error == CallError::MayBeDone;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn is_issued(&self, digest: &Digest, deadline: Instant) -> Result<bool, CallError> {
        Ok(self.current(deadline).await?.auth().tokens().get(digest).is_some())
    }
}

fn refused(kind: RejectionKind) -> CallError {
    CallError::Rejected(rejection::plain(kind))
}
