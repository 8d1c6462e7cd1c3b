//! What the time that a disk takes means for its replica. Pure, so that the simulator asks the same.

use std::time::Duration;

use muster_hooks::mutant;

use crate::{core::Input, disk::DiskHealth};

/// A leader whose disk hangs for so long looks for another one.
pub const STALL: Duration = Duration::from_secs(1);
/// When nobody took over by then it falls silent, so that the others elect one.
pub const SILENCE: Duration = Duration::from_secs(5);
/// A replica whose disk hangs for so long is worse than none.
pub const HANG: Duration = Duration::from_secs(30);
/// A leader with a full disk leads for so long before it looks for another: when all disks are full,
/// leadership must not go round.
pub const FULL: Duration = Duration::from_mins(1);

/// Watches one replica's writes. Times are since any one instant, of a clock that never runs back.
#[derive(Clone, Copy, Debug, Default)]
pub struct StallWatch {
    /// When leadership was last offered to others because of the disk.
    moved_on: Option<Duration>,
    /// Since when this replica leads.
    led_since: Option<Duration>,
}

/// What is to be done about a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Nothing.
    GoOn,
    /// Somebody else should lead.
    MoveOn,
    /// This replica must not be heard as a leader any more: its core gets no ticks.
    FallSilent,
    /// The process should end.
    GiveUp,
}

impl StallWatch {
    /// Looks once a tick. `stalled` is how long the oldest write under way has taken, `full` whether
    /// there is no room for any command.
    pub fn look(&mut self, now: Duration, stalled: Duration, full: bool, leads: bool) -> Advice {
        if mutant!(HangUnnoticed) {
            return Advice::GoOn;
        }
        if stalled > HANG {
            return Advice::GiveUp;
        }
        if !leads {
            self.led_since = None;
            return Advice::GoOn;
        }
        let since = *self.led_since.get_or_insert(now);
        if stalled > SILENCE {
            return Advice::FallSilent;
        }
        let long_full = full && now.saturating_sub(since) > FULL;
        let patience = if stalled > STALL { STALL } else { FULL };
        let waited = self.moved_on.is_none_or(|at| now.saturating_sub(at) > patience);
        if !((stalled > STALL || long_full) && waited) {
            return Advice::GoOn;
        }
        self.moved_on = Some(now);
        Advice::MoveOn
    }
}

impl Advice {
    /// What one tick brings to the core of a replica whose disk is like that. The wish to hand over
    /// comes after the tick, so that it goes by what the tick told.
    pub fn inputs(self, health: DiskHealth) -> Vec<Input> {
        match self {
            Self::GoOn => vec![Input::Disk(health), Input::Tick],
            Self::MoveOn => {
                vec![Input::Disk(health), Input::Tick, Input::Transfer { to: None }]
            }
            Self::FallSilent | Self::GiveUp => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Duration = Duration::ZERO;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_hanging_disk_moves_leadership_on_and_in_the_end_ends_the_process() {
        let mut watch = StallWatch::default();
        assert_eq!(watch.look(at(1), at(1), false, true), Advice::GoOn);
        assert_eq!(watch.look(at(3), at(2), false, true), Advice::MoveOn);
        assert_eq!(watch.look(at(4), at(3), false, true), Advice::GoOn, "it was just asked");
        assert_eq!(watch.look(at(5), at(4), false, true), Advice::MoveOn);
        assert_eq!(watch.look(at(7), at(6), false, true), Advice::FallSilent, "nobody took over");
        assert_eq!(watch.look(at(8), at(7), false, false), Advice::GoOn);
        assert_eq!(watch.look(at(33), at(31), false, false), Advice::GiveUp);
    }

    #[test]
    fn a_full_disk_moves_leadership_on_once_a_minute() {
        let mut watch = StallWatch::default();
        assert_eq!(watch.look(at(1), NONE, true, true), Advice::GoOn);
        assert_eq!(watch.look(at(62), NONE, true, true), Advice::MoveOn);
        assert_eq!(watch.look(at(90), NONE, true, true), Advice::GoOn);
        assert_eq!(watch.look(at(123), NONE, true, true), Advice::MoveOn);
        watch.look(at(124), NONE, true, false);
        assert_eq!(watch.look(at(190), NONE, true, true), Advice::GoOn, "it leads anew");
    }
}
