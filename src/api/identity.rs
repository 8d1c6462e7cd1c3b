//! `identity_v2.API` of a server without a provider: every method says so, in words that match no text
//! that clients search for.

use muster_proto::identity_v2::{self, api_server::Api};
use tonic::{Request, Response, Status};

/// Why nothing is done.
const NOT_BUILT: &str = "this version of Muster has no identity provider of its own";

/// The service.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdentityService;

/// Answers every method with the status that is named behind it.
macro_rules! off {
    ($($method:ident($request:ident) -> $response:ident: $text:ident;)*) => {
        #[tonic::async_trait]
        impl Api for IdentityService {
            $(async fn $method(
                &self,
                _request: Request<identity_v2::$request>,
            ) -> Result<Response<identity_v2::$response>, Status> {
                Err(Status::unimplemented($text))
            })*
        }
    };
}

off! {
    set_identity_server_config(SetIdentityServerConfigRequest) -> SetIdentityServerConfigResponse: NOT_BUILT;
    get_identity_server_config(GetIdentityServerConfigRequest) -> GetIdentityServerConfigResponse: NOT_BUILT;
    create_idp_connector(CreateIdpConnectorRequest) -> CreateIdpConnectorResponse: NOT_BUILT;
    update_idp_connector(UpdateIdpConnectorRequest) -> UpdateIdpConnectorResponse: NOT_BUILT;
    list_idp_connectors(ListIdpConnectorsRequest) -> ListIdpConnectorsResponse: NOT_BUILT;
    get_idp_connector(GetIdpConnectorRequest) -> GetIdpConnectorResponse: NOT_BUILT;
    delete_idp_connector(DeleteIdpConnectorRequest) -> DeleteIdpConnectorResponse: NOT_BUILT;
    create_oidc_client(CreateOidcClientRequest) -> CreateOidcClientResponse: NOT_BUILT;
    update_oidc_client(UpdateOidcClientRequest) -> UpdateOidcClientResponse: NOT_BUILT;
    get_oidc_client(GetOidcClientRequest) -> GetOidcClientResponse: NOT_BUILT;
    list_oidc_clients(ListOidcClientsRequest) -> ListOidcClientsResponse: NOT_BUILT;
    delete_oidc_client(DeleteOidcClientRequest) -> DeleteOidcClientResponse: NOT_BUILT;
    delete_all(DeleteAllRequest) -> DeleteAllResponse: NOT_BUILT;
}
