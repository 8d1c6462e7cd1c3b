//! `muster audit verify`: whether all records hold together, of a server or of a file.

use std::fmt::Write as _;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::walk::{Walk, link_of};
use crate::audit::{self, Line};
use crate::cli::output::{self, Exit, Failure};
use crate::cli::pachctl::connect::Invocation;
use crate::cli::remote::{Format, Remote};
use crate::state::audit::chain::Link;
use crate::state::secret::Digest;

#[derive(Debug, Args)]
pub(in crate::cli) struct Verify {
    /// A file of an export or of --audit-file, instead of a server.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// `SEQUENCE:HASH` that an earlier verification printed and that must still be the same.
    #[arg(long, value_name = "RECORD", value_parser = link)]
    expect: Vec<Expected>,
    #[command(flatten)]
    remote: Remote,
}

/// A record that is known from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected(Link);

impl Verify {
    pub(super) async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let found = match &self.file {
            Some(path) => self.of_file(path)?,
            None => self.of_server(invocation).await?,
        };
        output::data(&match self.remote.output {
            Format::Table => verified(&found),
            Format::Json => format!("{:#}\n", verified_json(&found)),
        })
    }

    fn of_file(&self, path: &Path) -> Result<audit::Verified, Failure> {
        let what = format!("the audit log in {} is not whole", path.display());
        let file = File::open(path).map_err(|error| {
            Failure::new(format!("cannot open {}", path.display())).because(&error)
        })?;
        // One reading for the hashes, one for what is expected: the file may be long.
        let found = audit::verify(BufReader::new(&file))
            .map_err(|error| Failure::new(&what).because(&error).exit(Exit::Damaged))?;
        let mut seen = Vec::new();
        if !self.expect.is_empty() {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::new(&what).because(&error))?;
            let links =
                text.lines().filter_map(|line| Line::read(line).ok()).map(|it| link_of(&it.record));
            seen = links.filter(|link| self.names(link.sequence)).collect();
        }
        seen.push(found.anchor);
        self.compare(&what, &seen)?;
        Ok(found)
    }

    async fn of_server(&self, invocation: &Invocation) -> Result<audit::Verified, Failure> {
        let server = self.remote.any(invocation).await?;
        let what = format!("the audit log of {} is not whole", server.address);
        let mut walk = Walk::begin(&server, 0).await?;
        let mut found = audit::Verified { anchor: walk.last, last: walk.last, records: 0 };
        let mut seen = vec![walk.last];
        while let Some(lines) = walk.next(&server).await? {
            for line in lines {
                found.last = found
                    .last
                    .then(&line.record)
                    .map_err(|error| Failure::new(&what).because(&error).exit(Exit::Damaged))?;
                found.records += 1;
                if self.names(found.last.sequence) {
                    seen.push(found.last);
                }
            }
        }
        self.compare(&what, &seen)?;
        Ok(found)
    }

    fn names(&self, sequence: u64) -> bool {
        self.expect.iter().any(|expected| expected.0.sequence == sequence)
    }

    fn compare(&self, what: &str, seen: &[Link]) -> Result<(), Failure> {
        for Expected(expected) in &self.expect {
            let sequence = expected.sequence;
            let text = match seen.iter().find(|link| link.sequence == sequence) {
                Some(link) if link == expected => continue,
                Some(link) => format!("record {sequence} has the hash {}", hex::encode(link.hash)),
                None => format!("record {sequence} is not there"),
            };
            return Err(Failure::new(what).cause(text).exit(Exit::Damaged));
        }
        Ok(())
    }
}

fn link(text: &str) -> Result<Expected, String> {
    let wrong = || "is not of the form SEQUENCE:HASH".to_owned();
    let (sequence, hash) = text.split_once(':').ok_or_else(wrong)?;
    let sequence = sequence.parse().map_err(|_| wrong())?;
    let hash = hex::decode(hash).ok().and_then(|it| Digest::try_from(it).ok()).ok_or_else(wrong)?;
    Ok(Expected(Link { sequence, hash }))
}

fn verified(found: &audit::Verified) -> String {
    let mut text = match found.records {
        0 => "no records\n".to_owned(),
        count => format!(
            "{count} records, {} to {}: whole\n",
            found.anchor.sequence + 1,
            found.last.sequence
        ),
    };
    let hash = hex::encode(found.last.hash);
    let _ = writeln!(text, "keep this elsewhere, for --expect: {}:{hash}", found.last.sequence);
    text
}

fn verified_json(found: &audit::Verified) -> Value {
    let link = |link: Link| json!({ "sequence": link.sequence, "hash": hex::encode(link.hash) });
    json!({
        "records": found.records,
        "anchor": link(found.anchor),
        "last": link(found.last),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_is_a_number_and_a_whole_hash() {
        let hash = "ab".repeat(32);
        assert_eq!(link(&format!("7:{hash}")).unwrap().0.sequence, 7);
        for bad in ["", "7", &hash, "7:ab", &format!("x:{hash}")] {
            assert!(link(bad).is_err(), "{bad}");
        }
    }
}
