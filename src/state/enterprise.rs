//! The server as a member of itself, or of another license server (`tie`): its own record, and
//! the gate that the record opens.

use std::sync::Arc;

use bytes::Bytes;
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
    /// Where the license comes from: a name of the server itself, or another server's address.
    pub license_server: String,
    /// Under which id the server is registered there.
    pub id: String,
    /// When its last own heartbeat succeeded.
    pub last_heartbeat: LogTime,
    pub(super) secret: Digest,
    /// The license that the gate goes by; none means that the last own heartbeat failed.
    pub(super) license: Option<Arc<License>>,
    /// What another license server wants to see, sealed; empty when the server is its own.
    pub(super) secret_sealed: Bytes,
}

impl Membership {
    /// Whether the license comes from another server.
    pub fn is_elsewhere(&self) -> bool {
        !self.secret_sealed.is_empty()
    }

    /// What that other server wants to see, sealed.
    pub fn secret_sealed(&self) -> &[u8] {
        &self.secret_sealed
    }
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

    /// Takes over a license that was just activated, unless the own record is broken or the server goes
    /// by the license of another one.
    pub(super) fn follow(&mut self, license: &Arc<License>) {
        let Some(membership) = &mut self.membership else {
            return;
        };
        if membership.license.is_some() && !membership.is_elsewhere() {
            Arc::make_mut(membership).license = Some(Arc::clone(license));
        }
    }

    pub(super) fn set(&mut self, membership: Membership) {
        self.membership = Some(Arc::new(membership));
    }

    pub(super) fn remove(&mut self) {
        self.membership = None;
    }

    pub(super) fn membership_mut(&mut self) -> Option<&mut Membership> {
        self.membership.as_mut().map(Arc::make_mut)
    }
}

/// What the server reports of itself in its own heartbeat, as the state has it at that entry.
pub(super) struct Report {
    pub(super) auth_enabled: bool,
    /// The client id of its own auth configuration; empty while auth is off.
    pub(super) client_id: String,
}

/// Beats with the given pair, and keeps the record only if that went well.
pub(super) fn activate(
    enterprise: &mut Enterprise,
    fleet: &mut Fleet,
    licensing: &Licensing,
    quarantine: &Quarantine,
    report: Report,
    now: LogTime,
    command: &ActivateEnterprise,
) -> Result<(), Rejection> {
    let beat = command
        .beat
        .as_ref()
        .ok_or_else(|| rejection::about(RejectionKind::CommandIncomplete, "beat"))?;
    let beat =
        &Beat { auth_enabled: report.auth_enabled, client_id: report.client_id, ..beat.clone() };
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
        secret_sealed: Bytes::new(),
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

/// Who has the own heartbeat sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Somebody who looks at what comes of it.
    ByCaller,
    /// The server's own timer.
    ByTimer,
}

/// The own heartbeat. A pair that the fleet does not know closes the gate; a missing license leaves
/// everything as it is. The timer's beat closes nothing, so that removing the own record by mistake
/// locks nobody out until someone looks (D-15).
pub(super) fn heartbeat(
    enterprise: &mut Enterprise,
    fleet: &mut Fleet,
    licensing: &Licensing,
    quarantine: &Quarantine,
    report: Report,
    (asked, now): (Asked, LogTime),
    command: &HeartbeatEnterprise,
) -> Result<EnterpriseState, Rejection> {
    let membership = enterprise
        .membership
        .as_mut()
        .ok_or_else(|| rejection::plain(RejectionKind::EnterpriseNotActivated))?;
    if membership.is_elsewhere() {
        // It was tied to another server since it was looked at, and that one has answered.
        return Ok(EnterpriseState { state: enterprise.state(now).into() });
    }
    let beat = Beat {
        id: membership.id.clone(),
        secret_digest: membership.secret.to_vec().into(),
        version: command.version.clone(),
        auth_enabled: report.auth_enabled,
        client_id: report.client_id,
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
        BeatOutcome::IdOrSecretInvalid if asked == Asked::ByTimer => (),
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
        secret_sealed: Bytes::new(),
    });
    Ok(())
}
