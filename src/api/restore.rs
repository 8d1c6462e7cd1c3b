//! `muster.v1.Restore`: what operators ask of a group that was restored.

use muster_proto::auth_v2::Permission;
use muster_proto::muster::log::v1::RestoreCause;
use muster_proto::muster::v1::restore_server;
use muster_proto::muster::v1::{
    ConfirmRestoreRequest, ConfirmRestoreResponse, RestoreOrigin, RestoreStatus,
    RestoreStatusRequest, StrayCluster,
};
use tonic::{Request, Response, Status};

use super::caller::Desk;
use crate::actors::{CallError, License, Reader};
use crate::state::access::Need;
use crate::state::{LogTime, State};

/// The service.
#[derive(Clone)]
pub(super) struct RestoreService {
    pub(super) license: License,
    pub(super) reader: Reader,
    pub(super) desk: Desk,
}

#[tonic::async_trait]
impl restore_server::Restore for RestoreService {
    async fn status(
        &self,
        request: Request<RestoreStatusRequest>,
    ) -> Result<Response<RestoreStatus>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        let view = self.reader.current(call.deadline).await?;
        let need = Need::PermissionIfOn(Permission::ClusterLicenseListClusters);
        let now = self.desk.now();
        view.require(Some(&call.caller), need, now).map_err(CallError::Rejected)?;
        Ok(Response::new(standing(&view)))
    }

    async fn confirm(
        &self,
        request: Request<ConfirmRestoreRequest>,
    ) -> Result<Response<ConfirmRestoreResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        self.license.confirm_restore(call).await?;
        tracing::info!("the restored state is confirmed: whom it does not know is refused");
        Ok(Response::new(ConfirmRestoreResponse {}))
    }
}

fn standing(view: &State) -> RestoreStatus {
    let quarantine = view.quarantine();
    let origin = match quarantine.cause() {
        None | Some(RestoreCause::Unspecified) => RestoreOrigin::Unspecified,
        Some(RestoreCause::Snapshot) => RestoreOrigin::Snapshot,
        Some(RestoreCause::Survivor) => RestoreOrigin::Survivor,
    };
    let strays = quarantine.strays().map(|(id, stray)| StrayCluster {
        id: id.to_owned(),
        beats: stray.beats,
        last_beat: stray.last.on_wire(),
        registered: view.fleet().get(id).is_some(),
    });
    RestoreStatus {
        quarantined: quarantine.is_on(),
        origin: origin.into(),
        since: quarantine.since().and_then(LogTime::on_wire),
        strays: strays.collect(),
        untold_beats: quarantine.untold(),
    }
}
