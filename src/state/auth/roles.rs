//! The seventeen roles and what each of them permits.

use std::fmt;

use muster_proto::auth_v2::Permission as P;
use muster_proto::auth_v2::ResourceType::{self, Cluster, Project, Repo};

/// A named set of permissions. There are no others than those of [`ROLES`].
pub struct Role {
    /// As people type it; case matters.
    pub name: &'static str,
    includes: &'static [&'static Role],
    adds: &'static [P],
    /// On which kinds of resources it may be bound.
    pub bindable: &'static [ResourceType],
    /// For which kinds of resources a principal is told that it has the role.
    pub returned_for: &'static [ResourceType],
}

/// All roles, by name.
pub static ROLES: [&Role; 17] = [
    &CLUSTER_ADMIN,
    &DEBUGGER,
    &IDENTITY_ADMIN,
    &IDP_ADMIN,
    &LICENSE_ADMIN,
    &LOKI_LOG_READER,
    &OIDC_APP_ADMIN,
    &PACHD_LOG_READER,
    &PROJECT_CREATOR,
    &PROJECT_OWNER,
    &PROJECT_VIEWER,
    &PROJECT_WRITER,
    &REPO_OWNER,
    &REPO_READER,
    &REPO_WRITER,
    &ROBOT_USER,
    &SECRET_ADMIN,
];

/// The role of that name.
pub fn role(name: &str) -> Option<&'static Role> {
    ROLES.iter().find(|role| role.name == name).copied()
}

impl Role {
    /// Whether it permits this.
    pub fn permits(&self, permission: P) -> bool {
        self.adds.contains(&permission) || self.includes.iter().any(|role| role.permits(permission))
    }

