//! How records hold together.
//!
//! A record's hash is SHA-256 over, in this order: the bytes `muster audit record 1` and a zero byte;
//! the 32 bytes of the hash of the record before it (all zero for the first); sequence, time (in
//! microseconds since the Unix epoch) and index, each as eight bytes, the highest first; principal,
//! peer, rpc, resource, refusal and request id, each as its length in bytes (eight bytes likewise) and
//! its UTF-8; and the count as eight bytes.

use muster_proto::muster::log::v1::AuditRecord;
use sha2::{Digest as _, Sha256};

use crate::state::secret::{self, Digest};

const DOMAIN: &[u8] = b"muster audit record 1\0";

/// The number and hash of a record, or of what comes before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// 0 before the first record.
    pub sequence: u64,
    /// All zero before the first record.
    pub hash: Digest,
}

/// Why a record does not continue the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Records are missing, doubled or in another order.
    #[error("record {found} follows where record {expected} must")]
    Sequence {
        /// The number that had to come.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// The record or one before it was changed.
    #[error("record {0} does not have the hash that its content and the record before it give")]
    Hash(u64),
}

impl Broken {
    /// The number of the record that was found wrong.
    pub fn sequence(self) -> u64 {
        match self {
            Broken::Sequence { found, .. } => found,
            Broken::Hash(sequence) => sequence,
        }
    }
}

impl Link {
    /// Of a record, as it says itself.
    pub(in crate::state) fn of(record: &AuditRecord) -> Link {
        let hash = Digest::try_from(record.hash.as_ref()).unwrap_or_default();
        Link { sequence: record.sequence, hash }
    }

    /// The link that `record` adds to this one.
    ///
    /// # Errors
    /// When it does not follow this one, or its hash is not the one that its content gives.
    pub fn then(self, record: &AuditRecord) -> Result<Link, Broken> {
        let expected = self.sequence.saturating_add(1);
        if record.sequence != expected {
            return Err(Broken::Sequence { expected, found: record.sequence });
        }
        let next = Link::of(record);
        if record.hash.len() == 32 && secret::is_same(&next.hash, &hash(&self.hash, record)) {
            Ok(next)
        } else {
            Err(Broken::Hash(record.sequence))
        }
    }
}

/// The hash of `record` behind a record of hash `previous`.
pub fn hash(previous: &Digest, record: &AuditRecord) -> Digest {
    let AuditRecord { sequence, time_us, index, count, hash: _, .. } = record;
    let texts = [
        &record.principal,
        &record.peer,
        &record.rpc,
        &record.resource,
        &record.refusal,
        &record.request_id,
    ];
    let mut hash = Sha256::new().chain_update(DOMAIN).chain_update(previous);
    for number in [sequence, time_us, index] {
        hash.update(number.to_be_bytes());
    }
    for text in texts {
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(text);
    }
    hash.chain_update(count.to_be_bytes()).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> AuditRecord {
        AuditRecord {
            sequence: 1,
            time_us: 2,
            index: 3,
            principal: "robot:a".into(),
            peer: "127.0.0.1:4".into(),
            rpc: "/license_v2.API/AddCluster".into(),
            resource: "cluster:c".into(),
            refusal: String::new(),
            request_id: "r".into(),
            count: 1,
            hash: bytes::Bytes::new(),
        }
    }

    #[test]
    fn the_bytes_that_are_hashed_never_change() {
        // Computed apart from this program, from the description above.
        assert_eq!(
            hex::encode(hash(&[0; 32], &record())),
            "61e910ed81ce02589f917c25b6256b256aa625c890428f1be4dada794a13db48"
        );
    }

    #[test]
    fn every_field_and_the_record_before_count() {
        let plain = hash(&[0; 32], &record());
        let changes: [fn(&mut AuditRecord); 10] = [
            |it| it.sequence = 9,
            |it| it.time_us = 9,
            |it| it.index = 9,
            |it| it.principal.push('x'),
            |it| it.peer.push('x'),
            |it| it.rpc.push('x'),
            |it| it.resource.push('x'),
            |it| it.refusal.push('x'),
            |it| it.request_id.push('x'),
            |it| it.count = 9,
        ];
        for change in changes {
            let mut changed = record();
            change(&mut changed);
            assert_ne!(hash(&[0; 32], &changed), plain, "{changed:?}");
        }
        assert_ne!(hash(&[1; 32], &record()), plain);
        let mut traded = record();
        traded.principal = "robot:a1".into();
        traded.peer = "27.0.0.1:4".into();
        assert_ne!(hash(&[0; 32], &traded), plain);
    }

    #[test]
    fn a_record_follows_only_the_one_that_it_was_written_after() {
        let mut first = record();
        first.hash = hash(&[0; 32], &first).to_vec().into();
        let link = Link::default().then(&first).unwrap();
        assert_eq!(link.then(&first), Err(Broken::Sequence { expected: 2, found: 1 }));
        let mut second = AuditRecord { sequence: 2, ..record() };
        second.hash = hash(&[7; 32], &second).to_vec().into();
        assert_eq!(link.then(&second), Err(Broken::Hash(2)));
        second.hash = hash(&link.hash, &second).to_vec().into();
        assert_eq!(link.then(&second).map(|link| link.sequence), Ok(2));
    }
}
