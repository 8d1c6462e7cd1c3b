//! All records of a server in their order, as they come.

use muster_proto::muster::log::v1 as log;
use muster_proto::muster::v1::{AuditAnchor, AuditRecord, ExportAuditRequest, ExportAuditResponse};
use tonic::Streaming;

use crate::audit::Line;
use crate::cli::output::Failure;
use crate::cli::pachctl::connect::Server;
use crate::cli::remote::refused;
use crate::state::audit::chain::Link;
use crate::state::secret::Digest;

/// An export on its way.
pub(super) struct Walk {
    stream: Streaming<ExportAuditResponse>,
    /// What the next record continues, by the records' own word.
    pub(super) last: Link,
    first: Option<Vec<AuditRecord>>,
}

impl Walk {
    pub(super) async fn begin(server: &Server, after: u64) -> Result<Walk, Failure> {
        let request = ExportAuditRequest { after_sequence: after.saturating_sub(1) };
        let answer = server.call(server.audit().export(request)).await;
        let stream = answer.map_err(|status| refused(server, WHAT, &status))?;
        let mut walk = Walk { stream, last: Link::default(), first: None };
        let message = walk.message(server).await?.unwrap_or_default();
        walk.last = anchor(message.anchor.as_ref());
        let mut records = message.records;
        // One more was asked for: the first record of the export continues it.
        if after > walk.last.sequence
            && let Some(before) = records.first().map(|it| link_of(&of_wire(it)))
        {
            walk.last = before;
            records.remove(0);
        }
        walk.first = Some(records);
        Ok(walk)
    }

    pub(super) async fn next(&mut self, server: &Server) -> Result<Option<Vec<Line>>, Failure> {
        let records = match self.first.take() {
            Some(records) => records,
            None => match self.message(server).await? {
                Some(message) => message.records,
                None => return Ok(None),
            },
        };
        let mut lines = Vec::new();
        for record in records {
            let record = of_wire(&record);
            let previous = self.last.hash;
            self.last = link_of(&record);
            lines.push(Line { record, previous });
        }
        Ok(Some(lines))
    }

    async fn message(&mut self, server: &Server) -> Result<Option<ExportAuditResponse>, Failure> {
        self.stream.message().await.map_err(|status| refused(server, WHAT, &status))
    }
}

const WHAT: &str = "cannot export the audit log of";

fn anchor(anchor: Option<&AuditAnchor>) -> Link {
    anchor.map_or(Link::default(), |it| Link {
        sequence: it.sequence,
        hash: Digest::try_from(it.hash.as_slice()).unwrap_or_default(),
    })
}

pub(super) fn link_of(record: &log::AuditRecord) -> Link {
    let hash = Digest::try_from(record.hash.as_ref()).unwrap_or_default();
    Link { sequence: record.sequence, hash }
}

/// The record as it is hashed.
fn of_wire(record: &AuditRecord) -> log::AuditRecord {
    let time = record.time.unwrap_or_default();
    let seconds = u64::try_from(time.seconds).unwrap_or(0);
    let micros = u64::try_from(time.nanos / 1000).unwrap_or(0);
    log::AuditRecord {
        sequence: record.sequence,
        time_us: seconds.saturating_mul(1_000_000).saturating_add(micros),
        index: record.index,
        principal: record.principal.clone(),
        peer: record.peer.clone(),
        rpc: record.rpc.clone(),
        resource: record.resource.clone(),
        refusal: record.refusal.clone(),
        request_id: record.request_id.clone(),
        count: record.count,
        hash: record.hash.clone().into(),
    }
}
