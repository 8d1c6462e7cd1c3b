//! Calls that are written down only when they are refused: heartbeats, what only reads, and what
//! anybody may ask. A method that is not in this list is written down when it is served too, once by
//! its own command or else by the edge: a new one is loud until somebody decides here.
//!
//! Not in the list, although they only read: what gives a stored secret or token digests away
//! (`GetActivationCode`, `GetConfiguration`, `ExtractAuthTokens`, the connectors and clients of
//! `identity_v2`).

/// The paths of these methods.
pub static QUIET: [&str; 26] = [
    "/admin_v2.API/InspectCluster",
    "/auth_v2.API/Authorize",
    "/auth_v2.API/GetGroups",
    "/auth_v2.API/GetGroupsForPrincipal",
    "/auth_v2.API/GetOIDCLogin",
    "/auth_v2.API/GetPermissions",
    "/auth_v2.API/GetPermissionsForPrincipal",
    "/auth_v2.API/GetRoleBinding",
    "/auth_v2.API/GetRolesForPermission",
    "/auth_v2.API/GetUsers",
    "/auth_v2.API/WhoAmI",
    "/enterprise_v2.API/GetState",
    "/enterprise_v2.API/PauseStatus",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/identity_v2.API/GetIdentityServerConfig",
    "/license_v2.API/Heartbeat",
    "/license_v2.API/ListClusters",
    "/license_v2.API/ListUserClusters",
    "/muster.v1.Audit/Export",
    "/muster.v1.Audit/List",
    "/muster.v1.Fleet/List",
    "/muster.v1.Replica/Group",
    "/muster.v1.Replica/Status",
    "/muster.v1.Restore/Status",
    "/versionpb_v2.API/GetVersion",
];

/// Whether such a call that was served goes unrecorded.
pub fn is_quiet(path: &str) -> bool {
    QUIET.contains(&path)
}
