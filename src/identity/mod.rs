//! Who is it? One file per way to sign in; so far there is one: a provider that speaks OpenID Connect,
//! of which this server is a relying party.
//!
//! ```text
//! api ──► SignIn ──► oidc (HTTP to the provider)
//! web ──┘    └─────► Session, Reader
//! ```
//!
//! A login is a record in the replicated state, so its steps may meet three different replicas: one
//! begins it, the browser comes back to another, and a third hands out the token.

mod configuration;
mod error;
pub mod oidc;
mod sign_in;
mod token;

pub use configuration::{Configuration, ConfigurationError, sealed};
pub use error::SignInError;
pub use sign_in::{Begun, Callback, Outcome, SignIn, SignInOptions, SignInParts};

#[cfg(test)]
pub(crate) use configuration::tests::configuration;
