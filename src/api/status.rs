//! What a request came to, as a gRPC code and text: one match, no wildcard.
//!
//! Texts marked [M] are found by clients through substring search and are Pachyderm's own, to the
//! letter. No other text may contain one of them: a stray one makes a client believe that auth is
//! off, or a whole member cluster lock its users out. So nothing that a caller chose is ever put
//! into a text, except where the matched text itself carries it, and ids without spaces.

use std::sync::Arc;
use std::time::Duration;

use muster_proto::auth_v2::{Permission, ResourceType};
use muster_proto::muster::log::v1::{LicenseState, Rejection, RejectionKind};
use tonic::{Code, Status};

use super::retry;
use super::staleness;
use crate::actors::{CallError, NotDone, ReplicaError};

/// [M] Every guarded request while auth is off.
const AUTH_OFF: &str = "the auth service is not activated";
/// [M] `Auth.Activate` while it is on.
const AUTH_ON: &str = "the auth service is already activated";
/// [M] No token came with the request.
const TOKEN_ABSENT: &str = "no authentication token (try logging in)";
/// [M] A token that nobody has.
const TOKEN_UNKNOWN: &str =
    "provided auth token is corrupted or has expired (try logging in again)";
/// [M] A token whose time is over.
const TOKEN_EXPIRED: &str = "token expiration is in the past";
/// [M] A permission is missing.
const NOT_AUTHORIZED: &str = "not authorized to perform this operation";
/// [M] A project or repo without a binding.
const BINDING_ABSENT: &str = "no role binding exists for";
/// [M] A heartbeat with a wrong pair: this switches a member off.
const PAIR_INVALID: &str = "cluster ID or secret is not valid";
/// [M] `AddCluster` under a taken id.
const ID_TAKEN: &str = "cluster ID is not unique";
/// [M] The own heartbeat of a server that is no member of itself.
const NOT_ENTERPRISE: &str = "cluster does not have enterprise features enabled";

/// The status of a call that has no good answer.
impl From<CallError> for Status {
    fn from(error: CallError) -> Status {
        match error {
            CallError::Rejected(rejection) => of_rejection(&rejection),
            CallError::NotDone(reason) => of_not_done(reason),
            CallError::MayBeDone => Status::unavailable(
                "no answer from the group in time, and it may still come to be: ask again, with the \
                 same muster-request-id if it must not be done twice",
            ),
            CallError::CodeInvalid(reason) => {
                Status::invalid_argument(format!("error validating activation code: {reason}"))
            }
            CallError::LicenseServer(_) => Status::unavailable(error.to_string()),
            CallError::CodeClosed(_) => Status::unavailable(format!(
                "{error}: ask another replica, and give this one the key"
            )),
            CallError::Sealed(reason) => Status::failed_precondition(reason),
            CallError::Stale(age) => staleness::too_old(age),
            CallError::Misunderstood => Status::internal("the group's answer was not understood"),
        }
    }
}

fn of_not_done(reason: NotDone) -> Status {
    match reason {
        NotDone::NoLeader => Status::unavailable(
            "no majority of replicas answers, nothing was done: ask again later",
        ),
        NotDone::Stopping => {
            Status::unavailable("this replica is stopping, nothing was done: ask another one")
        }
        NotDone::Late => Status::unavailable("no time was left, nothing was done"),
        NotDone::Overloaded => retry::exhausted(
            "too many requests are waiting, nothing was done: ask again later",
            Duration::from_secs(1),
        ),
        NotDone::DiskFull => Status::resource_exhausted(
            "the disk is almost full, nothing was done: make room, or ask another replica; heartbeats and deletions are taken longest",
        ),
        NotDone::TooLarge => {
            Status::resource_exhausted("the request is too large, nothing was done")
        }
    }
}

