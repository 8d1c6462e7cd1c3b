//! The words of auth in scripts.

use muster_proto::auth_v2::{Permission, ResourceType};
use muster_proto::muster::log::v1::{
    ActivateAuth, ConfigureAuth, CreateRoleBinding, DeactivateAuth, DeleteExpiredLogins,
    DeleteExpiredTokens, FinishLogin, ForgetRevokedTokens, GroupsClaim, IssueRobotToken,
    IssueUserToken, ModifyMembers, ModifyRoleBinding, OidcConfig, Resource, RestoreToken,
    RevokeToken, RevokeTokensOf, RotateRootToken, SetGroups, StartLogin, command::Kind,
};

use super::super::access::Need;
use super::super::auth::bindings;
use super::super::auth::decide::roles_for;
use super::super::auth::logins::Progress;
use super::super::{LogTime, secret};
use super::{Line, World, shown_rejection, token_digest};

impl Line<'_> {
    pub(super) fn auth_command(&self, verb: &str) -> Kind {
        match verb {
            "auth-on" => {
                Kind::ActivateAuth(ActivateAuth { root_token_digest: token_digest(&self.word(1)) })
            }
            "auth-off" => Kind::DeactivateAuth(DeactivateAuth {}),
            "auth-config" => Kind::ConfigureAuth(ConfigureAuth {
                configuration: self.values.contains_key("issuer").then(|| OidcConfig {
                    issuer: self.text("issuer"),
                    client_id: self.text("client"),
                    ..OidcConfig::default()
                }),
            }),
            "robot" => Kind::IssueRobotToken(IssueRobotToken {
                robot: self.word(1),
                token_digest: token_digest(&self.text("token")),
                ttl_seconds: self.values.get("ttl").map_or(0, |ttl| ttl.parse().unwrap()),
            }),
            "user" => Kind::IssueUserToken(IssueUserToken {
                subject: self.word(1),
                token_digest: token_digest(&self.text("token")),
                ttl_seconds: self.number("ttl").unwrap_or(1000),
                login_digest: self
                    .values
                    .get("login")
                    .map(|it| token_digest(it))
                    .unwrap_or_default(),
                groups: self.claim(),
            }),
            "revoke" => {
                Kind::RevokeToken(RevokeToken { token_digest: token_digest(&self.word(1)) })
            }
            "revoke-of" => Kind::RevokeTokensOf(RevokeTokensOf {
                subject: self.word(1),
                at_once: self.small("once"),
            }),
            "forget" => Kind::ForgetRevokedTokens(ForgetRevokedTokens { max: self.small("max") }),
            "purge" => Kind::DeleteExpiredTokens(DeleteExpiredTokens { max: self.small("max") }),
            "restore" => Kind::RestoreToken(RestoreToken {
                subject: self.word(1),
                token_digest: token_digest(&self.text("token")),
                expires_us: self.number("expires").unwrap_or(0) * 1_000_000,
            }),
            "rotate" => Kind::RotateRootToken(RotateRootToken {
                token_digest: token_digest(&self.word(1)),
                at_once: self.small("once"),
            }),
            "bind" => Kind::ModifyRoleBinding(ModifyRoleBinding {
                resource: Some(self.resource()),
                principal: self.word(1),
                roles: self.words[2..].iter().map(|&role| role.to_owned()).collect(),
            }),
            "create" => {
                Kind::CreateRoleBinding(CreateRoleBinding { resource: Some(self.resource()) })
            }
            "groups" => Kind::SetGroups(SetGroups {
                principal: self.word(1),
                groups: self.words[2..].iter().map(|&group| group.to_owned()).collect(),
            }),
            "members" => Kind::ModifyMembers(ModifyMembers {
                group: self.word(1),
                add: self.list("add"),
                remove: self.list("remove"),
            }),
            "login-start" => Kind::StartLogin(StartLogin {
                login_digest: token_digest(&self.word(1)),
                nonce_digest: secret::nonce_digest("n").to_vec().into(),
                ttl_seconds: 180,
                ..StartLogin::default()
            }),
            "login-finish" => Kind::FinishLogin(FinishLogin {
                login_digest: token_digest(&self.word(1)),
                subject: self.word(2),
                groups: self.claim(),
            }),
            "login-sweep" => Kind::DeleteExpiredLogins(DeleteExpiredLogins {}),
            verb => panic!("no such verb: {verb}"),
        }
    }

    /// A number that is 0 when nobody says otherwise.
    fn small(&self, key: &str) -> u32 {
        self.number(key).map_or(0, |number| u32::try_from(number).unwrap())
    }

    fn list(&self, key: &str) -> Vec<String> {
        let text = self.text(key);
        text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// `claim=` alone is an empty claim.
    fn claim(&self) -> Option<GroupsClaim> {
        self.values.contains_key("claim").then(|| GroupsClaim { groups: self.list("claim") })
    }

    /// `project=`, `repo=`, `spec=`, `type=NUMBER`, or the cluster.
    fn resource(&self) -> Resource {
        let kinds = [
            ("project", ResourceType::Project),
            ("repo", ResourceType::Repo),
            ("spec", ResourceType::SpecRepo),
        ];
        let named = kinds.iter().find_map(|(key, kind)| Some((kind, self.values.get(key)?)));
        match (named, self.values.get("type")) {
            (Some((kind, name)), _) => {
                Resource { r#type: i32::from(*kind), name: (*name).to_owned() }
            }
            (None, Some(number)) => {
                Resource { r#type: number.parse().unwrap(), name: String::new() }
            }
            (None, None) => Resource { r#type: ResourceType::Cluster.into(), name: String::new() },
        }
    }
}

impl World {
    /// Answers the words that only read.
    pub(super) fn read(&self, line: &Line<'_>) -> Option<String> {
        let now = LogTime(self.now * 1_000_000);
        let auth = self.state.auth();
        let name = line.word(1);
        Some(match line.words[0] {
            "who" => match self.state.token_of(Some(&line.caller()), now) {
                Ok(token) => format!("{} until={}", token.subject, token.expires.0 / 1_000_000),
                Err(no) => shown_rejection(&no),
            },
            "need" => {
                let permission = Permission::from_str_name(&name).unwrap();
                match self.state.admit(Some(&line.caller()), Need::PermissionIfOn(permission), now)
                {
                    Ok(principal) => format!("{principal:?}"),
                    Err(no) => shown_rejection(&no),
                }
            }
            "may" => {
                let asked: Vec<_> = line.words[2..]
                    .iter()
                    .map(|name| Permission::from_str_name(name).unwrap())
                    .collect();
                match auth.authorize_on_wire(&name, &asked, &line.resource()) {
                    Ok(it) => format!("yes {:?} no {:?}", it.satisfied, it.missing),
                    Err(no) => shown_rejection(&no),
                }
            }
            "holdings" => {
                let resource = bindings::Resource::read(&line.resource()).unwrap();
                match auth.holdings(&name, &resource) {
                    Ok(it) => format!("{:?} with {} permissions", it.roles, it.permissions.len()),
                    Err(no) => shown_rejection(&no),
                }
            }
            "binding" => {
                let resource = bindings::Resource::read(&line.resource()).unwrap();
                format!("{:?}", auth.bindings().get(&resource))
            }
            "groups-of" => format!("{:?}", auth.groups().of(&name).collect::<Vec<_>>()),
            "members-of" => format!("{:?}", auth.groups().members(&name).collect::<Vec<_>>()),
            "everybody" => format!("{:?}", auth.groups().principals().collect::<Vec<_>>()),
            "robots" => {
                let robots = auth.tokens().of_prefix("robot:");
                let robots = robots.map(|(_, it)| format!("{} {}", it.subject, it.expires.0));
                robots.collect::<Vec<_>>().join(", ")
            }
            "kept" => {
                let tokens = auth.tokens();
                format!("{} of them {} revoked", tokens.len(), tokens.revoked())
            }
            "roles-for" => {
                let permission = Permission::from_str_name(&name).unwrap();
                format!("{:?}", roles_for(permission).collect::<Vec<_>>())
            }
            "logins" => format!("{} logins", auth.logins().len()),
            "login" => match auth.logins().find(&secret::token_digest(&name), now) {
                Ok(login) => match &login.progress {
                    Progress::SignedIn { subject, .. } => format!("signed in {subject}"),
                    progress @ (Progress::Started | Progress::Failed) => format!("{progress:?}"),
                },
                Err(no) => shown_rejection(&no),
            },
            _ => return None,
        })
    }
}

/// A server that is its own member, with auth on; the root token is `root`.
pub(super) const ON: &str = "
    activate code=a expires=1000
    add localhost grpc://localhost:1653 es secret=s
    activate-self localhost/s
    auth-on root
";
