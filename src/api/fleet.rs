//! `muster.v1.Fleet`: the fleet as an operator sees it.

use muster_proto::auth_v2::Permission;
use muster_proto::muster::v1::fleet_server;
use muster_proto::muster::v1::{FleetCluster, ListRequest, ListResponse};
use tonic::{Request, Response, Status};

use super::caller::Desk;
use super::staleness::told;
use crate::actors::{CallError, Reader, Seen};
use crate::state::State;
use crate::state::access::Need;
use crate::state::fleet::Cluster;

/// Clusters on one page, when the client says nothing or too much.
const PAGE_MAX: usize = 5000;

/// The service.
#[derive(Clone)]
pub(super) struct FleetService {
    pub(super) reader: Reader,
    pub(super) desk: Desk,
}

#[tonic::async_trait]
impl fleet_server::Fleet for FleetService {
    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        let seen = self.reader.read(&call).await?;
        let Seen { state: view, age } = seen;
        let need = Need::PermissionIfOn(Permission::ClusterLicenseListClusters);
        let now = self.desk.now();
        view.require(Some(&call.caller), need, now).map_err(CallError::Rejected)?;
        Ok(told(page(&view, &request.into_inner()), age))
    }
}

fn page(view: &State, asked: &ListRequest) -> ListResponse {
    let size = match usize::try_from(asked.page_size) {
        Ok(0) | Err(_) => PAGE_MAX,
        Ok(size) => size.min(PAGE_MAX),
    };
    let mut matching = view.fleet().iter_after(&asked.page_token, &asked.id_prefix);
    let clusters: Vec<FleetCluster> =
        matching.by_ref().take(size).map(|(id, cluster)| listed(id, cluster)).collect();
    let next_page_token = match (matching.next(), clusters.last()) {
        (Some(_), Some(last)) => last.id.clone(),
        _ => String::new(),
    };
    ListResponse {
        clusters,
        next_page_token,
        total: u64::try_from(view.fleet().len()).unwrap_or(u64::MAX),
        index: view.index(),
        time: view.time().on_wire(),
    }
}

fn listed(id: &str, cluster: &Cluster) -> FleetCluster {
    FleetCluster {
        id: id.to_owned(),
        address: cluster.address.to_string(),
        user_address: cluster.user_address.to_string(),
        cluster_deployment_id: cluster.deployment_id.to_string(),
        enterprise_server: cluster.enterprise_server,
        version: cluster.version.to_string(),
        auth_enabled: cluster.auth_enabled,
        client_id: cluster.client_id.to_string(),
        created_at: cluster.created_at.on_wire(),
        last_heartbeat: cluster.last_heartbeat.on_wire(),
    }
}
