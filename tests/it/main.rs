//! The one integration binary: real `muster` processes, real sockets, the wire as clients see it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr,
    reason = "a test that fails, panics, and tells what it saw"
)]

mod rooms;
mod support;
