//! Every setting once: its name, default and meaning. Flags, variables and the file's keys follow.

use clap::{Arg, ArgAction, ArgMatches};

/// How a setting is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One value.
    One,
    /// Any number of values; separated by commas in a variable.
    Many,
    /// On when given.
    Switch,
}

/// A setting.
#[derive(Debug)]
pub(super) struct Key {
    /// In kebab case: `--name`, `MUSTER_NAME`, `name = …`.
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    /// What holds when nobody says anything; empty for nothing.
    pub(super) default: &'static str,
    pub(super) value_name: &'static str,
    pub(super) help: &'static str,
    /// Never shown.
    pub(super) secret: bool,
}

const fn one(
    name: &'static str,
    value_name: &'static str,
    default: &'static str,
    help: &'static str,
) -> Key {
    Key { name, shape: Shape::One, default, value_name, help, secret: false }
}

const fn many(name: &'static str, value_name: &'static str, help: &'static str) -> Key {
    Key { name, shape: Shape::Many, default: "", value_name, help, secret: false }
}

const fn switch(name: &'static str, help: &'static str) -> Key {
    Key { name, shape: Shape::Switch, default: "false", value_name: "", help, secret: false }
}

/// All settings, in the order in which `--print-config` shows them.
pub(super) const KEYS: &[Key] = &[
    one(
        "data",
        "DIR",
        "",
        "Folder that holds this replica's log, snapshots and identity; required",
    ),
    one("name", "NAME", "", "What this replica is called in the group; alone, `muster` will do"),
    one("grpc-listen", "ADDRESS", "0.0.0.0:31650", "Where the API listens"),
    one(
        "login-listen",
        "ADDRESS",
        "",
        "Where identity providers send people back to [default: the host of grpc-listen, port 31657]",
    ),
    one("ops-listen", "ADDRESS", "0.0.0.0:31656", "Where probes and metrics listen, in plain HTTP"),
    one(
        "peer-listen",
        "ADDRESS",
        "",
        "Where other replicas connect [default: 0.0.0.0:31659 in a group, 127.0.0.1:31659 alone]",
    ),
    many(
        "initial-cluster",
        "NAME=HOST:PORT,…",
        "The first replicas of the group by name and peer address, this one among them; none: alone",
    ),
    one(
        "peer-address",
        "HOST:PORT",
        "",
        "Where other replicas reach this one, if that is not where it listens",
    ),
    one(
        "zone",
        "NAME",
        "",
        "Where this replica stands: those of one zone are expected to fail together",
    ),
    one(
        "join",
        "ADDRESS",
        "",
        "[grpc://|grpcs://]HOST:PORT of a replica of the group that a replica with an empty folder joins",
    ),
    one(
        "join-ca",
        "FILE",
        "",
        "Certificates (PEM) to trust for that address instead of the system's",
    ),
    one("join-token-file", "FILE", "", "File with the token that lets this replica join"),
    Key {
        name: "join-token",
        shape: Shape::One,
        default: "",
        value_name: "TOKEN",
        help: "The token that lets this replica join; better given in a file or a variable",
        secret: true,
    },
    one(
        "promote-after",
        "SPAN",
        "10s",
        "How long an observer has to keep up before it becomes a voter by itself",
    ),
    one(
        "data-key-file",
        "FILE",
        "",
        "File with the secret that seals stored secrets, the same for every replica",
    ),
    one("bootstrap-token-file", "FILE", "", "File with the secret that the first replicas share"),
    Key {
        name: "bootstrap-token",
        shape: Shape::One,
        default: "",
        value_name: "TOKEN",
        help: "The secret that the first replicas share; better given in a file or a variable",
        secret: true,
    },
    one("peer-ca", "FILE", "", "Certificates (PEM) that vouch for other replicas"),
    one("peer-cert", "FILE", "", "This replica's certificate (PEM) towards other replicas"),
    one("peer-key", "FILE", "", "The key (PEM) of that certificate"),
    one("tls-cert", "FILE", "", "Certificate chain (PEM) of the API"),
    one("tls-key", "FILE", "", "The key (PEM) of that certificate"),
    one(
        "issuer-ca",
        "FILE",
        "",
        "Certificates (PEM) that vouch for identity providers, besides the system's",
    ),
    one(
        "localhost-issuer",
        "URL",
        "http://localhost:1658",
        "Where an issuer is asked whose configuration says localhost_issuer",
    ),
    one("login-lifetime", "SPAN", "3m", "How long a person may take to sign in, up to 10m"),
    one(
        "session-duration",
        "SPAN",
        "720h",
        "How long a person stays signed in; SESSION_DURATION_MINUTES says it too",
    ),
    switch("insecure", "Allow plaintext beyond this machine"),
    many("own-address", "ADDRESS", "A further address under which clients reach this server"),
    many(
        "license-public-key",
        "FILE",
        "A key (PEM) whose signature on activation codes is trusted",
    ),
    switch("no-default-license-key", "Trust no activation codes of Pachyderm's own"),
    one(
        "deployment-id",
        "ID",
        "",
        "The deployment id that clients see; kept by the group once set",
    ),
    one("compat-version", "VERSION", "2.11.6", "The Pachyderm version that clients are told"),
    one("tick", "SPAN", "100ms", "The beat of the group's timers"),
    one("election-ticks", "COUNT", "10", "Beats without a leader before an election"),
    one("heartbeat-ticks", "COUNT", "2", "Beats between two signs of life of the leader"),
    one("snapshot-entries", "COUNT", "10000", "Write a snapshot after so many log entries"),
    one("snapshot-bytes", "BYTES", "67108864", "Write a snapshot after so many bytes of log"),
    one("audit-records", "COUNT", "50000", "How many audit records the group keeps"),
    one("audit-age", "SPAN", "400d", "How long the group keeps an audit record"),
    one("audit-file", "FILE", "", "File of JSON lines that follows the audit log"),
    one("audit-file-bytes", "BYTES", "67108864", "Begin a new audit file at this size"),
    one("audit-files", "COUNT", "10", "How many full audit files are kept, as FILE.1 and so on"),
    one("request-timeout", "SPAN", "30s", "The longest that a request may take"),
    one("connection-age", "SPAN", "10m", "After about this time clients are asked to connect anew"),
    one("token-sweep", "SPAN", "10m", "Between two looks for expired tokens to forget"),
    switch("no-rate-limits", "Limit nobody"),
    many(
        "rate-limit",
        "NAME=COUNT/SPAN,…",
        "So many at once and again over each span, or NAME=off: heartbeat-secret, heartbeat-id, \
         heartbeat-address, token, sign-in, login, callback, open, health, principal",
    ),
    many("trusted-proxy", "NETWORK", "Proxies that are believed in x-forwarded-for"),
    many("unlimited-address", "NETWORK", "Clients that are never limited"),
    switch("limit-loopback", "Limit clients on this machine too"),
    one(
        "own-heartbeat-interval",
        "SPAN",
        "1h",
        "Between heartbeats of this server to the license server that it is tied to",
    ),
    one("drain-timeout", "SPAN", "20s", "How long requests may finish after SIGTERM"),
    one("log-format", "text|json", "text", "How events are written to stderr"),
    one(
        "log-level",
        "FILTER",
        "info",
        "Which events: error, warn, info, debug, trace, or by module",
    ),
];

