//! The one integration binary: real `muster` processes, real sockets, the wire as clients see it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr,
    reason = "a test that fails, panics, and tells what it saw"
)]

mod admin;
mod audit;
mod auth;
mod auth_access;
mod auth_lines;
mod command_line;
mod connections;
mod contexts;
mod defects;
mod demo;
mod encryption;
mod enterprise;
mod flags;
mod folder;
mod input;
mod license;
mod licensing;
mod limits;
mod login;
mod machine;
mod member;
mod membership;
mod ops;
mod pachctl;
mod pachctl_auth;
mod parsers;
mod promises;
mod rescue;
mod rooms;
mod sealed;
mod secrets;
mod staleness;
mod support;
mod survive;
mod tie;
mod tokens;
