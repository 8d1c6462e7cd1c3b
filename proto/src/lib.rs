//! Every message and service that Muster speaks or stores, generated from the files under `proto/`.
//!
//! The packages of the public wire (`license_v2`, `enterprise_v2`, …) carry the names and numbers of
//! Pachyderm 2.0 to 2.11; `muster::log::v1` is what the replicas agree on and keep on disk.

#![expect(
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::clone_on_ref_ptr,
    unused_qualifications,
    reason = "generated code"
)]

mod masked;

include!(concat!(env!("OUT_DIR"), "/all.rs"));

/// The compiled descriptors of all files, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
