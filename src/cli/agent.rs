//! `muster agent`: the member side of a fleet.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use muster_proto::versionpb_v2::Version;
use tokio::signal::unix::{SignalKind, signal};

use super::environment::Environment;
use super::go;
use super::output::{Exit, Failure};
use crate::agent::{self, AgentError, RecordError, Registration, Token};
use crate::clock::SystemClock;
use crate::dial::Roots;
use crate::entropy::SystemEntropy;
use crate::telemetry::{self, LogFormat, LogOptions};

/// Be a member of the fleet, for a cluster whose pachd has no enterprise service, or anything else.
///
/// It waits for `muster enterprise register`, or registers itself when told an enterprise server. It
/// keeps its license while the enterprise server is away, until the license's own end.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Address to answer on.
    #[arg(
        long,
        env = "MUSTER_AGENT_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:30650"
    )]
    listen: SocketAddr,
    /// File that holds the tie and the license over restarts.
    #[arg(
        long,
        env = "MUSTER_AGENT_RECORD",
        value_name = "FILE",
        default_value = "muster-agent.json"
    )]
    record: PathBuf,
    /// From one heartbeat to the next.
    #[arg(long, env = "MUSTER_AGENT_INTERVAL", value_name = "DURATION", default_value = "1h", value_parser = interval)]
    interval: Duration,
    /// PEM file of the certificate chain to answer with.
    #[arg(long, env = "MUSTER_AGENT_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file of its key.
    #[arg(long, env = "MUSTER_AGENT_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Answer without TLS on other addresses than this machine's own.
    #[arg(long)]
    insecure: bool,
    /// PEM file of the certificates to trust instead of the system's when the enterprise server's
    /// address is grpcs://.
    #[arg(long, env = "MUSTER_AGENT_CA_CERT", value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// Version to report.
    #[arg(long, env = "MUSTER_AGENT_VERSION", value_name = "VERSION", default_value = "2.11.6", value_parser = version)]
    report_version: Version,
    /// What the cluster calls itself; drawn once and kept if not given.
    #[arg(long, env = "CLUSTER_DEPLOYMENT_ID", value_name = "ID")]
    deployment_id: Option<String>,
    /// Register with this enterprise server at the start. Its token is read from the environment
    /// variable `ENTERPRISE_SERVER_TOKEN`, the shared secret from `ENTERPRISE_SECRET`.
    #[arg(long, env = "ENTERPRISE_SERVER_ADDRESS", value_name = "ADDRESS")]
    enterprise_server: Option<String>,
    /// File with the token for the enterprise server, instead of the variable; read anew for each
    /// attempt to register.
    #[arg(
        long,
        env = "MUSTER_AGENT_TOKEN_FILE",
        value_name = "FILE",
        requires = "enterprise_server"
    )]
    enterprise_server_token_file: Option<PathBuf>,
    /// Id of the cluster in the fleet.
    #[arg(long, env = "MUSTER_AGENT_ID", value_name = "ID", requires = "enterprise_server")]
    id: Option<String>,
    /// Where the enterprise server reaches the cluster.
    #[arg(
        long,
        env = "MUSTER_AGENT_ADDRESS",
        value_name = "ADDRESS",
        requires = "enterprise_server"
    )]
    address: Option<String>,
    /// Where users reach the cluster.
    #[arg(
        long,
        env = "MUSTER_AGENT_USER_ADDRESS",
        value_name = "ADDRESS",
        requires = "enterprise_server"
    )]
    user_address: Option<String>,
    /// Which events are written to stderr: error, warn, info, debug, trace, or by module.
    #[arg(long, env = "MUSTER_LOG_LEVEL", value_name = "FILTER", default_value = "info")]
    log_level: String,
}

pub(super) async fn run(command: Serve, environment: &Environment) -> Result<(), Failure> {
    let log = LogOptions { format: LogFormat::Text, level: command.log_level.clone() };
    telemetry::start_log(&log)
        .map_err(|error| Failure::new("cannot start").because(&error).exit(Exit::Usage))?;
    let options = command.options(environment)?;
    let agent = agent::Agent::bind(options, Arc::new(SystemClock), Arc::new(SystemEntropy));
    agent
        .await
        .map_err(|error| failed(&error))?
        .serve(told_to_stop()?)
        .await
        .map_err(|error| failed(&error))
}

fn failed(error: &AgentError) -> Failure {
    let failure = Failure::new("the agent cannot run").because(error);
    match error {
        AgentError::Listen { .. } => failure.exit(Exit::Start).hint("another --listen"),
        AgentError::Record(RecordError::Damaged { .. }) => {
            failure.exit(Exit::Damaged).hint("move the file away and register the cluster anew")
        }
        AgentError::Record(RecordError::Io { .. }) => {
            failure.exit(Exit::Internal).hint("a --record in a folder that can be written")
        }
        AgentError::Serve(_) | AgentError::Reflection(_) => failure.exit(Exit::Internal),
    }
}

