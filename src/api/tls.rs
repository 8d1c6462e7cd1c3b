//! The API's certificate: served to clients, and replaced while connections go on.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

/// What gRPC calls itself in the handshake.
const HTTP_2: &[u8] = b"h2";

/// Why a certificate cannot be served with.
#[derive(Debug, thiserror::Error)]
pub enum ApiTlsError {
    /// No PEM, or not of what it should be.
    #[error("it is no PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// There is no certificate in it.
    #[error("it holds no certificate")]
    Empty,
    /// Certificate and key do not belong together, or the library cannot work with them.
    #[error(transparent)]
    Unusable(#[from] rustls::Error),
}

/// A certificate chain and its key, which can be replaced. A cheap clone: all clones serve the same.
#[derive(Clone)]
pub struct ApiTls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
}

struct Current(ArcSwap<CertifiedKey>);

impl ApiTls {
    /// Serves with `cert` and `key`, both PEM.
    ///
    /// # Errors
    /// When one of them is not what it should be, or they do not belong together.
    pub fn new(cert: &[u8], key: &[u8]) -> Result<ApiTls, ApiTlsError> {
        let provider = provider();
        let current = Arc::new(Current(ArcSwap::from_pointee(certified(cert, key, &provider)?)));
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Current>::clone(&current);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols.push(HTTP_2.to_vec());
        Ok(ApiTls { acceptor: TlsAcceptor::from(Arc::new(config)), current })
    }

    /// Serves new connections with another certificate; those that stand go on.
    ///
    /// # Errors
    /// As [`ApiTls::new`]; then the one before stays.
    pub fn replace(&self, cert: &[u8], key: &[u8]) -> Result<(), ApiTlsError> {
        self.current.0.store(Arc::new(certified(cert, key, &provider())?));
        Ok(())
    }

    /// The certificate that is served with, for others that serve with the same.
    pub fn certificate(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::<Current>::clone(&self.current)
    }

    pub(super) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn certified(
    cert: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, ApiTlsError> {
    let chain = CertificateDer::pem_slice_iter(cert).collect::<Result<Vec<_>, _>>()?;
    if chain.is_empty() {
        return Err(ApiTlsError::Empty);
    }
    let key = PrivateKeyDer::from_pem_slice(key)?;
    Ok(CertifiedKey::from_der(chain, key, provider)?)
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl fmt::Debug for ApiTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiTls")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn what_is_no_certificate_is_refused_and_the_one_before_stays() {
        let ((cert, key), (other_cert, other_key)) = (made(), made());
        assert!(ApiTls::new(b"no certificate", b"no key").is_err());
        assert!(ApiTls::new(cert.as_bytes(), b"no key").is_err());
        assert!(ApiTls::new(cert.as_bytes(), other_key.as_bytes()).is_err());

        let tls = ApiTls::new(cert.as_bytes(), key.as_bytes()).unwrap();
        let served = || tls.current.0.load().cert.clone();
        let before = served();
        assert!(tls.replace(other_cert.as_bytes(), key.as_bytes()).is_err());
        assert_eq!(served(), before);
        tls.replace(other_cert.as_bytes(), other_key.as_bytes()).unwrap();
        assert_ne!(served(), before);
    }
}
