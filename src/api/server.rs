//! All services behind one listener.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::try_join_all;
use muster_proto::muster::v1::audit_server::AuditServer;
use muster_proto::muster::v1::fleet_server::FleetServer;
use muster_proto::muster::v1::membership_server::MembershipServer;
use muster_proto::muster::v1::replica_server::ReplicaServer;
use muster_proto::muster::v1::restore_server::RestoreServer;
use muster_proto::{admin_v2, auth_v2, enterprise_v2, identity_v2, license_v2, versionpb_v2};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::accept;
use super::admin::AdminService;
use super::audit::AuditService;
use super::auth::AuthService;
use super::body::Receive;
use super::caller::{Desk, Patience};
use super::connection::Counted;
use super::enterprise::EnterpriseService;
use super::entrance::Entrance;
use super::fleet::FleetService;
use super::identity::IdentityService;
use super::lanes::{Lane, Lanes};
use super::license::LicenseService;
use super::limits::{Guard, RateLimits};
use super::measure::Measure;
use super::membership::MembershipService;
use super::operator::Operators;
use super::replica::ReplicaService;
use super::restore::RestoreService;
use super::selfhood::Selfhood;
use super::tls::ApiTls;
use super::version::{CompatVersion, VersionService};
use crate::actors::{Auditor, Heartbeats, License, Reader, Replica, Session, Tie};
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::identity::SignIn;
use crate::seal::DataKey;

/// The largest message either way.
pub(super) const MESSAGE_BYTES_MAX: usize = 20 << 20;

/// Requests under way on one connection.
const STREAMS_MAX: u32 = 1024;

/// How much longer than a login who waits for it is heard: the end itself has to be told.
const LOGIN_GRACE: Duration = Duration::from_secs(5);

/// Between two looks at whether this replica serves.
const HEALTH_EVERY: Duration = Duration::from_millis(500);

/// What the edge works with.
#[derive(Clone)]
pub struct Api {
    /// License and registry commands.
    pub license: License,
    /// The server's own license server.
    pub tie: Tie,
    /// Tokens, roles and groups.
    pub session: Session,
    /// People who sign in.
    pub sign_in: SignIn,
    /// Heartbeats of members.
    pub heartbeats: Heartbeats,
    /// What the audit log is told of calls that did not reach the log.
    pub auditor: Auditor,
    /// The state.
    pub reader: Reader,
    /// This replica.
    pub replica: Replica,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Where join tokens come from.
    pub entropy: Arc<dyn Entropy>,
}

/// How the edge behaves.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// How many requests of each kind may be under way.
    pub lanes: Lanes,
    /// How often somebody may be wrong.
    pub limits: RateLimits,
    /// The longest that a request may take.
    pub request_timeout: Duration,
    /// The longest that a person may be at the provider, while the terminal waits.
    pub login_lifetime: Duration,
    /// After about this time clients are asked to connect anew, so that they spread again.
    pub connection_age: Duration,
    /// Certificate and key; none: plaintext.
    pub tls: Option<ApiTls>,
    /// Decides which connection lasts a little longer than which.
    pub entropy: Arc<dyn Entropy>,
    /// The version that clients are told.
    pub version: CompatVersion,
    /// What this server is called by clients.
    pub selfhood: Selfhood,
    /// The license comes with the environment.
    pub key_from_environment: bool,
    /// The root token comes with the environment.
    pub root_token_from_environment: bool,
    /// What secrets that come back in clear are sealed with.
    pub data_key: Option<DataKey>,
}

/// Serves the API on `listener` until `stop` ends, then until the requests under way are answered.
///
/// # Errors
/// When it cannot go on.
pub async fn serve(
    listener: TcpListener,
    api: Api,
    options: ApiOptions,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), tonic::transport::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let routes = routes(&api, &options).add_service(health);
    let guard = Guard { limits: options.limits.clone(), reader: api.reader.clone() };
    let receive = Receive::within(options.request_timeout);
    let measure = Measure::new();
    let entrance = Entrance {
        paths: Arc::new(measure.paths()),
        auditor: api.auditor,
        entropy: Arc::clone(&options.entropy),
        limits: options.limits.clone(),
    };
    let layers = Layers { measure, entrance, guard, receive };
    let told = tokio::spawn(tell_health(reporter, api.replica));
    let entropy = Arc::clone(&options.entropy);
    let served = match options.tls {
        None => {
            let (doors, servers) = accept::servers(options.connection_age);
            let accepting = tokio::spawn(accept::plain(listener, doors, entropy));
            run(accepting, servers, (&layers, &routes), stop).await
        }
        Some(tls) => {
            let (doors, servers) = accept::servers(options.connection_age);
            let accepting = tokio::spawn(accept::secured(listener, tls, doors, entropy));
            run(accepting, servers, (&layers, &routes), stop).await
        }
    };
    told.abort();
    served
}

/// What every request passes.
struct Layers {
    measure: Measure,
    entrance: Entrance,
    guard: Guard,
    /// One for all servers: what it holds has one bound.
    receive: Receive,
}

