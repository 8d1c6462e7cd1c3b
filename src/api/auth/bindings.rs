//! Who has which roles on what.

use muster_proto::auth_v2::{
    GetRoleBindingRequest, GetRoleBindingResponse, ModifyRoleBindingRequest,
    ModifyRoleBindingResponse, Resource as WireResource, RoleBinding, Roles,
};
use muster_proto::muster::log::v1::{self as log, ModifyRoleBinding};
use tonic::{Request, Status};

use super::{AuthService, required};
use crate::actors::Call;
use crate::state::access::Need;
use crate::state::auth::bindings::{Binding, Resource};

/// Clients put it on requests that belong to a transaction of theirs.
const TRANSACTION: &str = "pach-transaction";

impl AuthService {
    pub(super) async fn bind(
        &self,
        call: Call,
        request: Request<ModifyRoleBindingRequest>,
    ) -> Result<ModifyRoleBindingResponse, Status> {
        if request.metadata().contains_key(TRANSACTION) {
            let wrong = Status::invalid_argument("role bindings take no part in transactions");
            return self.refuse(&call, Need::Token, wrong).await;
        }
        let asked = request.into_inner();
        let Some(resource) = asked.resource else {
            let wrong = required("ModifyRoleBindingRequest", "Resource");
            return self.refuse(&call, Need::Token, wrong).await;
        };
        let binding = ModifyRoleBinding {
            resource: Some(read(&resource)),
            principal: asked.principal,
            roles: asked.roles,
        };
        self.session.bind(call, binding).await?;
        Ok(ModifyRoleBindingResponse {})
    }

    /// What has no binding has an empty one.
    pub(super) async fn binding(
        &self,
        call: Call,
        request: Request<GetRoleBindingRequest>,
    ) -> Result<GetRoleBindingResponse, Status> {
        let (view, _) = self.view(&call, Need::Token).await?;
        let resource = request.into_inner().resource;
        let resource = resource.ok_or_else(|| required("GetRoleBindingRequest", "Resource"))?;
        let resource = Resource::read(&read(&resource)).ok();
        let found = resource.and_then(|resource| view.auth().bindings().get(&resource));
        Ok(GetRoleBindingResponse { binding: Some(found.map(on_wire).unwrap_or_default()) })
    }
}

/// The resource as the state names it.
pub(super) fn read(resource: &WireResource) -> log::Resource {
    log::Resource { r#type: resource.r#type, name: resource.name.clone() }
}

fn on_wire(binding: &Binding) -> RoleBinding {
    let entries = binding.iter().map(|(principal, roles)| {
        let roles = roles.iter().map(|role| (role.name.to_owned(), true)).collect();
        (principal.to_string(), Roles { roles })
    });
    RoleBinding { entries: entries.collect() }
}
