//! Muster's own services, asked of any replica: by the enterprise context of pachctl's config file,
//! or by addresses given.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tonic::{Code, Status};

use super::go;
use super::output::Failure;
use super::pachctl::connect::{Invocation, Server};
use super::pachctl::target::Target;
use crate::dial::Roots;

/// Which replicas to ask.
#[derive(Debug, Args)]
pub(super) struct Remote {
    /// `[grpc://|grpcs://]HOST[:PORT]` of a replica; several are tried at once, and the first to
    /// answer is asked. Without it the
    /// enterprise context is used.
    #[arg(long, env = "MUSTER_ADDRESS", value_name = "ADDRESS", value_delimiter = ',')]
    address: Vec<String>,
    /// PEM file of the certificates to trust for those addresses instead of the system's.
    #[arg(long, env = "MUSTER_CA_CERT", value_name = "FILE", requires = "address")]
    ca_cert: Option<PathBuf>,
    /// How to print.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(super) output: Format,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// How long one replica may take to answer the phone.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

impl Remote {
    /// The first replica that can be reached; all are dialled at once.
    pub(super) async fn any(&self, invocation: &Invocation) -> Result<Server, Failure> {
        if self.address.is_empty() {
            return Server::of_context(invocation, CONNECT_LIMIT).await;
        }
        let roots = match &self.ca_cert {
            None => Roots::System,
            Some(path) => Roots::Pem(std::fs::read(path).map_err(|error| {
                Failure::new(format!("cannot read the certificates in {}", path.display()))
                    .because(&error)
            })?),
        };
        let mut dials = Vec::new();
        for text in &self.address {
            let address = text
                .parse()
                .map_err(|error| Failure::new(format!("{text:?} is no address")).because(&error))?;
            let target = Target { address, roots: roots.clone() };
            dials.push(Box::pin(Server::at(invocation, target, CONNECT_LIMIT)));
        }
        let (server, _others) = futures::future::select_ok(dials).await?;
        Ok(server)
    }
}

/// A call that failed, and what to do about it.
pub(super) fn refused(server: &Server, what: &str, status: &Status) -> Failure {
    let failure = Failure::new(format!("{what} {}", server.address)).cause(go::rpc_error(status));
    match status.code() {
        Code::Unimplemented => {
            failure.hint("this may be a Pachyderm server; give a replica of Muster with --address")
        }
        Code::Unavailable => failure.hint("another replica with --address, or again in a moment"),
        _ => failure,
    }
}
