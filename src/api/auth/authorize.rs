//! Who the caller is, and who may do what.

use muster_proto::auth_v2::{
    AuthorizeRequest, AuthorizeResponse, GetPermissionsForPrincipalRequest, GetPermissionsRequest,
    GetPermissionsResponse, GetRolesForPermissionRequest, GetRolesForPermissionResponse,
    Permission, Resource as WireResource, ResourceType, Role as WireRole, WhoAmIRequest,
    WhoAmIResponse,
};
use muster_proto::muster::log::v1::Rejection;
use tonic::{Request, Status};

use super::bindings::read;
use super::{AuthService, required, within};
use crate::actors::{Call, CallError};
use crate::state::access::Need;
use crate::state::auth::Auth;
use crate::state::auth::bindings::Resource;
use crate::state::auth::decide::{self, Holdings};
use crate::state::auth::roles::{self, Role};

impl AuthService {
    pub(super) async fn name_caller(
        &self,
        call: Call,
        _request: Request<WhoAmIRequest>,
    ) -> Result<WhoAmIResponse, Status> {
        let view = self.current(&call).await?;
        let token = view.token_of(Some(&call.caller), self.now()).map_err(CallError::Rejected)?;
        Ok(WhoAmIResponse {
            username: token.subject.to_string(),
            expiration: token.expires.on_wire(),
        })
    }

    pub(super) async fn decide(
        &self,
        call: Call,
        request: Request<AuthorizeRequest>,
    ) -> Result<AuthorizeResponse, Status> {
        let asked = request.into_inner();
        let resource = asked.resource.ok_or_else(|| required("AuthorizeRequest", "Resource"))?;
        let (view, who) = self.view(&call, Need::Token).await?;
        // A number that this version does not know is held by nobody.
        let (known, unknown) = split(&asked.permissions);
        let decided = view
            .auth()
            .authorize_on_wire(who.name(), &known, &read(&resource))
            .map_err(CallError::Rejected)?;
        let missing: Vec<i32> = numbers(&decided.missing).chain(unknown).collect();
        Ok(AuthorizeResponse {
            authorized: missing.is_empty(),
            satisfied: numbers(&decided.satisfied).collect(),
            missing,
            principal: who.name().to_owned(),
        })
    }

    pub(super) async fn own_permissions(
        &self,
        call: Call,
        request: Request<GetPermissionsRequest>,
    ) -> Result<GetPermissionsResponse, Status> {
        let (view, who) = self.view(&call, Need::Token).await?;
        let resource = request.into_inner().resource;
        let resource = resource.ok_or_else(|| required("GetPermissionsRequest", "Resource"))?;
        permissions(view.auth(), who.name(), &resource)
            .map_err(|inner| within("cannot get permissions for principal", &inner))
    }

    pub(super) async fn permissions_of(
        &self,
        call: Call,
        request: Request<GetPermissionsForPrincipalRequest>,
    ) -> Result<GetPermissionsResponse, Status> {
        let need = Need::Permission(Permission::ClusterAuthGetPermissionsForPrincipal);
        let (view, _) = self.view(&call, need).await?;
        let asked = request.into_inner();
        let missing = || required("GetPermissionsForPrincipalRequest", "Resource");
        permissions(view.auth(), &asked.principal, &asked.resource.ok_or_else(missing)?)
    }

    pub(super) async fn roles_for(
        &self,
        call: Call,
        request: Request<GetRolesForPermissionRequest>,
    ) -> Result<GetRolesForPermissionResponse, Status> {
        self.view(&call, Need::Token).await?;
        let permission = Permission::try_from(request.into_inner().permission);
        let roles = permission.into_iter().flat_map(decide::roles_for).map(on_wire).collect();
        Ok(GetRolesForPermissionResponse { roles })
    }
}

fn split(permissions: &[i32]) -> (Vec<Permission>, Vec<i32>) {
    let mut known = Vec::new();
    let mut unknown = Vec::new();
    for number in permissions {
        match Permission::try_from(*number) {
            Ok(permission) => known.push(permission),
            Err(_) => unknown.push(*number),
        }
    }
    unknown.sort_unstable();
    unknown.dedup();
    (known, unknown)
}

fn numbers(permissions: &[Permission]) -> impl Iterator<Item = i32> {
    permissions.iter().map(|permission| i32::from(*permission))
}

fn permissions(
    auth: &Auth,
    principal: &str,
    resource: &WireResource,
) -> Result<GetPermissionsResponse, Status> {
    let held = holdings(auth, principal, resource)
        .map_err(|no| within("cannot evaluate role binding", &CallError::Rejected(no).into()))?;
    Ok(GetPermissionsResponse {
        permissions: numbers(&held.permissions).collect(),
        roles: held.roles.iter().map(|role| role.name.to_owned()).collect(),
    })
}

/// A spec repo is the repo itself, which everybody may read.
fn holdings(auth: &Auth, principal: &str, resource: &WireResource) -> Result<Holdings, Rejection> {
    if resource.r#type() != ResourceType::SpecRepo {
        return auth.holdings(principal, &Resource::read(&read(resource))?);
    }
    let repo = Resource::repo(&resource.name)?;
    let mut held = auth.holdings(principal, &repo).unwrap_or_default();
    held.roles.extend(roles::role("repoReader"));
    held.roles.sort_by_key(|role| role.name);
    held.roles.dedup();
    let permits = |permission: &Permission| held.roles.iter().any(|role| role.permits(*permission));
    held.permissions = roles::ALL.iter().copied().filter(permits).collect();
    Ok(held)
}

fn on_wire(role: &Role) -> WireRole {
    let kinds = |kinds: &[ResourceType]| kinds.iter().map(|kind| i32::from(*kind)).collect();
    WireRole {
        name: role.name.to_owned(),
        permissions: numbers(&role.permissions()).collect(),
        can_be_bound_to: kinds(role.bindable),
        returned_for: kinds(role.returned_for),
    }
}
