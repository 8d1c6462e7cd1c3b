//! Principals that lost all of their tokens at once. The entry that says so only marks them: every look
//! at a token goes by the mark from then on, and further entries forget the tokens, a few at a time.

use std::sync::Arc;

use imbl::OrdMap;
use muster_hooks::mutant;

use crate::state::auth::tokens::Token;
use crate::state::limits;

/// The marks, each as long as any token that it ended is kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Revocations {
    of_subject: OrdMap<Arc<str>, Revocation>,
}

/// The end of all tokens that a principal had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Revocation {
    /// Tokens issued by entries before this position are dead; later ones are not concerned.
    pub(super) before: u64,
    /// How many of the dead ones are not forgotten yet.
    pub(super) kept: usize,
}

impl Revocations {
    pub(super) fn get(&self, subject: &str) -> Option<Revocation> {
        self.of_subject.get(subject).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.of_subject.len()
    }

    /// All of them in the order of their principals.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Revocation)> {
        self.of_subject.iter()
    }

    /// Whose tokens are forgotten next.
    pub(super) fn first(&self) -> Option<Arc<str>> {
        self.of_subject.get_min().map(|(subject, _)| Arc::clone(subject))
    }

    pub(super) fn last(&self) -> Option<&Arc<str>> {
        self.of_subject.get_max().map(|(subject, _)| subject)
    }

    /// The dead tokens that are kept.
    pub(super) fn kept(&self) -> usize {
        self.of_subject.values().map(|it| it.kept).sum()
    }

    /// Whether one more principal finds room.
    pub(super) fn has_room_for(&self, subject: &str) -> bool {
        self.len() < limits::REVOCATIONS_MAX || self.of_subject.contains_key(subject)
    }

    /// Whether a token ended with all others of its owner.
    pub(super) fn ended(&self, token: &Token) -> bool {
        let Some(mark) = self.of_subject.get(token.subject.as_ref()) else { return false };
        token.issued < mark.before || mutant!(RevocationSpreads)
    }

    /// Ends what was issued before a position, `more` tokens in addition to those that ended earlier.
    pub(super) fn begin(&mut self, subject: Arc<str>, before: u64, more: usize) {
        let mark = self.of_subject.entry(subject).or_default();
        mark.before = before;
        mark.kept += more;
    }

    /// Takes note that one of the dead tokens is kept no longer; the last one takes the mark along.
    pub(super) fn forgot_one(&mut self, subject: &str) {
        if let Some(mark) = self.of_subject.get_mut(subject) {
            mark.kept = mark.kept.saturating_sub(1);
            if mark.kept == 0 {
                self.of_subject.remove(subject);
            }
        }
    }
}
