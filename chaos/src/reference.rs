//! The fleet in fifty lines, to judge the answers of Muster's state without trusting it. REF-1: every
//! answer is the one that these few rules give.

use std::collections::BTreeMap;

use bytes::Bytes;
use muster_proto::muster::log::v1::{
    BeatOutcome, Command, License, RejectionKind, Reply, command::Kind, reply,
};
use prost::Message as _;

use crate::invariants::{Violation, require};

/// The secrets of one cluster: the current one, and the one before while it still serves.
#[derive(Clone, Debug, Default)]
struct Secrets {
    current: Bytes,
    previous: Option<Bytes>,
}

/// Everything that the rules need to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reference {
    license: Option<License>,
    clusters: BTreeMap<String, Secrets>,
    /// Id and secret of the cluster that is the server itself, which no license counts.
    own: Option<(String, Bytes)>,
    answered: BTreeMap<String, Bytes>,
}

/// What an answer says, without its details.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Gist {
    Done,
    Activated,
    Gate,
    Beats(Vec<BeatOutcome>),
    Rejected(RejectionKind),
}

impl Reference {
    /// Judges the answer to `command` in an entry of log time `now`, microseconds.
    pub(crate) fn judge(
        &mut self,
        command: Command,
        now: u64,
        answer: &Bytes,
    ) -> Result<(), Violation> {
        if let Some(first) = self.answered.get(&command.request_id) {
            return require(first == answer, "REF-1", || {
                format!("{} was asked again and answered otherwise", command.request_id)
            });
        }
        // What is about auth alone is judged elsewhere.
        let Some(expected) = self.perform(&command, now) else { return Ok(()) };
        let found = gist(answer);
        require(found.as_ref() == Some(&expected), "REF-1", || {
            format!("{command:?} was answered {found:?} instead of {expected:?}")
        })?;
        if !command.request_id.is_empty() && !matches!(found, Some(Gist::Rejected(_))) {
            self.answered.insert(command.request_id, answer.clone());
        }
        Ok(())
    }

    fn perform(&mut self, command: &Command, now: u64) -> Option<Gist> {
        Some(match command.kind.as_ref()? {
            Kind::ActivateLicense(it) => {
                self.license.clone_from(&it.license);
                Gist::Activated
            }
            Kind::RemoveLicenseAndClusters(_) => {
                self.license = None;
                self.clusters.clear();
                Gist::Done
            }
            Kind::AddCluster(it) => {
                let max = self.license.as_ref().and_then(|license| license.max_clusters);
                let own = self.own.as_ref().is_some_and(|(id, _)| self.clusters.contains_key(id));
                let counted = self.clusters.len() as u64 - u64::from(own);
                let full = max.is_some_and(|max| counted >= max);
                if !self.licensed(now) {
                    Gist::Rejected(RejectionKind::LicenseNotActive)
                } else if self.clusters.contains_key(&it.id) {
                    Gist::Rejected(RejectionKind::ClusterIdTaken)
                } else if full {
                    Gist::Rejected(RejectionKind::LicensedClustersExhausted)
                } else {
                    let secrets = Secrets { current: it.secret_digest.clone(), previous: None };
                    self.clusters.insert(it.id.clone(), secrets);
                    Gist::Done
                }
            }
            Kind::UpdateCluster(it) => match self.clusters.get_mut(&it.id) {
                None => Gist::Rejected(RejectionKind::ClusterUnknown),
                Some(secrets) => {
                    let changes = !it.secret_digest.is_empty();
                    if changes && secrets.current != it.secret_digest {
                        let before = secrets.current.clone();
                        *secrets =
                            Secrets { current: it.secret_digest.clone(), previous: Some(before) };
                    }
                    Gist::Done
                }
            },
            Kind::DeleteCluster(it) => {
                self.clusters.remove(&it.id);
                Gist::Done
            }
            Kind::RecordHeartbeats(it) => Gist::Beats(
                it.beats.iter().map(|beat| self.beat(&beat.id, &beat.secret_digest)).collect(),
            ),
            Kind::ActivateEnterprise(it) => {
                let beat = it.beat.as_ref()?;
                match self.beat(&beat.id, &beat.secret_digest) {
                    BeatOutcome::Recorded => {
                        self.own = Some((beat.id.clone(), beat.secret_digest.clone()));
                        Gist::Done
                    }
                    BeatOutcome::LicenseAbsent => Gist::Rejected(RejectionKind::LicenseAbsent),
                    _ => Gist::Rejected(RejectionKind::IdOrSecretInvalid),
                }
            }
            Kind::HeartbeatEnterprise(_) => match self.own.clone() {
                None => Gist::Rejected(RejectionKind::EnterpriseNotActivated),
                Some((id, secret)) => match self.beat(&id, &secret) {
                    BeatOutcome::LicenseAbsent => Gist::Rejected(RejectionKind::LicenseAbsent),
                    _ => Gist::Gate,
                },
            },
            _ => return None,
        })
    }

    fn beat(&mut self, id: &str, shown: &Bytes) -> BeatOutcome {
        let has_license = self.license.is_some();
        let Some(secrets) = self.clusters.get_mut(id) else {
            return BeatOutcome::IdOrSecretInvalid;
        };
        if secrets.current != *shown && secrets.previous.as_ref() != Some(shown) {
            return BeatOutcome::IdOrSecretInvalid;
        }
        if !has_license {
            return BeatOutcome::LicenseAbsent;
        }
        if secrets.current == *shown {
            secrets.previous = None;
        }
        BeatOutcome::Recorded
    }

    fn licensed(&self, now: u64) -> bool {
        let expires = self.license.as_ref().and_then(|license| license.expires);
        let seconds = expires.and_then(|expires| u64::try_from(expires.seconds).ok());
        seconds.is_some_and(|seconds| now <= seconds.saturating_mul(1_000_000))
    }
}

fn gist(answer: &Bytes) -> Option<Gist> {
    Some(match Reply::decode(answer.clone()).ok()?.kind? {
        reply::Kind::Done(_) => Gist::Done,
        reply::Kind::LicenseActivated(_) => Gist::Activated,
        reply::Kind::EnterpriseState(_) => Gist::Gate,
        reply::Kind::HeartbeatsRecorded(it) => Gist::Beats(it.outcomes().collect()),
        reply::Kind::Rejected(it) => Gist::Rejected(it.kind()),
        _ => return None,
    })
}
