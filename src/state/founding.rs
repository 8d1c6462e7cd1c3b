//! A state that becomes the first one of a new group: restored from a snapshot, or taken over from
//! the one replica that a lost group left.

use muster_proto::muster::log::v1::RestoreCause;

use crate::state::State;
use crate::state::time::LogTime;

/// How far positions in the log jump: whoever read one from the group before, however much further
/// that had come, never sees a smaller one. A year of a thousand entries a second.
pub const INDEX_MARGIN: u64 = 1 << 35;

/// How far log time jumps beyond the later of the snapshot and the clock: the clocks of the group
/// before may have been ahead of this one.
pub const TIME_MARGIN_SECONDS: u64 = 10;

/// What becomes of a state that founds a group.
#[derive(Clone, Copy, Debug)]
pub struct Founding {
    /// Where it comes from.
    pub cause: RestoreCause,
    /// The position at which the new group begins; beyond the state's own.
    pub index: u64,
    /// The time of day.
    pub now: LogTime,
    /// Forget every token but root's: one that was revoked after the snapshot serves again otherwise.
    pub drop_tokens: bool,
}

impl State {
    /// Makes this the first state of a new group, in quarantine. Nothing becomes younger by it: what
    /// had expired stays so, and a replaced secret does not serve longer.
    pub fn found(&mut self, founding: Founding) {
        let later = self.time.max(founding.now);
        self.index = self.index.max(founding.index);
        self.time = later.plus_seconds(TIME_MARGIN_SECONDS);
        if founding.drop_tokens {
            self.auth.forget_sessions();
        }
        self.quarantine.begin(founding.cause, self.time);
    }
}
