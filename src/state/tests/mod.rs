//! Scripts: a command in each line, its outcome beneath. Only this file knows the API.

mod access;
mod audit;
mod auth;
mod auth_words;
mod enterprise;
mod fleet;
mod license;
mod quarantine;
mod random;
mod requests;
mod revocations;
mod snapshot;
mod tie;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use expect_test::Expect;
use muster_proto::auth_v2::{Permission, ResourceType};
use muster_proto::muster::log::v1::{
    ActivateEnterprise, ActivateLicense, AddCluster, Anonymous, Beat, BeatOutcome,
    BootstrapEnterprise, Caller, Command, ConfigureServer, ConfirmRestore, DeactivateEnterprise,
    DeleteCluster, HeartbeatEnterprise, Internal, JoinLicenseServer, License, LicenseServerTie,
    LicenseState, RecordHeartbeats, Rejection, RemoveLicenseAndClusters, Reply,
    TakeLicenseServerAnswer, UpdateCluster, caller::Who, command::Kind, reply,
};
use prost::Message as _;
use prost_types::Timestamp;

use super::{LogTime, State, invariants, secret};

/// Runs a script on a fresh state and compares what came out.
fn check(script: &str, expected: &Expect) {
    let mut world = World::default();
    let mut told = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let _ = writeln!(told, "{}", world.tell(line));
    }
    expected.assert_eq(&told);
}

/// A state and the clock of its leader, in seconds.
#[derive(Default)]
struct World {
    state: State,
    index: u64,
    now: u64,
}

impl World {
    /// Carries out one line: words, then `key=value` pairs; `at=SECONDS` in front sets the clock.
    fn tell(&mut self, line: &str) -> String {
        let line = Line::of(line);
        if let Some(at) = line.number("at") {
            self.now = at;
        }
        if line.words.first() == Some(&"show") {
            return self.show();
        }
        if line.words.first() == Some(&"found-anew") {
            return self.found_anew(&line);
        }
        if let Some(answer) = self.read(&line) {
            return answer;
        }
        let reply = self.apply(&line.command());
        shown(&reply)
    }

    fn apply(&mut self, command: &Command) -> Reply {
        self.index += 1;
        let reply = self.state.apply(command, self.index, LogTime(self.now * 1_000_000));
        assert_eq!(invariants::first_broken(&self.state), None, "{command:?}");
        reply
    }

    /// The whole state as a reader sees it.
    fn show(&self) -> String {
        let now = LogTime(self.now * 1_000_000);
        let mut shown = format!(
            "license={} gate={}",
            name(self.state.license_state(now)),
            name(self.state.enterprise_state(now)),
        );
        for (id, cluster) in self.state.fleet().iter() {
            let _ = write!(
                shown,
                "\n  {id} at {} for {:?} deployment={:?} version={} auth={} client={:?} created={} beat={}{}",
                cluster.address,
                cluster.user_address,
                cluster.deployment_id,
                cluster.version,
                cluster.auth_enabled,
                cluster.client_id,
                cluster.created_at.0 / 1_000_000,
                cluster.last_heartbeat.0 / 1_000_000,
                if cluster.enterprise_server { " es" } else { "" },
            );
        }
        shown
    }
}

