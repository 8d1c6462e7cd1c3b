//! The server as a member of itself: its own record, and the gate that the record opens.

use std::sync::Arc;

use muster_proto::muster::log::v1::{
    ActivateEnterprise, Beat, BeatOutcome, BootstrapEnterprise, EnterpriseState,
    HeartbeatEnterprise, License, LicenseState, Rejection, RejectionKind,
};

use crate::state::fleet::{self, Fleet};
use crate::state::license::{self, Licensing};
use crate::state::quarantine::Quarantine;
use crate::state::secret::{self, Digest};
use crate::state::time::LogTime;
use crate::state::{limits, rejection};

/// The server's own enterprise record, or none.
#[derive(Clone, Debug, Default)]
pub struct Enterprise {
    membership: Option<Arc<Membership>>,
}

/// Triple, license and failure mark in one record (D-22).
#[derive(Clone, Debug, PartialEq)]
pub struct Membership {
    /// Where the record says the license comes from: a name of the server itself.
    pub license_server: String,
    /// Under which id the server is registered with itself.
    pub id: String,
    /// When its last own heartbeat succeeded.
    pub last_heartbeat: LogTime,
    pub(super) secret: Digest,
    /// The license that the gate goes by; none means that the last own heartbeat failed.
    pub(super) license: Option<Arc<License>>,
}

impl Enterprise {
    /// The own record.
    pub fn membership(&self) -> Option<&Membership> {
        self.membership.as_deref()
    }

    /// The license that the gate goes by.
    pub fn license(&self) -> Option<&License> {
        self.membership.as_ref()?.license.as_deref()
    }

    /// The state of the gate at `now`.
    pub fn state(&self, now: LogTime) -> LicenseState {
        match &self.membership {
            None => LicenseState::None,
            Some(membership) => match &membership.license {
                None => LicenseState::HeartbeatFailed,
                Some(license) if license::is_expired(license, now) => LicenseState::Expired,
                Some(_) => LicenseState::Active,
            },
        }
    }

    /// Takes over a license that was just activated, unless the own record is broken.
    pub(super) fn follow(&mut self, license: &Arc<License>) {
        let Some(membership) = &mut self.membership else {
            return;
        };
        if membership.license.is_some() {
            Arc::make_mut(membership).license = Some(Arc::clone(license));
        }
    }

    pub(super) fn set(&mut self, membership: Membership) {
        self.membership = Some(Arc::new(membership));
    }

    pub(super) fn remove(&mut self) {
        self.membership = None;
    }
}

/// Beats with the given pair, and keeps the record only if that went well.
pub(super) fn activate(
    enterprise: &mut Enterprise,
    fleet: &mut Fleet,
    licensing: &Licensing,
    quarantine: &Quarantine,
    now: LogTime,
    command: &ActivateEnterprise,
) -> Result<(), Rejection> {
    let beat = command
        .beat
        .as_ref()
        .ok_or_else(|| rejection::about(RejectionKind::CommandIncomplete, "beat"))?;
    limits::check_text("license_server", &command.license_server, limits::TEXT_BYTES_MAX)?;
    let secret = secret::read("secret_digest", &beat.secret_digest)?;
    if fleet.shown_secret(&beat.id, &secret, now).is_none() {
        return Err(wrong_pair(quarantine, &beat.id));
    }
    fleet::check_beat(beat)?;
    let license = require_license(licensing)?;

    fleet::record_heartbeat(fleet, licensing, now, beat);
    enterprise.set(Membership {
        license_server: command.license_server.clone(),
        id: beat.id.clone(),
        last_heartbeat: now,
        secret,
        license: Some(license),
    });
    Ok(())
}

/// The no to a pair that the fleet does not know.
fn wrong_pair(quarantine: &Quarantine, id: &str) -> Rejection {
    // The answer repeats the id, so it must be one that an answer can carry.
    if let Err(refused) = limits::check_text("id", id, limits::TEXT_BYTES_MAX) {
        return refused;
    }
    let kind = if quarantine.is_on() {
        RejectionKind::Quarantined
    } else {
        RejectionKind::IdOrSecretInvalid
    };
    rejection::about(kind, id)
}

fn require_license(licensing: &Licensing) -> Result<Arc<License>, Rejection> {
    licensing.record().map(Arc::clone).ok_or_else(|| rejection::plain(RejectionKind::LicenseAbsent))
}

/// The own heartbeat. A pair that the fleet does not know closes the gate; a missing license leaves
/// everything as it is. Only a caller asks for this, never a timer, so that removing the own record
/// by mistake locks nobody out until someone looks (D-15).
pub(super) fn heartbeat(
    enterprise: &mut Enterprise,
    fleet: &mut Fleet,
    licensing: &Licensing,
    quarantine: &Quarantine,
    now: LogTime,
    command: &HeartbeatEnterprise,
) -> Result<EnterpriseState, Rejection> {
    let membership = enterprise
        .membership
        .as_mut()
        .ok_or_else(|| rejection::plain(RejectionKind::EnterpriseNotActivated))?;
    let beat = Beat {
        id: membership.id.clone(),
        secret_digest: membership.secret.to_vec().into(),
        version: command.version.clone(),
        auth_enabled: command.auth_enabled,
        client_id: command.client_id.clone(),
    };
    fleet::check_beat(&beat)?;

    match fleet::record_heartbeat(fleet, licensing, now, &beat) {
        BeatOutcome::Recorded => {
            let membership = Arc::make_mut(membership);
            membership.license = licensing.record().map(Arc::clone);
            membership.last_heartbeat = now;
        }
        BeatOutcome::IdOrSecretInvalid if quarantine.is_on() => {
            return Err(wrong_pair(quarantine, &membership.id));
        }
        BeatOutcome::IdOrSecretInvalid => Arc::make_mut(membership).license = None,
        BeatOutcome::LicenseAbsent => {
            return Err(rejection::plain(RejectionKind::LicenseAbsent));
        }
        BeatOutcome::FieldInvalid | BeatOutcome::Quarantined | BeatOutcome::Unspecified => {
            return Err(rejection::about(RejectionKind::CommandIncomplete, "beat"));
        }
    }
    Ok(EnterpriseState { state: enterprise.state(now).into() })
}

/// Brings license, own registration and own record to what the environment says, in one step, so
/// that three replicas may do it at every start. An expired license is stored like any other (D-12).
pub(super) fn bootstrap(
    enterprise: &mut Enterprise,
    fleet: &mut Fleet,
    licensing: &mut Licensing,
    now: LogTime,
    command: &BootstrapEnterprise,
) -> Result<(), Rejection> {
    let license = license::checked(command.license.as_ref())?;
    let cluster = command
        .cluster
        .as_ref()
        .ok_or_else(|| rejection::about(RejectionKind::CommandIncomplete, "cluster"))?;
    let secret = fleet::check_registration(cluster)?;
    limits::check_text("license_server", &command.license_server, limits::TEXT_BYTES_MAX)?;

    let license = match licensing.record() {
        Some(stored) if **stored == license => Arc::clone(stored),
        _ => Arc::new(license),
    };
    licensing.set(Arc::clone(&license));
    fleet::upsert(fleet, now, cluster, secret);
    let last_heartbeat = match &enterprise.membership {
        Some(membership) if membership.id == cluster.id => membership.last_heartbeat,
        _ => LogTime::NEVER,
    };
    enterprise.set(Membership {
        license_server: command.license_server.clone(),
        id: cluster.id.clone(),
        last_heartbeat,
        secret,
        license: Some(license),
    });
    Ok(())
}
