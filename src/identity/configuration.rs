//! Where people sign in, with its secret in clear; and the form in which it is stored.

use std::fmt;

use muster_proto::auth_v2::OidcConfig;
use muster_proto::muster::log::v1 as log;

use crate::seal::{DataKey, SealError};

/// What the envelope of the client secret opens for.
const PURPOSE: &str = "client_secret of the auth configuration";

/// A configuration that may be shown to administrators, and to nobody else.
#[derive(Clone, PartialEq)]
pub struct Configuration(pub OidcConfig);

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Configuration").field(&self.0.issuer).finish()
    }
}

/// Why a client secret was not sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// Nothing to seal it with.
    #[error("a client secret is stored sealed only: give every replica the same --data-key-file")]
    NoKeyToSeal,
    /// Nothing to open it with.
    #[error("the client secret stays closed: this replica has no --data-key-file")]
    NoKeyToOpen,
    /// The key does not open it.
    #[error("the client secret stays closed: {0}")]
    Closed(SealError),
    /// The cipher failed.
    #[error("the client secret could not be sealed: {0}")]
    NotSealed(SealError),
}

impl Configuration {
    /// Opens what is stored.
    ///
    /// # Errors
    /// When there is a secret and no key that opens it.
    pub fn open(
        stored: &log::OidcConfig,
        key: Option<&DataKey>,
    ) -> Result<Configuration, ConfigurationError> {
        let client_secret = match (stored.client_secret_sealed.as_ref(), key) {
            ([], _) => String::new(),
            (sealed, Some(key)) => key.open(PURPOSE, sealed).map_err(ConfigurationError::Closed)?,
            (_, None) => return Err(ConfigurationError::NoKeyToOpen),
        };
        Ok(Configuration(OidcConfig {
            issuer: stored.issuer.clone(),
            client_id: stored.client_id.clone(),
            client_secret,
            redirect_uri: stored.redirect_uri.clone(),
            scopes: stored.scopes.clone(),
            require_email_verified: stored.require_email_verified,
            localhost_issuer: stored.localhost_issuer,
            user_accessible_issuer_host: stored.user_accessible_issuer_host.clone(),
        }))
    }
}

/// The form of a configuration that is stored: its secret sealed.
///
/// # Errors
/// When there is a secret and no key to seal it with.
pub fn sealed(
    given: OidcConfig,
    key: Option<&DataKey>,
) -> Result<log::OidcConfig, ConfigurationError> {
    let client_secret_sealed = match (given.client_secret.as_str(), key) {
        ("", _) => Vec::new(),
        (secret, Some(key)) => key.seal(PURPOSE, secret).map_err(ConfigurationError::NotSealed)?,
        (_, None) => return Err(ConfigurationError::NoKeyToSeal),
    };
    Ok(log::OidcConfig {
        issuer: given.issuer,
        client_id: given.client_id,
        client_secret_sealed: client_secret_sealed.into(),
        redirect_uri: given.redirect_uri,
        scopes: given.scopes,
        require_email_verified: given.require_email_verified,
        localhost_issuer: given.localhost_issuer,
        user_accessible_issuer_host: given.user_accessible_issuer_host,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A configuration that is good, with a secret.
    pub(crate) fn configuration() -> OidcConfig {
        OidcConfig {
            issuer: "http://pachd:1658/".to_owned(),
            client_id: "pachd".to_owned(),
            client_secret: "hush".to_owned(),
            redirect_uri: "http://localhost:30657/authorization-code/callback".to_owned(),
            scopes: vec!["openid".to_owned()],
            ..OidcConfig::default()
        }
    }

    #[test]
    fn what_is_stored_has_no_secret_in_clear_and_comes_back_whole() {
        let key = DataKey::from_text("0123456789abcdef0123456789abcdef");
        let stored = sealed(configuration(), key.as_ref()).unwrap();
        assert!(!format!("{stored:?}").contains("hush"));
        let opened = Configuration::open(&stored, key.as_ref()).unwrap();
        assert!(!format!("{opened:?}").contains("hush"));
        assert_eq!(opened, Configuration(configuration()));
        assert_eq!(Configuration::open(&stored, None), Err(ConfigurationError::NoKeyToOpen));
        assert_eq!(sealed(configuration(), None), Err(ConfigurationError::NoKeyToSeal));
    }
}
