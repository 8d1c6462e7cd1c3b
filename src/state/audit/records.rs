//! The audit log as records of a stored state, and back.

use std::sync::Arc;

use muster_proto::muster::log::v1::{AuditRecords, AuditState, record::Kind};

use super::chain::Link;
use super::window::Window;
use super::{Audit, Retention};
use crate::state::snapshot::{Chunks, LoadError, digest};
use crate::state::time::LogTime;

impl Audit {
    pub(in crate::state) fn records(&self) -> impl Iterator<Item = Kind> + Send + '_ {
        let own = AuditState {
            anchor_sequence: self.anchor.sequence,
            anchor_hash: self.anchor.hash.to_vec().into(),
            retention_records: self.retention.records,
            retention_seconds: self.retention.seconds,
            window_began_us: self.window.began.0,
            tallies: self.window.records(),
        };
        let records = Chunks::of(self.records.iter().map(|record| record.as_ref().clone()))
            .map(|records| Kind::AuditRecords(AuditRecords { records }));
        std::iter::once(Kind::Audit(own)).chain(records)
    }

    pub(in crate::state) fn load_state(&mut self, stored: AuditState) -> Result<(), LoadError> {
        self.anchor = Link {
            sequence: stored.anchor_sequence,
            hash: digest("anchor_hash", &stored.anchor_hash)?,
        };
        self.retention =
            Retention { records: stored.retention_records, seconds: stored.retention_seconds };
        self.window = Window::load(LogTime(stored.window_began_us), stored.tallies);
        Ok(())
    }

    /// Each record is checked against the one before it: a stored state whose audit log does not hold
    /// together is damaged.
    pub(in crate::state) fn load_records(&mut self, stored: AuditRecords) -> Result<(), LoadError> {
        let mut last = self.last();
        for record in stored.records {
            last = last.then(&record).map_err(|_| LoadError::OrderWrong("audit records"))?;
            self.records.push_back(Arc::new(record));
        }
        Ok(())
    }
}
