//! The steps from a configuration to a group, each of which may say no.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use muster_cluster::bootstrap::{self, BootstrapOptions, Plan, Started, TokenDigest};
use muster_cluster::core::SnapshotPolicy;
use muster_cluster::folder::DataFolder;
use muster_cluster::group::{ChangeTimers, Group, GroupEnd, GroupOptions, Timers};
use muster_cluster::net::PeerTls;
use tokio::net::TcpListener;

use super::{ServeError, join};
use crate::activation::{TrustRoot, TrustRoots};
use crate::actors::Machine;
use crate::api::ApiTls;
use crate::audit::{Sink, SinkOptions};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::entropy::{self, SystemEntropy};
use crate::identity::oidc::{IssuerTrust, RelyingParty};

/// The keys that are trusted on activation codes.
pub(super) fn trust_roots(config: &Config) -> Result<TrustRoots, ServeError> {
    let mut roots = Vec::new();
    for path in &config.license_keys {
        let pem = read("license-public-key", path)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let pem = String::from_utf8_lossy(&pem);
        let root = TrustRoot::from_pem(&name, &pem)
            .map_err(|source| ServeError::Key { path: path.clone(), source })?;
        roots.push(root);
    }
    if config.default_license_key {
        roots.push(TrustRoot::pachyderm().map_err(ServeError::BuiltInKey)?);
    }
    if roots.is_empty() {
        tracing::warn!("no license key is trusted: no activation code will be accepted");
    }
    Ok(TrustRoots::new(roots))
}

/// The certificate of the API.
pub(super) fn api_tls(config: &Config) -> Result<Option<ApiTls>, ServeError> {
    let Some(files) = &config.api_tls else { return Ok(None) };
    let cert = read("tls-cert", &files.cert)?;
    let key = read("tls-key", &files.key)?;
    let tls = ApiTls::new(&cert, &key).map_err(|source| ServeError::ApiTls {
        cert: files.cert.clone(),
        key: files.key.clone(),
        source,
    })?;
    Ok(Some(tls))
}

/// The certificates between replicas.
pub(super) fn peer_tls(config: &Config) -> Result<Option<PeerTls>, ServeError> {
    let Some(files) = &config.peer_tls else { return Ok(None) };
    Ok(Some(PeerTls::from_pem_files(&files.ca, &files.cert, &files.key)?))
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, ServeError> {
    fs::read(path).map_err(|source| ServeError::File { setting, path: path.to_owned(), source })
}

/// Binds one of the listeners.
pub(super) async fn listen(
    setting: &'static str,
    address: SocketAddr,
) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen {
        setting,
        address,
        source,
    })
}

/// Opens the file that follows the audit log, if there is to be one.
pub(super) fn audit_sink(config: &Config) -> Result<Option<Sink>, ServeError> {
    let Some(path) = config.audit.file.clone() else { return Ok(None) };
    let options = SinkOptions {
        path: path.clone(),
        bytes_max: config.audit.file_bytes,
        files_max: config.audit.files,
    };
    Sink::open(options).map(Some).map_err(|source| ServeError::Audit { path, source })
}

