//! What a member keeps: its tie to a license server and the license that came over it. One file,
//! written whole or not at all, on disk before anybody hears of it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use muster_proto::enterprise_v2::{LicenseRecord, State};
use prost_types::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The only format there is.
const FORMAT: u32 = 1;

/// A tie to a license server.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tie {
    /// `[scheme://]host[:port]`, as it was given.
    pub license_server: String,
    /// What the member was registered as.
    pub id: String,
    /// What it proves itself with.
    pub secret: String,
}

impl std::fmt::Debug for Tie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tie { license_server, id, .. } = self;
        f.debug_struct("Tie")
            .field("license_server", license_server)
            .field("id", id)
            .finish_non_exhaustive()
    }
}

/// A license as it came with a heartbeat.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct License {
    pub(super) activation_code: String,
    /// Seconds since the Unix epoch.
    pub(super) expires_seconds: i64,
    pub(super) expires_nanos: i32,
}

impl std::fmt::Debug for License {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("License")
            .field("expires_seconds", &self.expires_seconds)
            .finish_non_exhaustive()
    }
}

impl From<LicenseRecord> for License {
    fn from(record: LicenseRecord) -> Self {
        let expires = record.expires.unwrap_or_default();
        License {
            activation_code: record.activation_code,
            expires_seconds: expires.seconds,
            expires_nanos: expires.nanos,
        }
    }
}

impl License {
    pub(super) fn expires(&self) -> Timestamp {
        Timestamp { seconds: self.expires_seconds, nanos: self.expires_nanos }
    }
}

/// All that a member knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// Names this member in `InspectCluster` for as long as the file lives.
    pub(super) cluster_id: String,
    /// As `cluster_id`, for members that were given no deployment id.
    pub(super) deployment_id: String,
    pub(super) tie: Option<Tie>,
    pub(super) license: Option<License>,
    /// The license server knew neither the id nor the secret at the last heartbeat.
    pub(super) heartbeat_failed: bool,
    /// Microseconds since the Unix epoch.
    pub(super) last_heartbeat_us: Option<u64>,
}

impl Record {
    pub(super) fn new(cluster_id: String, deployment_id: String) -> Self {
        Record {
            cluster_id,
            deployment_id,
            tie: None,
            license: None,
            heartbeat_failed: false,
            last_heartbeat_us: None,
        }
    }

    /// What the member may say of itself at `now`.
    pub(super) fn state(&self, now: &Timestamp) -> State {
        if self.heartbeat_failed {
            return State::HeartbeatFailed;
        }
        match &self.license {
            None => State::None,
            Some(license) => {
                let expires = (license.expires_seconds, license.expires_nanos);
                if (now.seconds, now.nanos) > expires { State::Expired } else { State::Active }
            }
        }
    }

    /// A heartbeat was answered. An answer without a license leaves none.
    pub(super) fn beaten(&mut self, license: Option<LicenseRecord>, now_us: u64) {
        self.license = license.map(License::from);
        self.heartbeat_failed = false;
        self.last_heartbeat_us = Some(now_us);
    }

    /// The license server has spoken: the id or the secret is not valid.
    pub(super) fn refused(&mut self) {
        self.license = None;
        self.heartbeat_failed = true;
    }

    /// The tie is ended.
    pub(super) fn untied(&mut self) {
        self.tie = None;
        self.license = None;
        self.heartbeat_failed = false;
        self.last_heartbeat_us = None;
    }
}

/// Why the record cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The disk refused.
    #[error("the record {path} cannot be {doing}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// `read` or `written`.
        doing: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// What is there is not what an agent writes.
    #[error("the record {path} is damaged: {reason}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
}

/// A record as it lies on the disk, where a bit may turn over.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    format: u32,
    /// Hexadecimal, over the record in compact JSON.
    sha256: String,
    record: Record,
}

impl Sealed {
    fn new(record: &Record) -> io::Result<Self> {
        let sha256 = hex::encode(Sha256::digest(serde_json::to_vec(record)?));
        Ok(Sealed { format: FORMAT, sha256, record: record.clone() })
    }

    /// The record, if it is the one that was written.
    fn open(self) -> Result<Record, String> {
        if self.format != FORMAT {
            return Err(format!("format {} is not known", self.format));
        }
        let again = Sealed::new(&self.record).map_err(|error| error.to_string())?;
        if again.sha256 != self.sha256 {
            return Err("its digest is another one's".to_owned());
        }
        Ok(self.record)
    }
}

