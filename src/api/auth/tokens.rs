//! Tokens: root's, robots', revoked, moved from one server to another.

use muster_proto::auth_v2::{
    ActivateRequest, ActivateResponse, DeactivateRequest, DeactivateResponse,
    DeleteExpiredAuthTokensRequest, DeleteExpiredAuthTokensResponse, ExtractAuthTokensRequest,
    ExtractAuthTokensResponse, GetRobotTokenRequest, GetRobotTokenResponse, Permission,
    RestoreAuthTokenRequest, RestoreAuthTokenResponse, RevokeAuthTokenRequest,
    RevokeAuthTokenResponse, RevokeAuthTokensForUserRequest, RevokeAuthTokensForUserResponse,
    RotateRootTokenRequest, RotateRootTokenResponse, TokenInfo,
};
use muster_proto::muster::log::v1::{RejectionKind, RestoreToken};
use prost_types::Timestamp;
use tonic::{Request, Response, Status};

use super::super::times::{check_time, check_ttl};
use super::{AuthService, pages, required};
use crate::actors::{Call, CallError};
use crate::state::access::Need;
use crate::state::limits;

/// A given token with fewer bytes may be guessed.
const SAFE_BYTES: usize = 22;

impl AuthService {
    pub(super) async fn turn_on(
        &self,
        call: Call,
        request: Request<ActivateRequest>,
    ) -> Result<ActivateResponse, Status> {
        let given = request.into_inner().root_token;
        check_given(&given)?;
        let pach_token = self.session.activate(call, given).await?;
        tracing::info!("auth is on");
        Ok(ActivateResponse { pach_token })
    }

    pub(super) async fn turn_off(
        &self,
        call: Call,
        _request: Request<DeactivateRequest>,
    ) -> Result<DeactivateResponse, Status> {
        self.session.deactivate(call).await?;
        tracing::info!("auth is off");
        Ok(DeactivateResponse {})
    }

    pub(super) async fn rotate_root(
        &self,
        call: Call,
        request: Request<RotateRootTokenRequest>,
    ) -> Result<RotateRootTokenResponse, Status> {
        let need = Need::Permission(Permission::ClusterAuthRotateRootToken);
        let given = request.into_inner().root_token;
        if self.root_token_from_environment {
            let wrong = Status::failed_precondition(
                "RotateRootToken() is disabled when the root token is configured in the environment",
            );
            return self.refuse(&call, need, wrong).await;
        }
        if let Err(wrong) = check_given(&given) {
            return self.refuse(&call, need, wrong).await;
        }
        let root_token = self.session.rotate_root(call, given).await.map_err(not_rotated)?;
        Ok(RotateRootTokenResponse { root_token })
    }

    pub(super) async fn issue_robot_token(
        &self,
        call: Call,
        request: Request<GetRobotTokenRequest>,
    ) -> Result<GetRobotTokenResponse, Status> {
        let asked = request.into_inner();
        if let Err(wrong) = check_ttl(asked.ttl) {
            let need = Need::Permission(Permission::ClusterAuthGetRobotToken);
            return self.refuse(&call, need, wrong).await;
        }
        let issued = self.session.robot_token(call, asked.robot, asked.ttl).await;
        Ok(GetRobotTokenResponse { token: issued? })
    }

    pub(super) async fn revoke(
        &self,
        call: Call,
        request: Request<RevokeAuthTokenRequest>,
    ) -> Result<RevokeAuthTokenResponse, Status> {
        let token = request.into_inner().token;
        let number = self.session.revoke(call, &token).await?;
        Ok(RevokeAuthTokenResponse { number: on_wire(number) })
    }

    pub(super) async fn revoke_all_of(
        &self,
        call: Call,
        request: Request<RevokeAuthTokensForUserRequest>,
    ) -> Result<RevokeAuthTokensForUserResponse, Status> {
        let subject = request.into_inner().username;
        let number = self.session.revoke_all_of(call, subject).await?;
        Ok(RevokeAuthTokensForUserResponse { number: on_wire(number) })
    }

