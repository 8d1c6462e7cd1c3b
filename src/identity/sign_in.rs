//! A person is sent to the provider, and comes back. What happens in between is remembered by the
//! group, under a digest of the state that travels with the person.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use muster_proto::auth_v2::OidcConfig;
use muster_proto::muster::log::v1::{
    FinishLogin, GroupsClaim, Internal, RejectionKind, StartLogin,
};
use tokio::time::Instant;

use super::configuration::Configuration;
use super::error::SignInError;
use super::oidc::{Drawn, OidcError, Person, RelyingParty, Return};
use crate::actors::{Call, CallError, Reader, Replica, Session};
use crate::clock::Clock;
use crate::entropy::{self, Entropy};
use crate::seal::DataKey;
use crate::state::auth::logins::{Login, Progress};
use crate::state::secret::{Digest, nonce_digest, token_digest};
use crate::state::{LogTime, State};

/// What the envelope of a PKCE verifier opens for.
const VERIFIER: &str = "verifier of a login";
/// Characters of a state.
const STATE_CHARS: usize = 31;
/// In front of the names of groups that a provider gives.
const GROUP: &str = "group:";
/// The longest that a person who came back waits for a page.
const RETURN_MAX: Duration = Duration::from_secs(30);
/// How long the group may take over one wish.
pub(super) const ATTEMPT_MAX: Duration = Duration::from_secs(5);
/// Between two attempts, and between two looks at a login.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// How people are signed in.
#[derive(Clone, Debug)]
pub struct SignInOptions {
    /// What client secrets and verifiers are sealed with.
    pub data_key: Option<DataKey>,
    /// How long a person may be at the provider.
    pub login_lifetime: Duration,
    /// How long a person's token serves.
    pub session_lifetime: Duration,
}

/// What people are signed in through.
#[derive(Clone)]
pub struct SignInParts {
    /// Logins and tokens.
    pub session: Session,
    /// The state.
    pub reader: Reader,
    /// This replica.
    pub replica: Replica,
    /// Whom the provider sees.
    pub party: Arc<RelyingParty>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Where states, nonces and tokens come from.
    pub entropy: Arc<dyn Entropy>,
}

/// Signs people in. Cheap to clone.
#[derive(Clone)]
pub struct SignIn {
    pub(super) parts: SignInParts,
    pub(super) options: Arc<SignInOptions>,
}

/// A login that has begun.
#[derive(Clone, PartialEq, Eq)]
pub struct Begun {
    /// Where the browser goes.
    pub url: String,
    /// What comes back with the person, and gets the token.
    pub state: String,
}

/// What the provider sent the person back with.
#[derive(Clone, Default)]
pub struct Callback {
    /// The login.
    pub state: String,
    /// What the provider gives an ID token for; none when it said no.
    pub code: Option<String>,
    /// Who says that it sent the person back.
    pub issuer: Option<String>,
}

/// What came of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The terminal gets its token.
    SignedIn,
    /// The provider said no, or the person.
    Denied,
    /// The provider said yes, and the check of its words no.
    Refused,
    /// Not checked by the provider, and must be.
    EmailUnverified,
}

impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignIn")
    }
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Begun")
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callback")
    }
}

impl SignIn {
    /// Signs in through `parts`.
    pub fn new(parts: SignInParts, options: SignInOptions) -> SignIn {
        SignIn { parts, options: Arc::new(options) }
    }

    /// Settles that there is a provider at the issuer's address. One that is this server itself is
    /// not asked: it may be configured before it answers (D-46).
    ///
    /// # Errors
    /// When there is none, or another one.
    pub async fn check(&self, configuration: &OidcConfig) -> Result<(), OidcError> {
        if configuration.localhost_issuer {
            return Ok(());
        }
        self.parts.party.check(configuration).await
    }

