//! Who may do what: tokens, roles, groups, logins. On while the cluster has a binding.

pub mod bindings;
pub mod decide;
pub mod groups;
pub mod logins;
pub mod principal;
mod records;
mod revocations;
pub mod roles;
pub mod rpcs;
pub mod tokens;

use std::sync::Arc;

use muster_hooks::mutant;
use muster_proto::auth_v2::{Permission, ResourceType};
use muster_proto::muster::log::v1::{
    ActivateAuth, ConfigureAuth, CreateRoleBinding, DeleteExpiredTokens, ForgetRevokedTokens,
    GroupsClaim, IssueRobotToken, IssueUserToken, LicenseState, ModifyMembers, ModifyRoleBinding,
    OidcConfig, Rejection, RejectionKind, RestoreToken, RevokeToken, RevokeTokensOf,
    RotateRootToken, SetGroups, TokenIssued, TokensRemoved,
};

use self::bindings::{Bindings, Resource};
use self::groups::Groups;
use self::logins::{Logins, Progress};
use self::principal::Principal;
use self::tokens::Tokens;
use crate::state::audit::Stamp;
use crate::state::secret::{self, Digest};
use crate::state::time::LogTime;
use crate::state::{limits, rejection};

/// Everything that auth keeps.
#[derive(Clone, Debug, Default)]
pub struct Auth {
    pub(super) bindings: Bindings,
    pub(super) tokens: Tokens,
    pub(super) groups: Groups,
    pub(super) logins: Logins,
    pub(super) configuration: Option<Arc<OidcConfig>>,
}

impl Auth {
    /// Whether the cluster has a binding.
    pub fn is_on(&self) -> bool {
        self.bindings.get(&Resource::Cluster).is_some()
    }

    /// Which principal has which roles.
    pub fn bindings(&self) -> &Bindings {
        &self.bindings
    }

    /// The tokens that are not purged yet.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Who is in which group.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// People on their way to the provider and back.
    pub fn logins(&self) -> &Logins {
        &self.logins
    }

    /// How people sign in; none = not at all.
    pub fn configuration(&self) -> Option<&OidcConfig> {
        self.configuration.as_deref()
    }

    /// Forgets every token but root's, and every login under way: all others sign in anew.
    pub(super) fn forget_sessions(&mut self) {
        let kept = self
            .tokens
            .of_prefix(principal::ROOT)
            .filter(|(_, token)| *token.subject == *principal::ROOT);
        let kept: Vec<_> = kept.map(|(digest, token)| (*digest, token.clone())).collect();
        self.tokens = Tokens::default();
        self.logins = Logins::default();
        for (digest, token) in kept {
            self.tokens.insert(digest, &token.subject, token.expires, token.issued);
        }
    }

    fn require_on(&self) -> Result<(), Rejection> {
        if self.is_on() { Ok(()) } else { Err(rejection::plain(RejectionKind::AuthNotActivated)) }
    }
}

/// Turns auth on. Whether it is on already is looked at first, so that a start with an expired license
/// goes on (D-13) and everybody gets the same answer (D-39).
pub(super) fn activate(
    auth: &mut Auth,
    gate: LicenseState,
    at: Stamp,
    command: &ActivateAuth,
) -> Result<(), Rejection> {
    if auth.is_on() {
        return Err(rejection::plain(RejectionKind::AuthAlreadyActivated));
    }
    if gate != LicenseState::Active {
        return Err(Rejection {
            license_state: gate.into(),
            ..rejection::plain(RejectionKind::AuthNeedsEnterprise)
        });
    }
    let digest = secret::read("root_token_digest", &command.root_token_digest)?;

    let cluster = Resource::Cluster;
    auth.bindings.create(cluster.clone());
    auth.bindings.set(&cluster, principal::ROOT, vec![&roles::CLUSTER_ADMIN]);
    auth.bindings.set(&cluster, principal::AUTH_SERVER, vec![&roles::CLUSTER_ADMIN]);
    auth.bindings.set(&cluster, principal::EVERYBODY, vec![&roles::PROJECT_CREATOR]);
    if !mutant!(ActivateHalf) {
        auth.tokens.insert(digest, principal::ROOT, LogTime::NEVER, at.index);
    }
    Ok(())
}

/// Turns auth off and forgets everything, logins under way included (D-50).
pub(super) fn deactivate(auth: &mut Auth) {
    *auth = Auth::default();
}

/// Replaces the configuration of logins as a whole.
pub(super) fn configure(auth: &mut Auth, command: &ConfigureAuth) -> Result<(), Rejection> {
    let configuration = command.configuration.as_ref();
    if let Some(it) = configuration {
        limits::check_text("issuer", &it.issuer, limits::TEXT_BYTES_MAX)?;
        limits::check_text("client_id", &it.client_id, limits::TEXT_BYTES_MAX)?;
        limits::check_text("redirect_uri", &it.redirect_uri, limits::TEXT_BYTES_MAX)?;
        let host = &it.user_accessible_issuer_host;
        limits::check_text("user_accessible_issuer_host", host, limits::TEXT_BYTES_MAX)?;
        if it.client_secret_sealed.len() > limits::SEALED_BYTES_MAX {
            return Err(rejection::about(RejectionKind::FieldTooLong, "client_secret_sealed"));
        }
        if it.scopes.len() > limits::SCOPES_MAX {
            return Err(rejection::too_many("scopes", limits::SCOPES_MAX));
        }
        for scope in &it.scopes {
            limits::check_text("scopes", scope, limits::PRINCIPAL_BYTES_MAX)?;
        }
    }

    auth.configuration = configuration.cloned().map(Arc::new);
    Ok(())
}

