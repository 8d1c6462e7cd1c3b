//! Makes a [`Config`] of [`Settings`], or says everything that is wrong with them.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::auth_config::AuthConfig;
use super::secret::Secret;
use super::settings::{Origin, Settings};
use super::{ConfigError, roles, values};
use crate::address::Address;
use crate::api::{CompatVersion, Network, Origins, RateRules};
use crate::seal::{DataKey, KEY_TEXT_BYTES_MIN};
use crate::state::limits::AUDIT_RECORDS_MAX;
use crate::telemetry::{LogFormat, LogOptions};

/// Where people come back to by default, as upstream's chart has it.
const LOGIN_PORT: u16 = 31657;
/// The longest that a login may last; the state holds the same bound.
const LOGIN_LIFETIME_MAX: Duration = Duration::from_mins(10);

/// What a replica is told at start, all of it valid.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of this replica's data.
    pub data: PathBuf,
    /// What this replica is called.
    pub name: String,
    /// Where the API listens.
    pub grpc_listen: SocketAddr,
    /// Where identity providers send people back to.
    pub login_listen: SocketAddr,
    /// Whether nobody said where that is.
    pub login_listen_is_default: bool,
    /// Where probes and metrics listen.
    pub ops_listen: SocketAddr,
    /// Where other replicas connect.
    pub peer_listen: SocketAddr,
    /// The first replicas of the group, this one among them; empty: alone.
    pub initial_cluster: Vec<Seed>,
    /// Where other replicas reach this one, if that was said.
    pub peer_address: Option<String>,
    /// Where this replica stands; may be empty.
    pub zone: String,
    /// How an empty folder becomes that of a new replica of a group that has begun.
    pub join: Option<Join>,
    /// How long an observer has to keep up before it votes.
    pub promote_after: Duration,
    /// What the first replicas know each other by.
    pub bootstrap_token: Option<Secret>,
    /// What secrets that come back in clear are sealed with.
    pub data_key: Option<DataKey>,
    /// Certificates between replicas; none: plaintext.
    pub peer_tls: Option<PeerTls>,
    /// The certificate of the API; none: plaintext.
    pub api_tls: Option<ApiTls>,
    /// Certificates that vouch for identity providers, besides the machine's.
    pub issuer_ca: Option<PathBuf>,
    /// Where an issuer is asked that is this server itself.
    pub localhost_issuer: String,
    /// How long a person may be at the provider.
    pub login_lifetime: Duration,
    /// How long a person stays signed in.
    pub session_lifetime: Duration,
    /// Further addresses under which clients reach this server.
    pub own_addresses: Vec<String>,
    /// Files with keys that are trusted on activation codes.
    pub license_keys: Vec<PathBuf>,
    /// Whether Pachyderm's own key is trusted too.
    pub default_license_key: bool,
    /// The deployment id that clients see.
    pub deployment_id: Option<String>,
    /// The version that clients are told.
    pub compat_version: CompatVersion,
    /// The group's timers.
    pub timers: Timers,
    /// When snapshots are written.
    pub snapshots: Snapshots,
    /// How much of the audit log is kept, here and in the group.
    pub audit: Audit,
    /// The longest that a request may take.
    pub request_timeout: Duration,
    /// After about this time a client connection is closed in good order.
    pub connection_age: Duration,
    /// Between two looks for expired tokens.
    pub token_sweep: Duration,
    /// How often somebody may be wrong.
    pub rate_rules: RateRules,
    /// Whom to believe where a request comes from, and whom not to limit.
    pub origins: Origins,
    /// Between two heartbeats of the server to its own license server.
    pub own_heartbeat_interval: Duration,
    /// How long requests may finish after SIGTERM.
    pub drain_timeout: Duration,
    /// How events are written.
    pub log: LogOptions,
    /// What Pachyderm's own variables ask for.
    pub environment: PachydermEnvironment,
}

