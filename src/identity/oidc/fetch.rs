//! HTTP to the issuer: no redirects, and bounds on time and size.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use openidconnect::url::Url;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use reqwest::redirect::Policy;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// The longest that a connection to the issuer may take to open.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The longest that one request to the issuer may take.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// Bytes of an issuer's answer: discovery documents and key sets have a few thousand.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Whose signature on an issuer's certificate is trusted.
#[derive(Clone, Debug, Default)]
pub struct IssuerTrust {
    /// Certificates in PEM, besides the machine's own.
    pub pem: Option<Vec<u8>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The request could not be made or sent.
    #[error("it cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// No answer in time.
    #[error("no answer in time")]
    TooSlow,
    /// The answer is longer than anybody's should be.
    #[error("its answer is too long")]
    TooLong,
    /// It failed itself.
    #[error("it answers {0}")]
    Status(u16),
    /// The answer is no HTTP.
    #[error("its answer cannot be read")]
    Unreadable,
}

/// Requests that go to one issuer.
#[derive(Clone, Debug)]
pub(super) struct Fetch {
    http: reqwest::Client,
    /// Requests to the first go to the second instead.
    detour: Option<(Url, Url)>,
}

/// What opens connections.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    outward: reqwest::Client,
    /// Asks no proxy.
    here: reqwest::Client,
}

impl Clients {
    /// Clients that trust the machine's roots and `trust`.
    pub(super) fn new(trust: &IssuerTrust) -> Result<Clients, String> {
        let tls = tls(trust)?;
        let build = |builder: reqwest::ClientBuilder| {
            builder
                .tls_backend_preconfigured(tls.clone())
                .redirect(Policy::none())
                .referer(false)
                .connect_timeout(CONNECT_MAX)
                .timeout(REQUEST_MAX)
                .user_agent(concat!("muster/", env!("CARGO_PKG_VERSION")))
                .build()
                .map_err(|error| error.to_string())
        };
        let outward = build(reqwest::Client::builder())?;
        Ok(Clients { outward, here: build(reqwest::Client::builder().no_proxy())? })
    }

    /// The way to an issuer; with `own`, requests to it go there instead.
    pub(super) fn to(&self, issuer: &Url, own: Option<&Url>) -> Fetch {
        match own {
            None => Fetch { http: self.outward.clone(), detour: None },
            Some(own) => {
                let detour = Some((issuer.clone(), own.clone()));
                Fetch { http: self.here.clone(), detour }
            }
        }
    }
}

fn tls(trust: &IssuerTrust) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    // A machine without any, such as a bare container, talks to issuers in plain HTTP or of `trust`.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in CertificateDer::pem_slice_iter(trust.pem.as_deref().unwrap_or_default()) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

impl Fetch {
    async fn fetch(&self, request: HttpRequest) -> Result<HttpResponse, FetchError> {
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string()).map_err(|_| FetchError::Unreadable)?;
        let request = self
            .http
            .request(parts.method, self.take_detour(url))
            .headers(parts.headers)
            .body(body);
        let mut response = request.send().await.map_err(unanswered)?;
        if response.status().is_server_error() {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unanswered)? {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(FetchError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        let mut answer = HttpResponse::new(body);
        *answer.status_mut() = response.status();
        std::mem::swap(answer.headers_mut(), response.headers_mut());
        Ok(answer)
    }

    fn take_detour(&self, mut url: Url) -> Url {
        if let Some((issuer, own)) = &self.detour
            && url.host_str() == issuer.host_str()
        {
            let moved = url
                .set_scheme(own.scheme())
                .and_then(|()| url.set_host(own.host_str()).map_err(drop))
                .and_then(|()| url.set_port(own.port()));
            if moved.is_err() {
                tracing::warn!("requests for the issuer cannot be sent to this server itself");
            }
        }
        url
    }
}

fn unanswered(error: reqwest::Error) -> FetchError {
    if error.is_timeout() {
        FetchError::TooSlow
    } else {
        // The URL may hold what is nobody's business.
        FetchError::Unreachable(error.without_url())
    }
}

impl<'c> AsyncHttpClient<'c> for Fetch {
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, FetchError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.fetch(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn only_requests_to_the_issuers_host_are_sent_home() {
        let clients = Clients::new(&IssuerTrust::default()).unwrap();
        let own = url("http://localhost:1658");
        let fetch = clients.to(&url("https://muster.example:8443/dex"), Some(&own));
        let taken = fetch.take_detour(url("https://muster.example:8443/dex/keys?a=b"));
        assert_eq!(taken.as_str(), "http://localhost:1658/dex/keys?a=b");
        assert_eq!(fetch.take_detour(url("https://else/keys")).as_str(), "https://else/keys");
        let plain = clients.to(&url("https://muster.example"), None);
        assert_eq!(plain.take_detour(url("https://muster.example/x")).path(), "/x");
    }

    #[test]
    fn trust_that_is_no_certificate_is_refused() {
        let pem = b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----".to_vec();
        Clients::new(&IssuerTrust { pem: Some(pem) }).unwrap_err();
    }
}
