//! What the fuzz targets share: good bytes, and what is done to them.
//!
//! A target draws a [`Damage`]: which good sample, and a few edits of it. So even the engine that
//! draws at random gets past magic numbers and lengths, and one that watches coverage steers the
//! edits.

use std::fs;
use std::path::{Path, PathBuf};

use bolero::TypeGenerator;

/// Good bytes, and edits of them.
#[derive(Clone, Debug, TypeGenerator)]
pub struct Damage {
    sample: u16,
    edits: Vec<Edit>,
}

/// One edit. Places count modulo the length.
#[derive(Clone, Debug, TypeGenerator)]
enum Edit {
    Flip(u32, u8),
    Set(u32, u8),
    Insert(u32, u8),
    Remove(u32, u8),
    Repeat(u32, u8),
    Swap(u32, u32),
    Cut(u32),
    /// The rest is that of another sample.
    Graft(u32, u16),
}

/// Edits that are made at the most; more leave nothing to recognize.
const MOST: usize = 8;

impl Damage {
    /// Good bytes without a scratch.
    pub fn none(sample: u16) -> Damage {
        Damage { sample, edits: Vec::new() }
    }

    /// The number of its sample.
    pub fn which(&self) -> u16 {
        self.sample
    }

    /// What the edits make of one of the samples; `samples` must not be empty.
    pub fn of(&self, samples: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = pick(samples, self.sample).to_vec();
        for edit in self.edits.iter().take(MOST) {
            edit.make(&mut bytes, samples);
        }
        bytes
    }

    /// One bit of a good sample, turned.
    pub fn one_bit(&self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        let (at, bit) = match self.edits.first() {
            Some(Edit::Flip(at, bit) | Edit::Set(at, bit)) => (*at, *bit),
            Some(Edit::Cut(at) | Edit::Graft(at, _) | Edit::Swap(at, _)) => (*at, 0),
            Some(Edit::Insert(at, bit) | Edit::Remove(at, bit) | Edit::Repeat(at, bit)) => {
                (*at, *bit)
            }
            None => (u32::from(self.sample), 0),
        };
        let at = place(at, bytes.len().max(1));
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << (bit % 8);
        }
        bytes
    }
}

impl Edit {
    fn make(&self, bytes: &mut Vec<u8>, samples: &[Vec<u8>]) {
        let length = bytes.len();
        match *self {
            Edit::Flip(at, bit) => {
                if let Some(byte) = bytes.get_mut(place(at, length.max(1))) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Edit::Set(at, to) => {
                if let Some(byte) = bytes.get_mut(place(at, length.max(1))) {
                    *byte = to;
                }
            }
            Edit::Insert(at, byte) => bytes.insert(place(at, length + 1), byte),
            Edit::Remove(at, count) => {
                let from = place(at, length + 1);
                let to = length.min(from + usize::from(count));
                bytes.drain(from..to);
            }
            Edit::Repeat(at, count) => {
                let from = place(at, length + 1);
                let to = length.min(from + usize::from(count));
                bytes.extend_from_within(from..to);
            }
            Edit::Swap(one, other) if length > 0 => {
                bytes.swap(place(one, length), place(other, length));
            }
            Edit::Swap(..) => {}
            Edit::Cut(at) => bytes.truncate(place(at, length + 1)),
            Edit::Graft(at, sample) => {
                let at = place(at, length + 1);
                bytes.truncate(at);
                bytes.extend(pick(samples, sample).iter().skip(at));
            }
        }
    }
}

fn place(at: u32, places: usize) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX) % places
}

fn pick(samples: &[Vec<u8>], which: u16) -> &[u8] {
    samples.get(usize::from(which) % samples.len().max(1)).map_or(&[], Vec::as_slice)
}

/// The checked-in samples of one kind, in the order of their names.
///
/// # Panics
/// When there are none: then nothing would be tried.
#[expect(clippy::expect_used, reason = "a test without its samples tries nothing")]
pub fn samples(kind: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(kind);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the samples are checked in")
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no samples in {}", folder.display());
    files.iter().map(|file| fs::read(file).expect("a sample can be read")).collect()
}
