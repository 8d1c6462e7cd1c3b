//! What a replica asks of its group after every start: a name for the server, and what Pachyderm's own
//! variables want. Each is an upsert, so that three replicas may ask at every start. Nothing here
//! ends the process: a server without its license is better than none.

use std::time::Duration;

use tokio::time::Instant;

use crate::actors::{CallError, License, NewCluster, Replica};
use crate::config::Config;

/// How long the group may take over one wish.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// What this server is called by itself, as upstream has it.
const OWN_ID: &str = "localhost";
/// The address that stands for this server itself.
const OWN_ADDRESS: &str = "grpc://localhost:1653";

/// Settles everything, however long the group takes to answer.
pub(super) async fn settle(config: Config, license: License, replica: Replica) {
    let deployment_id = config.deployment_id.clone().unwrap_or_default();
    let configured = until_answered("the server's name", || {
        license.configure(deployment_id.clone(), Instant::now() + PATIENCE)
    });
    if let Err(error) = configured.await {
        tracing::error!(%error, "the server's name was refused");
    }
    replica.set_ready();
    tracing::info!("the group answers");
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
            deployment_id: deployment_id.clone(),
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

/// Asks again until the rules, rather than the circumstances, have decided.
async fn until_answered<F: Future<Output = Result<(), CallError>>>(
    what: &str,
    ask: impl Fn() -> F,
) -> Result<(), CallError> {
    loop {
        match ask().await {
            Err(error @ (CallError::NotDone(_) | CallError::MayBeDone)) => {
                tracing::warn!(%error, "{what} is not settled yet, asking again");
            }
            decided => return decided,
        }
        tokio::time::sleep(PAUSE).await;
    }
}
