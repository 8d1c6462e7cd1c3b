//! The families of commands that Muster shares with pachctl, word for word: `license`,
//! `enterprise`, `config` and `version`, and the config file that both read.

pub(crate) mod config;
mod context;
pub(crate) mod contexts;
mod document;
