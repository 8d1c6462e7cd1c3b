//! `admin_v2.API`: what a client asks before anything else. Never fails, and needs no leader.

use muster_proto::admin_v2::{ClusterInfo, InspectClusterRequest, WebResource, api_server::Api};
use muster_proto::versionpb_v2::Version;
use tonic::{Request, Response, Status};

use super::version::CompatVersion;
use crate::actors::Reader;
use crate::state::config::Server;

/// The service.
#[derive(Clone)]
pub(super) struct AdminService {
    pub(super) reader: Reader,
    pub(super) version: CompatVersion,
}

#[tonic::async_trait]
impl Api for AdminService {
    async fn inspect_cluster(
        &self,
        request: Request<InspectClusterRequest>,
    ) -> Result<Response<ClusterInfo>, Status> {
        let view = self.reader.local();
        let server = view.server();
        let client = request.into_inner().client_version;
        Ok(Response::new(ClusterInfo {
            id: server.cluster_id.clone(),
            deployment_id: deployment_id(server),
            warnings_ok: true,
            warnings: warning(client.as_ref(), &self.version).into_iter().collect(),
            web_resources: Some(WebResource::default()),
            ..ClusterInfo::default()
        }))
    }
}

/// What clients know the installation by: what was configured, else the id of the server, which is
/// the same on every replica for ever too.
fn deployment_id(server: &Server) -> String {
    let configured = Some(&server.deployment_id).filter(|id| !id.is_empty());
    configured.unwrap_or(&server.cluster_id).clone()
}

/// What the client should tell its user. One server serves a fleet of many versions, so only another
/// major version is worth a word.
fn warning(client: Option<&Version>, own: &CompatVersion) -> Option<String> {
    let client = client?;
    let released = client.major != 0 || client.minor != 0 || client.micro != 0;
    (released && client.major != own.major).then(|| {
        format!(
            "WARNING: this server speaks Pachyderm {}.x, and the client is of {}.{}.{}: use a client \
             of {}.x",
            own.major, client.major, client.minor, client.micro, own.major
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(client: Option<(u32, u32)>) -> bool {
        let own = CompatVersion { major: 2, minor: 11, micro: 6, additional: String::new() };
        let client = client.map(|(major, minor)| Version { major, minor, ..Version::default() });
        warning(client.as_ref(), &own).is_some()
    }

    #[test]
    fn only_another_major_version_is_worth_a_warning() {
        assert!(!warned(None));
        assert!(!warned(Some((0, 0))));
        assert!(!warned(Some((2, 0))));
        assert!(!warned(Some((2, 12))));
        assert!(warned(Some((1, 13))));
        assert!(warned(Some((3, 0))));
    }
}