/// Binds the listener that people come back to. If nobody said where that is, a port that is taken is
/// no reason to stay away: another replica of this machine serves it for all, and clusters need
/// their license more than people a page.
pub(super) async fn listen_for_logins(config: &Config) -> Result<Option<TcpListener>, ServeError> {
    match listen("login-listen", config.login_listen).await {
        Ok(listener) => Ok(Some(listener)),
        Err(ServeError::Listen { address, source, .. }) if config.login_listen_is_default => {
            tracing::warn!(%address, error = %source, "people who sign in are not served here: \
                 another process listens; say where with --login-listen");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// This server as identity providers see it.
pub(super) fn relying_party(config: &Config) -> Result<RelyingParty, ServeError> {
    let pem = config.issuer_ca.as_deref().map(|path| read("issuer-ca", path)).transpose()?;
    let clock = Arc::new(SystemClock);
    RelyingParty::new(&IssuerTrust { pem }, &config.localhost_issuer, clock)
        .map_err(ServeError::RelyingParty)
}

/// Opens the data folder, which nobody else may have open.
pub(super) fn open_folder(config: &Config) -> Result<DataFolder, ServeError> {
    fs::create_dir_all(&config.data)
        .map_err(|source| ServeError::Data { path: config.data.clone(), source })?;
    Ok(DataFolder::open(&config.data)?)
}

/// Waits until the group has begun: at once for one replica alone or a folder that says so.
pub(super) async fn begin_group(
    config: &Config,
    folder: &mut DataFolder,
    listener: &TcpListener,
    tls: Option<PeerTls>,
) -> Result<Started, ServeError> {
    if let Some(started) = bootstrap::joined(folder) {
        let identity = &started.identity;
        folder.check(identity.group, identity.replica, &config.name)?;
        return Ok(at_own_address(started, config));
    }
    if let Some(wanted) = config.join.as_ref().filter(|_| folder.identity().is_none()) {
        return join::join(config, wanted, folder).await;
    }
    warn_of_an_address_of_nobody(config);
    let list: Vec<(String, String)> = if config.initial_cluster.is_empty() {
        vec![(config.name.clone(), own_address(config))]
    } else {
        let pair = |seed: &crate::config::Seed| (seed.name.clone(), seed.address.clone());
        config.initial_cluster.iter().map(pair).collect()
    };
    let token = config.bootstrap_token.as_ref().map_or("", crate::config::Secret::reveal);
    let plan = Plan::new(&config.name, &list, TokenDigest::of(token))?;
    let options = BootstrapOptions { folder, plan, listener, tls, now: SystemClock.now() };
    Ok(bootstrap::run(options).await?)
}

/// A group of one needs no address for its peers, until it grows.
fn warn_of_an_address_of_nobody(config: &Config) {
    let listens_anywhere = config.peer_listen.ip().is_unspecified();
    if config.initial_cluster.is_empty() && config.peer_address.is_none() && listens_anywhere {
        tracing::warn!(
            peer_listen = %config.peer_listen,
            "no other replica can reach this one at that address: give --peer-address before this group grows"
        );
    }
}

/// Where the others reach this replica.
pub(super) fn own_address(config: &Config) -> String {
    config.peer_address.clone().unwrap_or_else(|| config.peer_listen.to_string())
}

/// A replica that founded its group alone may have moved since, and nobody else would know.
fn at_own_address(mut started: Started, config: &Config) -> Started {
    let me = started.identity.replica;
    let own = started.founders.iter_mut().chain(&mut started.members);
    for member in own.filter(|member| member.id == me) {
        member.address = own_address(config);
    }
    started
}

/// Starts this replica's part in the group.
pub(super) async fn start_group(
    config: &Config,
    folder: DataFolder,
    started: &Started,
    listener: TcpListener,
    tls: Option<PeerTls>,
) -> Result<(Group<Machine>, GroupEnd), ServeError> {
    let options = GroupOptions {
        data: folder,
        founders: started.founders.clone(),
        members: started.members.clone(),
        listener,
        tls,
        timers: Timers {
            tick: config.timers.tick,
            election_ticks: config.timers.election_ticks,
            heartbeat_ticks: config.timers.heartbeat_ticks,
        },
        snapshot: snapshot_policy(config),
        changes: ChangeTimers { gate: config.promote_after, ..ChangeTimers::default() },
        seed: entropy::seed(&SystemEntropy),
        clock: Arc::new(|| SystemClock.now()),
    };
    Ok(Group::start(options).await?)
}

/// As configured; what stays behind a snapshot is never more than what makes one.
fn snapshot_policy(config: &Config) -> SnapshotPolicy {
    let usual = SnapshotPolicy::default();
    SnapshotPolicy {
        every_entries: config.snapshots.entries,
        every_bytes: config.snapshots.bytes,
        keep_entries: usual.keep_entries.min(config.snapshots.entries),
        keep_bytes: usual.keep_bytes.min(config.snapshots.bytes),
    }
}
