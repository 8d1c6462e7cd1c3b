//! RSA keys as files carry them.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, PublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};
use x509_parser::pem::parse_x509_pem;

/// Bytes of a key file that are looked at: many times what the largest key needs.
const PEM_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a modulus: 2048 to 8192 bits.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// Why a key is not usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a key file.
    #[error("no PEM block of a key was found")]
    NotPem,
    /// The other half, a certificate, or a key of another kind.
    #[error("a PEM block `{found}` was found where `{expected}` is needed")]
    WrongBlock {
        /// What the block calls itself.
        found: String,
        /// What it should.
        expected: &'static str,
    },
    /// Damaged, or no RSA key.
    #[error("the key is damaged or is no RSA key")]
    NotRsa,
    /// Too short to be safe, or longer than can be checked.
    #[error("the RSA key has {bits} bits; 2048 to 8192 are usable")]
    WrongSize {
        /// Of the modulus.
        bits: usize,
    },
    /// The expiry lies outside the years 0 to 9999.
    #[error("the expiry cannot be written as an ISO 8601 time")]
    ExpiryUnwritable,
    /// The code would be larger than a server accepts.
    #[error("the claims are too large for an activation code")]
    ClaimsTooLarge,
    /// The cryptographic library gave no reason.
    #[error("the cryptographic library could not carry out the operation")]
    Library,
}

/// Reads the public half of an RSA key.
pub(super) fn read_public(pem: &str) -> Result<PublicKey, KeyError> {
    let (label, der) = block(pem)?;
    if !matches!(label.as_str(), "PUBLIC KEY" | "RSA PUBLIC KEY") {
        return Err(KeyError::WrongBlock { found: label, expected: "PUBLIC KEY" });
    }
    let key = PublicKey::from_der(&der).map_err(|_| KeyError::NotRsa)?;
    check_size(key.modulus_len())?;
    Ok(key)
}

/// Reads the private half of an RSA key.
pub(super) fn read_private(pem: &str) -> Result<KeyPair, KeyError> {
    let (label, der) = block(pem)?;
    let key = match label.as_str() {
        "PRIVATE KEY" => KeyPair::from_pkcs8(&der),
        "RSA PRIVATE KEY" => KeyPair::from_der(&der),
        _ => return Err(KeyError::WrongBlock { found: label, expected: "PRIVATE KEY" }),
    }
    .map_err(|_| KeyError::NotRsa)?;
    check_size(key.public_modulus_len())?;
    Ok(key)
}

fn block(pem: &str) -> Result<(String, Vec<u8>), KeyError> {
    if pem.len() > PEM_BYTES_MAX {
        return Err(KeyError::NotPem);
    }
    let (_, block) = parse_x509_pem(pem.as_bytes()).map_err(|_| KeyError::NotPem)?;
    Ok((block.label, block.contents))
}

fn check_size(modulus_bytes: usize) -> Result<(), KeyError> {
    if MODULUS_BYTES.contains(&modulus_bytes) {
        Ok(())
    } else {
        Err(KeyError::WrongSize { bits: modulus_bytes * 8 })
    }
}

/// SHA-256 of the key's `SubjectPublicKeyInfo`: the name by which people compare keys.
pub(super) fn fingerprint(key: &PublicKey) -> Result<[u8; 32], KeyError> {
    Ok(Sha256::digest(public_der(key)?.as_ref()).into())
}

pub(super) fn public_der(key: &PublicKey) -> Result<PublicKeyX509Der<'static>, KeyError> {
    key.as_der().map_err(|_| KeyError::Library)
}

/// A PEM block with lines of 64 characters.
pub(super) fn write_pem(label: &str, der: &[u8]) -> String {
    let mut pem = format!("-----BEGIN {label}-----\n");
    for (at, c) in BASE64_STANDARD.encode(der).chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            pem.push('\n');
        }
        pem.push(c);
    }
    pem + "\n-----END " + label + "-----\n"
}
