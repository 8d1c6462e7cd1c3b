//! Which commands are acts, and what they are about.

use muster_proto::auth_v2::ResourceType;
use muster_proto::muster::log::v1::{
    AuditRecord, Command, ModifyRoleBinding, Resource, caller::Who, command::Kind, reply,
};

use crate::state::auth::Auth;
use crate::state::auth::principal::{ROBOT, ROOT};
use crate::state::secret::Digest;
use crate::state::{State, limits};

/// The record of a command before it is carried out, without what comes of it; none for what is no
/// act.
pub(in crate::state) fn of(state: &State, command: &Command) -> Option<AuditRecord> {
    let kind = command.kind.as_ref()?;
    let is_internal =
        command.caller.as_ref().is_some_and(|caller| matches!(caller.who, Some(Who::Internal(_))));
    let (name, resource) = about(kind, is_internal, state.auth())?;
    let principal = if let Kind::IssueUserToken(it) = kind {
        // Asked for by the server, on behalf of the person whom it has checked.
        shortened(&it.subject, limits::PRINCIPAL_BYTES_MAX)
    } else {
        super::principal(state.auth(), command.caller.as_ref())
    };
    let context = command.context.clone().unwrap_or_default();
    let or = |given: String, other: &str| if given.is_empty() { other.to_owned() } else { given };
    let request_id = or(context.request_id, &command.request_id);
    Some(AuditRecord {
        principal,
        peer: shortened(&context.peer, limits::AUDIT_PEER_BYTES_MAX),
        rpc: shortened(&or(context.rpc, name), limits::AUDIT_RPC_BYTES_MAX),
        resource: shortened(&resource, limits::AUDIT_RESOURCE_BYTES_MAX),
        request_id: shortened(&request_id, limits::REQUEST_ID_BYTES_MAX),
        count: 1,
        ..AuditRecord::default()
    })
}

/// Whether an act goes on in further commands, the last of which is written down.
pub(in crate::state) fn goes_on(done: &reply::Kind) -> bool {
    matches!(done, reply::Kind::TokensRemoved(removed) if removed.more)
}

