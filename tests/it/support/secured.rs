//! A group whose auth is on, and its callers.

use muster_proto::auth_v2::{
    ActivateRequest, GetRobotTokenRequest, ModifyRoleBindingRequest, Resource, ResourceType,
    WhoAmIRequest, WhoAmIResponse,
};
use muster_proto::license_v2::AddClusterRequest;
use tonic::{Request, Status};

use super::authority::code;
use super::client::Client;
use super::replicas::{Replicas, Setup};

pub(crate) const ROOT: &str = "a-root-token-of-the-tests-0123456789";
const SELF: &str = "grpc://localhost:1653";

/// A message that carries a token; an empty one carries none.
pub(crate) fn signed<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    if !token.is_empty() {
        request.metadata_mut().insert("authn-token", token.parse().unwrap());
    }
    request
}

/// Stores a license and ties the server to itself.
pub(crate) async fn license(client: &Client) {
    client.activate(&code()).await.unwrap();
    let request = AddClusterRequest {
        id: "localhost".to_owned(),
        address: SELF.to_owned(),
        user_address: SELF.to_owned(),
        secret: "localhost".to_owned(),
        enterprise_server: true,
        ..AddClusterRequest::default()
    };
    client.add_cluster(request).await.unwrap();
    client.join(SELF, "localhost", "localhost").await.unwrap();
}

pub(crate) async fn secured(size: usize) -> Replicas {
    secured_with(size, Setup::default()).await
}

/// Replicas with a license and auth on, whose root token is [`ROOT`].
pub(crate) async fn secured_with(size: usize, setup: Setup) -> Replicas {
    let world = Replicas::start_with(size, setup);
    secure(&world.client(0)).await;
    world
}

/// Stores a license, ties the server to itself and turns auth on with [`ROOT`].
pub(crate) async fn secure(client: &Client) {
    license(client).await;
    let request = ActivateRequest { root_token: ROOT.to_owned() };
    let activated = client.auth.clone().activate(request).await.unwrap().into_inner();
    assert_eq!(activated.pach_token, ROOT);
}

/// A new token for a robot.
pub(crate) async fn robot(client: &Client, name: &str, ttl: i64) -> String {
    let request = GetRobotTokenRequest { robot: name.to_owned(), ttl };
    client.auth.clone().get_robot_token(signed(request, ROOT)).await.unwrap().into_inner().token
}

pub(crate) fn cluster() -> Resource {
    Resource { r#type: ResourceType::Cluster.into(), name: String::new() }
}

pub(crate) async fn bind(
    client: &Client,
    token: &str,
    principal: &str,
    roles: &[&str],
) -> Result<(), Status> {
    let request = ModifyRoleBindingRequest {
        resource: Some(cluster()),
        principal: principal.to_owned(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
    };
    client.auth.clone().modify_role_binding(signed(request, token)).await.map(drop)
}

pub(crate) async fn who(client: &Client, token: &str) -> Result<WhoAmIResponse, Status> {
    let answer = client.auth.clone().who_am_i(signed(WhoAmIRequest {}, token)).await?;
    Ok(answer.into_inner())
}
