//! `identity_v2.API` of a server whose auth is off: every method needs a permission, so each says
//! that with the text that clients match.

use muster_proto::identity_v2::{self, api_server::Api};
use tonic::{Request, Response, Status};

use super::status::AUTH_OFF;

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
    set_identity_server_config(SetIdentityServerConfigRequest) -> SetIdentityServerConfigResponse: AUTH_OFF;
    get_identity_server_config(GetIdentityServerConfigRequest) -> GetIdentityServerConfigResponse: AUTH_OFF;
    create_idp_connector(CreateIdpConnectorRequest) -> CreateIdpConnectorResponse: AUTH_OFF;
    update_idp_connector(UpdateIdpConnectorRequest) -> UpdateIdpConnectorResponse: AUTH_OFF;
    list_idp_connectors(ListIdpConnectorsRequest) -> ListIdpConnectorsResponse: AUTH_OFF;
    get_idp_connector(GetIdpConnectorRequest) -> GetIdpConnectorResponse: AUTH_OFF;
    delete_idp_connector(DeleteIdpConnectorRequest) -> DeleteIdpConnectorResponse: AUTH_OFF;
    create_oidc_client(CreateOidcClientRequest) -> CreateOidcClientResponse: AUTH_OFF;
    update_oidc_client(UpdateOidcClientRequest) -> UpdateOidcClientResponse: AUTH_OFF;
    get_oidc_client(GetOidcClientRequest) -> GetOidcClientResponse: AUTH_OFF;
    list_oidc_clients(ListOidcClientsRequest) -> ListOidcClientsResponse: AUTH_OFF;
    delete_oidc_client(DeleteOidcClientRequest) -> DeleteOidcClientResponse: AUTH_OFF;
    delete_all(DeleteAllRequest) -> DeleteAllResponse: AUTH_OFF;
}
