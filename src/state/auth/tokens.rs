//! Tokens by their digests: issued, found, revoked, restored, purged.

use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use muster_hooks::mutant;
use muster_proto::muster::log::v1::{Rejection, RejectionKind, TokensRemoved};

use crate::state::auth::revocations::Revocations;
use crate::state::secret::Digest;
use crate::state::time::LogTime;
use crate::state::{limits, rejection};

/// All tokens that are not forgotten yet: expired ones too, and those that ended with all others of
/// their owner, though nobody finds these any more.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    all: OrdMap<Digest, Token>,
    /// Those of one subject as they were issued, so that what a revocation ended comes first.
    of_subject: OrdSet<Place>,
    /// Without those that never expire.
    expiring: OrdSet<(LogTime, Digest)>,
    /// How many each subject has that no revocation ended, at least one.
    counts: OrdMap<Arc<str>, usize>,
    revocations: Revocations,
}

/// A token among those of its subject: whose, issued where in the log, and which.
type Place = (Arc<str>, u64, Digest);

/// One token; its text is nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Whose it is.
    pub subject: Arc<str>,
    /// The last instant at which it serves; [`LogTime::NEVER`] = it serves for ever.
    pub expires: LogTime,
    /// Position of the entry that issued it; 0 = issued before anybody wrote that down.
    pub issued: u64,
}

impl Token {
    /// Whether `now` is strictly later than its last instant.
    pub fn is_expired(&self, now: LogTime) -> bool {
        self.expires != LogTime::NEVER && self.expires < now && !mutant!(ExpiryIgnored)
    }
}

impl Tokens {
    /// The token of that digest, unless it was revoked.
    pub fn get(&self, digest: &Digest) -> Option<&Token> {
        self.kept(digest)
            .filter(|token| !self.revocations.ended(token) || mutant!(RevocationIgnored))
    }

    /// As [`Tokens::get`], a revoked one included while it is not forgotten.
    pub(super) fn kept(&self, digest: &Digest) -> Option<&Token> {
        self.all.get(digest)
    }

    /// How many are kept, revoked ones that are not forgotten yet included.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// How many of these are revoked.
    pub fn revoked(&self) -> usize {
        self.revocations.kept()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All that are kept, in the order of their digests.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Digest, &Token)> {
        self.all.iter()
    }

    /// All that are not revoked, in the order of their digests.
    pub fn living(&self) -> impl Iterator<Item = (&Digest, &Token)> {
        self.all.keys().filter_map(|digest| Some((digest, self.get(digest)?)))
    }

    /// How many principals lost all of their tokens and have some of those still kept.
    pub(in crate::state) fn revocations_len(&self) -> usize {
        self.revocations.len()
    }

