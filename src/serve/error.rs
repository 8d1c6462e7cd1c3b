//! Why a replica could not start or go on.

use std::net::SocketAddr;
use std::path::PathBuf;

use muster_cluster::bootstrap::{BootstrapError, PlanError};
use muster_cluster::folder::FolderError;
use muster_cluster::group::StartError;
use muster_cluster::net::PeerTlsError;

use crate::activation::KeyError;
use crate::api::ApiTlsError;
use crate::audit::SinkError;
use crate::telemetry::TelemetryError;

/// Why a replica could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Logs or metrics.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// An address is taken, or not of this machine.
    #[error("cannot listen on {address} ({setting})")]
    Listen {
        /// The setting that names the address.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file that the configuration names.
    #[error("cannot read {} ({setting})", path.display())]
    File {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The audit file.
    #[error("cannot follow the audit log into {} (audit-file)", path.display())]
    Audit {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SinkError,
    },
    /// The data folder is not there and cannot be made.
    #[error("cannot make the data folder {}", path.display())]
    Data {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A key for activation codes.
    #[error("{} (license-public-key) is of no use", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// Pachyderm's own key cannot be read by the cryptographic library.
    #[error("the built-in license key is of no use: {0}")]
    BuiltInKey(KeyError),
    /// Certificate or key of the API.
    #[error("the certificate of the API is of no use ({}, {})", cert.display(), key.display())]
    ApiTls {
        /// The certificate chain.
        cert: PathBuf,
        /// Its key.
        key: PathBuf,
        /// What is wrong with them.
        source: ApiTlsError,
    },
    /// The certificate of the API, as the pages serve it.
    #[error("the pages cannot be encrypted: {0}")]
    WebTls(#[source] rustls::Error),
    /// How identity providers are asked.
    #[error("issuer-ca or localhost-issuer is of no use: {0}")]
    RelyingParty(String),
    /// The API cannot go on.
    #[error("the API has ended")]
    Api(#[source] tonic::transport::Error),
    /// Certificates between replicas.
    #[error("the certificates for peers are of no use: {0}")]
    PeerTls(#[from] PeerTlsError),
    /// The list of first replicas.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The group could not begin.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// A group did not take this replica.
    #[error("the group does not let this replica in: {0}")]
    NotLetIn(String),
    /// The replica could not join its group.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The replica stopped taking part.
    #[error("the replica has stopped: {reason}")]
    Group {
        /// What the replica itself gives as the exit code.
        exit_code: u8,
        /// Why.
        reason: String,
    },
    /// A part of the process ended unasked.
    #[error("{0} has ended unasked")]
    PartEnded(&'static str),
    /// The operating system refused something else.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl ServeError {
    /// The exit code of the process: 70 a fault of the machine or the program, 71 damaged data, 74
    /// input or output at start, 78 the configuration or the folder must be mended first.
    pub fn exit_code(&self) -> u8 {
        match self {
            ServeError::Telemetry(_) | ServeError::Api(_) | ServeError::PartEnded(_) => 70,
            ServeError::Listen { .. } | ServeError::Data { .. } | ServeError::Io(_) => 74,
            ServeError::File { .. }
            | ServeError::Audit { .. }
            | ServeError::Key { .. }
            | ServeError::BuiltInKey(_)
            | ServeError::ApiTls { .. }
            | ServeError::WebTls(_)
            | ServeError::RelyingParty(_)
            | ServeError::PeerTls(_)
            | ServeError::Plan(_)
            | ServeError::NotLetIn(_)
            | ServeError::Bootstrap(BootstrapError::Misfit(_) | BootstrapError::Refused(_)) => 78,
            ServeError::Folder(error) | ServeError::Bootstrap(BootstrapError::Folder(error)) => {
                of_folder(error)
            }
            ServeError::Start(error) => error.exit_code(),
            ServeError::Group { exit_code, .. } => *exit_code,
        }
    }
}

fn of_folder(error: &FolderError) -> u8 {
    match error {
        FolderError::Damaged { .. } => 71,
        FolderError::Io { .. } => 74,
        FolderError::Locked { .. }
        | FolderError::Format { .. }
        | FolderError::Foreign { .. }
        | FolderError::Promised { .. }
        | FolderError::Fresh { .. }
        | FolderError::Taken { .. }
        | FolderError::CutShort { .. } => 78,
    }
}
