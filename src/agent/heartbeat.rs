//! One heartbeat to a license server, and when the next one is due.

use std::time::Duration;

use muster_proto::enterprise_v2::LicenseRecord;
use muster_proto::license_v2::HeartbeatRequest;
use muster_proto::license_v2::api_client::ApiClient;
use tonic::Status;

use super::member::{Beat, Member};
use super::record::Tie;
use crate::address::{Address, AddressError};
use crate::dial::{self, MESSAGE_BYTES_MAX, Roots};
use crate::entropy::{self, Entropy};

pub(super) use crate::dial::DIAL_LIMIT;

/// A whole heartbeat, connecting included.
const LIMIT: Duration = Duration::from_mins(1);

/// After a heartbeat that failed, on average.
const RETRY: Duration = Duration::from_secs(30);

/// Sends one heartbeat over a connection of its own.
pub(super) async fn send(
    tie: &Tie,
    version: &str,
    roots: &Roots,
    dial_limit: Duration,
) -> Result<Option<LicenseRecord>, Status> {
    let address: Address = tie.license_server.parse().map_err(|error: AddressError| {
        let reason = error.reason();
        Status::invalid_argument(format!("could not parse the pachd address: {reason}"))
    })?;
    let attempt = async {
        let channel = dial::connect(&address, roots, dial_limit, |_| {})
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let request = HeartbeatRequest {
            id: tie.id.clone(),
            secret: tie.secret.clone(),
            version: version.to_owned(),
            auth_enabled: false,
            client_id: String::new(),
        };
        let mut client = ApiClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        Ok(client.heartbeat(request).await?.into_inner().license)
    };
    tokio::time::timeout(LIMIT, attempt)
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("the license server did not answer")))
}

/// Sends heartbeats for ever: at once, then after each `interval`, sooner after a failure, and at
/// once after a new tie.
pub(super) async fn keep_beating(member: &Member, interval: Duration, entropy: &dyn Entropy) {
    loop {
        let pause = match member.beat().await {
            Ok(Beat::Untied) => None,
            Ok(Beat::Answered | Beat::Refused) => Some(jittered(interval, share(entropy))),
            // The record could not be kept: soon again, as after a server that was not there.
            Ok(Beat::Failed(_)) | Err(_) => Some(retry(interval, share(entropy))),
        };
        let elapsed = async {
            match pause {
                None => std::future::pending().await,
                Some(pause) => tokio::time::sleep(pause).await,
            }
        };
        tokio::select! {
            () = elapsed => {}
            () = member.retied.notified() => {}
        }
    }
}

/// A number from 0 to 1.
pub(super) fn share(entropy: &dyn Entropy) -> f64 {
    // The upper bits: the lower ones would be lost in an f64.
    f64::from(u32::try_from(entropy::seed(entropy) >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

/// The interval less up to a seventh, so that members that started together drift apart.
fn jittered(interval: Duration, share: f64) -> Duration {
    interval.mul_f64(1.0 - share / 7.0)
}

/// Half to one and a half times [`RETRY`], but never later than the next beat was due.
fn retry(interval: Duration, share: f64) -> Duration {
    RETRY.mul_f64(0.5 + share).min(interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    #[test]
    fn a_beat_is_early_rather_than_late() {
        let hour = Duration::from_hours(1);
        assert_eq!(jittered(hour, 0.0), hour);
        assert!(jittered(hour, 1.0) > hour.mul_f64(0.857));
    }

    #[test]
    fn a_failed_beat_is_tried_again_before_the_next_is_due() {
        let hour = Duration::from_hours(1);
        assert_eq!(retry(hour, 0.0), Duration::from_secs(15));
        assert_eq!(retry(hour, 1.0), Duration::from_secs(45));
        assert_eq!(retry(Duration::from_secs(1), 1.0), Duration::from_secs(1));
        assert!((0.0..=1.0).contains(&share(&SystemEntropy)));
    }
}
