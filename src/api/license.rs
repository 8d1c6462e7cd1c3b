//! `license_v2.API`: the registry of clusters and the license that they share.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use metrics::{Counter, Histogram};
use muster_proto::auth_v2::Permission;
use muster_proto::enterprise_v2::{LicenseRecord, State as WireState, TokenInfo};
use muster_proto::license_v2::{
    ActivateRequest, ActivateResponse, AddClusterRequest, AddClusterResponse, ClusterStatus,
    DeleteAllRequest, DeleteAllResponse, DeleteClusterRequest, DeleteClusterResponse,
    GetActivationCodeRequest, GetActivationCodeResponse, HeartbeatRequest, HeartbeatResponse,
    ListClustersRequest, ListClustersResponse, ListUserClustersRequest, ListUserClustersResponse,
    UpdateClusterRequest, UpdateClusterResponse, UserClusterInfo, api_server::Api,
};
use muster_proto::muster::log::v1::{Beat, RejectionKind};
use prost::Message;
use tonic::{Request, Response, Status};

use super::caller::Desk;
use super::limits::{Origin, Outcome, RateLimits};
use super::server::MESSAGE_BYTES_MAX;
use super::staleness::told;
use super::times::check_time;
use crate::actors::{
    Beaten, Call, CallError, Freshness, Heartbeats, License, NewCluster, Reader, Seen,
};
use crate::clock::Clock;
use crate::state::LogTime;
use crate::state::access::Need;
use crate::state::fleet::Cluster;
use crate::state::license::end;
use crate::state::secret::cluster_secret_digest;

/// The service.
#[derive(Clone)]
pub(super) struct LicenseService {
    pub(super) license: License,
    pub(super) heartbeats: Heartbeats,
    pub(super) reader: Reader,
    pub(super) clock: Arc<dyn Clock>,
    /// For everything but heartbeats.
    pub(super) desk: Desk,
    /// For heartbeats.
    pub(super) heartbeat_desk: Desk,
    /// How often a heartbeat may be wrong.
    pub(super) limits: RateLimits,
    /// The license comes with the environment, so nobody else may set it.
    pub(super) key_from_environment: bool,
}

impl LicenseService {
    /// The state as fresh as the caller wants it, if the caller may see it.
    async fn view(&self, call: &Call, need: Need) -> Result<Seen, Status> {
        let seen = self.reader.read(call).await?;
        let now = LogTime(self.clock.now().0);
        let allowed = seen.state.require(Some(&call.caller), need, now);
        allowed.map_err(CallError::Rejected)?;
        Ok(seen)
    }
}

#[tonic::async_trait]
impl Api for LicenseService {
    async fn activate(
        &self,
        request: Request<ActivateRequest>,
    ) -> Result<Response<ActivateResponse>, Status> {
        let (_place, mut call) = self.desk.open(&request)?;
        call.freshness = Freshness::Current;
        // Before the code is looked at: strangers learn nothing about codes.
        self.view(&call, Need::PermissionIfOn(Permission::ClusterLicenseActivate)).await?;
        if self.key_from_environment {
            return Err(Status::failed_precondition(
                "license.Activate() is disabled when the license key is configured via environment",
            ));
        }
        let asked = request.into_inner();
        check_time("expires", asked.expires.as_ref())?;
        let expires = self.license.activate(call, asked.activation_code, asked.expires).await?;
        Ok(Response::new(ActivateResponse { info: Some(TokenInfo { expires }) }))
    }