/// One line of a script, taken apart.
struct Line<'a> {
    words: Vec<&'a str>,
    values: BTreeMap<&'a str, &'a str>,
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Line<'a> {
        let mut words = Vec::new();
        let mut values = BTreeMap::new();
        for part in line.split_whitespace() {
            match part.split_once('=') {
                Some((key, value)) => {
                    values.insert(key, value);
                }
                None => words.push(part),
            }
        }
        Line { words, values }
    }

    fn text(&self, key: &str) -> String {
        (*self.values.get(key).unwrap_or(&"")).to_owned()
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.values.get(key).map(|value| value.parse().unwrap())
    }

    fn word(&self, position: usize) -> String {
        (*self.words.get(position).unwrap_or(&"")).to_owned()
    }

    fn command(&self) -> Command {
        let kind = match self.words[0] {
            "activate" => Kind::ActivateLicense(ActivateLicense { license: Some(self.license()) }),
            "remove-all" => Kind::RemoveLicenseAndClusters(RemoveLicenseAndClusters {}),
            "add" => Kind::AddCluster(self.registration()),
            "update" => Kind::UpdateCluster(UpdateCluster {
                id: self.word(1),
                address: self.text("address"),
                user_address: self.text("user"),
                cluster_deployment_id: self.text("deployment"),
                secret_digest: self.secret().unwrap_or_default(),
            }),
            "delete" => Kind::DeleteCluster(DeleteCluster { id: self.word(1) }),
            "beat" => Kind::RecordHeartbeats(RecordHeartbeats {
                beats: self.words[1..].iter().map(|pair| self.beat(pair)).collect(),
            }),
            "activate-self" => Kind::ActivateEnterprise(ActivateEnterprise {
                license_server: "grpc://localhost:1653".to_owned(),
                beat: Some(self.beat(self.words[1])),
            }),
            "beat-self" => {
                Kind::HeartbeatEnterprise(HeartbeatEnterprise { version: "2.11.6".to_owned() })
            }
            "join" => Kind::JoinLicenseServer(JoinLicenseServer {
                tie: Some(self.tie()),
                license: Some(self.license()),
                secret_sealed: self.text("sealed").into_bytes().into(),
            }),
            "answer" => Kind::TakeLicenseServerAnswer(TakeLicenseServerAnswer {
                tie: Some(self.tie()),
                license: self.values.contains_key("code").then(|| self.license()),
            }),
            "deactivate-self" => Kind::DeactivateEnterprise(DeactivateEnterprise {}),
            "bootstrap" => Kind::BootstrapEnterprise(BootstrapEnterprise {
                license: Some(self.license()),
                license_server: "grpc://localhost:1653".to_owned(),
                cluster: Some(self.registration()),
                version: "2.11.6".to_owned(),
            }),
            "configure" => Kind::ConfigureServer(ConfigureServer {
                cluster_id: self.text("id"),
                deployment_id: self.text("deployment"),
            }),
            "confirm-restore" => Kind::ConfirmRestore(ConfirmRestore {}),
            "calls" => Kind::RecordCalls(self.calls()),
            "retain" => Kind::ConfigureAudit(self.retention()),
            verb => self.auth_command(verb),
        };
        Command {
            caller: Some(self.caller()),
            request_id: self.text("request"),
            context: self.context(),
            kind: Some(kind),
        }
    }

    /// `as=internal`, `as=TOKEN`, or nobody.
    fn caller(&self) -> Caller {
        let who = match self.values.get("as") {
            Some(&"internal") => Who::Internal(Internal::LicenseServer.into()),
            Some(token) => Who::TokenDigest(token_digest(token)),
            None => Who::Anonymous(Anonymous {}),
        };
        Caller { who: Some(who) }
    }

    fn license(&self) -> License {
        License {
            activation_code: self.text("code"),
            expires: self
                .number("expires")
                .map(|seconds| Timestamp { seconds: i64::try_from(seconds).unwrap(), nanos: 0 }),
            max_clusters: self.number("max"),
            grace_days: self.number("grace").map(|days| u32::try_from(days).unwrap()),
            activation_code_sealed: self.text("code-sealed").into(),
            customer: String::new(),
        }
    }

    /// `id/secret` with the server at `grpc://other:1650`.
    fn tie(&self) -> LicenseServerTie {
        let (id, secret) = self.words[1].split_once('/').unwrap();
        LicenseServerTie {
            license_server: "grpc://other:1650".to_owned(),
            id: id.to_owned(),
            secret_digest: digest(id, secret),
        }
    }

    fn registration(&self) -> AddCluster {
        AddCluster {
            id: self.word(1),
            address: self.word(2),
            user_address: self.text("user"),
            cluster_deployment_id: self.text("deployment"),
            enterprise_server: self.words.contains(&"es"),
            secret_digest: self.secret().unwrap_or_default(),
            secret_generated: self.words.contains(&"generated"),
        }
    }

    fn secret(&self) -> Option<bytes::Bytes> {
        let secret = self.values.get("secret")?;
        Some(digest(&self.word(1), secret))
    }

    /// `id/secret`.
    fn beat(&self, pair: &str) -> Beat {
        let (id, secret) = pair.split_once('/').unwrap();
        Beat {
            id: id.to_owned(),
            secret_digest: digest(id, secret),
            version: self.text("version"),
            auth_enabled: self.values.contains_key("auth"),
            client_id: self.text("client"),
        }
    }
}

