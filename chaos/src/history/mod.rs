//! What clients asked and were told, in simulated and in real groups alike, as JSON lines; and two
//! checkers that judge it. Pure, but for the reading and writing of the lines: see README.md.

mod certificate;
mod check;
mod events;
mod lines;
mod model;
#[cfg(test)]
mod pruning;
#[cfg(test)]
mod tests;
mod wgl;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) use check::{Checked, Judgement, check};
pub(crate) use lines::{read, write};

/// The key of the one license.
pub(crate) const LICENSE: &str = "license";
/// The key of what concerns all keys.
pub(crate) const ALL: &str = "*";

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// Does one operation at a time; after an `info` its number is not used again.
    pub(crate) process: u64,
    #[serde(rename = "type")]
    pub(crate) phase: Phase,
    pub(crate) op: Op,
    /// The id of a cluster, [`LICENSE`] or [`ALL`].
    pub(crate) key: String,
    pub(crate) value: Value,
    /// Microseconds on one clock that never runs back.
    pub(crate) time: u64,
    /// Of an `ok`: the place in the log that the answer was given at. Of an `info`, if the log was
    /// looked at afterwards: where the operation is in it, 0 for nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<u64>,
    /// The name of the request, when it may be asked again under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<String>,
}

/// The moments of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    Invoke,
    /// It was answered, by a yes or a no of the rules.
    Ok,
    /// It certainly did not happen and never will.
    Fail,
    /// Nobody knows.
    Info,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Op {
    Add,
    Update,
    Delete,
    Beat,
    /// All clusters, and the license where its value names a code.
    List,
    Activate,
    License,
    /// Removes the license and every cluster.
    Clear,
}

/// What is asked with, of an `invoke`, or answered, of an `ok`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Value {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// Tells one license from the next; empty for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rows: Option<BTreeMap<String, Row>>,
}

/// What the rules said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Done,
    /// The id is registered already.
    Taken,
    /// There is no such cluster.
    Unknown,
    /// Id and secret do not belong together.
    Invalid,
    /// The license forbids it: there is none, or it is over, or used up.
    Unlicensed,
}

/// A cluster in a list; what a list does not show is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Row {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
}
