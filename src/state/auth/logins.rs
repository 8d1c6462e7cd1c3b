//! People on their way to the provider and back.

use imbl::{OrdMap, OrdSet};
use muster_proto::muster::log::v1::{
    FinishLogin, GroupsClaim, LoginRecord, Rejection, RejectionKind, StartLogin,
};

use crate::state::auth::{groups, principal};
use crate::state::secret::{self, Digest};
use crate::state::time::LogTime;
use crate::state::{limits, rejection};

/// Logins under way by the digest of their whole state (D-29).
#[derive(Clone, Debug, Default)]
pub struct Logins {
    by_digest: OrdMap<Digest, Login>,
    by_end: OrdSet<(LogTime, Digest)>,
}

/// One login.
#[derive(Clone, Debug, PartialEq)]
pub struct Login {
    /// Of what the ID token must repeat.
    pub nonce: Digest,
    /// Sealed with the group's data key; empty when the issuer does no PKCE.
    pub pkce_verifier_sealed: bytes::Bytes,
    /// The last instant at which it serves.
    pub expires: LogTime,
    /// How far it is.
    pub progress: Progress,
}

/// How far a login is.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// The person is at the provider.
    Started,
    /// The provider said who it is.
    SignedIn {
        /// `user:<email>`.
        subject: String,
        /// What the provider said of groups, if anything.
        groups: Option<GroupsClaim>,
    },
    /// The provider, or the check of its answer, said no (D-35).
    Failed,
}

impl Logins {
    /// The login under way of that digest.
    ///
    /// # Errors
    ///
    /// At once when there is none, or none any more (D-35).
    pub fn find(&self, digest: &Digest, now: LogTime) -> Result<&Login, Rejection> {
        self.by_digest
            .get(digest)
            .filter(|login| now <= login.expires)
            .ok_or_else(|| rejection::plain(RejectionKind::LoginUnknown))
    }

    /// How many are kept, those that are over included.
    pub fn len(&self) -> usize {
        self.by_digest.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.by_digest.is_empty()
    }

    /// Whether the time of any is over by `now`.
    pub fn has_expired(&self, now: LogTime) -> bool {
        self.by_end.get_min().is_some_and(|(end, _)| *end < now)
    }

    fn insert(&mut self, digest: Digest, login: Login) {
        self.by_end.insert((login.expires, digest));
        self.by_digest.insert(digest, login);
    }

    pub(super) fn remove(&mut self, digest: &Digest) {
        if let Some(login) = self.by_digest.remove(digest) {
            self.by_end.remove(&(login.expires, *digest));
        }
    }

    pub(in crate::state) fn records(&self) -> impl Iterator<Item = LoginRecord> {
        self.by_digest.iter().map(|(digest, login)| {
            let (subject, groups) = match &login.progress {
                Progress::SignedIn { subject, groups } => (subject.clone(), groups.clone()),
                Progress::Started | Progress::Failed => (String::new(), None),
            };
            LoginRecord {
                digest: digest.to_vec().into(),
                nonce: String::new(),
                nonce_digest: login.nonce.to_vec().into(),
                pkce_verifier_sealed: login.pkce_verifier_sealed.clone(),
                expires_us: login.expires.0,
                finished: login.progress != Progress::Started,
                subject,
                groups,
            }
        })
    }

    pub(in crate::state) fn load(
        &mut self,
        digest: Digest,
        record: LoginRecord,
    ) -> Result<(), Rejection> {
        let nonce = read_nonce(&record.nonce, &record.nonce_digest)?;
        let progress = match (record.finished, record.subject) {
            (false, _) => Progress::Started,
            (true, subject) if subject.is_empty() => Progress::Failed,
            (true, subject) => Progress::SignedIn { subject, groups: record.groups },
        };
        let login = Login {
            nonce,
            pkce_verifier_sealed: record.pkce_verifier_sealed,
            expires: LogTime(record.expires_us),
            progress,
        };
        self.insert(digest, login);
        Ok(())
    }
}

/// The digest of a nonce, which older versions wrote down in clear.
fn read_nonce(clear: &str, digest: &[u8]) -> Result<Digest, Rejection> {
    if digest.is_empty() && !clear.is_empty() {
        return Ok(secret::nonce_digest(clear));
    }
    secret::read("nonce_digest", digest)
}

/// Forgets those that are over.
pub(in crate::state) fn sweep(logins: &mut Logins, now: LogTime) {
    while let Some((end, digest)) = logins.by_end.get_min().copied()
        && end < now
    {
        logins.remove(&digest);
    }
}

/// Remembers a login. Whoever asks may begin one without a token, so there is a bound.
pub(in crate::state) fn start(
    logins: &mut Logins,
    now: LogTime,
    command: &StartLogin,
) -> Result<(), Rejection> {
    let digest = secret::read("login_digest", &command.login_digest)?;
    let nonce = read_nonce(&command.nonce, &command.nonce_digest)?;
    if command.pkce_verifier_sealed.len() > limits::SEALED_BYTES_MAX {
        return Err(rejection::about(RejectionKind::FieldTooLong, "pkce_verifier_sealed"));
    }
    if logins.len() >= limits::LOGINS_MAX {
        sweep(logins, now);
    }
    if logins.len() >= limits::LOGINS_MAX {
        return Err(rejection::too_many("logins", limits::LOGINS_MAX));
    }
    if logins.by_digest.contains_key(&digest) {
        return Err(rejection::plain(RejectionKind::TokenTaken));
    }

    let login = Login {
        nonce,
        pkce_verifier_sealed: command.pkce_verifier_sealed.clone(),
        expires: now.plus_seconds(command.ttl_seconds.min(limits::LOGIN_SECONDS_MAX)),
        progress: Progress::Started,
    };
    logins.insert(digest, login);
    Ok(())
}

/// Writes down what came back. The first answer counts: a second one of the same login changes
/// nothing.
pub(in crate::state) fn finish(
    logins: &mut Logins,
    now: LogTime,
    command: &FinishLogin,
) -> Result<(), Rejection> {
    let digest = secret::read("login_digest", &command.login_digest)?;
    logins.find(&digest, now)?;
    let progress = if command.subject.is_empty() {
        Progress::Failed
    } else {
        principal::check(&command.subject)?;
        if let Some(claim) = &command.groups {
            groups::check_claim(&groups::Groups::default(), claim)?;
        }
        Progress::SignedIn { subject: command.subject.clone(), groups: command.groups.clone() }
    };

    if let Some(login) = logins.by_digest.get_mut(&digest)
        && login.progress == Progress::Started
    {
        login.progress = progress;
    }
    Ok(())
}
