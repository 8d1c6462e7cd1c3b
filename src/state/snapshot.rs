//! The whole state as records, and back.

use std::sync::Arc;

use muster_hooks::mutant;
use muster_proto::muster::log::v1::{
    AnswerRecord, AnswerRecords, ClusterRecord, ClusterRecords, EnterpriseRecord, Record,
    ServerRecord, Summary, record::Kind,
};
use prost::Message;
use sha2::{Digest as _, Sha256};

use crate::state::config::Server;
use crate::state::enterprise::{Enterprise, Membership};
use crate::state::fleet::{Cluster, Fleet, PreviousSecret};
use crate::state::license::Licensing;
use crate::state::requests::{Answer, Answers};
use crate::state::secret::Digest;
use crate::state::time::LogTime;
use crate::state::{State, limits};

/// Of the records; a reader refuses another one.
pub const FORMAT: u32 = 1;

/// Why records do not make a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The first record does not say what follows, or a later one does again.
    #[error("the summary record is absent or not the first")]
    SummaryMisplaced,
    /// Written by a newer Muster.
    #[error("format {0} of the stored state is not known")]
    FormatUnknown(u32),
    /// A record of a kind that is not known.
    #[error("a record of the stored state is of an unknown kind")]
    KindUnknown,
    /// The summary counts other things than there are.
    #[error("the stored state holds {found} {what} where {expected} are announced")]
    CountWrong {
        /// Which things.
        what: &'static str,
        /// As announced.
        expected: u64,
        /// As read.
        found: u64,
    },
    /// Keys do not rise.
    #[error("the {0} of the stored state are not in order")]
    OrderWrong(&'static str),
    /// A part is missing or has a wrong size.
    #[error("the field {0} of the stored state is damaged")]
    FieldDamaged(&'static str),
}

impl State {
    /// All records, each below 1 MiB, in an order and cut that only the content decides.
    pub fn records(&self) -> impl Iterator<Item = Record> + Send + '_ {
        let summary = Summary {
            format: FORMAT,
            time_us: self.time.0,
            clusters: count(self.fleet.len()),
            answers: count(self.answers.len()),
            index: self.index,
            binding_entries: count(self.auth.bindings().size()),
            tokens: count(self.auth.tokens().len()),
            memberships: count(self.auth.groups().size()),
            logins: count(self.auth.logins().len()),
            strays: count(self.quarantine.len()),
            audit_records: count(self.audit.len()),
            revocations: count(self.auth.tokens().revocations_len()),
        };
        let license = self.licensing.record().map(|license| license.as_ref().clone());
        let server = ServerRecord {
            cluster_id: self.server.cluster_id.clone(),
            deployment_id: self.server.deployment_id.clone(),
        };
        let enterprise = self.enterprise.membership().map(enterprise_record);
        let clusters = Chunks::of(self.fleet.iter().map(|(id, it)| cluster_record(id, it)))
            .map(|clusters| Kind::Clusters(ClusterRecords { clusters }));
        let answers = Chunks::of(self.answers.iter().map(|(key, it)| answer_record(key, it)))
            .map(|answers| Kind::Answers(AnswerRecords { answers }));
        std::iter::once(Kind::Summary(summary))
            .chain(license.map(Kind::License))
            .chain(enterprise.map(Kind::Enterprise))
            .chain(std::iter::once(Kind::Server(server)))
            .chain(clusters)
            .chain(answers)
            .chain(self.auth.records())
            .chain(self.quarantine.records())
            .chain(self.audit.records())
            .map(|kind| Record { kind: Some(kind) })
    }

    /// The state that gave these records.
    ///
    /// # Errors
    ///
    /// When they are not complete, not in order or not of this format.
    pub fn from_records(records: impl IntoIterator<Item = Record>) -> Result<State, LoadError> {
        let mut records = records.into_iter();
        let Some(Kind::Summary(summary)) = records.next().and_then(|record| record.kind) else {
            return Err(LoadError::SummaryMisplaced);
        };
        if summary.format != FORMAT {
            return Err(LoadError::FormatUnknown(summary.format));
        }
        let mut state =
            State { index: summary.index, time: LogTime(summary.time_us), ..State::default() };
        for record in records {
            state.load(record.kind.ok_or(LoadError::KindUnknown)?)?;
        }
        check_count("clusters", summary.clusters, state.fleet.len())?;
        check_count("answers", summary.answers, state.answers.len())?;
        let auth = &state.auth;
        check_count("binding entries", summary.binding_entries, auth.bindings().size())?;
        check_count("tokens", summary.tokens, auth.tokens().len())?;
        check_count("revocations", summary.revocations, auth.tokens().revocations_len())?;
        if !auth.tokens().are_revocations_sound(summary.index) {
            return Err(LoadError::FieldDamaged("revocations"));
        }
        check_count("memberships", summary.memberships, auth.groups().size())?;
        check_count("logins", summary.logins, auth.logins().len())?;
        check_count("strays", summary.strays, state.quarantine.len())?;
        check_count("audit records", summary.audit_records, state.audit.len())?;
        Ok(state)
    }

    fn load(&mut self, kind: Kind) -> Result<(), LoadError> {
        match kind {
            Kind::Summary(_) => return Err(LoadError::SummaryMisplaced),
            Kind::License(license) => self.licensing.set(Arc::new(license)),
            Kind::Enterprise(record) => {
                load_enterprise(&mut self.enterprise, &self.licensing, record)?;
            }
            Kind::Server(record) => {
                self.server =
                    Server { cluster_id: record.cluster_id, deployment_id: record.deployment_id };
            }
            Kind::Clusters(records) => load_clusters(&mut self.fleet, &records.clusters)?,
            Kind::Answers(records) => load_answers(&mut self.answers, records.answers)?,
            Kind::AuthConfiguration(it) => self.auth.load_configuration(it),
            Kind::Bindings(records) => self.auth.load_bindings(records)?,
            Kind::Tokens(records) => self.auth.load_tokens(records)?,
            Kind::Memberships(records) => self.auth.load_memberships(records),
            Kind::Logins(records) => self.auth.load_logins(records)?,
            Kind::Quarantine(record) => self.quarantine.load(&record),
            Kind::Strays(records) => self.quarantine.load_strays(records)?,
            Kind::Audit(it) => self.audit.load_state(it)?,
            Kind::AuditRecords(records) => self.audit.load_records(records)?,
            Kind::Revocations(records) => self.auth.load_revocations(records)?,
        }
        Ok(())
    }

    /// SHA-256 over what the state holds, whatever its place in a log and whether it was restored: equal
    /// for a state and the one that it became in another group.
    pub fn content(&self) -> Digest {
        let is_content = |record: &Record| {
            !matches!(
                record.kind,
                Some(Kind::Summary(_) | Kind::Quarantine(_) | Kind::Strays(_)) | None
            )
        };
        let mut hash = Sha256::new();
        for record in self.records().filter(is_content) {
            hash.update(record.encode_length_delimited_to_vec());
        }
        hash.finalize().into()
    }

    /// SHA-256 over all records: equal on replicas that applied the same entries.
    pub fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        for record in self.records() {
            hash.update(record.encode_length_delimited_to_vec());
        }
        hash.finalize().into()
    }
}

