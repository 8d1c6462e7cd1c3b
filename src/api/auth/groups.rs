//! Who is in which group.

use std::sync::Arc;

use muster_proto::auth_v2::{
    GetGroupsForPrincipalRequest, GetGroupsRequest, GetGroupsResponse, GetUsersRequest,
    GetUsersResponse, ModifyMembersRequest, ModifyMembersResponse, Permission,
    SetGroupsForUserRequest, SetGroupsForUserResponse,
};
use muster_proto::muster::log::v1::{ModifyMembers, SetGroups};
use tonic::{Request, Status};

use super::AuthService;
use crate::actors::Call;
use crate::state::access::Need;

impl AuthService {
    pub(super) async fn set_groups(
        &self,
        call: Call,
        request: Request<SetGroupsForUserRequest>,
    ) -> Result<SetGroupsForUserResponse, Status> {
        let asked = request.into_inner();
        let groups = SetGroups { principal: asked.username, groups: asked.groups };
        self.session.set_groups(call, groups).await?;
        Ok(SetGroupsForUserResponse {})
    }

    pub(super) async fn change_members(
        &self,
        call: Call,
        request: Request<ModifyMembersRequest>,
    ) -> Result<ModifyMembersResponse, Status> {
        let asked = request.into_inner();
        let members = ModifyMembers { group: asked.group, add: asked.add, remove: asked.remove };
        self.session.modify_members(call, members).await?;
        Ok(ModifyMembersResponse {})
    }

    pub(super) async fn own_groups(
        &self,
        call: Call,
        _request: Request<GetGroupsRequest>,
    ) -> Result<GetGroupsResponse, Status> {
        let (view, who) = self.view(&call, Need::Token).await?;
        Ok(GetGroupsResponse { groups: names(view.auth().groups().of(who.name())) })
    }

    pub(super) async fn groups_of(
        &self,
        call: Call,
        request: Request<GetGroupsForPrincipalRequest>,
    ) -> Result<GetGroupsResponse, Status> {
        let (view, _) =
            self.view(&call, Need::Permission(Permission::ClusterAuthGetGroups)).await?;
        let principal = request.into_inner().principal;
        Ok(GetGroupsResponse { groups: names(view.auth().groups().of(&principal)) })
    }

    /// Without a group: everybody who ever was in one.
    pub(super) async fn members_of(
        &self,
        call: Call,
        request: Request<GetUsersRequest>,
    ) -> Result<GetUsersResponse, Status> {
        let need = Need::Permission(Permission::ClusterAuthGetGroupUsers);
        let (view, _) = self.view(&call, need).await?;
        let groups = view.auth().groups();
        let group = request.into_inner().group;
        let usernames = if group.is_empty() {
            names(groups.principals())
        } else {
            names(groups.members(&group))
        };
        Ok(GetUsersResponse { usernames })
    }
}

fn names<'a>(found: impl Iterator<Item = &'a Arc<str>>) -> Vec<String> {
    found.map(ToString::to_string).collect()
}
