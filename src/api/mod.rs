//! The gRPC edge: one file per service, each of which turns a request into a call and its outcome
//! into an answer. No rule lives here. Metadata is read in `caller`, errors become codes and texts
//! in `status`, and `server` puts the services behind one listener.

mod accept;
mod admin;
mod audit;
mod auth;
mod body;
mod caller;
mod connection;
mod enterprise;
mod entrance;
mod fleet;
mod identity;
mod lanes;
mod license;
mod limits;
mod measure;
mod membership;
mod operator;
mod replica;
mod restore;
mod retry;
mod selfhood;
mod server;
mod staleness;
mod status;
mod times;
mod tls;
mod version;

pub use lanes::Lanes;
pub use limits::{Network, Origins, Rate, RateLimits, RateRules};
pub use replica::report;
pub use selfhood::Selfhood;
pub use server::{Api, ApiOptions, serve};
pub use tls::{ApiTls, ApiTlsError};
pub use version::CompatVersion;
