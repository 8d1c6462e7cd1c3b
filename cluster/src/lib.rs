//! Consensus for Muster: a *group* of *replicas* that agree on one log of opaque commands.
//! (The crate is called `cluster`; inside it nothing else is: a cluster is a registered Pachyderm
//! cluster, and this crate knows none.)

pub mod bootstrap;
pub mod core;
pub mod disk;
mod driver;
mod durable;
pub mod folder;
pub mod group;
pub mod log;
pub mod machine;
pub mod members;
pub mod net;
pub mod rescue;
pub mod sessions;
pub mod snapshot;
pub mod stall;
pub mod types;
