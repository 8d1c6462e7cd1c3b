//! What the tests share: real replicas, clients of the wire, a sandboxed command line, a license
//! authority. Tests read as scripts; only this folder knows ports, files and processes.

pub(crate) mod authority;
pub(crate) mod cli;
pub(crate) mod client;
pub(crate) mod http;
pub(crate) mod issuer;
pub(crate) mod operator;
pub(crate) mod pachd;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod replicas;
pub(crate) mod secured;
pub(crate) mod tmpfs;
pub(crate) mod transcript;
pub(crate) mod wait;
