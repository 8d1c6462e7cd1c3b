//! Activation codes: the signed text that carries a license.
//!
//! A code is `base64({"token": "<JSON text>", "signature": "<base64>"})`, the signature RSA PKCS #1
//! v1.5 with SHA-256 over the bytes of the token. Format, order of checks and texts are those of
//! Pachyderm, so that its codes and everybody's tools work; whom to trust is configuration.

#![warn(clippy::as_conversions, clippy::wildcard_enum_match_arm)]

mod claims;
mod code;
mod issue;
mod key;
mod trust;

pub use self::claims::{Claims, earlier_expiry};
pub use self::code::{CODE_BYTES_MAX, redact};
pub use self::issue::{ISSUED_BITS, KeyPairPem, issue, keygen};
pub use self::key::KeyError;
pub use self::trust::{Activation, Inspection, TrustRoot, TrustRoots};

/// Why a code is not accepted. The texts are matched by clients and by people's habits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Longer than any genuine code; not even looked at.
    #[error("activation code is longer than {CODE_BYTES_MAX} bytes")]
    TooLong,
    /// The outermost layer.
    #[error("activation code is not base64 encoded")]
    NotBase64,
    /// What the outermost layer holds; also `null`.
    #[error("activation code is not valid JSON")]
    NotJson,
    /// The signature's own layer.
    #[error("signature is not base64 encoded")]
    SignatureNotBase64,
    /// No trusted key made it.
    #[error("invalid signature in activation code")]
    SignatureInvalid,
    /// The signed text.
    #[error("token is not valid JSON")]
    TokenNotJson,
    /// The one claim that every code has.
    #[error("expiration is not valid ISO 8601 string")]
    ExpiryInvalid,
    /// Signed, but for a time that is over.
    #[error("the activation code has expired")]
    Expired,
}

#[cfg(test)]
mod tests;
