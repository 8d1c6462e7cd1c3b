//! `muster.v1.Audit`: who did what, for whoever may read the server's logs.

use std::pin::Pin;

use futures::Stream;
use muster_proto::auth_v2::Permission;
use muster_proto::muster::log::v1 as log;
use muster_proto::muster::v1::audit_server;
use muster_proto::muster::v1::{
    AuditAnchor, AuditOutcome, AuditRecord, ExportAuditRequest, ExportAuditResponse,
    ListAuditRequest, ListAuditResponse,
};
use tonic::{Request, Response, Status};

use super::caller::Desk;
use crate::actors::{Call, CallError, Reader};
use crate::state::access::Need;
use crate::state::audit::Audit;
use crate::state::audit::chain::Link;
use crate::state::{LogTime, State};

/// Records on one page, when the client says nothing or too much.
const PAGE_MAX: usize = 1000;

/// Records in one message of an export.
const MESSAGE_RECORDS: u64 = 500;

/// The service.
#[derive(Clone)]
pub(super) struct AuditService {
    pub(super) reader: Reader,
    pub(super) desk: Desk,
}

impl AuditService {
    /// The state with everything acknowledged before, if the caller may see who did what: the audit log
    /// is one of the server's logs, and an auditor needs no power over anything.
    async fn view(&self, call: &Call) -> Result<State, Status> {
        let view = self.reader.current(call.deadline).await?;
        let need = Need::PermissionIfOn(Permission::ClusterGetPachdLogs);
        let judged = view.require(Some(&call.caller), need, self.desk.now());
        judged.map_err(CallError::Rejected)?;
        Ok(view)
    }
}

#[tonic::async_trait]
impl audit_server::Audit for AuditService {
    async fn list(
        &self,
        request: Request<ListAuditRequest>,
    ) -> Result<Response<ListAuditResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        let view = self.view(&call).await?;
        Ok(Response::new(page(view.audit(), &request.into_inner())))
    }

    type ExportStream =
        Pin<Box<dyn Stream<Item = Result<ExportAuditResponse, Status>> + Send + 'static>>;

    async fn export(
        &self,
        request: Request<ExportAuditRequest>,
    ) -> Result<Response<Self::ExportStream>, Status> {
        let (place, call) = self.desk.open(&request)?;
        let view = self.view(&call).await?;
        let after = request.into_inner().after_sequence;
        // One view for all messages: what is written meanwhile comes with the next export.
        let messages = messages(view.audit().clone(), after).map(move |message| {
            // Held until the last message is on its way.
            let _place = &place;
            Ok(message)
        });
        Ok(Response::new(Box::pin(futures::stream::iter(messages))))
    }
}

fn messages(audit: Audit, after: u64) -> impl Iterator<Item = ExportAuditResponse> + Send {
    let last = audit.last().sequence;
    let mut next = after.max(audit.anchor().sequence).saturating_add(1);
    let mut anchor = Some(on_wire(audit.anchor()));
    std::iter::from_fn(move || {
        if next > last && anchor.is_none() {
            return None;
        }
        let end = next.saturating_add(MESSAGE_RECORDS).min(last.saturating_add(1));
        let records = (next..end).filter_map(|number| audit.get(number).map(|it| listed(it)));
        let message = ExportAuditResponse { anchor: anchor.take(), records: records.collect() };
        next = end.max(next);
        Some(message)
    })
}

fn page(audit: &Audit, asked: &ListAuditRequest) -> ListAuditResponse {
    let size = match usize::try_from(asked.page_size) {
        Ok(0) | Err(_) => PAGE_MAX,
        Ok(size) => size.min(PAGE_MAX),
    };
    let newest = audit.last().sequence;
    let before = if asked.page_token == 0 { newest.saturating_add(1) } else { asked.page_token };
    let numbers =
        (audit.anchor().sequence.saturating_add(1)..before.min(newest.saturating_add(1))).rev();
    let mut matching = numbers
        .filter_map(|number| audit.get(number))
        .take_while(|record| is_since(record, asked))
        .filter(|record| is_wanted(record, asked));
    let records: Vec<AuditRecord> = matching.by_ref().take(size).map(|it| listed(it)).collect();
    let next_page_token = match (matching.next(), records.last()) {
        (Some(_), Some(last)) => last.sequence,
        _ => 0,
    };
    ListAuditResponse {
        records,
        next_page_token,
        total: u64::try_from(audit.len()).unwrap_or(u64::MAX),
        anchor: Some(on_wire(audit.anchor())),
    }
}

/// Whether it is not too old; all before it are older still.
fn is_since(record: &log::AuditRecord, asked: &ListAuditRequest) -> bool {
    let Some(since) = &asked.since else { return true };
    let time = LogTime(record.time_us).on_wire().unwrap_or_default();
    (time.seconds, time.nanos) >= (since.seconds, since.nanos)
}

