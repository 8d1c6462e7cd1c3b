//! What the server says of itself, the same from every replica.

use muster_proto::muster::log::v1::{ConfigureServer, Rejection, RejectionKind, ServerConfigured};

use crate::state::{limits, rejection};

/// The group's public identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// Drawn once; empty before the first start has told it.
    pub cluster_id: String,
    /// Which installation this is; may be empty.
    pub deployment_id: String,
}

/// Keeps the first id for ever, and the newest deployment id that is not empty.
pub(super) fn configure(
    server: &mut Server,
    command: &ConfigureServer,
) -> Result<ServerConfigured, Rejection> {
    limits::check_text("cluster_id", &command.cluster_id, limits::TEXT_BYTES_MAX)?;
    limits::check_text("deployment_id", &command.deployment_id, limits::TEXT_BYTES_MAX)?;
    if server.cluster_id.is_empty() && command.cluster_id.is_empty() {
        return Err(rejection::about(RejectionKind::FieldEmpty, "cluster_id"));
    }

    if server.cluster_id.is_empty() {
        server.cluster_id.clone_from(&command.cluster_id);
    }
    if !command.deployment_id.is_empty() {
        server.deployment_id.clone_from(&command.deployment_id);
    }
    Ok(ServerConfigured {
        cluster_id: server.cluster_id.clone(),
        deployment_id: server.deployment_id.clone(),
    })
}
