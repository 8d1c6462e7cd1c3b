//! Digests of what must not be stored, and how they are compared.

use aws_lc_rs::constant_time;
use muster_proto::muster::log::v1::{Rejection, RejectionKind};
use sha2::{Digest as _, Sha256};

use crate::state::rejection;

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// Keeps these digests apart from every other use of SHA-256.
const CLUSTER_SECRET_DOMAIN: &[u8] = b"muster cluster secret 1\0";

/// The stored form of a cluster's secret.
///
/// A user may choose the secret, so it is salted. The salt is the cluster's id: unique in the fleet,
/// and known to whoever shows the secret, so that a heartbeat can be judged by its entry alone.
pub fn cluster_secret_digest(id: &str, secret: &str) -> Digest {
    Sha256::new()
        .chain_update(CLUSTER_SECRET_DOMAIN)
        .chain_update(u64::try_from(id.len()).unwrap_or(u64::MAX).to_be_bytes())
        .chain_update(id)
        .chain_update(secret)
        .finalize()
        .into()
}

/// The stored form of a token: plain SHA-256 of its bytes, as backups of upstream carry it.
pub fn token_digest(token: impl AsRef<[u8]>) -> Digest {
    Sha256::digest(token).into()
}

/// The stored form of what an ID token must repeat.
pub fn nonce_digest(nonce: &str) -> Digest {
    Sha256::new().chain_update(b"muster login nonce 1\0").chain_update(nonce).finalize().into()
}

/// Compares in a time that does not depend on where two digests differ.
pub fn is_same(one: &Digest, other: &Digest) -> bool {
    constant_time::verify_slices_are_equal(one, other).is_ok()
}

/// Reads a digest field of a command.
///
/// # Errors
///
/// A rejection that names `field` when it has not 32 bytes.
pub fn read(field: &'static str, bytes: &[u8]) -> Result<Digest, Rejection> {
    Digest::try_from(bytes).map_err(|_| rejection::about(RejectionKind::CommandIncomplete, field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_secret_has_another_digest_under_another_id() {
        assert_ne!(cluster_secret_digest("a", "secret"), cluster_secret_digest("b", "secret"));
    }

    #[test]
    fn id_and_secret_cannot_trade_bytes() {
        assert_ne!(cluster_secret_digest("ab", "c"), cluster_secret_digest("a", "bc"));
    }

    #[test]
    fn a_token_digest_is_plain_sha_256() {
        assert_eq!(
            hex::encode(token_digest("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
