//! Joins the four layers: for each key its values and where they come from.

use std::collections::BTreeMap;
use std::fmt;

use super::keys::{Flags, KEYS, Key, Shape};
use super::secret::Secret;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The TOML file of this path.
    File(String),
    /// The variable of this name.
    Variable(String),
    /// The flag of this name.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "file {path}"),
            Origin::Variable(name) => write!(f, "variable {name}"),
            Origin::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// The joined settings, as text, not yet checked.
#[derive(Clone, Debug)]
pub struct Settings {
    values: BTreeMap<&'static str, (Vec<String>, Origin)>,
    /// Upstream's own variables, read for the bootstrap from the environment.
    pub(super) pachyderm: BTreeMap<&'static str, Secret>,
    /// Those of upstream's own variables that are set and change nothing.
    pub(super) without_effect: Vec<&'static str>,
    /// What is wrong already, before any value is looked at.
    pub(super) problems: Vec<String>,
}

/// Variables of Pachyderm's enterprise server that are understood.
const PACHYDERM: [&str; 9] = [
    "LICENSE_KEY",
    "ENTERPRISE_SECRET",
    "CLUSTER_DEPLOYMENT_ID",
    "ACTIVATE_AUTH",
    "AUTH_ROOT_TOKEN",
    "AUTH_CLUSTER_RBAC",
    "AUTH_CONFIG",
    "AUTH_CLIENT_SECRET",
    "SESSION_DURATION_MINUTES",
];

/// Variables of Pachyderm's enterprise server that set up what Muster has not: an identity provider of its own.
const WITHOUT_EFFECT: [&str; 7] = [
    "IDP_CONFIG",
    "IDP_CONNECTORS",
    "IDP_CLIENTS",
    "IDP_ADDITIONAL_CLIENTS",
    "TRUSTED_PEERS",
    "CONSOLE_OAUTH_ID",
    "DETERMINED_API_URL",
];

impl Settings {
    /// Joins defaults, the file that `flags` or `MUSTER_CONFIG` names, variables and flags. A file
    /// that cannot be read or a key that nobody knows is reported by [`super::Config::check`].
    pub fn join(flags: &Flags, variable: &dyn Fn(&str) -> Option<String>) -> Settings {
        let mut values = BTreeMap::new();
        let mut problems = Vec::new();
        for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
            values.insert(key.name, (vec![key.default.to_owned()], Origin::Default));
        }
        if let Some(path) = flags.file.clone().or_else(|| variable("MUSTER_CONFIG")) {
            for (name, found) in read_file(&path, &mut problems) {
                values.insert(name, (found, Origin::File(path.clone())));
            }
        }
        for key in KEYS {
            let name = variable_name(key);
            if let Some(text) = variable(&name).filter(|text| !text.is_empty()) {
                values.insert(key.name, (split(key, &text), Origin::Variable(name)));
            }
        }
        for (name, given) in &flags.given {
            values.insert(*name, (given.clone(), Origin::Flag((*name).to_owned())));
        }
        let set = |name: &&'static str| variable(name).filter(|text| !text.is_empty());
        let pachyderm = PACHYDERM
            .into_iter()
            .filter_map(|name| Some((name, Secret::new(set(&name)?))))
            .collect();
        let without_effect =
            WITHOUT_EFFECT.into_iter().filter(|name| set(name).is_some()).collect();
        Settings { values, pachyderm, without_effect, problems }
    }

    /// The values of a key, none if it is not set.
    pub(super) fn values(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], |(values, _)| values)
    }

    /// Where the values of a key come from.
    pub(super) fn origin(&self, name: &str) -> Origin {
        self.values.get(name).map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    /// Every setting as a line of TOML with its origin behind it; secrets are masked.
    pub fn print(&self) -> String {
        let mut lines = Vec::new();
        for key in KEYS {
            let Some((values, origin)) = self.values.get(key.name) else {
                lines.push(format!("# {} is not set", key.name));
                continue;
            };
            let shown: Vec<String> = values.iter().map(|value| show(key, value)).collect();
            let shown = match key.shape {
                Shape::Many => format!("[{}]", shown.join(", ")),
                Shape::One | Shape::Switch => shown.join(", "),
            };
            lines.push(format!("{} = {shown}  # {origin}", key.name));
        }
        for name in self.pachyderm.keys() {
            lines.push(format!("# {name} is set in the environment"));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

fn show(key: &Key, value: &str) -> String {
    if key.secret {
        return "\"(secret)\"".to_owned();
    }
    match key.shape {
        Shape::Switch => value.to_owned(),
        Shape::One | Shape::Many => toml::Value::String(value.to_owned()).to_string(),
    }
}

fn variable_name(key: &Key) -> String {
    format!("MUSTER_{}", key.name.replace('-', "_").to_uppercase())
}

fn split(key: &Key, text: &str) -> Vec<String> {
    match key.shape {
        Shape::Many => text.split(',').map(|part| part.trim().to_owned()).collect(),
        Shape::One | Shape::Switch => vec![text.to_owned()],
    }
}

fn read_file(path: &str, problems: &mut Vec<String>) -> Vec<(&'static str, Vec<String>)> {
    let table = std::fs::read_to_string(path)
        .map_err(|error| format!("{path}: cannot be read: {error}"))
        .and_then(|text| {
            text.parse::<toml::Table>()
                .map_err(|error| format!("{path}: {}", no_toml(&text, &error)))
        });
    let table = match table {
        Ok(table) => table,
        Err(problem) => {
            problems.push(problem);
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for (name, value) in table {
        match KEYS.iter().find(|key| key.name == name) {
            None => problems.push(format!("{path}: {name}: there is no such setting")),
            Some(key) => match texts(&value) {
                Some(texts) => found.push((key.name, texts)),
                None => {
                    problems.push(format!("{path}: {name}: takes a text, number, switch or list"));
                }
            },
        }
    }
    found
}

/// What is wrong and where, without the line itself: it may hold a secret.
fn no_toml(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    format!("line {line}: is no TOML: {}", error.message())
}

fn texts(value: &toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text.clone()]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(on) => Some(vec![on.to_string()]),
        toml::Value::Array(items) => {
            items.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_toml_is_told_by_its_line_and_not_by_its_text() {
        let text = "name = \"a\"\nbootstrap-token = \"hush hush\n";
        let told = no_toml(text, &text.parse::<toml::Table>().unwrap_err());
        assert!(told.starts_with("line 2: "), "{told}");
        assert!(!told.contains("hush"), "{told}");
    }
}
