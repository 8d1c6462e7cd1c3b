//! The three things that a relying party does: send people to the provider, take them back, and
//! check tokens that others got.

use std::fmt;
use std::sync::Arc;

use muster_proto::auth_v2::OidcConfig;
use openidconnect::core::{CoreAuthenticationFlow, CoreClientAuthMethod};
use openidconnect::url::Url;
use openidconnect::{
    AuthType, ClientId, ClientSecret, CsrfToken, Nonce, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, Scope,
};

use super::claims::{Person, person};
use super::error::OidcError;
use super::exchange::{Checked, checked};
use super::fetch::{Clients, IssuerTrust};
use super::provider::{Provider, Providers};
use super::types::Client;
use crate::clock::Clock;
use crate::state::secret::Digest;

/// The scope that makes a request one of OpenID Connect.
const OPENID: &str = "openid";
/// Bytes of a token that somebody shows.
const TOKEN_BYTES_MAX: usize = 256 << 10;

/// A person on the way to the provider.
pub struct Departure {
    /// Where the browser goes.
    pub url: String,
    /// Whether the verifier went along, and has to be shown later.
    pub is_pkce: bool,
}

/// A person whom the provider sent back.
pub struct Return {
    /// What the provider gives an ID token for.
    pub code: String,
    /// Who says that it sent the person back (RFC 9207).
    pub issuer: Option<String>,
    /// Of what the ID token must repeat, as `state::secret` digests it.
    pub nonce: Digest,
    /// What was sent along when the person left, if anything.
    pub verifier: Option<String>,
}

/// What is drawn for one login.
pub struct Drawn {
    /// What comes back with the person.
    pub state: String,
    /// What the ID token must repeat.
    pub nonce: String,
    /// What proves that both requests are of one party.
    pub verifier: String,
}

/// A relying party of whatever issuer a configuration names.
pub struct RelyingParty {
    providers: Providers,
    pub(super) clock: Arc<dyn Clock>,
}

impl fmt::Debug for RelyingParty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RelyingParty")
    }
}

impl RelyingParty {
    /// A party that trusts issuers as `trust` says, and finds itself as an issuer at `own`.
    ///
    /// # Errors
    /// What is wrong with the certificates or the URL.
    pub fn new(
        trust: &IssuerTrust,
        own: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<RelyingParty, String> {
        let own = Url::parse(own).map_err(|error| error.to_string())?;
        let providers = Providers::new(Clients::new(trust)?, own);
        Ok(RelyingParty { providers, clock })
    }

    /// Settles that there is a provider at the issuer's address.
    ///
    /// # Errors
    /// When there is none, or another one.
    pub async fn check(&self, configuration: &OidcConfig) -> Result<(), OidcError> {
        self.providers.look_up(configuration).await.map(drop)
    }

    /// The way to the provider.
    ///
    /// # Errors
    /// When the issuer does not say where that is.
    pub async fn depart(
        &self,
        configuration: &OidcConfig,
        drawn: Drawn,
    ) -> Result<Departure, OidcError> {
        let provider = self.providers.of(configuration).await?;
        let client = client(configuration, &provider)?;
        let Drawn { state, nonce, verifier } = drawn;
        let (state, nonce) = (CsrfToken::new(state), Nonce::new(nonce));
        let mut request = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, || state, || nonce)
            .add_scopes(scopes(configuration));
        let is_pkce = offers_pkce(&provider);
        if is_pkce {
            let verifier = PkceCodeVerifier::new(verifier);
            request =
                request.set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
        }
        let (url, ..) = request.url();
        let url = accessible(sorted(url), &configuration.user_accessible_issuer_host)?;
        Ok(Departure { url: url.into(), is_pkce })
    }

    /// Who came back.
    ///
    /// # Errors
    /// When the provider, or the check of what it says, says no.
    pub async fn take_back(
        &self,
        configuration: &OidcConfig,
        back: Return,
    ) -> Result<Person, OidcError> {
        let provider = self.providers.of(configuration).await?;
        check_issuer(&provider, configuration, back.issuer.as_deref())?;
        let client = client(configuration, &provider)?;
        let tokens =
            super::exchange::exchange(&client, &provider, back.code, back.verifier).await?;
        let nonce = Some(back.nonce);
        let claims = self.check_claims(configuration, provider.clone(), tokens.id, nonce).await?;
        if !super::claims::is_thin(&claims, configuration)
            || provider.metadata.userinfo_endpoint().is_none()
        {
            return person(&claims, None, configuration);
        }
        let subject = claims.subject().clone();
        let info = super::exchange::ask_about(&client, &provider, tokens.access, subject).await?;
        person(&claims, Some(&info), configuration)
    }

    /// Whose ID token it is.
    ///
    /// # Errors
    /// When it is not one of this issuer for this server, or not any more.
    pub async fn check_token(
        &self,
        configuration: &OidcConfig,
        token: &str,
    ) -> Result<Person, OidcError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(OidcError::Token("it is too long"));
        }
        let token = token.parse().map_err(|_| OidcError::Token("it is no JSON web token"))?;
        let provider = self.providers.of(configuration).await?;
        let claims = self.check_claims(configuration, provider, token, None).await?;
        person(&claims, None, configuration)
    }

    /// Checks a token with the keys that are known; if its key is not among them, with new ones.
    async fn check_claims(
        &self,
        configuration: &OidcConfig,
        provider: Provider,
        token: super::types::IdToken,
        nonce: Option<Digest>,
    ) -> Result<super::types::IdTokenClaims, OidcError> {
        let now = self.clock.now();
        let first = checked(configuration, provider.clone(), token, nonce, now).await?;
        let Checked::KeyUnknown(token) = first else { return first.into_claims() };
        match self.providers.with_new_keys(configuration, &provider).await? {
            Some(renewed) => {
                checked(configuration, renewed, *token, nonce, now).await?.into_claims()
            }
            None => Err(OidcError::Token("the issuer has no such key")),
        }
    }
}