/// How a replica gets into a group that has begun.
#[derive(Clone, Debug)]
pub struct Join {
    /// The API of one that is in it.
    pub address: Address,
    /// Certificates to trust for it; none: the system's.
    pub ca: Option<PathBuf>,
    /// What lets this replica in.
    pub token: Secret,
}

/// One of the first replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// What it is called.
    pub name: String,
    /// `host:port` of its peer listener.
    pub address: String,
}

/// Files of the certificates between replicas, all PEM.
#[derive(Clone, Debug)]
pub struct PeerTls {
    /// Who vouches for other replicas.
    pub ca: PathBuf,
    /// This replica's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Files of the API's certificate, all PEM.
#[derive(Clone, Debug)]
pub struct ApiTls {
    /// The chain.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// The group's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// One beat.
    pub tick: Duration,
    /// Beats without a leader before an election.
    pub election_ticks: u32,
    /// Beats between signs of life of the leader.
    pub heartbeat_ticks: u32,
}

/// When snapshots are written: whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshots {
    /// After so many entries.
    pub entries: u64,
    /// After so many bytes of log.
    pub bytes: u64,
}

/// What becomes of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// At most so many records in the state.
    pub records: u64,
    /// None older than this in the state.
    pub age: Duration,
    /// Where it is written as lines too; none: nowhere.
    pub file: Option<PathBuf>,
    /// The size at which a new file is begun.
    pub file_bytes: u64,
    /// Full files that are kept.
    pub files: u32,
}

/// The bootstrap that Pachyderm's own variables ask for.
#[derive(Clone, Debug, Default)]
pub struct PachydermEnvironment {
    /// `LICENSE_KEY`: the activation code, set at every start.
    pub license_key: Option<Secret>,
    /// `ENTERPRISE_SECRET`: the secret of the server's own registration.
    pub enterprise_secret: Option<Secret>,
    /// `AUTH_ROOT_TOKEN`, where `ACTIVATE_AUTH` asks for auth: root's only token, set at every start.
    pub root_token: Option<Secret>,
    /// `AUTH_CLUSTER_RBAC`, likewise: all roles on the server by principal, set at every start.
    pub cluster_roles: Option<Vec<(String, Vec<String>)>>,
    /// `AUTH_CONFIG` with `AUTH_CLIENT_SECRET`, likewise: where people sign in, set at every start.
    pub auth_config: Option<AuthConfig>,
}

impl Config {
    /// Checks `settings`, reading no files but those of the bootstrap token and the data key.
    ///
    /// # Errors
    /// One line for everything that is wrong, with its key and where it came from.
    pub fn check(settings: &Settings) -> Result<Config, ConfigError> {
        let mut check = Check { settings, problems: settings.problems.clone() };
        let config = check.config();
        if let Some(config) = &config {
            check.relations(config);
        }
        match config {
            Some(config) if check.problems.is_empty() => Ok(config),
            _ => Err(ConfigError(check.problems)),
        }
    }
}

struct Check<'a> {
    settings: &'a Settings,
    problems: Vec<String>,
}

