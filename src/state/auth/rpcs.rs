//! What each RPC of the public wire asks of its caller: one line each.

use muster_proto::auth_v2::Permission as P;

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
    ("/auth_v2.API/GetGroupsForPrincipal", Permission(P::ClusterAuthGetGroups)),
    (
        "/auth_v2.API/GetPermissionsForPrincipal",
        Permission(P::ClusterAuthGetPermissionsForPrincipal),
    ),
    ("/auth_v2.API/GetConfiguration", Permission(P::ClusterAuthGetConfig)),
    ("/auth_v2.API/SetConfiguration", Permission(P::ClusterAuthSetConfig)),
    ("/auth_v2.API/GetRobotToken", Permission(P::ClusterAuthGetRobotToken)),
    ("/auth_v2.API/SetGroupsForUser", Permission(P::ClusterAuthModifyGroupMembers)),
    ("/auth_v2.API/ModifyMembers", Permission(P::ClusterAuthModifyGroupMembers)),
    ("/auth_v2.API/GetUsers", Permission(P::ClusterAuthGetGroupUsers)),
    ("/auth_v2.API/ExtractAuthTokens", Permission(P::ClusterAuthExtractTokens)),
    ("/auth_v2.API/RestoreAuthToken", Permission(P::ClusterAuthRestoreToken)),
    ("/auth_v2.API/Deactivate", Permission(P::ClusterAuthDeactivate)),
    ("/auth_v2.API/DeleteExpiredAuthTokens", Permission(P::ClusterAuthDeleteExpiredTokens)),
    ("/auth_v2.API/RevokeAuthTokensForUser", Permission(P::ClusterAuthRevokeUserTokens)),
    ("/auth_v2.API/RotateRootToken", Permission(P::ClusterAuthRotateRootToken)),
    ("/enterprise_v2.API/GetState", Open),
    ("/enterprise_v2.API/Activate", PermissionIfOn(P::ClusterEnterpriseActivate)),
    ("/enterprise_v2.API/GetActivationCode", PermissionIfOn(P::ClusterEnterpriseGetCode)),
    ("/enterprise_v2.API/Deactivate", PermissionIfOn(P::ClusterEnterpriseDeactivate)),
    ("/enterprise_v2.API/Heartbeat", PermissionIfOn(P::ClusterEnterpriseHeartbeat)),
    ("/enterprise_v2.API/Pause", PermissionIfOn(P::ClusterEnterprisePause)),
    ("/enterprise_v2.API/Unpause", PermissionIfOn(P::ClusterEnterprisePause)),
    ("/enterprise_v2.API/PauseStatus", TokenIfOn),
    ("/grpc.health.v1.Health/Check", Open),
    ("/grpc.health.v1.Health/Watch", Open),
    ("/identity_v2.API/SetIdentityServerConfig", Permission(P::ClusterIdentitySetConfig)),
    ("/identity_v2.API/GetIdentityServerConfig", Permission(P::ClusterIdentityGetConfig)),
    ("/identity_v2.API/CreateIDPConnector", Permission(P::ClusterIdentityCreateIdp)),
    ("/identity_v2.API/UpdateIDPConnector", Permission(P::ClusterIdentityUpdateIdp)),
    ("/identity_v2.API/ListIDPConnectors", Permission(P::ClusterIdentityListIdps)),
    ("/identity_v2.API/GetIDPConnector", Permission(P::ClusterIdentityGetIdp)),
    ("/identity_v2.API/DeleteIDPConnector", Permission(P::ClusterIdentityDeleteIdp)),
    ("/identity_v2.API/CreateOIDCClient", Permission(P::ClusterIdentityCreateOidcClient)),
    ("/identity_v2.API/UpdateOIDCClient", Permission(P::ClusterIdentityUpdateOidcClient)),
    ("/identity_v2.API/GetOIDCClient", Permission(P::ClusterIdentityGetOidcClient)),
    ("/identity_v2.API/ListOIDCClients", Permission(P::ClusterIdentityListOidcClients)),
    ("/identity_v2.API/DeleteOIDCClient", Permission(P::ClusterIdentityDeleteOidcClient)),
    ("/identity_v2.API/DeleteAll", Permission(P::ClusterDeleteAll)),
    ("/license_v2.API/Activate", PermissionIfOn(P::ClusterLicenseActivate)),
    ("/license_v2.API/GetActivationCode", PermissionIfOn(P::ClusterLicenseGetCode)),
    ("/license_v2.API/AddCluster", PermissionIfOn(P::ClusterLicenseAddCluster)),
    ("/license_v2.API/UpdateCluster", PermissionIfOn(P::ClusterLicenseUpdateCluster)),
    ("/license_v2.API/DeleteCluster", PermissionIfOn(P::ClusterLicenseDeleteCluster)),
    ("/license_v2.API/ListClusters", PermissionIfOn(P::ClusterLicenseListClusters)),
    ("/license_v2.API/DeleteAll", PermissionIfOn(P::ClusterDeleteAll)),
    ("/license_v2.API/Heartbeat", Open),
    ("/license_v2.API/ListUserClusters", TokenIfOn),
    ("/versionpb_v2.API/GetVersion", Open),
];