/// The server as a client of the provider.
fn client(configuration: &OidcConfig, provider: &Provider) -> Result<Client, OidcError> {
    let redirect = RedirectUrl::new(configuration.redirect_uri.clone())
        .map_err(|_| OidcError::Url("the redirect_uri"))?;
    let secret = &configuration.client_secret;
    let client = Client::from_provider_metadata(
        provider.metadata.as_ref().clone(),
        ClientId::new(configuration.client_id.clone()),
        (!secret.is_empty()).then(|| ClientSecret::new(secret.clone())),
    );
    let auth = auth_type(provider.metadata.token_endpoint_auth_methods_supported());
    Ok(client.set_redirect_uri(redirect).set_auth_type(auth).disable_openid_scope())
}

/// In the header, unless the provider takes the secret in the body only.
fn auth_type(methods: Option<&Vec<CoreClientAuthMethod>>) -> AuthType {
    let takes = |method| methods.is_none_or(|methods| methods.contains(&method));
    if takes(CoreClientAuthMethod::ClientSecretBasic)
        || !takes(CoreClientAuthMethod::ClientSecretPost)
    {
        AuthType::BasicAuth
    } else {
        AuthType::RequestBody
    }
}

/// As configured; without `openid` there would be no ID token.
fn scopes(configuration: &OidcConfig) -> Vec<Scope> {
    let mut scopes = configuration.scopes.clone();
    if !scopes.iter().any(|scope| scope == OPENID) {
        scopes.push(OPENID.to_owned());
    }
    scopes.into_iter().map(Scope::new).collect()
}

fn offers_pkce(provider: &Provider) -> bool {
    let methods = &provider.metadata.additional_metadata().code_challenge_methods_supported;
    methods.as_ref().is_some_and(|methods| methods.iter().any(|method| method == "S256"))
}

/// Nobody else's answer is taken for this issuer's.
fn check_issuer(
    provider: &Provider,
    configuration: &OidcConfig,
    named: Option<&str>,
) -> Result<(), OidcError> {
    let more = provider.metadata.additional_metadata();
    let always = more.authorization_response_iss_parameter_supported == Some(true);
    match named {
        Some(named) if named == configuration.issuer => Ok(()),
        None if !always => Ok(()),
        Some(_) | None => Err(OidcError::OtherIssuer),
    }
}

/// The URL with its query in alphabetical order, as upstream's clients know it.
fn sorted(mut url: Url) -> Url {
    let mut pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    pairs.sort();
    url.query_pairs_mut().clear().extend_pairs(pairs);
    url
}

/// The URL under the scheme, host and port that people reach the issuer by, if those are others.
fn accessible(mut url: Url, host: &str) -> Result<Url, OidcError> {
    const WRONG: OidcError = OidcError::Url("the user_accessible_issuer_host");
    if host.is_empty() {
        return Ok(url);
    }
    let whole =
        if host.contains("://") { host.to_owned() } else { format!("{}://{host}", url.scheme()) };
    let other = Url::parse(&whole).map_err(|_| WRONG)?;
    url.set_scheme(other.scheme()).map_err(|()| WRONG)?;
    url.set_host(other.host_str()).map_err(|_| WRONG)?;
    url.set_port(other.port()).map_err(|()| WRONG)?;
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_sent_to_the_host_that_they_reach() {
        let url = || Url::parse("http://pachd:1658/dex/auth?a=b").unwrap();
        let sent = |host| accessible(url(), host).unwrap().to_string();
        assert_eq!(sent(""), "http://pachd:1658/dex/auth?a=b");
        assert_eq!(sent("https://login.example"), "https://login.example/dex/auth?a=b");
        assert_eq!(sent("http://localhost:30658/x"), "http://localhost:30658/dex/auth?a=b");
        assert_eq!(sent("login.example:99"), "http://login.example:99/dex/auth?a=b");
        assert!(accessible(url(), "http://").is_err());
    }

    #[test]
    fn openid_is_asked_for_whatever_is_configured() {
        let asked = |scopes: &[&str]| {
            let scopes: Vec<String> = scopes.iter().map(|&scope| scope.to_owned()).collect();
            let configuration = OidcConfig { scopes, ..OidcConfig::default() };
            super::scopes(&configuration).iter().map(|it| it.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(asked(&[]), ["openid"]);
        assert_eq!(asked(&["email", "openid"]), ["email", "openid"]);
        assert_eq!(asked(&["email"]), ["email", "openid"]);
    }

    #[test]
    fn the_secret_goes_where_the_provider_takes_it() {
        let header = |methods: Option<Vec<CoreClientAuthMethod>>| {
            matches!(auth_type(methods.as_ref()), AuthType::BasicAuth)
        };
        assert!(header(None));
        let (basic, post) =
            (CoreClientAuthMethod::ClientSecretBasic, CoreClientAuthMethod::ClientSecretPost);
        assert!(header(Some(vec![post.clone(), basic])));
        assert!(!header(Some(vec![post])));
    }
}
