//! What the parts carry: the steps of the log, one after the other, little endian.

use bytes::Bytes;

use super::{
    HardState, LogBatch, LogEntry, LogError, LogMark,
    fields::{blob, number, take},
    holdings::Base,
};

const BASE: u8 = 1;
const RESET: u8 = 2;
const ENTRY: u8 = 3;
const HARD_STATE: u8 = 4;
const CONF: u8 = 5;
const COMPACT: u8 = 6;

/// One step of the log, as it is replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// What held before the commit it stands in; the first record of an extent that begins one.
    Base(Base),
    Reset(LogMark),
    /// Replaces everything from its index on.
    Entry(LogEntry),
    HardState(HardState),
    Conf(Bytes),
    Compact(LogMark),
}

pub(super) fn put_base(base: &Base, out: &mut Vec<u8>) -> Result<(), LogError> {
    out.push(BASE);
    put_mark(base.mark, out);
    put_number(base.last, out);
    put_hard_state(base.hard_state, out);
    match &base.conf {
        None => out.push(0),
        Some(conf) => {
            out.push(1);
            put_blob(conf, out)?;
        }
    }
    Ok(())
}

pub(super) fn put_batch(batch: &LogBatch, out: &mut Vec<u8>) -> Result<(), LogError> {
    if let Some(mark) = batch.reset {
        out.push(RESET);
        put_mark(mark, out);
    }
    for entry in &batch.entries {
        out.push(ENTRY);
        put_mark(entry.mark(), out);
        out.push(entry.kind);
        put_blob(&entry.context, out)?;
        put_blob(&entry.data, out)?;
    }
    if let Some(hard_state) = batch.hard_state {
        out.push(HARD_STATE);
        put_hard_state(hard_state, out);
    }
    if let Some(conf) = &batch.conf {
        out.push(CONF);
        put_blob(conf, out)?;
    }
    Ok(())
}

pub(super) fn put_compact(through: LogMark, out: &mut Vec<u8>) {
    out.push(COMPACT);
    put_mark(through, out);
}

/// Takes the next record off `rest`; none when it is none.
pub(super) fn next(rest: &mut &[u8]) -> Option<Record> {
    let [tag] = take(rest)?;
    Some(match tag {
        BASE => Record::Base(Base {
            mark: mark(rest)?,
            last: number(rest)?,
            hard_state: hard_state(rest)?,
            conf: match take(rest)? {
                [0] => None,
                [1] => Some(Bytes::copy_from_slice(blob(rest)?)),
                _ => return None,
            },
        }),
        RESET => Record::Reset(mark(rest)?),
        ENTRY => {
            let LogMark { index, term } = mark(rest)?;
            let [kind] = take(rest)?;
            let context = Bytes::copy_from_slice(blob(rest)?);
            let data = Bytes::copy_from_slice(blob(rest)?);
            Record::Entry(LogEntry { index, term, kind, data, context })
        }
        HARD_STATE => Record::HardState(hard_state(rest)?),
        CONF => Record::Conf(Bytes::copy_from_slice(blob(rest)?)),
        COMPACT => Record::Compact(mark(rest)?),
        _ => return None,
    })
}

fn put_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_mark(mark: LogMark, out: &mut Vec<u8>) {
    put_number(mark.index, out);
    put_number(mark.term, out);
}

fn put_hard_state(hard_state: HardState, out: &mut Vec<u8>) {
    put_number(hard_state.term, out);
    put_number(hard_state.vote, out);
    put_number(hard_state.commit, out);
}

fn put_blob(blob: &[u8], out: &mut Vec<u8>) -> Result<(), LogError> {
    let length = u32::try_from(blob.len())
        .map_err(|_| LogError::Misuse { what: "a record beyond 4 GiB".to_owned() })?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(blob);
    Ok(())
}

fn mark(rest: &mut &[u8]) -> Option<LogMark> {
    Some(LogMark { index: number(rest)?, term: number(rest)? })
}

fn hard_state(rest: &mut &[u8]) -> Option<HardState> {
    Some(HardState { term: number(rest)?, vote: number(rest)?, commit: number(rest)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_round_trip_and_none_is_cut_short() {
        let place = LogMark { index: 1, term: 2 };
        let hard_state = HardState { term: 3, vote: 4, commit: 5 };
        let conf = Bytes::from_static(b"conf");
        let entry = LogEntry {
            index: 2,
            term: 2,
            kind: 1,
            data: Bytes::from_static(b"data"),
            context: Bytes::from_static(b"context"),
        };
        let base = Base { mark: place, last: 6, hard_state, conf: Some(conf.clone()) };
        let mut out = Vec::new();
        put_base(&base, &mut out).unwrap();
        let batch = LogBatch {
            reset: Some(place),
            entries: vec![entry.clone()],
            hard_state: Some(hard_state),
            conf: Some(conf.clone()),
            sync: true,
        };
        put_batch(&batch, &mut out).unwrap();
        put_compact(place, &mut out);
        let expected = [
            Record::Base(base),
            Record::Reset(place),
            Record::Entry(entry),
            Record::HardState(hard_state),
            Record::Conf(conf),
            Record::Compact(place),
        ];
        let mut rest = out.as_slice();
        for record in &expected {
            assert_eq!(next(&mut rest).as_ref(), Some(record));
        }
        assert!(rest.is_empty());
        for length in 0..out.len() {
            let mut rest = &out[..length];
            let mut whole = 0;
            while next(&mut rest).is_some() {
                whole += 1;
            }
            assert!(whole < expected.len(), "cut to {length}");
        }
    }
}