/// A new token for a robot, which needs no prior existence.
pub(super) fn issue_robot_token(
    auth: &mut Auth,
    at: Stamp,
    command: &IssueRobotToken,
) -> Result<TokenIssued, Rejection> {
    auth.require_on()?;
    let name = command.robot.strip_prefix(principal::ROBOT).unwrap_or(&command.robot);
    if name.is_empty() {
        return Err(rejection::plain(RejectionKind::RobotNameEmpty));
    }
    if name.contains(':') {
        return Err(rejection::plain(RejectionKind::RobotNameHasColon));
    }
    let subject = format!("{}{name}", principal::ROBOT);
    principal::check(&subject)?;
    let ttl = u64::try_from(command.ttl_seconds)
        .map_err(|_| rejection::plain(RejectionKind::TtlNegative))?;
    let digest = secret::read("token_digest", &command.token_digest)?;
    auth.tokens.check_new(&digest)?;

    let expires = if ttl == 0 { LogTime::NEVER } else { at.time.plus_seconds(ttl) };
    auth.tokens.insert(digest, &subject, expires, at.index);
    Ok(TokenIssued { expires_us: expires.0, subject })
}

/// A new token for a person whom the server has checked. A login serves for one token (D-34).
pub(super) fn issue_user_token(
    auth: &mut Auth,
    gate: LicenseState,
    at: Stamp,
    command: &IssueUserToken,
) -> Result<TokenIssued, Rejection> {
    auth.require_on()?;
    principal::check(&command.subject)?;
    if command.subject == principal::USER || !command.subject.starts_with(principal::USER) {
        return Err(rejection::about(RejectionKind::PrincipalPrefixUnknown, &command.subject));
    }
    let login = match command.login_digest.as_ref() {
        [] => None,
        bytes => Some(secret::read("login_digest", bytes)?),
    };
    let mut claim = command.groups.clone();
    if let Some(digest) = &login {
        claim = groups_of_login(auth, digest, at.time, &command.subject)?;
    }
    auth.pass_gate(&command.subject, gate)?;
    if let Some(claim) = &claim {
        groups::check_claim(&auth.groups, claim)?;
    }
    if command.ttl_seconds == 0 {
        return Err(rejection::plain(RejectionKind::TokenExpiryPast));
    }
    let digest = secret::read("token_digest", &command.token_digest)?;
    auth.tokens.check_new(&digest)?;

    let expires = at.time.plus_seconds(command.ttl_seconds);
    auth.tokens.insert(digest, &command.subject, expires, at.index);
    if let Some(claim) = &claim {
        groups::follow_claim(&mut auth.groups, &command.subject, claim);
    }
    if let Some(digest) = &login {
        auth.logins.remove(digest);
    }
    Ok(TokenIssued { expires_us: expires.0, subject: command.subject.clone() })
}

/// What the provider said of groups, if the login is that person's and done.
fn groups_of_login(
    auth: &Auth,
    digest: &Digest,
    now: LogTime,
    subject: &str,
) -> Result<Option<GroupsClaim>, Rejection> {
    match &auth.logins.find(digest, now)?.progress {
        Progress::Started => Err(rejection::plain(RejectionKind::LoginUnfinished)),
        Progress::SignedIn { subject: owner, groups } if owner == subject => Ok(groups.clone()),
        Progress::SignedIn { .. } | Progress::Failed => {
            Err(rejection::plain(RejectionKind::LoginFailed))
        }
    }
}

/// Ends one token, whosever it is.
pub(super) fn revoke(auth: &mut Auth, command: &RevokeToken) -> Result<TokensRemoved, Rejection> {
    let digest = secret::read("token_digest", &command.token_digest)?;

    let number = u64::from(auth.tokens.remove(&digest));
    Ok(TokensRemoved { number, more: false })
}

/// Ends all tokens that one subject has, at once; forgetting them may take further entries.
pub(super) fn revoke_all_of(
    auth: &mut Auth,
    at: Stamp,
    command: &RevokeTokensOf,
) -> Result<TokensRemoved, Rejection> {
    limits::check_text("username", &command.subject, limits::PRINCIPAL_BYTES_MAX)?;
    if principal::is_root_kind(&command.subject) {
        return Err(rejection::about(RejectionKind::SubjectFixed, &command.subject));
    }

    let number = auth.tokens.revoke_of(&command.subject, at.index, at_once(command.at_once));
    Ok(TokensRemoved { number, more: false })
}

fn at_once(wanted: u32) -> usize {
    usize::try_from(wanted).unwrap_or(limits::TOKENS_PURGED_MAX)
}

