//! What a snapshot is of, as bytes: in the head of its file and in messages between replicas.

use bytes::Bytes;
use prost::Message;

use super::{SnapshotError, SnapshotMeta};
use crate::types::{GroupId, Timestamp};

#[derive(Clone, PartialEq, Message)]
struct MetaRecord {
    #[prost(bytes = "vec", tag = "1")]
    group: Vec<u8>,
    #[prost(uint64, tag = "2")]
    index: u64,
    #[prost(uint64, tag = "3")]
    term: u64,
    #[prost(bytes = "bytes", tag = "4")]
    conf: Bytes,
    #[prost(uint64, tag = "5")]
    time: u64,
    #[prost(fixed32, tag = "6")]
    digest: u32,
}

impl SnapshotMeta {
    /// The meta as bytes.
    pub fn encode(&self) -> Bytes {
        MetaRecord {
            group: self.group.0.to_be_bytes().to_vec(),
            index: self.index,
            term: self.term,
            conf: self.conf.clone(),
            time: self.time.0,
            digest: self.digest,
        }
        .encode_to_vec()
        .into()
    }

    /// The inverse of [`SnapshotMeta::encode`].
    pub fn decode(bytes: &[u8]) -> Result<SnapshotMeta, SnapshotError> {
        let refused = |what: String| SnapshotError::Refused { what };
        let record = MetaRecord::decode(bytes).map_err(|error| refused(error.to_string()))?;
        let group = record
            .group
            .as_slice()
            .try_into()
            .map_err(|_| refused("its group is not 16 bytes long".to_owned()))?;
        Ok(SnapshotMeta {
            group: GroupId(u128::from_be_bytes(group)),
            index: record.index,
            term: record.term,
            conf: record.conf,
            time: Timestamp(record.time),
            digest: record.digest,
        })
    }
}

/// The running digest of a snapshot's chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Digest {
    /// CRC32C over the lengths and bytes so far.
    pub(super) crc: u32,
    /// Chunks so far.
    pub(super) records: u64,
    /// Their bytes.
    pub(super) bytes: u64,
}

impl Digest {
    pub(super) fn add(&mut self, chunk: &[u8]) {
        let length = chunk.len() as u64;
        self.crc = crc32c::crc32c_append(self.crc, &length.to_le_bytes());
        self.crc = crc32c::crc32c_append(self.crc, chunk);
        self.records += 1;
        self.bytes += length;
    }
}
