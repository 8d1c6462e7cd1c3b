//! One replica, put together: configuration, data folder, group, actors, edges; and taken apart again.
//! The only room that sees all others.

mod begin;
mod certificates;
mod drain;
mod error;
mod join;
mod settle;
mod skew;

use std::sync::Arc;
use std::time::Duration;

use muster_cluster::group::{Group, GroupEnd};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::activation::TrustRoots;
use crate::actors::{
    ActorThread, Auditor, AuditorOptions, Codes, Heartbeats, License, LicenseOptions, Machine,
    Proposer, Reader, Replica, Session, SessionOptions, Tie, TieOptions,
};
use crate::api::{self, Api, ApiOptions, Lanes, RateLimits, Selfhood};
use crate::audit::Sink;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::entropy::{self, Entropy, SystemEntropy};
use crate::identity::oidc::RelyingParty;
use crate::identity::{SignIn, SignInOptions, SignInParts};
use crate::ops::{self, Ops};
use crate::{telemetry, web};

use certificates::Certificates;
pub use error::ServeError;

/// The longest that the audit file may take for its last lines.
const AUDIT_STOP_MAX: Duration = Duration::from_secs(2);

/// Runs one replica until the process is told to end. Once per process, on a runtime with several
/// threads.
///
/// # Errors
/// Why the replica could not start or go on, with the exit code that says so to a supervisor.
pub async fn run(config: Config) -> Result<(), ServeError> {
    telemetry::start_log(&config.log)?;
    let recorder = telemetry::start_metrics()?;
    tokio::spawn(telemetry::tend_metrics(recorder.clone()));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), name = config.name, "starting");

    let mut signals = Signals::listen()?;
    let ops = Ops::new(Arc::new(move || recorder.render()), Arc::new(SystemClock));
    tokio::select! {
        () = signals.next() => {
            tracing::info!("told to end before the group had begun");
            Ok(())
        }
        begun = begin(&config, ops) => serve(config, begun?, signals).await,
    }
}

/// What runs once the group has begun.
struct Begun {
    group: Group<Machine>,
    group_end: GroupEnd,
    replica: Replica,
    reader: Reader,
    ops: ops::Running,
    api_listener: TcpListener,
    login_listener: Option<TcpListener>,
    web_tls: Option<web::Tls>,
    party: Arc<RelyingParty>,
    keys: Arc<TrustRoots>,
    api_tls: Option<api::ApiTls>,
    certificates: Certificates,
    audit_sink: Option<Sink>,
}

/// Checks everything that can be wrong before anything is served, opens the data and begins or joins
/// the group.
async fn begin(config: &Config, ops: Ops) -> Result<Begun, ServeError> {
    let keys = Arc::new(begin::trust_roots(config)?);
    let api_tls = begin::api_tls(config)?;
    let web_tls = api_tls.as_ref().map(|tls| web::Tls::new(tls.certificate())).transpose();
    let web_tls = web_tls.map_err(ServeError::WebTls)?;
    let party = Arc::new(begin::relying_party(config)?);
    let peer_tls = begin::peer_tls(config)?;
    let api_listener = begin::listen("grpc-listen", config.grpc_listen).await?;
    let peer_listener = begin::listen("peer-listen", config.peer_listen).await?;
    let ops_listener = begin::listen("ops-listen", config.ops_listen).await?;
    let certificates = Certificates::of(config, api_tls.as_ref(), peer_tls.as_ref());
    let login_listener = begin::listen_for_logins(config).await?;
    let mut folder = begin::open_folder(config)?;
    let audit_sink = begin::audit_sink(config)?;
    let running = ops::serve(ops_listener.into_std()?, ops.clone())?;

    let started = begin::begin_group(config, &mut folder, &peer_listener, peer_tls.clone()).await?;
    let (group, group_end) =
        begin::start_group(config, folder, &started, peer_listener, peer_tls).await?;
    let reader = Reader::new(group.clone(), Arc::new(SystemClock));
    let replica = Replica::new(group.clone(), started.identity);
    replica.answer_peers(api::report);
    ops.joined(replica.clone(), reader.clone());
    Ok(Begun {
        group,
        group_end,
        replica,
        reader,
        ops: running,
        api_listener,
        login_listener,
        web_tls,
        party,
        keys,
        api_tls,
        certificates,
        audit_sink,
    })
}