    pub(super) fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// The tokens whose subject begins with `prefix`, in the order of subjects.
    pub fn of_prefix<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a Digest, &'a Token)> {
        self.of_prefix_after(prefix, None)
    }

    /// As [`Tokens::of_prefix`], without those up to and including one, which need not be there: its
    /// subject, the position that issued it, and its digest.
    pub fn of_prefix_after<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<(&str, u64, Digest)>,
    ) -> impl Iterator<Item = (&'a Digest, &'a Token)> {
        let after = after.filter(|(subject, ..)| *subject >= prefix);
        let after = after.map(|(subject, issued, digest)| (Arc::from(subject), issued, digest));
        let first =
            after.as_ref().map_or_else(|| Arc::from(prefix), |it: &Place| Arc::clone(&it.0));
        self.counts
            .range(first..)
            .map(|(subject, _)| subject)
            .take_while(move |subject| subject.starts_with(prefix))
            .flat_map(move |subject| self.from(self.beginning(subject, after.as_ref())))
            .filter_map(|(_, _, digest)| self.all.get_key_value(digest))
    }

    /// Where the tokens of one subject begin that come after that place and are not revoked.
    fn beginning(&self, subject: &Arc<str>, after: Option<&Place>) -> Bound<Place> {
        let before = self.revocations.get(subject).map_or(0, |mark| mark.before);
        match after.filter(|(owner, issued, _)| owner == subject && *issued >= before) {
            Some(place) => Bound::Excluded(place.clone()),
            None => Bound::Included((Arc::clone(subject), before, Digest::default())),
        }
    }

    /// The tokens of one subject from there on.
    fn from(&self, beginning: Bound<Place>) -> impl Iterator<Item = &Place> {
        let subject = match &beginning {
            Bound::Included(place) | Bound::Excluded(place) => Some(Arc::clone(&place.0)),
            Bound::Unbounded => None,
        };
        self.of_subject
            .range((beginning, Bound::Unbounded))
            .take_while(move |(owner, ..)| Some(owner) == subject.as_ref())
    }

    /// Whether any has expired by `now`.
    pub fn has_expired(&self, now: LogTime) -> bool {
        self.expiring.get_min().is_some_and(|(expires, _)| *expires < now)
    }

    pub(super) fn last_digest(&self) -> Option<&Digest> {
        self.all.get_max().map(|(digest, _)| digest)
    }

    /// Says no when there is no room for one more, or the digest is taken. A revoked token keeps both
    /// until it is forgotten, so that nobody brings it back meanwhile.
    pub(super) fn check_new(&self, digest: &Digest) -> Result<(), Rejection> {
        if self.all.contains_key(digest) && !mutant!(RestoreUnchecked) {
            return Err(rejection::plain(RejectionKind::TokenTaken));
        }
        if self.len() >= limits::TOKENS_MAX {
            return Err(rejection::too_many("tokens", limits::TOKENS_MAX));
        }
        Ok(())
    }

    /// Adds a token that the entry at position `issued` brings.
    pub(in crate::state) fn insert(
        &mut self,
        digest: Digest,
        subject: &str,
        expires: LogTime,
        issued: u64,
    ) {
        let subject = self.shared(subject);
        let token = Token { subject: Arc::clone(&subject), expires, issued };
        self.of_subject.insert((Arc::clone(&subject), issued, digest));
        if expires != LogTime::NEVER {
            self.expiring.insert((expires, digest));
        }
        if self.revocations.ended(&token) {
            let before = self.revocations.get(&subject).map_or(0, |mark| mark.before);
            self.revocations.begin(subject, before, 1);
        } else {
            *self.counts.entry(subject).or_default() += 1;
        }
        self.all.insert(digest, token);
    }

    /// The text of a subject that has tokens already, so that it is kept once.
    fn shared(&self, subject: &str) -> Arc<str> {
        match self.counts.get_key_value(subject) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::from(subject),
        }
    }

    /// Removes a token that is not revoked; tells whether it was there.
    pub(super) fn remove(&mut self, digest: &Digest) -> bool {
        self.get(digest).is_some() && self.take(digest)
    }

    /// Removes a token from all indexes; tells whether it was there and not revoked.
    fn take(&mut self, digest: &Digest) -> bool {
        let Some(token) = self.all.remove(digest) else {
            return false;
        };
        let lived = !self.revocations.ended(&token);
        if lived {
            self.count_off(&token.subject);
        } else {
            self.revocations.forgot_one(&token.subject);
        }
        self.expiring.remove(&(token.expires, *digest));
        self.of_subject.remove(&(token.subject, token.issued, *digest));
        lived
    }

    fn count_off(&mut self, subject: &str) {
        if let Some(count) = self.counts.get_mut(subject) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(subject);
            }
        }
    }

    /// Ends all tokens of exactly that subject that were issued before a position, and tells how many
    /// those are. However many: `at_once` of them are forgotten now, 0 = all, and the others later.
    pub(super) fn revoke_of(&mut self, subject: &str, before: u64, at_once: usize) -> u64 {
        let Some((subject, count)) = self.counts.remove_with_key(subject) else {
            return 0;
        };
        // A revocation is never refused, so that what finds no room is carried out to its end.
        let is_whole = at_once == 0 || !self.revocations.has_room_for(&subject);
        self.revocations.begin(Arc::clone(&subject), before, count);
        self.forget_of(subject, if is_whole { usize::MAX } else { at_once });
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// Forgets revoked tokens of one subject, a bounded number at once; tells how many.
    fn forget_of(&mut self, subject: Arc<str>, max: usize) -> usize {
        let Some(mark) = self.revocations.get(&subject) else {
            return 0;
        };
        let from = (Arc::clone(&subject), 0, Digest::default());
        let to = (subject, mark.before, Digest::default());
        let dead = self.of_subject.range(from..to).take(max).map(|(_, _, digest)| *digest);
        let dead: Vec<Digest> = dead.collect();
        for digest in &dead {
            self.take(digest);
        }
        dead.len()
    }

    /// Forgets revoked tokens of one subject, a bounded number at once.
    pub(super) fn forget_revoked(&mut self, max: usize) -> TokensRemoved {
        let number = self.revocations.first().map_or(0, |subject| self.forget_of(subject, max));
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        TokensRemoved { number, more: self.has_revoked() }
    }

    /// Whether there are revoked tokens to forget.
    pub fn has_revoked(&self) -> bool {
        self.revocations.len() > 0
    }

    /// Puts a mark in place before the tokens that it is about.
    pub(super) fn load_revocation(&mut self, subject: &str, before: u64) {
        if !mutant!(RevocationUnsaved) {
            self.revocations.begin(Arc::from(subject), before, 0);
        }
    }

    /// Removes what has expired by `now`, the oldest first and a bounded number at once; counts those
    /// that were not revoked before.
    pub(super) fn purge(&mut self, now: LogTime, max: usize) -> TokensRemoved {
        let mut due = self.expiring.iter().take_while(|(expires, _)| *expires < now);
        let digests: Vec<Digest> = due.by_ref().take(max).map(|(_, digest)| *digest).collect();
        let more = due.next().is_some();
        let number = digests.iter().filter(|digest| self.take(digest)).count();
        TokensRemoved { number: u64::try_from(number).unwrap_or(u64::MAX), more }
    }

    /// Whether all indexes tell the same.
    pub(in crate::state) fn is_consistent(&self) -> bool {
        let expiring = self.all.values().filter(|it| it.expires != LogTime::NEVER).count();
        let ended = self.all.values().filter(|it| self.revocations.ended(it)).count();
        let lasting: usize = self.counts.values().sum();
        self.of_subject.len() == self.len()
            && self.expiring.len() == expiring
            && self.revoked() == ended
            && lasting + ended == self.len()
    }

    /// Whether each mark has a reason to be there still, and none is of a later entry than `index`.
    pub(in crate::state) fn are_revocations_sound(&self, index: u64) -> bool {
        self.revocations.len() <= limits::REVOCATIONS_MAX
            && self.revocations.iter().all(|(_, it)| it.kept > 0 && it.before <= index)
    }
}
