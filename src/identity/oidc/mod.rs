//! A relying party of OpenID Connect, with any issuer that keeps to the standard: discovery and keys,
//! the way to the provider with state, nonce and PKCE, a code exchanged for a person, and ID tokens
//! checked. Knows no group and no log.
//!
//! What an issuer or a token says never goes into an error's text, because clients search such texts
//! for words of their own; it goes into this replica's own log.

mod claims;
mod error;
mod exchange;
mod fetch;
mod party;
mod provider;
mod types;

pub use claims::Person;
pub use error::OidcError;
pub use fetch::IssuerTrust;
pub use party::{Departure, Drawn, RelyingParty, Return};
