//! The seventeen roles and what each of them permits.

#![expect(clippy::enum_glob_use, reason = "a table of names is read without their prefix")]

use std::fmt;

use muster_proto::auth_v2::Permission::{self, *};
use muster_proto::auth_v2::ResourceType::{self, Cluster, Project, Repo};

/// A named set of permissions. There are no others than those of [`ROLES`].
pub struct Role {
    /// As people type it; case matters.
    pub name: &'static str,
    includes: &'static [&'static Role],
    adds: &'static [Permission],
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
    pub fn permits(&self, permission: Permission) -> bool {
        self.adds.contains(&permission) || self.includes.iter().any(|role| role.permits(permission))
    }

    /// All that it permits, in the order of the numbers.
    pub fn permissions(&self) -> Vec<Permission> {
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
    adds: &[ClusterDebugDump, ClusterGetPachdLogs, ClusterGetLokiLogs],
    bindable: &[Cluster],
    returned_for: &[Cluster],
};

static IDENTITY_ADMIN: Role = Role {
    name: "identityAdmin",
    includes: &[],
    adds: &[ClusterIdentitySetConfig, ClusterIdentityGetConfig],
    bindable: &[Cluster],
    returned_for: &[Cluster],
};

static IDP_ADMIN: Role = Role {
    name: "idpAdmin",
    includes: &[],
    adds: &[
        ClusterIdentityCreateIdp,
        ClusterIdentityUpdateIdp,
        ClusterIdentityListIdps,
        ClusterIdentityGetIdp,
        ClusterIdentityDeleteIdp,
    ],
    bindable: &[Cluster],
    returned_for: &[Cluster],
};

static LICENSE_ADMIN: Role = Role {
    name: "licenseAdmin",
    includes: &[],
    adds: &[
        ClusterLicenseActivate,
        ClusterLicenseGetCode,
        ClusterLicenseAddCluster,
        ClusterLicenseUpdateCluster,
        ClusterLicenseDeleteCluster,
        ClusterLicenseListClusters,
    ],
    bindable: &[Cluster],
    returned_for: &[Cluster],
};

static LOKI_LOG_READER: Role = Role {
    name: "lokiLogReader",
    includes: &[],
    adds: &[ClusterGetLokiLogs],
    bindable: &[Cluster],
    returned_for: &[Cluster],
};

static OIDC_APP_ADMIN: Role = Role {
    name: "oidcAppAdmin",
    includes: &[],
    adds: &[
        ClusterIdentityDeleteOidcClient,
        ClusterIdentityCreateOidcClient,
        ClusterIdentityUpdateOidcClient,
        ClusterIdentityListOidcClients,
        ClusterIdentityGetOidcClient,
    ],
    bindable: &[Cluster],
    returned_for: &[Cluster],
};

static PACHD_LOG_READER: Role = Role {
    name: "pachdLogReader",
    includes: &[],
    adds: &[ClusterGetPachdLogs],
    bindable: &[Cluster],
    returned_for: &[Cluster],
};

pub(super) static PROJECT_CREATOR: Role = Role {
    name: "projectCreator",
    includes: &[],
    adds: &[ProjectCreate],
    bindable: &[Cluster],
    returned_for: &[Cluster],
};

static PROJECT_OWNER: Role = Role {
    name: "projectOwner",
    includes: &[&REPO_OWNER, &PROJECT_WRITER],
    adds: &[ProjectDelete, ProjectModifyBindings, ProjectSetDefaults],
    bindable: &[Cluster, Project],
    returned_for: &[Project, Repo],
};

static PROJECT_VIEWER: Role = Role {
    name: "projectViewer",
    includes: &[],
    adds: &[ProjectListRepo],
    bindable: &[Cluster, Project],
    returned_for: &[Project],
};

static PROJECT_WRITER: Role = Role {
    name: "projectWriter",
    includes: &[&PROJECT_VIEWER],
    adds: &[ProjectCreateRepo],
    bindable: &[Cluster, Project],
    returned_for: &[Project],
};

static REPO_OWNER: Role = Role {
    name: "repoOwner",
    includes: &[&REPO_WRITER],
    adds: &[RepoModifyBindings, RepoDelete],
    bindable: &[Cluster, Project, Repo],
    returned_for: &[Repo],
};

