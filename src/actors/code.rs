//! Activation codes on their way into the log, where they stand sealed if the group has a data key, and
//! back to whoever is answered with one.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use muster_proto::muster::log::v1::License;

use super::call::CallError;
use crate::seal::{DataKey, SealError};
use crate::state::State;
use crate::state::license::is_sealed;

/// What the envelope of a code opens for.
const PURPOSE: &str = "activation code of a license";

/// Seals and opens codes. Clones share what was opened last.
#[derive(Clone)]
pub struct Codes {
    key: Option<DataKey>,
    /// A group has one license, and every heartbeat is answered with its code.
    last: Arc<ArcSwapOption<Opened>>,
}

struct Opened {
    sealed: Bytes,
    code: String,
}

impl std::fmt::Debug for Codes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Codes")
    }
}

impl Codes {
    /// Seals with `key`; without one, codes are stored as they are.
    pub fn new(key: Option<DataKey>) -> Codes {
        Codes { key, last: Arc::default() }
    }

    /// The form of a license that is stored. The same code always has the same one, so that a request
    /// which is made twice is known as one.
    ///
    /// # Errors
    /// When the cipher fails, or when this replica has no key though the group's license is sealed.
    pub(super) fn sealed(&self, license: License, stored: &State) -> Result<License, CallError> {
        let Some(key) = &self.key else {
            if stored.licensing().record().is_some_and(|stored| is_sealed(stored)) {
                return Err(CallError::Sealed(
                    "the license of this group is stored sealed, and this replica has no \
                     --data-key-file: give it the one that the others have",
                ));
            }
            return Ok(license);
        };
        let sealed = key.seal_alike(PURPOSE, &license.activation_code);
        let sealed = sealed.map_err(|_| CallError::Sealed("the activation code was not sealed"))?;
        Ok(License {
            activation_code: String::new(),
            activation_code_sealed: sealed.into(),
            ..license
        })
    }

    /// The code of a stored license, byte for byte as it was entered.
    ///
    /// # Errors
    /// [`CallError::CodeClosed`] when this replica has not the key that opens it.
    pub fn open(&self, license: &License) -> Result<String, CallError> {
        if !is_sealed(license) {
            return Ok(license.activation_code.clone());
        }
        let sealed = &license.activation_code_sealed;
        if let Some(last) = self.last.load().as_ref()
            && last.sealed == *sealed
        {
            return Ok(last.code.clone());
        }
        let key = self.key.as_ref().ok_or(CallError::CodeClosed(
            "this replica has no --data-key-file, and the group has one",
        ))?;
        let code = key.open(PURPOSE, sealed).map_err(|error| {
            CallError::CodeClosed(match error {
                SealError::OtherKey => "it was sealed with another data key than this replica's",
                SealError::Damaged | SealError::NotSealed => "what is stored is damaged",
            })
        })?;
        self.last.store(Some(Arc::new(Opened { sealed: sealed.clone(), code: code.clone() })));
        Ok(code)
    }

    /// Whether the license of `view`, or the one that its own gate goes by, stays closed here.
    pub(super) fn is_closed(&self, view: &State) -> bool {
        let stored = view.licensing().record().map(Arc::as_ref);
        stored.into_iter().chain(view.enterprise().license()).any(|it| self.open(it).is_err())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(key: &str) -> Codes {
        Codes::new(DataKey::from_text(&key.repeat(32)))
    }

    fn license() -> License {
        License {
            activation_code: "planted\ncode".to_owned(),
            customer: "c".to_owned(),
            ..License::default()
        }
    }

    #[test]
    fn what_is_stored_has_no_code_in_clear_and_gives_it_back_whole() {
        let stored = codes("a").sealed(license(), &State::default()).unwrap();
        assert_eq!((stored.activation_code.as_str(), stored.customer.as_str()), ("", "c"));
        assert_eq!(stored, codes("a").sealed(license(), &State::default()).unwrap());
        let codes = codes("a");
        for _ in 0..2 {
            assert_eq!(codes.open(&stored).unwrap(), "planted\ncode");
        }
    }

    #[test]
    fn without_the_key_it_stays_closed_and_one_in_clear_does_not() {
        let stored = codes("a").sealed(license(), &State::default()).unwrap();
        for other in [codes("b"), Codes::new(None)] {
            let closed = other.open(&stored).unwrap_err();
            assert!(matches!(closed, CallError::CodeClosed(_)), "{closed:?}");
            assert_eq!(other.open(&license()).unwrap(), "planted\ncode");
        }
        assert_eq!(Codes::new(None).sealed(license(), &State::default()).unwrap(), license());
    }

    #[test]
    fn the_last_code_is_taken_for_no_other() {
        let codes = codes("a");
        let other = License { activation_code: "other".to_owned(), ..license() };
        let [first, other] =
            [license(), other].map(|it| codes.sealed(it, &State::default()).unwrap());
        for _ in 0..2 {
            assert_eq!(codes.open(&first).unwrap(), "planted\ncode");
            assert_eq!(codes.open(&other).unwrap(), "other");
        }
    }
}
