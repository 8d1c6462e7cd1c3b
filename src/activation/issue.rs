//! An organisation as its own license authority: keys and codes.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};

use crate::activation::claims::Claims;
use crate::activation::code::{self, CODE_BYTES_MAX, Envelope};
use crate::activation::key::{self, KeyError};

/// Bits of a new key unless something else is asked for: what Pachyderm's own key has.
pub const ISSUED_BITS: usize = 4096;

/// Both halves of a key as PEM.
pub struct KeyPairPem {
    /// PKCS #8, `PRIVATE KEY`. Who has it can issue codes.
    pub private: String,
    /// `SubjectPublicKeyInfo`, `PUBLIC KEY`. Servers trust it.
    pub public: String,
}

impl std::fmt::Debug for KeyPairPem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPairPem").field("public", &self.public).finish_non_exhaustive()
    }
}

/// Draws a new RSA key pair of 2048, 3072, 4096 or 8192 bits. May take seconds.
///
/// # Errors
///
/// When the size is another one, or the machine has no entropy.
pub fn keygen(bits: usize) -> Result<KeyPairPem, KeyError> {
    let size = match bits {
        2048 => KeySize::Rsa2048,
        3072 => KeySize::Rsa3072,
        4096 => KeySize::Rsa4096,
        8192 => KeySize::Rsa8192,
        bits => return Err(KeyError::WrongSize { bits }),
    };
    let pair = KeyPair::generate(size).map_err(|_| KeyError::Library)?;
    let private = pair.as_der().map_err(|_| KeyError::Library)?;
    let public = key::public_der(pair.public_key())?;
    Ok(KeyPairPem {
        private: key::write_pem("PRIVATE KEY", private.as_ref()),
        public: key::write_pem("PUBLIC KEY", public.as_ref()),
    })
}

/// Signs an activation code that says `claims`, with a private key in PEM.
///
/// # Errors
///
/// When the key is no RSA private key, or the claims cannot be written as a code.
pub fn issue(private_pem: &str, claims: &Claims) -> Result<String, KeyError> {
    let key = key::read_private(private_pem)?;
    let token = claims.write().ok_or(KeyError::ExpiryUnwritable)?;
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), token.as_bytes(), &mut signature)
        .map_err(|_| KeyError::Library)?;
    let code = Envelope { token, signature: code::encode(&signature) }.close();
    if code.len() > CODE_BYTES_MAX {
        return Err(KeyError::ClaimsTooLarge);
    }
    Ok(code)
}
