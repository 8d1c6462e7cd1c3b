//! The queues between the edges and the group. No business rule lives here.
//!
//! ```text
//! api ──► License ───► Proposer ──► Group (crate muster-cluster) ──► Machine ──► State
//!    ├──► Session ─────┤              ▲
//!    ├──► Auditor ─────┤              │
//!    ├──► Heartbeats ──┘              │
//!    └──► Reader ─────────────────────┘
//! ops ──► Replica ────────────────────┘
//! ```
//!
//! [`License`], [`Session`], [`Heartbeats`] and [`Auditor`] are handles of `actix` actors on a thread of their own
//! ([`ActorThread`]); handles are passed in, never looked up. An actor that ends unasked ends the
//! process: the log is the truth, and half a replica is worse than none.

mod ask;
mod auditor;
mod call;
mod code;
mod gather;
mod heartbeat;
mod license;
mod machine;
mod membership;
mod proposer;
mod reader;
mod replica;
mod session;
mod thread;
mod tie;

pub use auditor::{Auditor, AuditorOptions};
pub use call::{Call, CallError, Freshness, LogPlace, NotDone, Origin};
pub use code::Codes;
pub use heartbeat::{Beaten, Heartbeats, verdicts};
pub use license::{License, LicenseOptions, NewCluster};
pub use machine::Machine;
pub use membership::{WishError, WishErrorKind};
pub use proposer::{Answered, Proposer, grows};
pub use reader::{Reader, Seen};
pub use replica::{
    GroupInfo, MemberInfo, PeerReport, Replica, ReplicaError, ReplicaInfo, Role, SavedSnapshot,
};
pub use session::{Session, SessionOptions};
pub use thread::ActorThread;
pub use tie::{Tie, TieOptions};
