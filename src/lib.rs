//! Muster: an enterprise server for fleets of Pachyderm clusters, its command line and its agent.

pub mod address;
pub mod cli;
