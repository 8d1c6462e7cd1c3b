//! Signing in at a provider, of which this version has none yet: it says so, as a server without a
//! configuration does.

use muster_proto::auth_v2::{
    AuthenticateRequest, AuthenticateResponse, GetOidcLoginRequest, GetOidcLoginResponse,
};
use muster_proto::muster::log::v1::RejectionKind;
use tonic::{Request, Status};

use super::AuthService;
use crate::actors::{Call, CallError};
use crate::state::rejection;

const NOT_CONFIGURED: &str = "OIDC ID provider configuration not found";
const NOT_BUILT: &str = "this version of Muster does not sign people in at a provider";

impl AuthService {
    pub(super) async fn begin_login(
        &self,
        call: Call,
        _request: Request<GetOidcLoginRequest>,
    ) -> Result<GetOidcLoginResponse, Status> {
        let view = self.current(&call).await?;
        if view.auth().configuration().is_none() {
            return Err(Status::unknown(NOT_CONFIGURED));
        }
        let text = format!("could not create OIDC login session: {NOT_BUILT}");
        Err(Status::failed_precondition(text))
    }

    pub(super) async fn sign_in(
        &self,
        call: Call,
        request: Request<AuthenticateRequest>,
    ) -> Result<AuthenticateResponse, Status> {
        let view = self.current(&call).await?;
        if !view.auth().is_on() {
            return Err(
                CallError::Rejected(rejection::plain(RejectionKind::AuthNotActivated)).into()
            );
        }
        let asked = request.into_inner();
        // No login was ever begun, so every state is an unknown one, and fails at once.
        if !asked.oidc_state.is_empty() {
            return Err(CallError::Rejected(rejection::plain(RejectionKind::LoginUnknown)).into());
        }
        if asked.id_token.is_empty() {
            return Err(Status::invalid_argument(
                "unrecognized authentication mechanism (old pachd?)",
            ));
        }
        if view.auth().configuration().is_none() {
            return Err(Status::unknown(NOT_CONFIGURED));
        }
        Err(Status::failed_precondition(format!("could not verify token: {NOT_BUILT}")))
    }
}
