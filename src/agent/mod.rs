//! The member side of a fleet: a small server that is registered like a Pachyderm cluster, sends its
//! heartbeats and keeps the license, for clusters whose own pachd does not and for anything else that
//! is to be licensed.
//!
//! It fails open: only the license server's own word switches it off, never its absence.

mod heartbeat;
mod member;
mod record;
mod register;
mod service;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use muster_proto::admin_v2::api_server::ApiServer as AdminServer;
use muster_proto::enterprise_v2::api_server::ApiServer as EnterpriseServer;
use muster_proto::versionpb_v2::Version;
use muster_proto::versionpb_v2::api_server::ApiServer as VersionServer;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tracing::info;

use crate::clock::Clock;
use crate::dial::{MESSAGE_BYTES_MAX, Roots};
use crate::entropy::{self, Entropy};
use member::Member;
use record::{Record, RecordFile};
use service::Service;

pub use record::{RecordError, Tie};
pub use register::{Registration, Token};

/// The longest that a client may take to agree on TLS.
const TLS_HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// The longest that connections may keep an agent that is told to stop.
const SHUTDOWN_MAX: Duration = Duration::from_secs(10);

/// How an agent runs.
#[derive(Debug)]
pub struct Options {
    /// Where it answers.
    pub listen: SocketAddr,
    /// Certificate chain and key in PEM; plaintext without.
    pub tls: Option<(Vec<u8>, Vec<u8>)>,
    /// The file that holds what must survive a restart.
    pub record: PathBuf,
    /// From one heartbeat to the next.
    pub interval: Duration,
    /// The version that it reports.
    pub version: Version,
    /// What the cluster calls itself; drawn once and kept if not given.
    pub deployment_id: Option<String>,
    /// Whom to trust when the license server's address is secured.
    pub roots: Roots,
    /// Registers itself at start; waits to be registered without.
    pub registration: Option<Registration>,
}

/// Why an agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The address is taken or not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The record is unusable.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Certificate or key are unusable, or serving ended by itself.
    #[error("cannot serve: {0}")]
    Serve(#[from] tonic::transport::Error),
    /// The services cannot be described to clients.
    #[error("cannot describe the services: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// An agent that holds its port and its record, ready to serve.
pub struct Agent {
    listener: TcpListener,
    address: SocketAddr,
    options: Options,
    member: Arc<Member>,
    deployment_id: String,
    /// What a registration proves itself with.
    secret: String,
    entropy: Arc<dyn Entropy>,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Agent {
    /// Takes the port and reads the record, or begins one.
    pub async fn bind(
        options: Options,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Agent, AgentError> {
        let listen = |source| AgentError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let file = RecordFile::new(options.record.clone());
        let record = if let Some(record) = file.read()? {
            record
        } else {
            let record = Record::new(entropy::uuid(&*entropy), entropy::uuid(&*entropy));
            file.write(&record)?;
            record
        };
        let secret = secret(&options, &record, &*entropy);
        let deployment_id =
            options.deployment_id.clone().unwrap_or_else(|| record.deployment_id.clone());
        let version = text(&options.version);
        let member = Arc::new(Member::new(file, record, clock, options.roots.clone(), version));
        Ok(Agent { listener, address, options, member, deployment_id, secret, entropy })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers and sends heartbeats until `stop`.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Result<(), AgentError> {
        let service = Service {
            member: Arc::clone(&self.member),
            version: self.options.version.clone(),
            deployment_id: self.deployment_id.clone(),
        };
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_service_status("", tonic_health::ServingStatus::Serving).await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(muster_proto::DESCRIPTORS)
            .build_v1()?;
        let mut server = Server::builder()
            .http2_keepalive_interval(Some(Duration::from_mins(1)))
            .http2_keepalive_timeout(Some(Duration::from_secs(20)));
        if let Some((certificate, key)) = &self.options.tls {
            let identity = Identity::from_pem(certificate, key);
            let tls = ServerTlsConfig::new().identity(identity).timeout(TLS_HANDSHAKE_MAX);
            server = server.tls_config(tls)?;
        }
        let stopping = CancellationToken::new();
        let stop = async {
            stop.await;
            stopping.cancel();
        };
        let overtime = async {
            stopping.cancelled().await;
            tokio::time::sleep(SHUTDOWN_MAX).await;
        };
        info!(address = %self.address, "the agent answers");
        let serving = server
            .add_service(health_service)
            .add_service(reflection)
            .add_service(
                EnterpriseServer::new(service.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            )
            .add_service(
                AdminServer::new(service.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            )
            .add_service(VersionServer::new(service))
            .serve_with_incoming_shutdown(TcpListenerStream::new(self.listener), stop);
        let registering = async {
            if let Some(registration) = &self.options.registration {
                register::keep_registering(
                    &self.member,
                    registration,
                    &self.secret,
                    &self.deployment_id,
                    &self.options.roots,
                    &*self.entropy,
                )
                .await;
            }
            // Only serving ends an agent.
            std::future::pending::<()>().await;
        };
        let beating = heartbeat::keep_beating(&self.member, self.options.interval, &*self.entropy);
        tokio::select! {
            served = serving => Ok(served?),
            () = overtime => Ok(()),
            () = registering => Ok(()),
            () = beating => Ok(()),
        }
    }
}

/// What the member proves itself with: as told, as before, or drawn now. A drawn one must not be lost
/// between registering and tying, which an update with the next start's secret mends.
fn secret(options: &Options, record: &Record, entropy: &dyn Entropy) -> String {
    let registration = options.registration.as_ref();
    let told = registration.and_then(|registration| registration.secret.clone());
    let before = record
        .tie
        .as_ref()
        .filter(|tie| registration.is_some_and(|registration| registration.id == tie.id));
    told.or_else(|| before.map(|tie| tie.secret.clone()))
        .unwrap_or_else(|| entropy::url_secret(entropy))
}

/// `MAJOR.MINOR.MICRO` and whatever follows.
fn text(version: &Version) -> String {
    format!("{}.{}.{}{}", version.major, version.minor, version.micro, version.additional)
}

#[cfg(test)]
mod tests;