    /// Begins a login.
    ///
    /// # Errors
    /// When nobody said where people sign in, the issuer does not answer, or the group does not.
    pub async fn begin(&self, deadline: Instant) -> Result<Begun, SignInError> {
        let view = self.parts.reader.current(deadline).await?;
        let Configuration(configuration) = self.configuration(&view)?;
        let entropy = self.parts.entropy.as_ref();
        let state = entropy::url_secret(entropy);
        let nonce = entropy::url_secret(entropy);
        let verifier = entropy::pkce_verifier(entropy);
        let drawn =
            Drawn { state: state.clone(), nonce: nonce.clone(), verifier: verifier.clone() };
        let departure = self.parts.party.depart(&configuration, drawn);
        let departure = match tokio::time::timeout_at(deadline, departure).await {
            Ok(departure) => departure?,
            Err(_) => return Err(OidcError::NoTime.into()),
        };
        let pkce_verifier_sealed =
            if departure.is_pkce { self.sealed(&verifier)? } else { Vec::new() };
        let login = StartLogin {
            login_digest: token_digest(&state).to_vec().into(),
            nonce_digest: nonce_digest(&nonce).to_vec().into(),
            pkce_verifier_sealed: pkce_verifier_sealed.into(),
            ttl_seconds: self.options.login_lifetime.as_secs(),
            ..StartLogin::default()
        };
        let call = Call::internal(Internal::AuthServer, deadline);
        self.parts.session.start_login(call, login).await?;
        Ok(Begun { url: departure.url, state })
    }

    /// Takes a person back. Called twice, the first answer counts.
    ///
    /// # Errors
    /// When the login is not known, or something is in the way that may pass.
    pub async fn finish(&self, callback: Callback) -> Result<Outcome, SignInError> {
        let deadline = Instant::now() + RETURN_MAX;
        match tokio::time::timeout_at(deadline, self.finish_by(callback, deadline)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(OidcError::NoTime.into()),
        }
    }

    async fn finish_by(
        &self,
        callback: Callback,
        deadline: Instant,
    ) -> Result<Outcome, SignInError> {
        let digest = digest_of(&callback.state)?;
        let view = self.current(deadline).await?;
        let login = self.login(&view, &digest)?.clone();
        match login.progress {
            Progress::SignedIn { .. } => return Ok(Outcome::SignedIn),
            Progress::Failed => return Ok(Outcome::Refused),
            Progress::Started => (),
        }
        let person = match callback.code {
            None => Err(Outcome::Denied),
            Some(code) => self.person(&view, &login, code, callback.issuer).await?,
        };
        let (outcome, wish) = match person {
            Err(no) => (no, failed(&digest)),
            Ok(person) => (Outcome::SignedIn, signed_in(&digest, person)),
        };
        match self.write_down(wish, deadline).await {
            Ok(()) => Ok(outcome),
            // Such as an address that is longer than any: there is no such principal.
            Err(CallError::Rejected(no)) if no.kind() != RejectionKind::LoginUnknown => {
                tracing::warn!(rejection = ?no.kind(), "what the provider said was refused");
                self.write_down(failed(&digest), deadline).await?;
                Ok(Outcome::Refused)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Who came back; what is in the way is an error only if it may pass.
    async fn person(
        &self,
        view: &State,
        login: &Login,
        code: String,
        issuer: Option<String>,
    ) -> Result<Result<Person, Outcome>, SignInError> {
        let Configuration(configuration) = self.configuration(view)?;
        let verifier = match login.pkce_verifier_sealed.as_ref() {
            [] => None,
            sealed => Some(self.opened(sealed)?),
        };
        let back = Return { code, issuer, nonce: login.nonce, verifier };
        match self.parts.party.take_back(&configuration, back).await {
            Ok(person) => Ok(Ok(person)),
            Err(error) if error.is_passing() => Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "a login failed");
                let unverified = matches!(error, OidcError::EmailUnverified);
                Ok(Err(if unverified { Outcome::EmailUnverified } else { Outcome::Refused }))
            }
        }
    }

    /// Tells the group, for as long as there is time.
    async fn write_down(&self, wish: FinishLogin, deadline: Instant) -> Result<(), CallError> {
        loop {
            let attempt = deadline.min(Instant::now() + ATTEMPT_MAX);
            let call = Call::internal(Internal::AuthServer, attempt);
            match self.parts.session.finish_login(call, wish.clone()).await {
                Err(error) if self.is_worth_another(&error, deadline) => {
                    tokio::time::sleep(PAUSE).await;
                }
                decided => return decided,
            }
        }
    }

    /// The state with everything acknowledged, as soon as there is a leader.
    pub(super) async fn current(&self, deadline: Instant) -> Result<State, CallError> {
        loop {
            let attempt = deadline.min(Instant::now() + ATTEMPT_MAX);
            match self.parts.reader.current(attempt).await {
                Err(error) if self.is_worth_another(&error, deadline) => {
                    tokio::time::sleep(PAUSE).await;
                }
                decided => return decided,
            }
        }
    }

    /// Whether the circumstances, not the rules, said no, and there is time to ask again.
    pub(super) fn is_worth_another(&self, error: &CallError, deadline: Instant) -> bool {
        let is_passing = matches!(error, CallError::NotDone(_) | CallError::MayBeDone);
        is_passing && !self.parts.replica.is_draining() && Instant::now() + PAUSE < deadline
    }

    pub(super) fn configuration(&self, view: &State) -> Result<Configuration, SignInError> {
        let stored = view.auth().configuration().ok_or(SignInError::NotConfigured)?;
        Ok(Configuration::open(stored, self.options.data_key.as_ref())?)
    }

    pub(super) fn login<'a>(
        &self,
        view: &'a State,
        digest: &Digest,
    ) -> Result<&'a Login, CallError> {
        let now = LogTime(self.parts.clock.now().0);
        view.auth().logins().find(digest, now).map_err(CallError::Rejected)
    }

    fn sealed(&self, verifier: &str) -> Result<Vec<u8>, SignInError> {
        let key = self.options.data_key.as_ref().ok_or(SignInError::NoKeyForVerifier)?;
        let sealed = key.seal(VERIFIER, verifier);
        Ok(sealed.map_err(super::ConfigurationError::NotSealed)?)
    }

    fn opened(&self, sealed: &[u8]) -> Result<String, SignInError> {
        let key = self.options.data_key.as_ref().ok_or(SignInError::NoKeyForVerifier)?;
        Ok(key.open(VERIFIER, sealed).map_err(super::ConfigurationError::Closed)?)
    }
}

