//! `muster snapshot …`: the whole state as a file.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use muster_cluster::snapshot::{self, Inspection, SnapshotError};
use muster_proto::muster::log::v1::LicenseState;
use muster_proto::muster::v1::{SaveSnapshotRequest, SaveSnapshotResponse};
use serde_json::json;
use tonic::Status;

use super::go;
use super::output::{self, Exit, Failure};
use super::pachctl::connect::Invocation;
use super::recover;
use super::remote::{Format, Remote, refused};
use super::table::sheet;
use crate::clock;
use crate::rescue::{self, Verified};
use crate::state::State;

/// The whole state as a file.
#[derive(Debug, Subcommand)]
pub(super) enum Snapshot {
    /// Verify a snapshot file and tell what it holds.
    Inspect(Inspect),
    /// Verify a snapshot file and everything in it: the state is loaded, held against its invariants,
    /// and its hash printed.
    Verify(Inspect),
    /// Make an empty data folder the first replica's of a new group that begins with a snapshot. The
    /// others join it with empty folders. Until `muster restore confirm`, clusters that the state does
    /// not know are told to wait.
    Restore(Restore),
    /// Have a replica write a snapshot of what it has applied. With FILE it is brought here and
    /// verified; without, it stays on the replica's machine, and its place is printed.
    Save(Save),
}

#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The file.
    file: PathBuf,
    /// How to print.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

#[derive(Debug, Args)]
pub(super) struct Save {
    /// Where to put it; nothing may be there yet.
    file: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The file.
    file: PathBuf,
    /// The data folder to make; it must be empty or not there.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// What the replica is called in its group.
    #[arg(long, value_name = "NAME", default_value = "muster")]
    name: String,
    /// Forget every token but root's. A token that was revoked after the snapshot was taken serves
    /// again otherwise.
    #[arg(long)]
    drop_tokens: bool,
    /// How to print.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

pub(super) async fn run(command: Snapshot, invocation: &Invocation) -> Result<(), Failure> {
    match command {
        Snapshot::Inspect(command) => command.run(),
        Snapshot::Verify(command) => command.verify(),
        Snapshot::Restore(command) => command.run(),
        Snapshot::Save(command) => command.run(invocation).await,
    }
}

impl Save {
    async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let server = self.remote.any(invocation).await?;
        let no = |status: Status| refused(&server, "cannot save a snapshot of", &status);
        let Some(file) = &self.file else {
            let answer = server.call(server.replica().save_snapshot(SaveSnapshotRequest {})).await;
            return output::data(&show(&answer.map_err(no)?, self.remote.output));
        };
        let what = || Failure::new(format!("cannot write {}", file.display()));
        if file.exists() {
            return Err(what().cause("there is a file of that name"));
        }
        let answer = server.call(server.replica().fetch_snapshot(SaveSnapshotRequest {})).await;
        let mut chunks = answer.map_err(no)?;
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let draft = tempfile::NamedTempFile::new_in(folder);
        let mut draft = draft.map_err(|error| what().because(&error))?;
        while let Some(chunk) = chunks.message().await.map_err(no)? {
            draft.write_all(&chunk.content).map_err(|error| what().because(&error))?;
        }
        // Before it gets its name: whoever sees that finds a whole file.
        let verified = verified(draft.path())?;
        draft.as_file().sync_all().map_err(|error| what().because(&error))?;
        draft.persist_noclobber(file).map_err(|error| what().because(&error.error))?;
        output::data(&vouch(&verified, self.remote.output))
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

    fn verify(self) -> Result<(), Failure> {
        let verified = verified(&self.file)?;
        output::data(&vouch(&verified, self.output))
    }
}

fn verified(file: &Path) -> Result<Verified, Failure> {
    let what = format!("cannot vouch for {}", file.display());
    rescue::verify(file).map_err(|error| recover::refused(&what, &error))
}

impl Restore {
    fn run(self) -> Result<(), Failure> {
        let verified = verified(&self.file)?;
        let (from, index) = (verified.meta.group, verified.meta.index);
        let identity = rescue::restore(verified, &self.data, &self.name, self.drop_tokens)
            .map_err(|error| {
                let what = format!("cannot restore into {}", self.data.display());
                recover::refused(&what, &error)
            })?;
        output::data(&match self.output {
            Format::Table => format!(
                "{} is the first replica of group {}, which begins with entry {index} of group {from}\n\
                 start it: muster serve --data {} --name {}\n\
                 then: muster restore status, and let the others join with empty data folders\n",
                identity.name,
                identity.group,
                self.data.display(),
                identity.name,
            ),
            Format::Json => {
                let value = json!({
                    "group": identity.group.to_string(),
                    "replica": identity.replica.to_string(),
                    "name": identity.name,
                    "from_group": from.to_string(),
                    "from_index": index,
                });
                format!("{value:#}\n")
            }
        })
    }
}

/// What a verified snapshot holds.
fn vouch(verified: &Verified, format: Format) -> String {
    let (meta, state) = (&verified.meta, &verified.state);
    let time = go::rfc3339_or_nil(Some(&clock::to_message(meta.time)));
    let (hash, content) = (hex::encode(state.digest()), hex::encode(state.content()));
    let quarantined = state.quarantine().is_on();
    match format {
        Format::Table => sheet(&[
            ("verified", "whole".to_owned()),
            ("group", meta.group.to_string()),
            ("index", meta.index.to_string()),
            ("term", meta.term.to_string()),
            ("time", time),
            ("state", hash),
            ("content", content),
            ("clusters", state.fleet().len().to_string()),
            ("license", license(state).to_owned()),
            ("tokens", state.auth().tokens().len().to_string()),
            ("role bindings", state.auth().bindings().size().to_string()),
            ("quarantine", if quarantined { "yes" } else { "no" }.to_owned()),
        ]),
        Format::Json => {
            let value = json!({
                "verified": true,
                "group": meta.group.to_string(),
                "index": meta.index,
                "term": meta.term,
                "time": time,
                "state": hash,
                "content": content,
                "clusters": state.fleet().len(),
                "license": license(state),
                "tokens": state.auth().tokens().len(),
                "role_bindings": state.auth().bindings().size(),
                "quarantined": quarantined,
            });
            format!("{value:#}\n")
        }
    }
}

/// As of the snapshot's own time.
fn license(state: &State) -> &'static str {
    match state.license_state(state.time()) {
        LicenseState::None => "NONE",
        LicenseState::Active => "ACTIVE",
        LicenseState::Expired => "EXPIRED",
        LicenseState::HeartbeatFailed => "HEARTBEAT_FAILED",
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
