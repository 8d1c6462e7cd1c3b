//! Makes a [`Config`] of [`Settings`], or says everything that is wrong with them.

mod clients;
mod environment;
mod group;
mod records;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::resolved::Config;
use super::secret::Secret;
use super::settings::{Origin, Settings};
use super::{ConfigError, values};
use crate::api::CompatVersion;
use crate::seal::{DataKey, KEY_TEXT_BYTES_MIN};

/// Where people come back to by default, as upstream's chart has it.
const LOGIN_PORT: u16 = 31657;

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

    fn deployment_id(&self) -> Option<String> {
        self.text("deployment-id").or_else(|| self.pachyderm("CLUSTER_DEPLOYMENT_ID"))
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
