//! `auth_v2.API`: tokens, roles and groups. One file per noun; this one says which method is which.

mod authorize;
mod bindings;
mod configuration;
mod groups;
mod login;
mod pages;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use muster_proto::auth_v2::{
    ActivateRequest, ActivateResponse, AuthenticateRequest, AuthenticateResponse, AuthorizeRequest,
    AuthorizeResponse, DeactivateRequest, DeactivateResponse, DeleteExpiredAuthTokensRequest,
    DeleteExpiredAuthTokensResponse, ExtractAuthTokensRequest, ExtractAuthTokensResponse,
    GetConfigurationRequest, GetConfigurationResponse, GetGroupsForPrincipalRequest,
    GetGroupsRequest, GetGroupsResponse, GetOidcLoginRequest, GetOidcLoginResponse,
    GetPermissionsForPrincipalRequest, GetPermissionsRequest, GetPermissionsResponse,
    GetRobotTokenRequest, GetRobotTokenResponse, GetRoleBindingRequest, GetRoleBindingResponse,
    GetRolesForPermissionRequest, GetRolesForPermissionResponse, GetUsersRequest, GetUsersResponse,
    ModifyMembersRequest, ModifyMembersResponse, ModifyRoleBindingRequest,
    ModifyRoleBindingResponse, RestoreAuthTokenRequest, RestoreAuthTokenResponse,
    RevokeAuthTokenRequest, RevokeAuthTokenResponse, RevokeAuthTokensForUserRequest,
    RevokeAuthTokensForUserResponse, RotateRootTokenRequest, RotateRootTokenResponse,
    SetConfigurationRequest, SetConfigurationResponse, SetGroupsForUserRequest,
    SetGroupsForUserResponse, WhoAmIRequest, WhoAmIResponse, api_server::Api,
};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::caller::Desk;
use crate::actors::{Call, CallError, Reader, Session};
use crate::clock::Clock;
use crate::identity::SignIn;
use crate::seal::DataKey;
use crate::state::access::Need;
use crate::state::auth::principal::Principal;
use crate::state::{LogTime, State};

/// The service.
#[derive(Clone)]
pub(super) struct AuthService {
    pub(super) session: Session,
    pub(super) sign_in: SignIn,
    pub(super) reader: Reader,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) desk: Desk,
    /// For those who sign in, and wait for a person at a browser.
    pub(super) login_desk: Desk,
    /// The longest that anything else may take.
    pub(super) request_timeout: Duration,
    /// What the client secret is sealed with.
    pub(super) data_key: Option<DataKey>,
    /// The root token comes with the environment, so nobody else may change it.
    pub(super) root_token_from_environment: bool,
}

/// What a method answers.
type Answer<T> = Result<Response<T>, Status>;

impl AuthService {
    /// The state with everything acknowledged before, and who the caller is, if that one may see it.
    async fn view(&self, call: &Call, need: Need) -> Result<(State, Principal), Status> {
        let view = self.current(call).await?;
        let who = view.admit(Some(&call.caller), need, self.now()).map_err(CallError::Rejected)?;
        Ok((view, who))
    }

    async fn current(&self, call: &Call) -> Result<State, Status> {
        Ok(self.reader.current(call.deadline).await?)
    }

    /// When an answer is due that waits for no person.
    fn soon(&self) -> Instant {
        Instant::now() + self.request_timeout
    }

    fn now(&self) -> LogTime {
        LogTime(self.clock.now().0)
    }

    /// What is wrong with a request, told only to those who may ask at all.
    async fn refuse<T>(&self, call: &Call, need: Need, wrong: Status) -> Result<T, Status> {
        self.view(call, need).await?;
        Err(wrong)
    }
}

/// A part of a message that must be there is not.
fn required(message: &str, field: &str) -> Status {
    let text = format!("validate request: invalid {message}.{field}: value is required");
    Status::invalid_argument(text)
}

/// The same status with words in front.
fn within(context: &str, inner: &Status) -> Status {
    Status::new(inner.code(), format!("{context}: {}", inner.message()))
}

/// Where a method's requests come in: at the usual desk, unless it names another.
macro_rules! desk {
    ($service:ident) => {
        $service.desk
    };
    ($service:ident $desk:ident) => {
        $service.$desk
    };
}

/// Each method takes its place in the lane and has its file answer.
macro_rules! methods {
    ($($method:ident($request:ident) -> $response:ident: $answer:ident $(at $desk:ident)?;)*) => {
        #[tonic::async_trait]
        impl Api for AuthService {
            $(async fn $method(&self, request: Request<$request>) -> Answer<$response> {
                let (_place, call) = desk!(self $($desk)?).open(&request)?;
                self.$answer(call, request).await.map(Into::into)
            })*
        }
    };
}

methods! {
    activate(ActivateRequest) -> ActivateResponse: turn_on;
    deactivate(DeactivateRequest) -> DeactivateResponse: turn_off;
    get_configuration(GetConfigurationRequest) -> GetConfigurationResponse: configuration;
    set_configuration(SetConfigurationRequest) -> SetConfigurationResponse: configure;
    authenticate(AuthenticateRequest) -> AuthenticateResponse: sign_in at login_desk;
    authorize(AuthorizeRequest) -> AuthorizeResponse: decide;
    get_permissions(GetPermissionsRequest) -> GetPermissionsResponse: own_permissions;
    get_permissions_for_principal(GetPermissionsForPrincipalRequest) -> GetPermissionsResponse:
        permissions_of;
    who_am_i(WhoAmIRequest) -> WhoAmIResponse: name_caller;
    get_roles_for_permission(GetRolesForPermissionRequest) -> GetRolesForPermissionResponse:
        roles_for;
    modify_role_binding(ModifyRoleBindingRequest) -> ModifyRoleBindingResponse: bind;
    get_role_binding(GetRoleBindingRequest) -> GetRoleBindingResponse: binding;
    get_oidc_login(GetOidcLoginRequest) -> GetOidcLoginResponse: begin_login at login_desk;
    get_robot_token(GetRobotTokenRequest) -> GetRobotTokenResponse: issue_robot_token;
    revoke_auth_token(RevokeAuthTokenRequest) -> RevokeAuthTokenResponse: revoke;
    revoke_auth_tokens_for_user(RevokeAuthTokensForUserRequest) -> RevokeAuthTokensForUserResponse:
        revoke_all_of;
    set_groups_for_user(SetGroupsForUserRequest) -> SetGroupsForUserResponse: set_groups;
    modify_members(ModifyMembersRequest) -> ModifyMembersResponse: change_members;
    get_groups(GetGroupsRequest) -> GetGroupsResponse: own_groups;
    get_groups_for_principal(GetGroupsForPrincipalRequest) -> GetGroupsResponse: groups_of;
    get_users(GetUsersRequest) -> GetUsersResponse: members_of;
    extract_auth_tokens(ExtractAuthTokensRequest) -> ExtractAuthTokensResponse: extract;
    restore_auth_token(RestoreAuthTokenRequest) -> RestoreAuthTokenResponse: restore;
    delete_expired_auth_tokens(DeleteExpiredAuthTokensRequest) -> DeleteExpiredAuthTokensResponse:
        forget_expired;
    rotate_root_token(RotateRootTokenRequest) -> RotateRootTokenResponse: rotate_root;
}
