//! How bytes are cut into frames.
//!
//! `length u32` (of what follows), `kind u8`, `CRC32C u32` (of kind and payload), `payload`; numbers
//! are big-endian. Nothing of a payload is looked at before length and checksum are right.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder, LengthDelimitedCodec, LengthDelimitedCodecError};

/// Kind and checksum.
const HEADER: usize = 5;

/// What a frame is for. The numbers are part of the wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Hello = 1,
    Welcome = 2,
    Refusal = 3,
    Message = 4,
    Question = 5,
    Answer = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Hello,
            2 => Kind::Welcome,
            3 => Kind::Refusal,
            4 => Kind::Message,
            5 => Kind::Question,
            6 => Kind::Answer,
            _ => return None,
        })
    }
}

/// One frame, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    pub payload: Bytes,
}

/// Why bytes are not a frame. The connection is of no use afterwards.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("a frame longer than allowed")]
    TooLong,
    #[error("a frame shorter than its header")]
    TooShort,
    #[error("a frame of unknown kind {0}")]
    UnknownKind(u8),
    #[error("a frame with a wrong checksum")]
    Checksum,
}

/// Cuts a byte stream into frames and back.
pub struct FrameCodec {
    lengths: LengthDelimitedCodec,
}

impl FrameCodec {
    /// Refuses payloads over `limit` bytes before it reserves memory for them.
    pub fn new(limit: usize) -> FrameCodec {
        FrameCodec {
            lengths: LengthDelimitedCodec::builder().max_frame_length(limit + HEADER).new_codec(),
        }
    }

    /// From here on payloads of up to `limit` bytes are taken.
    pub fn set_limit(&mut self, limit: usize) {
        self.lengths.set_max_frame_length(limit + HEADER);
    }
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = FrameError;

    fn decode(&mut self, source: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let body = match self.lengths.decode(source) {
            Ok(Some(body)) => body,
            Ok(None) => return Ok(None),
            Err(error) => return Err(too_long_or_io(error)),
        };
        let mut body = body.freeze();
        let kind = body.try_get_u8().map_err(|_| FrameError::TooShort)?;
        let checksum = body.try_get_u32().map_err(|_| FrameError::TooShort)?;
        if checksum != sum(kind, &body) {
            return Err(FrameError::Checksum);
        }
        let kind = Kind::from_byte(kind).ok_or(FrameError::UnknownKind(kind))?;
        Ok(Some(Frame { kind, payload: body }))
    }
}

impl Encoder<Frame> for FrameCodec {
    type Error = FrameError;

    fn encode(&mut self, frame: Frame, target: &mut BytesMut) -> Result<(), FrameError> {
        if frame.payload.len() + HEADER > self.lengths.max_frame_length() {
            return Err(FrameError::TooLong);
        }
        put(frame.kind, &frame.payload, target);
        Ok(())
    }
}

/// Appends one frame. The caller has checked that the payload is no longer than `MAX_PAYLOAD`.
pub fn put(kind: Kind, payload: &[u8], target: &mut BytesMut) {
    let length = u32::try_from(payload.len() + HEADER).unwrap_or(u32::MAX);
    target.reserve(payload.len() + HEADER + 4);
    target.put_u32(length);
    target.put_u8(kind as u8);
    target.put_u32(sum(kind as u8, payload));
    target.put_slice(payload);
}

fn sum(kind: u8, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&[kind]), payload)
}

fn too_long_or_io(error: std::io::Error) -> FrameError {
    let too_long = error
        .get_ref()
        .is_some_and(<dyn std::error::Error + Send + Sync>::is::<LengthDelimitedCodecError>);
    if too_long { FrameError::TooLong } else { FrameError::Io(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(kind: Kind, payload: &[u8]) -> BytesMut {
        let mut bytes = BytesMut::new();
        put(kind, payload, &mut bytes);
        bytes
    }

    #[test]
    fn a_frame_survives_the_way_there_and_back() {
        let mut bytes = encoded(Kind::Message, b"append");
        let frame = FrameCodec::new(100).decode(&mut bytes).unwrap().unwrap();
        assert_eq!(frame, Frame { kind: Kind::Message, payload: Bytes::from_static(b"append") });
        assert!(bytes.is_empty());
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let sound = encoded(Kind::Message, b"append");
        for bit in 0..sound.len() * 8 {
            let mut bytes = sound.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let decoded = FrameCodec::new(100).decode(&mut bytes);
            assert!(!matches!(decoded, Ok(Some(_))), "bit {bit} passed");
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_from_its_length_alone() {
        let mut bytes = BytesMut::from(&u32::MAX.to_be_bytes()[..]);
        let refused = FrameCodec::new(100).decode(&mut bytes);
        assert!(matches!(refused, Err(FrameError::TooLong)), "{refused:?}");
        assert!(bytes.capacity() < 1000);
    }

    #[test]
    fn a_cut_frame_waits_for_its_rest() {
        let sound = encoded(Kind::Hello, b"hello");
        for length in 0..sound.len() {
            let mut bytes = BytesMut::from(&sound[..length]);
            assert!(FrameCodec::new(100).decode(&mut bytes).unwrap().is_none());
        }
    }
}
