//! The server as a member of another license server: its own gate goes by what that one answers.
//!
//! The answers are fetched outside; a command brings each to the state. What cannot be reached brings
//! none, so the last license stays good until its own end (fail open).

use std::sync::Arc;

use muster_proto::muster::log::v1::{
    EnterpriseState, JoinLicenseServer, LicenseServerTie, Rejection, RejectionKind,
    TakeLicenseServerAnswer,
};

use crate::state::enterprise::{Enterprise, Membership};
use crate::state::secret::{self, Digest};
use crate::state::time::LogTime;
use crate::state::{license, limits, rejection};

/// Ties the server to the other one, which knows it and has sent its license.
pub(super) fn join(
    enterprise: &mut Enterprise,
    now: LogTime,
    command: &JoinLicenseServer,
) -> Result<(), Rejection> {
    let (tie, secret) = checked(command.tie.as_ref())?;
    let license = license::checked(command.license.as_ref())?;
    if command.secret_sealed.is_empty() {
        return Err(rejection::about(RejectionKind::CommandIncomplete, "secret_sealed"));
    }
    if command.secret_sealed.len() > limits::SEALED_BYTES_MAX {
        return Err(rejection::about(RejectionKind::FieldTooLong, "secret_sealed"));
    }

    enterprise.set(Membership {
        license_server: tie.license_server.clone(),
        id: tie.id.clone(),
        last_heartbeat: now,
        secret,
        license: Some(Arc::new(license)),
        secret_sealed: command.secret_sealed.clone(),
    });
    Ok(())
}

/// Takes over what the other server answered, unless the server is tied otherwise by now.
pub(super) fn take_answer(
    enterprise: &mut Enterprise,
    now: LogTime,
    command: &TakeLicenseServerAnswer,
) -> Result<EnterpriseState, Rejection> {
    let (tie, secret) = checked(command.tie.as_ref())?;
    let license = command.license.is_some().then(|| license::checked(command.license.as_ref()));
    let license = license.transpose()?.map(Arc::new);

    let tied = enterprise.membership_mut().filter(|membership| {
        membership.is_elsewhere()
            && membership.license_server == tie.license_server
            && membership.id == tie.id
            && membership.secret == secret
    });
    if let Some(membership) = tied {
        if license.is_some() {
            membership.last_heartbeat = now;
        }
        membership.license = license;
    }
    Ok(EnterpriseState { state: enterprise.state(now).into() })
}

fn checked(tie: Option<&LicenseServerTie>) -> Result<(&LicenseServerTie, Digest), Rejection> {
    let tie = tie.ok_or_else(|| rejection::about(RejectionKind::CommandIncomplete, "tie"))?;
    if tie.id.is_empty() {
        return Err(rejection::plain(RejectionKind::ClusterIdEmpty));
    }
    limits::check_text("id", &tie.id, limits::TEXT_BYTES_MAX)?;
    limits::check_text("license_server", &tie.license_server, limits::TEXT_BYTES_MAX)?;
    Ok((tie, secret::read("secret_digest", &tie.secret_digest)?))
}
