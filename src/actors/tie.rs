//! The server's tie to its license server, whether that is the server itself or another one: joining
//! it, heartbeats, and the timer behind them.
//!
//! Another license server is spoken to by whichever replica is asked, and by the leader on the timer;
//! what it answers goes into the log, so that every replica's gate goes by it.

use std::sync::Arc;
use std::time::Duration;

use muster_proto::auth_v2::Permission;
use muster_proto::license_v2::HeartbeatRequest;
use muster_proto::license_v2::api_client::ApiClient;
use muster_proto::muster::log::v1::{
    Internal, JoinLicenseServer, License as LogLicense, LicenseServerTie, LicenseState, Rejection,
    RejectionKind, TakeLicenseServerAnswer, command,
};
use tokio::time::Instant;
use tonic::Status;

use super::call::{Call, CallError};
use super::license::License;
use super::reader::Reader;
use super::replica::{Replica, Role};
use crate::address::Address;
use crate::clock::Clock;
use crate::dial::{self, DIAL_LIMIT, MESSAGE_BYTES_MAX, Roots};
use crate::seal::DataKey;
use crate::state::access::Need;
use crate::state::enterprise::Membership;
use crate::state::secret::cluster_secret_digest;
use crate::state::{LogTime, State, rejection};

/// What the envelope of the secret opens for.
const PURPOSE: &str = "secret of the own registration with another license server";

/// [M] The part of a license server's refusal that means that it does not know the pair.
const PAIR_INVALID: &str = "cluster ID or secret is not valid";

/// The longest that a heartbeat on the timer may take, connecting included.
const BEAT_MAX: Duration = Duration::from_mins(1);

/// Between two looks at whether a heartbeat is due.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// After a heartbeat on the timer that came to nothing.
const RETRY: Duration = Duration::from_mins(5);

/// What the tie works with.
#[derive(Clone)]
pub struct TieOptions {
    /// What the server calls its own version.
    pub version: String,
    /// Between two heartbeats on the timer.
    pub interval: Duration,
    /// What a secret that another server wants to see is sealed with.
    pub data_key: Option<DataKey>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

/// The way to the server's license server. Cheap to clone.
#[derive(Clone)]
pub struct Tie {
    license: License,
    reader: Reader,
    replica: Replica,
    options: TieOptions,
}

/// A registration with another license server.
struct Registration {
    address: Address,
    license_server: String,
    id: String,
    secret: String,
}

impl Tie {
    /// The tie of the server that these serve.
    pub fn new(license: License, reader: Reader, replica: Replica, options: TieOptions) -> Tie {
        Tie { license, reader, replica, options }
    }

    /// Ties the server to another one's license: beats there first and keeps the tie if that went well.
    ///
    /// # Errors
    /// When the other server cannot be reached or refuses, or the secret cannot be sealed.
    pub async fn join(
        &self,
        call: Call,
        address: Address,
        license_server: String,
        (id, secret): (String, String),
    ) -> Result<(), CallError> {
        let key = self.options.data_key.as_ref().ok_or(CallError::Sealed(
            "the secret for another license server is stored sealed only: give every replica the same \
             --data-key-file",
        ))?;
        let sealed = key
            .seal(PURPOSE, &secret)
            .map_err(|_| CallError::Sealed("the secret for the license server was not sealed"))?;
        let registration = Registration { address, license_server, id, secret };
        let view = self.reader.local();
        let license = self.send(&registration, &view, call.deadline).await?;
        let command = JoinLicenseServer {
            tie: Some(registration.named()),
            license: Some(license),
            secret_sealed: sealed.into(),
        };
        self.license.done(call, command::Kind::JoinLicenseServer(command)).await
    }

    /// Sends the server's own heartbeat, to itself or to the other license server; its outcome is the
    /// state of the gate afterwards. Whatever goes wrong on the way leaves the gate as it is.
    ///
    /// # Errors
    /// When there is no tie, the other server cannot be reached, or the caller may not.
    pub async fn beat(&self, call: Call) -> Result<LicenseState, CallError> {
        let view = self.reader.current(call.deadline).await?;
        let elsewhere = view.enterprise().membership().filter(|tie| tie.is_elsewhere());
        let Some(membership) = elsewhere else {
            return self.license.heartbeat_enterprise(call, self.options.version.clone()).await;
        };
        let need = Need::PermissionIfOn(Permission::ClusterEnterpriseHeartbeat);
        let now = LogTime(self.options.clock.now().0);
        view.require(Some(&call.caller), need, now).map_err(CallError::Rejected)?;
        let registration = self.registration(membership)?;
        let license = match self.send(&registration, &view, call.deadline).await {
            Ok(license) => Some(license),
            Err(CallError::Rejected(no)) if no.kind() == RejectionKind::IdOrSecretInvalid => None,
            Err(error) => return Err(error),
        };
        let command = TakeLicenseServerAnswer { tie: Some(registration.named()), license };
        let kind = command::Kind::TakeLicenseServerAnswer(command);
        self.license.enterprise_state(call, kind).await
    }

