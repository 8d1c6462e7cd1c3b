//! Mutual TLS between replicas.
//!
//! Both sides prove that the one CA of the group issued their certificate, and the certificate must
//! carry the replica's *name* as a DNS name. (Not its id: that exists only once the group does.)

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PeerTlsError {
    /// Missing, unreadable or not PEM.
    #[error("cannot read {what} from {}: {source}", path.display())]
    Read {
        /// The certificate, the key or the CA.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the reader said.
        source: rustls::pki_types::pem::Error,
    },
    /// A PEM file without a certificate.
    #[error("{} holds no certificate", .0.display())]
    NoCertificate(PathBuf),
    /// The CA's certificate is no trust anchor, or key and certificate do not fit.
    #[error("the peer certificates do not work together: {0}")]
    Rustls(#[from] rustls::Error),
    /// The verifier of the peers' certificates could not be built.
    #[error("the peer CA cannot verify certificates: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// This replica's certificate and the CA of its group's replicas. A cheap clone: what one clone reads
/// again, all use.
#[derive(Clone)]
pub struct PeerTls {
    shared: Arc<Shared>,
}

struct Shared {
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
    halves: ArcSwap<Halves>,
}

struct Halves {
    dial: TlsConnector,
    accept: TlsAcceptor,
}

impl PeerTls {
    /// Reads the group's CA, and this replica's certificate (with its chain) and key, all PEM.
    pub fn from_pem_files(ca: &Path, cert: &Path, key: &Path) -> Result<PeerTls, PeerTlsError> {
        let halves = ArcSwap::from_pointee(Halves::read(ca, cert, key)?);
        let (ca, cert, key) = (ca.to_owned(), cert.to_owned(), key.to_owned());
        Ok(PeerTls { shared: Arc::new(Shared { ca, cert, key, halves }) })
    }

    /// Reads the files again; connections from now on use what they hold. When that is of no use,
    /// everything stays as it was.
    pub fn reload(&self) -> Result<(), PeerTlsError> {
        let Shared { ca, cert, key, halves } = &*self.shared;
        halves.store(Arc::new(Halves::read(ca, cert, key)?));
        Ok(())
    }

    /// The dialler's half: the other side must be the replica called `name`.
    pub(crate) async fn connect(
        &self,
        name: &str,
        stream: TcpStream,
    ) -> std::io::Result<client::TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?;
        // Not held while the handshake waits.
        let dial = self.shared.halves.load().dial.clone();
        dial.connect(name, stream).await
    }

    /// The listener's half: anyone with a certificate of the CA; ask [`names`] who it is.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
    ) -> std::io::Result<server::TlsStream<TcpStream>> {
        let accept = self.shared.halves.load().accept.clone();
        accept.accept(stream).await
    }
}

impl Halves {
    fn read(ca: &Path, cert: &Path, key: &Path) -> Result<Halves, PeerTlsError> {
        let mut roots = RootCertStore::empty();
        for root in certificates("the peer CA", ca)? {
            roots.add(root)?;
        }
        let roots = Arc::new(roots);
        let chain = certificates("the peer certificate", cert)?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|source| PeerTlsError::Read {
            what: "the peer key",
            path: key.to_owned(),
            source,
        })?;
        let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::aws_lc_rs::default_provider());

        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()?;
        let accept = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())?;
        let dial = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        Ok(Halves {
            dial: TlsConnector::from(Arc::new(dial)),
            accept: TlsAcceptor::from(Arc::new(accept)),
        })
    }
}

/// The certificate that the dialler showed; the handshake has verified that the CA issued it.
pub(crate) fn certificate_of(
    stream: &server::TlsStream<TcpStream>,
) -> Option<CertificateDer<'static>> {
    let (_, connection) = stream.get_ref();
    connection.peer_certificates()?.first().map(|der| der.clone().into_owned())
}

/// Whether a certificate carries `name`.
pub(crate) fn names(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok(certificate) = ParsedCertificate::try_from(certificate) else { return false };
    let Ok(name) = ServerName::try_from(name) else { return false };
    verify_server_name(&certificate, &name).is_ok()
}

fn certificates(
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, PeerTlsError> {
    let read = |source| PeerTlsError::Read { what, path: path.to_owned(), source };
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(read)?
        .collect::<Result<_, _>>()
        .map_err(read)?;
    if found.is_empty() {
        return Err(PeerTlsError::NoCertificate(path.to_owned()));
    }
    Ok(found)
}