/// The command's own name, for those that no request stands behind, and what it is about.
fn about(kind: &Kind, is_internal: bool, auth: &Auth) -> Option<(&'static str, String)> {
    let named = |name, resource: &str| Some((name, resource.to_owned()));
    match kind {
        // The server's own hourly beats, and its sweeps, which change nothing that anybody could notice.
        Kind::HeartbeatEnterprise(_)
        | Kind::TakeLicenseServerAnswer(_)
        | Kind::DeleteExpiredTokens(_)
        | Kind::DeleteExpiredLogins(_)
        | Kind::ForgetRevokedTokens(_)
            if is_internal =>
        {
            None
        }
        Kind::ActivateLicense(_) => named("ActivateLicense", "license"),
        Kind::RemoveLicenseAndClusters(_) => named("RemoveLicenseAndClusters", "license, fleet"),
        Kind::AddCluster(it) => Some(("AddCluster", cluster(&it.id))),
        Kind::UpdateCluster(it) => Some(("UpdateCluster", cluster(&it.id))),
        Kind::DeleteCluster(it) => Some(("DeleteCluster", cluster(&it.id))),
        Kind::ActivateEnterprise(_) => named("ActivateEnterprise", "enterprise"),
        Kind::JoinLicenseServer(_) => named("JoinLicenseServer", "enterprise"),
        Kind::HeartbeatEnterprise(_) => named("HeartbeatEnterprise", "enterprise"),
        Kind::TakeLicenseServerAnswer(_) => named("TakeLicenseServerAnswer", "enterprise"),
        Kind::DeactivateEnterprise(_) => named("DeactivateEnterprise", "enterprise"),
        Kind::BootstrapEnterprise(_) => named("BootstrapEnterprise", "license, enterprise"),
        Kind::ActivateAuth(_) => named("ActivateAuth", "auth"),
        Kind::DeactivateAuth(_) => named("DeactivateAuth", "auth"),
        Kind::ConfigureAuth(_) => named("ConfigureAuth", "auth configuration"),
        Kind::IssueRobotToken(it) => Some(("IssueRobotToken", robot(&it.robot))),
        Kind::IssueUserToken(it) => Some(("IssueUserToken", token_of(&it.subject))),
        Kind::RevokeToken(it) => Some(("RevokeToken", owner(auth, &it.token_digest))),
        Kind::RevokeTokensOf(it) => Some(("RevokeTokensOf", token_of(&it.subject))),
        Kind::DeleteExpiredLogins(_) => named("DeleteExpiredLogins", "logins that are over"),
        Kind::ForgetRevokedTokens(_) => named("ForgetRevokedTokens", "revoked tokens"),
        Kind::DeleteExpiredTokens(_) => named("DeleteExpiredTokens", "expired tokens"),
        Kind::RestoreToken(it) => Some(("RestoreToken", token_of(&it.subject))),
        Kind::RotateRootToken(_) => Some(("RotateRootToken", token_of(ROOT))),
        Kind::ModifyRoleBinding(it) => Some(("ModifyRoleBinding", binding(it))),
        Kind::CreateRoleBinding(it) => Some(("CreateRoleBinding", resource(it.resource.as_ref()))),
        Kind::SetGroups(it) => {
            Some(("SetGroups", format!("groups of {}: {}", it.principal, it.groups.join(", "))))
        }
        Kind::ModifyMembers(it) => Some((
            "ModifyMembers",
            format!("{}: +[{}] -[{}]", it.group, it.add.join(", "), it.remove.join(", ")),
        )),
        Kind::ConfirmRestore(_) => named("ConfirmRestore", "restore"),
        Kind::ConfigureAudit(it) => Some((
            "ConfigureAudit",
            format!("audit: {} records, {} seconds", it.records, it.seconds),
        )),
        // A member's beat is no act; anybody may begin a login, and one that ends well ends in a token;
        // the server's name is settled at every start; and calls are records themselves.
        Kind::RecordHeartbeats(_)
        | Kind::StartLogin(_)
        | Kind::FinishLogin(_)
        | Kind::ConfigureServer(_)
        | Kind::RecordCalls(_) => None,
    }
}

fn cluster(id: &str) -> String {
    format!("cluster:{id}")
}

fn robot(name: &str) -> String {
    token_of(&format!("{ROBOT}{}", name.strip_prefix(ROBOT).unwrap_or(name)))
}

fn token_of(subject: &str) -> String {
    format!("token of {subject}")
}

/// Whose token it is that goes; the token itself is nobody's business.
fn owner(auth: &Auth, digest: &[u8]) -> String {
    let token = Digest::try_from(digest).ok().and_then(|digest| auth.tokens().get(&digest));
    token.map_or_else(|| "no known token".to_owned(), |token| token_of(&token.subject))
}

fn binding(command: &ModifyRoleBinding) -> String {
    let on = resource(command.resource.as_ref());
    format!("{on}: {} = [{}]", command.principal, command.roles.join(", "))
}

fn resource(resource: Option<&Resource>) -> String {
    let Some(resource) = resource else { return String::new() };
    let kind = ResourceType::try_from(resource.r#type).unwrap_or_default().as_str_name();
    format!("{kind} {}", resource.name).trim_end().to_owned()
}

/// A text that a record may carry: no longer than this, and nothing in it that forges a line.
pub(super) fn shortened(text: &str, bytes_max: usize) -> String {
    let mut kept = String::new();
    for c in text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }) {
        if kept.len() + c.len_utf8() > bytes_max {
            break;
        }
        kept.push(c);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_carries_no_line_breaks() {
        assert_eq!(shortened("abc", 2), "ab");
        assert_eq!(shortened("aé", 2), "a");
        assert_eq!(shortened("a\nb", 9), "a\u{fffd}b");
    }
}