    /// All that it permits, in the order of the numbers.
    pub fn permissions(&self) -> Vec<P> {
        ALL.iter().copied().filter(|permission| self.permits(*permission)).collect()
    }
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Role {
    fn eq(&self, other: &Role) -> bool {
        self.name == other.name
    }
}

impl Eq for Role {}

pub(super) static CLUSTER_ADMIN: Role = Role {
    name: "clusterAdmin",
    includes: &[],
    adds: &ALL,
    bindable: &[Cluster],
    returned_for: &[Cluster, Project, Repo],
};

static DEBUGGER: Role = Role {
    name: "debugger",
    includes: &[],
    adds: &[P::ClusterDebugDump, P::ClusterGetPachdLogs, P::ClusterGetLokiLogs],
    bindable: &[Cluster],
    returned_for: &[Cluster],
};

static IDENTITY_ADMIN: Role = Role {
    name: "identityAdmin",
    includes: &[],
    adds: &[P::ClusterIdentitySetConfig, P::ClusterIdentityGetConfig],
    bindable: &[Cluster],
    returned_for: &[Cluster],
};

static IDP_ADMIN: Role = Role {
    name: "idpAdmin",
    includes: &[],
    adds: &[
        P::ClusterIdentityCreateIdp,
        P::ClusterIdentityUpdateIdp,
        P::ClusterIdentityListIdps,
        P::ClusterIdentityGetIdp,
        P::ClusterIdentityDeleteIdp,
    ],
    bindable: &[Cluster],
    returned_for: &[Cluster],
};

static LICENSE_ADMIN: Role = Role {
    name: "licenseAdmin",
    includes: &[],
    adds: &[
        P::ClusterLicenseActivate,
        P::ClusterLicenseGetCode,
        P::ClusterLicenseAddCluster,
        P::ClusterLicenseUpdateCluster,
        P::ClusterLicenseDeleteCluster,
        P::ClusterLicenseListClusters,
    ],
    bindable: &[Cluster],
    returned_for: &[Cluster],
};

static LOKI_LOG_READER: Role = Role {
    name: "lokiLogReader",
    includes: &[],
    adds: &[P::ClusterGetLokiLogs],
    bindable: &[Cluster],
    returned_for: &[Cluster],
};

static OIDC_APP_ADMIN: Role = Role {
    name: "oidcAppAdmin",
    includes: &[],
    adds: &[
        P::ClusterIdentityDeleteOidcClient,
        P::ClusterIdentityCreateOidcClient,
        P::ClusterIdentityUpdateOidcClient,
        P::ClusterIdentityListOidcClients,
        P::ClusterIdentityGetOidcClient,
    ],
    bindable: &[Cluster],
    returned_for: &[Cluster],
};

static PACHD_LOG_READER: Role = Role {
    name: "pachdLogReader",
    includes: &[],
    adds: &[P::ClusterGetPachdLogs],
    bindable: &[Cluster],
    returned_for: &[Cluster],
};

pub(super) static PROJECT_CREATOR: Role = Role {
    name: "projectCreator",
    includes: &[],
    adds: &[P::ProjectCreate],
    bindable: &[Cluster],
    returned_for: &[Cluster],
};

static PROJECT_OWNER: Role = Role {
    name: "projectOwner",
    includes: &[&REPO_OWNER, &PROJECT_WRITER],
    adds: &[P::ProjectDelete, P::ProjectModifyBindings, P::ProjectSetDefaults],
    bindable: &[Cluster, Project],
    returned_for: &[Project, Repo],
};

static PROJECT_VIEWER: Role = Role {
    name: "projectViewer",
    includes: &[],
    adds: &[P::ProjectListRepo],
    bindable: &[Cluster, Project],
    returned_for: &[Project],
};

static PROJECT_WRITER: Role = Role {
    name: "projectWriter",
    includes: &[&PROJECT_VIEWER],
    adds: &[P::ProjectCreateRepo],
    bindable: &[Cluster, Project],
    returned_for: &[Project],
};

static REPO_OWNER: Role = Role {
    name: "repoOwner",
    includes: &[&REPO_WRITER],
    adds: &[P::RepoModifyBindings, P::RepoDelete],
    bindable: &[Cluster, Project, Repo],
    returned_for: &[Repo],
};

pub(super) static REPO_READER: Role = Role {
    name: "repoReader",
    includes: &[],
    adds: &[
        P::RepoRead,
        P::RepoInspectCommit,
        P::RepoListCommit,
        P::RepoListBranch,
        P::RepoListFile,
        P::RepoInspectFile,
        P::RepoAddPipelineReader,
        P::RepoRemovePipelineReader,
        P::PipelineListJob,
    ],
    bindable: &[Cluster, Project, Repo],
    returned_for: &[Repo],
};

static REPO_WRITER: Role = Role {
    name: "repoWriter",
    includes: &[&REPO_READER],
    adds: &[
        P::RepoWrite,
        P::RepoDeleteCommit,
        P::RepoCreateBranch,
        P::RepoDeleteBranch,
        P::RepoAddPipelineWriter,
    ],
    bindable: &[Cluster, Project, Repo],
    returned_for: &[Repo],
};

static ROBOT_USER: Role = Role {
    name: "robotUser",
    includes: &[],
    adds: &[P::ClusterAuthGetRobotToken],
    bindable: &[Cluster],
    returned_for: &[Cluster],
};

static SECRET_ADMIN: Role = Role {
    name: "secretAdmin",
    includes: &[],
    adds: &[P::ClusterCreateSecret, P::ClusterListSecrets, P::SecretInspect, P::SecretDelete],
    bindable: &[Cluster],
    returned_for: &[Cluster],
};

/// Every permission of Pachyderm 2.11, in the order of the numbers.
pub static ALL: [P; 71] = [
    P::ClusterModifyBindings,
    P::ClusterGetBindings,
    P::ClusterAuthActivate,
    P::ClusterAuthDeactivate,
    P::ClusterAuthGetConfig,
    P::ClusterAuthSetConfig,
    P::ClusterAuthModifyGroupMembers,
    P::ClusterAuthGetGroups,
    P::ClusterAuthGetGroupUsers,
    P::ClusterAuthExtractTokens,
    P::ClusterAuthRestoreToken,
    P::ClusterEnterpriseActivate,
    P::ClusterEnterpriseHeartbeat,
    P::ClusterEnterpriseGetCode,
    P::ClusterEnterpriseDeactivate,
    P::ClusterIdentitySetConfig,
    P::ClusterIdentityGetConfig,
    P::ClusterIdentityCreateIdp,
    P::ClusterIdentityUpdateIdp,
    P::ClusterIdentityListIdps,
    P::ClusterIdentityGetIdp,
    P::ClusterIdentityDeleteIdp,
    P::ClusterIdentityCreateOidcClient,
    P::ClusterIdentityUpdateOidcClient,
    P::ClusterIdentityListOidcClients,
    P::ClusterIdentityGetOidcClient,
    P::ClusterIdentityDeleteOidcClient,
    P::ClusterDebugDump,
    P::ClusterLicenseActivate,
    P::ClusterLicenseGetCode,
    P::ClusterLicenseAddCluster,
    P::ClusterLicenseUpdateCluster,
    P::ClusterLicenseDeleteCluster,
    P::ClusterLicenseListClusters,
    P::ClusterDeleteAll,
    P::ClusterAuthGetRobotToken,
    P::ClusterAuthDeleteExpiredTokens,
    P::ClusterAuthGetPermissionsForPrincipal,
    P::ClusterAuthRevokeUserTokens,
    P::ClusterCreateSecret,
    P::ClusterListSecrets,
    P::SecretDelete,
    P::SecretInspect,
    P::ClusterAuthRotateRootToken,
    P::ClusterGetPachdLogs,
    P::ClusterEnterprisePause,
    P::ClusterGetLokiLogs,
    P::ClusterEditClusterMetadata,
    P::RepoRead,
    P::RepoWrite,
    P::RepoModifyBindings,
    P::RepoDelete,
    P::RepoInspectCommit,
    P::RepoListCommit,
    P::RepoDeleteCommit,
    P::RepoCreateBranch,
    P::RepoListBranch,
    P::RepoDeleteBranch,
    P::RepoInspectFile,
    P::RepoListFile,
    P::RepoAddPipelineReader,
    P::RepoRemovePipelineReader,
    P::RepoAddPipelineWriter,
    P::PipelineListJob,
    P::ClusterSetDefaults,
    P::ProjectSetDefaults,
    P::ProjectCreate,
    P::ProjectDelete,
    P::ProjectListRepo,
    P::ProjectCreateRepo,
    P::ProjectModifyBindings,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_listed_once_in_the_order_of_their_numbers() {
        assert!(ALL.windows(2).all(|pair| i32::from(pair[0]) < i32::from(pair[1])));
    }

    #[test]
    fn roles_are_found_by_their_exact_name() {
        assert!(ROLES.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert_eq!(role("repoOwner"), Some(&REPO_OWNER));
        assert_eq!(role("repoowner"), None);
    }

    #[test]
    fn roles_permit_as_many_things_as_they_should() {
        let counts: Vec<_> =
            ROLES.iter().map(|role| format!("{role:?} {}", role.permissions().len())).collect();
        assert_eq!(
            counts.join(", "),
            "clusterAdmin 71, debugger 3, identityAdmin 2, idpAdmin 5, licenseAdmin 6, \
             lokiLogReader 1, oidcAppAdmin 5, pachdLogReader 1, projectCreator 1, \
             projectOwner 21, projectViewer 1, projectWriter 2, repoOwner 16, repoReader 9, \
             repoWriter 14, robotUser 1, secretAdmin 4"
        );
    }
}
