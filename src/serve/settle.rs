//! What a replica asks of its group after every start: a name for the server, and what Pachyderm's own
//! variables want. Each is an upsert, so that three replicas may ask at every start. Nothing here
//! ends the process: a server without its license is better than none.

use std::time::Duration;

use muster_proto::auth_v2::{OidcConfig, ResourceType};
use muster_proto::muster::log::v1::{Internal, ModifyRoleBinding, RejectionKind, Resource};
use tokio::time::Instant;

use crate::actors::{Auditor, Call, CallError, License, NewCluster, Reader, Replica, Session};
use crate::config::{AuthConfig, Config, Secret};
use crate::identity::{Configuration, sealed};
use crate::seal::DataKey;
use crate::state::State;
use crate::state::audit::Retention;
use crate::state::auth::{bindings, principal};
use crate::state::secret::token_digest;

/// How long the group may take over one wish.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two warnings that there is still no answer.
const REMINDER: Duration = Duration::from_secs(30);
/// What this server is called by itself, as upstream has it.
const OWN_ID: &str = "localhost";
/// The address that stands for this server itself.
const OWN_ADDRESS: &str = "grpc://localhost:1653";

/// What settling goes through.
pub(super) struct Parts {
    pub(super) license: License,
    pub(super) session: Session,
    pub(super) auditor: Auditor,
    pub(super) reader: Reader,
    pub(super) replica: Replica,
}

/// Settles everything, however long the group takes to answer.
pub(super) async fn settle(config: Config, parts: Parts) {
    let deployment_id = config.deployment_id.clone().unwrap_or_default();
    let configured = until_answered("the server's name", || {
        parts.license.configure(deployment_id.clone(), Instant::now() + PATIENCE)
    });
    if let Err(error) = configured.await {
        tracing::error!(%error, "the server's name was refused");
    }
    let retained = until_answered("the audit log's retention", || retain(&config, &parts));
    if let Err(error) = retained.await {
        tracing::error!(%error, "the audit log's retention was refused");
    }
    parts.replica.set_ready();
    tracing::info!("the group answers");
    if parts.reader.local().quarantine().is_on() {
        tracing::warn!(
            "the group was restored and is in quarantine: clusters that it does not know are told to \
             wait; look at muster restore status, then say muster restore confirm"
        );
    }
    if let Some(address) = &config.peer_address {
        let settled = parts.replica.settle_address(address, Instant::now() + PATIENCE).await;
        if let Err(error) = settled {
            tracing::warn!(%error, "the group still has this replica at its address of before");
        }
    }
    if !config.environment.without_effect.is_empty() {
        tracing::warn!(
            variables = config.environment.without_effect.join(", "),
            "set and without effect: Muster has no identity provider of its own; AUTH_CONFIG names the \
             company's"
        );
    }
    settle_license(&config, &parts.license, &deployment_id).await;
    if let Some(token) = &config.environment.root_token {
        tell("the root token", until_answered("the root token", || sign_root(&parts, token)).await);
    }
    if let Some(AuthConfig(wanted)) = &config.environment.auth_config {
        let settled = until_answered("where people sign in", || {
            configure(&parts, config.data_key.as_ref(), wanted)
        });
        tell("where people sign in", settled.await);
    }
    if let Some(roles) = &config.environment.cluster_roles {
        let settled = until_answered("the roles on the server", || bind_all(&parts, roles));
        tell("the roles on the server", settled.await);
    }
}

/// Has the group keep as much of the audit log as this replica was told, unless it does.
async fn retain(config: &Config, parts: &Parts) -> Result<(), CallError> {
    let deadline = Instant::now() + PATIENCE;
    let wanted = Retention { records: config.audit.records, seconds: config.audit.age.as_secs() };
    if parts.reader.current(deadline).await?.audit().retention() == wanted {
        return Ok(());
    }
    parts.auditor.configure(wanted, deadline).await
}

async fn settle_license(config: &Config, license: &License, deployment_id: &str) {
    let environment = &config.environment;
    let (Some(code), Some(secret)) = (&environment.license_key, &environment.enterprise_secret)
    else {
        return;
    };
    let bootstrapped = until_answered("the license of the environment", || {
        let cluster = NewCluster {
            id: OWN_ID.to_owned(),
            address: OWN_ADDRESS.to_owned(),
            user_address: OWN_ADDRESS.to_owned(),
            deployment_id: deployment_id.to_owned(),
            enterprise_server: true,
            secret: secret.reveal().to_owned(),
        };
        let version = config.compat_version.to_string();
        license.bootstrap(code.reveal().to_owned(), cluster, version, Instant::now() + PATIENCE)
    });
    match bootstrapped.await {
        Ok(()) => tracing::info!("the license of the environment is in place"),
        Err(error) => tracing::error!(%error, "bootstrap license service from the environment"),
    }
}

