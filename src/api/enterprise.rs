//! `enterprise_v2.API`: the server as a member of its own fleet.

use std::sync::Arc;
use std::time::Duration;

use muster_proto::auth_v2::Permission;
use muster_proto::enterprise_v2::{
    ActivateRequest, ActivateResponse, DeactivateRequest, DeactivateResponse,
    GetActivationCodeRequest, GetActivationCodeResponse, GetStateRequest, GetStateResponse,
    HeartbeatRequest, HeartbeatResponse, PauseRequest, PauseResponse, PauseStatusRequest,
    PauseStatusResponse, TokenInfo, UnpauseRequest, UnpauseResponse, api_server::Api,
};
use muster_proto::muster::log::v1::LicenseState;
use tonic::{Request, Response, Status};

use super::caller::Desk;
use super::selfhood::Selfhood;
use super::staleness::told;
use super::version::CompatVersion;
use crate::activation::redact;
use crate::actors::{Call, CallError, Freshness, License, Reader, Seen, Tie};
use crate::clock::Clock;
use crate::state::LogTime;
use crate::state::access::Need;

/// The service.
#[derive(Clone)]
pub(super) struct EnterpriseService {
    pub(super) license: License,
    pub(super) tie: Tie,
    pub(super) reader: Reader,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) desk: Desk,
    pub(super) selfhood: Arc<Selfhood>,
    pub(super) version: CompatVersion,
}

/// Where the own license stands.
struct Standing {
    state: LicenseState,
    /// Present in every state but NONE: clients read it unasked.
    info: Option<TokenInfo>,
    /// The code of the own license.
    code: Result<String, CallError>,
    /// How old the state was that says so.
    age: Option<Duration>,
}

impl EnterpriseService {
    /// The state as fresh as the caller wants it, if the caller may see it.
    async fn view(&self, call: &Call, need: Need) -> Result<Seen, Status> {
        let seen = self.reader.read(call).await?;
        let now = LogTime(self.clock.now().0);
        let allowed = seen.state.require(Some(&call.caller), need, now);
        allowed.map_err(CallError::Rejected)?;
        Ok(seen)
    }

    async fn standing(&self, call: &Call, need: Need) -> Result<Standing, Status> {
        let Seen { state: view, age } = self.view(call, need).await?;
        let state = view.enterprise_state(LogTime(self.clock.now().0));
        let license = view.enterprise().license();
        let info = match state {
            LicenseState::None => None,
            LicenseState::HeartbeatFailed => Some(TokenInfo::default()),
            LicenseState::Active | LicenseState::Expired => {
                Some(TokenInfo { expires: license.and_then(|license| license.expires) })
            }
        };
        let code = license.map_or_else(|| Ok(String::new()), |it| self.license.code_of(it));
        Ok(Standing { state, info, code, age })
    }
}

#[tonic::async_trait]
impl Api for EnterpriseService {
    async fn activate(
        &self,
        request: Request<ActivateRequest>,
    ) -> Result<Response<ActivateResponse>, Status> {
        let (_place, mut call) = self.desk.open(&request)?;
        call.freshness = Freshness::Current;
        // Before anything is dialled on the caller's word.
        self.view(&call, Need::PermissionIfOn(Permission::ClusterEnterpriseActivate)).await?;
        let asked = request.into_inner();
        let own_id = self.reader.local().server().cluster_id.clone();
        let pair = (asked.id, asked.secret);
        let server = asked.license_server;
        if let Some(address) = self.selfhood.other(&server, &own_id, call.deadline).await? {
            self.tie.join(call, address, server, pair).await?;
        } else {
            let version = self.version.to_string();
            self.license.activate_enterprise(call, server, pair, version).await?;
        }
        Ok(Response::new(ActivateResponse {}))
    }

    async fn get_state(
        &self,
        request: Request<GetStateRequest>,
    ) -> Result<Response<GetStateResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        let standing = self.standing(&call, Need::Open).await?;
        let answer = GetStateResponse {
            state: standing.state.into(),
            info: standing.info,
            // Whoever asks for the state gets it, whether or not the code can be opened here.
            activation_code: redact(&standing.code.unwrap_or_default()).unwrap_or_default(),
        };
        Ok(told(answer, standing.age))
    }

    async fn get_activation_code(
        &self,
        request: Request<GetActivationCodeRequest>,
    ) -> Result<Response<GetActivationCodeResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        let need = Need::PermissionIfOn(Permission::ClusterEnterpriseGetCode);
        let standing = self.standing(&call, need).await?;
        let answer = GetActivationCodeResponse {
            state: standing.state.into(),
            info: standing.info,
            activation_code: standing.code?,
        };
        Ok(told(answer, standing.age))
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        let state = self.tie.beat(call).await?;
        if state == LicenseState::HeartbeatFailed {
            // The call itself succeeds: that is what clients are used to (D-25).
            tracing::error!("the server's own registration is gone or has another secret");
        }
        Ok(Response::new(HeartbeatResponse {}))
    }

    async fn deactivate(
        &self,
        request: Request<DeactivateRequest>,
    ) -> Result<Response<DeactivateResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        self.license.deactivate_enterprise(call).await?;
        Ok(Response::new(DeactivateResponse {}))
    }

    async fn pause(
        &self,
        request: Request<PauseRequest>,
    ) -> Result<Response<PauseResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        self.view(&call, Need::PermissionIfOn(Permission::ClusterEnterprisePause)).await?;
        Err(Status::failed_precondition("this pachd instance is not in a pausable mode"))
    }

    async fn unpause(
        &self,
        request: Request<UnpauseRequest>,
    ) -> Result<Response<UnpauseResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        self.view(&call, Need::PermissionIfOn(Permission::ClusterEnterprisePause)).await?;
        Err(Status::failed_precondition("this pachd instance is not in an unpausable mode"))
    }

    async fn pause_status(
        &self,
        request: Request<PauseStatusRequest>,
    ) -> Result<Response<PauseStatusResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        let seen = self.view(&call, Need::TokenIfOn).await?;
        Ok(told(PauseStatusResponse::default(), seen.age))
    }
}
