//! License and registry commands, and the watch over the license's end.
//!
//! in:  [`License`]'s methods, from `api::license`, `api::enterprise` and `serve`
//! out: [`Proposer::propose`]

use std::sync::Arc;
use std::time::Duration;

use actix::fut::ActorFutureExt as _;
use actix::{Actor, AsyncContext as _, Context, Handler, WrapFuture as _};
use muster_proto::muster::log::v1::{
    self as log, ActivateEnterprise, ActivateLicense, AddCluster, Beat, BootstrapEnterprise,
    ConfigureServer, ConfirmRestore, DeactivateEnterprise, DeleteCluster, HeartbeatEnterprise,
    Internal, LicenseState, Rejection, RejectionKind, RemoveLicenseAndClusters, UpdateCluster,
    command, reply,
};
use prost_types::Timestamp;
use tokio::time::Instant;

use super::ask::{self, Ask, UNDER_WAY_MAX};
use super::call::{Call, CallError, NotDone};
use super::code::Codes;
use super::proposer::{Answered, Proposer};
use super::reader::Reader;
use super::thread::{Alarm, Alarms};
use crate::activation::{TrustRoots, earlier_expiry};
use crate::clock::{self, Clock};
use crate::entropy::{self, Entropy};
use crate::state::license::is_in_grace;
use crate::state::secret::cluster_secret_digest;
use crate::state::{LogTime, State, limits, rejection};

/// Between two looks at the license's end.
const WATCH_EVERY: Duration = Duration::from_secs(15);

/// What the actor works with.
#[derive(Clone)]
pub struct LicenseOptions {
    /// Whose signatures on activation codes count.
    pub keys: Arc<TrustRoots>,
    /// How codes are stored.
    pub codes: Codes,
    /// The time of day, for the checks of codes.
    pub clock: Arc<dyn Clock>,
    /// Where secrets come from.
    pub entropy: Arc<dyn Entropy>,
}

/// The way to the actor. Cheap to clone.
#[derive(Clone)]
pub struct License {
    actor: actix::Addr<Registrar>,
    reader: Reader,
    options: LicenseOptions,
}

/// A cluster to be registered.
#[derive(Clone, Default)]
pub struct NewCluster {
    /// What the cluster is called in the fleet.
    pub id: String,
    /// Where this server reaches it.
    pub address: String,
    /// Where users reach it.
    pub user_address: String,
    /// What it calls itself.
    pub deployment_id: String,
    /// It is an enterprise server.
    pub enterprise_server: bool,
    /// Empty to have one drawn.
    pub secret: String,
}

impl std::fmt::Debug for NewCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let NewCluster { id, address, .. } = self;
        f.debug_struct("NewCluster")
            .field("id", id)
            .field("address", address)
            .finish_non_exhaustive()
    }
}

impl License {
    /// Starts the actor on the current actor thread.
    pub fn start(
        options: LicenseOptions,
        proposer: Proposer,
        reader: Reader,
        alarms: &Alarms,
    ) -> License {
        let registrar = Registrar {
            proposer,
            reader: reader.clone(),
            codes: options.codes.clone(),
            clock: Arc::clone(&options.clock),
            under_way: 0,
            seen: None,
            closed: false,
            _alarm: alarms.of("license"),
        };
        License { actor: registrar.start(), reader, options }
    }

    /// The code of a stored license.
    ///
    /// # Errors
    /// When it is sealed and this replica cannot open it.
    pub fn code_of(&self, license: &log::License) -> Result<String, CallError> {
        self.options.codes.open(license)
    }

    /// The form of a license that goes into the log.
    pub(super) fn sealed(&self, license: log::License) -> Result<log::License, CallError> {
        self.options.codes.sealed(license, &self.reader.local())
    }

    /// Checks an activation code and stores it as the license of the fleet. `ends` only shortens it.
    ///
    /// # Errors
    /// [`CallError::CodeInvalid`] with the reason, before anything is proposed.
    pub async fn activate(
        &self,
        call: Call,
        code: String,
        ends: Option<Timestamp>,
    ) -> Result<Option<Timestamp>, CallError> {
        let license = self.verify(code, ends, MayBeExpired::No).await?;
        let kind = command::Kind::ActivateLicense(ActivateLicense { license: Some(license) });
        match self.ask(call, kind).await?.reply {
            reply::Kind::LicenseActivated(activated) => Ok(activated.expires),
            _ => Err(CallError::Misunderstood),
        }
    }

    /// Forgets the license and every cluster.
    pub async fn delete_all(&self, call: Call) -> Result<(), CallError> {
        self.done(call, command::Kind::RemoveLicenseAndClusters(RemoveLicenseAndClusters {})).await
    }

    /// Registers a cluster and gives its secret, which is kept nowhere else.
    pub async fn add_cluster(&self, call: Call, cluster: NewCluster) -> Result<String, CallError> {
        check_secret(&cluster.secret)?;
        let (secret, command) = self.registration(cluster);
        self.done(call, command::Kind::AddCluster(command)).await?;
        Ok(secret)
    }

