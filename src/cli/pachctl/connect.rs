//! The connection that a command works with, opened as pachctl opens it: choose the context, dial,
//! ask the server who it is.

use std::future::Future;
use std::io::{self, IsTerminal};
use std::time::Duration;

use muster_proto::admin_v2::api_client::ApiClient as AdminClient;
use muster_proto::admin_v2::{ClusterInfo, InspectClusterRequest};
use muster_proto::auth_v2::api_client::ApiClient as AuthClient;
use muster_proto::enterprise_v2::api_client::ApiClient as EnterpriseClient;
use muster_proto::identity_v2::api_client::ApiClient as IdentityClient;
use muster_proto::license_v2::api_client::ApiClient as LicenseClient;
use muster_proto::muster::v1::audit_client::AuditClient;
use muster_proto::muster::v1::fleet_client::FleetClient;
use muster_proto::muster::v1::membership_client::MembershipClient;
use muster_proto::muster::v1::replica_client::ReplicaClient;
use muster_proto::muster::v1::restore_client::RestoreClient;
use muster_proto::pfs_v2::Project;
use muster_proto::versionpb_v2::api_client::ApiClient as VersionClient;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

use super::config::{ConfigFile, Named, Which};
use super::context::Context;
use super::target::{Target, target};
use super::version::compatible_version;
use crate::address::Address;
use crate::cli::environment::Environment;
use crate::cli::go;
use crate::cli::output::{self, Failure};
use crate::dial::{self, DIAL_LIMIT, DialError, MESSAGE_BYTES_MAX};

/// One run of the command line: its surroundings and its time limit.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) environment: Environment,
    /// When dialling and all calls together must have ended.
    pub(crate) deadline: Option<Instant>,
    /// How old the answer of a read may be; none: not old at all.
    pub(crate) staleness: Option<Duration>,
    pub(crate) verbose: bool,
}

/// A server that has said who it is.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: Address,
    pub(crate) context: Named,
    pub(crate) info: ClusterInfo,
    channel: Channel,
    caller: Caller,
}

/// The metadata key of how old an answer may be and is.
const STALENESS: &str = "staleness";

/// Puts the token and the remaining time on every request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    token: Option<MetadataValue<Ascii>>,
    deadline: Option<Instant>,
    staleness: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Caller {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authn-token", token.clone());
        }
        if let Some(staleness) = &self.staleness {
            request.metadata_mut().insert(STALENESS, staleness.clone());
        }
        if let Some(deadline) = self.deadline {
            request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        }
        Ok(request)
    }
}

/// The channel of a client that speaks for the caller.
pub(crate) type Authorized = InterceptedService<Channel, Caller>;

impl Server {
    /// Opens the connection of `which` context and does all that pachctl does before a call.
    ///
    /// # Errors
    /// In pachctl's words, without the `could not connect` in front that most commands put there:
    /// see [`Server::open`].
    pub(crate) async fn open_bare(invocation: &Invocation, which: Which) -> Result<Self, Failure> {
        Server::open_with(invocation, which, |failure| failure).await
    }

    /// As [`Server::open_bare`], with the words that most commands put before a failure.
    pub(crate) async fn open(invocation: &Invocation, which: Which) -> Result<Self, Failure> {
        Server::open_with(invocation, which, |failure| failure.within("could not connect")).await
    }

    async fn open_with(
        invocation: &Invocation,
        which: Which,
        wrap: impl Fn(Failure) -> Failure,
    ) -> Result<Self, Failure> {
        let file = ConfigFile::load(&invocation.environment)?;
        file.choose(Which::Active, &invocation.environment)?;
        let context = file.choose(which, &invocation.environment)?;
        let target = target(&context, &invocation.environment)?;
        let channel = dial(invocation, &target, DIAL_LIMIT)
            .await
            .map_err(|error| wrap(no_connection(&error, &target.address)))?;
        let mut server = Server::with(invocation, context, target, channel)?;
        server.info = server.introduce(which).await.map_err(wrap)?;
        server.heed(&invocation.environment);
        server.remember_deployment(&invocation.environment)?;
        if which == Which::Enterprise {
            output::note(&format!("Using enterprise context: {}", server.context.name));
        }
        Ok(server)
    }

    /// Opens the enterprise context's connection for Muster's own services: nothing is asked of
    /// the server and nothing is stored.
    pub(crate) async fn of_context(
        invocation: &Invocation,
        limit: Duration,
    ) -> Result<Self, Failure> {
        let file = ConfigFile::load(&invocation.environment)?;
        let context = file.choose(Which::Enterprise, &invocation.environment)?;
        let target = target(&context, &invocation.environment)?;
        let channel = dial(invocation, &target, limit).await.map_err(|error| unreached(&error))?;
        Server::with(invocation, context, target, channel)
    }

