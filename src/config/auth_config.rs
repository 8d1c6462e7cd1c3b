//! Reads where people sign in from `AUTH_CONFIG`, as a Helm chart writes it: YAML or JSON with the names
//! of `auth_v2.OIDCConfig`.

use std::fmt;

use muster_proto::auth_v2::OidcConfig;
use serde::{Deserialize, Serialize};

/// Where people sign in, its secret in clear.
#[derive(Clone, PartialEq)]
pub struct AuthConfig(pub OidcConfig);

impl fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthConfig")
    }
}

/// The configuration as people write it: both spellings are read, and unknown names are passed over.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OidcDocument {
    #[serde(skip_serializing_if = "String::is_empty")]
    issuer: String,
    #[serde(alias = "clientId", skip_serializing_if = "String::is_empty")]
    client_id: String,
    #[serde(alias = "clientSecret", skip_serializing_if = "String::is_empty")]
    client_secret: String,
    #[serde(alias = "redirectUri", skip_serializing_if = "String::is_empty")]
    redirect_uri: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<String>,
    #[serde(alias = "requireEmailVerified", skip_serializing_if = "is_false")]
    require_email_verified: bool,
    #[serde(alias = "localhostIssuer", skip_serializing_if = "is_false")]
    localhost_issuer: bool,
    #[serde(alias = "userAccessibleIssuerHost", skip_serializing_if = "String::is_empty")]
    user_accessible_issuer_host: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl OidcDocument {
    /// Reads JSON or YAML.
    ///
    /// # Errors
    /// What is wrong; it may show parts of the text.
    pub fn read(text: &str) -> Result<OidcDocument, String> {
        if text.trim_start().starts_with('{')
            && let Ok(read) = serde_json::from_str(text)
        {
            return Ok(read);
        }
        if text.trim().is_empty() {
            return Err("there is nothing in it".to_owned());
        }
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    /// JSON with the escapes that Go makes.
    ///
    /// # Errors
    /// Never for this type; the library says so in its own words.
    pub fn json(&self) -> Result<String, String> {
        let json = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        Ok(json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e"))
    }

    /// YAML, its keys sorted and its lists indented, as pachctl prints it.
    ///
    /// # Errors
    /// Never for this type; the library says so in its own words.
    pub fn yaml(&self) -> Result<String, String> {
        let sorted = serde_json::to_value(self).map_err(|error| error.to_string())?;
        let options = serde_saphyr::ser_options! { compact_list_indent: false };
        serde_saphyr::to_string_with_options(&sorted, options).map_err(|error| error.to_string())
    }
}

impl From<OidcConfig> for OidcDocument {
    fn from(it: OidcConfig) -> OidcDocument {
        OidcDocument {
            issuer: it.issuer,
            client_id: it.client_id,
            client_secret: it.client_secret,
            redirect_uri: it.redirect_uri,
            scopes: it.scopes,
            require_email_verified: it.require_email_verified,
            localhost_issuer: it.localhost_issuer,
            user_accessible_issuer_host: it.user_accessible_issuer_host,
        }
    }
}

impl From<OidcDocument> for OidcConfig {
    fn from(it: OidcDocument) -> OidcConfig {
        OidcConfig {
            issuer: it.issuer,
            client_id: it.client_id,
            client_secret: it.client_secret,
            redirect_uri: it.redirect_uri,
            scopes: it.scopes,
            require_email_verified: it.require_email_verified,
            localhost_issuer: it.localhost_issuer,
            user_accessible_issuer_host: it.user_accessible_issuer_host,
        }
    }
}

impl AuthConfig {
    /// The configuration of `text`, with `secret` for its own where one is given; none if it is none.
    pub(super) fn read(text: &str, secret: Option<String>) -> Option<AuthConfig> {
        let mut read: OidcConfig = OidcDocument::read(text).ok()?.into();
        if let Some(secret) = secret {
            read.client_secret = secret;
        }
        let is_whole = !read.issuer.is_empty() && !read.client_id.is_empty();
        is_whole.then_some(AuthConfig(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_chart_writes_is_read_and_its_secret_comes_from_elsewhere() {
        let yaml = "issuer: http://pachd:1658\nclient_id: pachd\nclient_secret: old\n\
                    redirect_uri: http://localhost:30657/authorization-code/callback\n\
                    scopes:\n  - email\n  - openid\nrequire_email_verified: false\n\
                    localhost_issuer: true\nunknown: 1\n";
        let AuthConfig(read) = AuthConfig::read(yaml, Some("hush".to_owned())).unwrap();
        assert_eq!((read.client_secret.as_str(), read.localhost_issuer), ("hush", true));
        assert_eq!(read.scopes, ["email", "openid"]);
        let json = r#"{"issuer": "http://i", "clientId": "c"}"#;
        assert_eq!(AuthConfig::read(json, None).unwrap().0.client_id, "c");
    }

    #[test]
    fn yaml_is_printed_sorted_and_read_again() {
        let yaml =
            "client_id: c\nissuer: http://i\nlocalhost_issuer: true\nscopes:\n  - a\n  - b\n";
        let read = OidcDocument::read(yaml).unwrap();
        assert_eq!(read.yaml().unwrap(), yaml);
        let json = "{\n  \"issuer\": \"http://i?a\\u0026b\"\n}";
        assert_eq!(OidcDocument::read(json).unwrap().json().unwrap(), json);
    }

    #[test]
    fn anything_else_is_refused_and_never_shown() {
        for bad in ["", "issuer: http://i", "- a", "client_id: [", "issuer: {a: b}\nclient_id: c"] {
            assert!(AuthConfig::read(bad, None).is_none(), "{bad}");
        }
        let read = AuthConfig::read("{issuer: http://i, client_id: c}", Some("hush".to_owned()));
        assert!(!format!("{read:?}").contains("hush"));
    }
}
