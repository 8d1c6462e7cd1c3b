//! `muster.v1.Membership`: how operators and new replicas change who is in the group.

use std::sync::Arc;
use std::time::Duration;

use muster_proto::muster::v1::membership_server;
use muster_proto::muster::v1::{
    AbandonRequest, ConfigureMembershipRequest, JoinRequest, JoinResponse, MembershipResponse,
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

/// Replicas that one record names.
const NAMED_MAX: usize = 8;

impl MembershipService {
    /// The replicas that a wish is about.
    fn about(&self, ids: &[String], force: bool) -> String {
        let mut named: Vec<String> =
            ids.iter().take(NAMED_MAX).map(|id| self.replica.called(id)).collect();
        if ids.len() > NAMED_MAX {
            named.push(format!("{} more", ids.len() - NAMED_MAX));
        }
        format!("replica {}{}", named.join(", "), if force { ", forced" } else { "" })
    }
}

/// The settings of the group that a wish changes.
fn settings(asked: &ConfigureMembershipRequest) -> String {
    let voters = asked.voters.map(|voters| format!("target voters {voters}"));
    let dead = asked.dead_after_seconds.map(|seconds| format!("dead after {seconds} s"));
    let changed: Vec<String> = voters.into_iter().chain(dead).collect();
    format!("group: {}", changed.join(", "))
}

#[tonic::async_trait]
impl membership_server::Membership for MembershipService {
    async fn mint_join_token(
        &self,
        request: Request<MintJoinTokenRequest>,
    ) -> Result<Response<MintJoinTokenResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        call.origin.set_act("join token".to_owned());
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
        call.origin.set_act(format!("replica {} at {}", asked.name, asked.peer_address));
        let (id, admission) = self.replica.admit(&asked.token, who, call.deadline).await?;
        call.origin.set_act(format!("replica {} ({id}) at {}", asked.name, asked.peer_address));
        let (epoch, groups_before) = self.replica.lineage();
        tracing::info!(name = asked.name, address = asked.peer_address, "a replica is let in");
        Ok(Response::new(JoinResponse { admission, epoch, groups_before }))
    }

    async fn promote(
        &self,
        request: Request<PromoteRequest>,
    ) -> Result<Response<MembershipResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        let asked = request.get_ref().clone();
        call.origin.set_act(self.about(&asked.ids, asked.force));
        self.operators.may_act(&call).await?;
        self.replica.promote(&asked.ids, asked.force, call.deadline).await?;
        Ok(Response::new(MembershipResponse {}))
    }

    async fn remove(
        &self,
        request: Request<RemoveRequest>,
    ) -> Result<Response<MembershipResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        let asked = request.get_ref().clone();
        call.origin.set_act(self.about(&asked.ids, asked.force));
        self.operators.may_act(&call).await?;
        self.replica.remove(&asked.ids, asked.force, call.deadline).await?;
        Ok(Response::new(MembershipResponse {}))
    }

    async fn replace(
        &self,
        request: Request<ReplaceRequest>,
    ) -> Result<Response<MembershipResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        let asked = request.get_ref().clone();
        call.origin.set_act(self.about(&[asked.old.clone(), asked.new.clone()], asked.force));
        self.operators.may_act(&call).await?;
        self.replica.replace((&asked.old, &asked.new), asked.force, call.deadline).await?;
        Ok(Response::new(MembershipResponse {}))
    }

    async fn abandon(
        &self,
        request: Request<AbandonRequest>,
    ) -> Result<Response<MembershipResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        let asked = request.into_inner();
        let forced = if asked.force { ", forced" } else { "" };
        call.origin.set_act(format!("change {}{forced}", asked.change));
        self.operators.may_act(&call).await?;
        self.replica.abandon(asked.change, asked.force, call.deadline).await?;
        Ok(Response::new(MembershipResponse {}))
    }

    async fn configure(
        &self,
        request: Request<ConfigureMembershipRequest>,
    ) -> Result<Response<MembershipResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        let asked = *request.get_ref();
        call.origin.set_act(settings(&asked));
        self.operators.may_act(&call).await?;
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
