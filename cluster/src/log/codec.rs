//! How the log's records look as bytes. Every record ends with a CRC32C that also covers its key, so
//! a record under another key is as damaged as one with another content.

use bytes::Bytes;

use super::{HardState, LogEntry, LogError, LogMark};

/// The format of the records; a store of another one is refused.
pub(super) const FORMAT: u32 = 1;

const CRC: usize = 4;
const ENTRY_HEADER: usize = 13;
const HEAD: usize = 60;

/// Everything about the log but the entries and the configuration; rewritten by every commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The place just before the first entry.
    pub(super) mark: LogMark,
    /// Index of the last entry; the mark's when there is none.
    pub(super) last: u64,
    /// Term, vote and commit.
    pub(super) hard_state: HardState,
    /// How many commits made this state.
    pub(super) commits: u64,
}

/// Entry record: kind u8, term u64, length of the context u32, context, data, CRC32C; little endian.
pub(super) fn encode_entry(entry: &LogEntry) -> Result<Vec<u8>, LogError> {
    let context = u32::try_from(entry.context.len()).map_err(|_| LogError::Misuse {
        what: format!("entry {} has a context beyond 4 GiB", entry.index),
    })?;
    let mut out = Vec::with_capacity(ENTRY_HEADER + entry.context.len() + entry.data.len() + CRC);
    out.push(entry.kind);
    out.extend_from_slice(&entry.term.to_le_bytes());
    out.extend_from_slice(&context.to_le_bytes());
    out.extend_from_slice(&entry.context);
    out.extend_from_slice(&entry.data);
    seal(&entry.index.to_le_bytes(), &mut out);
    Ok(out)
}

/// The inverse of [`encode_entry`].
pub(super) fn decode_entry(index: u64, record: &[u8]) -> Result<LogEntry, LogError> {
    let damaged = || damaged(format!("entry {index} does not match its checksum"));
    let mut rest = unseal(&index.to_le_bytes(), record).ok_or_else(damaged)?;
    let [kind] = take::<1>(&mut rest).ok_or_else(damaged)?;
    let term = take(&mut rest).map(u64::from_le_bytes).ok_or_else(damaged)?;
    let context = take(&mut rest)
        .map(u32::from_le_bytes)
        .and_then(|length| usize::try_from(length).ok())
        .ok_or_else(damaged)?;
    let (context, data) = rest.split_at_checked(context).ok_or_else(damaged)?;
    Ok(LogEntry {
        index,
        term,
        kind,
        data: Bytes::copy_from_slice(data),
        context: Bytes::copy_from_slice(context),
    })
}

/// Head record: format u32, then the fields in order as u64, CRC32C; little endian.
pub(super) fn encode_head(key: &str, head: &Head) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + CRC);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    for field in [
        head.mark.index,
        head.mark.term,
        head.last,
        head.hard_state.term,
        head.hard_state.vote,
        head.hard_state.commit,
        head.commits,
    ] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    seal(key.as_bytes(), &mut out);
    out
}

/// The inverse of [`encode_head`].
pub(super) fn decode_head(key: &str, record: &[u8]) -> Result<Head, LogError> {
    let damaged_head = || damaged("the head record does not match its checksum".to_owned());
    let mut rest = unseal(key.as_bytes(), record).ok_or_else(damaged_head)?;
    let format = take(&mut rest).map(u32::from_le_bytes).ok_or_else(damaged_head)?;
    if format != FORMAT {
        return Err(damaged(format!("its format is {format}, this version knows {FORMAT}")));
    }
    let mut field = || take(&mut rest).map(u64::from_le_bytes).ok_or_else(damaged_head);
    Ok(Head {
        mark: LogMark { index: field()?, term: field()? },
        last: field()?,
        hard_state: HardState { term: field()?, vote: field()?, commit: field()? },
        commits: field()?,
    })
}

/// Opaque record: the bytes, CRC32C.
pub(super) fn encode_blob(key: &str, blob: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(blob.len() + CRC);
    out.extend_from_slice(blob);
    seal(key.as_bytes(), &mut out);
    out
}

/// The inverse of [`encode_blob`].
pub(super) fn decode_blob(key: &str, record: &[u8]) -> Result<Bytes, LogError> {
    unseal(key.as_bytes(), record)
        .map(Bytes::copy_from_slice)
        .ok_or_else(|| damaged(format!("the record {key} does not match its checksum")))
}

pub(super) fn damaged(what: String) -> LogError {
    LogError::Damaged { what }
}

fn checksum(key: &[u8], content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), content)
}

fn seal(key: &[u8], content: &mut Vec<u8>) {
    let crc = checksum(key, content);
    content.extend_from_slice(&crc.to_le_bytes());
}

fn unseal<'a>(key: &[u8], record: &'a [u8]) -> Option<&'a [u8]> {
    let (content, crc) = record.split_last_chunk::<CRC>()?;
    (checksum(key, content) == u32::from_le_bytes(*crc)).then_some(content)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_the_round_trip_and_no_flipped_bit_does() {
        let entry = LogEntry {
            index: 7,
            term: 3,
            kind: 2,
            data: Bytes::from_static(b"data"),
            context: Bytes::from_static(b"context"),
        };
        let record = encode_entry(&entry).unwrap();
        assert_eq!(decode_entry(7, &record).unwrap(), entry);
        assert!(decode_entry(8, &record).is_err(), "under another key");
        for bit in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_entry(7, &flipped).is_err(), "bit {bit}");
        }
        for length in 0..record.len() {
            assert!(decode_entry(7, &record[..length]).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn a_head_survives_the_round_trip_and_another_format_is_named() {
        let head = Head {
            mark: LogMark { index: 1, term: 2 },
            last: 3,
            hard_state: HardState { term: 4, vote: 5, commit: 6 },
            commits: 7,
        };
        let record = encode_head("head", &head);
        assert_eq!(decode_head("head", &record).unwrap(), head);
        assert!(decode_head("other", &record).is_err());

        let mut newer = record[..HEAD].to_vec();
        newer[0] = 9;
        seal(b"head", &mut newer);
        let error = decode_head("head", &newer).unwrap_err().to_string();
        assert!(error.contains("format is 9"), "{error}");
    }
}
