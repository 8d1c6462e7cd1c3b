//! A client of the wire, one method per step of a script; the raw stubs are public for the odd case.

use std::time::Duration;

use muster_proto::admin_v2::InspectClusterRequest;
use muster_proto::admin_v2::{ClusterInfo, api_client::ApiClient as AdminClient};
use muster_proto::auth_v2::api_client::ApiClient as AuthClient;
use muster_proto::enterprise_v2::{self, api_client::ApiClient as EnterpriseClient};
use muster_proto::identity_v2::api_client::ApiClient as IdentityClient;
use muster_proto::license_v2::{
    self, AddClusterRequest, ClusterStatus, HeartbeatRequest, UpdateClusterRequest,
    UserClusterInfo, api_client::ApiClient as LicenseClient,
};
use muster_proto::muster::v1::replica_client::ReplicaClient;
use muster_proto::muster::v1::{ReplicaStatus, SaveSnapshotResponse};
use muster_proto::versionpb_v2::{Version, api_client::ApiClient as VersionClient};
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

pub(crate) const LIMIT: usize = 20 * 1024 * 1024;

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) channel: Channel,
    pub(crate) license: LicenseClient<Channel>,
    pub(crate) enterprise: EnterpriseClient<Channel>,
    pub(crate) auth: AuthClient<Channel>,
    pub(crate) identity: IdentityClient<Channel>,
    pub(crate) admin: AdminClient<Channel>,
    pub(crate) version: VersionClient<Channel>,
    pub(crate) replica: ReplicaClient<Channel>,
}

