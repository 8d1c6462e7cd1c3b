//! Where logs and metrics go: events to stderr, figures to a recorder that `/metrics` prints.

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// How events look on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for a person.
    Text,
    /// A JSON object on a line.
    Json,
}

/// How and which events are written.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// How they look.
    pub format: LogFormat,
    /// Which: a level, or levels by module.
    pub level: String,
}

impl LogOptions {
    /// Whether `level` chooses events.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_level(level: &str) -> Result<(), String> {
        EnvFilter::try_new(level).map(drop).map_err(|error| error.to_string())
    }
}

/// Histogram bounds for spans of time, in seconds.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Histogram bounds for sizes, in bytes.
const BYTES: [f64; 8] =
    [256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0, 16_777_216.0];
/// Histogram bounds for how many things went together.
const COUNTS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0];

/// Why logs or metrics cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The process already sends its events somewhere.
    #[error("the log cannot be set up: {0}")]
    Log(String),
    /// The process already has a recorder.
    #[error("the metrics cannot be set up: {0}")]
    Metrics(String),
}

/// Sends the events of this process to stderr. Once per process.
pub fn start_log(options: &LogOptions) -> Result<(), TelemetryError> {
    // The HTTP server tells of every thread of its own, which is nobody's news.
    let level = format!("actix_server=warn,{}", options.level);
    let filter =
        EnvFilter::try_new(level).map_err(|error| TelemetryError::Log(error.to_string()))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match options.format {
        LogFormat::Text => log.with_ansi(false).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| TelemetryError::Log(error.to_string()))
}

/// Records the figures of this process. Once per process.
pub fn start_metrics() -> Result<PrometheusHandle, TelemetryError> {
    let recorder = builder()?.install_recorder().map_err(failed)?;
    describe();
    Ok(recorder)
}

/// Keeps the recorder's memory small for as long as the process lives.
pub async fn tend_metrics(recorder: PrometheusHandle) -> ! {
    let mut every = tokio::time::interval(Duration::from_secs(5));
    loop {
        every.tick().await;
        recorder.run_upkeep();
    }
}

fn builder() -> Result<PrometheusBuilder, TelemetryError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
        .and_then(|it| it.set_buckets_for_metric(Matcher::Suffix("_bytes".into()), &BYTES))
        .and_then(|it| it.set_buckets_for_metric(Matcher::Suffix("_size".into()), &COUNTS))
        .map_err(failed)
}

#[expect(clippy::needless_pass_by_value, reason = "shaped for map_err")]
fn failed(error: metrics_exporter_prometheus::BuildError) -> TelemetryError {
    TelemetryError::Metrics(error.to_string())
}

/// One line for each metric of this crate, as `/metrics` shows it.
fn describe() {
    describe_group();
    describe_fleet();
    describe_edge();
    describe_audit();
}

/// Of the replica and its group.
fn describe_group() {
    use metrics::describe_gauge;
    describe_gauge!("muster_build_info", "1, with the version of the program");
    describe_gauge!("muster_state_objects", "What the state holds, by kind");
    describe_gauge!("muster_raft_is_leader", "1 on the leader, 0 elsewhere");
    describe_gauge!("muster_raft_has_leader", "1 while this replica knows a leader");
    describe_gauge!("muster_raft_term", "The term of the group");
    describe_gauge!("muster_raft_commit_index", "The last log position known to be agreed");
    describe_gauge!("muster_raft_applied_index", "The last log position in the state");
    describe_gauge!("muster_raft_last_log_index", "The last log position on this replica");
    describe_gauge!("muster_raft_log_size_bytes", "Bytes of the log on disk");
    describe_gauge!(
        "muster_clock_skew_seconds",
        "How far the group's time is ahead of this machine's clock"
    );
}

/// Of the license, the clusters that share it and who signs in.
fn describe_fleet() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_gauge!("muster_clusters", "Registered clusters");
    describe_gauge!(
        "muster_cluster_heartbeat_age_clusters",
        "Clusters by the age of their last heartbeat: the bracket is its longest, in seconds"
    );
    describe_gauge!(
        "muster_cluster_versions",
        "Registered clusters by version: the 20 most frequent, and the rest as `other`"
    );
    describe_gauge!("muster_license_state", "1 for the state that the license is in, 0 for others");
    describe_gauge!(
        "muster_license_code_closed",
        "1 while the license's code is sealed and this replica has no key that opens it"
    );
    describe_gauge!(
        "muster_license_expiry_timestamp_seconds",
        "When the license expires, 0 without"
    );
    describe_gauge!(
        "muster_license_end_timestamp_seconds",
        "When the license and its days of grace end, 0 without"
    );
    describe_counter!("muster_heartbeats_total", "Heartbeats of members, by what they came to");
    describe_histogram!("muster_heartbeat_duration_seconds", "From a heartbeat to its answer");
    describe_histogram!("muster_heartbeat_batch_size", "Heartbeats that went into one log entry");
    describe_counter!("muster_expired_tokens_forgotten_total", "Expired tokens that were swept");
    describe_counter!("muster_revoked_tokens_forgotten_total", "Revoked tokens that were swept");
}

/// Of whatever comes in from outside.
fn describe_edge() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_gauge!("muster_connections", "Connections that are open, by listener");
    describe_counter!(
        "muster_tls_handshakes_total",
        "Clients that wanted TLS, by listener and result"
    );
    describe_counter!("muster_tls_reloads_total", "Certificates read anew, by listener and result");
    describe_gauge!(
        "muster_tls_certificate_expiry_timestamp_seconds",
        "When the certificate that is served ends, by listener"
    );
    describe_counter!("muster_grpc_requests_total", "Requests, by service, method and code");
    describe_histogram!("muster_grpc_request_duration_seconds", "From a request to its answer");
    describe_counter!(
        "muster_rate_limited_total",
        "Requests refused for want of room or because too many were wrong, by lane"
    );
}

/// Of the audit log and its file.
fn describe_audit() {
    use metrics::{describe_counter, describe_gauge};
    describe_counter!("muster_audit_records_total", "Audit records written, by sink");
    describe_counter!(
        "muster_audit_dropped_total",
        "Calls that the audit log or its file never got, by sink"
    );
    describe_counter!("muster_audit_failures_total", "Writes of the audit file that failed");
    describe_gauge!("muster_audit_lag_records", "Audit records that the file has not yet");
    describe_gauge!(
        "muster_audit_lag_seconds",
        "Age of the oldest record that the file has not yet"
    );
    describe_gauge!("muster_audit_records", "Audit records that the group keeps");
    describe_gauge!("muster_audit_last_sequence", "Number of the newest audit record");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_of_time_is_a_histogram_and_never_a_summary() {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("muster_heartbeat_duration_seconds").record(0.003);
            metrics::histogram!("muster_heartbeat_batch_size").record(3.0);
        });
        let text = handle.render();
        assert!(
            text.contains("muster_heartbeat_duration_seconds_bucket{le=\"0.005\"} 1"),
            "{text}"
        );
        assert!(!text.contains("summary"), "{text}");
    }
}
