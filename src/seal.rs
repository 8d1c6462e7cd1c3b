//! Keeps secrets that must come back in clear out of log and snapshots: sealed with a key that every
//! replica is given and none stores.

use std::fmt;

use aws_lc_rs::aead::{
    AES_256_GCM, AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, RandomizedNonceKey,
    UnboundKey,
};
use sha2::{Digest as _, Sha256};

/// An envelope of AES-GCM: this byte, the key's id, the nonce, the sealed text with its tag.
const RANDOM: u8 = 1;
/// An envelope of AES-GCM-SIV (RFC 8452), whose nonce is always the same: this byte, the key's id, the
/// sealed text with its tag.
const ALIKE: u8 = 2;
/// The nonce of all envelopes of the second form: that of a cipher which tells of equal texts that they
/// are equal, and nothing else.
const NONCE_ALIKE: [u8; NONCE_LEN] = [0; NONCE_LEN];
const ID_LEN: usize = 4;

/// Bytes of the text that a key is made from, at least.
pub const KEY_TEXT_BYTES_MIN: usize = 32;

/// The group's data key.
#[derive(Clone)]
pub struct DataKey([u8; 32]);

/// Why an envelope stays closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The cipher refused.
    #[error("the text could not be sealed")]
    NotSealed,
    /// Another key sealed it.
    #[error("it was sealed with another data key")]
    OtherKey,
    /// It was changed, or sealed for another purpose.
    #[error("the sealed text is damaged")]
    Damaged,
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey")
    }
}

impl DataKey {
    /// The key that `text` stands for; none when it is too short to be hard to guess.
    pub fn from_text(text: &str) -> Option<DataKey> {
        let key =
            || Sha256::new().chain_update(b"muster data key 1\0").chain_update(text).finalize();
        (text.len() >= KEY_TEXT_BYTES_MIN).then(|| DataKey(key().into()))
    }

    /// Seals `text` for one `purpose`; it opens for no other. Never the same bytes twice.
    ///
    /// # Errors
    /// [`SealError::NotSealed`], when the cipher fails.
    pub fn seal(&self, purpose: &str, text: &str) -> Result<Vec<u8>, SealError> {
        let mut sealed = text.as_bytes().to_vec();
        let nonce = self
            .cipher()
            .and_then(|key| key.seal_in_place_append_tag(Aad::from(purpose), &mut sealed).ok())
            .ok_or(SealError::NotSealed)?;
        Ok([&[RANDOM], self.id().as_slice(), nonce.as_ref(), &sealed].concat())
    }

    /// Seals `text` for one `purpose` into the same bytes each time, for what is compared while it is
    /// sealed.
    ///
    /// # Errors
    /// [`SealError::NotSealed`], when the cipher fails.
    pub fn seal_alike(&self, purpose: &str, text: &str) -> Result<Vec<u8>, SealError> {
        let mut sealed = text.as_bytes().to_vec();
        let nonce = Nonce::assume_unique_for_key(NONCE_ALIKE);
        self.cipher_alike()
            .and_then(|key| {
                key.seal_in_place_append_tag(nonce, Aad::from(purpose), &mut sealed).ok()
            })
            .ok_or(SealError::NotSealed)?;
        Ok([&[ALIKE], self.id().as_slice(), &sealed].concat())
    }

    /// The text of an envelope.
    ///
    /// # Errors
    /// When it was sealed otherwise.
    pub fn open(&self, purpose: &str, envelope: &[u8]) -> Result<String, SealError> {
        let (form, rest) = envelope.split_first().ok_or(SealError::Damaged)?;
        let (id, rest) = rest.split_at_checked(ID_LEN).ok_or(SealError::Damaged)?;
        if ![RANDOM, ALIKE].contains(form) {
            return Err(SealError::Damaged);
        }
        if id != self.id() {
            return Err(SealError::OtherKey);
        }
        let text = if *form == RANDOM {
            self.open_random(purpose, rest)
        } else {
            self.open_alike(purpose, rest)
        };
        text.and_then(|text| String::from_utf8(text).ok()).ok_or(SealError::Damaged)
    }

    fn open_random(&self, purpose: &str, rest: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = sealed.to_vec();
        let opened = self.cipher()?.open_in_place(nonce, Aad::from(purpose), &mut text).ok()?;
        Some(opened.to_vec())
    }

    fn open_alike(&self, purpose: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let nonce = Nonce::assume_unique_for_key(NONCE_ALIKE);
        let mut text = sealed.to_vec();
        let opened =
            self.cipher_alike()?.open_in_place(nonce, Aad::from(purpose), &mut text).ok()?;
        Some(opened.to_vec())
    }

    fn cipher(&self) -> Option<RandomizedNonceKey> {
        RandomizedNonceKey::new(&AES_256_GCM, &self.0).ok()
    }

    /// The other cipher, under a key of its own.
    fn cipher_alike(&self) -> Option<LessSafeKey> {
        let key = Sha256::new().chain_update(b"muster data key alike 1\0").chain_update(self.0);
        UnboundKey::new(&AES_256_GCM_SIV, &key.finalize()).ok().map(LessSafeKey::new)
    }

    /// Tells keys apart without telling anything of them.
    fn id(&self) -> [u8; ID_LEN] {
        let digest = Sha256::new().chain_update(b"muster data key id 1\0").chain_update(self.0);
        let [a, b, c, d, ..]: [u8; 32] = digest.finalize().into();
        [a, b, c, d]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> DataKey {
        DataKey::from_text(&text.repeat(KEY_TEXT_BYTES_MIN)).unwrap()
    }

    fn both(key: &DataKey, purpose: &str, text: &str) -> [Vec<u8>; 2] {
        [key.seal(purpose, text).unwrap(), key.seal_alike(purpose, text).unwrap()]
    }

    #[test]
    fn what_was_sealed_opens_with_the_same_key_and_purpose_only() {
        for sealed in both(&key("a"), "p", "hush") {
            assert!(!sealed.windows(4).any(|part| part == b"hush"));
            assert_eq!(key("a").open("p", &sealed).unwrap(), "hush");
            assert_eq!(key("a").open("q", &sealed), Err(SealError::Damaged));
            assert_eq!(key("b").open("p", &sealed), Err(SealError::OtherKey));
        }
    }

    #[test]
    fn the_same_text_is_never_sealed_alike_unless_it_is_to_be() {
        let (first, second) = (both(&key("a"), "p", "hush"), both(&key("a"), "p", "hush"));
        assert_ne!(first[0], second[0]);
        assert_eq!(first[1], second[1]);
        for other in [both(&key("a"), "p", "husk"), both(&key("a"), "q", "hush")] {
            assert_ne!(first[1], other[1]);
        }
    }

    #[test]
    fn any_changed_byte_is_found() {
        for sealed in both(&key("a"), "p", "hush") {
            for at in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                assert!(key("a").open("p", &changed).is_err(), "{at}");
                assert!(key("a").open("p", &sealed[..at]).is_err(), "{at}");
            }
        }
        assert!(key("a").open("p", b"").is_err());
    }

    #[test]
    fn a_short_key_is_none_and_no_key_is_shown() {
        assert!(DataKey::from_text("short").is_none());
        assert_eq!(format!("{:?}", key("a")), "DataKey");
    }
}