/// The status of a rule's no.
#[expect(clippy::too_many_lines, reason = "a few lines for each rejection, and none forgotten")]
fn of_rejection(rejection: &Rejection) -> Status {
    let subject = &rejection.subject;
    let limit = rejection.limit;
    let (code, text) = match rejection.kind() {
        RejectionKind::Unspecified | RejectionKind::CommandIncomplete => (
            Code::FailedPrecondition,
            "a replica of an older version cannot do this yet: upgrade all replicas".to_owned(),
        ),
        RejectionKind::CommandTooLarge => {
            (Code::ResourceExhausted, format!("at most {limit} may go together"))
        }
        RejectionKind::FieldTooLong => {
            (Code::InvalidArgument, format!("{subject} is longer than {limit} bytes"))
        }
        RejectionKind::FieldHasControlCharacters => {
            (Code::InvalidArgument, format!("{subject} must not have control characters"))
        }
        RejectionKind::FieldEmpty => {
            (Code::InvalidArgument, format!("{subject} must not be empty"))
        }
        RejectionKind::InternalOnly => {
            (Code::PermissionDenied, "only the server itself may ask for this".to_owned())
        }
        RejectionKind::RequestIdTaken => (
            Code::AlreadyExists,
            "this muster-request-id was used before for something else".to_owned(),
        ),
        RejectionKind::LicenseNotActive => (
            Code::FailedPrecondition,
            format!("enterprise license is not valid - {}", state_name(rejection.license_state())),
        ),
        RejectionKind::LicenseAbsent => (Code::NotFound, "license license not found".to_owned()),
        RejectionKind::LicensedClustersExhausted => (
            Code::ResourceExhausted,
            format!("the license allows {limit} clusters, and as many are registered"),
        ),
        RejectionKind::ClusterIdEmpty => {
            (Code::InvalidArgument, "no id provided for cluster".to_owned())
        }
        RejectionKind::ClusterAddressEmpty => {
            (Code::InvalidArgument, "no address provided for cluster".to_owned())
        }
        RejectionKind::ClusterIdTaken => (Code::Unimplemented, ID_TAKEN.to_owned()),
        RejectionKind::ClusterUnknown => {
            (Code::NotFound, format!("no cluster is registered under {}", the_id(subject)))
        }
        RejectionKind::ClusterFieldsEmpty => (
            Code::InvalidArgument,
            "No cluster fields were provided to the UpdateCluster RPC".to_owned(),
        ),
        RejectionKind::TooManyClusters => (
            Code::ResourceExhausted,
            format!("{limit} clusters are registered, the most there can be"),
        ),
        RejectionKind::IdOrSecretInvalid => (
            Code::Unimplemented,
            format!(
                "got 0, want 1 for cluster id {}: rpc error: code = Unimplemented desc = {PAIR_INVALID}",
                go_quoted(subject)
            ),
        ),
        RejectionKind::Quarantined => (
            Code::Unavailable,
            format!(
                "this server was restored and is not sure about {}, nothing was decided: ask again \
                 later (an operator has to say muster restore confirm)",
                the_id(subject)
            ),
        ),
        RejectionKind::EnterpriseNotActivated => (Code::Unimplemented, NOT_ENTERPRISE.to_owned()),
        RejectionKind::AuthNotActivated => (Code::Unimplemented, AUTH_OFF.to_owned()),
        RejectionKind::AuthAlreadyActivated => (Code::Unimplemented, AUTH_ON.to_owned()),
        RejectionKind::AuthNeedsEnterprise => (
            Code::FailedPrecondition,
            "Pachyderm Enterprise is not active in this cluster, and the Pachyderm auth API is an \
             Enterprise-level feature"
                .to_owned(),
        ),
        RejectionKind::TokenAbsent => (Code::Unauthenticated, TOKEN_ABSENT.to_owned()),
        RejectionKind::TokenUnknown => (Code::Unauthenticated, TOKEN_UNKNOWN.to_owned()),
        RejectionKind::TokenExpired | RejectionKind::TokenExpiryPast => {
            (Code::Internal, TOKEN_EXPIRED.to_owned())
        }
        RejectionKind::GateClosed => (Code::Unknown, gate_closed(subject)),
        RejectionKind::NotAuthorized => (Code::PermissionDenied, not_authorized(rejection)),
        RejectionKind::RoleBindingAbsent => (
            Code::Unknown,
            format!("{BINDING_ABSENT} {} {}", type_name(rejection), rejection.resource_name),
        ),
        RejectionKind::PrincipalWithoutPrefix => (
            Code::InvalidArgument,
            "subject has no prefix, must be of the form <type>:<name>".to_owned(),
        ),
        RejectionKind::PrincipalPrefixUnknown => {
            (Code::InvalidArgument, format!("subject has unrecognized prefix: {}", word(subject)))
        }
        RejectionKind::PrincipalFixed => (
            Code::InvalidArgument,
            format!("cannot modify cluster role bindings for {} users", word(subject)),
        ),
        RejectionKind::ResourceTypeUnknown => {
            (Code::InvalidArgument, format!("unknown resource type {}", type_name(rejection)))
        }
        RejectionKind::ResourceNameInvalid => {
            (Code::InvalidArgument, "invalid resource name: a repo is PROJECT/REPO".to_owned())
        }
        RejectionKind::RoleUnknown => {
            (Code::InvalidArgument, format!("unknown role {}", go_quoted(word(subject))))
        }
        RejectionKind::RoleNotBindable => (
            Code::InvalidArgument,
            format!("the role has no meaning on a {}", type_name(rejection)),
        ),
        RejectionKind::RobotNameEmpty => (Code::InvalidArgument, "a robot needs a name".to_owned()),
        RejectionKind::RobotNameHasColon => {
            (Code::InvalidArgument, "robot names cannot contain colons (':')".to_owned())
        }
        RejectionKind::TtlNegative => {
            (Code::InvalidArgument, "a time to live cannot be negative".to_owned())
        }
        RejectionKind::TokenTaken => (
            Code::Unknown,
            "error restoring auth token: cannot overwrite existing token with same hash".to_owned(),
        ),
        RejectionKind::SubjectFixed => {
            (Code::InvalidArgument, "cannot revoke tokens for pach: users".to_owned())
        }
        RejectionKind::TooMany => {
            (Code::ResourceExhausted, format!("there are {limit} {subject}, the most there can be"))
        }
        RejectionKind::LoginUnknown => {
            (Code::Unknown, "error during authorization: OIDC state token expired".to_owned())
        }
        RejectionKind::LoginUnfinished => {
            (Code::Unavailable, "the login has not finished in the browser yet".to_owned())
        }
        RejectionKind::LoginFailed => (Code::Unknown, "authorization failed".to_owned()),
    };
    let mut status = Status::new(code, text);
    // For the audit log; it does not go over the wire.
    status.set_source(Arc::new(Refused(rejection.clone())));
    status
}