/// The file of a record.
#[derive(Clone, Debug)]
pub(super) struct RecordFile {
    path: PathBuf,
}

impl RecordFile {
    pub(super) fn new(path: PathBuf) -> Self {
        RecordFile { path }
    }

    /// What the file holds; nothing if there is none.
    pub(super) fn read(&self) -> Result<Option<Record>, RecordError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(RecordError::Io { path: self.path.clone(), doing: "read", source });
            }
        };
        let damaged = |reason: String| RecordError::Damaged { path: self.path.clone(), reason };
        let sealed: Sealed =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        sealed.open().map(Some).map_err(damaged)
    }

    /// Puts `record` in the place of what is there. When this returns it will survive a crash.
    pub(super) fn write(&self, record: &Record) -> Result<(), RecordError> {
        self.replace(record).map_err(|source| RecordError::Io {
            path: self.path.clone(),
            doing: "written",
            source,
        })
    }

    fn replace(&self, record: &Record) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(folder)?;
        // Readable by its owner alone, which is what the file of a secret must be.
        let mut file = tempfile::Builder::new().prefix(".muster-agent-").tempfile_in(folder)?;
        file.write_all(&serde_json::to_vec_pretty(&Sealed::new(record)?)?)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, nanos: i32) -> Timestamp {
        Timestamp { seconds, nanos }
    }

    fn record() -> Record {
        Record::new("c".to_owned(), "d".to_owned())
    }

    fn license(expires: Timestamp) -> LicenseRecord {
        LicenseRecord { activation_code: "code".to_owned(), expires: Some(expires) }
    }

    #[test]
    fn a_license_holds_to_the_nanosecond_of_its_end() {
        let mut record = record();
        assert_eq!(record.state(&at(0, 0)), State::None);
        record.beaten(Some(license(at(100, 5))), 7);
        assert_eq!(record.state(&at(100, 5)), State::Active);
        assert_eq!(record.state(&at(100, 6)), State::Expired);
    }

    #[test]
    fn a_refusal_drops_the_license_and_the_next_answer_restores_it() {
        let mut record = record();
        record.beaten(Some(license(at(100, 0))), 7);
        record.refused();
        assert_eq!(record.state(&at(0, 0)), State::HeartbeatFailed);
        assert_eq!(record.license, None);
        record.beaten(Some(license(at(100, 0))), 8);
        assert_eq!(record.state(&at(0, 0)), State::Active);
        record.beaten(None, 9);
        assert_eq!(record.state(&at(0, 0)), State::None);
        record.refused();
        record.untied();
        assert_eq!(record.state(&at(0, 0)), State::None);
    }

    #[test]
    fn what_was_written_is_read_again_and_leaves_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = RecordFile::new(folder.path().join("new/agent.json"));
        assert_eq!(file.read().unwrap(), None);
        let mut record = record();
        record.tie = Some(Tie {
            license_server: "grpc://es:31650".to_owned(),
            id: "i".to_owned(),
            secret: "s".to_owned(),
        });
        record.beaten(Some(license(at(100, 5))), 7);
        file.write(&record).unwrap();
        file.write(&record).unwrap();
        assert_eq!(file.read().unwrap(), Some(record));
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 1);
    }

    #[test]
    fn what_no_agent_wrote_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.json");
        let file = RecordFile::new(path.clone());
        fs::write(&path, "{\"format\": 1").unwrap();
        assert!(matches!(file.read(), Err(RecordError::Damaged { .. })));
        let newer = Sealed { format: 2, ..Sealed::new(&record()).unwrap() };
        fs::write(&path, serde_json::to_string(&newer).unwrap()).unwrap();
        assert!(matches!(file.read(), Err(RecordError::Damaged { .. })));
    }

    #[test]
    fn no_bit_turns_over_unseen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.json");
        let file = RecordFile::new(path.clone());
        let mut kept = record();
        kept.beaten(Some(license(at(100, 5))), 7);
        file.write(&kept).unwrap();
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            fs::write(&path, flipped).unwrap();
            // White space may turn into other white space.
            if let Ok(read) = file.read() {
                assert_eq!(read.as_ref(), Some(&kept), "bit {at}");
            }
        }
    }
}
