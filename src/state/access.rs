//! Who may ask for what. Decided here, at the command's place in the log, and nowhere else.

use muster_proto::auth_v2::Permission;
use muster_proto::muster::log::v1::{Caller, Rejection, RejectionKind, caller::Who, command::Kind};

use crate::state::{State, rejection};

/// What a command or a read asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Open,
    /// A valid token; nothing while auth is off.
    TokenIfOn,
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
        Kind::ActivateEnterprise(_) => Need::PermissionIfOn(Permission::ClusterEnterpriseActivate),
        Kind::HeartbeatEnterprise(_) => {
            Need::PermissionIfOn(Permission::ClusterEnterpriseHeartbeat)
        }
        Kind::DeactivateEnterprise(_) => {
            Need::PermissionIfOn(Permission::ClusterEnterpriseDeactivate)
        }
        // A beat carries its own proof: id and secret.
        Kind::RecordHeartbeats(_) => Need::Open,
        Kind::BootstrapEnterprise(_) | Kind::ConfigureServer(_) => Need::Internal,
    }
}

impl State {
    /// Says no to a caller who has not what is needed. Reads call this in the closure that reads, so
    /// that the permission and what it opens come from the same state.
    ///
    /// # Errors
    ///
    /// A rejection that names what is missing.
    pub fn require(&self, caller: Option<&Caller>, need: Need) -> Result<(), Rejection> {
        match need {
            // Auth is off until a root principal exists.
            Need::Open | Need::TokenIfOn | Need::PermissionIfOn(_) => Ok(()),
            Need::Internal => match caller.and_then(|caller| caller.who.as_ref()) {
                Some(Who::Internal(_)) => Ok(()),
                Some(Who::Anonymous(_) | Who::TokenDigest(_)) | None => {
                    Err(rejection::plain(RejectionKind::InternalOnly))
                }
            },
        }
    }
}