/// Resolves at SIGTERM or SIGINT.
fn told_to_stop() -> Result<impl Future<Output = ()>, Failure> {
    let listen = |kind| {
        signal(kind).map_err(|error| {
            Failure::new("cannot listen to signals").because(&error).exit(Exit::Internal)
        })
    };
    let (mut terminate, mut interrupt) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

impl Serve {
    fn options(self, environment: &Environment) -> Result<agent::Options, Failure> {
        if !self.listen.ip().is_loopback() && self.tls_cert.is_none() && !self.insecure {
            return Err(Failure::new(format!("refuses to answer on {} without TLS", self.listen))
                .exit(Exit::Refused)
                .hint("--tls-cert and --tls-key, or --insecure in a network that is trusted"));
        }
        let registration = self.registration(environment)?;
        let tls = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
            _ => None,
        };
        Ok(agent::Options {
            listen: self.listen,
            tls,
            record: self.record,
            interval: self.interval,
            version: self.report_version,
            deployment_id: self.deployment_id,
            roots: self
                .ca_cert
                .as_deref()
                .map_or(Ok(Roots::System), |path| read(path).map(Roots::Pem))?,
            registration,
        })
    }

    /// How to register, by flags first and by a Pachyderm member's variables second.
    fn registration(&self, environment: &Environment) -> Result<Option<Registration>, Failure> {
        let Some(server) = self.enterprise_server.clone() else { return Ok(None) };
        let by_variable = match &environment.enterprise_member_config {
            None => BTreeMap::new(),
            Some(text) => member_config(text)?,
        };
        let given = |flag: &Option<String>, key: &str| {
            flag.clone().or_else(|| by_variable.get(key).cloned()).filter(|text| !text.is_empty())
        };
        let needed = |flag: &Option<String>, key: &str| {
            given(flag, key).ok_or_else(|| {
                Failure::new(format!(
                    "cannot register with {server}: the cluster's {key} is not known"
                ))
                .exit(Exit::Usage)
                .hint(format!("--{key}"))
            })
        };
        Ok(Some(Registration {
            token: match &self.enterprise_server_token_file {
                Some(path) => Some(Token::File(path.clone())),
                None => environment.enterprise_server_token.clone().map(Token::Text),
            },
            id: needed(&self.id, "id")?,
            secret: environment.enterprise_secret.clone(),
            address: needed(&self.address, "address")?,
            user_address: given(&self.user_address, "user_address").unwrap_or_default(),
            server,
        }))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| {
        Failure::new(format!("cannot read {}", path.display())).because(&error).exit(Exit::Refused)
    })
}

/// The flat map of `ENTERPRISE_MEMBER_CONFIG`: JSON, or YAML of one `key: value` a line.
fn member_config(text: &str) -> Result<BTreeMap<String, String>, Failure> {
    if let Ok(map) = serde_json::from_str(text) {
        return Ok(map);
    }
    let lines = text.lines().map(str::trim).zip(1..);
    lines
        .filter(|(line, _)| !line.is_empty() && !line.starts_with('#') && *line != "---")
        .map(|(line, number)| {
            let (key, value) = line.split_once(": ").ok_or_else(|| {
                // Not the line itself: it may hold a secret.
                let what = format!("ENTERPRISE_MEMBER_CONFIG: line {number} is not `key: value`");
                Failure::new(what).exit(Exit::Refused)
            })?;
            let value = value.trim().trim_matches(['"', '\'']);
            Ok((key.trim().to_owned(), value.to_owned()))
        })
        .collect()
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = go::parse_duration(text)?;
    if interval < Duration::from_millis(100) {
        return Err("must be at least 100ms".to_owned());
    }
    Ok(interval)
}

fn version(text: &str) -> Result<Version, String> {
    let parse = || {
        let (major, rest) = text.split_once('.')?;
        let (minor, rest) = rest.split_once('.')?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (micro, additional) = rest.split_at(end);
        Some(Version {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            micro: micro.parse().ok()?,
            additional: additional.to_owned(),
            ..Version::default()
        })
    };
    parse().ok_or_else(|| "must be like 2.11.6".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        serve: Serve,
    }

    fn options(words: &[&str], environment: &Environment) -> Result<agent::Options, Failure> {
        let words = std::iter::once("agent").chain(words.iter().copied());
        Line::try_parse_from(words).unwrap().serve.options(environment)
    }

    #[test]
    fn plaintext_stays_on_this_machine_unless_told_otherwise() {
        let environment = Environment::default();
        assert!(options(&["--listen", "0.0.0.0:0"], &environment).is_err());
        assert!(options(&["--listen", "0.0.0.0:0", "--insecure"], &environment).is_ok());
        assert!(options(&["--listen", "[::1]:0"], &environment).is_ok());
    }

    #[test]
    fn a_pachyderm_members_variables_register_it() {
        let config =
            "id: pach\naddress: \"grpc://pachd:30650\"\nuser_address: grpc://localhost:30650\n";
        let environment = Environment {
            enterprise_member_config: Some(config.to_owned()),
            enterprise_secret: Some("s".to_owned()),
            ..Environment::default()
        };
        let registration = options(&["--enterprise-server", "es:31650"], &environment)
            .unwrap()
            .registration
            .unwrap();
        assert_eq!(registration.id, "pach");
        assert_eq!(registration.address, "grpc://pachd:30650");
        assert_eq!(registration.user_address, "grpc://localhost:30650");
        assert_eq!(registration.secret.as_deref(), Some("s"));
        let flags = ["--enterprise-server", "es:31650", "--id", "other"];
        assert_eq!(options(&flags, &environment).unwrap().registration.unwrap().id, "other");
    }

    #[test]
    fn registering_needs_to_know_as_what() {
        let failure = options(&["--enterprise-server", "es"], &Environment::default()).unwrap_err();
        assert!(failure.text().contains("id is not known"), "{}", failure.text());
        assert!(member_config("{\"id\": \"x\"}").unwrap().contains_key("id"));
        assert!(member_config("nonsense").is_err());
    }

    #[test]
    fn versions_and_intervals_are_checked() {
        assert_eq!(version("2.11.6-rc.1").unwrap().additional, "-rc.1");
        assert!(version("2.11").is_err());
        assert!(interval("0").is_err());
        assert_eq!(interval("1s"), Ok(Duration::from_secs(1)));
    }
}
