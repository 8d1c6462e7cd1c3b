//! Muster: an enterprise server for fleets of Pachyderm clusters, its command line and its agent.

pub mod activation;
pub mod actors;
pub mod address;
pub mod agent;
pub mod api;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dial;
pub mod entropy;
pub mod identity;
pub mod ops;
pub mod rescue;
pub mod seal;
pub mod serve;
pub mod state;
pub mod telemetry;
pub mod web;