    /// Beats on the interval while this replica leads; never ends.
    pub async fn keep_beating(self) -> ! {
        let mut every = tokio::time::interval(LOOK_EVERY.min(self.options.interval));
        let mut failed: Option<Instant> = None;
        loop {
            every.tick().await;
            let rests = failed.is_some_and(|at| at.elapsed() < RETRY.min(self.options.interval));
            if rests || !self.is_due() {
                continue;
            }
            let call = Call::internal(Internal::EnterpriseService, Instant::now() + BEAT_MAX);
            let beaten = self.beat(call).await;
            // A beat that was refused leaves the last good one as old as it was.
            failed = self.is_due().then(Instant::now);
            match beaten {
                Ok(LicenseState::HeartbeatFailed) => {
                    tracing::error!(
                        "the license server does not know this server, or not its secret"
                    );
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "the license server was not reached: the license that is known stays");
                }
            }
        }
    }

    /// Whether this replica leads and the last good heartbeat is an interval old. A registration with
    /// the server itself that is gone is left to those who look (D-15).
    fn is_due(&self) -> bool {
        let view = self.reader.local();
        let Some(membership) = view.enterprise().membership() else { return false };
        let now = LogTime(self.options.clock.now().0);
        let age = Duration::from_micros(now.0.saturating_sub(membership.last_heartbeat.0));
        age >= self.options.interval
            && (membership.is_elsewhere() || view.fleet().get(&membership.id).is_some())
            && self.replica.info().role == Role::Leader
    }

    fn registration(&self, membership: &Membership) -> Result<Registration, CallError> {
        let key = self.options.data_key.as_ref().ok_or(CallError::Sealed(
            "the secret for the license server stays closed: this replica has no --data-key-file",
        ))?;
        let secret = key.open(PURPOSE, membership.secret_sealed()).map_err(|_| {
            CallError::Sealed(
                "the secret for the license server stays closed: it was sealed with another data key",
            )
        })?;
        let address = membership
            .license_server
            .parse()
            .map_err(|_| CallError::LicenseServer("its address is none".to_owned()))?;
        Ok(Registration {
            address,
            license_server: membership.license_server.clone(),
            id: membership.id.clone(),
            secret,
        })
    }

    /// One heartbeat over a connection of its own, which ends with it (D-23).
    async fn send(
        &self,
        to: &Registration,
        view: &State,
        deadline: Instant,
    ) -> Result<LogLicense, CallError> {
        let auth = view.auth();
        let client_id =
            auth.configuration().filter(|_| auth.is_on()).map(|it| it.client_id.clone());
        let request = HeartbeatRequest {
            id: to.id.clone(),
            secret: to.secret.clone(),
            version: self.options.version.clone(),
            auth_enabled: auth.is_on(),
            client_id: client_id.unwrap_or_default(),
        };
        let attempt = async {
            let limit = deadline.saturating_duration_since(Instant::now()).min(DIAL_LIMIT);
            let channel = dial::connect(&to.address, &Roots::System, limit, |_| {})
                .await
                .map_err(|error| CallError::LicenseServer(error.reason().to_owned()))?;
            let mut client = ApiClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
            client.heartbeat(request).await.map_err(|status| refused(&to.id, &status))
        };
        let answer = tokio::time::timeout_at(deadline, attempt)
            .await
            .map_err(|_| CallError::LicenseServer("context deadline exceeded".to_owned()))??;
        let license = answer
            .into_inner()
            .license
            .ok_or_else(|| CallError::LicenseServer("it sent no license".to_owned()))?;
        self.license.sealed(LogLicense {
            activation_code: license.activation_code,
            expires: license.expires,
            ..LogLicense::default()
        })
    }
}

impl Registration {
    /// As commands carry it.
    fn named(&self) -> LicenseServerTie {
        LicenseServerTie {
            license_server: self.license_server.clone(),
            id: self.id.clone(),
            secret_digest: cluster_secret_digest(&self.id, &self.secret).to_vec().into(),
        }
    }
}

/// Only the text that says so says that the pair is unknown; everything else is bad luck. The other
/// server's own words go no further: they might hold a text that clients match.
fn refused(id: &str, status: &Status) -> CallError {
    if status.message().contains(PAIR_INVALID) {
        let no: Rejection = rejection::about(RejectionKind::IdOrSecretInvalid, id);
        return CallError::Rejected(no);
    }
    CallError::LicenseServer(format!("it answered with {:?}", status.code()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_that_means_it_says_that_the_pair_is_unknown() {
        let text = format!("got 0, want 1 for cluster id \"a\": {PAIR_INVALID}");
        let no = refused("a", &Status::unimplemented(text));
        assert!(matches!(no, CallError::Rejected(no) if no.subject == "a"));
        for other in [Status::unavailable("secret"), Status::unimplemented("unknown service")] {
            let no = refused("a", &other);
            assert!(matches!(&no, CallError::LicenseServer(why) if !why.contains(other.message())));
        }
    }
}