fn tell(what: &str, settled: Result<(), CallError>) {
    match settled {
        Ok(()) => tracing::info!("{what} of the environment: in place"),
        Err(error) => tracing::error!(%error, "bootstrap auth from the environment: {what}"),
    }
}

fn as_auth_server() -> Call {
    Call::internal(Internal::AuthServer, Instant::now() + PATIENCE)
}

/// Turns auth on with this root token; where it is on already, makes this the only one.
async fn sign_root(parts: &Parts, token: &Secret) -> Result<(), CallError> {
    let call = as_auth_server();
    let view = parts.reader.current(call.deadline).await?;
    if is_only_root_token(&view, token.reveal()) {
        return Ok(());
    }
    match parts.session.activate(call, token.reveal().to_owned()).await {
        Err(CallError::Rejected(no)) if no.kind() == RejectionKind::AuthAlreadyActivated => {
            let token = token.reveal().to_owned();
            parts.session.rotate_root(as_auth_server(), token).await.map(drop)
        }
        activated => activated.map(drop),
    }
}

fn is_only_root_token(view: &State, token: &str) -> bool {
    let mut tokens = view.auth().tokens().of_prefix(principal::ROOT);
    let (first, second) = (tokens.next(), tokens.next());
    first.is_some_and(|(digest, _)| *digest == token_digest(token)) && second.is_none()
}

/// Says where people sign in. The issuer is not asked: it may come up later, this server itself may be
/// it, and whoever signs in hears of it then.
async fn configure(
    parts: &Parts,
    key: Option<&DataKey>,
    wanted: &OidcConfig,
) -> Result<(), CallError> {
    let view = parts.reader.current(Instant::now() + PATIENCE).await?;
    // Sealed twice, a secret never looks the same: only what is opened can be compared.
    let known = view.auth().configuration().and_then(|it| Configuration::open(it, key).ok());
    if known.is_some_and(|Configuration(known)| known == *wanted) {
        return Ok(());
    }
    match sealed(wanted.clone(), key) {
        Ok(stored) => parts.session.configure(as_auth_server(), Some(stored)).await,
        Err(error) => {
            tracing::error!(%error, "bootstrap auth from the environment: where people sign in");
            Ok(())
        }
    }
}

/// Makes the roles on the server exactly these; root and the server's own parts keep theirs.
async fn bind_all(parts: &Parts, wanted: &[(String, Vec<String>)]) -> Result<(), CallError> {
    let view = parts.reader.current(Instant::now() + PATIENCE).await?;
    let mut outcome = Ok(());
    for (principal, roles) in changes(&view, wanted) {
        let resource = Resource { r#type: ResourceType::Cluster.into(), name: String::new() };
        let whom = principal.clone();
        let binding = ModifyRoleBinding { resource: Some(resource), principal, roles };
        match parts.session.bind(as_auth_server(), binding).await {
            Ok(()) => (),
            Err(error @ CallError::Rejected(_)) => {
                tracing::warn!(principal = whom, %error, "roles of the environment were not set");
                outcome = outcome.and(Err(error));
            }
            Err(circumstances) => return Err(circumstances),
        }
    }
    outcome
}

/// What has to be bound anew: first what comes or differs, then what goes, so that nobody is without
/// roles in between and one bad name keeps no other from its roles.
fn changes(view: &State, wanted: &[(String, Vec<String>)]) -> Vec<(String, Vec<String>)> {
    let is_fixed = |name: &str| name.starts_with("pach:") || name.starts_with("internal:");
    let bound =
        view.auth().bindings().get(&bindings::Resource::Cluster).cloned().unwrap_or_default();
    let unbound = bound
        .keys()
        .filter(|name| !is_fixed(name) && !wanted.iter().any(|(kept, _)| *kept == ***name))
        .map(|name| (name.to_string(), Vec::new()));
    let changed = wanted.iter().filter(|(name, roles)| {
        let mut asked: Vec<&str> = roles.iter().map(String::as_str).collect();
        asked.sort_unstable();
        asked.dedup();
        let held = bound.get(name.as_str()).map(|held| held.iter().map(|role| role.name));
        !held.is_some_and(|held| held.eq(asked))
    });
    changed.cloned().chain(unbound).collect()
}

/// Asks again until the rules, rather than the circumstances, have decided.
async fn until_answered<F: Future<Output = Result<(), CallError>>>(
    what: &str,
    ask: impl Fn() -> F,
) -> Result<(), CallError> {
    let mut warned: Option<Instant> = None;
    loop {
        match ask().await {
            Err(error @ (CallError::NotDone(_) | CallError::MayBeDone)) => {
                if warned.is_none_or(|at| at.elapsed() > REMINDER) {
                    tracing::warn!(%error, "{what} is not settled yet, asking again until it is");
                    warned = Some(Instant::now());
                }
            }
            decided => return decided,
        }
        tokio::time::sleep(PAUSE).await;
    }
}