/// What the group knows a login by: a digest of the whole state, so that no part of one finds
/// anything, and looking one up tells nothing by the time it takes (D-29).
pub(super) fn digest_of(state: &str) -> Result<Digest, CallError> {
    let is_ours = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if state.len() == STATE_CHARS && state.chars().all(is_ours) {
        return Ok(token_digest(state));
    }
    Err(CallError::Rejected(crate::state::rejection::plain(RejectionKind::LoginUnknown)))
}

/// The groups of a provider under the names that they have here.
pub(super) fn claim(groups: Option<Vec<String>>) -> Option<GroupsClaim> {
    let named = |groups: Vec<String>| groups.iter().map(|name| format!("{GROUP}{name}")).collect();
    groups.map(|groups| GroupsClaim { groups: named(groups) })
}

fn signed_in(digest: &Digest, person: Person) -> FinishLogin {
    FinishLogin {
        login_digest: digest.to_vec().into(),
        subject: format!("{}{}", crate::state::auth::principal::USER, person.email),
        groups: claim(person.groups),
    }
}

fn failed(digest: &Digest) -> FinishLogin {
    FinishLogin { login_digest: digest.to_vec().into(), ..FinishLogin::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    #[test]
    fn only_a_whole_state_has_a_digest() {
        digest_of(&entropy::url_secret(&SystemEntropy)).unwrap();
        for bad in
            ["", ".", "a", &"a".repeat(30), &"a".repeat(32), &"=".repeat(31), &"é".repeat(31)]
        {
            digest_of(bad).unwrap_err();
        }
    }

    #[test]
    fn no_word_on_groups_is_not_the_same_as_none() {
        assert_eq!(claim(None), None);
        assert_eq!(claim(Some(Vec::new())), Some(GroupsClaim::default()));
        let named = claim(Some(vec!["a".to_owned()])).unwrap();
        assert_eq!(named.groups, ["group:a"]);
    }
}