/// Serves until somebody says stop or a part ends.
async fn serve(config: Config, begun: Begun, mut signals: Signals) -> Result<(), ServeError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let places = Places::of(&config, &begun);
    let sweep_every = config.token_sweep;
    let (mut actors, handles) = start_actors(places, sweep_every, &clock, &entropy).await?;
    let Handles { license, session, auditor, heartbeats } = handles;

    let sinking = begun
        .audit_sink
        .map(|sink| sink.start(begun.reader.clone(), Arc::clone(&clock)))
        .transpose()?;
    let of_people = SignInParts {
        session: session.clone(),
        reader: begun.reader.clone(),
        replica: begun.replica.clone(),
        party: begun.party,
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&entropy),
    };
    let sign_in = sign_in(&config, of_people);
    let options = api_options(&config, begun.api_tls);
    let limits = options.limits.clone();
    let pages = match begun.login_listener {
        Some(listener) => {
            Some(web::serve(listener.into_std()?, begun.web_tls, sign_in.clone(), limits)?)
        }
        None => None,
    };

    let stop = CancellationToken::new();
    let of_tie = TieOptions {
        version: config.compat_version.to_string(),
        interval: config.own_heartbeat_interval,
        data_key: config.data_key.clone(),
        clock: Arc::clone(&clock),
    };
    let tie = Tie::new(license.clone(), begun.reader.clone(), begun.replica.clone(), of_tie);
    let beating = tokio::spawn(tie.clone().keep_beating());
    let edge = Api {
        license: license.clone(),
        tie,
        session: session.clone(),
        sign_in,
        heartbeats,
        auditor: auditor.clone(),
        reader: begun.reader.clone(),
        replica: begun.replica.clone(),
        clock,
        entropy,
    };
    let watching = tokio::spawn(skew::watch(begun.reader.clone(), Arc::clone(&edge.clock)));
    tracing::info!(grpc = %config.grpc_listen, ops = %config.ops_listen, "serving");
    let edge = api::serve(begun.api_listener, edge, options, stop.clone().cancelled_owned());
    let mut edge = tokio::spawn(edge);
    let mut renewing = tokio::spawn(begun.certificates.keep());
    let freshening = tokio::spawn(begun.reader.clone().keep_fresh());
    let parts = settle::Parts {
        license,
        session,
        auditor: auditor.clone(),
        reader: begun.reader,
        replica: begun.replica.clone(),
    };
    let settling = tokio::spawn(settle::settle(config.clone(), parts));

    let mut group_end = begun.group_end;
    let ended = tokio::select! {
        () = signals.next() => Ok(()),
        end = &mut group_end => Err(ServeError::Group { exit_code: end.exit_code, reason: end.reason }),
        _ = &mut renewing => Err(ServeError::PartEnded("the watch over the certificates")),
        name = actors.ended() => Err(ServeError::PartEnded(name)),
        served = &mut edge => Err(match served {
            Ok(Err(error)) => ServeError::Api(error),
            Ok(Ok(())) | Err(_) => ServeError::PartEnded("the API"),
        }),
    };
    settling.abort();
    watching.abort();
    freshening.abort();
    renewing.abort();
    beating.abort();
    if ended.is_ok() {
        let parts =
            drain::Parts { replica: begun.replica, group: begun.group, auditor, edge, stop };
        drain::drain(parts, config.drain_timeout, &mut signals).await;
    }
    if let Some(pages) = pages {
        pages.stop().await;
    }
    if let Some(sinking) = sinking {
        // Its disk may hang; the group is down already, and the file goes on at the next start.
        let stopped = tokio::task::spawn_blocking(move || sinking.stop());
        drop(tokio::time::timeout(AUDIT_STOP_MAX, stopped).await);
    }
    begun.ops.stop().await;
    drop(actors);
    ended
}

/// What people sign in through.
fn sign_in(config: &Config, parts: SignInParts) -> SignIn {
    let options = SignInOptions {
        data_key: config.data_key.clone(),
        login_lifetime: config.login_lifetime,
        session_lifetime: config.session_lifetime,
    };
    SignIn::new(parts, options)
}

/// What the actors need of a replica that has begun.
struct Places {
    keys: Arc<TrustRoots>,
    codes: Codes,
    group: Group<Machine>,
    reader: Reader,
    replica: Replica,
}

impl Places {
    fn of(config: &Config, begun: &Begun) -> Places {
        Places {
            keys: Arc::clone(&begun.keys),
            codes: Codes::new(config.data_key.clone()),
            group: begun.group.clone(),
            reader: begun.reader.clone(),
            replica: begun.replica.clone(),
        }
    }
}

/// The ways to the actors.
struct Handles {
    license: License,
    session: Session,
    auditor: Auditor,
    heartbeats: Heartbeats,
}

async fn start_actors(
    places: Places,
    sweep_every: Duration,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<(ActorThread, Handles), ServeError> {
    let Places { keys, codes, group, reader, replica } = places;
    let proposer = Proposer::new(group);
    let (clock, entropy) = (Arc::clone(clock), Arc::clone(entropy));
    let of_session =
        SessionOptions { entropy: Arc::clone(&entropy), clock: Arc::clone(&clock), sweep_every };
    let of_auditor = AuditorOptions { entropy: Arc::clone(&entropy), clock: Arc::clone(&clock) };
    let of_license = LicenseOptions { keys, codes, clock, entropy };
    let started = ActorThread::start(move |alarms| {
        let license = License::start(of_license, proposer.clone(), reader.clone(), alarms);
        let auditor =
            Auditor::start(of_auditor, proposer.clone(), reader.clone(), replica.clone(), alarms);
        let session = Session::start(of_session, proposer.clone(), reader, replica, alarms);
        Handles { license, session, auditor, heartbeats: Heartbeats::start(proposer, alarms) }
    });
    Ok(started.await?)
}

fn api_options(config: &Config, tls: Option<api::ApiTls>) -> ApiOptions {
    ApiOptions {
        lanes: Lanes::default(),
        limits: RateLimits::new(
            &config.rate_rules,
            config.origins.clone(),
            (entropy::seed(&SystemEntropy), entropy::seed(&SystemEntropy)),
        ),
        request_timeout: config.request_timeout,
        connection_age: config.connection_age,
        entropy: Arc::new(SystemEntropy),
        login_lifetime: config.login_lifetime,
        tls,
        version: config.compat_version.clone(),
        selfhood: Selfhood::new(config.grpc_listen.port(), &config.own_addresses),
        key_from_environment: config.environment.license_key.is_some(),
        root_token_from_environment: config.environment.root_token.is_some(),
        data_key: config.data_key.clone(),
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    /// Held so that SIGHUP ends nobody from the first moment on; what it is for begins later
    /// ([`Certificates`]).
    _hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next of either.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => (),
            _ = self.interrupt.recv() => (),
        }
    }
}