fn token_digest(token: &str) -> bytes::Bytes {
    secret::token_digest(token).to_vec().into()
}

fn digest(id: &str, secret: &str) -> bytes::Bytes {
    secret::cluster_secret_digest(id, secret).to_vec().into()
}

/// A command without the ceremony.
fn command(line: &str) -> Command {
    Line::of(line).command()
}

fn name(state: LicenseState) -> &'static str {
    state.as_str_name().strip_prefix("LICENSE_STATE_").unwrap()
}

/// A reply in a few words.
fn shown(reply: &Reply) -> String {
    match reply.kind.as_ref().unwrap() {
        reply::Kind::Rejected(rejection) => shown_rejection(rejection),
        reply::Kind::Done(_) => "done".to_owned(),
        reply::Kind::LicenseActivated(it) => {
            format!("activated until={}", it.expires.unwrap().seconds)
        }
        reply::Kind::HeartbeatsRecorded(it) => {
            let outcomes: Vec<_> = it
                .outcomes()
                .map(|outcome| {
                    BeatOutcome::as_str_name(&outcome).strip_prefix("BEAT_OUTCOME_").unwrap()
                })
                .collect();
            let code = it.license.as_ref().map(|license| &license.activation_code);
            format!("{} license={code:?}", outcomes.join(" "))
        }
        reply::Kind::EnterpriseState(it) => name(it.state()).to_owned(),
        reply::Kind::ServerConfigured(it) => {
            format!("id={:?} deployment={:?}", it.cluster_id, it.deployment_id)
        }
        reply::Kind::TokenIssued(it) => {
            format!("token of {} until={}", it.subject, it.expires_us / 1_000_000)
        }
        reply::Kind::TokensRemoved(it) => {
            format!("removed {}{}", it.number, if it.more { " and more" } else { "" })
        }
    }
}

fn shown_rejection(rejection: &Rejection) -> String {
    let mut shown =
        format!("no: {}", rejection.kind().as_str_name().strip_prefix("REJECTION_KIND_").unwrap());
    if !rejection.subject.is_empty() {
        let _ = write!(shown, " {}", rejection.subject);
    }
    if rejection.limit > 0 {
        let _ = write!(shown, " limit={}", rejection.limit);
    }
    for number in &rejection.permissions {
        let permission = Permission::try_from(*number).unwrap();
        let _ = write!(shown, " needs {}", permission.as_str_name());
    }
    if rejection.resource_type != 0 {
        let kind = ResourceType::try_from(rejection.resource_type).unwrap();
        let _ = write!(shown, " on {} {:?}", kind.as_str_name(), rejection.resource_name);
    }
    if rejection.kind() == super::RejectionKind::LicenseNotActive {
        let _ = write!(shown, " {}", name(rejection.license_state()));
    }
    shown
}

#[test]
fn a_command_without_a_kind_is_answered() {
    let mut world = World::default();
    let reply = world.apply(&Command::default());
    assert_eq!(shown(&reply), "no: COMMAND_INCOMPLETE");
}

#[test]
fn a_command_keeps_its_bytes() {
    let command = command("add c1 grpc://c1:1650 user=u deployment=d es secret=s request=r1");
    expect_test::expect!["0a020a0012027231a2013e0a026331120e677270633a2f2f63313a313635301a01752201642801322045d6d7023789a442dbd64fc6ea110e855105da7de692f78d05c2c070556c452c"].assert_eq(&hex::encode(command.encode_to_vec()));
}

#[test]
fn time_never_runs_back() {
    let mut world = World::default();
    world.tell("at=50 activate code=a expires=100");
    world.tell("at=20 add c1 grpc://c1:1650 secret=s");
    assert_eq!(world.state.fleet().get("c1").unwrap().created_at, LogTime(50_000_000));
}
