//! A fence beside the log: how many parts were acknowledged.
//!
//! After a crash the last part of the log is dropped when it does not verify. One torn by the crash
//! and an acknowledged one damaged later look the same. The fence tells them apart: it is written,
//! without fsync, after each part has been made durable, so a log with fewer parts than the fence says
//! has lost something acknowledged. A killed process leaves the fence exact; a power cut leaves it some
//! seconds behind, which only narrows what it can prove.

use std::{fmt, fs::OpenOptions, io, path::Path};

use super::LogDisk;

const LENGTH: usize = 12;

/// The open fence file.
pub(super) struct Fence {
    disk: Box<dyn LogDisk>,
    acknowledged: u64,
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fence").field("acknowledged", &self.acknowledged).finish_non_exhaustive()
    }
}

impl Fence {
    /// Opens or creates the fence. One that does not verify proves nothing and counts as 0: it was
    /// never fsynced, so a crash may have left it so.
    pub(super) fn open(path: &Path) -> io::Result<Fence> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Self::on(Box::new(file))
    }

    /// As [`Fence::open`], on a disk of its own.
    pub(super) fn on(disk: Box<dyn LogDisk>) -> io::Result<Fence> {
        let size = usize::try_from(disk.size()?).unwrap_or(usize::MAX);
        let mut content = vec![0; size.min(64)];
        disk.read_at(0, &mut content)?;
        Ok(Fence { disk, acknowledged: decode(&content).unwrap_or(0) })
    }

    /// At least so many parts were acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Remembers that so many `parts` are on the disk.
    pub(super) fn raise(&mut self, parts: u64) -> io::Result<()> {
        let number = parts.to_le_bytes();
        let mut content = [0; LENGTH];
        for (to, from) in
            content.iter_mut().zip(number.into_iter().chain(crc32c::crc32c(&number).to_le_bytes()))
        {
            *to = from;
        }
        self.disk.write_at(0, &content)?;
        self.acknowledged = parts;
        Ok(())
    }

    /// Makes the fence outlive a power cut.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.disk.sync()
    }
}

fn decode(content: &[u8]) -> Option<u64> {
    let content: &[u8; LENGTH] = content.try_into().ok()?;
    let (number, crc) = content.split_first_chunk::<8>()?;
    (crc == crc32c::crc32c(number).to_le_bytes()).then(|| u64::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fence_is_remembered_and_a_damaged_one_proves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fence");
        let mut fence = Fence::open(&path).unwrap();
        assert_eq!(fence.acknowledged(), 0);
        fence.raise(300).unwrap();
        fence.raise(299).unwrap();
        assert_eq!(Fence::open(&path).unwrap().acknowledged(), 299);

        let good = std::fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut flipped = good.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, flipped).unwrap();
            assert_eq!(Fence::open(&path).unwrap().acknowledged(), 0, "bit {bit}");
        }
    }
}
