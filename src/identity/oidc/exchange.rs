//! A code for tokens, a token for claims, and what the provider says of a person.

use muster_cluster::types::Timestamp;
use muster_proto::auth_v2::OidcConfig;
use openidconnect::core::CoreJwsSigningAlgorithm;
use openidconnect::{
    AccessToken, AuthorizationCode, ClaimsVerificationError, ClientId, Nonce,
    OAuth2TokenResponse as _, PkceCodeVerifier, RequestTokenError, SignatureVerificationError,
    SubjectIdentifier, TokenResponse as _, UserInfoError,
};

use super::error::OidcError;
use super::provider::Provider;
use super::types::{Client, IdToken, IdTokenClaims, UserInfo, Verifier};
use crate::state::secret::{Digest, is_same, nonce_digest};

/// How far the clock of the issuer may be ahead, in seconds.
const AHEAD_MAX: u64 = 60;

/// What the provider gave for a code.
pub(super) struct Given {
    pub(super) id: IdToken,
    pub(super) access: AccessToken,
}

/// Exchanges the code.
pub(super) async fn exchange(
    client: &Client,
    provider: &Provider,
    code: String,
    verifier: Option<String>,
) -> Result<Given, OidcError> {
    let mut request = client
        .exchange_code(AuthorizationCode::new(code))
        .map_err(|_| OidcError::Discovery("it has no token endpoint"))?;
    if let Some(verifier) = verifier {
        request = request.set_pkce_verifier(PkceCodeVerifier::new(verifier));
    }
    let answer = request.request_async(&provider.fetch).await.map_err(|error| match error {
        RequestTokenError::Request(error) => OidcError::Unreachable(error),
        RequestTokenError::ServerResponse(no) => {
            let (error, description) = (no.error(), no.error_description());
            tracing::warn!(?error, ?description, "the provider did not take a code");
            OidcError::Code
        }
        // The answer itself may hold tokens.
        RequestTokenError::Parse(error, _) => {
            tracing::warn!(at = %error.path(), "the provider's answer to a code cannot be read");
            OidcError::Code
        }
        RequestTokenError::Other(reason) => {
            tracing::warn!(reason, "the provider's answer to a code is of no use");
            OidcError::Code
        }
    })?;
    let id = answer.id_token().cloned();
    let id = id.ok_or(OidcError::Token("the provider gave no ID token"))?;
    Ok(Given { id, access: answer.access_token().clone() })
}

/// What the provider says of the person beside the ID token, if it speaks of the same person.
pub(super) async fn ask_about(
    client: &Client,
    provider: &Provider,
    access: AccessToken,
    subject: SubjectIdentifier,
) -> Result<UserInfo, OidcError> {
    let request = client
        .user_info(access, Some(subject))
        .map_err(|_| OidcError::Claims("there is nothing to ask for them"))?;
    request.request_async(&provider.fetch).await.map_err(|error| match error {
        UserInfoError::Request(error) => OidcError::Unreachable(error),
        UserInfoError::ClaimsVerification(_) => OidcError::Claims("they are about somebody else"),
        _ => OidcError::Claims("the provider's answer cannot be read"),
    })
}

/// What became of a token.
pub(super) enum Checked {
    /// It is good.
    Good(Box<IdTokenClaims>),
    /// Its key is not among those that are known. Gives the token back.
    KeyUnknown(Box<IdToken>),
}

impl Checked {
    pub(super) fn into_claims(self) -> Result<IdTokenClaims, OidcError> {
        match self {
            Checked::Good(claims) => Ok(*claims),
            Checked::KeyUnknown(_) => Err(OidcError::Token("the issuer has no such key")),
        }
    }
}

