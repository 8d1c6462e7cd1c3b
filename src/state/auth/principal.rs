//! Names of those who act: `<prefix>:<name>`.

use std::sync::Arc;

use muster_proto::muster::log::v1::{Internal, Rejection, RejectionKind};

use crate::state::{limits, rejection};

/// The root user, who always holds clusterAdmin.
pub const ROOT: &str = "pach:root";

/// Everybody who has a valid token; only in bindings.
pub const EVERYBODY: &str = "allClusterUsers";

/// The server's own part that the cluster binding names, as upstream's does.
pub(super) const AUTH_SERVER: &str = "internal:auth-server";

/// In front of robots.
pub const ROBOT: &str = "robot:";

/// In front of people.
pub const USER: &str = "user:";

const ROOTS: &str = "pach:";
const INTERNALS: &str = "internal:";
const PIPELINES: &str = "pipeline:";
const PREFIXES: [&str; 6] = [USER, ROBOT, "group:", PIPELINES, ROOTS, INTERNALS];

/// Who a request turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Nobody in particular, where nobody in particular may.
    Nobody,
    /// The owner of a valid token.
    Named(Arc<str>),
    /// A part of the server itself; may everything, without a binding (D-32).
    Server(Internal),
}

impl Principal {
    /// As people read it; empty for nobody.
    pub fn name(&self) -> &str {
        match self {
            Principal::Nobody => "",
            Principal::Named(name) => name,
            Principal::Server(Internal::LicenseServer) => "internal:license-server",
            Principal::Server(Internal::EnterpriseService) => "internal:enterprise-service",
            Principal::Server(Internal::AuthServer | Internal::Unspecified) => AUTH_SERVER,
        }
    }
}

/// Says no to a name that is not `<prefix>:<name>` with a prefix that exists.
pub(super) fn check(name: &str) -> Result<(), Rejection> {
    limits::check_text("principal", name, limits::PRINCIPAL_BYTES_MAX)?;
    let Some((prefix, _)) = name.split_once(':') else {
        return Err(rejection::about(RejectionKind::PrincipalWithoutPrefix, name));
    };
    let prefix = format!("{prefix}:");
    if PREFIXES.contains(&prefix.as_str()) {
        Ok(())
    } else {
        Err(rejection::about(RejectionKind::PrincipalPrefixUnknown, &prefix))
    }
}

/// As [`check`], and everybody as one.
pub(super) fn check_bindable(name: &str) -> Result<(), Rejection> {
    if name == EVERYBODY { Ok(()) } else { check(name) }
}

/// The prefix of those whose bindings on the cluster nobody changes.
pub(super) fn fixed_prefix(name: &str) -> Option<&'static str> {
    [ROOTS, INTERNALS].into_iter().find(|prefix| name.starts_with(prefix))
}

/// Whether tokens of that subject are beyond revoking by subject.
pub(super) fn is_root_kind(name: &str) -> bool {
    name.starts_with(ROOTS)
}

/// Whether the closed gate is open to it without a binding.
pub(super) fn passes_gate(name: &str) -> bool {
    name == ROOT || name.starts_with(PIPELINES) || name.starts_with(INTERNALS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_has_a_known_prefix_and_any_name() {
        for name in ["user:a@b.c", "robot:", "group:g:h", "pipeline:p/x", "pach:root", "internal:x"]
        {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        let refused = |name| check(name).unwrap_err();
        assert_eq!(refused("alice").kind(), RejectionKind::PrincipalWithoutPrefix);
        assert_eq!(refused(EVERYBODY).kind(), RejectionKind::PrincipalWithoutPrefix);
        assert_eq!(refused("github:alice").subject, "github:");
        assert_eq!(refused("User:a").kind(), RejectionKind::PrincipalPrefixUnknown);
        assert_eq!(refused("user:a\nb").kind(), RejectionKind::FieldHasControlCharacters);
        assert_eq!(check_bindable(EVERYBODY), Ok(()));
    }
}
