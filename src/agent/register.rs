//! A member that registers itself, as a cluster does that was told so by its environment.

use std::path::PathBuf;
use std::time::Duration;

use muster_proto::license_v2::api_client::ApiClient;
use muster_proto::license_v2::{AddClusterRequest, UpdateClusterRequest};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Status};
use tracing::{info, warn};

use super::heartbeat::share;
use super::member::Member;
use super::record::Tie;
use crate::address::Address;
use crate::dial::{self, DIAL_LIMIT, Roots};
use crate::entropy::Entropy;

/// Where a member's token for the license server is.
#[derive(Clone)]
pub enum Token {
    /// Here.
    Text(String),
    /// In a file, which is read anew for each attempt: it may come late, or change.
    File(PathBuf),
}

impl Token {
    fn read(&self) -> Result<MetadataValue<Ascii>, Status> {
        let unusable = || Status::invalid_argument("the token for the license server is unusable");
        let text = match self {
            Token::Text(text) => text.clone(),
            Token::File(path) => std::fs::read_to_string(path).map_err(|error| {
                let path = path.display();
                Status::failed_precondition(format!("the token in {path} cannot be read: {error}"))
            })?,
        };
        text.trim().parse().map_err(|_| unusable())
    }
}

/// How a member registers itself.
#[derive(Clone)]
pub struct Registration {
    /// `[scheme://]host[:port]` of the license server.
    pub server: String,
    /// A token of the license server; none while its auth is off.
    pub token: Option<Token>,
    /// Id of the cluster in the fleet.
    pub id: String,
    /// What the cluster proves itself with; kept from the last start, or drawn, if not given.
    pub secret: Option<String>,
    /// Where the license server reaches the cluster.
    pub address: String,
    /// Where users reach it.
    pub user_address: String,
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration")
            .field("server", &self.server)
            .field("id", &self.id)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// What the license server says when the id is taken.
const TAKEN: &str = "cluster ID is not unique";

/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_mins(5);

/// Registers and ties the member; tries until it is done, since a cluster should run, if without a
/// license, while its license server does not.
pub(super) async fn keep_registering(
    member: &Member,
    registration: &Registration,
    secret: &str,
    deployment_id: &str,
    roots: &Roots,
    entropy: &dyn Entropy,
) {
    let mut pause = Duration::from_secs(1);
    loop {
        let attempt = async {
            register(registration, secret, deployment_id, roots).await?;
            let tie = Tie {
                license_server: registration.server.clone(),
                id: registration.id.clone(),
                secret: secret.to_owned(),
            };
            member.tie(tie).await
        };
        match attempt.await {
            Ok(()) => {
                info!(id = %registration.id, "registered");
                return;
            }
            Err(status) => {
                warn!(id = %registration.id, reason = status.message(), "cannot register yet");
            }
        }
        tokio::time::sleep(pause.mul_f64(0.5 + share(entropy) / 2.0)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Adds the cluster, or brings an earlier registration of it up to date.
async fn register(
    registration: &Registration,
    secret: &str,
    deployment_id: &str,
    roots: &Roots,
) -> Result<(), Status> {
    let address: Address = registration.server.parse().map_err(|error| {
        Status::invalid_argument(format!("could not parse the pachd address: {error}"))
    })?;
    let channel = dial::connect(&address, roots, DIAL_LIMIT, |_| {})
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let mut license = ApiClient::new(channel);
    let add = AddClusterRequest {
        id: registration.id.clone(),
        address: registration.address.clone(),
        secret: secret.to_owned(),
        user_address: registration.user_address.clone(),
        cluster_deployment_id: deployment_id.to_owned(),
        enterprise_server: false,
    };
    match license.add_cluster(with_token(add, registration)?).await {
        Ok(_) => Ok(()),
        Err(status) if status.message().contains(TAKEN) => {
            let update = UpdateClusterRequest {
                id: registration.id.clone(),
                address: registration.address.clone(),
                user_address: registration.user_address.clone(),
                cluster_deployment_id: deployment_id.to_owned(),
                secret: secret.to_owned(),
            };
            license.update_cluster(with_token(update, registration)?).await.map(drop)
        }
        Err(status) => Err(status),
    }
}

fn with_token<T>(message: T, registration: &Registration) -> Result<Request<T>, Status> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_mins(1));
    if let Some(token) = &registration.token {
        request.metadata_mut().insert("authn-token", token.read()?);
    }
    Ok(request)
}