/// Gathers items until they reach the size that a record aims at.
pub(super) struct Chunks<I> {
    items: I,
}

impl<I> Chunks<I> {
    pub(super) fn of(items: I) -> Chunks<I> {
        Chunks { items }
    }
}

impl<I: Iterator<Item: Message>> Iterator for Chunks<I> {
    type Item = Vec<I::Item>;

    fn next(&mut self) -> Option<Vec<I::Item>> {
        let mut chunk = Vec::new();
        let mut bytes = 0;
        while bytes < limits::RECORD_BYTES_AIM
            && let Some(item) = self.items.next()
        {
            bytes += item.encoded_len();
            chunk.push(item);
        }
        (!chunk.is_empty()).then_some(chunk)
    }
}

fn enterprise_record(membership: &Membership) -> EnterpriseRecord {
    EnterpriseRecord {
        license_server: membership.license_server.clone(),
        id: membership.id.clone(),
        secret_digest: membership.secret.to_vec().into(),
        license: membership.license.as_deref().cloned(),
        heartbeat_failed: membership.license.is_none(),
        last_heartbeat_us: membership.last_heartbeat.0,
        secret_sealed: membership.secret_sealed.clone(),
    }
}

fn load_enterprise(
    enterprise: &mut Enterprise,
    licensing: &Licensing,
    record: EnterpriseRecord,
) -> Result<(), LoadError> {
    if record.heartbeat_failed != record.license.is_none() {
        return Err(LoadError::FieldDamaged("heartbeat_failed"));
    }
    // Almost always the same license as the fleet's; then it is kept once.
    let license = record.license.map(|license| match licensing.record() {
        Some(stored) if **stored == license => Arc::clone(stored),
        _ => Arc::new(license),
    });
    enterprise.set(Membership {
        license_server: record.license_server,
        id: record.id,
        last_heartbeat: LogTime(record.last_heartbeat_us),
        secret: digest("secret_digest", &record.secret_digest)?,
        license,
        secret_sealed: record.secret_sealed,
    });
    Ok(())
}