pub(super) static REPO_READER: Role = Role {
    name: "repoReader",
    includes: &[],
    adds: &[
        RepoRead,
        RepoInspectCommit,
        RepoListCommit,
        RepoListBranch,
        RepoListFile,
        RepoInspectFile,
        RepoAddPipelineReader,
        RepoRemovePipelineReader,
        PipelineListJob,
    ],
    bindable: &[Cluster, Project, Repo],
    returned_for: &[Repo],
};

static REPO_WRITER: Role = Role {
    name: "repoWriter",
    includes: &[&REPO_READER],
    adds: &[RepoWrite, RepoDeleteCommit, RepoCreateBranch, RepoDeleteBranch, RepoAddPipelineWriter],
    bindable: &[Cluster, Project, Repo],
    returned_for: &[Repo],
};

static ROBOT_USER: Role = Role {
    name: "robotUser",
    includes: &[],
    adds: &[ClusterAuthGetRobotToken],
    bindable: &[Cluster],
    returned_for: &[Cluster],
};

static SECRET_ADMIN: Role = Role {
    name: "secretAdmin",
    includes: &[],
    adds: &[ClusterCreateSecret, ClusterListSecrets, SecretInspect, SecretDelete],
    bindable: &[Cluster],
    returned_for: &[Cluster],
};

/// Every permission of Pachyderm 2.11, in the order of the numbers.
pub static ALL: [Permission; 71] = [
    ClusterModifyBindings,
    ClusterGetBindings,
    ClusterAuthActivate,
    ClusterAuthDeactivate,
    ClusterAuthGetConfig,
    ClusterAuthSetConfig,
    ClusterAuthModifyGroupMembers,
    ClusterAuthGetGroups,
    ClusterAuthGetGroupUsers,
    ClusterAuthExtractTokens,
    ClusterAuthRestoreToken,
    ClusterEnterpriseActivate,
    ClusterEnterpriseHeartbeat,
    ClusterEnterpriseGetCode,
    ClusterEnterpriseDeactivate,
    ClusterIdentitySetConfig,
    ClusterIdentityGetConfig,
    ClusterIdentityCreateIdp,
    ClusterIdentityUpdateIdp,
    ClusterIdentityListIdps,
    ClusterIdentityGetIdp,
    ClusterIdentityDeleteIdp,
    ClusterIdentityCreateOidcClient,
    ClusterIdentityUpdateOidcClient,
    ClusterIdentityListOidcClients,
    ClusterIdentityGetOidcClient,
    ClusterIdentityDeleteOidcClient,
    ClusterDebugDump,
    ClusterLicenseActivate,
    ClusterLicenseGetCode,
    ClusterLicenseAddCluster,
    ClusterLicenseUpdateCluster,
    ClusterLicenseDeleteCluster,
    ClusterLicenseListClusters,
    ClusterDeleteAll,
    ClusterAuthGetRobotToken,
    ClusterAuthDeleteExpiredTokens,
    ClusterAuthGetPermissionsForPrincipal,
    ClusterAuthRevokeUserTokens,
    ClusterCreateSecret,
    ClusterListSecrets,
    SecretDelete,
    SecretInspect,
    ClusterAuthRotateRootToken,
    ClusterGetPachdLogs,
    ClusterEnterprisePause,
    ClusterGetLokiLogs,
    ClusterEditClusterMetadata,
    RepoRead,
    RepoWrite,
    RepoModifyBindings,
    RepoDelete,
    RepoInspectCommit,
    RepoListCommit,
    RepoDeleteCommit,
    RepoCreateBranch,
    RepoListBranch,
    RepoDeleteBranch,
    RepoInspectFile,
    RepoListFile,
    RepoAddPipelineReader,
    RepoRemovePipelineReader,
    RepoAddPipelineWriter,
    PipelineListJob,
    ClusterSetDefaults,
    ProjectSetDefaults,
    ProjectCreate,
    ProjectDelete,
    ProjectListRepo,
    ProjectCreateRepo,
    ProjectModifyBindings,
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
