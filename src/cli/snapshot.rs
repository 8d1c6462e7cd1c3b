//! `muster snapshot …`: the whole state as a file.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use muster_cluster::snapshot::{self, Inspection, SnapshotError};
use muster_proto::muster::v1::{SaveSnapshotRequest, SaveSnapshotResponse};
use serde_json::json;

use super::go;
use super::output::{self, Exit, Failure};
use super::pachctl::connect::Invocation;
use super::remote::{Format, Remote, refused};
use super::table::sheet;
use crate::clock;

/// The whole state as a file.
#[derive(Debug, Subcommand)]
pub(super) enum Snapshot {
    /// Verify a snapshot file and tell what it holds.
    Inspect(Inspect),
    /// Have a replica write a snapshot of what it has applied; prints where, on its machine.
    Save(Remote),
}

#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The file.
    file: PathBuf,
    /// How to print.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

pub(super) async fn run(command: Snapshot, invocation: &Invocation) -> Result<(), Failure> {
    match command {
        Snapshot::Inspect(command) => command.run(),
        Snapshot::Save(remote) => {
            let server = remote.any(invocation).await?;
            let answer = server.call(server.replica().save_snapshot(SaveSnapshotRequest {})).await;
            let saved =
                answer.map_err(|status| refused(&server, "cannot save a snapshot of", &status))?;
            output::data(&show(&saved, remote.output))
        }
    }
}

impl Inspect {
    fn run(self) -> Result<(), Failure> {
        let found = snapshot::inspect(&self.file).map_err(|error| {
            let failure = Failure::new(format!("cannot vouch for {}", self.file.display()));
            match &error {
                SnapshotError::Damaged { .. } => failure.because(&error).exit(Exit::Damaged),
                _ => failure.because(&error),
            }
        })?;
        output::data(&describe(&found, self.output))
    }
}

fn describe(found: &Inspection, format: Format) -> String {
    let meta = &found.meta;
    let time = go::rfc3339_or_nil(Some(&clock::to_message(meta.time)));
    match format {
        Format::Table => sheet(&[
            ("group", meta.group.to_string()),
            ("index", meta.index.to_string()),
            ("term", meta.term.to_string()),
            ("time", time),
            ("digest", format!("{:08x}", meta.digest)),
            ("records", found.records.to_string()),
            ("content bytes", found.content_bytes.to_string()),
            ("file bytes", found.file_bytes.to_string()),
        ]),
        Format::Json => {
            let value = json!({
                "group": meta.group.to_string(),
                "index": meta.index,
                "term": meta.term,
                "time": time,
                "digest": format!("{:08x}", meta.digest),
                "records": found.records,
                "content_bytes": found.content_bytes,
                "file_bytes": found.file_bytes,
            });
            format!("{value:#}\n")
        }
    }
}

fn show(saved: &SaveSnapshotResponse, format: Format) -> String {
    match format {
        Format::Table => sheet(&[
            ("path", saved.path.clone()),
            ("index", saved.index.to_string()),
            ("term", saved.term.to_string()),
        ]),
        Format::Json => {
            let value = json!({ "path": saved.path, "index": saved.index, "term": saved.term });
            format!("{value:#}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use expect_test::expect;
    use muster_cluster::snapshot::{FileSnapshots, SnapshotMeta, SnapshotStore};
    use muster_cluster::types::{GroupId, Timestamp};

    use super::*;

    #[test]
    fn a_snapshot_file_tells_what_it_holds_and_a_damaged_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let snapshots = FileSnapshots::open(folder.path()).unwrap();
        let meta = SnapshotMeta {
            group: GroupId(0xab),
            index: 7,
            term: 2,
            conf: Bytes::new(),
            time: Timestamp(1_621_622_256_072_156),
            digest: 0,
        };
        let mut chunks = [Bytes::from_static(b"one"), Bytes::from_static(b"two")].into_iter();
        snapshots.write(meta, &mut chunks).unwrap();
        let path = snapshots.path(7).unwrap();
        let found = snapshot::inspect(&path).unwrap();
        expect![[r#"
            group:         000000000000000000000000000000ab
            index:         7
            term:          2
            time:          2021-05-21T18:37:36.072156Z
            digest:        3a29fefb
            records:       2
            content bytes: 6
            file bytes:    101
        "#]]
        .assert_eq(&describe(&found, Format::Table));

        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let failure = Inspect { file: path, output: Format::Table }.run().unwrap_err();
        assert!(failure.text().starts_with("cannot vouch for "), "{}", failure.text());
    }
}
