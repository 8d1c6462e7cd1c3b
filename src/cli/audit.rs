//! `muster audit …`: who did what, read, kept elsewhere, and proven whole.

mod verify;
mod walk;

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use muster_proto::muster::v1::{AuditOutcome, AuditRecord, ListAuditRequest, ListAuditResponse};
use prost_types::Timestamp;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use self::walk::Walk;
use super::go;
use super::output::{self, Failure};
use super::pachctl::connect::{Invocation, Server};
use super::remote::{Format, Remote, refused};
use super::table::{or_dash, table};
use crate::audit::Line;
use crate::clock::{self, Clock as _, SystemClock};

/// Who did what.
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// List the newest records, the newest last.
    List(Box<List>),
    /// Follow the hashes of all records, of a server or of an exported file.
    Verify(verify::Verify),
    /// Print all records as lines of JSON.
    Export(Export),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only what this principal did, such as `robot:ci` or `anonymous`.
    #[arg(long, default_value = "", hide_default_value = true)]
    principal: String,
    /// Only methods whose path holds this, such as `AddCluster`.
    #[arg(long, default_value = "", hide_default_value = true)]
    rpc: String,
    /// Only what was done to resources whose name holds this, such as `cluster:payroll`.
    #[arg(long, default_value = "", hide_default_value = true)]
    resource: String,
    /// Only the record of this request.
    #[arg(long, default_value = "", hide_default_value = true)]
    request_id: String,
    /// Only what was done, or what was refused.
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<Outcome>,
    /// Not before this time: RFC 3339, or so long ago, such as `24h`.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Moment>,
    /// Not after this time, likewise.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Moment>,
    /// At most so many; 0 for all.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Outcome {
    Ok,
    Refused,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// Only records that come after this one.
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0, hide_default_value = true)]
    after: u64,
    #[command(flatten)]
    remote: Remote,
}

/// A time that was given, or how long ago.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    At(Timestamp),
    Ago(Duration),
}

pub(super) async fn run(command: Audit, invocation: &Invocation) -> Result<(), Failure> {
    match command {
        Audit::List(command) => command.run(invocation).await,
        Audit::Verify(command) => command.run(invocation).await,
        Audit::Export(command) => command.run(invocation).await,
    }
}

impl List {
    async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let server = self.remote.any(invocation).await?;
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        let mut request = self.request();
        let mut records = Vec::new();
        let mut last;
        loop {
            let left = limit - records.len();
            request.page_size = u32::try_from(left).unwrap_or(0);
            last = page(&server, request.clone()).await?;
            records.append(&mut last.records);
            if last.next_page_token == 0 || records.len() >= limit {
                break;
            }
            request.page_token = last.next_page_token;
        }
        records.truncate(limit);
        records.reverse();
        output::data(&match self.remote.output {
            Format::Table => list(&records, last.total),
            Format::Json => format!("{:#}\n", list_json(&records, &last)),
        })
    }

    fn request(&self) -> ListAuditRequest {
        let outcome = match self.outcome {
            None => AuditOutcome::Unspecified,
            Some(Outcome::Ok) => AuditOutcome::Ok,
            Some(Outcome::Refused) => AuditOutcome::Refused,
        };
        ListAuditRequest {
            principal: self.principal.clone(),
            rpc: self.rpc.clone(),
            resource: self.resource.clone(),
            request_id: self.request_id.clone(),
            outcome: outcome.into(),
            since: self.since.map(Moment::settle),
            until: self.until.map(Moment::settle),
            ..ListAuditRequest::default()
        }
    }
}

async fn page(server: &Server, request: ListAuditRequest) -> Result<ListAuditResponse, Failure> {
    let answer = server.call(server.audit().list(request)).await;
    answer.map_err(|status| refused(server, "cannot list the audit log of", &status))
}

impl Export {
    async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let server = self.remote.any(invocation).await?;
        let mut walk = Walk::begin(&server, self.after).await?;
        while let Some(lines) = walk.next(&server).await? {
            output::data(&lines.iter().map(Line::text).collect::<String>())?;
        }
        Ok(())
    }
}

