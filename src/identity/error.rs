//! Why nobody was signed in.

use super::configuration::ConfigurationError;
use super::oidc::OidcError;
use crate::actors::CallError;

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Nobody said where people sign in.
    #[error("OIDC ID provider configuration not found")]
    NotConfigured,
    /// What was said cannot be read.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// A login without a client secret needs PKCE, and this replica cannot keep its verifier.
    #[error("a client without a secret needs PKCE: give every replica the same --data-key-file")]
    NoKeyForVerifier,
    /// The provider, or the check of what it said.
    #[error(transparent)]
    Oidc(#[from] OidcError),
    /// The group, or its rules.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The person is still at the provider.
    #[error("the login has not finished in the browser yet")]
    Pending,
}