    /// As [`Server::of_context`], of a server that no context names.
    pub(crate) async fn at(
        invocation: &Invocation,
        target: Target,
        limit: Duration,
    ) -> Result<Self, Failure> {
        let context = Named { name: target.address.to_string(), context: Context::default() };
        let channel = dial(invocation, &target, limit).await.map_err(|error| unreached(&error))?;
        Server::with(invocation, context, target, channel)
    }

    fn with(
        invocation: &Invocation,
        context: Named,
        target: Target,
        channel: Channel,
    ) -> Result<Self, Failure> {
        if invocation.verbose {
            output::note(&format!("connected to {} (context {})", target.address, context.name));
        }
        let token = match context.context.session_token.as_str() {
            "" => None,
            token => Some(token.parse().map_err(|_| {
                Failure::pachctl(format!(
                    "the session_token of context {} is unusable",
                    context.name
                ))
                .hint("it may only hold visible ASCII characters")
            })?),
        };
        Ok(Server {
            address: target.address,
            context,
            info: ClusterInfo::default(),
            channel,
            caller: Caller {
                token,
                deadline: invocation.deadline,
                staleness: invocation
                    .staleness
                    .and_then(|most| format!("{}ms", most.as_millis()).parse().ok()),
            },
        })
    }

    pub(crate) fn license(&self) -> LicenseClient<Authorized> {
        LicenseClient::with_interceptor(self.channel.clone(), self.caller.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn enterprise(&self) -> EnterpriseClient<Authorized> {
        EnterpriseClient::with_interceptor(self.channel.clone(), self.caller.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn auth(&self) -> AuthClient<Authorized> {
        AuthClient::with_interceptor(self.channel.clone(), self.caller.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn identity(&self) -> IdentityClient<Authorized> {
        IdentityClient::with_interceptor(self.channel.clone(), self.caller.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Calls with another token from now on, whatever the context holds.
    pub(crate) fn sign_in(&mut self, token: &str) -> Result<(), Failure> {
        let token = token.parse().map_err(|_| {
            Failure::pachctl("the token is unusable")
                .hint("it may only hold visible ASCII characters")
        })?;
        self.caller.token = Some(token);
        Ok(())
    }

    pub(crate) fn admin(&self) -> AdminClient<Authorized> {
        AdminClient::with_interceptor(self.channel.clone(), self.caller.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Asks for the version without any of the caller's metadata.
    pub(crate) fn version(&self) -> VersionClient<Channel> {
        VersionClient::new(self.channel.clone())
    }

    pub(crate) fn replica(&self) -> ReplicaClient<Authorized> {
        ReplicaClient::with_interceptor(self.channel.clone(), self.caller.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn membership(&self) -> MembershipClient<Authorized> {
        MembershipClient::with_interceptor(self.channel.clone(), self.caller.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn restore(&self) -> RestoreClient<Authorized> {
        RestoreClient::with_interceptor(self.channel.clone(), self.caller.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn fleet(&self) -> FleetClient<Authorized> {
        FleetClient::with_interceptor(self.channel.clone(), self.caller.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn audit(&self) -> AuditClient<Authorized> {
        AuditClient::with_interceptor(self.channel.clone(), self.caller.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Calls a method of a service that Muster has not, whose messages are empty.
    pub(crate) async fn plain_call(&self, path: PathAndQuery) -> Result<Response<()>, Status> {
        let service = InterceptedService::new(self.channel.clone(), self.caller.clone());
        let mut method = Grpc::new(service);
        let unready = |error: &dyn std::fmt::Display| Status::unavailable(error.to_string());
        method.ready().await.map_err(|error| unready(&error))?;
        method.unary(Request::new(()), path, ProstCodec::<(), ()>::default()).await
    }

    /// Waits for a call no longer than the whole command may take.
    pub(crate) async fn call<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Status> {
        let response = match self.caller.deadline {
            None => call.await,
            Some(deadline) => tokio::time::timeout_at(deadline, call)
                .await
                .unwrap_or_else(|_| Err(Status::deadline_exceeded("context deadline exceeded"))),
        };
        let response = response?;
        if let Some(age) = response.metadata().get(STALENESS).and_then(|age| age.to_str().ok()) {
            output::note(&format!("this answer may be {age} old"));
        }
        Ok(response.into_inner())
    }

    /// Asks the server who it is; once more without a project where that was what it minded.
    async fn introduce(&self, which: Which) -> Result<ClusterInfo, Failure> {
        let project = match which {
            Which::Active => self.context.context.project.clone(),
            Which::Enterprise => String::new(),
        };
        let mut request = InspectClusterRequest {
            client_version: Some(compatible_version()),
            current_project: Some(Project { name: project.clone() }),
        };
        let mut answer = self.inspect(request.clone()).await;
        if let Err(status) = &answer
            && matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied)
        {
            output::note(&format!(
                "error checking for project {project:?}: failed to inspect cluster: {}; \
                 retrying without project check",
                go::rpc_error(status)
            ));
            request.current_project = None;
            answer = self.inspect(request).await;
        }
        answer.map_err(|status| {
            let failure = Failure::pachctl(format!(
                "could not get cluster ID: failed to inspect cluster: {}",
                go::rpc_error(&status)
            ));
            if status.code() == Code::Unimplemented {
                return failure.hint("is this the gRPC port of a Pachyderm 2.x server or Muster?");
            }
            failure
        })
    }

    async fn inspect(&self, request: InspectClusterRequest) -> Result<ClusterInfo, Status> {
        self.call(self.admin().inspect_cluster(request)).await
    }

    /// Which deployment the active server is, asked anew as `enterprise register` does.
    pub(crate) async fn deployment_id(&self) -> Result<String, Status> {
        let request = InspectClusterRequest {
            client_version: Some(compatible_version()),
            current_project: None,
        };
        Ok(self.inspect(request).await?.deployment_id)
    }

    fn heed(&self, environment: &Environment) {
        if !environment.ignore_version_skew {
            if self.info.warnings_ok {
                for warning in &self.info.warnings {
                    output::note(warning);
                }
            } else {
                output::note(
                    "WARNING: The pachyderm server you're connected to is too old to validate \
                     compatibility with this client; please use a client of its own version.",
                );
            }
        }
        if self.info.paused && !environment.ignore_paused_mode {
            output::note("The server is paused; most commands will fail until it is unpaused.");
        }
    }

    /// Stores which deployment a context belongs to, the first time it is seen. An address from
    /// the environment says nothing about the context.
    fn remember_deployment(&self, environment: &Environment) -> Result<(), Failure> {
        let is_known = !self.context.context.cluster_deployment_id.is_empty();
        if is_known || self.info.deployment_id.is_empty() || environment.pachd_address.is_some() {
            return Ok(());
        }
        let mut file = ConfigFile::load(environment)?;
        let Some(mut context) = file.context(&self.context.name) else { return Ok(()) };
        context.cluster_deployment_id.clone_from(&self.info.deployment_id);
        file.set_context(&self.context.name, &context);
        Ok(file.save()?)
    }
}

async fn dial(
    invocation: &Invocation,
    target: &Target,
    limit: Duration,
) -> Result<Channel, DialError> {
    let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
    let limit = invocation.deadline.map_or(limit, |deadline| left(deadline).min(limit));
    dial::connect(&target.address, &target.roots, limit, patience()).await
}

/// A failure of Muster's own commands.
fn unreached(error: &DialError) -> Failure {
    let failure = Failure::new("cannot reach the replica").because(error);
    match error {
        DialError::TimedOut { .. } => failure.hint("another replica with --address"),
        DialError::Untrusted { .. } => failure.hint("--ca-cert with the certificate authority's"),
        DialError::Unusable { .. } => failure,
    }
}

/// Tells a person once why the connection takes so long.
fn patience() -> impl Fn(&str) {
    let told = std::cell::Cell::new(false);
    move |reason| {
        if !told.replace(true) && io::stderr().is_terminal() {
            output::note(&format!("waiting for the server: {reason}"));
        }
    }
}

fn no_connection(error: &DialError, address: &Address) -> Failure {
    let address = address.to_string();
    let last = error.reason();
    match error {
        DialError::TimedOut { .. } => Failure::pachctl(format!(
            "could not connect to pachd at {address:?}: context deadline exceeded"
        ))
        .hint(format!("the last attempt ended with: {last}; is {address} right and running?")),
        DialError::Untrusted { .. } => {
            Failure::pachctl(format!("could not connect to pachd at {address:?}: {last}")).hint(
                "muster config update context NAME --server-cas \
                 \"$(base64 -w0 ca.pem)\" trusts another certificate authority",
            )
        }
        DialError::Unusable { .. } => {
            Failure::pachctl(format!("could not connect to pachd at {address:?}: {last}"))
        }
    }
}

/// A limit for a single call that pachctl bounds by itself.
pub(crate) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    tokio::time::timeout(limit, call)
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("context deadline exceeded")))
}
