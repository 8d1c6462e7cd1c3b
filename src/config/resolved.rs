//! What a configuration comes to: every value of it valid.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::auth_config::AuthConfig;
use super::secret::Secret;
use crate::address::Address;
use crate::api::{CompatVersion, Origins, RateRules};
use crate::seal::DataKey;
use crate::telemetry::LogOptions;

/// What a replica is told at start, all of it valid.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of this replica's data.
    pub data: PathBuf,
    /// What this replica is called.
    pub name: String,
    /// Where the API listens.
    pub grpc_listen: SocketAddr,
    /// Where identity providers send people back to.
    pub login_listen: SocketAddr,
    /// Whether nobody said where that is.
    pub login_listen_is_default: bool,
    /// Where probes and metrics listen.
    pub ops_listen: SocketAddr,
    /// Where other replicas connect.
    pub peer_listen: SocketAddr,
    /// The first replicas of the group, this one among them; empty: alone.
    pub initial_cluster: Vec<Seed>,
    /// Where other replicas reach this one, if that was said.
    pub peer_address: Option<String>,
    /// Where this replica stands; may be empty.
    pub zone: String,
    /// How an empty folder becomes that of a new replica of a group that has begun.
    pub join: Option<Join>,
    /// How long an observer has to keep up before it votes.
    pub promote_after: Duration,
    /// What the first replicas know each other by.
    pub bootstrap_token: Option<Secret>,
    /// What secrets that come back in clear are sealed with.
    pub data_key: Option<DataKey>,
    /// Certificates between replicas; none: plaintext.
    pub peer_tls: Option<PeerTls>,
    /// The certificate of the API; none: plaintext.
    pub api_tls: Option<ApiTls>,
    /// Certificates that vouch for identity providers, besides the machine's.
    pub issuer_ca: Option<PathBuf>,
    /// Where an issuer is asked that is this server itself.
    pub localhost_issuer: String,
    /// How long a person may be at the provider.
    pub login_lifetime: Duration,
    /// How long a person stays signed in.
    pub session_lifetime: Duration,
    /// Further addresses under which clients reach this server.
    pub own_addresses: Vec<String>,
    /// Files with keys that are trusted on activation codes.
    pub license_keys: Vec<PathBuf>,
    /// Whether Pachyderm's own key is trusted too.
    pub default_license_key: bool,
    /// The deployment id that clients see.
    pub deployment_id: Option<String>,
    /// The version that clients are told.
    pub compat_version: CompatVersion,
    /// The group's timers.
    pub timers: Timers,
    /// When snapshots are written.
    pub snapshots: Snapshots,
    /// How much of the audit log is kept, here and in the group.
    pub audit: Audit,
    /// The longest that a request may take.
    pub request_timeout: Duration,
    /// After about this time a client connection is closed in good order.
    pub connection_age: Duration,
    /// Between two looks for expired tokens.
    pub token_sweep: Duration,
    /// How often somebody may be wrong.
    pub rate_rules: RateRules,
    /// Whom to believe where a request comes from, and whom not to limit.
    pub origins: Origins,
    /// Between two heartbeats of the server to its own license server.
    pub own_heartbeat_interval: Duration,
    /// How long requests may finish after SIGTERM.
    pub drain_timeout: Duration,
    /// How events are written.
    pub log: LogOptions,
    /// What Pachyderm's own variables ask for.
    pub environment: PachydermEnvironment,
}

/// How a replica gets into a group that has begun.
#[derive(Clone, Debug)]
pub struct Join {
    /// The API of one that is in it.
    pub address: Address,
    /// Certificates to trust for it; none: the system's.
    pub ca: Option<PathBuf>,
    /// What lets this replica in.
    pub token: Secret,
}

/// One of the first replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// What it is called.
    pub name: String,
    /// `host:port` of its peer listener.
    pub address: String,
}

/// Files of the certificates between replicas, all PEM.
#[derive(Clone, Debug)]
pub struct PeerTls {
    /// Who vouches for other replicas.
    pub ca: PathBuf,
    /// This replica's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Files of the API's certificate, all PEM.
#[derive(Clone, Debug)]
pub struct ApiTls {
    /// The chain.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// The group's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// One beat.
    pub tick: Duration,
    /// Beats without a leader before an election.
    pub election_ticks: u32,
    /// Beats between signs of life of the leader.
    pub heartbeat_ticks: u32,
}

/// When snapshots are written: whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshots {
    /// After so many entries.
    pub entries: u64,
    /// After so many bytes of log.
    pub bytes: u64,
}

/// What becomes of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// At most so many records in the state.
    pub records: u64,
    /// None older than this in the state.
    pub age: Duration,
    /// Where it is written as lines too; none: nowhere.
    pub file: Option<PathBuf>,
    /// The size at which a new file is begun.
    pub file_bytes: u64,
    /// Full files that are kept.
    pub files: u32,
}

/// The bootstrap that Pachyderm's own variables ask for.
#[derive(Clone, Debug, Default)]
pub struct PachydermEnvironment {
    /// `LICENSE_KEY`: the activation code, set at every start.
    pub license_key: Option<Secret>,
    /// `ENTERPRISE_SECRET`: the secret of the server's own registration.
    pub enterprise_secret: Option<Secret>,
    /// `AUTH_ROOT_TOKEN`, where `ACTIVATE_AUTH` asks for auth: root's only token, set at every start.
    pub root_token: Option<Secret>,
    /// `AUTH_CLUSTER_RBAC`, likewise: all roles on the server by principal, set at every start.
    pub cluster_roles: Option<Vec<(String, Vec<String>)>>,
    /// `AUTH_CONFIG` with `AUTH_CLIENT_SECRET`, likewise: where people sign in, set at every start.
    pub auth_config: Option<AuthConfig>,
    /// The names of those that are set and change nothing, since Muster has no identity provider of its own.
    pub without_effect: Vec<&'static str>,
}