    pub(super) async fn forget_expired(
        &self,
        call: Call,
        _request: Request<DeleteExpiredAuthTokensRequest>,
    ) -> Result<DeleteExpiredAuthTokensResponse, Status> {
        self.session.delete_expired(call).await?;
        Ok(DeleteExpiredAuthTokensResponse {})
    }

    pub(super) async fn extract(
        &self,
        call: Call,
        request: Request<ExtractAuthTokensRequest>,
    ) -> Result<Response<ExtractAuthTokensResponse>, Status> {
        let need = Need::Permission(Permission::ClusterAuthExtractTokens);
        let (view, _) = self.view(&call, need).await?;
        pages::extract(view.auth().tokens(), request.metadata())
    }

    pub(super) async fn restore(
        &self,
        call: Call,
        request: Request<RestoreAuthTokenRequest>,
    ) -> Result<RestoreAuthTokenResponse, Status> {
        match read_token(request.into_inner().token) {
            Ok(token) => self.session.restore(call, token).await?,
            Err(wrong) => {
                let need = Need::Permission(Permission::ClusterAuthRestoreToken);
                return self.refuse(&call, need, wrong).await;
            }
        }
        Ok(RestoreAuthTokenResponse {})
    }
}

/// A root token that somebody chose must fit into a request's metadata.
fn check_given(token: &str) -> Result<(), Status> {
    if token.len() > limits::SECRET_BYTES_MAX || !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err(Status::invalid_argument(format!(
            "a root token has up to {} visible ASCII characters",
            limits::SECRET_BYTES_MAX
        )));
    }
    if !token.is_empty() && token.len() < SAFE_BYTES {
        tracing::warn!("the given root token is short enough to be guessed: rotate it");
    }
    Ok(())
}

fn not_rotated(error: CallError) -> Status {
    match &error {
        CallError::Rejected(no) if no.kind() == RejectionKind::TokenTaken => {
            Status::unknown("cannot overwrite existing token with same hash")
        }
        _ => error.into(),
    }
}

fn read_token(token: Option<TokenInfo>) -> Result<RestoreToken, Status> {
    let token = token.ok_or_else(|| required("RestoreAuthTokenRequest", "Token"))?;
    check_time("expiration", token.expiration.as_ref())?;
    let digest = hex::decode(&token.hashed_token).unwrap_or_default();
    if digest.len() != 32 {
        return Err(Status::invalid_argument("hashed_token has 64 hexadecimal digits"));
    }
    Ok(RestoreToken {
        subject: token.subject,
        token_digest: digest.into(),
        expires_us: token.expiration.as_ref().map_or(0, micros),
    })
}

/// The instant in log time; whatever lies before the epoch is past too, and never "for ever".
fn micros(time: &Timestamp) -> u64 {
    let seconds = u64::try_from(time.seconds).unwrap_or(0);
    let micros = u64::try_from(time.nanos / 1000).unwrap_or(0);
    seconds.saturating_mul(1_000_000).saturating_add(micros).max(1)
}

fn on_wire(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_at_or_before_the_epoch_is_not_for_ever() {
        assert_eq!(micros(&Timestamp { seconds: 0, nanos: 0 }), 1);
        assert_eq!(micros(&Timestamp { seconds: -5, nanos: 0 }), 1);
        assert_eq!(micros(&Timestamp { seconds: 2, nanos: 3_000 }), 2_000_003);
    }

    #[test]
    fn a_restored_token_needs_a_whole_hash() {
        let token = |hash: &str| {
            let hashed_token = hash.to_owned();
            read_token(Some(TokenInfo { hashed_token, ..TokenInfo::default() }))
        };
        assert!(token(&"ab".repeat(32)).is_ok());
        for bad in ["", "ab", &"zz".repeat(32), &"ab".repeat(33)] {
            assert!(token(bad).is_err(), "{bad}");
        }
        assert_eq!(
            read_token(None).unwrap_err().message(),
            "validate request: invalid RestoreAuthTokenRequest.Token: value is required"
        );
    }

    #[test]
    fn a_root_token_can_be_short_but_must_fit_into_metadata() {
        assert!(check_given("iamroot").is_ok());
        for bad in ["a b", "a\nb", "ä", &"x".repeat(5000)] {
            assert!(check_given(bad).is_err(), "{bad}");
        }
    }
}