/// The rule's no behind a status.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("refused")]
pub(super) struct Refused(pub(super) Rejection);

fn gate_closed(principal: &str) -> String {
    format!(
        "Pachyderm Enterprise is not active in this cluster (until Pachyderm Enterprise is \
         re-activated or Pachyderm auth is deactivated, only cluster admins can perform any \
         operations): user: {principal}, is not priviledged to operate while Enterprise License is \
         disabled"
    )
}

fn not_authorized(rejection: &Rejection) -> String {
    let names: Vec<&str> = rejection
        .permissions
        .iter()
        .map(|number| Permission::try_from(*number).unwrap_or_default().as_str_name())
        .collect();
    format!(
        "{} is {NOT_AUTHORIZED} - needs permissions [{}] on {} {}. Run `pachctl auth \
         roles-for-permission` to find roles that grant a given permission.",
        rejection.subject,
        names.join(" "),
        type_name(rejection),
        rejection.resource_name,
    )
}

fn type_name(rejection: &Rejection) -> &'static str {
    ResourceType::try_from(rejection.resource_type).unwrap_or_default().as_str_name()
}

/// The status of an operator's wish that was not granted.
impl From<ReplicaError> for Status {
    fn from(error: ReplicaError) -> Status {
        match error {
            ReplicaError::NoId => Status::invalid_argument(error.to_string()),
            ReplicaError::NotTransferred(_) | ReplicaError::NotSaved(_) => {
                Status::failed_precondition(error.to_string())
            }
        }
    }
}

fn state_name(state: LicenseState) -> &'static str {
    match state {
        LicenseState::None => "NONE",
        LicenseState::Active => "ACTIVE",
        LicenseState::Expired => "EXPIRED",
        LicenseState::HeartbeatFailed => "HEARTBEAT_FAILED",
    }
}

/// An id that a caller chose, unless it could hold one of the matched texts: all of them have spaces.
fn the_id(id: &str) -> String {
    if id.is_empty() || id.contains(char::is_whitespace) {
        "this id".to_owned()
    } else {
        format!("the id {}", go_quoted(id))
    }
}

/// A name that a caller chose, unless it could hold one of the matched texts: all have spaces.
fn word(name: &str) -> &str {
    if name.contains(char::is_whitespace) { "(not shown)" } else { name }
}