    async fn get_activation_code(
        &self,
        request: Request<GetActivationCodeRequest>,
    ) -> Result<Response<GetActivationCodeResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        let need = Need::PermissionIfOn(Permission::ClusterLicenseGetCode);
        let Seen { state: view, age } = self.view(&call, need).await?;
        let license = view.licensing().record();
        let answer = GetActivationCodeResponse {
            state: view.license_state(LogTime(self.clock.now().0)).into(),
            info: license.map(|license| TokenInfo { expires: license.expires }),
            activation_code: match license {
                Some(license) => self.license.code_of(license)?,
                None => String::new(),
            },
        };
        Ok(told(answer, age))
    }

    async fn delete_all(
        &self,
        request: Request<DeleteAllRequest>,
    ) -> Result<Response<DeleteAllResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        self.license.delete_all(call).await?;
        Ok(Response::new(DeleteAllResponse {}))
    }

    async fn add_cluster(
        &self,
        request: Request<AddClusterRequest>,
    ) -> Result<Response<AddClusterResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        let asked = request.into_inner();
        let cluster = NewCluster {
            id: asked.id,
            address: asked.address,
            user_address: asked.user_address,
            deployment_id: asked.cluster_deployment_id,
            enterprise_server: asked.enterprise_server,
            secret: asked.secret,
        };
        let secret = self.license.add_cluster(call, cluster).await?;
        Ok(Response::new(AddClusterResponse { secret }))
    }

    async fn delete_cluster(
        &self,
        request: Request<DeleteClusterRequest>,
    ) -> Result<Response<DeleteClusterResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        let id = request.into_inner().id;
        self.license.delete_cluster(call, id).await?;
        Ok(Response::new(DeleteClusterResponse {}))
    }

    async fn list_clusters(
        &self,
        request: Request<ListClustersRequest>,
    ) -> Result<Response<ListClustersResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        let need = Need::PermissionIfOn(Permission::ClusterLicenseListClusters);
        let Seen { state: view, age } = self.view(&call, need).await?;
        let clusters = fitting(view.fleet().iter().map(|(id, cluster)| listed(id, cluster)))?;
        Ok(told(ListClustersResponse { clusters }, age))
    }

    async fn update_cluster(
        &self,
        request: Request<UpdateClusterRequest>,
    ) -> Result<Response<UpdateClusterResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        let asked = request.into_inner();
        let cluster = NewCluster {
            id: asked.id,
            address: asked.address,
            user_address: asked.user_address,
            deployment_id: asked.cluster_deployment_id,
            enterprise_server: false,
            secret: asked.secret,
        };
        self.license.update_cluster(call, cluster).await?;
        Ok(Response::new(UpdateClusterResponse {}))
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        let (_place, call) = self.heartbeat_desk.open(&request)?;
        let from = request.extensions().get::<Origin>().and_then(|origin| origin.0);
        let asked = request.into_inner();
        let attempt = self.limits.heartbeat(from, &asked.id)?;
        let beat = Beat {
            secret_digest: cluster_secret_digest(&asked.id, &asked.secret).to_vec().into(),
            id: asked.id,
            version: asked.version,
            auth_enabled: asked.auth_enabled,
            client_id: asked.client_id,
        };
        let began = Instant::now();
        let beaten = self.heartbeats.beat(beat, &call).await.and_then(|Beaten { license }| {
            let activation_code = self.license.code_of(&license)?;
            // The member goes by this alone, so it has the days of grace in it.
            Ok(LicenseRecord { activation_code, expires: end(&license) })
        });
        count(beaten.as_ref().err(), began);
        attempt.end(outcome(beaten.as_ref().err()));
        Ok(Response::new(HeartbeatResponse { license: Some(beaten?) }))
    }

    async fn list_user_clusters(
        &self,
        request: Request<ListUserClustersRequest>,
    ) -> Result<Response<ListUserClustersResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        let Seen { state: view, age } = self.view(&call, Need::TokenIfOn).await?;
        let clusters = view.fleet().iter().filter(|(_, cluster)| !cluster.enterprise_server);
        let clusters = fitting(clusters.map(|(id, cluster)| UserClusterInfo {
            id: id.to_owned(),
            cluster_deployment_id: cluster.deployment_id.to_string(),
            address: cluster.user_address.to_string(),
            enterprise_server: cluster.enterprise_server,
        }))?;
        Ok(told(ListUserClustersResponse { clusters }, age))
    }
}

/// All rows, if one message can carry them; stops at the first that is too much.
fn fitting<T: Message>(rows: impl Iterator<Item = T>) -> Result<Vec<T>, Status> {
    let mut fitting = Vec::new();
    let mut bytes = 0;
    for row in rows {
        let len = row.encoded_len();
        bytes += 1 + prost::length_delimiter_len(len) + len;
        if bytes > MESSAGE_BYTES_MAX {
            return Err(Status::resource_exhausted(
                "the fleet is too large for one message: list it page by page, as muster fleet does",
            ));
        }
        fitting.push(row);
    }
    Ok(fitting)
}

fn listed(id: &str, cluster: &Cluster) -> ClusterStatus {
    ClusterStatus {
        id: id.to_owned(),
        address: cluster.address.to_string(),
        version: cluster.version.to_string(),
        auth_enabled: cluster.auth_enabled,
        client_id: cluster.client_id.to_string(),
        last_heartbeat: cluster.last_heartbeat.on_wire(),
        created_at: cluster.created_at.on_wire(),
    }
}

/// What a heartbeat was as an attempt to guess a secret.
fn outcome(error: Option<&CallError>) -> Outcome {
    match error {
        None => Outcome::Right,
        Some(CallError::Rejected(no)) if no.kind() == RejectionKind::IdOrSecretInvalid => {
            Outcome::Wrong
        }
        Some(_) => Outcome::Undecided,
    }
}

/// Counts a heartbeat by what it came to.
fn count(error: Option<&CallError>, began: Instant) {
    let result = match error {
        None => "ok",
        Some(CallError::Rejected(no)) if no.kind() == RejectionKind::IdOrSecretInvalid => {
            "bad_secret"
        }
        Some(CallError::Rejected(no)) if no.kind() == RejectionKind::Quarantined => "quarantined",
        Some(CallError::NotDone(_) | CallError::MayBeDone | CallError::Stale(_)) => "unavailable",
        Some(
            CallError::Rejected(_)
            | CallError::CodeInvalid(_)
            | CallError::LicenseServer(_)
            | CallError::CodeClosed(_)
            | CallError::Sealed(_)
            | CallError::Misunderstood,
        ) => "error",
    };
    if error.is_none() {
        GOOD.get_or_init(|| figures(result)).record(began);
    } else {
        figures(result).record(began);
    }
}

/// Of the heartbeats that went well, which are nearly all: looked up once.
static GOOD: OnceLock<Figures> = OnceLock::new();

struct Figures {
    count: Counter,
    duration: Histogram,
}

impl Figures {
    fn record(&self, began: Instant) {
        self.count.increment(1);
        self.duration.record(began.elapsed().as_secs_f64());
    }
}

fn figures(result: &'static str) -> Figures {
    Figures {
        count: metrics::counter!("muster_heartbeats_total", "result" => result),
        duration: metrics::histogram!("muster_heartbeat_duration_seconds", "result" => result),
    }
}

/// The numbers of both enums are the same; this keeps them so.
const _: () = {
    use muster_proto::muster::log::v1::LicenseState as Log;
    assert!(WireState::None as i32 == Log::None as i32);
    assert!(WireState::Active as i32 == Log::Active as i32);
    assert!(WireState::Expired as i32 == Log::Expired as i32);
    assert!(WireState::HeartbeatFailed as i32 == Log::HeartbeatFailed as i32);
};