/// Checks issuer, signature, audience, time and nonce, on a thread where long work is no harm.
pub(super) async fn checked(
    configuration: &OidcConfig,
    provider: Provider,
    token: IdToken,
    nonce: Option<Digest>,
    now: Timestamp,
) -> Result<Checked, OidcError> {
    let client_id = ClientId::new(configuration.client_id.clone());
    let check = move || {
        let verifier = verifier(&provider, client_id);
        let repeats = |found: Option<&Nonce>| check_nonce(nonce.as_ref(), found);
        match token.claims(&verifier, repeats).cloned() {
            Ok(claims) => check_time(&claims, now).map(|()| Checked::Good(Box::new(claims))),
            Err(ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey,
            )) => Ok(Checked::KeyUnknown(Box::new(token))),
            Err(error) => {
                tracing::info!(%error, "an ID token was refused");
                Err(OidcError::Token(reason(&error)))
            }
        }
    };
    tokio::task::spawn_blocking(check)
        .await
        .unwrap_or(Err(OidcError::Token("it cannot be checked")))
}

/// Whether a token repeats what it must, of which only the digest is known.
fn check_nonce(expected: Option<&Digest>, found: Option<&Nonce>) -> Result<(), String> {
    let Some(expected) = expected else { return Ok(()) };
    let repeats = found.is_some_and(|nonce| is_same(expected, &nonce_digest(nonce.secret())));
    repeats.then_some(()).ok_or_else(|| "it repeats another nonce, or none".to_owned())
}

/// Signatures of keys only: whoever knows the client secret, the server among them, could make the
/// others. Further audiences are the provider's to allow, as trusted peers. Time is judged by this
/// server's own clock in [`check_time`].
fn verifier(provider: &Provider, client_id: ClientId) -> Verifier {
    let offered = provider.metadata.id_token_signing_alg_values_supported();
    let algorithms = offered.iter().filter(|algorithm| is_of_key(algorithm)).cloned();
    let keys = provider.keys.as_ref().clone();
    Verifier::new_public_client(client_id, provider.metadata.issuer().clone(), keys)
        .set_allowed_algs(algorithms.collect::<Vec<_>>())
        .set_other_audience_verifier_fn(|_| true)
        .set_time_fn(Default::default)
}

fn is_of_key(algorithm: &CoreJwsSigningAlgorithm) -> bool {
    use CoreJwsSigningAlgorithm as A;
    !matches!(algorithm, A::HmacSha256 | A::HmacSha384 | A::HmacSha512 | A::None)
}

fn check_time(claims: &IdTokenClaims, now: Timestamp) -> Result<(), OidcError> {
    let now = now.0 / 1_000_000;
    if u64::try_from(claims.expiration().timestamp()).unwrap_or(0) <= now {
        return Err(OidcError::Token("it has expired"));
    }
    let ahead = now.saturating_add(AHEAD_MAX);
    let begins = claims.additional_claims().nbf.as_ref().and_then(serde_json::Number::as_u64);
    let issued = u64::try_from(claims.issue_time().timestamp()).unwrap_or(0);
    if begins.is_some_and(|begins| begins > ahead) || issued > ahead {
        return Err(OidcError::Token("its time has not come yet"));
    }
    Ok(())
}

fn reason(error: &ClaimsVerificationError) -> &'static str {
    match error {
        ClaimsVerificationError::Expired(_) => "it has expired",
        ClaimsVerificationError::InvalidAudience(_) => "it is not for this server",
        ClaimsVerificationError::InvalidIssuer(_) => "it is of another issuer",
        ClaimsVerificationError::InvalidNonce(_) => "it belongs to another login",
        ClaimsVerificationError::SignatureVerification(_) => "its signature is wrong",
        ClaimsVerificationError::Unsupported(_) => "it is of a kind that is not understood",
        _ => "it is not what it should be",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_repeats_the_nonce_of_its_login_or_is_refused() {
        let expected = nonce_digest("drawn");
        let check = |found: Option<&str>| {
            let found = found.map(|text| Nonce::new(text.to_owned()));
            check_nonce(Some(&expected), found.as_ref())
        };
        check(Some("drawn")).unwrap();
        for wrong in [None, Some(""), Some("draw"), Some("drawn "), Some("Drawn")] {
            check(wrong).unwrap_err();
        }
        check_nonce(None, None).unwrap();
    }
}
