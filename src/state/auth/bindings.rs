//! Which principal has which roles on which resource.

use std::sync::Arc;

use imbl::OrdMap;
use muster_proto::auth_v2::ResourceType;
use muster_proto::muster::log::v1::{self, Rejection, RejectionKind};

use crate::state::auth::roles::{self, Role};
use crate::state::{limits, rejection};

/// What can have a binding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// The server itself.
    Cluster,
    /// By its name.
    Project(Arc<str>),
    /// By the names of its project and its own.
    Repo(Arc<str>, Arc<str>),
}

/// The roles of each principal on one resource.
pub type Binding = OrdMap<Arc<str>, Roles>;

/// By name, each once, at least one.
pub type Roles = Arc<[&'static Role]>;

/// All bindings.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    by_resource: OrdMap<Resource, Binding>,
}

impl Resource {
    /// Reads a resource; a spec repo is not one of them.
    ///
    /// # Errors
    ///
    /// When its type is another one, or a repo's name has not the form `<project>/<repo>`.
    pub fn read(given: &v1::Resource) -> Result<Resource, Rejection> {
        limits::check_text("resource.name", &given.name, limits::PRINCIPAL_BYTES_MAX)?;
        match ResourceType::try_from(given.r#type) {
            Ok(ResourceType::Cluster) => Ok(Resource::Cluster),
            Ok(ResourceType::Project) => Ok(Resource::Project(Arc::from(given.name.as_str()))),
            Ok(ResourceType::Repo) => Resource::repo(&given.name),
            _ => Err(Rejection {
                resource_type: given.r#type,
                ..rejection::plain(RejectionKind::ResourceTypeUnknown)
            }),
        }
    }

    /// A repo by its name `<project>/<repo>`.
    ///
    /// # Errors
    ///
    /// When the name has another form.
    pub fn repo(name: &str) -> Result<Resource, Rejection> {
        match name.split_once('/') {
            Some((project, repo)) if !project.is_empty() && !repo.is_empty() => {
                Ok(Resource::Repo(Arc::from(project), Arc::from(repo)))
            }
            _ => Err(Rejection {
                resource_name: name.to_owned(),
                ..rejection::plain(RejectionKind::ResourceNameInvalid)
            }),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> ResourceType {
        match self {
            Resource::Cluster => ResourceType::Cluster,
            Resource::Project(_) => ResourceType::Project,
            Resource::Repo(..) => ResourceType::Repo,
        }
    }

    /// Its name; empty for the cluster.
    pub fn name(&self) -> String {
        match self {
            Resource::Cluster => String::new(),
            Resource::Project(name) => name.as_ref().to_owned(),
            Resource::Repo(project, repo) => format!("{project}/{repo}"),
        }
    }

    /// Everything whose bindings count here, from the widest to itself.
    pub(super) fn levels(&self) -> Vec<Resource> {
        match self {
            Resource::Cluster => vec![Resource::Cluster],
            Resource::Project(_) => vec![Resource::Cluster, self.clone()],
            Resource::Repo(project, _) => {
                vec![Resource::Cluster, Resource::Project(Arc::clone(project)), self.clone()]
            }
        }
    }

    pub(in crate::state) fn on_wire(&self) -> v1::Resource {
        v1::Resource { r#type: self.kind().into(), name: self.name() }
    }

    /// A rejection about it.
    pub(super) fn rejection(&self, kind: RejectionKind) -> Rejection {
        Rejection {
            resource_type: self.kind().into(),
            resource_name: self.name(),
            ..rejection::plain(kind)
        }
    }
}

impl Bindings {
    /// The binding of a resource that is known.
    pub fn get(&self, resource: &Resource) -> Option<&Binding> {
        self.by_resource.get(resource)
    }

    /// All bindings in the order of their resources.
    pub fn iter(&self) -> impl Iterator<Item = (&Resource, &Binding)> {
        self.by_resource.iter()
    }

    /// Resources and entries together: what the bound is about. A replica has few resources, so they
    /// are counted rather than kept in a number that could be wrong.
    pub fn size(&self) -> usize {
        self.by_resource.values().map(|binding| 1 + binding.len()).sum()
    }

    pub(in crate::state) fn create(&mut self, resource: Resource) {
        self.by_resource.entry(resource).or_default();
    }

    pub(in crate::state) fn set(
        &mut self,
        resource: &Resource,
        principal: &str,
        roles: Vec<&'static Role>,
    ) {
        let Some(binding) = self.by_resource.get_mut(resource) else {
            return;
        };
        if roles.is_empty() {
            binding.remove(principal);
        } else {
            binding.insert(Arc::from(principal), Arc::from(roles));
        }
    }
}

/// Reads names of roles for a kind of resource: all known, all with a meaning there (D-31).
pub(super) fn read_roles(
    names: &[String],
    kind: ResourceType,
) -> Result<Vec<&'static Role>, Rejection> {
    let mut roles = Vec::new();
    for name in names {
        let Some(role) = roles::role(name) else {
            limits::check_text("role", name, limits::PRINCIPAL_BYTES_MAX)?;
            return Err(rejection::about(RejectionKind::RoleUnknown, name));
        };
        if !role.bindable.contains(&kind) {
            return Err(Rejection {
                resource_type: kind.into(),
                ..rejection::about(RejectionKind::RoleNotBindable, name)
            });
        }
        roles.push(role);
    }
    roles.sort_by_key(|role| role.name);
    roles.dedup();
    Ok(roles)
}
