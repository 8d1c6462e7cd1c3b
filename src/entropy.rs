//! Chance: ids, secrets, jitter. Drawn at the edges only and carried inside commands, so that every
//! replica applies the same bytes.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A source of unpredictable bytes.
pub trait Entropy: fmt::Debug + Send + Sync + 'static {
    /// Fills `bytes` with chance.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's source, through a generator of the thread that is seeded from it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        rand::RngCore::fill_bytes(&mut rand::rng(), bytes);
    }
}

/// A secret of 31 characters of URL-safe base64, with 184 bits of chance: for a cluster, or the state
/// of a login.
pub fn url_secret(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 23];
    entropy.fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What lets a replica join: 43 characters of URL-safe base64 with 256 bits of chance.
pub fn join_token(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 32];
    entropy.fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A verifier of PKCE: 43 characters with 256 bits of chance (RFC 7636, 4.1).
pub fn pkce_verifier(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 32];
    entropy.fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A version 4 UUID without dashes: 32 hex digits.
pub fn uuid(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut bytes;
    *version = *version & 0x0f | 0x40;
    *variant = *variant & 0x3f | 0x80;
    hex::encode(bytes)
}

/// A number that anything may be seeded with.
pub fn seed(entropy: &dyn Entropy) -> u64 {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_31_characters_and_never_repeats() {
        let (one, other) = (url_secret(&SystemEntropy), url_secret(&SystemEntropy));
        assert_eq!(one.len(), 31);
        assert_ne!(one, other);
    }

    #[test]
    fn a_uuid_says_its_version_and_variant() {
        let id = uuid(&SystemEntropy);
        assert_eq!(id.len(), 32);
        assert_eq!(id.chars().nth(12), Some('4'), "{id}");
        assert!(id.chars().nth(16).is_some_and(|c| "89ab".contains(c)), "{id}");
    }
}
