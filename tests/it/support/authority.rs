//! A license authority of the tests' own, written from the format's description and not from the
//! product's code, so that each checks the other.

use std::sync::LazyLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

/// The end of every license that is meant to hold.
pub(crate) const FAR: &str = "2099-01-31T22:13:42.101Z";
pub(crate) const FAR_SECONDS: i64 = 4_073_580_822;
pub(crate) const PAST: &str = "2020-02-29T00:00:00Z";

static TRUSTED: LazyLock<Authority> = LazyLock::new(Authority::generate);
static STRANGER: LazyLock<Authority> = LazyLock::new(Authority::generate);

pub(crate) struct Authority {
    key: KeyPair,
}

impl Authority {
    /// The one that all replicas of the tests trust.
    pub(crate) fn get() -> &'static Authority {
        &TRUSTED
    }

    /// One that nobody trusts.
    pub(crate) fn stranger() -> &'static Authority {
        &STRANGER
    }

    fn generate() -> Authority {
        Authority { key: KeyPair::generate(KeySize::Rsa2048).unwrap() }
    }

    /// PEM of the `SubjectPublicKeyInfo`.
    pub(crate) fn public_key(&self) -> String {
        let der = self.key.public_key().as_der().unwrap();
        let text = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }

    /// A code that holds until `expiry` (RFC 3339).
    pub(crate) fn code(&self, expiry: &str) -> String {
        self.code_with(&json!({ "expiry": expiry }))
    }

    /// A code with any claims.
    pub(crate) fn code_with(&self, claims: &serde_json::Value) -> String {
        self.code_over(&claims.to_string())
    }

    /// A code over any token text, valid JSON or not.
    pub(crate) fn code_over(&self, token: &str) -> String {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), token.as_bytes(), &mut signature)
            .unwrap();
        let outer = json!({ "token": token, "signature": STANDARD.encode(signature) });
        STANDARD.encode(outer.to_string())
    }
}

/// A license that holds, of the authority that the replicas trust.
pub(crate) fn code() -> String {
    Authority::get().code(FAR)
}
