//! What a replica is told at start: defaults, under a TOML file, under `MUSTER_*` variables, under
//! flags. [`Flags`] is the flags as given; [`Settings`] joins the four; [`Config`] is what holds, with
//! everything that is wrong reported at once.

#![warn(clippy::as_conversions, clippy::wildcard_enum_match_arm)]

mod auth_config;
mod check;
mod keys;
mod resolved;
mod roles;
mod secret;
mod settings;
mod values;

pub use auth_config::{AuthConfig, OidcDocument};
pub use keys::Flags;
pub use resolved::{
    ApiTls, Audit, Config, Join, PachydermEnvironment, PeerTls, Seed, Snapshots, Timers,
};
pub use secret::Secret;
pub use settings::{Origin, Settings};

/// Everything that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);
