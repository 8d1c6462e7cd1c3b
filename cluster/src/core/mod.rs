//! One replica's part in the agreement: pure, without threads, clocks, sockets or files.

mod config;
mod io;
pub mod message;

pub use config::{CoreConfig, SnapshotPolicy};
pub use io::{Input, Leadership, Output, Proposal, Role};