impl Client {
    /// A client of `http://host:port`; the first call dials.
    pub(crate) fn new(address: &str) -> Client {
        let endpoint = Endpoint::from_shared(address.to_owned())
            .unwrap()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(20));
        Client::over(endpoint.connect_lazy())
    }

    pub(crate) fn over(channel: Channel) -> Client {
        let license = LicenseClient::new(channel.clone())
            .max_decoding_message_size(LIMIT)
            .max_encoding_message_size(2 * LIMIT);
        Client {
            license,
            enterprise: EnterpriseClient::new(channel.clone()),
            auth: AuthClient::new(channel.clone()),
            identity: IdentityClient::new(channel.clone()),
            admin: AdminClient::new(channel.clone()),
            version: VersionClient::new(channel.clone()),
            replica: ReplicaClient::new(channel.clone()),
            channel,
        }
    }

    // === license ===

    pub(crate) async fn activate(&self, code: &str) -> Result<i64, Status> {
        self.activate_until(code, None).await
    }

    /// Seconds of the stored expiry.
    pub(crate) async fn activate_until(
        &self,
        code: &str,
        expires: Option<i64>,
    ) -> Result<i64, Status> {
        let request = license_v2::ActivateRequest {
            activation_code: code.to_owned(),
            expires: expires.map(timestamp),
        };
        let answer = self.license.clone().activate(request).await?.into_inner();
        Ok(answer.info.unwrap().expires.unwrap().seconds)
    }

    pub(crate) async fn license(&self) -> Result<license_v2::GetActivationCodeResponse, Status> {
        let request = license_v2::GetActivationCodeRequest {};
        Ok(self.license.clone().get_activation_code(request).await?.into_inner())
    }

    pub(crate) async fn license_state(&self) -> Result<enterprise_v2::State, Status> {
        Ok(self.license().await?.state())
    }

    /// The secret of the new registration.
    pub(crate) async fn add(&self, id: &str, address: &str) -> Result<String, Status> {
        self.add_cluster(AddClusterRequest {
            id: id.to_owned(),
            address: address.to_owned(),
            ..AddClusterRequest::default()
        })
        .await
    }

    pub(crate) async fn add_cluster(&self, request: AddClusterRequest) -> Result<String, Status> {
        Ok(self.license.clone().add_cluster(request).await?.into_inner().secret)
    }

    /// Adds with a request id, so that a retry gets the same answer.
    pub(crate) async fn add_once(
        &self,
        request_id: &str,
        id: &str,
        secret: &str,
    ) -> Result<String, Status> {
        let mut request = Request::new(AddClusterRequest {
            id: id.to_owned(),
            address: "grpc://member:30650".to_owned(),
            secret: secret.to_owned(),
            ..AddClusterRequest::default()
        });
        let value: MetadataValue<_> = request_id.parse().unwrap();
        request.metadata_mut().insert("muster-request-id", value);
        Ok(self.license.clone().add_cluster(request).await?.into_inner().secret)
    }

    pub(crate) async fn update(&self, request: UpdateClusterRequest) -> Result<(), Status> {
        self.license.clone().update_cluster(request).await.map(drop)
    }

    pub(crate) async fn delete(&self, id: &str) -> Result<(), Status> {
        let request = license_v2::DeleteClusterRequest { id: id.to_owned() };
        self.license.clone().delete_cluster(request).await.map(drop)
    }

    pub(crate) async fn delete_all(&self) -> Result<(), Status> {
        let request = license_v2::DeleteAllRequest {};
        self.license.clone().delete_all(request).await.map(drop)
    }

    pub(crate) async fn clusters(&self) -> Result<Vec<ClusterStatus>, Status> {
        let request = license_v2::ListClustersRequest {};
        Ok(self.license.clone().list_clusters(request).await?.into_inner().clusters)
    }

    /// One registration as an administrator sees it.
    pub(crate) async fn cluster(&self, id: &str) -> Result<Option<ClusterStatus>, Status> {
        Ok(self.clusters().await?.into_iter().find(|cluster| cluster.id == id))
    }

    pub(crate) async fn user_clusters(&self) -> Result<Vec<UserClusterInfo>, Status> {
        let request = license_v2::ListUserClustersRequest {};
        Ok(self.license.clone().list_user_clusters(request).await?.into_inner().clusters)
    }

    /// The license that the heartbeat brought.
    pub(crate) async fn beat(
        &self,
        id: &str,
        secret: &str,
        version: &str,
    ) -> Result<enterprise_v2::LicenseRecord, Status> {
        let request = HeartbeatRequest {
            id: id.to_owned(),
            secret: secret.to_owned(),
            version: version.to_owned(),
            auth_enabled: false,
            client_id: String::new(),
        };
        Ok(self.license.clone().heartbeat(request).await?.into_inner().license.unwrap())
    }

    // === enterprise ===

    pub(crate) async fn join(&self, server: &str, id: &str, secret: &str) -> Result<(), Status> {
        let request = enterprise_v2::ActivateRequest {
            license_server: server.to_owned(),
            id: id.to_owned(),
            secret: secret.to_owned(),
        };
        self.enterprise.clone().activate(request).await.map(drop)
    }

    pub(crate) async fn standing(&self) -> Result<enterprise_v2::GetStateResponse, Status> {
        let request = enterprise_v2::GetStateRequest {};
        Ok(self.enterprise.clone().get_state(request).await?.into_inner())
    }

    pub(crate) async fn standing_state(&self) -> Result<enterprise_v2::State, Status> {
        Ok(self.standing().await?.state())
    }

    pub(crate) async fn standing_code(
        &self,
    ) -> Result<enterprise_v2::GetActivationCodeResponse, Status> {
        let request = enterprise_v2::GetActivationCodeRequest {};
        Ok(self.enterprise.clone().get_activation_code(request).await?.into_inner())
    }

    pub(crate) async fn sync(&self) -> Result<(), Status> {
        let request = enterprise_v2::HeartbeatRequest {};
        self.enterprise.clone().heartbeat(request).await.map(drop)
    }

    pub(crate) async fn leave(&self) -> Result<(), Status> {
        let request = enterprise_v2::DeactivateRequest {};
        self.enterprise.clone().deactivate(request).await.map(drop)
    }

    // === the rest ===

    pub(crate) async fn inspect(&self) -> Result<ClusterInfo, Status> {
        let request = InspectClusterRequest::default();
        Ok(self.admin.clone().inspect_cluster(request).await?.into_inner())
    }

    pub(crate) async fn version(&self) -> Result<Version, Status> {
        Ok(self.version.clone().get_version(()).await?.into_inner())
    }

    pub(crate) async fn status(&self) -> Result<ReplicaStatus, Status> {
        let request = muster_proto::muster::v1::StatusRequest {};
        Ok(self.replica.clone().status(request).await?.into_inner())
    }

    pub(crate) async fn save_snapshot(&self) -> Result<SaveSnapshotResponse, Status> {
        let request = muster_proto::muster::v1::SaveSnapshotRequest {};
        Ok(self.replica.clone().save_snapshot(request).await?.into_inner())
    }
}

pub(crate) fn timestamp(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}