impl Check<'_> {
    /// Reads every value, so that every problem is found; none if one is missing for good.
    fn config(&mut self) -> Option<Config> {
        let initial_cluster = self.seeds();
        let join = self.join();
        let alone = initial_cluster.is_empty() && self.text("join").is_none();
        let peer_default = if alone { "127.0.0.1:31659" } else { "0.0.0.0:31659" };
        let data = self.required("data");
        let grpc_listen = self.parsed("grpc-listen");
        let ops_listen = self.parsed("ops-listen");
        let login_listen = match self.text("login-listen") {
            Some(_) => self.parsed("login-listen"),
            None => grpc_listen.map(|grpc: SocketAddr| SocketAddr::new(grpc.ip(), LOGIN_PORT)),
        };
        let peer_listen = match self.text("peer-listen") {
            Some(_) => self.parsed("peer-listen"),
            None => peer_default.parse().ok(),
        };
        let bootstrap_token = self.secret("bootstrap-token", "bootstrap-token-file");
        let peer_address = self.peer_address();
        let promote_after = self.read("promote-after", values::span);
        let data_key = self.data_key();
        let peer_tls = self.peer_tls();
        let api_tls = self.api_tls();
        let compat_version = self.read("compat-version", values::version);
        let timers = self.timers();
        let snapshots = self.snapshots();
        let audit = self.audit();
        let request_timeout = self.read("request-timeout", values::span);
        let own_heartbeat_interval = self.read("own-heartbeat-interval", values::span);
        let connection_age = self.read("connection-age", values::span);
        let token_sweep = self.read("token-sweep", values::span);
        let rate_rules = self.rate_rules();
        let origins = self.origins();
        let drain_timeout = self.read("drain-timeout", values::span);
        let login_lifetime = self.login_lifetime();
        let session_lifetime = self.session_lifetime();
        let log = self.log();
        let default_license_key = !self.switch("no-default-license-key");
        let environment = self.environment();
        let (major, minor, micro, additional) = compat_version?;
        Some(Config {
            // Reported already; the rest shall be looked at all the same.
            data: data.unwrap_or_default().into(),
            name: self.text("name").unwrap_or_else(|| "muster".to_owned()),
            grpc_listen: grpc_listen?,
            login_listen: login_listen?,
            login_listen_is_default: self.text("login-listen").is_none(),
            ops_listen: ops_listen?,
            peer_listen: peer_listen?,
            initial_cluster,
            peer_address,
            zone: self.text("zone").unwrap_or_default(),
            join,
            promote_after: promote_after?,
            bootstrap_token,
            data_key,
            peer_tls,
            api_tls,
            issuer_ca: self.text("issuer-ca").map(PathBuf::from),
            localhost_issuer: self.text("localhost-issuer").unwrap_or_default(),
            login_lifetime: login_lifetime?,
            session_lifetime: session_lifetime?,
            own_addresses: self.settings.values("own-address").to_vec(),
            license_keys: self
                .settings
                .values("license-public-key")
                .iter()
                .map(Into::into)
                .collect(),
            default_license_key,
            deployment_id: self.deployment_id(),
            compat_version: CompatVersion { major, minor, micro, additional },
            timers: timers?,
            snapshots: snapshots?,
            audit: audit?,
            request_timeout: request_timeout?,
            connection_age: connection_age?,
            token_sweep: token_sweep?.max(Duration::from_millis(100)),
            rate_rules,
            origins,
            own_heartbeat_interval: own_heartbeat_interval?,
            drain_timeout: drain_timeout?,
            log: log?,
            environment,
        })
    }

    /// What must hold between values.
    fn relations(&mut self, config: &Config) {
        let insecure = self.switch("insecure");
        if config.api_tls.is_none() && !config.grpc_listen.ip().is_loopback() && !insecure {
            self.problem(
                "grpc-listen",
                "would speak plaintext beyond this machine: give --tls-cert and --tls-key, listen on \
                 127.0.0.1, or say --insecure",
            );
        }
        let login = config.login_listen;
        if config.api_tls.is_none() && !login.ip().is_loopback() && !insecure {
            self.problem(
                "login-listen",
                "would speak plaintext beyond this machine: give --tls-cert and --tls-key, listen on \
                 127.0.0.1, or say --insecure",
            );
        }
        if config.peer_tls.is_none() && !config.peer_listen.ip().is_loopback() && !insecure {
            self.problem(
                "peer-listen",
                "would speak plaintext beyond this machine: give --peer-ca, --peer-cert and \
                 --peer-key, listen on 127.0.0.1, or say --insecure",
            );
        }
        if config.own_heartbeat_interval.is_zero() {
            self.problem("own-heartbeat-interval", "must be more than nothing");
        }
        let is_anywhere = config.peer_listen.ip().is_unspecified();
        if config.join.is_some() && config.peer_address.is_none() && is_anywhere {
            self.problem(
                "peer-address",
                "is required with --join: the others have to reach this one",
            );
        }
        if config.initial_cluster.is_empty() {
            return;
        }
        if config.join.is_some() {
            self.problem(
                "join",
                "does not go together with an initial cluster: a replica does either",
            );
        }
        if !config.initial_cluster.iter().any(|seed| seed.name == config.name) {
            self.problem(
                "name",
                "is not in the initial cluster: each of its replicas has one name",
            );
        }
        if config.initial_cluster.len() > 1 && config.bootstrap_token.is_none() {
            self.problem(
                "bootstrap-token-file",
                "is required with an initial cluster: the same secret for each of its replicas",
            );
        }
    }

    fn seeds(&mut self) -> Vec<Seed> {
        let mut seeds: Vec<Seed> = Vec::new();
        for text in self.settings.values("initial-cluster") {
            match values::named_address(text) {
                Err(what) => self.problem_with("initial-cluster", text, &what),
                Ok((name, address)) => {
                    let taken = |seed: &Seed| seed.name == name || seed.address == address;
                    if seeds.iter().any(taken) {
                        self.problem_with("initial-cluster", text, "is there twice");
                    }
                    seeds.push(Seed { name, address });
                }
            }
        }
        seeds
    }

    /// A secret that is given in clear or in a file.
    fn secret(&mut self, name: &str, file: &str) -> Option<Secret> {
        if let Some(secret) = self.text(name) {
            return Some(Secret::new(secret));
        }
        let path = self.text(file)?;
        match std::fs::read_to_string(&path) {
            Err(error) => {
                self.problem_with(file, &path, &format!("cannot be read: {error}"));
                None
            }
            Ok(secret) if secret.trim().is_empty() => {
                self.problem_with(file, &path, "is empty");
                None
            }
            Ok(secret) => Some(Secret::new(secret.trim().to_owned())),
        }
    }

    fn join(&mut self) -> Option<Join> {
        self.text("join")?;
        let address = self.parsed("join");
        let token = self.secret("join-token", "join-token-file");
        let is_given =
            ["join-token", "join-token-file"].iter().any(|name| self.text(name).is_some());
        if !is_given {
            self.problem(
                "join-token-file",
                "is required with --join: muster replica token makes one",
            );
        }
        Some(Join { address: address?, ca: self.text("join-ca").map(Into::into), token: token? })
    }

    fn peer_address(&mut self) -> Option<String> {
        let text = self.text("peer-address")?;
        match values::address(&text) {
            Ok(()) => Some(text),
            Err(what) => {
                self.problem_with("peer-address", &text, &what);
                None
            }
        }
    }

    fn data_key(&mut self) -> Option<DataKey> {
        let path = self.text("data-key-file")?;
        match std::fs::read_to_string(&path) {
            Err(error) => {
                self.problem_with("data-key-file", &path, &format!("cannot be read: {error}"));
                None
            }
            Ok(text) => {
                let key = DataKey::from_text(text.trim());
                if key.is_none() {
                    let least = KEY_TEXT_BYTES_MIN;
                    let what = format!("has fewer than {least} bytes: openssl rand -hex 32");
                    self.problem_with("data-key-file", &path, &what);
                }
                key
            }
        }
    }

    fn peer_tls(&mut self) -> Option<PeerTls> {
        let given = [self.text("peer-ca"), self.text("peer-cert"), self.text("peer-key")];
        match given {
            [Some(ca), Some(cert), Some(key)] => {
                Some(PeerTls { ca: ca.into(), cert: cert.into(), key: key.into() })
            }
            [None, None, None] => None,
            _ => {
                self.problem("peer-ca", "goes together with --peer-cert and --peer-key");
                None
            }
        }
    }

    fn api_tls(&mut self) -> Option<ApiTls> {
        match (self.text("tls-cert"), self.text("tls-key")) {
            (Some(cert), Some(key)) => Some(ApiTls { cert: cert.into(), key: key.into() }),
            (None, None) => None,
            _ => {
                self.problem("tls-cert", "goes together with --tls-key");
                None
            }
        }
    }

    fn timers(&mut self) -> Option<Timers> {
        let tick = self.read("tick", values::span);
        let election_ticks = self.parsed("election-ticks");
        let heartbeat_ticks = self.parsed("heartbeat-ticks");
        let timers = Timers {
            tick: tick?,
            election_ticks: election_ticks?,
            heartbeat_ticks: heartbeat_ticks?,
        };
        if timers.tick.is_zero() {
            self.problem("tick", "must be longer than nothing");
        }
        if timers.heartbeat_ticks == 0 || timers.election_ticks < timers.heartbeat_ticks * 3 {
            self.problem(
                "election-ticks",
                "must be at least three times heartbeat-ticks, that at least 1",
            );
        }
        Some(timers)
    }

    fn snapshots(&mut self) -> Option<Snapshots> {
        let (entries, bytes) = (self.parsed("snapshot-entries"), self.parsed("snapshot-bytes"));
        let snapshots = Snapshots { entries: entries?, bytes: bytes? };
        if snapshots.entries == 0 || snapshots.bytes == 0 {
            self.problem("snapshot-entries", "and snapshot-bytes must be at least 1");
        }
        Some(snapshots)
    }

    fn audit(&mut self) -> Option<Audit> {
        let (records, age) = (self.parsed("audit-records"), self.read("audit-age", values::span));
        let (file_bytes, files) = (self.parsed("audit-file-bytes"), self.parsed("audit-files"));
        let audit = Audit {
            records: records?,
            age: age?,
            file: self.text("audit-file").map(PathBuf::from),
            file_bytes: file_bytes?,
            files: files?,
        };
        if !(1..=AUDIT_RECORDS_MAX).contains(&audit.records) {
            let what = format!("must be between 1 and {AUDIT_RECORDS_MAX}");
            self.problem("audit-records", &what);
        }
        if audit.age < Duration::from_secs(1) {
            self.problem("audit-age", "must be at least a second");
        }
        if audit.file_bytes == 0 {
            self.problem("audit-file-bytes", "must be at least 1");
        }
        Some(audit)
    }

    fn log(&mut self) -> Option<LogOptions> {
        let format = self.read("log-format", |text| match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("is neither text nor json".to_owned()),
        });
        let level = self.read("log-level", |text| match LogOptions::check_level(text) {
            Ok(()) => Ok(text.to_owned()),
            Err(error) => Err(format!("does not choose events: {error}")),
        });
        Some(LogOptions { format: format?, level: level? })
    }

    fn rate_rules(&mut self) -> RateRules {
        if self.switch("no-rate-limits") {
            return RateRules::off();
        }
        let mut rules = RateRules::default();
        for text in self.settings.values("rate-limit") {
            let set = values::rate(text).and_then(|(name, rate)| rules.set(name, rate));
            if let Err(what) = set {
                self.problem_with("rate-limit", text, &what);
            }
        }
        rules
    }

    fn origins(&mut self) -> Origins {
        Origins {
            proxies: self.networks("trusted-proxy"),
            unlimited: self.networks("unlimited-address"),
            limit_loopback: self.switch("limit-loopback"),
        }
    }

    fn networks(&mut self, name: &str) -> Vec<Network> {
        let mut networks = Vec::new();
        for text in self.settings.values(name) {
            match text.parse() {
                Ok(network) => networks.push(network),
                Err(what) => self.problem_with(name, text, what),
            }
        }
        networks
    }

    fn deployment_id(&self) -> Option<String> {
        self.text("deployment-id").or_else(|| self.pachyderm("CLUSTER_DEPLOYMENT_ID"))
    }

    fn environment(&mut self) -> PachydermEnvironment {
        let license_key = self.settings.pachyderm.get("LICENSE_KEY").cloned();
        let enterprise_secret = self.settings.pachyderm.get("ENTERPRISE_SECRET").cloned();
        if license_key.is_some() != enterprise_secret.is_some() {
            self.problems.push(
                "LICENSE_KEY and ENTERPRISE_SECRET go together: set both variables or none"
                    .to_owned(),
            );
        }
        let mut environment =
            PachydermEnvironment { license_key, enterprise_secret, ..Default::default() };
        if self.activate_auth() {
            environment.root_token = self.settings.pachyderm.get("AUTH_ROOT_TOKEN").cloned();
            environment.cluster_roles = self.cluster_roles();
            environment.auth_config = self.auth_config();
        }
        environment
    }

    fn auth_config(&mut self) -> Option<AuthConfig> {
        let given = self.pachyderm("AUTH_CONFIG")?;
        let read = AuthConfig::read(&given, self.pachyderm("AUTH_CLIENT_SECRET"));
        if read.is_none() {
            // What the variable holds is nobody's business.
            let what = "AUTH_CONFIG is no YAML of an OIDC configuration";
            self.problems.push(what.to_owned());
        }
        read
    }

    fn login_lifetime(&mut self) -> Option<Duration> {
        let span = self.read("login-lifetime", values::span)?;
        if span < Duration::from_secs(1) || span > LOGIN_LIFETIME_MAX {
            self.problem("login-lifetime", "must be from 1s to 10m");
        }
        Some(span)
    }

    fn session_lifetime(&mut self) -> Option<Duration> {
        let span = self.read("session-duration", values::span)?;
        let minutes = self.pachyderm("SESSION_DURATION_MINUTES");
        let (Some(minutes), Origin::Default) = (minutes, self.settings.origin("session-duration"))
        else {
            if span < Duration::from_secs(1) {
                self.problem("session-duration", "must be at least 1s");
            }
            return Some(span);
        };
        let minutes = minutes.parse::<u32>().ok().filter(|minutes| *minutes > 0);
        if minutes.is_none() {
            let what = "SESSION_DURATION_MINUTES is no number of minutes";
            self.problems.push(what.to_owned());
        }
        Some(Duration::from_mins(u64::from(minutes?)))
    }

    fn activate_auth(&mut self) -> bool {
        let given = self.pachyderm("ACTIVATE_AUTH").unwrap_or_default();
        let on = ["1", "t", "T", "true", "TRUE", "True"].contains(&given.as_str());
        let off = ["", "0", "f", "F", "false", "FALSE", "False"].contains(&given.as_str());
        if !on && !off {
            self.problems.push("ACTIVATE_AUTH is neither true nor false".to_owned());
        }
        on
    }

    fn cluster_roles(&mut self) -> Option<Vec<(String, Vec<String>)>> {
        let given = self.pachyderm("AUTH_CLUSTER_RBAC")?;
        let read = roles::read(&given);
        if read.is_none() {
            // What the variable holds is nobody's business.
            let what = "AUTH_CLUSTER_RBAC is no map from principals to lists of roles";
            self.problems.push(what.to_owned());
        }
        read
    }

    fn pachyderm(&self, name: &str) -> Option<String> {
        self.settings.pachyderm.get(name).map(|secret| secret.reveal().to_owned())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.settings.values(name).last().filter(|text| !text.is_empty()).cloned()
    }

    fn required(&mut self, name: &str) -> Option<String> {
        let text = self.text(name);
        if text.is_none() {
            self.problem(name, "is required");
        }
        text
    }

    fn switch(&mut self, name: &str) -> bool {
        match self.text(name).as_deref() {
            Some("true") => true,
            None | Some("false") => false,
            Some(other) => {
                let problem = format!("{name} = {other:?}: is neither true nor false");
                if !self.problems.contains(&problem) {
                    self.problems.push(problem);
                }
                false
            }
        }
    }

    fn parsed<T: FromStr<Err: fmt::Display>>(&mut self, name: &str) -> Option<T> {
        self.read(name, |text| text.parse().map_err(|error: T::Err| format!("is wrong: {error}")))
    }

    fn read<T>(&mut self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(name).unwrap_or_default();
        match read(&text) {
            Ok(value) => Some(value),
            Err(what) => {
                self.problem_with(name, &text, &what);
                None
            }
        }
    }

    fn problem(&mut self, name: &str, what: &str) {
        let line = match self.settings.origin(name) {
            Origin::Default => format!("{name} {what}"),
            origin @ (Origin::File(_) | Origin::Variable(_) | Origin::Flag(_)) => {
                format!("{name} ({origin}) {what}")
            }
        };
        self.problems.push(line);
    }

    fn problem_with(&mut self, name: &str, value: &str, what: &str) {
        let origin = self.settings.origin(name);
        self.problems.push(format!("{name} = {value:?} ({origin}) {what}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;

    fn none(_name: &str) -> Option<String> {
        None
    }

    fn check(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::check(&Settings::join(&Flags::from_pairs(pairs.iter().copied()), &none))
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_data_folder_and_loopback_are_enough() {
        let config = check(&[("data", "/d"), ("grpc-listen", "127.0.0.1:1")]).unwrap();
        assert_eq!(config.peer_listen.to_string(), "127.0.0.1:31659");
        assert_eq!(config.compat_version.to_string(), "2.11.6");
        assert!(config.default_license_key);
    }

    #[test]
    fn people_come_back_to_the_host_of_the_api_unless_somebody_says_where() {
        let config = check(&[("data", "/d"), ("grpc-listen", "127.0.0.1:1")]).unwrap();
        assert_eq!(config.login_listen.to_string(), "127.0.0.1:31657");
        assert!(config.login_listen_is_default);
        let said = [("data", "/d"), ("grpc-listen", "127.0.0.1:1"), ("login-listen", "0.0.0.0:2")];
        let error = check(&said).unwrap_err().to_string();
        assert!(error.contains("login-listen"), "{error}");
    }

    #[test]
    fn how_long_people_stay_signed_in_can_be_said_in_minutes() {
        let variable = |name: &str| (name == "SESSION_DURATION_MINUTES").then(|| "5".to_owned());
        let flags = |pairs: &[(&str, &str)]| {
            let usual = [("data", "/d"), ("insecure", "true")];
            let flags = Flags::from_pairs(usual.iter().chain(pairs).copied());
            Config::check(&Settings::join(&flags, &variable))
        };
        assert_eq!(flags(&[]).unwrap().session_lifetime, Duration::from_mins(5));
        let said = flags(&[("session-duration", "2h")]).unwrap();
        assert_eq!(said.session_lifetime, Duration::from_hours(2));
        for wrong in
            [("session-duration", "0s"), ("login-lifetime", "11m"), ("login-lifetime", "0s")]
        {
            let error = flags(&[wrong]).unwrap_err().to_string();
            assert!(error.contains(wrong.0), "{error}");
        }
    }

    #[test]
    fn plaintext_beyond_the_machine_needs_a_word() {
        let error = check(&[("data", "/d")]).unwrap_err().to_string();
        assert!(error.contains("--insecure"), "{error}");
        check(&[("data", "/d"), ("insecure", "true")]).unwrap();
        check(&[("data", "/d"), ("tls-cert", "c"), ("tls-key", "k")]).unwrap();
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let error = check(&[
            ("grpc-listen", "nowhere"),
            ("tick", "soon"),
            ("compat-version", "two"),
            ("initial-cluster", "a"),
            ("tls-cert", "c"),
        ]);
        let lines = error.unwrap_err().0;
        for key in ["data", "grpc-listen", "tick", "compat-version", "initial-cluster", "tls-cert"]
        {
            assert!(lines.iter().any(|line| line.starts_with(key)), "{key} in {lines:#?}");
        }
    }

    #[test]
    fn a_group_needs_this_replica_in_its_list_and_a_shared_secret() {
        let list = [
            ("data", "/d"),
            ("insecure", "true"),
            ("initial-cluster", "a=h:1"),
            ("initial-cluster", "b=h:2"),
        ];
        let lines = check(&list).unwrap_err().0;
        assert_eq!(lines.len(), 2, "{lines:#?}");
        let mut whole = list.to_vec();
        whole.extend([("name", "a"), ("bootstrap-token", "t")]);
        assert_eq!(check(&whole).unwrap().initial_cluster.len(), 2);
    }

    #[test]
    fn flags_go_over_variables_over_the_file_over_defaults() {
        let file =
            file("tick = \"1s\"\nname = \"file\"\nlog-level = \"warn\"\nsnapshot-entries = 5\n");
        let path = file.path().display().to_string();
        let variable = |name: &str| match name {
            "MUSTER_CONFIG" => Some(path.clone()),
            "MUSTER_NAME" | "MUSTER_LOG_LEVEL" => Some("debug".to_owned()),
            _ => None,
        };
        let flags = Flags::from_pairs([("name", "flag"), ("data", "/d"), ("insecure", "true")]);
        let config = Config::check(&Settings::join(&flags, &variable)).unwrap();
        assert_eq!(config.name, "flag");
        assert_eq!(config.log.level, "debug");
        assert_eq!(config.timers.tick, Duration::from_secs(1));
        assert_eq!(config.timers.election_ticks, 10);
        assert_eq!(config.snapshots.entries, 5);
    }

    #[test]
    fn limits_and_whom_they_spare_are_checked_with_the_rest() {
        let lines = check(&[
            ("data", "/d"),
            ("insecure", "true"),
            ("rate-limit", "token=0/1m"),
            ("rate-limit", "tokens=5/1m"),
            ("trusted-proxy", "10.0.0.0/99"),
            ("unlimited-address", "everybody"),
            ("token-sweep", "soon"),
        ]);
        let lines = lines.unwrap_err().0;
        assert_eq!(lines.len(), 5, "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains("names no limit")), "{lines:#?}");
        let off = [("data", "/d"), ("insecure", "true"), ("no-rate-limits", "true")];
        assert_eq!(check(&off).unwrap().rate_rules, RateRules::off());
        let some = [("data", "/d"), ("insecure", "true"), ("rate-limit", "login=off")];
        let rules = check(&some).unwrap().rate_rules;
        assert!(rules != RateRules::off() && rules != RateRules::default());
    }

    #[test]
    fn an_unknown_key_in_the_file_is_refused_with_the_rest() {
        let file = file("grpc-lisen = \"1\"\ntick = 5\n");
        let flags = Flags { file: Some(file.path().display().to_string()), ..Flags::default() };
        let lines = Config::check(&Settings::join(&flags, &none)).unwrap_err().0;
        assert!(
            lines.iter().any(|line| line.contains("grpc-lisen: there is no such")),
            "{lines:#?}"
        );
        assert!(lines.iter().any(|line| line.starts_with("tick = \"5\"")), "{lines:#?}");
    }

    #[test]
    fn printing_shows_origins_and_no_secret() {
        let flags = Flags::from_pairs([("bootstrap-token", "hush"), ("name", "a")]);
        let variable = |name: &str| (name == "LICENSE_KEY").then(|| "hush".to_owned());
        let shown = Settings::join(&flags, &variable).print();
        assert!(shown.contains("name = \"a\"  # flag --name\n"), "{shown}");
        assert!(shown.contains("tick = \"100ms\"  # default\n"), "{shown}");
        assert!(shown.contains("# LICENSE_KEY is set"), "{shown}");
        assert!(!shown.contains("hush"), "{shown}");
    }

    #[test]
    fn half_of_the_environment_bootstrap_is_refused_by_both_names() {
        let variable = |name: &str| (name == "LICENSE_KEY").then(|| "code".to_owned());
        let flags = Flags::from_pairs([("data", "/d"), ("insecure", "true")]);
        let error = Config::check(&Settings::join(&flags, &variable)).unwrap_err().to_string();
        assert!(error.contains("LICENSE_KEY and ENTERPRISE_SECRET"), "{error}");
    }
}
