//! The threads around a core.
//!
//! ```text
//!  clients, peers, ticks ─▶ inbox ─▶ core ─┬─▶ log writer ──▶ inbox (persisted)
//!                                          ├─▶ applier ─────▶ waiting clients, view, inbox (applied)
//!                                          ├─▶ keeper of snapshots ─▶ inbox, peers
//!                                          └─▶ peers
//! ```
//!
//! The core is turned by whoever brings it something (`turns`), the rest have threads of their own.
//! Batches form by draining: whatever waits is taken at once, and nobody waits for more to come.

mod applier;
mod desk;
mod end;
mod inbox;
mod keeper;
mod metrics;
mod runner;
mod shared;
mod start;
#[cfg(test)]
mod tests;
mod turns;
mod writer;

pub use end::{Ended, REMOVED};

pub(crate) use desk::NoTicket;
pub(crate) use shared::Shared;
pub(crate) use start::start;

/// Jobs that may wait for a thread; the core waits when there are more.
const QUEUE: usize = 1024;
