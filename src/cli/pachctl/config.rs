//! pachctl's config file: `~/.pachyderm/config.json`.
//!
//! It is shared with pachctl and both Python clients, so nothing is added that they do not know,
//! and nothing is lost that Muster does not know: the file is edited as the document it is.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::context::{Context, canonical_key};
use super::document::Node;
use crate::address::Address;
use crate::cli::environment::Environment;

/// Why the config file cannot be used. The texts are those that users of pachctl know.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("could not find the config: neither PACH_CONFIG nor HOME is set")]
    NoHome,
    #[error("could not read config at {path:?}: {error}")]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("could not parse config json at {path:?}: {reason}")]
    Unparsable { path: PathBuf, reason: String },
    #[error("cannot use config at {}: could not stat parent directory: {error}", path.display())]
    NoFolder { path: PathBuf, error: io::Error },
    #[error("could not write config at {path:?}: {error}")]
    Unwritable { path: PathBuf, error: io::Error },
    #[error(
        "pachctl config error: `{variable}` refers to a context ({name:?}) that does not exist"
    )]
    NoSuchOverride { variable: &'static str, name: String },
    #[error(
        "pachctl config error: no active context configured.\n\n\
         You can fix your config by setting the active context like so: \
         muster config set active-context <context>"
    )]
    NoActive,
    #[error(
        "pachctl config error: pachctl's active {kind}context is {name:?}, \
         but no context named {name:?} has been configured.\n\n\
         You can fix your config by setting the active context like so: \
         muster config set active-{}context <context>",
        kind.replace(' ', "-")
    )]
    Dangling { kind: &'static str, name: String },
}

/// Which of the two servers a command talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// The active context: normally a cluster.
    Active,
    /// The active enterprise context; the active context where none is set.
    Enterprise,
}

/// A context together with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) context: Context,
}

/// The file as it is in memory.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    /// Whether `PACH_CONFIG` names it; then its folder must exist.
    is_explicit: bool,
    root: Node,
    /// The text on disk, when there is a file.
    stored: Option<String>,
}

/// The file inside a pipeline's container.
const IN_PIPELINE: &str = "/pachctl/config.json";

fn is_later_in_root(key: &str, than: &str) -> bool {
    is_later(&["user_id", "v1", "v2"], key, than)
}

fn is_later_in_v2(key: &str, than: &str) -> bool {
    let fields = [
        "active_context",
        "active_enterprise_context",
        "contexts",
        "metrics",
        "max_shell_completions",
    ];
    is_later(&fields, key, than)
}

fn is_later(fields: &[&str], key: &str, than: &str) -> bool {
    let place = |key: &str| fields.iter().position(|field| *field == key);
    matches!((place(key), place(than)), (Some(key), Some(than)) if key > than)
}