impl Moment {
    fn settle(self) -> Timestamp {
        match self {
            Moment::At(time) => time,
            Moment::Ago(span) => {
                let now = SystemClock.now();
                let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
                clock::to_message(muster_cluster::types::Timestamp(now.0.saturating_sub(micros)))
            }
        }
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        let nanos = i32::try_from(time.nanosecond()).unwrap_or(0);
        return Ok(Moment::At(Timestamp { seconds: time.unix_timestamp(), nanos }));
    }
    go::parse_duration(text).map(Moment::Ago).map_err(|_| {
        "is neither a time such as 2030-01-31T12:00:00Z nor a span such as 24h".to_owned()
    })
}

fn list(records: &[AuditRecord], total: u64) -> String {
    let rows: Vec<_> = records
        .iter()
        .map(|record| {
            let outcome = match (record.refusal.as_str(), record.count) {
                ("", 0..=1) => "ok".to_owned(),
                ("", count) => format!("ok x{count}"),
                (refusal, 0..=1) => refusal.to_owned(),
                (refusal, count) => format!("{refusal} x{count}"),
            };
            [
                record.sequence.to_string(),
                go::rfc3339_or_nil(record.time.as_ref()),
                record.principal.clone(),
                or_dash(&record.peer),
                record.rpc.clone(),
                outcome,
                or_dash(&record.resource),
            ]
        })
        .collect();
    format!(
        "{}{} of {total} records\n",
        table(["SEQUENCE", "TIME", "PRINCIPAL", "PEER", "RPC", "OUTCOME", "RESOURCE"], &rows),
        records.len(),
    )
}

fn list_json(records: &[AuditRecord], answer: &ListAuditResponse) -> Value {
    let record = |it: &AuditRecord| {
        json!({
            "sequence": it.sequence,
            "time": go::rfc3339_or_nil(it.time.as_ref()),
            "index": it.index,
            "principal": it.principal,
            "peer": it.peer,
            "rpc": it.rpc,
            "resource": it.resource,
            "outcome": if it.refusal.is_empty() { "ok" } else { "refused" },
            "refusal": it.refusal,
            "request_id": it.request_id,
            "count": it.count,
            "hash": hex::encode(&it.hash),
        })
    };
    json!({ "records": records.iter().map(record).collect::<Vec<_>>(), "total": answer.total })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn record(sequence: u64) -> AuditRecord {
        AuditRecord {
            sequence,
            time: Some(Timestamp { seconds: 1_621_622_256, nanos: 0 }),
            index: 9,
            principal: "robot:ci".to_owned(),
            peer: "10.0.0.1:4711".to_owned(),
            rpc: "/license_v2.API/AddCluster".to_owned(),
            resource: "cluster:payroll".to_owned(),
            count: 1,
            ..AuditRecord::default()
        }
    }

    #[test]
    fn records_are_told_one_on_a_line() {
        let refused = AuditRecord {
            refusal: "TOKEN_UNKNOWN".to_owned(),
            resource: String::new(),
            principal: "anonymous".to_owned(),
            count: 7,
            ..record(12)
        };
        expect![[r#"
            SEQUENCE  TIME                  PRINCIPAL  PEER           RPC                         OUTCOME           RESOURCE
            11        2021-05-21T18:37:36Z  robot:ci   10.0.0.1:4711  /license_v2.API/AddCluster  ok                cluster:payroll
            12        2021-05-21T18:37:36Z  anonymous  10.0.0.1:4711  /license_v2.API/AddCluster  TOKEN_UNKNOWN x7  -
            2 of 40 records
        "#]].assert_eq(&list(&[record(11), refused], 40));
    }

    #[test]
    fn times_are_given_as_such_or_as_how_long_ago() {
        let at = moment("2030-01-31T12:00:00Z").unwrap();
        assert_eq!(at, Moment::At(Timestamp { seconds: 1_896_091_200, nanos: 0 }));
        assert_eq!(moment("24h"), Ok(Moment::Ago(Duration::from_hours(24))));
        assert!(moment("yesterday").is_err());
    }
}