    /// Changes the fields of a registration that are not empty.
    pub async fn update_cluster(&self, call: Call, cluster: NewCluster) -> Result<(), CallError> {
        check_secret(&cluster.secret)?;
        let secret_digest = if cluster.secret.is_empty() {
            bytes::Bytes::new()
        } else {
            digest(&cluster.id, &cluster.secret)
        };
        let command = UpdateCluster {
            secret_digest,
            id: cluster.id,
            address: cluster.address,
            user_address: cluster.user_address,
            cluster_deployment_id: cluster.deployment_id,
        };
        self.done(call, command::Kind::UpdateCluster(command)).await
    }

    /// Removes a registration; an unknown one is no error.
    pub async fn delete_cluster(&self, call: Call, id: String) -> Result<(), CallError> {
        self.done(call, command::Kind::DeleteCluster(DeleteCluster { id })).await
    }

    /// Says that a restored state misses nothing: from now on pairs that it does not know are refused.
    pub async fn confirm_restore(&self, call: Call) -> Result<(), CallError> {
        self.done(call, command::Kind::ConfirmRestore(ConfirmRestore {})).await
    }

    /// Makes this server a member of its own fleet under a registration.
    pub async fn activate_enterprise(
        &self,
        call: Call,
        license_server: String,
        (id, secret): (String, String),
        version: String,
    ) -> Result<(), CallError> {
        let beat = Beat { secret_digest: digest(&id, &secret), id, version, ..Beat::default() };
        let command = ActivateEnterprise { license_server, beat: Some(beat) };
        self.done(call, command::Kind::ActivateEnterprise(command)).await
    }

    /// Sends this server's own heartbeat; its outcome is the state of the gate afterwards.
    pub async fn heartbeat_enterprise(
        &self,
        call: Call,
        version: String,
    ) -> Result<LicenseState, CallError> {
        let kind = command::Kind::HeartbeatEnterprise(HeartbeatEnterprise { version });
        self.enterprise_state(call, kind).await
    }

    /// Has a command done that answers with the state of the own gate.
    pub(super) async fn enterprise_state(
        &self,
        call: Call,
        kind: command::Kind,
    ) -> Result<LicenseState, CallError> {
        match self.ask(call, kind).await?.reply {
            reply::Kind::EnterpriseState(state) => Ok(state.state()),
            _ => Err(CallError::Misunderstood),
        }
    }

    /// Ends this server's membership of its own fleet.
    pub async fn deactivate_enterprise(&self, call: Call) -> Result<(), CallError> {
        self.done(call, command::Kind::DeactivateEnterprise(DeactivateEnterprise {})).await
    }

    /// Sets license, own registration and own membership in one step, as the environment asks for.
    /// An expired code is taken too.
    pub async fn bootstrap(
        &self,
        code: String,
        cluster: NewCluster,
        version: String,
        deadline: Instant,
    ) -> Result<(), CallError> {
        let license = self.verify(code, None, MayBeExpired::Yes).await?;
        let license_server = cluster.address.clone();
        let (_, cluster) = self.registration(cluster);
        let command = BootstrapEnterprise {
            license: Some(license),
            license_server,
            cluster: Some(cluster),
            version,
        };
        let call = Call::internal(Internal::LicenseServer, deadline);
        self.done(call, command::Kind::BootstrapEnterprise(command)).await
    }

    /// Settles what the server calls itself; the first id stays for ever.
    pub async fn configure(
        &self,
        deployment_id: String,
        deadline: Instant,
    ) -> Result<(), CallError> {
        let cluster_id = entropy::uuid(self.options.entropy.as_ref());
        let command = ConfigureServer { cluster_id, deployment_id };
        let call = Call::internal(Internal::EnterpriseService, deadline);
        self.ask(call, command::Kind::ConfigureServer(command)).await.map(drop)
    }

    /// The command that registers `cluster`, with the secret in clear beside it.
    fn registration(&self, cluster: NewCluster) -> (String, AddCluster) {
        let secret_generated = cluster.secret.is_empty();
        let secret = if secret_generated {
            entropy::url_secret(self.options.entropy.as_ref())
        } else {
            cluster.secret
        };
        let command = AddCluster {
            secret_digest: digest(&cluster.id, &secret),
            secret_generated,
            id: cluster.id,
            address: cluster.address,
            user_address: cluster.user_address,
            cluster_deployment_id: cluster.deployment_id,
            enterprise_server: cluster.enterprise_server,
        };
        (secret, command)
    }

    /// Has a command done that answers nothing.
    pub(super) async fn done(&self, call: Call, kind: command::Kind) -> Result<(), CallError> {
        match self.ask(call, kind).await?.reply {
            reply::Kind::Done(_) => Ok(()),
            _ => Err(CallError::Misunderstood),
        }
    }

    async fn ask(&self, call: Call, kind: command::Kind) -> Result<Answered, CallError> {
        ask::ask(&self.actor, call, kind).await
    }