fn cluster_record(id: &str, cluster: &Cluster) -> ClusterRecord {
    let previous = cluster.previous.as_deref().filter(|_| !mutant!(PreviousForgotten));
    ClusterRecord {
        id: id.to_owned(),
        address: cluster.address.as_ref().to_owned(),
        user_address: cluster.user_address.as_ref().to_owned(),
        cluster_deployment_id: cluster.deployment_id.as_ref().to_owned(),
        enterprise_server: cluster.enterprise_server,
        secret_digest: cluster.secret.to_vec().into(),
        previous_secret_digest: previous
            .map(|previous| previous.secret.to_vec().into())
            .unwrap_or_default(),
        previous_until_us: previous.map_or(0, |previous| previous.until.0),
        created_at_us: cluster.created_at.0,
        last_heartbeat_us: cluster.last_heartbeat.0,
        version: cluster.version.as_ref().to_owned(),
        auth_enabled: cluster.auth_enabled,
        client_id: cluster.client_id.as_ref().to_owned(),
    }
}

fn load_clusters(fleet: &mut Fleet, records: &[ClusterRecord]) -> Result<(), LoadError> {
    for record in records {
        if fleet.last_id().is_some_and(|last| last >= record.id.as_str()) {
            return Err(LoadError::OrderWrong("clusters"));
        }
        fleet.insert(&record.id, cluster(record)?);
    }
    Ok(())
}

fn cluster(record: &ClusterRecord) -> Result<Cluster, LoadError> {
    let previous = match record.previous_secret_digest.as_ref() {
        [] => None,
        bytes => Some(Box::new(PreviousSecret {
            secret: digest("previous_secret_digest", bytes)?,
            until: LogTime(record.previous_until_us),
        })),
    };
    let address: Arc<str> = Arc::from(record.address.as_str());
    Ok(Cluster {
        user_address: if record.user_address == record.address {
            Arc::clone(&address)
        } else {
            Arc::from(record.user_address.as_str())
        },
        address,
        deployment_id: Arc::from(record.cluster_deployment_id.as_str()),
        client_id: Arc::from(record.client_id.as_str()),
        version: Arc::from(record.version.as_str()),
        created_at: LogTime(record.created_at_us),
        last_heartbeat: LogTime(record.last_heartbeat_us),
        auth_enabled: record.auth_enabled,
        enterprise_server: record.enterprise_server,
        secret: digest("secret_digest", &record.secret_digest)?,
        previous,
    })
}

fn answer_record(key: &Digest, answer: &Answer) -> AnswerRecord {
    AnswerRecord {
        key: key.to_vec().into(),
        question: answer.question.to_vec().into(),
        reply: Some(answer.reply.clone()),
        answered_us: answer.at.0,
    }
}

fn load_answers(answers: &mut Answers, records: Vec<AnswerRecord>) -> Result<(), LoadError> {
    for record in records {
        answers.push(
            digest("key", &record.key)?,
            Answer {
                question: digest("question", &record.question)?,
                reply: record.reply.ok_or(LoadError::FieldDamaged("reply"))?,
                at: LogTime(record.answered_us),
            },
        );
    }
    Ok(())
}

pub(super) fn digest(field: &'static str, bytes: &[u8]) -> Result<Digest, LoadError> {
    Digest::try_from(bytes).map_err(|_| LoadError::FieldDamaged(field))
}

fn check_count(what: &'static str, expected: u64, found: usize) -> Result<(), LoadError> {
    let found = count(found);
    if expected == found { Ok(()) } else { Err(LoadError::CountWrong { what, expected, found }) }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