/// The settings given as flags, and what else `muster serve` takes.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// By key, in the order given.
    pub(super) given: Vec<(&'static str, Vec<String>)>,
    /// The TOML file to read.
    pub(super) file: Option<String>,
    /// Only say whether the configuration holds.
    pub check_config: bool,
    /// Only show the configuration, each value with its origin.
    pub print_config: bool,
}

impl Flags {
    /// Flags as if given on a command line: each with its key's name and value.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Flags {
        let mut flags = Flags::default();
        for (name, value) in pairs {
            if let Some(key) = KEYS.iter().find(|key| key.name == name) {
                match flags.given.iter_mut().find(|(given, _)| *given == key.name) {
                    Some((_, values)) => values.push(value.to_owned()),
                    None => flags.given.push((key.name, vec![value.to_owned()])),
                }
            }
        }
        flags
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Flags, clap::Error> {
        let mut flags = Flags {
            file: matches.get_one::<String>("config").cloned(),
            check_config: matches.get_flag("check-config"),
            print_config: matches.get_flag("print-config"),
            ..Flags::default()
        };
        for key in KEYS {
            let values: Vec<String> = match key.shape {
                Shape::Switch if matches.get_flag(key.name) => vec!["true".to_owned()],
                Shape::Switch => Vec::new(),
                Shape::One | Shape::Many => {
                    matches.get_many::<String>(key.name).unwrap_or_default().cloned().collect()
                }
            };
            if !values.is_empty() {
                flags.given.push((key.name, values));
            }
        }
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Flags::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Flags {
    fn augment_args(command: clap::Command) -> clap::Command {
        let command = KEYS.iter().fold(command, |command, key| command.arg(argument(key)));
        command
            .arg(Arg::new("config").long("config").value_name("FILE").help("TOML file of settings"))
            .arg(
                Arg::new("check-config")
                    .long("check-config")
                    .action(ArgAction::SetTrue)
                    .help("Say whether the configuration holds, and stop"),
            )
            .arg(
                Arg::new("print-config")
                    .long("print-config")
                    .action(ArgAction::SetTrue)
                    .help("Print every setting with its origin, secrets masked, and stop"),
            )
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Flags::augment_args(command)
    }
}

fn argument(key: &'static Key) -> Arg {
    let argument = Arg::new(key.name).long(key.name);
    let help = if key.default.is_empty() || key.shape == Shape::Switch {
        key.help.to_owned()
    } else {
        format!("{} [default: {}]", key.help, key.default)
    };
    let argument = argument.help(help);
    match key.shape {
        Shape::One => argument.value_name(key.value_name).action(ArgAction::Set),
        Shape::Many => {
            argument.value_name(key.value_name).action(ArgAction::Append).value_delimiter(',')
        }
        Shape::Switch => argument.action(ArgAction::SetTrue),
    }
}