/// Serves what `accepting` brings in, until `stop` ends or nothing more can come.
async fn run<IO>(
    mut accepting: JoinHandle<()>,
    servers: Vec<(Duration, accept::Incoming<IO>)>,
    (layers, routes): (&Layers, &Routes),
    stop: impl Future<Output = ()> + Send,
) -> Result<(), tonic::transport::Error>
where
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let stop = stop.shared();
    let running = servers.into_iter().map(|(age, incoming)| {
        let counted = incoming.map(|connection| connection.map(Counted::new));
        server(age)
            .layer(layers.measure.clone())
            .layer(layers.entrance.clone())
            .layer(layers.guard.clone())
            .layer(layers.receive.clone())
            .add_routes(routes.clone())
            .serve_with_incoming_shutdown(counted, stop.clone())
    });
    let mut running = pin!(try_join_all(running));
    let ended = tokio::select! {
        ended = &mut running => ended.map(drop),
        // It ends with the servers, once they are told to stop; before, they would be left deaf.
        _ = &mut accepting => match stop.clone().now_or_never() {
            Some(()) => running.await.map(drop),
            None => Ok(()),
        },
    };
    accepting.abort();
    ended
}

/// A server whose connections last for about `age`.
fn server(age: Duration) -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .max_concurrent_streams(Some(STREAMS_MAX))
        // Without a time of grace: with one, tonic drops the connection after both, and the client is
        // never told to go.
        .max_connection_age(age)
}

fn routes(api: &Api, options: &ApiOptions) -> Routes {
    let patience = Patience(options.request_timeout);
    let desk = |lane: Lane| Desk { lane, patience, clock: Arc::clone(&api.clock) };
    let requests = desk(options.lanes.requests());
    let operators = desk(options.lanes.operators());
    let license = LicenseService {
        license: api.license.clone(),
        heartbeats: api.heartbeats.clone(),
        reader: api.reader.clone(),
        clock: Arc::clone(&api.clock),
        desk: requests.clone(),
        heartbeat_desk: desk(options.lanes.heartbeats()),
        limits: options.limits.clone(),
        key_from_environment: options.key_from_environment,
    };
    let auth = AuthService {
        session: api.session.clone(),
        sign_in: api.sign_in.clone(),
        reader: api.reader.clone(),
        clock: Arc::clone(&api.clock),
        desk: requests.clone(),
        login_desk: Desk {
            patience: Patience(options.login_lifetime + LOGIN_GRACE),
            ..desk(options.lanes.logins())
        },
        request_timeout: options.request_timeout,
        data_key: options.data_key.clone(),
        root_token_from_environment: options.root_token_from_environment,
    };
    let identity = IdentityService {
        reader: api.reader.clone(),
        clock: Arc::clone(&api.clock),
        desk: requests.clone(),
    };
    let enterprise = EnterpriseService {
        license: api.license.clone(),
        tie: api.tie.clone(),
        reader: api.reader.clone(),
        clock: Arc::clone(&api.clock),
        desk: requests,
        selfhood: Arc::new(options.selfhood.clone()),
        version: options.version.clone(),
    };
    let admin = AdminService {
        reader: api.reader.clone(),
        clock: Arc::clone(&api.clock),
        version: options.version.clone(),
    };
    let judge = Operators { reader: api.reader.clone(), clock: Arc::clone(&api.clock) };
    let replica = ReplicaService {
        replica: api.replica.clone(),
        operators: judge.clone(),
        desk: operators.clone(),
    };
    let membership = MembershipService {
        replica: api.replica.clone(),
        operators: judge,
        desk: operators.clone(),
        entropy: Arc::clone(&api.entropy),
    };
    let restore = RestoreService {
        license: api.license.clone(),
        reader: api.reader.clone(),
        desk: operators.clone(),
    };
    let audit = AuditService { reader: api.reader.clone(), desk: operators.clone() };
    let fleet = FleetService { reader: api.reader.clone(), desk: operators };
    /// Every service takes messages of the same size and the same compression.
    macro_rules! tuned {
        ($service:expr) => {
            $service
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX)
                .accept_compressed(CompressionEncoding::Gzip)
        };
    }
    let routes = Routes::new(tuned!(license_v2::api_server::ApiServer::new(license)))
        .add_service(tuned!(enterprise_v2::api_server::ApiServer::new(enterprise)))
        .add_service(tuned!(admin_v2::api_server::ApiServer::new(admin)))
        .add_service(tuned!(auth_v2::api_server::ApiServer::new(auth)))
        .add_service(tuned!(identity_v2::api_server::ApiServer::new(identity)))
        .add_service(tuned!(versionpb_v2::api_server::ApiServer::new(VersionService(
            options.version.clone()
        ))))
        .add_service(tuned!(ReplicaServer::new(replica)))
        .add_service(tuned!(MembershipServer::new(membership)))
        .add_service(tuned!(RestoreServer::new(restore)))
        .add_service(tuned!(AuditServer::new(audit)))
        .add_service(tuned!(FleetServer::new(fleet)));
    with_reflection(routes)
}

/// Lets tools list the services. Descriptors that cannot be read leave reflection out: nothing else
/// needs it.
fn with_reflection(routes: Routes) -> Routes {
    let describe = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(muster_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    match (describe().build_v1(), describe().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => routes.add_service(v1).add_service(v1alpha),
        _ => routes,
    }
}

/// Keeps the answer of the health service at what this replica says of itself.
async fn tell_health(reporter: HealthReporter, replica: Replica) -> ! {
    let mut every = tokio::time::interval(HEALTH_EVERY);
    loop {
        every.tick().await;
        let status = match replica.unready() {
            None => ServingStatus::Serving,
            Some(_) => ServingStatus::NotServing,
        };
        reporter.set_service_status("", status).await;
    }
}
