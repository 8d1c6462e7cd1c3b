//! The families of commands that Muster shares with pachctl, word for word: `license`,
//! `enterprise`, `config` and `version`, and the config file that both read.

pub(crate) mod config;
pub(crate) mod connect;
mod context;
pub(crate) mod contexts;
mod document;
pub(crate) mod enterprise;
pub(crate) mod failures;
mod kube;
pub(crate) mod license;
pub(crate) mod making;
pub(crate) mod target;
pub(crate) mod version;
