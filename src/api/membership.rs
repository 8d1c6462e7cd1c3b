//! `muster.v1.Membership`: how operators and new replicas change who is in the group.

use std::sync::Arc;
use std::time::Duration;

use muster_proto::muster::v1::membership_server;
use muster_proto::muster::v1::{
    ConfigureMembershipRequest, JoinRequest, JoinResponse, MembershipResponse,
    MintJoinTokenRequest, MintJoinTokenResponse, PromoteRequest, RemoveRequest, ReplaceRequest,
};
use tonic::{Code, Request, Response, Status};

use super::caller::Desk;
use super::operator::Operators;
use crate::actors::{Replica, WishError, WishErrorKind};
use crate::clock;
use crate::entropy::{self, Entropy};

/// The service.
#[derive(Clone)]
pub(super) struct MembershipService {
    pub(super) replica: Replica,
    pub(super) operators: Operators,
    pub(super) desk: Desk,
    pub(super) entropy: Arc<dyn Entropy>,
}

#[tonic::async_trait]
impl membership_server::Membership for MembershipService {
    async fn mint_join_token(
        &self,
        request: Request<MintJoinTokenRequest>,
    ) -> Result<Response<MintJoinTokenResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        self.operators.may_act(&call).await?;
        let ttl = Duration::from_secs(request.into_inner().ttl_seconds);
        let token = entropy::join_token(self.entropy.as_ref());
        let expires = self.replica.mint_join_token(&token, ttl, call.deadline).await?;
        let expires = Some(clock::to_message(expires));
        Ok(Response::new(MintJoinTokenResponse { token, expires }))
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        let asked = request.into_inner();
        let who = (asked.name.as_str(), asked.peer_address.as_str(), asked.zone.as_str());
        let admission = self.replica.admit(&asked.token, who, call.deadline).await?;
        let (epoch, groups_before) = self.replica.lineage();
        tracing::info!(name = asked.name, address = asked.peer_address, "a replica is let in");
        Ok(Response::new(JoinResponse { admission, epoch, groups_before }))
    }

    async fn promote(
        &self,
        request: Request<PromoteRequest>,
    ) -> Result<Response<MembershipResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        self.operators.may_act(&call).await?;
        let asked = request.into_inner();
        self.replica.promote(&asked.ids, asked.force, call.deadline).await?;
        Ok(Response::new(MembershipResponse {}))
    }

    async fn remove(
        &self,
        request: Request<RemoveRequest>,
    ) -> Result<Response<MembershipResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        self.operators.may_act(&call).await?;
        let asked = request.into_inner();
        self.replica.remove(&asked.ids, asked.force, call.deadline).await?;
        Ok(Response::new(MembershipResponse {}))
    }

    async fn replace(
        &self,
        request: Request<ReplaceRequest>,
    ) -> Result<Response<MembershipResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        self.operators.may_act(&call).await?;
        let asked = request.into_inner();
        self.replica.replace((&asked.old, &asked.new), asked.force, call.deadline).await?;
        Ok(Response::new(MembershipResponse {}))
    }

    async fn configure(
        &self,
        request: Request<ConfigureMembershipRequest>,
    ) -> Result<Response<MembershipResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        self.operators.may_act(&call).await?;
        let asked = request.into_inner();
        if let Some(voters) = asked.voters {
            self.replica.set_target_voters(voters, call.deadline).await?;
        }
        if let Some(seconds) = asked.dead_after_seconds {
            let silence = Duration::from_secs(seconds);
            self.replica.set_dead_cleanup(silence, call.deadline).await?;
        }
        Ok(Response::new(MembershipResponse {}))
    }
}

impl From<WishError> for Status {
    fn from(error: WishError) -> Status {
        let code = match error.kind() {
            WishErrorKind::Malformed => Code::InvalidArgument,
            WishErrorKind::Unknown => Code::NotFound,
            WishErrorKind::Token => Code::PermissionDenied,
            WishErrorKind::Bound => Code::ResourceExhausted,
            WishErrorKind::Refused => Code::FailedPrecondition,
            WishErrorKind::NotDone | WishErrorKind::MayBeDone => Code::Unavailable,
            WishErrorKind::UnderWay => Code::DeadlineExceeded,
        };
        Status::new(code, error.to_string())
    }
}