fn is_wanted(record: &log::AuditRecord, asked: &ListAuditRequest) -> bool {
    let is_outcome = match asked.outcome() {
        AuditOutcome::Unspecified => true,
        AuditOutcome::Ok => record.refusal.is_empty(),
        AuditOutcome::Refused => !record.refusal.is_empty(),
    };
    is_outcome
        && (asked.principal.is_empty() || record.principal == asked.principal)
        && (asked.request_id.is_empty() || record.request_id == asked.request_id)
        && record.rpc.contains(&asked.rpc)
        && record.resource.contains(&asked.resource)
        && !asked.until.as_ref().is_some_and(|until| LogTime(record.time_us).is_after(until))
}

fn on_wire(anchor: Link) -> AuditAnchor {
    AuditAnchor { sequence: anchor.sequence, hash: anchor.hash.to_vec() }
}

fn listed(record: &log::AuditRecord) -> AuditRecord {
    AuditRecord {
        sequence: record.sequence,
        time: LogTime(record.time_us).on_wire(),
        index: record.index,
        principal: record.principal.clone(),
        peer: record.peer.clone(),
        rpc: record.rpc.clone(),
        resource: record.resource.clone(),
        refusal: record.refusal.clone(),
        request_id: record.request_id.clone(),
        count: record.count,
        hash: record.hash.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use muster_proto::muster::log::v1::{
        ActivateLicense, AddCluster, Command, DeleteCluster, License, command::Kind,
    };
    use prost_types::Timestamp;

    use super::*;

    /// Odd positions add a cluster, which is refused without a license; even ones remove it.
    fn state(acts: u64) -> State {
        let mut state = State::default();
        for index in 1..=acts {
            let id = format!("c{index}");
            let kind = match index % 2 {
                0 => Kind::DeleteCluster(DeleteCluster { id }),
                _ => Kind::ActivateLicense(ActivateLicense {
                    license: Some(License {
                        activation_code: id,
                        expires: Some(Timestamp { seconds: 9, nanos: 0 }),
                        ..License::default()
                    }),
                }),
            };
            state.apply(
                &Command { kind: Some(kind), ..Command::default() },
                index,
                LogTime(index * 1_000_000),
            );
        }
        state
    }

    fn sequences(answer: &ListAuditResponse) -> Vec<u64> {
        answer.records.iter().map(|record| record.sequence).collect()
    }

    #[test]
    fn pages_go_from_the_newest_to_the_oldest_without_gap_or_repetition() {
        let state = state(7);
        let mut asked = ListAuditRequest { page_size: 3, ..ListAuditRequest::default() };
        let mut seen = Vec::new();
        loop {
            let answer = page(state.audit(), &asked);
            seen.extend(sequences(&answer));
            assert_eq!(answer.total, 7);
            asked.page_token = answer.next_page_token;
            if asked.page_token == 0 {
                break;
            }
        }
        assert_eq!(seen, [7, 6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn filters_are_joined() {
        let mut state = state(7);
        let add = AddCluster { id: String::new(), ..AddCluster::default() };
        let command = Command { kind: Some(Kind::AddCluster(add)), ..Command::default() };
        state.apply(&command, 8, LogTime(8_000_000));
        let list = |change: fn(&mut ListAuditRequest)| {
            let mut asked = ListAuditRequest::default();
            change(&mut asked);
            sequences(&page(state.audit(), &asked))
        };
        assert_eq!(list(|it| it.rpc = "DeleteCluster".into()), [6, 4, 2]);
        assert_eq!(list(|it| it.resource = "c4".into()), [4]);
        assert_eq!(list(|it| it.set_outcome(AuditOutcome::Refused)), [8]);
        assert!(list(|it| it.principal = "root".into()).is_empty());
        assert_eq!(list(|it| it.principal = "anonymous".into()).len(), 8);
        assert_eq!(
            list(|it| {
                it.since = Some(Timestamp { seconds: 3, nanos: 0 });
                it.until = Some(Timestamp { seconds: 5, nanos: 0 });
            }),
            [5, 4, 3]
        );
    }

    #[test]
    fn an_export_begins_with_the_anchor_and_has_every_record_once() {
        let state = state(1201);
        let all: Vec<ExportAuditResponse> = messages(state.audit().clone(), 0).collect();
        assert!(all[0].anchor.is_some() && all[1].anchor.is_none());
        let numbers: Vec<u64> =
            all.iter().flat_map(|it| &it.records).map(|record| record.sequence).collect();
        assert_eq!(numbers, (1..=1201).collect::<Vec<_>>());
        let rest: Vec<_> =
            messages(state.audit().clone(), 1200).flat_map(|it| it.records).collect();
        assert_eq!(rest.len(), 1);
        let none: Vec<_> = messages(Audit::default(), 0).collect();
        assert_eq!(none.len(), 1, "the anchor alone");
    }
}
