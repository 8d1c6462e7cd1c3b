//! Decisions: who a caller is, and whether a principal may.

use std::sync::Arc;

use muster_hooks::mutant;
use muster_proto::auth_v2::{Permission, ResourceType};
use muster_proto::muster::log::v1::{
    self, Caller, LicenseState, Rejection, RejectionKind, caller::Who,
};

use crate::state::access::Need;
use crate::state::auth::Auth;
use crate::state::auth::bindings::Resource;
use crate::state::auth::principal::{self, Principal};
use crate::state::auth::roles::{self, Role};
use crate::state::auth::tokens::Token;
use crate::state::secret;
use crate::state::time::LogTime;
use crate::state::{State, rejection};

/// Which of the permissions asked for a principal holds, in the order of their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorization {
    /// Held.
    pub satisfied: Vec<Permission>,
    /// Not held; none = authorized.
    pub missing: Vec<Permission>,
}

/// What a principal has on a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// The roles that count there, by name.
    pub roles: Vec<&'static Role>,
    /// What these permit, in the order of the numbers, each once (D-40).
    pub permissions: Vec<Permission>,
}

impl State {
    /// Decides who the caller is, and says no when that is not enough for what is needed at `now`.
    ///
    /// # Errors
    ///
    /// A rejection that names what is missing.
    pub fn admit(
        &self,
        caller: Option<&Caller>,
        need: Need,
        now: LogTime,
    ) -> Result<Principal, Rejection> {
        let who = caller.and_then(|caller| caller.who.as_ref());
        if let Some(Who::Internal(part)) = who {
            let part = v1::Internal::try_from(*part).unwrap_or(v1::Internal::Unspecified);
            return Ok(Principal::Server(part));
        }
        let permission = match need {
            Need::Open => return Ok(Principal::Nobody),
            Need::Internal => return Err(rejection::plain(RejectionKind::InternalOnly)),
            Need::TokenIfOn | Need::PermissionIfOn(_) if !self.auth.is_on() => {
                return Ok(Principal::Nobody);
            }
            Need::Token | Need::TokenIfOn => None,
            Need::Permission(permission) | Need::PermissionIfOn(permission) => Some(permission),
        };
        let token = self.signed_in(who, now)?;
        let principal = Principal::Named(Arc::clone(&token.subject));
        if let Some(permission) = permission {
            self.auth.require(&principal, &[permission], &Resource::Cluster)?;
        }
        Ok(principal)
    }

    /// The valid token of a caller, in upstream's order of checks.
    ///
    /// # Errors
    ///
    /// When auth is off, the token absent, unknown or expired, or the server's gate closed to its
    /// owner.
    pub fn token_of(&self, caller: Option<&Caller>, now: LogTime) -> Result<&Token, Rejection> {
        self.signed_in(caller.and_then(|caller| caller.who.as_ref()), now)
    }

    fn signed_in(&self, who: Option<&Who>, now: LogTime) -> Result<&Token, Rejection> {
        if !self.auth.is_on() {
            return Err(rejection::plain(RejectionKind::AuthNotActivated));
        }
        let Some(Who::TokenDigest(digest)) = who else {
            return Err(rejection::plain(RejectionKind::TokenAbsent));
        };
        let token = secret::read("token_digest", digest)
            .ok()
            .and_then(|digest| self.auth.tokens.get(&digest))
            .ok_or_else(|| rejection::plain(RejectionKind::TokenUnknown))?;
        let now = now.max(self.time);
        self.auth.pass_gate(&token.subject, self.enterprise.state(now))?;
        if token.is_expired(now) {
            return Err(rejection::plain(RejectionKind::TokenExpired));
        }
        Ok(token)
    }
}

impl Auth {
    /// Says no to a principal that may not act while the server's own gate is not active. A closed
    /// gate is open to root, to pipelines, and to whoever is bound as clusterAdmin by name.
    pub(super) fn pass_gate(&self, name: &str, gate: LicenseState) -> Result<(), Rejection> {
        let is_admin = || {
            let binding = self.bindings.get(&Resource::Cluster);
            let roles = binding.and_then(|binding| binding.get(name));
            roles.is_some_and(|roles| roles.contains(&&roles::CLUSTER_ADMIN))
        };
        if gate == LicenseState::Active || principal::passes_gate(name) || is_admin() {
            return Ok(());
        }
        Err(Rejection {
            license_state: gate.into(),
            ..rejection::about(RejectionKind::GateClosed, name)
        })
    }

