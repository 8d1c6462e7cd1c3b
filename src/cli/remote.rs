//! Muster's own services, asked of any replica: by the enterprise context of pachctl's config file,
//! or by addresses given.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use muster_proto::muster::v1::{ReplicaStatus, Role, StatusRequest};
use tonic::{Code, Status};

use super::go;
use super::output::Failure;
use super::pachctl::connect::{Invocation, Server};
use super::pachctl::target::Target;
use crate::dial::Roots;

/// Which replicas to ask.
#[derive(Debug, Args)]
pub(super) struct Remote {
    /// `[grpc://|grpcs://]HOST[:PORT]` of a replica; several are tried in turn. Without it the
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
    /// All that were named, one entry for each that can or cannot be reached.
    async fn servers(
        &self,
        invocation: &Invocation,
    ) -> Result<Vec<Result<Server, Failure>>, Failure> {
        if self.address.is_empty() {
            return Ok(vec![Server::of_context(invocation, CONNECT_LIMIT).await]);
        }
        let roots = match &self.ca_cert {
            None => Roots::System,
            Some(path) => Roots::Pem(std::fs::read(path).map_err(|error| {
                Failure::new(format!("cannot read the certificates in {}", path.display()))
                    .because(&error)
            })?),
        };
        let mut servers = Vec::new();
        for text in &self.address {
            let address = text
                .parse()
                .map_err(|error| Failure::new(format!("{text:?} is no address")).because(&error))?;
            let target = Target { address, roots: roots.clone() };
            servers.push(Server::at(invocation, target, CONNECT_LIMIT).await);
        }
        Ok(servers)
    }

    /// The first replica that can be reached.
    pub(super) async fn any(&self, invocation: &Invocation) -> Result<Server, Failure> {
        let mut last = None;
        for server in self.servers(invocation).await? {
            match server {
                Ok(server) => return Ok(server),
                Err(failure) => last = Some(failure),
            }
        }
        Err(last.unwrap_or_else(|| Failure::new("no address was given")))
    }

    /// The leader if it is among the replicas that can be reached, else any of them.
    pub(super) async fn leader(
        &self,
        invocation: &Invocation,
    ) -> Result<(Server, ReplicaStatus), Failure> {
        let (mut other, mut last) = (None, None);
        for server in self.servers(invocation).await? {
            let answer = match server {
                Ok(server) => status(&server).await.map(|status| (server, status)),
                Err(failure) => Err(failure),
            };
            match answer {
                Ok((server, status)) if status.role() == Role::Leader => {
                    return Ok((server, status));
                }
                Ok(answer) => other = Some(answer),
                Err(failure) => last = Some(failure),
            }
        }
        other.ok_or_else(|| last.unwrap_or_else(|| Failure::new("no address was given")))
    }
}

/// What the replica says of itself.
pub(super) async fn status(server: &Server) -> Result<ReplicaStatus, Failure> {
    let answer = server.call(server.replica().status(StatusRequest {})).await;
    answer.map_err(|status| refused(server, "cannot get the status of", &status))
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