    /// Checks a code on a thread that may take its time.
    async fn verify(
        &self,
        code: String,
        ends: Option<Timestamp>,
        expired: MayBeExpired,
    ) -> Result<log::License, CallError> {
        let keys = Arc::clone(&self.options.keys);
        let now = clock::to_message(self.options.clock.now());
        let checked = tokio::task::spawn_blocking(move || {
            let activation = match expired {
                MayBeExpired::No => keys.verify(&code, &now),
                MayBeExpired::Yes => keys.verify_even_if_expired(&code),
            };
            activation.map(|activation| (code, activation.claims))
        });
        let (activation_code, claims) = checked
            .await
            .map_err(|_| CallError::from(NotDone::Stopping))?
            .map_err(CallError::CodeInvalid)?;
        let expires = earlier_expiry(claims.expiry, ends);
        self.sealed(log::License {
            activation_code,
            expires: Some(expires),
            customer: claims.customer,
            max_clusters: claims.max_clusters,
            // Who ends a license early means that end, without the days that its issuer gave.
            grace_days: claims.grace_days.filter(|_| expires == claims.expiry),
            ..log::License::default()
        })
    }
}

/// Whether a code whose time is over is taken.
#[derive(Clone, Copy, Debug)]
enum MayBeExpired {
    No,
    Yes,
}

/// The one bound that the rules cannot hold, since only the secret's digest reaches them.
fn check_secret(secret: &str) -> Result<(), CallError> {
    if secret.len() <= limits::SECRET_BYTES_MAX {
        return Ok(());
    }
    Err(CallError::Rejected(Rejection {
        limit: u64::try_from(limits::SECRET_BYTES_MAX).unwrap_or(u64::MAX),
        ..rejection::about(RejectionKind::FieldTooLong, "secret")
    }))
}

fn digest(id: &str, secret: &str) -> bytes::Bytes {
    cluster_secret_digest(id, secret).to_vec().into()
}

struct Registrar {
    proposer: Proposer,
    reader: Reader,
    clock: Arc<dyn Clock>,
    under_way: usize,
    /// Where the last look found the license.
    seen: Option<Standing>,
    codes: Codes,
    /// Whether the last look found a code that stays closed.
    closed: bool,
    _alarm: Alarm,
}

impl Actor for Registrar {
    type Context = Context<Registrar>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(UNDER_WAY_MAX);
        context.run_interval(WATCH_EVERY, |this, _| this.watch());
    }
}

impl Handler<Ask> for Registrar {
    type Result = ();

    fn handle(&mut self, ask: Ask, context: &mut Self::Context) {
        if self.under_way >= UNDER_WAY_MAX {
            ask.refuse();
            return;
        }
        self.under_way += 1;
        let proposed = ask.propose(self.proposer.clone());
        context.spawn(proposed.into_actor(self).map(|(), this, _| this.under_way -= 1));
    }
}

impl Registrar {
    /// Tells in log and metrics where the license stands, loudly when that gets worse.
    fn watch(&mut self) {
        let view = self.reader.local();
        let now = LogTime(self.clock.now().0);
        let standing = Standing::of(&view, now);
        for one in Standing::ALL {
            let gauge = metrics::gauge!("muster_license_state", "state" => one.name());
            gauge.set(if one == standing { 1.0 } else { 0.0 });
        }
        self.watch_code(&view);
        if self.seen.replace(standing) == Some(standing) {
            return;
        }
        match standing {
            Standing::Expired => {
                tracing::error!("the license has expired: only administrators can sign in");
            }
            Standing::Grace => {
                tracing::warn!("the license has expired and is in its days of grace: renew it");
            }
            Standing::None => tracing::info!("there is no license yet"),
            Standing::Active => tracing::info!("the license is in force"),
        }
    }

    /// Tells loudly when this replica cannot answer with the license's code: it has another key than
    /// the replica that stored it, or none.
    fn watch_code(&mut self, view: &State) {
        let closed = self.codes.is_closed(view);
        metrics::gauge!("muster_license_code_closed").set(if closed { 1.0 } else { 0.0 });
        if closed && !self.closed {
            tracing::error!(
                "the license's activation code is sealed and stays closed here, so heartbeats are not \
                 answered: give this replica the --data-key-file of the others"
            );
        }
        self.closed = closed;
    }
}

/// Where the license of the fleet stands, as operators are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    None,
    Active,
    /// Past its expiry, and in force for its days of grace.
    Grace,
    Expired,
}

impl Standing {
    const ALL: [Standing; 4] =
        [Standing::None, Standing::Active, Standing::Grace, Standing::Expired];

    fn of(view: &State, now: LogTime) -> Standing {
        let Some(license) = view.licensing().record() else { return Standing::None };
        if is_in_grace(license, now) {
            return Standing::Grace;
        }
        match view.license_state(now) {
            LicenseState::Expired => Standing::Expired,
            LicenseState::None | LicenseState::Active | LicenseState::HeartbeatFailed => {
                Standing::Active
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Standing::None => "none",
            Standing::Active => "active",
            Standing::Grace => "grace",
            Standing::Expired => "expired",
        }
    }
}
