//! The way out: hand leadership over, answer what is under way, write everything down.

use std::time::Duration;

use muster_cluster::group::Group;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Signals;
use crate::actors::{Auditor, Machine, Replica};
use crate::entropy::{self, SystemEntropy};

/// The longest that the group may take to stop; leadership is handed over in it.
const SHUTDOWN_MAX: Duration = Duration::from_secs(10);

/// The longest that the last calls may take to be written into the audit log.
const AUDIT_MAX: Duration = Duration::from_secs(1);

/// What has to end.
pub(super) struct Parts {
    pub(super) replica: Replica,
    pub(super) group: Group<Machine>,
    pub(super) auditor: Auditor,
    pub(super) edge: JoinHandle<Result<(), tonic::transport::Error>>,
    pub(super) stop: CancellationToken,
}

/// Ends everything in good order; a second signal ends it at once.
pub(super) async fn drain(parts: Parts, patience: Duration, signals: &mut Signals) {
    tracing::info!("told to end: draining");
    tokio::select! {
        () = in_order(parts, patience) => tracing::info!("drained"),
        () = signals.next() => tracing::warn!("told to end twice: ending at once"),
    }
}

async fn in_order(parts: Parts, patience: Duration) {
    parts.replica.set_draining();
    // First, so that requests that come meanwhile are forwarded to a leader that stays.
    parts.replica.step_down().await;
    parts.stop.cancel();
    match timeout(patience, parts.edge).await {
        Ok(Ok(Ok(()))) => (),
        Ok(Ok(Err(error))) => {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(error, "the API did not end in good order");
        }
        Ok(Err(error)) => tracing::warn!(%error, "the API did not end in good order"),
        Err(_) => tracing::warn!("requests were still under way when their time was over"),
    }
    // Twice: what may be an entry already is asked first.
    for _ in 0..2 {
        let written = parts.auditor.finish(entropy::uuid(&SystemEntropy));
        if timeout(AUDIT_MAX, written).await.is_err() {
            tracing::warn!("calls of the last second could not be written into the audit log");
        }
    }
    if timeout(SHUTDOWN_MAX, parts.group.shutdown()).await.is_err() {
        tracing::warn!("the group did not stop in time; its log is complete all the same");
    }
}