    /// Says no to a principal that does not hold all of these on the resource.
    pub(super) fn require(
        &self,
        principal: &Principal,
        asked: &[Permission],
        resource: &Resource,
    ) -> Result<(), Rejection> {
        if matches!(principal, Principal::Server(_)) {
            return Ok(());
        }
        let missing = self.authorize(principal.name(), asked, resource)?.missing;
        if missing.is_empty() || mutant!(BindingIgnored) {
            return Ok(());
        }
        Err(Rejection {
            subject: principal.name().to_owned(),
            permissions: asked.iter().map(|permission| i32::from(*permission)).collect(),
            ..resource.rejection(RejectionKind::NotAuthorized)
        })
    }

    /// Splits what is asked into what the principal holds on the resource and what not, looking from
    /// the cluster inwards until everything is held.
    ///
    /// # Errors
    ///
    /// When something is still missing and the resource is not known.
    pub fn authorize(
        &self,
        principal: &str,
        asked: &[Permission],
        resource: &Resource,
    ) -> Result<Authorization, Rejection> {
        let mut missing = asked.to_vec();
        missing.sort_by_key(|permission| i32::from(*permission));
        missing.dedup();
        let mut satisfied = Vec::new();
        for level in resource.levels() {
            for role in self.roles_on(&level, principal) {
                satisfied.extend(missing.extract_if(.., |it| role.permits(*it)));
            }
            if missing.is_empty() {
                break;
            }
        }
        if !missing.is_empty() && self.bindings.get(resource).is_none() {
            return Err(resource.rejection(RejectionKind::RoleBindingAbsent));
        }
        satisfied.sort_by_key(|permission| i32::from(*permission));
        Ok(Authorization { satisfied, missing })
    }

    /// As [`Auth::authorize`] for a resource as the wire names it, spec repos included: what a reader
    /// of a repo may, everybody may there.
    ///
    /// # Errors
    ///
    /// Those of [`Resource::read`] as well.
    pub fn authorize_on_wire(
        &self,
        principal: &str,
        asked: &[Permission],
        resource: &v1::Resource,
    ) -> Result<Authorization, Rejection> {
        if resource.r#type != i32::from(ResourceType::SpecRepo) {
            return self.authorize(principal, asked, &Resource::read(resource)?);
        }
        let repo = Resource::repo(&resource.name)?;
        let (open, guarded): (Vec<Permission>, Vec<Permission>) =
            asked.iter().partition(|permission| roles::REPO_READER.permits(**permission));
        let mut decided = if guarded.is_empty() {
            Authorization::default()
        } else {
            self.authorize(principal, &guarded, &repo)?
        };
        decided.satisfied.extend(open);
        decided.satisfied.sort_by_key(|permission| i32::from(*permission));
        decided.satisfied.dedup();
        Ok(decided)
    }

    /// The roles of a principal that count for this kind of resource, and what they permit.
    ///
    /// # Errors
    ///
    /// When the resource is not known.
    pub fn holdings(&self, principal: &str, resource: &Resource) -> Result<Holdings, Rejection> {
        if self.bindings.get(resource).is_none() {
            return Err(resource.rejection(RejectionKind::RoleBindingAbsent));
        }
        let mut roles: Vec<&'static Role> = resource
            .levels()
            .iter()
            .flat_map(|level| self.roles_on(level, principal))
            .filter(|role| role.returned_for.contains(&resource.kind()))
            .collect();
        roles.sort_by_key(|role| role.name);
        roles.dedup();
        let permissions = roles::ALL
            .iter()
            .copied()
            .filter(|permission| roles.iter().any(|role| role.permits(*permission)))
            .collect();
        Ok(Holdings { roles, permissions })
    }

    /// The roles that one binding gives a principal: by its name, as one of everybody, and through
    /// its groups.
    fn roles_on(&self, resource: &Resource, principal: &str) -> Vec<&'static Role> {
        let Some(binding) = self.bindings.get(resource) else {
            return Vec::new();
        };
        [principal, principal::EVERYBODY]
            .into_iter()
            .chain(self.groups.of(principal).map(AsRef::as_ref))
            .filter_map(|name| binding.get(name))
            .flat_map(|roles| roles.iter().copied())
            .collect()
    }
}

/// Every role that contains the permission, by name.
pub fn roles_for(permission: Permission) -> impl Iterator<Item = &'static Role> {
    roles::ROLES.into_iter().filter(move |role| role.permits(permission))
}
