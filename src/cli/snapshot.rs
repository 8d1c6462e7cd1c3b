//! `muster snapshot …`: the whole state as a file.

use clap::Subcommand;
use muster_proto::muster::v1::{SaveSnapshotRequest, SaveSnapshotResponse};
use serde_json::json;

use super::output::{self, Failure};
use super::pachctl::connect::Invocation;
use super::remote::{Format, Remote, refused};
use super::table::sheet;

/// The whole state as a file.
#[derive(Debug, Subcommand)]
pub(super) enum Snapshot {
    /// Have a replica write a snapshot of what it has applied; prints where, on its machine.
    Save(Remote),
}

pub(super) async fn run(command: Snapshot, invocation: &Invocation) -> Result<(), Failure> {
    match command {
        Snapshot::Save(remote) => {
            let server = remote.any(invocation).await?;
            let answer = server.call(server.replica().save_snapshot(SaveSnapshotRequest {})).await;
            let saved =
                answer.map_err(|status| refused(&server, "cannot save a snapshot of", &status))?;
            output::data(&show(&saved, remote.output))
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
