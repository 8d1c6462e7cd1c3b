//! What is written down of what happens: events and the audit log.

use std::path::PathBuf;
use std::time::Duration;

use super::Check;
use crate::config::resolved::Audit;
use crate::config::values;
use crate::state::limits::AUDIT_RECORDS_MAX;
use crate::telemetry::{LogFormat, LogOptions};

impl Check<'_> {
    pub(super) fn audit(&mut self) -> Option<Audit> {
        let (records, age) = (self.parsed("audit-records"), self.read("audit-age", values::span));
        let (file_bytes, files) = (self.parsed("audit-file-bytes"), self.parsed("audit-files"));
        let audit = Audit {
            records: records?,
            age: age?,
            file: self.text("audit-file").map(PathBuf::from),
            file_bytes: file_bytes?,
            files: files?,
        };
        if !(1..=AUDIT_RECORDS_MAX).contains(&audit.records) {
            let what = format!("must be between 1 and {AUDIT_RECORDS_MAX}");
            self.problem("audit-records", &what);
        }
        if audit.age < Duration::from_secs(1) {
            self.problem("audit-age", "must be at least a second");
        }
        if audit.file_bytes == 0 {
            self.problem("audit-file-bytes", "must be at least 1");
        }
        Some(audit)
    }

    pub(super) fn log(&mut self) -> Option<LogOptions> {
        let format = self.read("log-format", |text| match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("is neither text nor json".to_owned()),
        });
        let level = self.read("log-level", |text| match LogOptions::check_level(text) {
            Ok(()) => Ok(text.to_owned()),
            Err(error) => Err(format!("does not choose events: {error}")),
        });
        Some(LogOptions { format: format?, level: level? })
    }
}
