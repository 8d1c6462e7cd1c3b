//! Whose signatures count.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rsa::PublicKey;
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use prost_types::Timestamp;

use crate::activation::CodeError;
use crate::activation::claims::Claims;
use crate::activation::code::Envelope;
use crate::activation::key::{self, KeyError};

/// The key with which Pachyderm signs, unchanged since 2.0.
const PACHYDERM_PEM: &str = include_str!("pachyderm.pem");

/// A key whose signatures are trusted.
#[derive(Clone)]
pub struct TrustRoot {
    name: String,
    key: Arc<PublicKey>,
    fingerprint: [u8; 32],
}

/// An accepted code.
#[derive(Clone, Debug, PartialEq)]
pub struct Activation {
    /// What the code says.
    pub claims: Claims,
    /// The name of the root that signed it.
    pub signed_by: String,
}

/// What can be told of a code, accepted or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// The signed text as it stands.
    pub token: String,
    /// What it says.
    pub claims: Result<Claims, CodeError>,
    /// The name of the root that signed it; the reason when none did.
    pub signed_by: Result<String, CodeError>,
}

/// The keys that are trusted, tried in order.
#[derive(Clone, Debug, Default)]
pub struct TrustRoots {
    roots: Vec<TrustRoot>,
}

impl TrustRoot {
    /// Pachyderm's own key.
    ///
    /// # Errors
    ///
    /// None in a build whose tests passed; the cryptographic library may always refuse.
    pub fn pachyderm() -> Result<TrustRoot, KeyError> {
        TrustRoot::from_pem("pachyderm", PACHYDERM_PEM)
    }

    /// A key from the text of a PEM file, known to people as `name`.
    ///
    /// # Errors
    ///
    /// When the text is not the public half of an RSA key of 2048 to 8192 bits.
    pub fn from_pem(name: &str, pem: &str) -> Result<TrustRoot, KeyError> {
        let key = key::read_public(pem)?;
        let fingerprint = key::fingerprint(&key)?;
        Ok(TrustRoot { name: name.to_owned(), key: Arc::new(key), fingerprint })
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of its `SubjectPublicKeyInfo`.
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    fn has_signed(&self, token: &str, signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.key.as_ref().as_ref())
            .verify(token.as_bytes(), signature)
            .is_ok()
    }
}

impl fmt::Debug for TrustRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustRoot({} {})", self.name, hex::encode(self.fingerprint))
    }
}

impl TrustRoots {
    /// Trusts these keys, the likeliest first.
    pub fn new(roots: Vec<TrustRoot>) -> TrustRoots {
        TrustRoots { roots }
    }

    /// The keys in their order.
    pub fn iter(&self) -> impl Iterator<Item = &TrustRoot> {
        self.roots.iter()
    }

    /// Whether no key is trusted, so that no code can be accepted.
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// Checks a code in the fixed order of checks. Takes a fraction of a millisecond for each root, so
    /// it belongs on a thread that may be busy.
    ///
    /// # Errors
    ///
    /// The first check that fails.
    pub fn verify(&self, code: &str, now: &Timestamp) -> Result<Activation, CodeError> {
        let activation = self.verify_even_if_expired(code)?;
        if activation.claims.is_expired(now) {
            return Err(CodeError::Expired);
        }
        Ok(activation)
    }

    /// All checks but the last: for a code from the environment, whose expiry must not keep a server
    /// from starting.
    ///
    /// # Errors
    ///
    /// The first check that fails.
    pub fn verify_even_if_expired(&self, code: &str) -> Result<Activation, CodeError> {
        let envelope = Envelope::open(code)?;
        let signed_by = self.signer(&envelope)?;
        let claims = Claims::read(&envelope.token)?;
        Ok(Activation { claims, signed_by })
    }

    /// Takes a code apart for a person to look at, whoever signed it.
    ///
    /// # Errors
    ///
    /// When its outer layers cannot be opened.
    pub fn inspect(&self, code: &str) -> Result<Inspection, CodeError> {
        let envelope = Envelope::open(code)?;
        Ok(Inspection {
            claims: Claims::read(&envelope.token),
            signed_by: self.signer(&envelope),
            token: envelope.token,
        })
    }

    fn signer(&self, envelope: &Envelope) -> Result<String, CodeError> {
        let signature = envelope.signature()?;
        let mut signers =
            self.roots.iter().filter(|root| root.has_signed(&envelope.token, &signature));
        signers.next().map(|root| root.name.clone()).ok_or(CodeError::SignatureInvalid)
    }
}
