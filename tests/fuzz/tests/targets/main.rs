//! The fuzz targets. As ordinary tests they try a bounded number of inputs; `../run` has a fuzzer that
//! watches coverage drive the same ones for as long as you like.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a target that fails, panics")]

mod codes;
mod commands;
mod disk;
mod files;
mod peers;
mod replay;
mod words;