impl ConfigFile {
    /// Reads the file that `environment` points to; without one, what pachctl starts with.
    pub(crate) fn load(environment: &Environment) -> Result<Self, ConfigError> {
        let (path, is_explicit) = match &environment.pach_config {
            Some(path) => (path.clone(), true),
            None if Path::new(IN_PIPELINE).exists() => (PathBuf::from(IN_PIPELINE), true),
            None => {
                let home = environment.home.as_ref().ok_or(ConfigError::NoHome)?;
                (home.join(".pachyderm").join("config.json"), false)
            }
        };
        let stored = match fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(ConfigError::Unreadable { path, error }),
        };
        let root = match stored.as_deref().map(str::trim) {
            None | Some("") => Node::Map(Vec::new()),
            Some(text) => parse(text)
                .map_err(|reason| ConfigError::Unparsable { path: path.clone(), reason })?,
        };
        let mut file = ConfigFile { path, is_explicit, root, stored };
        file.migrate(environment);
        Ok(file)
    }

    /// Brings older files and other spellings into the form that pachctl itself would write.
    fn migrate(&mut self, environment: &Environment) {
        if self.root.get("v2").is_none() {
            let mut context = Node::Map(Vec::new());
            match self.root.get("v1") {
                Some(v1) => {
                    for (key, value) in v1.entries() {
                        context.set(key, value.clone(), |_| false);
                    }
                    let source = Node::Number(1.into());
                    context.set("source", source, |_| true);
                }
                None => Context {
                    pachd_address: environment.pachd_address.clone().unwrap_or_default(),
                    ..Context::default()
                }
                .write(&mut context),
            }
            self.root.remove("v1");
            let contexts = Node::Map(vec![("default".to_owned(), context)]);
            let v2 = Node::Map(vec![
                ("active_context".to_owned(), Node::Text("default".to_owned())),
                ("contexts".to_owned(), contexts),
                ("metrics".to_owned(), Node::Bool(true)),
            ]);
            self.root.set("v2", v2, |_| false);
        }
        for name in self.context_names() {
            let Some(mut context) = self.context(&name) else { continue };
            if let Ok(address) = context.pachd_address.parse::<Address>() {
                context.pachd_address = address.to_string();
                self.set_context(&name, &context);
            }
        }
    }

    fn v2(&self) -> &Node {
        self.root.get("v2").unwrap_or(&Node::Null)
    }

    /// The names of all contexts, sorted.
    pub(crate) fn context_names(&self) -> Vec<String> {
        let contexts = self.v2().get("contexts").unwrap_or(&Node::Null);
        let mut names: Vec<_> = contexts.entries().iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// The context called `name`.
    pub(crate) fn context(&self, name: &str) -> Option<Context> {
        let contexts = self.v2().get("contexts")?;
        let (_, node) = contexts.entries().iter().rfind(|(key, _)| key == name)?;
        Context::read(node).ok()
    }

    /// Makes `name` say what `context` says; what Muster does not know about it stays.
    pub(crate) fn set_context(&mut self, name: &str, context: &Context) {
        self.edit_contexts(|contexts| {
            let after = |later: &str| later > name;
            contexts.edit(name, after, |node| context.write(node));
        });
    }

    /// Removes `name` with all that it holds.
    pub(crate) fn remove_context(&mut self, name: &str) {
        self.edit_contexts(|contexts| contexts.remove(name));
    }

    fn edit_contexts(&mut self, change: impl FnOnce(&mut Node)) {
        let after = |key: &str| is_later_in_root(key, "v2");
        self.root.edit("v2", after, |v2| {
            v2.edit("contexts", |key| is_later_in_v2(key, "contexts"), change);
        });
    }

    fn set_in_v2(&mut self, key: &str, value: Node) {
        let after = |key: &str| is_later_in_root(key, "v2");
        self.root.edit("v2", after, |v2| v2.set(key, value, |later| is_later_in_v2(later, key)));
    }

    /// The name of the active context, as the file has it.
    pub(crate) fn active_context(&self) -> Option<&str> {
        self.v2().get("active_context")?.text().filter(|name| !name.is_empty())
    }

    /// The name of the active enterprise context, as the file has it.
    pub(crate) fn active_enterprise_context(&self) -> Option<&str> {
        self.v2().get("active_enterprise_context")?.text().filter(|name| !name.is_empty())
    }

    /// Makes `name` the active context.
    pub(crate) fn set_active_context(&mut self, name: &str) {
        self.set_in_v2("active_context", Node::Text(name.to_owned()));
    }

    /// Makes `name` the active enterprise context.
    pub(crate) fn set_active_enterprise_context(&mut self, name: &str) {
        self.set_in_v2("active_enterprise_context", Node::Text(name.to_owned()));
    }

    /// Whether pachctl may send usage metrics. Muster sends none, whatever this says.
    pub(crate) fn metrics(&self) -> bool {
        self.v2().get("metrics") == Some(&Node::Bool(true))
    }

    /// Sets what [`ConfigFile::metrics`] says; false is written by leaving the key out.
    pub(crate) fn set_metrics(&mut self, value: bool) {
        if value {
            self.set_in_v2("metrics", Node::Bool(true));
        } else {
            self.root.edit("v2", |_| false, |v2| v2.remove("metrics"));
        }
    }

    /// The context that a command uses.
    pub(crate) fn choose(
        &self,
        which: Which,
        environment: &Environment,
    ) -> Result<Named, ConfigError> {
        let named = |name: &str| {
            let context = self.context(name)?;
            Some(Named { name: name.to_owned(), context })
        };
        let from_variable = |variable: &'static str, name: &String| {
            named(name).ok_or_else(|| ConfigError::NoSuchOverride { variable, name: name.clone() })
        };
        if which == Which::Enterprise {
            if let Some(name) = &environment.pach_enterprise_context {
                return from_variable("PACH_ENTERPRISE_CONTEXT", name);
            }
            if let Some(name) = self.active_enterprise_context() {
                return named(name).ok_or_else(|| ConfigError::Dangling {
                    kind: "enterprise ",
                    name: name.to_owned(),
                });
            }
        }
        if let Some(name) = &environment.pach_context {
            return from_variable("PACH_CONTEXT", name);
        }
        let name = self.active_context().ok_or(ConfigError::NoActive)?;
        named(name).ok_or_else(|| ConfigError::Dangling { kind: "", name: name.to_owned() })
    }

    /// The text of the file.
    pub(crate) fn text(&self) -> String {
        format!("{}\n", self.root)
    }

    /// Writes the file if anything changed: whole or not at all, readable by its owner only.
    pub(crate) fn save(&mut self) -> Result<(), ConfigError> {
        let text = self.text();
        if self.stored.as_ref() == Some(&text) {
            return Ok(());
        }
        // A link stays a link: what it points to is replaced.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        if self.is_explicit {
            fs::metadata(folder)
                .map_err(|error| ConfigError::NoFolder { path: path.clone(), error })?;
        } else {
            fs::create_dir_all(folder)
                .map_err(|error| ConfigError::Unwritable { path: path.clone(), error })?;
        }
        replace(folder, &path, &text)
            .or_else(|error| {
                // A file mounted into a container cannot be replaced, only overwritten. Any other
                // failure leaves the old file whole, and a new one is readable by its owner only.
                if is_mounted(&error) && path.exists() {
                    fs::write(&path, &text)
                } else {
                    Err(error)
                }
            })
            .map_err(|error| ConfigError::Unwritable { path: path.clone(), error })?;
        self.stored = Some(text);
        Ok(())
    }
}

