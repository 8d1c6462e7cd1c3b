//! `identity_v2.API` of a server without a provider: whoever may ask is told that there is none, in
//! words that match no text that clients search for; everybody else is refused as everywhere.

use std::sync::Arc;

use muster_proto::auth_v2::Permission;
use muster_proto::identity_v2::{self, api_server::Api};
use tonic::{Request, Response, Status};

use super::caller::Desk;
use crate::actors::{CallError, Reader};
use crate::clock::Clock;
use crate::state::LogTime;
use crate::state::access::Need;

/// Why nothing is done.
const NOT_BUILT: &str = "this version of Muster has no identity provider of its own";

/// The service.
#[derive(Clone)]
pub(super) struct IdentityService {
    pub(super) reader: Reader,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) desk: Desk,
}

impl IdentityService {
    async fn answer<T, U>(
        &self,
        request: Request<T>,
        permission: Permission,
    ) -> Result<Response<U>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        let view = self.reader.current(call.deadline).await?;
        let now = LogTime(self.clock.now().0);
        view.admit(Some(&call.caller), Need::Permission(permission), now)
            .map_err(CallError::Rejected)?;
        Err(Status::unimplemented(NOT_BUILT))
    }
}

/// Each method with the permission that it needs.
macro_rules! methods {
    ($($method:ident($request:ident) -> $response:ident: $permission:ident;)*) => {
        #[tonic::async_trait]
        impl Api for IdentityService {
            $(async fn $method(
                &self,
                request: Request<identity_v2::$request>,
            ) -> Result<Response<identity_v2::$response>, Status> {
                self.answer(request, Permission::$permission).await
            })*
        }
    };
}

methods! {
    set_identity_server_config(SetIdentityServerConfigRequest) -> SetIdentityServerConfigResponse:
        ClusterIdentitySetConfig;
    get_identity_server_config(GetIdentityServerConfigRequest) -> GetIdentityServerConfigResponse:
        ClusterIdentityGetConfig;
    create_idp_connector(CreateIdpConnectorRequest) -> CreateIdpConnectorResponse:
        ClusterIdentityCreateIdp;
    update_idp_connector(UpdateIdpConnectorRequest) -> UpdateIdpConnectorResponse:
        ClusterIdentityUpdateIdp;
    list_idp_connectors(ListIdpConnectorsRequest) -> ListIdpConnectorsResponse:
        ClusterIdentityListIdps;
    get_idp_connector(GetIdpConnectorRequest) -> GetIdpConnectorResponse: ClusterIdentityGetIdp;
    delete_idp_connector(DeleteIdpConnectorRequest) -> DeleteIdpConnectorResponse:
        ClusterIdentityDeleteIdp;
    create_oidc_client(CreateOidcClientRequest) -> CreateOidcClientResponse:
        ClusterIdentityCreateOidcClient;
    update_oidc_client(UpdateOidcClientRequest) -> UpdateOidcClientResponse:
        ClusterIdentityUpdateOidcClient;
    get_oidc_client(GetOidcClientRequest) -> GetOidcClientResponse: ClusterIdentityGetOidcClient;
    list_oidc_clients(ListOidcClientsRequest) -> ListOidcClientsResponse:
        ClusterIdentityListOidcClients;
    delete_oidc_client(DeleteOidcClientRequest) -> DeleteOidcClientResponse:
        ClusterIdentityDeleteOidcClient;
    delete_all(DeleteAllRequest) -> DeleteAllResponse: ClusterDeleteAll;
}
