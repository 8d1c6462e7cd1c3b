//! The rules of one key, as few as will do. A cluster's rules ask for the license too, which is another
//! key: a no on its account is always believed, and changes nothing.

use super::{Outcome, Row};

/// The version of a cluster that has not beaten yet.
const NEVER_BEATEN: &str = "unknown";

/// What may be done to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Add {
        secret: String,
        row: Row,
    },
    Update {
        secret: Option<String>,
        row: Row,
    },
    Delete,
    Beat {
        secret: String,
        version: Option<String>,
    },
    Activate {
        code: String,
    },
    /// Shows the cluster, or that there is none.
    Look(Option<Row>),
    /// Shows the code of the license, empty for none.
    LookLicense(String),
}

impl Action {
    /// Whether it only looks.
    pub(super) fn looks(&self) -> bool {
        matches!(self, Action::Look(_) | Action::LookLicense(_))
    }
}

/// What one key holds: a cluster or a license.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct State {
    cluster: Option<Cluster>,
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cluster {
    secret: String,
    previous: Option<String>,
    row: Row,
}

impl State {
    /// The state after `action`, if it can have had this outcome; any, if none is known.
    pub(super) fn after(&self, action: &Action, outcome: Option<Outcome>) -> Option<State> {
        if outcome == Some(Outcome::Unlicensed) {
            return matches!(action, Action::Add { .. } | Action::Beat { .. })
                .then(|| self.clone());
        }
        let mut state = self.clone();
        let found = state.perform(action)?;
        outcome.is_none_or(|outcome| outcome == found).then_some(state)
    }

    /// Does it; none if a look shows something else than there is.
    fn perform(&mut self, action: &Action) -> Option<Outcome> {
        Some(match action {
            Action::Add { .. } if self.cluster.is_some() => Outcome::Taken,
            Action::Add { secret, row } => {
                let mut shown = Row { version: Some(NEVER_BEATEN.to_owned()), ..Row::default() };
                shown.take(row);
                self.cluster = Some(Cluster { secret: secret.clone(), previous: None, row: shown });
                Outcome::Done
            }
            Action::Update { secret, row } => match &mut self.cluster {
                None => Outcome::Unknown,
                Some(cluster) => {
                    if let Some(secret) = secret
                        && *secret != cluster.secret
                    {
                        let before = std::mem::replace(&mut cluster.secret, secret.clone());
                        cluster.previous = Some(before);
                    }
                    cluster.row.take(row);
                    Outcome::Done
                }
            },
            Action::Delete => {
                *self = State::default();
                Outcome::Done
            }
            Action::Beat { secret, version } => match &mut self.cluster {
                Some(cluster) if cluster.knows(secret) => {
                    if cluster.secret == *secret {
                        cluster.previous = None;
                    }
                    cluster.row.version.clone_from(version);
                    Outcome::Done
                }
                _ => Outcome::Invalid,
            },
            Action::Activate { code } => {
                self.code.clone_from(code);
                Outcome::Done
            }
            Action::Look(row) => {
                let is_so = match (row, &self.cluster) {
                    (None, None) => true,
                    (Some(row), Some(cluster)) => cluster.row.shows(row),
                    _ => false,
                };
                return is_so.then_some(Outcome::Done);
            }
            Action::LookLicense(code) => return (*code == self.code).then_some(Outcome::Done),
        })
    }
}

impl Cluster {
    fn knows(&self, secret: &String) -> bool {
        self.secret == *secret || self.previous.as_ref() == Some(secret)
    }
}

impl Row {
    /// Takes over the fields that are there and not empty.
    fn take(&mut self, from: &Row) {
        let fields = [
            (&mut self.address, &from.address),
            (&mut self.user_address, &from.user_address),
            (&mut self.version, &from.version),
        ];
        for (mine, theirs) in fields {
            if theirs.as_ref().is_some_and(|text| !text.is_empty()) {
                mine.clone_from(theirs);
            }
        }
    }

    /// Whether a list that shows `row` shows this. What is not set is shown empty.
    fn shows(&self, row: &Row) -> bool {
        let fields = [
            (&self.address, &row.address),
            (&self.user_address, &row.user_address),
            (&self.version, &row.version),
        ];
        fields.into_iter().all(|(held, shown)| {
            shown.as_ref().is_none_or(|shown| held.as_deref().unwrap_or_default() == shown)
        })
    }
}
