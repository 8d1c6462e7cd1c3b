//! How the log's file looks: a head, then extents of one size, each a row of parts.
//!
//! A part is what one write puts on the disk: a header and records, from a sector's start. Its
//! checksum covers the checksum of the part before it, so a part proves all of its predecessors. The
//! name of the log in every header, drawn by chance at its birth, keeps anything else that may lie in
//! a sector, an entry's data above all, from passing for a part.

use super::{LogError, fields::take};

/// What a disk writes whole or not at all.
pub(super) const SECTOR: usize = 512;
/// Where the first extent begins.
pub(super) const HEAD: u64 = 4096;
/// Bytes of a part before its records.
pub(super) const HEADER: usize = 48;

const MAGIC: [u8; 8] = *b"MUSTRLOG";
/// A log of another format is refused.
const FORMAT: u32 = 1;
const SHAPE: usize = 28;

const BEGINS: u32 = 1;
const CONTINUES: u32 = 2;

/// What the head of the file says, written once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// The name of the log, drawn by chance.
    pub(super) name: u64,
    /// Bytes of an extent, a multiple of the sector.
    pub(super) extent: usize,
}

impl Shape {
    /// Magic, format u32, bytes of an extent u64, name u64, CRC32C; little endian.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SECTOR);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&(self.extent as u64).to_le_bytes());
        out.extend_from_slice(&self.name.to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out.resize(SECTOR, 0);
        out
    }

    /// The inverse of [`Shape::encode`].
    pub(super) fn decode(sector: &[u8]) -> Result<Shape, LogError> {
        let foreign = || damaged("its head does not match its checksum");
        let (content, mut crc) = sector.split_at_checked(SHAPE).ok_or_else(foreign)?;
        if take(&mut crc).map(u32::from_le_bytes) != Some(crc32c::crc32c(content)) {
            return Err(foreign());
        }
        let mut rest = content;
        let magic = take(&mut rest).ok_or_else(foreign)?;
        let format = take(&mut rest).map(u32::from_le_bytes).ok_or_else(foreign)?;
        if magic != MAGIC || format != FORMAT {
            return Err(damaged(format!("its format is {format}, this version knows {FORMAT}")));
        }
        let extent = take(&mut rest).map(u64::from_le_bytes).ok_or_else(foreign)?;
        let name = take(&mut rest).map(u64::from_le_bytes).ok_or_else(foreign)?;
        let extent = usize::try_from(extent).map_err(|_| foreign())?;
        if extent < 2 * SECTOR || !extent.is_multiple_of(SECTOR) {
            return Err(foreign());
        }
        Ok(Shape { name, extent })
    }
}

/// What a part says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The name of the log.
    pub(super) name: u64,
    /// From 1, without gaps.
    pub(super) sequence: u64,
    /// The extent that the part is in, from 1 in the order they came into use.
    pub(super) extent: u64,
    /// The oldest extent that is needed once the part is on the disk.
    pub(super) needed: u64,
    /// The checksum of the part before it.
    pub(super) previous: u32,
    /// Whether a commit begins here; what an unfinished one has left is void then.
    pub(super) begins: bool,
    /// Whether the commit goes on in the next part.
    pub(super) continues: bool,
}

/// A part that matches its checksum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) header: Header,
    pub(super) records: &'a [u8],
    pub(super) crc: u32,
}

/// Bytes that a part with so many bytes of records takes.
pub(super) fn framed(records: usize) -> usize {
    (HEADER + records).next_multiple_of(SECTOR)
}

/// Puts the part into `out`, which is emptied before, and returns its checksum. The fields in order,
/// length u32, flags u32, previous u32, CRC32C, records, zeros up to the sector's end; little endian.
pub(super) fn encode(header: &Header, records: &[u8], out: &mut Vec<u8>) -> Option<u32> {
    let length = u32::try_from(records.len()).ok()?;
    let mut flags = 0;
    if header.begins {
        flags |= BEGINS;
    }
    if header.continues {
        flags |= CONTINUES;
    }
    out.clear();
    for field in [header.name, header.sequence, header.extent, header.needed] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    for field in [length, flags, header.previous] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(out), records);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(records);
    out.resize(framed(records.len()), 0);
    Some(crc)
}

/// The part of the log `name` at the start of `bytes`, if there is a whole one.
pub(super) fn decode(name: u64, bytes: &[u8]) -> Option<Part<'_>> {
    let (content, behind) = bytes.split_at_checked(HEADER)?;
    let mut rest = content;
    if take(&mut rest).map(u64::from_le_bytes) != Some(name) {
        return None;
    }
    let mut long = || take(&mut rest).map(u64::from_le_bytes);
    let (sequence, extent, needed) = (long()?, long()?, long()?);
    let mut short = || take(&mut rest).map(u32::from_le_bytes);
    let (length, flags, previous, crc) = (short()?, short()?, short()?, short()?);
    let records = behind.get(..usize::try_from(length).ok()?)?;
    let (covered, _) = content.split_last_chunk::<4>()?;
    if crc32c::crc32c_append(crc32c::crc32c(covered), records) != crc {
        return None;
    }
    let (begins, continues) = (flags & BEGINS != 0, flags & CONTINUES != 0);
    let header = Header { name, sequence, extent, needed, previous, begins, continues };
    Some(Part { header, records, crc })
}

pub(super) fn damaged(what: impl Into<String>) -> LogError {
    LogError::Damaged { what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_survives_the_round_trip_and_no_flip_passes() {
        let header = Header {
            name: 1,
            sequence: 2,
            extent: 3,
            needed: 4,
            previous: 5,
            begins: true,
            continues: false,
        };
        let mut bytes = Vec::new();
        let crc = encode(&header, &[7; 600], &mut bytes).unwrap();
        assert_eq!(bytes.len(), 2 * SECTOR);
        let part = decode(1, &bytes).unwrap();
        assert_eq!((part.header, part.records, part.crc), (header, &[7; 600][..], crc));
        assert!(decode(2, &bytes).is_none());
        for bit in 0..(HEADER + 600) * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(1, &flipped).is_none(), "bit {bit}");
        }
        for length in 0..HEADER + 600 {
            assert!(decode(1, &bytes[..length]).is_none(), "cut to {length}");
        }
    }

    #[test]
    fn a_head_survives_the_round_trip_and_another_format_is_named() {
        let shape = Shape { name: 9, extent: 4096 };
        let bytes = shape.encode();
        assert_eq!(Shape::decode(&bytes).unwrap(), shape);
        for bit in 0..(SHAPE + 4) * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Shape::decode(&flipped).is_err(), "bit {bit}");
        }
        let mut newer = bytes[..SHAPE].to_vec();
        newer[8] = 9;
        newer.extend_from_slice(&crc32c::crc32c(&newer).to_le_bytes());
        let error = Shape::decode(&newer).unwrap_err().to_string();
        assert!(error.contains("format is 9"), "{error}");
    }
}
