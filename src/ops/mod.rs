//! Probes and metrics in plain HTTP, for the platform that runs a replica. Nothing secret, and no
//! label that names a cluster or a user.

mod figures;
mod server;
mod versions;

pub use server::{Ops, Running, serve};
