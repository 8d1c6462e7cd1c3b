//! The file format of snapshots.
//!
//! A file is a magic of 8 bytes, a head frame with the meta, one frame per chunk and a tail frame.
//! A frame is kind u8, length u32, content, CRC32C; all little endian. The CRC covers the frame's
//! number too, so frames can neither change places nor get lost. The tail holds how many chunks and
//! bytes there were and their digest, and nothing may follow it.

use std::io::{self, Read, Write};

use bytes::Bytes;

use super::{MAX_CHUNK, SnapshotMeta, meta::Digest};

/// The last byte is the version of the format.
const MAGIC: &[u8; 8] = b"MUSTSNP\x01";
const HEAD: u8 = 1;
const CHUNK: u8 = 2;
const TAIL: u8 = 3;

/// Why a file cannot be read on.
#[derive(Debug)]
pub(super) enum FrameError {
    /// The disk refused.
    Io(io::Error),
    /// The bytes are not a snapshot's.
    Damaged(String),
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> FrameError {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            damaged("it ends too early")
        } else {
            FrameError::Io(error)
        }
    }
}

fn damaged(what: &str) -> FrameError {
    FrameError::Damaged(what.to_owned())
}

/// Writes one snapshot.
pub(super) struct FrameWriter<W> {
    out: W,
    number: u64,
    digest: Digest,
}

impl<W: Write> FrameWriter<W> {
    pub(super) fn begin(out: W, meta: &SnapshotMeta) -> io::Result<FrameWriter<W>> {
        let mut writer = FrameWriter { out, number: 0, digest: Digest::default() };
        writer.out.write_all(MAGIC)?;
        let undigested = SnapshotMeta { digest: 0, ..meta.clone() };
        writer.frame(HEAD, &undigested.encode())?;
        Ok(writer)
    }

    /// The caller has held the chunk to [`MAX_CHUNK`].
    pub(super) fn chunk(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.digest.add(chunk);
        self.frame(CHUNK, chunk)
    }

    /// Writes the tail and returns what was written to, with the digest of the chunks.
    pub(super) fn finish(mut self) -> io::Result<(W, Digest)> {
        let mut tail = Vec::new();
        tail.extend_from_slice(&self.digest.records.to_le_bytes());
        tail.extend_from_slice(&self.digest.bytes.to_le_bytes());
        tail.extend_from_slice(&self.digest.crc.to_le_bytes());
        self.frame(TAIL, &tail)?;
        Ok((self.out, self.digest))
    }

    fn frame(&mut self, kind: u8, content: &[u8]) -> io::Result<()> {
        let length = u32::try_from(content.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a frame beyond 4 GiB"))?;
        self.out.write_all(&[kind])?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(content)?;
        self.out.write_all(&checksum(self.number, kind, content).to_le_bytes())?;
        self.number += 1;
        Ok(())
    }
}

/// Reads and verifies one snapshot.
pub(super) struct FrameReader<R> {
    input: R,
    number: u64,
    digest: Digest,
}

impl<R: Read> FrameReader<R> {
    /// Reads the head; the meta's digest is still unknown.
    pub(super) fn begin(mut input: R) -> Result<(FrameReader<R>, SnapshotMeta), FrameError> {
        let magic: [u8; 8] = array(&mut input)?;
        if &magic != MAGIC {
            return Err(damaged("it is no snapshot of a format this version knows"));
        }
        let mut reader = FrameReader { input, number: 0, digest: Digest::default() };
        let (kind, head) = reader.frame()?;
        if kind != HEAD {
            return Err(damaged("its head is missing"));
        }
        let meta =
            SnapshotMeta::decode(&head).map_err(|error| FrameError::Damaged(error.to_string()))?;
        Ok((reader, meta))
    }

    /// The next chunk; `None` when the whole file was read and verified.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        match self.frame()? {
            (CHUNK, chunk) => {
                self.digest.add(&chunk);
                Ok(Some(chunk.into()))
            }
            (TAIL, tail) => {
                self.verify(&tail)?;
                Ok(None)
            }
            (kind, _) => Err(FrameError::Damaged(format!(
                "frame {} is of the unknown kind {kind}",
                self.number
            ))),
        }
    }

    /// What was read so far.
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    fn verify(&mut self, mut tail: &[u8]) -> Result<(), FrameError> {
        let found = Digest {
            records: u64::from_le_bytes(array(&mut tail)?),
            bytes: u64::from_le_bytes(array(&mut tail)?),
            crc: u32::from_le_bytes(array(&mut tail)?),
        };
        if found != self.digest || !tail.is_empty() {
            return Err(damaged("its chunks are not those its tail speaks of"));
        }
        if self.input.read(&mut [0])? != 0 {
            return Err(damaged("something follows its tail"));
        }
        Ok(())
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), FrameError> {
        let [kind]: [u8; 1] = array(&mut self.input)?;
        let length = u32::from_le_bytes(array(&mut self.input)?) as usize;
        if length > MAX_CHUNK {
            return Err(FrameError::Damaged(format!(
                "frame {} claims {length} bytes",
                self.number
            )));
        }
        let mut content = vec![0; length];
        self.input.read_exact(&mut content)?;
        if u32::from_le_bytes(array(&mut self.input)?) != checksum(self.number, kind, &content) {
            return Err(FrameError::Damaged(format!(
                "frame {} does not match its checksum",
                self.number
            )));
        }
        self.number += 1;
        Ok((kind, content))
    }
}

fn array<const N: usize>(input: &mut impl Read) -> Result<[u8; N], FrameError> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn checksum(number: u64, kind: u8, content: &[u8]) -> u32 {
    let place = crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), &[kind]);
    crc32c::crc32c_append(place, content)
}
