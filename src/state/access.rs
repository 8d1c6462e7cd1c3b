//! Who may ask for what. Decided here, at the command's place in the log, and nowhere else.

use muster_proto::auth_v2::Permission;
use muster_proto::muster::log::v1::{Caller, Rejection, command::Kind};

use crate::state::State;
use crate::state::time::LogTime;

/// What a command or a read asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Open,
    /// Auth on, and a valid token.
    Token,
    /// A valid token; nothing while auth is off.
    TokenIfOn,
    /// Auth on, and this permission on the server.
    Permission(Permission),
    /// This permission on the server; nothing while auth is off.
    PermissionIfOn(Permission),
    /// To be a part of the server itself.
    Internal,
}

/// What each command needs.
pub fn need(kind: &Kind) -> Need {
    match kind {
        Kind::ActivateLicense(_) => Need::PermissionIfOn(Permission::ClusterLicenseActivate),
        Kind::RemoveLicenseAndClusters(_) => Need::PermissionIfOn(Permission::ClusterDeleteAll),
        Kind::AddCluster(_) => Need::PermissionIfOn(Permission::ClusterLicenseAddCluster),
        Kind::UpdateCluster(_) => Need::PermissionIfOn(Permission::ClusterLicenseUpdateCluster),
        Kind::DeleteCluster(_) => Need::PermissionIfOn(Permission::ClusterLicenseDeleteCluster),
        Kind::ActivateEnterprise(_) | Kind::JoinLicenseServer(_) => {
            Need::PermissionIfOn(Permission::ClusterEnterpriseActivate)
        }
        Kind::HeartbeatEnterprise(_) | Kind::TakeLicenseServerAnswer(_) => {
            Need::PermissionIfOn(Permission::ClusterEnterpriseHeartbeat)
        }
        Kind::DeactivateEnterprise(_) => {
            Need::PermissionIfOn(Permission::ClusterEnterpriseDeactivate)
        }
        // A beat carries its own proof, id and secret; and nobody has a token before auth is on.
        Kind::RecordHeartbeats(_) | Kind::ActivateAuth(_) => Need::Open,
        Kind::ConfirmRestore(_) => Need::PermissionIfOn(Permission::ClusterEnterprisePause),
        Kind::DeactivateAuth(_) => Need::Permission(Permission::ClusterAuthDeactivate),
        Kind::ConfigureAuth(_) => Need::Permission(Permission::ClusterAuthSetConfig),
        Kind::IssueRobotToken(_) => Need::Permission(Permission::ClusterAuthGetRobotToken),
        Kind::RevokeTokensOf(_) => Need::Permission(Permission::ClusterAuthRevokeUserTokens),
        Kind::DeleteExpiredTokens(_) => {
            Need::Permission(Permission::ClusterAuthDeleteExpiredTokens)
        }
        Kind::RestoreToken(_) => Need::Permission(Permission::ClusterAuthRestoreToken),
        Kind::RotateRootToken(_) => Need::Permission(Permission::ClusterAuthRotateRootToken),
        Kind::SetGroups(_) | Kind::ModifyMembers(_) => {
            Need::Permission(Permission::ClusterAuthModifyGroupMembers)
        }
        // The rule itself looks at the resource.
        Kind::ModifyRoleBinding(_) | Kind::RevokeToken(_) => Need::Token,
        Kind::BootstrapEnterprise(_)
        | Kind::ConfigureServer(_)
        | Kind::IssueUserToken(_)
        | Kind::CreateRoleBinding(_)
        | Kind::StartLogin(_)
        | Kind::FinishLogin(_)
        | Kind::RecordCalls(_)
        | Kind::ConfigureAudit(_)
        | Kind::DeleteExpiredLogins(_)
        | Kind::ForgetRevokedTokens(_) => Need::Internal,
    }
}

impl State {
    /// As [`State::admit`] for who only wants the no. Reads give the time of day: the log may have
    /// stood still since a token expired.
    ///
    /// # Errors
    ///
    /// A rejection that names what is missing.
    pub fn require(
        &self,
        caller: Option<&Caller>,
        need: Need,
        now: LogTime,
    ) -> Result<(), Rejection> {
        self.admit(caller, need, now).map(|_| ())
    }
}
