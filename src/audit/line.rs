//! A record as one line of JSON: what the file sink writes, `muster audit export` prints and
//! `muster audit verify` reads.

use muster_proto::muster::log::v1::AuditRecord;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::state::secret::Digest;

/// A record and the hash that it continues.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The record.
    pub record: AuditRecord,
    /// The hash of the record before it.
    pub previous: Digest,
}

/// Why a line is no record.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Not JSON, or not its fields.
    #[error("it is no audit record: {0}")]
    Json(#[from] serde_json::Error),
    /// A field holds what no record holds.
    #[error("the field {0} of the audit record makes no sense")]
    Field(&'static str),
    /// It says the same in other words, which no Muster ever wrote.
    #[error("the audit record is not written as Muster writes it")]
    Spelling,
}

const OK: &str = "ok";
const REFUSED: &str = "refused";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    sequence: u64,
    time: String,
    index: u64,
    principal: String,
    peer: String,
    rpc: String,
    resource: String,
    outcome: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    refusal: String,
    request_id: String,
    count: u64,
    previous: String,
    hash: String,
}

impl Line {
    /// The line, with its line break.
    pub fn text(&self) -> String {
        let record = &self.record;
        let outcome = if record.refusal.is_empty() { OK } else { REFUSED };
        let fields = Fields {
            sequence: record.sequence,
            time: rfc3339(record.time_us),
            index: record.index,
            principal: record.principal.clone(),
            peer: record.peer.clone(),
            rpc: record.rpc.clone(),
            resource: record.resource.clone(),
            outcome: outcome.to_owned(),
            refusal: record.refusal.clone(),
            request_id: record.request_id.clone(),
            count: record.count,
            previous: hex::encode(self.previous),
            hash: hex::encode(&record.hash),
        };
        // Texts and numbers always have a spelling in JSON.
        let mut text = serde_json::to_string(&fields).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads a line, with or without its line break. Any change of any byte makes it another record
    /// or none.
    ///
    /// # Errors
    /// When it is not a record exactly as [`Line::text`] writes it.
    pub fn read(text: &str) -> Result<Line, LineError> {
        let fields: Fields = serde_json::from_str(text)?;
        let time =
            OffsetDateTime::parse(&fields.time, &Rfc3339).map_err(|_| LineError::Field("time"))?;
        let time_us = u64::try_from(time.unix_timestamp_nanos() / 1000)
            .map_err(|_| LineError::Field("time"))?;
        let digest = |name, text: &str| {
            let bytes = hex::decode(text).map_err(|_| LineError::Field(name))?;
            Digest::try_from(bytes).map_err(|_| LineError::Field(name))
        };
        let line = Line {
            previous: digest("previous", &fields.previous)?,
            record: AuditRecord {
                sequence: fields.sequence,
                time_us,
                index: fields.index,
                hash: digest("hash", &fields.hash)?.to_vec().into(),
                principal: fields.principal,
                peer: fields.peer,
                rpc: fields.rpc,
                resource: fields.resource,
                refusal: fields.refusal,
                request_id: fields.request_id,
                count: fields.count,
            },
        };
        let is_same = line.text().trim_end_matches('\n') == text.trim_end_matches('\n');
        if is_same { Ok(line) } else { Err(LineError::Spelling) }
    }
}

fn rfc3339(micros: u64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use expect_test::expect;

    use super::*;
    use crate::state::audit::chain;

    /// The records 1 to `count` of a chain.
    pub(crate) fn lines(count: u64) -> Vec<Line> {
        let mut previous = Digest::default();
        let line = |sequence| {
            let mut record = AuditRecord {
                sequence,
                time_us: 1_621_622_256_072_156 + sequence,
                index: 10 + sequence,
                principal: "robot:\"r\"".to_owned(),
                peer: "10.0.0.1:4711".to_owned(),
                rpc: "/license_v2.API/AddCluster".to_owned(),
                resource: "cluster:ü".to_owned(),
                refusal: if sequence % 2 == 0 { "NOT_AUTHORIZED" } else { "" }.to_owned(),
                request_id: format!("r{sequence}"),
                count: 1,
                hash: bytes::Bytes::new(),
            };
            let hash = chain::hash(&previous, &record);
            record.hash = hash.to_vec().into();
            let line = Line { record, previous };
            previous = hash;
            line
        };
        (1..=count).map(line).collect()
    }

    #[test]
    fn a_record_is_one_line_that_reads_back() {
        let lines = lines(2);
        expect![[r#"
            {"sequence":1,"time":"2021-05-21T18:37:36.072157Z","index":11,"principal":"robot:\"r\"","peer":"10.0.0.1:4711","rpc":"/license_v2.API/AddCluster","resource":"cluster:ü","outcome":"ok","request_id":"r1","count":1,"previous":"0000000000000000000000000000000000000000000000000000000000000000","hash":"308c8e9043392377af844435a130ed89e360defcea81d716c3c130b276023a83"}
            {"sequence":2,"time":"2021-05-21T18:37:36.072158Z","index":12,"principal":"robot:\"r\"","peer":"10.0.0.1:4711","rpc":"/license_v2.API/AddCluster","resource":"cluster:ü","outcome":"refused","refusal":"NOT_AUTHORIZED","request_id":"r2","count":1,"previous":"308c8e9043392377af844435a130ed89e360defcea81d716c3c130b276023a83","hash":"97719a8cd160dc88254ab0e51a0d8656dbf1f90430a172d60f63f39dfcaa6c68"}
        "#]].assert_eq(&format!("{}{}", lines[0].text(), lines[1].text()));
        for line in lines {
            assert_eq!(Line::read(&line.text()).unwrap(), line);
        }
    }

    #[test]
    fn any_changed_byte_makes_another_record_or_none() {
        let line = &lines(1)[0];
        let text = line.text();
        for at in 0..text.len() - 1 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            if let Ok(read) = Line::read(&changed) {
                assert_ne!(&read, line, "{changed}");
            }
        }
    }

    #[test]
    fn other_spellings_and_foreign_fields_are_refused() {
        let text = lines(1)[0].text();
        assert!(matches!(Line::read(&text.replace(',', ", ")), Err(LineError::Spelling)));
        assert!(matches!(Line::read(&text.replace('{', "{\"x\":1,")), Err(LineError::Json(_))));
        assert!(matches!(Line::read(&text.replace("\"ok\"", "\"no\"")), Err(LineError::Spelling)));
        assert!(Line::read("").is_err());
    }
}
