//! `auth_v2.API` of a server that has no root principal: auth is off, and every guarded method says
//! so with the text that clients match.

use muster_proto::auth_v2::{self, api_server::Api};
use tonic::{Request, Response, Status};

use super::status::AUTH_OFF;

/// What would turn auth on, or sign somebody in; matches no text that clients search for.
const NOT_BUILT: &str = "this version of Muster keeps no users of its own";

/// The service.
#[derive(Clone, Copy, Debug)]
pub(super) struct AuthService;

/// Answers every method with the status that is named behind it.
macro_rules! off {
    ($($method:ident($request:ident) -> $response:ident: $text:ident;)*) => {
        #[tonic::async_trait]
        impl Api for AuthService {
            $(async fn $method(
                &self,
                _request: Request<auth_v2::$request>,
            ) -> Result<Response<auth_v2::$response>, Status> {
                Err(Status::unimplemented($text))
            })*
        }
    };
}

off! {
    activate(ActivateRequest) -> ActivateResponse: NOT_BUILT;
    deactivate(DeactivateRequest) -> DeactivateResponse: AUTH_OFF;
    get_configuration(GetConfigurationRequest) -> GetConfigurationResponse: AUTH_OFF;
    set_configuration(SetConfigurationRequest) -> SetConfigurationResponse: AUTH_OFF;
    authenticate(AuthenticateRequest) -> AuthenticateResponse: AUTH_OFF;
    authorize(AuthorizeRequest) -> AuthorizeResponse: AUTH_OFF;
    get_permissions(GetPermissionsRequest) -> GetPermissionsResponse: AUTH_OFF;
    get_permissions_for_principal(GetPermissionsForPrincipalRequest) -> GetPermissionsResponse: AUTH_OFF;
    who_am_i(WhoAmIRequest) -> WhoAmIResponse: AUTH_OFF;
    get_roles_for_permission(GetRolesForPermissionRequest) -> GetRolesForPermissionResponse: AUTH_OFF;
    modify_role_binding(ModifyRoleBindingRequest) -> ModifyRoleBindingResponse: AUTH_OFF;
    get_role_binding(GetRoleBindingRequest) -> GetRoleBindingResponse: AUTH_OFF;
    get_oidc_login(GetOidcLoginRequest) -> GetOidcLoginResponse: NOT_BUILT;
    get_robot_token(GetRobotTokenRequest) -> GetRobotTokenResponse: AUTH_OFF;
    revoke_auth_token(RevokeAuthTokenRequest) -> RevokeAuthTokenResponse: AUTH_OFF;
    revoke_auth_tokens_for_user(RevokeAuthTokensForUserRequest) -> RevokeAuthTokensForUserResponse: AUTH_OFF;
    set_groups_for_user(SetGroupsForUserRequest) -> SetGroupsForUserResponse: AUTH_OFF;
    modify_members(ModifyMembersRequest) -> ModifyMembersResponse: AUTH_OFF;
    get_groups(GetGroupsRequest) -> GetGroupsResponse: AUTH_OFF;
    get_groups_for_principal(GetGroupsForPrincipalRequest) -> GetGroupsResponse: AUTH_OFF;
    get_users(GetUsersRequest) -> GetUsersResponse: AUTH_OFF;
    extract_auth_tokens(ExtractAuthTokensRequest) -> ExtractAuthTokensResponse: AUTH_OFF;
    restore_auth_token(RestoreAuthTokenRequest) -> RestoreAuthTokenResponse: AUTH_OFF;
    delete_expired_auth_tokens(DeleteExpiredAuthTokensRequest) -> DeleteExpiredAuthTokensResponse: AUTH_OFF;
    rotate_root_token(RotateRootTokenRequest) -> RotateRootTokenResponse: AUTH_OFF;
}
