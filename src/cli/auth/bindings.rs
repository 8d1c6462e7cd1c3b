//! Who has which roles.

use clap::Subcommand;
use muster_proto::auth_v2::{
    GetPermissionsForPrincipalRequest, GetPermissionsRequest, GetRoleBindingRequest,
    ModifyRoleBindingRequest, Permission, Resource, ResourceType, RoleBinding,
};

use crate::cli::output::{self, Failure};
use crate::cli::pachctl::config::Which;
use crate::cli::pachctl::connect::{Invocation, Server};
use crate::cli::pachctl::failures::scrubbed;

/// On what.
#[derive(Debug, Subcommand)]
pub(crate) enum On {
    /// The active context's cluster.
    Cluster,
    /// The enterprise server.
    Enterprise,
    /// A project.
    Project {
        /// Its name.
        project: String,
    },
    /// A repo.
    #[command(alias = "repos")]
    Repo {
        /// Its name.
        repo: String,
        /// Its project; the active context's if not given.
        #[arg(long)]
        project: Option<String>,
    },
}

/// Who gets which roles on what.
#[derive(Debug, Subcommand)]
pub(crate) enum Set {
    /// On the active context's cluster.
    Cluster {
        /// Comma separated; `none` takes all away.
        roles: String,
        /// Such as `user:a@b.c`, `robot:r`, `group:g` or `allClusterUsers`.
        subject: String,
    },
    /// On the enterprise server.
    Enterprise {
        /// Comma separated; `none` takes all away.
        roles: String,
        /// Such as `user:a@b.c`, `robot:r`, `group:g` or `allClusterUsers`.
        subject: String,
    },
    /// On a project.
    Project {
        /// Its name.
        project: String,
        /// Comma separated; `none` takes all away.
        roles: String,
        /// Such as `user:a@b.c`, `robot:r`, `group:g` or `allClusterUsers`.
        subject: String,
    },
    /// On a repo.
    #[command(alias = "repos")]
    Repo {
        /// Its name.
        repo: String,
        /// Comma separated; `none` takes all away.
        roles: String,
        /// Such as `user:a@b.c`, `robot:r`, `group:g` or `allClusterUsers`.
        subject: String,
        /// Its project; the active context's if not given.
        #[arg(long)]
        project: Option<String>,
    },
}

/// Whose permissions on what.
#[derive(Debug, Subcommand)]
pub(crate) enum Check {
    /// On a project.
    Project {
        /// Its name.
        project: String,
        /// Whose; the caller's if not given.
        user: Option<String>,
    },
    /// On a repo.
    #[command(alias = "repos")]
    Repo {
        /// Its name.
        repo: String,
        /// Whose; the caller's if not given.
        user: Option<String>,
        /// Its project; the active context's if not given.
        #[arg(long)]
        project: Option<String>,
    },
}

impl On {
    fn which(&self) -> Which {
        if matches!(self, On::Enterprise) { Which::Enterprise } else { Which::Active }
    }

    fn resource(self, server: &Server) -> Resource {
        let (kind, name) = match self {
            On::Cluster | On::Enterprise => (ResourceType::Cluster, String::new()),
            On::Project { project } => (ResourceType::Project, project),
            On::Repo { repo, project } => {
                let own = &server.context.context.project;
                let own = if own.is_empty() { "default" } else { own };
                let project = project.unwrap_or_else(|| own.to_owned());
                (ResourceType::Repo, format!("{project}/{repo}"))
            }
        };
        Resource { r#type: kind.into(), name }
    }
}

pub(super) async fn get(on: On, invocation: &Invocation) -> Result<(), Failure> {
    let server = Server::open(invocation, on.which()).await?;
    let request = GetRoleBindingRequest { resource: Some(on.resource(&server)) };
    let answer = server.call(server.auth().get_role_binding(request)).await;
    let binding = answer.map_err(|status| scrubbed(&status))?.binding.unwrap_or_default();
    output::data(&lines(binding))
}

/// One line for each principal, in order.
fn lines(binding: RoleBinding) -> String {
    let mut lines: Vec<String> = binding
        .entries
        .into_iter()
        .map(|(principal, roles)| {
            let mut names: Vec<String> = roles.roles.into_keys().collect();
            names.sort();
            format!("{principal}: [{}]\n", names.join(" "))
        })
        .collect();
    lines.sort();
    lines.concat()
}

pub(super) async fn set(command: Set, invocation: &Invocation) -> Result<(), Failure> {
    let (on, roles, principal) = match command {
        Set::Cluster { roles, subject } => (On::Cluster, roles, subject),
        Set::Enterprise { roles, subject } => (On::Enterprise, roles, subject),
        Set::Project { project, roles, subject } => (On::Project { project }, roles, subject),
        Set::Repo { repo, roles, subject, project } => (On::Repo { repo, project }, roles, subject),
    };
    let server = Server::open(invocation, on.which()).await?;
    let roles = match roles.as_str() {
        "none" => Vec::new(),
        roles => roles.split(',').map(str::to_owned).collect(),
    };
    let resource = Some(on.resource(&server));
    let request = ModifyRoleBindingRequest { resource, principal, roles };
    let answer = server.call(server.auth().modify_role_binding(request)).await;
    answer.map(drop).map_err(|status| scrubbed(&status))
}

pub(super) async fn check(command: Check, invocation: &Invocation) -> Result<(), Failure> {
    let (on, user) = match command {
        Check::Project { project, user } => (On::Project { project }, user),
        Check::Repo { repo, user, project } => (On::Repo { repo, project }, user),
    };
    let server = Server::open(invocation, on.which()).await?;
    let resource = Some(on.resource(&server));
    let mut auth = server.auth();
    let answer = match user {
        None => server.call(auth.get_permissions(GetPermissionsRequest { resource })).await,
        Some(principal) => {
            let request = GetPermissionsForPrincipalRequest { resource, principal };
            server.call(auth.get_permissions_for_principal(request)).await
        }
    };
    let held = answer.map_err(|status| scrubbed(&status))?;
    let names: Vec<&str> = held.permissions().map(|it: Permission| it.as_str_name()).collect();
    let roles = held.roles.join(" ");
    output::data(&format!("Roles: [{roles}]\nPermissions: [{}]\n", names.join(" ")))
}
