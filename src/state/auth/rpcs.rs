//! What each RPC of the public wire asks of its caller: one line each.

#![expect(clippy::enum_glob_use, reason = "a table of names is read without their prefix")]

use muster_proto::auth_v2::Permission::*;

use crate::state::access::Need::{self, Open, Permission, PermissionIfOn, Token, TokenIfOn};

/// What the RPC of that path needs; none when there is no such RPC, which nobody may call.
pub fn need(path: &str) -> Option<Need> {
    RPCS.iter().find(|(known, _)| *known == path).map(|(_, need)| *need)
}

/// All RPCs with what they need.
///
/// `Authorize` and `WhoAmI` are open here because their own handlers need a valid token, and
/// `ModifyRoleBinding` decides by the resource that it changes.
pub static RPCS: [(&str, Need); 59] = [
    ("/admin_v2.API/InspectCluster", Open),
    ("/auth_v2.API/Activate", Open),
    ("/auth_v2.API/Authenticate", Open),
    ("/auth_v2.API/Authorize", Open),
    ("/auth_v2.API/WhoAmI", Open),
    ("/auth_v2.API/GetOIDCLogin", Open),
    ("/auth_v2.API/GetRoleBinding", Token),
    ("/auth_v2.API/ModifyRoleBinding", Token),
    ("/auth_v2.API/RevokeAuthToken", Token),
    ("/auth_v2.API/GetGroups", Token),
    ("/auth_v2.API/GetPermissions", Token),
    ("/auth_v2.API/GetRolesForPermission", Token),
    ("/auth_v2.API/GetGroupsForPrincipal", Permission(ClusterAuthGetGroups)),
    ("/auth_v2.API/GetPermissionsForPrincipal", Permission(ClusterAuthGetPermissionsForPrincipal)),
    ("/auth_v2.API/GetConfiguration", Permission(ClusterAuthGetConfig)),
    ("/auth_v2.API/SetConfiguration", Permission(ClusterAuthSetConfig)),
    ("/auth_v2.API/GetRobotToken", Permission(ClusterAuthGetRobotToken)),
    ("/auth_v2.API/SetGroupsForUser", Permission(ClusterAuthModifyGroupMembers)),
    ("/auth_v2.API/ModifyMembers", Permission(ClusterAuthModifyGroupMembers)),
    ("/auth_v2.API/GetUsers", Permission(ClusterAuthGetGroupUsers)),
    ("/auth_v2.API/ExtractAuthTokens", Permission(ClusterAuthExtractTokens)),
    ("/auth_v2.API/RestoreAuthToken", Permission(ClusterAuthRestoreToken)),
    ("/auth_v2.API/Deactivate", Permission(ClusterAuthDeactivate)),
    ("/auth_v2.API/DeleteExpiredAuthTokens", Permission(ClusterAuthDeleteExpiredTokens)),
    ("/auth_v2.API/RevokeAuthTokensForUser", Permission(ClusterAuthRevokeUserTokens)),
    ("/auth_v2.API/RotateRootToken", Permission(ClusterAuthRotateRootToken)),
    ("/enterprise_v2.API/GetState", Open),
    ("/enterprise_v2.API/Activate", PermissionIfOn(ClusterEnterpriseActivate)),
    ("/enterprise_v2.API/GetActivationCode", PermissionIfOn(ClusterEnterpriseGetCode)),
    ("/enterprise_v2.API/Deactivate", PermissionIfOn(ClusterEnterpriseDeactivate)),
    ("/enterprise_v2.API/Heartbeat", PermissionIfOn(ClusterEnterpriseHeartbeat)),
    ("/enterprise_v2.API/Pause", PermissionIfOn(ClusterEnterprisePause)),
    ("/enterprise_v2.API/Unpause", PermissionIfOn(ClusterEnterprisePause)),
    ("/enterprise_v2.API/PauseStatus", TokenIfOn),
    ("/grpc.health.v1.Health/Check", Open),
    ("/grpc.health.v1.Health/Watch", Open),
    ("/identity_v2.API/SetIdentityServerConfig", Permission(ClusterIdentitySetConfig)),
    ("/identity_v2.API/GetIdentityServerConfig", Permission(ClusterIdentityGetConfig)),
    ("/identity_v2.API/CreateIDPConnector", Permission(ClusterIdentityCreateIdp)),
    ("/identity_v2.API/UpdateIDPConnector", Permission(ClusterIdentityUpdateIdp)),
    ("/identity_v2.API/ListIDPConnectors", Permission(ClusterIdentityListIdps)),
    ("/identity_v2.API/GetIDPConnector", Permission(ClusterIdentityGetIdp)),
    ("/identity_v2.API/DeleteIDPConnector", Permission(ClusterIdentityDeleteIdp)),
    ("/identity_v2.API/CreateOIDCClient", Permission(ClusterIdentityCreateOidcClient)),
    ("/identity_v2.API/UpdateOIDCClient", Permission(ClusterIdentityUpdateOidcClient)),
    ("/identity_v2.API/GetOIDCClient", Permission(ClusterIdentityGetOidcClient)),
    ("/identity_v2.API/ListOIDCClients", Permission(ClusterIdentityListOidcClients)),
    ("/identity_v2.API/DeleteOIDCClient", Permission(ClusterIdentityDeleteOidcClient)),
    ("/identity_v2.API/DeleteAll", Permission(ClusterDeleteAll)),
    ("/license_v2.API/Activate", PermissionIfOn(ClusterLicenseActivate)),
    ("/license_v2.API/GetActivationCode", PermissionIfOn(ClusterLicenseGetCode)),
    ("/license_v2.API/AddCluster", PermissionIfOn(ClusterLicenseAddCluster)),
    ("/license_v2.API/UpdateCluster", PermissionIfOn(ClusterLicenseUpdateCluster)),
    ("/license_v2.API/DeleteCluster", PermissionIfOn(ClusterLicenseDeleteCluster)),
    ("/license_v2.API/ListClusters", PermissionIfOn(ClusterLicenseListClusters)),
    ("/license_v2.API/DeleteAll", PermissionIfOn(ClusterDeleteAll)),
    ("/license_v2.API/Heartbeat", Open),
    ("/license_v2.API/ListUserClusters", TokenIfOn),
    ("/versionpb_v2.API/GetVersion", Open),
];