/// As Go's `%q` prints it, for text without control characters.
fn go_quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::rejection;

    const MATCHED: [&str; 15] = [
        AUTH_OFF,
        AUTH_ON,
        TOKEN_ABSENT,
        "no authentication metadata (try logging in)",
        TOKEN_UNKNOWN,
        TOKEN_EXPIRED,
        NOT_AUTHORIZED,
        BINDING_ABSENT,
        "invalid principal \"",
        "is shorter than token's existing TTL",
        ID_TAKEN,
        PAIR_INVALID,
        NOT_ENTERPRISE,
        "ID does not exist",
        "ID already exists",
    ];

    fn kinds() -> Vec<RejectionKind> {
        (0..300).filter_map(|number| RejectionKind::try_from(number).ok()).collect()
    }

    fn matched_in(status: &Status) -> Vec<&'static str> {
        MATCHED.into_iter().filter(|text| status.message().contains(text)).collect()
    }

    #[test]
    fn matched_texts_come_from_the_rejections_that_mean_them_and_no_others() {
        for kind in kinds() {
            let status = of_rejection(&rejection::about(kind, "subject"));
            let expected: &[&str] = match kind {
                RejectionKind::IdOrSecretInvalid => &[PAIR_INVALID],
                RejectionKind::ClusterIdTaken => &[ID_TAKEN],
                RejectionKind::EnterpriseNotActivated => &[NOT_ENTERPRISE],
                RejectionKind::AuthNotActivated => &[AUTH_OFF],
                RejectionKind::AuthAlreadyActivated => &[AUTH_ON],
                RejectionKind::TokenAbsent => &[TOKEN_ABSENT],
                RejectionKind::TokenUnknown => &[TOKEN_UNKNOWN],
                RejectionKind::TokenExpired | RejectionKind::TokenExpiryPast => &[TOKEN_EXPIRED],
                RejectionKind::NotAuthorized => &[NOT_AUTHORIZED],
                RejectionKind::RoleBindingAbsent => &[BINDING_ABSENT],
                _ => &[],
            };
            assert_eq!(matched_in(&status), expected, "{kind:?}");
        }
    }

    #[test]
    fn a_caller_cannot_smuggle_a_matched_text_into_another_rejection() {
        // The first name a part of ours, never what a caller wrote; the others carry upstream's own
        // text, to which the id or the principal belongs.
        let carriers = [
            RejectionKind::FieldTooLong,
            RejectionKind::FieldHasControlCharacters,
            RejectionKind::FieldEmpty,
            RejectionKind::TooMany,
            RejectionKind::IdOrSecretInvalid,
            RejectionKind::NotAuthorized,
            RejectionKind::GateClosed,
        ];
        for kind in kinds().into_iter().filter(|kind| !carriers.contains(kind)) {
            let status = of_rejection(&rejection::about(kind, PAIR_INVALID));
            assert!(!status.message().contains(PAIR_INVALID), "{kind:?}");
        }
    }

    #[test]
    fn a_group_without_majority_is_unavailable_and_matches_nothing() {
        let reasons = [NotDone::NoLeader, NotDone::Stopping, NotDone::Late].map(CallError::NotDone);
        for error in reasons.into_iter().chain([CallError::MayBeDone]) {
            let status = Status::from(error.clone());
            assert_eq!(status.code(), Code::Unavailable, "{error:?}");
            assert!(matched_in(&status).is_empty(), "{error:?}");
        }
        for reason in [NotDone::Overloaded, NotDone::DiskFull, NotDone::TooLarge] {
            let status = Status::from(CallError::from(reason));
            assert_eq!(status.code(), Code::ResourceExhausted);
            assert!(matched_in(&status).is_empty(), "{reason:?}");
        }
    }

    #[test]
    fn a_wrong_pair_reads_as_upstream_has_it() {
        let status = of_rejection(&rejection::about(RejectionKind::IdOrSecretInvalid, "a\"b\\"));
        assert_eq!(status.code(), Code::Unimplemented);
        assert_eq!(
            status.message(),
            "got 0, want 1 for cluster id \"a\\\"b\\\\\": rpc error: code = Unimplemented desc = cluster \
             ID or secret is not valid"
        );
    }

    #[test]
    fn a_missing_permission_reads_as_upstream_has_it() {
        let mut rejection = rejection::about(RejectionKind::NotAuthorized, "robot:x");
        rejection.permissions = vec![Permission::ClusterAuthSetConfig.into()];
        rejection.resource_type = ResourceType::Cluster.into();
        let status = of_rejection(&rejection);
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(
            status.message(),
            "robot:x is not authorized to perform this operation - needs permissions \
             [CLUSTER_AUTH_SET_CONFIG] on CLUSTER . Run `pachctl auth roles-for-permission` to find \
             roles that grant a given permission."
        );
    }

    #[test]
    fn a_license_that_is_not_in_force_says_how() {
        let mut rejection = rejection::plain(RejectionKind::LicenseNotActive);
        rejection.set_license_state(LicenseState::Expired);
        assert_eq!(of_rejection(&rejection).message(), "enterprise license is not valid - EXPIRED");
    }
}
