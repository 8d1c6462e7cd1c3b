//! `muster config …`: the contexts of pachctl's config file.

use std::io::{self, IsTerminal, Read};
use std::time::Duration;

use clap::{Args, Subcommand};
use muster_proto::enterprise_v2::{GetStateRequest, State};

use super::config::{ConfigError, ConfigFile, Which};
use super::connect::{Invocation, Server, within};
use super::context::{Context, canonical_key};
use super::document::Node;
use super::failures::raw;
use super::making::{self, ImportKube};
use crate::address::Address;
use crate::cli::environment::Environment;
use crate::cli::output::{self, Failure};

/// Contexts: which servers there are, and which one commands talk to.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print the active context, a context, or the metrics setting.
    #[command(subcommand)]
    Get(Get),
    /// Choose the active context, store a context, or change the metrics setting.
    #[command(subcommand)]
    Set(Set),
    /// Change single fields of a context.
    #[command(subcommand)]
    Update(Update),
    /// Remove a context.
    #[command(subcommand)]
    Delete(Delete),
    /// List all contexts.
    #[command(subcommand)]
    List(List),
    /// Make a context from a Kubernetes context and make it the active one.
    ImportKube(ImportKube),
}

/// Further arguments that pachctl accepts and ignores.
#[derive(Debug, Args)]
pub(crate) struct Ignored {
    #[arg(hide = true)]
    ignored: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Get {
    /// Print the name of the active context.
    ActiveContext(Ignored),
    /// Print the name of the active enterprise context, or of the active context where none is set.
    ActiveEnterpriseContext(Ignored),
    /// Print a context as JSON, its token included.
    Context {
        /// Which context.
        name: String,
    },
    /// Print whether pachctl may send usage metrics (Muster never does).
    Metrics(Ignored),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Set {
    /// Make a context the active one.
    ActiveContext {
        /// Which context.
        name: String,
    },
    /// Make a context the active enterprise context.
    ActiveEnterpriseContext {
        /// Which context.
        name: String,
    },
    /// Store the context given as JSON on standard input.
    Context {
        /// Its name.
        name: String,
        /// Replace a context of that name, with all that it holds.
        #[arg(long)]
        overwrite: bool,
    },
    /// Say whether pachctl may send usage metrics.
    Metrics {
        /// `true` or `false`.
        value: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Update {
    /// Change the fields given; an empty value clears its field.
    Context(Changes),
}

#[derive(Debug, Args)]
pub(crate) struct Changes {
    /// Which context; the active one if not given.
    name: Option<String>,
    /// `[grpc://|grpcs://]HOST[:PORT]` of the server.
    #[arg(long, value_name = "ADDRESS")]
    pachd_address: Option<String>,
    /// Kubernetes cluster.
    #[arg(long, value_name = "NAME")]
    cluster_name: Option<String>,
    /// Kubernetes user.
    #[arg(long, value_name = "NAME")]
    auth_info: Option<String>,
    /// Base64 of PEM certificates to trust instead of the system's.
    #[arg(long, value_name = "BASE64")]
    server_cas: Option<String>,
    /// Kubernetes namespace.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Project that commands use when they name none.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Forget which deployment the context belongs to.
    #[arg(long)]
    remove_cluster_deployment_id: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Delete {
    /// Remove a context that is not the active one.
    Context {
        /// Which context.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum List {
    /// List all contexts; `*` marks the active one, `E` the enterprise context.
    Context(Ignored),
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure::pachctl(error.to_string())
    }
}

/// The failure of a command that names a context which is not there.
fn no_context(file: &ConfigFile, name: &str) -> Failure {
    let known = file.context_names();
    let failure = Failure::pachctl(format!("context does not exist: {name}"));
    if known.is_empty() { failure } else { failure.hint(format!("one of: {}", known.join(", "))) }
}

pub(crate) async fn run(command: Config, invocation: &Invocation) -> Result<(), Failure> {
    let environment = &invocation.environment;
    let mut file = ConfigFile::load(environment)?;
    match command {
        Config::Get(get) => print(get, &file, environment),
        Config::Set(set) => {
            change(set, &mut file)?;
            Ok(file.save()?)
        }
        Config::Update(Update::Context(changes)) => {
            update(changes, &mut file, environment)?;
            Ok(file.save()?)
        }
        Config::Delete(Delete::Context { name }) => {
            if file.active_context() == Some(name.as_str()) {
                return Err(Failure::pachctl("cannot delete an active context")
                    .hint("muster config set active-context ANOTHER first"));
            }
            file.context(&name).ok_or_else(|| no_context(&file, &name))?;
            file.remove_context(&name);
            Ok(file.save()?)
        }
        Config::List(List::Context(_)) => {
            let table = match file.active_enterprise_context() {
                Some(enterprise) => list(&file, Some(enterprise)),
                None => list(&file, deduce_enterprise(&file, invocation).await?.as_deref()),
            };
            output::data(&table)
        }
        Config::ImportKube(asked) => {
            making::import(asked, &mut file, environment)?;
            Ok(file.save()?)
        }
    }
}

fn print(get: Get, file: &ConfigFile, environment: &Environment) -> Result<(), Failure> {
    let line = match get {
        Get::ActiveContext(_) => file.choose(Which::Active, environment)?.name,
        Get::ActiveEnterpriseContext(_) => file.choose(Which::Enterprise, environment)?.name,
        Get::Context { name } => {
            file.context(&name).ok_or_else(|| no_context(file, &name))?.to_json()
        }
        Get::Metrics(_) => file.metrics().to_string(),
    };
    output::data(&format!("{line}\n"))
}

fn change(set: Set, file: &mut ConfigFile) -> Result<(), Failure> {
    match set {
        Set::ActiveContext { name } => {
            file.context(&name).ok_or_else(|| no_context(file, &name))?;
            file.set_active_context(&name);
        }
        Set::ActiveEnterpriseContext { name } => {
            file.context(&name).ok_or_else(|| no_context(file, &name))?;
            file.set_active_enterprise_context(&name);
        }
        Set::Context { name, overwrite } => {
            require_free(file, &name, overwrite)?;
            if io::stdin().is_terminal() {
                output::note("Reading from stdin.");
            }
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map_err(|error| {
                Failure::pachctl(format!("malformed context: could not read it: {error}"))
            })?;
            let context = parse(&text).map_err(Failure::pachctl)?;
            file.remove_context(&name);
            file.set_context(&name, &context);
        }
        Set::Metrics { value } => match value.as_str() {
            "true" => file.set_metrics(true),
            "false" => file.set_metrics(false),
            _ => {
                return Err(Failure::pachctl("invalid argument; use either `true` or `false`"));
            }
        },
    }
    Ok(())
}

/// Reads the JSON of a context, strictly: an unknown key is an error.
fn parse(text: &str) -> Result<Context, String> {
    let malformed = |reason: String| format!("malformed context: proto: {reason}");
    let node: Node = serde_json::from_str(text).map_err(|error| {
        let place = format!("line {}:{}", error.line().max(1), error.column().max(1));
        let reason = match (error.to_string(), stray(text, &error)) {
            (what, Some(word)) if what.starts_with("expected value") => {
                format!("invalid value {word}")
            }
            (what, _) => what.split(" at line ").next().unwrap_or_default().to_owned(),
        };
        malformed(format!("syntax error ({place}): {reason}"))
    })?;
    let mut known = Vec::new();
    for (key, value) in node.entries() {
        let Some(name) = canonical_key(key) else {
            let place = place_of(text, key);
            return Err(malformed(format!("({place}): unknown field {key:?}")));
        };
        known.push((name.to_owned(), value.clone()));
    }
    if !matches!(node, Node::Map(_)) {
        return Err(malformed(format!("syntax error (line 1:1): unexpected token {node}")));
    }
    let context = Context::read(&Node::Map(known)).map_err(malformed)?;
    if !context.pachd_address.is_empty() {
        context.pachd_address.parse::<Address>().map_err(|error| error.to_string())?;
    }
    Ok(context)
}

/// The word that stands where a value should, as Go's reader cuts it out.
fn stray(text: &str, error: &serde_json::Error) -> Option<String> {
    const LONGEST: usize = 32;
    let line = text.lines().nth(error.line().saturating_sub(1))?;
    let rest = line.get(error.column().saturating_sub(1)..)?;
    let is_of_word = |c: &char| c.is_ascii_alphanumeric() || "-+._".contains(*c);
    let word: String = rest.chars().take_while(is_of_word).take(LONGEST).collect();
    if word.is_empty() { rest.chars().next().map(String::from) } else { Some(word) }
}

/// `line L:C` of the first place where `key` stands in quotes, both counted from 1.
fn place_of(text: &str, key: &str) -> String {
    let before = text.split(&format!("\"{key}\"")).next().unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}:{column}")
}

fn update(
    changes: Changes,
    file: &mut ConfigFile,
    environment: &Environment,
) -> Result<(), Failure> {
    let name = if let Some(name) = changes.name {
        name
    } else {
        let name = file.choose(Which::Active, environment)?.name;
        output::data(&format!("editing the currently active context \"{name}\"\n"))?;
        name
    };
    let mut context = file.context(&name).ok_or_else(|| no_context(file, &name))?;
    if let Some(address) = changes.pachd_address {
        context.pachd_address = match address.as_str() {
            "" => String::new(),
            text => text
                .parse::<Address>()
                .map_err(|error| Failure::pachctl(error.to_string()))?
                .to_string(),
        };
    }
    let texts = [
        (changes.cluster_name, &mut context.cluster_name),
        (changes.auth_info, &mut context.auth_info),
        (changes.server_cas, &mut context.server_cas),
        (changes.namespace, &mut context.namespace),
        (changes.project, &mut context.project),
    ];
    for (new, field) in texts {
        if let Some(new) = new {
            *field = new;
        }
    }
    if changes.remove_cluster_deployment_id {
        context.cluster_deployment_id.clear();
    }
    file.set_context(&name, &context);
    Ok(())
}

/// Which context is the enterprise context when the file names none: the active one, if its
/// server is licensed. Not to reach it is no failure.
async fn deduce_enterprise(
    file: &ConfigFile,
    invocation: &Invocation,
) -> Result<Option<String>, Failure> {
    let asked = async {
        let server = Server::open(invocation, Which::Enterprise).await?;
        let mut client = server.enterprise();
        let state = server.call(client.get_state(GetStateRequest {}));
        within(Duration::from_secs(1), state).await.map_err(|status| raw(&status))
    };
    match asked.await {
        Ok(answer) if answer.state() == State::Active => {
            Ok(file.active_context().map(str::to_owned))
        }
        Ok(_) => Ok(None),
        Err(failure) => {
            output::data(&format!(
                "Unable to connect with server to deduce enterprise context: {}\n",
                failure.text()
            ))?;
            Ok(None)
        }
    }
}

/// The table of all contexts; `enterprise` is the one to mark with `E`.
pub(crate) fn list(file: &ConfigFile, enterprise: Option<&str>) -> String {
    let mut table = String::from("ACTIVE\tNAME\n");
    for name in file.context_names() {
        if enterprise == Some(name.as_str()) {
            table.push('E');
        }
        if file.active_context() == Some(name.as_str()) {
            table.push('*');
        }
        table.push('\t');
        table.push_str(&name);
        table.push('\n');
    }
    table
}

/// A name that is taken is only taken over when asked to.
pub(super) fn require_free(file: &ConfigFile, name: &str, overwrite: bool) -> Result<(), Failure> {
    if overwrite || file.context(name).is_none() {
        return Ok(());
    }
    Err(Failure::pachctl(format!(
        "context '{name}' already exists, use `--overwrite` if you wish to replace it"
    )))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_context_is_read_strictly() {
        let reason = |text: &str| parse(text).unwrap_err();
        assert_eq!(
            reason(r#"{"bogus": 1}"#),
            r#"malformed context: proto: (line 1:2): unknown field "bogus""#
        );
        assert_eq!(
            reason("x"),
            "malformed context: proto: syntax error (line 1:1): invalid value x"
        );
        assert_eq!(
            reason("[]"),
            "malformed context: proto: syntax error (line 1:1): unexpected token []"
        );
        assert_eq!(reason(r#"{"pachd_address": "h/"}"#), "pachd address should not include a path");
        assert_eq!(
            reason(r#"{"pachd_address": 5}"#),
            "malformed context: proto: invalid value for string field pachd_address: 5"
        );
        assert_eq!(parse("{}").unwrap(), Context::default());
    }

    #[test]
    fn a_context_is_shown_as_proto_json() {
        let context = parse(
            r#"{"source": 3, "pachdAddress": "grpc://127.0.0.1:31650",
                "cluster_deployment_id": "dep-1", "enterprise_server": true, "project": null}"#,
        )
        .unwrap();
        expect![[r#"
            {
              "source": "IMPORTED",
              "pachd_address": "grpc://127.0.0.1:31650",
              "cluster_deployment_id": "dep-1",
              "enterprise_server": true
            }"#]]
        .assert_eq(&context.to_json());
    }
}
