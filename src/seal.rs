//! Keeps secrets that must come back in clear out of log and snapshots: sealed with a key that every
//! replica is given and none stores.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use sha2::{Digest as _, Sha256};

/// The only form of an envelope: this byte, the key's id, the nonce, the sealed text with its tag.
const FORM: u8 = 1;
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

    /// Seals `text` for one `purpose`; it opens for no other.
    ///
    /// # Errors
    /// [`SealError::NotSealed`], when the cipher fails.
    pub fn seal(&self, purpose: &str, text: &str) -> Result<Vec<u8>, SealError> {
        let mut sealed = text.as_bytes().to_vec();
        let nonce = self
            .cipher()
            .and_then(|key| key.seal_in_place_append_tag(Aad::from(purpose), &mut sealed).ok())
            .ok_or(SealError::NotSealed)?;
        let mut envelope = vec![FORM];
        envelope.extend_from_slice(&self.id());
        envelope.extend_from_slice(nonce.as_ref());
        envelope.append(&mut sealed);
        Ok(envelope)
    }

    /// The text of an envelope.
    ///
    /// # Errors
    /// When it was sealed otherwise.
    pub fn open(&self, purpose: &str, envelope: &[u8]) -> Result<String, SealError> {
        let rest = envelope.strip_prefix(&[FORM]).ok_or(SealError::Damaged)?;
        let (id, rest) = rest.split_at_checked(ID_LEN).ok_or(SealError::Damaged)?;
        if id != self.id() {
            return Err(SealError::OtherKey);
        }
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).ok_or(SealError::Damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Damaged)?;
        let mut text = sealed.to_vec();
        let cipher = self.cipher().ok_or(SealError::Damaged)?;
        let text = cipher
            .open_in_place(nonce, Aad::from(purpose), &mut text)
            .map_err(|_| SealError::Damaged)?;
        String::from_utf8(text.to_vec()).map_err(|_| SealError::Damaged)
    }

    fn cipher(&self) -> Option<RandomizedNonceKey> {
        RandomizedNonceKey::new(&AES_256_GCM, &self.0).ok()
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

    #[test]
    fn what_was_sealed_opens_with_the_same_key_and_purpose_only() {
        let sealed = key("a").seal("p", "hush").unwrap();
        assert!(!sealed.windows(4).any(|part| part == b"hush"));
        assert_eq!(key("a").open("p", &sealed).unwrap(), "hush");
        assert_eq!(key("a").open("q", &sealed), Err(SealError::Damaged));
        assert_eq!(key("b").open("p", &sealed), Err(SealError::OtherKey));
    }

    #[test]
    fn the_same_text_is_never_sealed_alike() {
        let seal = || key("a").seal("p", "hush").unwrap();
        assert_ne!(seal(), seal());
    }

    #[test]
    fn any_changed_byte_is_found() {
        let sealed = key("a").seal("p", "hush").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key("a").open("p", &changed).is_err(), "{at}");
        }
        assert!(key("a").open("p", b"").is_err());
    }

    #[test]
    fn a_short_key_is_none_and_no_key_is_shown() {
        assert!(DataKey::from_text("short").is_none());
        assert_eq!(format!("{:?}", key("a")), "DataKey");
    }
}