/// Forgets expired tokens, a bounded number in one entry.
pub(super) fn purge(auth: &mut Auth, now: LogTime, command: DeleteExpiredTokens) -> TokensRemoved {
    auth.tokens.purge(now, purged_max(command.max))
}

/// Forgets revoked tokens, a bounded number in one entry.
pub(super) fn forget_revoked(auth: &mut Auth, command: ForgetRevokedTokens) -> TokensRemoved {
    auth.tokens.forget_revoked(purged_max(command.max))
}

fn purged_max(wanted: u32) -> usize {
    match usize::try_from(wanted) {
        Ok(0) | Err(_) => limits::TOKENS_PURGED_MAX,
        Ok(max) => max.min(limits::TOKENS_PURGED_MAX),
    }
}

/// Brings back a token at its absolute time, never a dead one, never another one's (D-33).
pub(super) fn restore(auth: &mut Auth, at: Stamp, command: &RestoreToken) -> Result<(), Rejection> {
    auth.require_on()?;
    let expires = LogTime(command.expires_us);
    if expires != LogTime::NEVER && expires <= at.time {
        return Err(rejection::plain(RejectionKind::TokenExpiryPast));
    }
    principal::check(&command.subject)?;
    let digest = secret::read("token_digest", &command.token_digest)?;
    auth.tokens.check_new(&digest)?;

    auth.tokens.insert(digest, &command.subject, expires, at.index);
    Ok(())
}

/// Replaces all root tokens by one.
pub(super) fn rotate_root(
    auth: &mut Auth,
    at: Stamp,
    command: &RotateRootToken,
) -> Result<(), Rejection> {
    let digest = secret::read("token_digest", &command.token_digest)?;
    let is_roots = auth.tokens.get(&digest).is_some_and(|it| *it.subject == *principal::ROOT);
    if !is_roots && auth.tokens.kept(&digest).is_some() {
        return Err(rejection::plain(RejectionKind::TokenTaken));
    }
    auth.require_on()?;

    auth.tokens.remove(&digest);
    auth.tokens.revoke_of(principal::ROOT, at.index, at_once(command.at_once));
    auth.tokens.insert(digest, principal::ROOT, LogTime::NEVER, at.index);
    Ok(())
}

/// Gives a principal exactly these roles on a resource.
pub(super) fn modify_binding(
    auth: &mut Auth,
    caller: &Principal,
    command: &ModifyRoleBinding,
) -> Result<(), Rejection> {
    auth.require_on()?;
    let resource = command
        .resource
        .as_ref()
        .ok_or_else(|| rejection::about(RejectionKind::CommandIncomplete, "resource"))?;
    principal::check_bindable(&command.principal)?;
    let is_cluster = resource.r#type == i32::from(ResourceType::Cluster);
    if is_cluster
        && !mutant!(RootUnbound)
        && let Some(prefix) = principal::fixed_prefix(&command.principal)
    {
        return Err(rejection::about(RejectionKind::PrincipalFixed, prefix));
    }
    let resource = Resource::read(resource)?;
    auth.require(caller, &[binding_permission(&resource)], &resource)?;
    if command.roles.len() > limits::ROLES_PER_COMMAND_MAX {
        return Err(rejection::too_many("roles", limits::ROLES_PER_COMMAND_MAX));
    }
    let roles = bindings::read_roles(&command.roles, resource.kind())?;
    if auth.bindings.get(&resource).is_none() {
        return Err(resource.rejection(RejectionKind::RoleBindingAbsent));
    }
    if !roles.is_empty() && auth.bindings.size() >= limits::BINDINGS_MAX {
        return Err(rejection::too_many("role bindings", limits::BINDINGS_MAX));
    }

    auth.bindings.set(&resource, &command.principal, roles);
    Ok(())
}

/// What changing the binding of such a resource takes.
fn binding_permission(resource: &Resource) -> Permission {
    match resource {
        Resource::Cluster => Permission::ClusterModifyBindings,
        Resource::Project(_) => Permission::ProjectModifyBindings,
        Resource::Repo(..) => Permission::RepoModifyBindings,
    }
}

/// Makes a project or repo known.
pub(super) fn create_binding(
    auth: &mut Auth,
    command: &CreateRoleBinding,
) -> Result<(), Rejection> {
    auth.require_on()?;
    let resource = command
        .resource
        .as_ref()
        .ok_or_else(|| rejection::about(RejectionKind::CommandIncomplete, "resource"))?;
    let resource = Resource::read(resource)?;
    if auth.bindings.size() >= limits::BINDINGS_MAX {
        return Err(rejection::too_many("role bindings", limits::BINDINGS_MAX));
    }

    auth.bindings.create(resource);
    Ok(())
}

/// The principal's groups become exactly the given ones.
pub(super) fn set_groups(auth: &mut Auth, command: &SetGroups) -> Result<(), Rejection> {
    auth.require_on()?;
    groups::set(&mut auth.groups, command)
}

/// Adds members to a group, then removes members from it.
pub(super) fn modify_members(auth: &mut Auth, command: &ModifyMembers) -> Result<(), Rejection> {
    auth.require_on()?;
    groups::modify(&mut auth.groups, command)
}
