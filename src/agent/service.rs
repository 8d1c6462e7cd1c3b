//! What a member answers: `enterprise_v2.API`, `admin_v2.API` and `versionpb_v2.API`, as a cluster
//! does whose auth is off.

use std::sync::Arc;

use muster_proto::admin_v2::{ClusterInfo, InspectClusterRequest, api_server as admin};
use muster_proto::enterprise_v2::{
    ActivateRequest, ActivateResponse, DeactivateRequest, DeactivateResponse,
    GetActivationCodeRequest, GetActivationCodeResponse, GetStateRequest, GetStateResponse,
    HeartbeatRequest, HeartbeatResponse, PauseRequest, PauseResponse, PauseStatusRequest,
    PauseStatusResponse, State, TokenInfo, UnpauseRequest, UnpauseResponse,
    api_server as enterprise,
};
use muster_proto::versionpb_v2::{Version, api_server as version};
use tonic::{Request, Response, Status, async_trait};

use super::member::{Beat, Member};
use super::record::Tie;
use crate::activation;

/// A member behind its services.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) member: Arc<Member>,
    pub(super) version: Version,
    pub(super) deployment_id: String,
}

impl Service {
    /// The state, its expiry, and the whole code.
    fn standing(&self) -> (State, Option<TokenInfo>, String) {
        let state = self.member.state();
        let license = self.member.record().license.clone();
        match state {
            State::None => (state, None, String::new()),
            // Clients look into the info of every other state.
            State::HeartbeatFailed => (state, Some(TokenInfo::default()), String::new()),
            State::Active | State::Expired => {
                let expires = license.as_ref().map(super::record::License::expires);
                let code = license.map(|license| license.activation_code).unwrap_or_default();
                (state, Some(TokenInfo { expires }), code)
            }
        }
    }
}

#[async_trait]
impl enterprise::Api for Service {
    async fn activate(
        &self,
        request: Request<ActivateRequest>,
    ) -> Result<Response<ActivateResponse>, Status> {
        let ActivateRequest { license_server, id, secret } = request.into_inner();
        self.member.tie(Tie { license_server, id, secret }).await?;
        Ok(Response::new(ActivateResponse {}))
    }

    async fn get_state(
        &self,
        _: Request<GetStateRequest>,
    ) -> Result<Response<GetStateResponse>, Status> {
        let (state, info, code) = self.standing();
        let activation_code = activation::redact(&code).unwrap_or_default();
        Ok(Response::new(GetStateResponse { state: state.into(), info, activation_code }))
    }

    async fn get_activation_code(
        &self,
        _: Request<GetActivationCodeRequest>,
    ) -> Result<Response<GetActivationCodeResponse>, Status> {
        let (state, info, activation_code) = self.standing();
        let answer = GetActivationCodeResponse { state: state.into(), info, activation_code };
        Ok(Response::new(answer))
    }

    async fn heartbeat(
        &self,
        _: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        match self.member.beat_now().await? {
            // A refusal shows in the state; the call itself has done what it should.
            Beat::Answered | Beat::Refused => Ok(Response::new(HeartbeatResponse {})),
            Beat::Untied => {
                Err(Status::unimplemented("cluster does not have enterprise features enabled"))
            }
            Beat::Failed(status) => Err(status),
        }
    }

    async fn deactivate(
        &self,
        _: Request<DeactivateRequest>,
    ) -> Result<Response<DeactivateResponse>, Status> {
        self.member.untie().await?;
        Ok(Response::new(DeactivateResponse {}))
    }

    async fn pause(&self, _: Request<PauseRequest>) -> Result<Response<PauseResponse>, Status> {
        Err(Status::failed_precondition("this pachd instance is not in a pausable mode"))
    }

    async fn unpause(
        &self,
        _: Request<UnpauseRequest>,
    ) -> Result<Response<UnpauseResponse>, Status> {
        Err(Status::failed_precondition("this pachd instance is not in an unpausable mode"))
    }

    async fn pause_status(
        &self,
        _: Request<PauseStatusRequest>,
    ) -> Result<Response<PauseStatusResponse>, Status> {
        Ok(Response::new(PauseStatusResponse::default()))
    }
}

#[async_trait]
impl admin::Api for Service {
    async fn inspect_cluster(
        &self,
        _: Request<InspectClusterRequest>,
    ) -> Result<Response<ClusterInfo>, Status> {
        Ok(Response::new(ClusterInfo {
            id: self.member.record().cluster_id.clone(),
            deployment_id: self.deployment_id.clone(),
            warnings_ok: true,
            ..ClusterInfo::default()
        }))
    }
}

#[async_trait]
impl version::Api for Service {
    async fn get_version(&self, _: Request<()>) -> Result<Response<Version>, Status> {
        Ok(Response::new(self.version.clone()))
    }
}
