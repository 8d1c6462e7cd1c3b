//! `admin_v2.API`: what a client asks before anything else. Never fails, and needs no leader.

use std::sync::Arc;

use muster_proto::admin_v2::{ClusterInfo, InspectClusterRequest, WebResource, api_server::Api};
use muster_proto::versionpb_v2::Version;
use tonic::{Request, Response, Status};

use super::version::CompatVersion;
use crate::actors::Reader;
use crate::clock::Clock;
use crate::state::config::Server;
use crate::state::license::is_in_grace;
use crate::state::{LogTime, State};

/// The service.
#[derive(Clone)]
pub(super) struct AdminService {
    pub(super) reader: Reader,
    pub(super) clock: Arc<dyn Clock>,
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
            warnings: warning(client.as_ref(), &self.version)
                .into_iter()
                .chain(grace(&view, LogTime(self.clock.now().0)))
                .collect(),
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

/// In the days of grace everything works as before, so somebody has to be told.
fn grace(view: &State, now: LogTime) -> Option<String> {
    let license = view.licensing().record().filter(|license| is_in_grace(license, now))?;
    let days = license.grace_days.unwrap_or(0);
    Some(format!(
        "WARNING: the enterprise license has expired; it is honored for {days} days of grace after its \
         expiry: renew it"
    ))
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
