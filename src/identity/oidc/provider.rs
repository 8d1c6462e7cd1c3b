//! What is known of an issuer: its discovery document and its keys, kept for a while.

use std::sync::Arc;
use std::time::Duration;

use muster_proto::auth_v2::OidcConfig;
use openidconnect::core::CoreJsonWebKey;
use openidconnect::url::Url;
use openidconnect::{DiscoveryError, IssuerUrl, JsonWebKeySet};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::error::OidcError;
use super::fetch::{Clients, Fetch, FetchError};
use super::types::Metadata;

/// How long a discovery document and its keys are good.
const FRESH_FOR: Duration = Duration::from_mins(15);
/// Between two looks for a key that nobody knows: whoever sends tokens could ask for one each time.
const KEYS_EVERY: Duration = Duration::from_secs(5);
/// Keys of one issuer.
const KEYS_MAX: usize = 256;

/// An issuer as it was when it was asked.
#[derive(Clone, Debug)]
pub(super) struct Provider {
    pub(super) metadata: Arc<Metadata>,
    pub(super) keys: Arc<JsonWebKeySet<CoreJsonWebKey>>,
    pub(super) fetch: Fetch,
    asked: Instant,
    keys_asked: Instant,
}

/// Whose document it is, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    issuer: String,
    localhost: bool,
}

/// The one issuer that people sign in at. Whoever comes while it is asked waits for that answer.
#[derive(Debug)]
pub(super) struct Providers {
    clients: Clients,
    own: Url,
    kept: Mutex<Option<(Source, Provider)>>,
}

impl Providers {
    /// Asks through `clients`; what `localhost_issuer` sends home goes to `own`.
    pub(super) fn new(clients: Clients, own: Url) -> Providers {
        Providers { clients, own, kept: Mutex::new(None) }
    }

    /// The issuer of a configuration.
    pub(super) async fn of(&self, configuration: &OidcConfig) -> Result<Provider, OidcError> {
        let source = source(configuration);
        let mut kept = self.kept.lock().await;
        if let Some((known, provider)) = &*kept
            && *known == source
            && provider.asked.elapsed() < FRESH_FOR
        {
            return Ok(provider.clone());
        }
        let provider = self.ask(&source).await?;
        *kept = Some((source, provider.clone()));
        Ok(provider)
    }

    /// As [`Providers::of`], asked anew whatever is known, and not kept.
    pub(super) async fn look_up(&self, configuration: &OidcConfig) -> Result<Provider, OidcError> {
        self.ask(&source(configuration)).await
    }

    /// The same issuer with the keys that it has by now, unless they were asked for just before.
    pub(super) async fn with_new_keys(
        &self,
        configuration: &OidcConfig,
        old: &Provider,
    ) -> Result<Option<Provider>, OidcError> {
        let source = source(configuration);
        let mut kept = self.kept.lock().await;
        let Some((known, provider)) = &mut *kept else { return Ok(None) };
        if *known != source {
            return Ok(None);
        }
        if provider.keys_asked > old.keys_asked {
            return Ok(Some(provider.clone()));
        }
        if provider.keys_asked.elapsed() < KEYS_EVERY {
            return Ok(None);
        }
        provider.keys_asked = Instant::now();
        let keys = JsonWebKeySet::fetch_async(provider.metadata.jwks_uri(), &provider.fetch).await;
        provider.keys = bounded(keys.map_err(not_discovered)?)?;
        Ok(Some(provider.clone()))
    }

    async fn ask(&self, source: &Source) -> Result<Provider, OidcError> {
        let issuer =
            IssuerUrl::new(source.issuer.clone()).map_err(|_| OidcError::Url("the issuer"))?;
        let fetch = self.clients.to(issuer.url(), source.localhost.then_some(&self.own));
        let metadata = Metadata::discover_async(issuer, &fetch).await.map_err(not_discovered)?;
        let keys = bounded(metadata.jwks().clone())?;
        let now = Instant::now();
        Ok(Provider { metadata: Arc::new(metadata), keys, fetch, asked: now, keys_asked: now })
    }
}

fn source(configuration: &OidcConfig) -> Source {
    Source { issuer: configuration.issuer.clone(), localhost: configuration.localhost_issuer }
}

fn bounded(
    keys: JsonWebKeySet<CoreJsonWebKey>,
) -> Result<Arc<JsonWebKeySet<CoreJsonWebKey>>, OidcError> {
    if keys.keys().len() > KEYS_MAX {
        return Err(OidcError::Discovery("it has too many keys"));
    }
    Ok(Arc::new(keys))
}

fn not_discovered(error: DiscoveryError<FetchError>) -> OidcError {
    let reason = match error {
        DiscoveryError::Request(error) => return OidcError::Unreachable(error),
        DiscoveryError::Response(status, _, _) if !status.is_success() => {
            tracing::warn!(%status, "the issuer has no discovery document, or no keys");
            "it has no discovery document, or no keys"
        }
        DiscoveryError::Validation(reason) => {
            tracing::warn!(reason, "the issuer is another one");
            "its discovery document names another issuer"
        }
        error => {
            tracing::warn!(?error, "the issuer's discovery document cannot be read");
            "its discovery document, or its keys, cannot be read"
        }
    };
    OidcError::Discovery(reason)
}
