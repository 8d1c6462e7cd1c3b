//! The audit log outside the group: as lines of JSON, in a file that follows the state, and verified
//! without a server.

mod line;
mod sink;
mod verify;

pub use line::{Line, LineError};
pub use sink::{Sink, SinkError, SinkOptions, Sinking};
pub use verify::{Verified, VerifyError, verify};
