//! Why the provider, or the check of what it said, said no.

use super::fetch::FetchError;

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// The issuer does not answer; asked later it might.
    #[error("the issuer does not answer: {0}")]
    Unreachable(FetchError),
    /// It took too long altogether.
    #[error("the issuer does not answer in time")]
    NoTime,
    /// What answers at the issuer's address is no provider, or another one.
    #[error("{0}")]
    Discovery(&'static str),
    /// The configuration has a part that is no URL.
    #[error("{0} is not a valid URL")]
    Url(&'static str),
    /// The provider gave nothing for the code.
    #[error("the provider did not take the authorization code")]
    Code,
    /// The answer came from another issuer than the one that was asked.
    #[error("the answer came from another issuer")]
    OtherIssuer,
    /// The token is not what it should be.
    #[error("could not verify token: {0}")]
    Token(&'static str),
    /// The token or the provider's words on the person cannot be read.
    #[error("could not get claims: {0}")]
    Claims(&'static str),
    /// The provider did not check the address, and must have.
    #[error("email_verified claim was false, and require_email_verified was set")]
    EmailUnverified,
}

impl OidcError {
    /// Whether asking again later may come to something else.
    pub fn is_passing(&self) -> bool {
        matches!(self, OidcError::Unreachable(_) | OidcError::NoTime)
    }
}
