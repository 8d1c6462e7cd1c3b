//! Signing in at a provider.

use muster_proto::auth_v2::{
    AuthenticateRequest, AuthenticateResponse, GetOidcLoginRequest, GetOidcLoginResponse,
};
use muster_proto::muster::log::v1::RejectionKind;
use tonic::{Code, Request, Status};

use super::{AuthService, within};
use crate::actors::{Call, CallError};
use crate::identity::SignInError;
use crate::identity::oidc::OidcError;
use crate::state::rejection;

impl AuthService {
    pub(super) async fn begin_login(
        &self,
        call: Call,
        _request: Request<GetOidcLoginRequest>,
    ) -> Result<GetOidcLoginResponse, Status> {
        let begun = self.sign_in.begin(call.deadline.min(self.soon())).await;
        let begun = begun.map_err(|error| match error {
            SignInError::NotConfigured => error.into(),
            error => within("could not create OIDC login session", &error.into()),
        })?;
        Ok(GetOidcLoginResponse { login_url: begun.url, state: begun.state })
    }

    pub(super) async fn sign_in(
        &self,
        call: Call,
        request: Request<AuthenticateRequest>,
    ) -> Result<AuthenticateResponse, Status> {
        let soon = call.deadline.min(self.soon());
        let view = self.reader.current(soon).await?;
        if !view.auth().is_on() {
            let off = rejection::plain(RejectionKind::AuthNotActivated);
            return Err(CallError::Rejected(off).into());
        }
        let asked = request.into_inner();
        let token = if !asked.oidc_state.is_empty() {
            self.sign_in.token_of_login(&asked.oidc_state, &call.origin, call.deadline).await
        } else if !asked.id_token.is_empty() {
            self.sign_in.token_of_id_token(&asked.id_token, &call.origin, soon).await
        } else {
            return Err(Status::invalid_argument(
                "unrecognized authentication mechanism (old pachd?)",
            ));
        };
        Ok(AuthenticateResponse { pach_token: token? })
    }
}

/// Nothing of what a provider or a token says is in these texts: clients search texts for words that
/// switch them off.
impl From<SignInError> for Status {
    fn from(error: SignInError) -> Status {
        let text = error.to_string();
        let code = match error {
            SignInError::Call(error) => return error.into(),
            SignInError::NotConfigured => Code::Unknown,
            SignInError::Configuration(_) | SignInError::NoKeyForVerifier => {
                Code::FailedPrecondition
            }
            SignInError::Pending => Code::Unavailable,
            SignInError::Oidc(error) => match error {
                OidcError::Unreachable(_) | OidcError::NoTime => Code::Unavailable,
                OidcError::Discovery(_) | OidcError::Url(_) => Code::FailedPrecondition,
                OidcError::Code
                | OidcError::OtherIssuer
                | OidcError::Token(_)
                | OidcError::Claims(_)
                | OidcError::EmailUnverified => Code::Unauthenticated,
            },
        };
        Status::new(code, text)
    }
}
