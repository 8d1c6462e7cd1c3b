//! Every bound of the state in one place, each with its reason.

use muster_proto::muster::log::v1::{Rejection, RejectionKind};

use crate::state::rejection;

/// Registered clusters: the design point of one million, with a little room above it.
pub const CLUSTERS_MAX: usize = 1 << 20;

/// Bytes of a cluster's id, addresses, deployment id and client id: what upstream's columns hold.
pub const TEXT_BYTES_MAX: usize = 4096;

/// Bytes of a reported version: upstream's column holds 64; distributions append more.
pub const VERSION_BYTES_MAX: usize = 256;

/// Bytes of a cluster secret that a user chose. Only its digest is stored, so the bound is the
/// reader's patience, not memory.
pub const SECRET_BYTES_MAX: usize = 4096;

/// Bytes of an activation code: a genuine one has about 2 KiB, and it travels in every heartbeat's
/// answer.
pub const ACTIVATION_CODE_BYTES_MAX: usize = 64 * 1024;

/// Bytes by which a sealed text is longer than the text.
pub const ENVELOPE_BYTES_MAX: usize = 64;

/// Bytes of a claim that the server keeps beside the code.
pub const CLAIM_BYTES_MAX: usize = 4096;

/// Bytes of a client's own request id.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// Remembered answers: at a thousand named requests a second every client has ten seconds to ask
/// again; a retry comes sooner. Answers are small, so this holds a few MiB.
pub const ANSWERS_MAX: usize = 10_000;

/// How long an answer is remembered: longer than any client keeps asking.
pub const ANSWER_SECONDS_MAX: u64 = 24 * 60 * 60;

/// How long a replaced cluster secret still serves when the new one is not used: a week lets an
/// operator bring the new secret to the member. Changing the secret twice ends it at once.
pub const PREVIOUS_SECRET_SECONDS_MAX: u64 = 7 * 24 * 60 * 60;

/// Clusters that a restored state names as unknown: what a person reads through before confirming.
pub const STRAYS_MAX: usize = 1_000;

/// Heartbeats in one command: bounds the time that one entry takes.
pub const BEATS_MAX: usize = 4096;

/// Bytes of one snapshot record are kept below 1 MiB; a record is closed at this size, and no single
/// part of one is larger than 128 KiB.
pub const RECORD_BYTES_AIM: usize = 256 * 1024;

/// Tokens, expired ones that are not purged yet included: the design point of one million, with a
/// little room above it.
pub const TOKENS_MAX: usize = 1 << 20;

/// Principals whose revoked tokens are being forgotten: some minutes of forgetting. Beyond them, the
/// entry that revokes forgets as well.
pub const REVOCATIONS_MAX: usize = 1 << 12;

/// Expired or revoked tokens that one entry forgets: keeps the pause of an entry below 10 ms or so.
pub const TOKENS_PURGED_MAX: usize = 1 << 10;

/// Resources and their entries together: the design point of 100,000, with room above it.
pub const BINDINGS_MAX: usize = 1 << 18;

/// Names of roles in one command: there are seventeen; repeated ones collapse.
pub const ROLES_PER_COMMAND_MAX: usize = 100;

/// Principals and memberships together: what a large directory sends.
pub const MEMBERSHIPS_MAX: usize = 1 << 20;

/// Groups of one principal: each is looked up at every decision.
pub const GROUPS_PER_PRINCIPAL_MAX: usize = 1024;

/// Principals in one command: bounds the time that one entry takes.
pub const MEMBERS_PER_COMMAND_MAX: usize = 4096;

/// Bytes of a principal, role, group or resource: an e-mail address has up to 320 (D-45).
pub const PRINCIPAL_BYTES_MAX: usize = 1024;

/// Logins under way: anybody may begin one, and each lasts minutes.
pub const LOGINS_MAX: usize = 10_000;

/// How long a login may last.
pub const LOGIN_SECONDS_MAX: u64 = 10 * 60;

/// Scopes of a configuration.
pub const SCOPES_MAX: usize = 100;

/// Bytes of a sealed secret.
pub const SEALED_BYTES_MAX: usize = 8192;

/// Audit records that a group keeps at most: half a gigabyte or so.
pub const AUDIT_RECORDS_MAX: u64 = 1_000_000;

/// Audit records that are kept when nobody says otherwise: some 20 MiB of memory and of each snapshot.
pub const AUDIT_RECORDS_DEFAULT: u64 = 50_000;

/// How long audit records are kept when nobody says otherwise: a year and a month, so that a yearly
/// review finds all of it.
pub const AUDIT_SECONDS_DEFAULT: u64 = 400 * 24 * 60 * 60;

/// Audit records that go with one that comes: keeps the pause of an entry short when the retention was
/// made smaller.
pub const AUDIT_TRIMMED_MAX: usize = 256;

/// How long repeated calls are counted before the count is written down.
pub const AUDIT_WINDOW_SECONDS: u64 = 5 * 60;

/// Kinds of repeated calls that are counted apart in one window. Being refused all the time in as
/// many ways as there are fills the default retention in two and a half days.
pub const AUDIT_KINDS_MAX: usize = 32;

/// Kinds of calls in one command.
pub const AUDIT_CALLS_MAX: usize = 512;

/// Bytes of an audit record's texts.
pub const AUDIT_PEER_BYTES_MAX: usize = 64;
/// As above.
pub const AUDIT_RPC_BYTES_MAX: usize = 128;
/// As above.
pub const AUDIT_RESOURCE_BYTES_MAX: usize = 512;
/// As above.
pub const AUDIT_REFUSAL_BYTES_MAX: usize = 64;

/// Checks a text that a caller gave: its length in bytes, and that it has no control characters,
/// which would forge lines in logs and terminals. An empty text passes.
///
/// # Errors
///
/// A rejection that names `field`.
pub fn check_text(field: &'static str, text: &str, bytes_max: usize) -> Result<(), Rejection> {
    if text.len() > bytes_max {
        return Err(Rejection {
            limit: u64::try_from(bytes_max).unwrap_or(u64::MAX),
            ..rejection::about(RejectionKind::FieldTooLong, field)
        });
    }
    if text.chars().any(char::is_control) {
        return Err(rejection::about(RejectionKind::FieldHasControlCharacters, field));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_at_its_limit_passes_and_one_byte_more_does_not() {
        assert!(check_text("id", &"x".repeat(8), 8).is_ok());
        let refused = check_text("id", &"x".repeat(9), 8).unwrap_err();
        assert_eq!(refused.kind(), RejectionKind::FieldTooLong);
        assert_eq!((refused.subject.as_str(), refused.limit), ("id", 8));
    }

    #[test]
    fn control_characters_are_refused_wherever_unicode_has_them() {
        for text in ["a\nb", "\u{0}", "x\u{7f}", "\u{85}"] {
            let refused = check_text("id", text, 99).unwrap_err();
            assert_eq!(refused.kind(), RejectionKind::FieldHasControlCharacters);
        }
        assert!(check_text("id", "Zürich'; DROP TABLE 集群", 99).is_ok());
    }
}
