//! The license of the fleet: stored, replaced, removed, and whether it is in force.

use std::sync::Arc;

use muster_proto::muster::log::v1::{
    ActivateLicense, License, LicenseActivated, LicenseState, Rejection, RejectionKind,
};

use prost_types::Timestamp;

use crate::state::enterprise::Enterprise;
use crate::state::time::LogTime;
use crate::state::{limits, rejection};

/// The license record, or none.
#[derive(Clone, Debug, Default)]
pub struct Licensing {
    record: Option<Arc<License>>,
}

impl Licensing {
    /// The stored license, whatever its expiry.
    pub fn record(&self) -> Option<&Arc<License>> {
        self.record.as_ref()
    }

    /// NONE, ACTIVE or EXPIRED at `now`.
    pub fn state(&self, now: LogTime) -> LicenseState {
        match &self.record {
            None => LicenseState::None,
            Some(license) if is_expired(license, now) => LicenseState::Expired,
            Some(_) => LicenseState::Active,
        }
    }

    /// Says no unless the license is in force at `now`.
    pub(super) fn require_active(&self, now: LogTime) -> Result<&Arc<License>, Rejection> {
        match &self.record {
            Some(license) if !is_expired(license, now) => Ok(license),
            _ => Err(Rejection {
                license_state: self.state(now).into(),
                ..rejection::plain(RejectionKind::LicenseNotActive)
            }),
        }
    }

    pub(super) fn set(&mut self, license: Arc<License>) {
        self.record = Some(license);
    }

    pub(super) fn remove(&mut self) {
        self.record = None;
    }
}

/// Stores a license. The server's own gate follows at once, not at its next heartbeat (D-14).
pub(super) fn activate(
    licensing: &mut Licensing,
    enterprise: &mut Enterprise,
    command: &ActivateLicense,
) -> Result<LicenseActivated, Rejection> {
    let license = Arc::new(checked(command.license.as_ref())?);

    enterprise.follow(&license);
    let expires = license.expires;
    licensing.set(license);
    Ok(LicenseActivated { expires })
}

/// A license that is complete and within its limits.
pub(super) fn checked(license: Option<&License>) -> Result<License, Rejection> {
    let incomplete = |part| rejection::about(RejectionKind::CommandIncomplete, part);
    let license = license.ok_or_else(|| incomplete("license"))?;
    let expires = license.expires.ok_or_else(|| incomplete("expires"))?;
    if !(0..1_000_000_000).contains(&expires.nanos) {
        return Err(incomplete("expires"));
    }
    check_code(license)?;
    limits::check_text("customer", &license.customer, limits::CLAIM_BYTES_MAX)?;
    Ok(license.clone())
}

/// A code is there in one of its two forms. In clear it may be wrapped into lines, so only its length
/// is checked.
fn check_code(license: &License) -> Result<(), Rejection> {
    let (clear, sealed) = (&license.activation_code, &license.activation_code_sealed);
    if clear.is_empty() && sealed.is_empty() {
        return Err(rejection::about(RejectionKind::FieldEmpty, "activation_code"));
    }
    if !clear.is_empty() && !sealed.is_empty() {
        return Err(rejection::about(RejectionKind::CommandIncomplete, "activation_code"));
    }
    if clear.len() > limits::ACTIVATION_CODE_BYTES_MAX
        || sealed.len() > limits::ACTIVATION_CODE_BYTES_MAX + limits::ENVELOPE_BYTES_MAX
    {
        return Err(Rejection {
            subject: "activation_code".to_owned(),
            ..rejection::bound(
                RejectionKind::FieldTooLong,
                u64::try_from(limits::ACTIVATION_CODE_BYTES_MAX).unwrap_or(u64::MAX),
            )
        });
    }
    Ok(())
}

/// Whether the stored code can be read only with the group's data key.
pub fn is_sealed(license: &License) -> bool {
    !license.activation_code_sealed.is_empty()
}

/// Whether the license is in force no more: `now` is strictly later than its [`end`].
pub(super) fn is_expired(license: &License, now: LogTime) -> bool {
    end(license).is_none_or(|end| now.is_after(&end))
}

/// Whether the license's expiry has passed but not its days of grace: everything goes on, and people
/// are warned.
pub fn is_in_grace(license: &License, now: LogTime) -> bool {
    license.expires.is_some_and(|expires| now.is_after(&expires)) && !is_expired(license, now)
}

/// When the license is in force no more: its expiry and the days of grace behind it.
pub fn end(license: &License) -> Option<Timestamp> {
    const DAY: i64 = 24 * 60 * 60;
    let expires = license.expires?;
    let grace = i64::from(license.grace_days.unwrap_or(0)) * DAY;
    if grace == 0 {
        return Some(expires);
    }
    Some(Timestamp { seconds: expires.seconds.saturating_add(grace).min(LAST_SECOND), ..expires })
}

/// The last second that every client can show: the year 9999 ends.
const LAST_SECOND: i64 = 253_402_300_799;