/// Whether a file that cannot be replaced may still be written to.
fn is_mounted(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ResourceBusy
            | io::ErrorKind::CrossesDevices
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
    )
}

fn replace(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    let mut file =
        tempfile::Builder::new().prefix("pachyderm-config-").suffix(".json").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Reads a text in JSON or YAML.
fn document(text: &str) -> Result<Node, String> {
    serde_json::from_str(text).or_else(|error| {
        if text.starts_with('{') {
            // Whoever began JSON meant JSON, unless it is YAML all the same.
            return serde_saphyr::from_str(text)
                .map_err(|_| format!("yaml: line {}: {error}", error.line()));
        }
        serde_saphyr::from_str(text).map_err(|error| format!("yaml: {error}"))
    })
}

/// Reads the text and turns known keys in `camelCase` into `snake_case`.
fn parse(text: &str) -> Result<Node, String> {
    let mut root = document(text)?;
    rename(&mut root, |key| (key == "userId").then_some("user_id"));
    if let Some(mut v2) = root.get("v2").cloned() {
        rename(&mut v2, |key| match key {
            "activeContext" => Some("active_context"),
            "activeEnterpriseContext" => Some("active_enterprise_context"),
            "maxShellCompletions" => Some("max_shell_completions"),
            _ => None,
        });
        if let Some(Node::Map(mut contexts)) = v2.get("contexts").cloned() {
            for (name, context) in &mut contexts {
                rename(context, |key| canonical_key(key).filter(|name| *name != key));
                Context::read(context).map_err(|reason| format!("context {name:?}: {reason}"))?;
            }
            v2.set("contexts", Node::Map(contexts), |_| false);
        }
        root.set("v2", v2, |_| false);
    }
    match root {
        Node::Map(_) => Ok(root),
        _ => Err("the file does not hold an object".to_owned()),
    }
}

fn rename(node: &mut Node, new: impl Fn(&str) -> Option<&'static str>) {
    let Node::Map(entries) = node else { return };
    for (key, _) in entries {
        if let Some(name) = new(key) {
            name.clone_into(key);
        }
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
