//! Tokens by their digests: issued, found, revoked, restored, purged.

use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use muster_hooks::mutant;
use muster_proto::muster::log::v1::{Rejection, RejectionKind, TokensRemoved};

use crate::state::secret::Digest;
use crate::state::time::LogTime;
use crate::state::{limits, rejection};

/// All tokens that are not purged yet, expired ones included.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    all: OrdMap<Digest, Token>,
    of_subject: OrdSet<(Arc<str>, Digest)>,
    /// Without those that never expire.
    expiring: OrdSet<(LogTime, Digest)>,
}

/// One token; its text is nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Whose it is.
    pub subject: Arc<str>,
    /// The last instant at which it serves; [`LogTime::NEVER`] = it serves for ever.
    pub expires: LogTime,
}

impl Token {
    /// Whether `now` is strictly later than its last instant.
    pub fn is_expired(&self, now: LogTime) -> bool {
        self.expires != LogTime::NEVER && self.expires < now && !mutant!(ExpiryIgnored)
    }
}

impl Tokens {
    /// The token of that digest.
    pub fn get(&self, digest: &Digest) -> Option<&Token> {
        self.all.get(digest)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All tokens in the order of their digests.
    pub fn iter(&self) -> impl Iterator<Item = (&Digest, &Token)> {
        self.all.iter()
    }

    /// The tokens whose subject begins with `prefix`, in the order of subjects.
    pub fn of_prefix<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a Digest, &'a Token)> {
        self.of_prefix_after(prefix, None)
    }

    /// As [`Tokens::of_prefix`], without those up to and including one, which need not be there.
    pub fn of_prefix_after<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<(&str, Digest)>,
    ) -> impl Iterator<Item = (&'a Digest, &'a Token)> {
        let from = match after.filter(|(subject, _)| *subject >= prefix) {
            None => Bound::Included((Arc::from(prefix), Digest::default())),
            Some((subject, digest)) => Bound::Excluded((Arc::from(subject), digest)),
        };
        self.of_subject
            .range((from, Bound::Unbounded))
            .take_while(move |(subject, _)| subject.starts_with(prefix))
            .filter_map(|(_, digest)| self.all.get_key_value(digest))
    }

    /// Whether any has expired by `now`.
    pub fn has_expired(&self, now: LogTime) -> bool {
        self.expiring.get_min().is_some_and(|(expires, _)| *expires < now)
    }

    pub(super) fn last_digest(&self) -> Option<&Digest> {
        self.all.get_max().map(|(digest, _)| digest)
    }

    /// Says no when there is no room for one more, or the digest is taken.
    pub(super) fn check_new(&self, digest: &Digest) -> Result<(), Rejection> {
        if self.all.contains_key(digest) && !mutant!(RestoreUnchecked) {
            return Err(rejection::plain(RejectionKind::TokenTaken));
        }
        if self.len() >= limits::TOKENS_MAX {
            return Err(rejection::too_many("tokens", limits::TOKENS_MAX));
        }
        Ok(())
    }

    pub(in crate::state) fn insert(&mut self, digest: Digest, subject: &str, expires: LogTime) {
        let subject = self.shared(subject);
        self.of_subject.insert((Arc::clone(&subject), digest));
        if expires != LogTime::NEVER {
            self.expiring.insert((expires, digest));
        }
        self.all.insert(digest, Token { subject, expires });
    }

    /// The text of a subject that has tokens already, so that it is kept once.
    fn shared(&self, subject: &str) -> Arc<str> {
        let given: Arc<str> = Arc::from(subject);
        let from = (given, Digest::default());
        match self.of_subject.range(from.clone()..).next() {
            Some((known, _)) if known.as_ref() == subject => Arc::clone(known),
            _ => from.0,
        }
    }

    /// Removes a token; tells whether it was there.
    pub(super) fn remove(&mut self, digest: &Digest) -> bool {
        let Some(token) = self.all.remove(digest) else {
            return false;
        };
        self.of_subject.remove(&(token.subject, *digest));
        self.expiring.remove(&(token.expires, *digest));
        true
    }

    /// Removes all tokens of exactly that subject; tells how many.
    pub(super) fn remove_of(&mut self, subject: &str) -> u64 {
        let from = (Arc::from(subject), Digest::default());
        let digests: Vec<Digest> = self
            .of_subject
            .range(from..)
            .take_while(|(owner, _)| owner.as_ref() == subject)
            .skip(usize::from(mutant!(RevokeForgets)))
            .map(|(_, digest)| *digest)
            .collect();
        for digest in &digests {
            self.remove(digest);
        }
        u64::try_from(digests.len()).unwrap_or(u64::MAX)
    }

    /// Removes what has expired by `now`, the oldest first and a bounded number at once.
    pub(super) fn purge(&mut self, now: LogTime, max: usize) -> TokensRemoved {
        let mut due = self.expiring.iter().take_while(|(expires, _)| *expires < now);
        let digests: Vec<Digest> = due.by_ref().take(max).map(|(_, digest)| *digest).collect();
        let more = due.next().is_some();
        for digest in &digests {
            self.remove(digest);
        }
        TokensRemoved { number: u64::try_from(digests.len()).unwrap_or(u64::MAX), more }
    }

    /// Whether the three indexes tell the same.
    pub(in crate::state) fn is_consistent(&self) -> bool {
        let expiring = self.all.values().filter(|it| it.expires != LogTime::NEVER).count();
        self.of_subject.len() == self.len() && self.expiring.len() == expiring
    }
}
