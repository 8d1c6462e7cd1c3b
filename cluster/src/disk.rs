//! How much room the disk of the data folder has left.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::stall::STALL;

/// Below which room a disk is said to be filling or low. Of a pair the larger amount decides, but the
/// one in bytes counts for no more than a quarter of a small disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskLimits {
    /// Room that is worth a warning.
    pub filling: Room,
    /// Room below which commands that let the state grow are refused.
    pub low: Room,
}

/// An amount of free room, as a part of the disk and in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Hundredths of the whole disk.
    pub percent: u8,
    /// Bytes.
    pub bytes: u64,
}

impl Default for DiskLimits {
    fn default() -> DiskLimits {
        DiskLimits {
            filling: Room { percent: 10, bytes: 1024 * MIB },
            low: Room { percent: 5, bytes: 512 * MIB },
        }
    }
}

const MIB: u64 = 1024 * 1024;

/// What a replica does about its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskState {
    /// There is room.
    Roomy,
    /// Somebody should look; nothing is refused.
    Filling,
    /// Commands that let the state grow are refused; heartbeats, deletes and compaction go on.
    Low,
}

/// How a disk is, as far as others care.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskHealth {
    /// It can be written to.
    #[default]
    Sound,
    /// It is [`DiskState::Low`].
    Low,
    /// It has no room for any command.
    Full,
    /// It has not finished a write for longer than [`crate::stall::STALL`].
    Hangs,
    /// A newer release knows how.
    Unknown,
}

impl DiskHealth {
    /// Of a disk whose oldest write under way has taken `stalled`.
    pub fn of(stalled: Duration, low: bool, full: bool) -> Self {
        if stalled > STALL {
            Self::Hangs
        } else if full {
            Self::Full
        } else if low {
            Self::Low
        } else {
            Self::Sound
        }
    }

    /// As it is told to others; never 0.
    pub fn number(self) -> u32 {
        match self {
            Self::Sound => 1,
            Self::Low => 2,
            Self::Full => 3,
            Self::Hangs => 4,
            Self::Unknown => 5,
        }
    }

    /// The inverse.
    pub fn of_number(number: u32) -> Self {
        match number {
            1 => Self::Sound,
            2 => Self::Low,
            3 => Self::Full,
            4 => Self::Hangs,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for DiskHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sound => "is sound",
            Self::Low => "is low: make room on it",
            Self::Full => "is full: make room on it",
            Self::Hangs => "hangs",
            Self::Unknown => "is not well, for a reason that this release does not know",
        })
    }
}

/// Room on the disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// What this process may still write.
    pub available: u64,
    /// The whole disk.
    pub total: u64,
}

/// Below this much room on the disk no command is taken: a log that cannot be written ends the
/// replica, and it needs room to shrink again.
const ROOM: u64 = 64 * MIB;

impl DiskSpace {
    /// Whether so little room is left that no command may be taken.
    pub fn is_full(self) -> bool {
        self.available < ROOM
    }
}

/// Watches the disk of one folder. It leaves a state by itself once there is a tenth more room than
/// the limit asks for, so that a disk at the limit does not flicker.
#[derive(Clone, Debug)]
pub struct DiskWatch {
    folder: PathBuf,
    limits: DiskLimits,
    state: DiskState,
}

impl DiskWatch {
    /// A watch over the disk of `folder`.
    pub fn new(folder: &Path, limits: DiskLimits) -> DiskWatch {
        DiskWatch { folder: folder.to_owned(), limits, state: DiskState::Roomy }
    }

    /// Looks at the disk now. Cheap, but asks the operating system: some seconds apart is plenty.
    pub fn look(&mut self) -> io::Result<(DiskState, DiskSpace)> {
        let stats = fs4::statvfs(&self.folder)?;
        let space = DiskSpace { available: stats.available_space(), total: stats.total_space() };
        Ok((self.judge(space), space))
    }

    /// What was found last.
    pub fn state(&self) -> DiskState {
        self.state
    }

    /// As [`DiskWatch::look`] with what the operating system would have said.
    pub fn judge(&mut self, space: DiskSpace) -> DiskState {
        let entered = self.limits.state(space.available, space.total);
        // Seen with the margin taken off: a state is left only when even this looks better.
        let margin = space.available - space.available / 11;
        let kept = self.limits.state(margin, space.total).min(self.state);
        self.state = entered.max(kept);
        self.state
    }
}

impl DiskLimits {
    fn state(&self, available: u64, total: u64) -> DiskState {
        if available < self.low.of(total) {
            DiskState::Low
        } else if available < self.filling.of(total) {
            DiskState::Filling
        } else {
            DiskState::Roomy
        }
    }
}

impl Room {
    /// The room asked for on a disk of `total` bytes.
    fn of(self, total: u64) -> u64 {
        let part = total / 100 * u64::from(self.percent);
        part.max(self.bytes.min(total / 4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1024 * MIB;

    fn watch() -> DiskWatch {
        DiskWatch::new(Path::new("."), DiskLimits::default())
    }

    fn state(available: u64, total: u64) -> DiskState {
        watch().judge(DiskSpace { available, total })
    }

    #[test]
    fn the_larger_of_part_and_bytes_decides() {
        assert_eq!(state(600 * MIB, 8 * GIB), DiskState::Filling);
        assert_eq!(state(500 * MIB, 8 * GIB), DiskState::Low);
        assert_eq!(state(4 * GIB, 100 * GIB), DiskState::Low);
        assert_eq!(state(6 * GIB, 100 * GIB), DiskState::Filling);
        assert_eq!(state(11 * GIB, 100 * GIB), DiskState::Roomy);
    }

    #[test]
    fn a_small_disk_is_not_low_from_the_start() {
        assert_eq!(state(400 * MIB, 400 * MIB), DiskState::Roomy);
        assert_eq!(state(90 * MIB, 400 * MIB), DiskState::Low);
        assert_eq!(state(0, 0), DiskState::Roomy);
    }

    #[test]
    fn a_state_is_left_by_itself_but_not_at_the_limit() {
        let mut watch = watch();
        let total = 8 * GIB;
        let mut judge =
            |available: u64| watch.judge(DiskSpace { available: available * MIB, total });
        assert_eq!(judge(2000), DiskState::Roomy);
        assert_eq!(judge(511), DiskState::Low);
        assert_eq!(judge(520), DiskState::Low, "within the margin");
        assert_eq!(judge(570), DiskState::Filling);
        assert_eq!(judge(1030), DiskState::Filling, "within the margin");
        assert_eq!(judge(1200), DiskState::Roomy);
        assert_eq!(judge(520), DiskState::Filling, "entered without a margin");
        assert_eq!(judge(8000), DiskState::Roomy);
    }

    #[test]
    fn a_real_folder_has_a_disk_and_a_missing_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = DiskWatch::new(folder.path(), DiskLimits::default());
        let (state, space) = watch.look().unwrap();
        assert_eq!(watch.state(), state);
        assert!(space.available <= space.total);
        let missing = folder.path().join("missing");
        DiskWatch::new(&missing, DiskLimits::default()).look().unwrap_err();
    }
}
