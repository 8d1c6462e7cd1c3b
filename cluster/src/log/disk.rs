//! The one file under the log, as little as the log needs of it, so that a simulated disk can stand
//! in.

use std::{fs::File, io, os::unix::fs::FileExt};

/// A file of bytes that keeps for sure only what was synced.
pub trait LogDisk: Send {
    /// How long it is, bytes.
    fn size(&self) -> io::Result<u64>;

    /// Fills `out` from `offset` on; an error when the file ends before.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all of `data` at `offset`, and grows the file when that is its end.
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Makes everything written so far outlive a power cut.
    fn sync(&mut self) -> io::Result<()>;
}

impl LogDisk for File {
    fn size(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(out, offset)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_all_at(data, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
