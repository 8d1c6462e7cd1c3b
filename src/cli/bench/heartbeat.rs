//! Heartbeats of registered clusters.

use clap::Args;
use muster_proto::license_v2::api_client::ApiClient;
use muster_proto::license_v2::{AddClusterRequest, HeartbeatRequest};
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::Channel;

use super::load::{AsyncSend, Load, Measured};
use crate::cli::output::{self, Failure};
use crate::entropy::{self, SystemEntropy};

/// Registrations under way at a time.
const REGISTRARS: usize = 256;

/// Measure heartbeats: register clusters (they stay), then let them beat. The servers need a license.
#[derive(Debug, Args)]
pub(in crate::cli) struct Heartbeat {
    #[command(flatten)]
    pub(super) load: Load,
    /// Clusters to register, each of which beats in turn.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(super) clusters: u64,
}

impl Heartbeat {
    pub(super) async fn measure(&self) -> Result<Measured, Failure> {
        let channels = self.load.connect().await?;
        let clients: Vec<_> = channels.into_iter().map(ApiClient::new).collect();
        let fleet = Fleet {
            run: entropy::uuid(&SystemEntropy),
            secret: entropy::cluster_secret(&SystemEntropy),
        };
        self.register(&clients, &fleet).await?;
        let mut clients = clients.iter().cycle().cloned();
        let (all, step) = (self.clusters, u64::from(self.load.clients));
        let member = |number: u32| Member {
            // Never empty: at least one target is required.
            api: clients.next(),
            fleet: fleet.clone(),
            first: u64::from(number),
            step,
            all,
        };
        Ok(self.load.drive(member).await)
    }

    async fn register(&self, clients: &[ApiClient<Channel>], fleet: &Fleet) -> Result<(), Failure> {
        let mut running = JoinSet::new();
        let mut failed = None;
        for (number, client) in (0..self.clusters).zip(clients.iter().cycle()) {
            if running.len() >= REGISTRARS
                && let Some(ended) = running.join_next().await
            {
                failed = failed.or(ended.ok().and_then(Result::err));
            }
            if failed.is_some() {
                break;
            }
            let mut client = client.clone();
            let request = AddClusterRequest {
                id: fleet.id(number),
                address: "grpc://localhost:30650".to_owned(),
                secret: fleet.secret.clone(),
                ..AddClusterRequest::default()
            };
            running.spawn(async move { client.add_cluster(request).await.map(drop) });
        }
        while let Some(ended) = running.join_next().await {
            failed = failed.or(ended.ok().and_then(Result::err));
        }
        match failed {
            None => {
                output::note(&format!("registered {} clusters", self.clusters));
                Ok(())
            }
            Some(status) => Err(Failure::new("cannot register a cluster").cause(status.message())),
        }
    }
}

#[derive(Clone)]
struct Fleet {
    run: String,
    secret: String,
}

impl Fleet {
    fn id(&self, number: u64) -> String {
        format!("bench-{}-{number}", self.run)
    }
}

/// One client, which beats for every `step`th cluster.
struct Member {
    api: Option<ApiClient<Channel>>,
    fleet: Fleet,
    first: u64,
    step: u64,
    all: u64,
}

impl AsyncSend for Member {
    async fn send(&mut self, number: u64) -> Result<(), Status> {
        let api = self.api.as_mut().ok_or_else(|| Status::internal("no connection"))?;
        let request = HeartbeatRequest {
            id: self.fleet.id(self.first.wrapping_add(number.wrapping_mul(self.step)) % self.all),
            secret: self.fleet.secret.clone(),
            version: "2.11.6".to_owned(),
            auth_enabled: false,
            client_id: String::new(),
        };
        api.heartbeat(request).await.map(drop)
    }
}
