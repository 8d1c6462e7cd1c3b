//! Heartbeats of registered clusters.

use clap::Args;
use muster_proto::license_v2::api_client::ApiClient;
use muster_proto::license_v2::{AddClusterRequest, HeartbeatRequest};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::load::{AsyncSend, Load, Measured, in_parallel};
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
        let fleet = Fleet::draw(None);
        fleet.register(&channels, self.clusters).await?;
        Ok(self.load.drive(Member::of(&fleet, &channels, self.clusters, &self.load)).await)
    }
}

/// The clusters of one run.
#[derive(Clone)]
pub(super) struct Fleet {
    run: String,
    secret: String,
    /// Where auth is on.
    token: Option<MetadataValue<Ascii>>,
}

impl Fleet {
    pub(super) fn draw(token: Option<MetadataValue<Ascii>>) -> Fleet {
        let run = entropy::uuid(&SystemEntropy);
        Fleet { run, secret: entropy::url_secret(&SystemEntropy), token }
    }

    fn id(&self, number: u64) -> String {
        format!("bench-{}-{number}", self.run)
    }

    pub(super) async fn register(&self, channels: &[Channel], count: u64) -> Result<(), Failure> {
        let registered = in_parallel(channels, count, REGISTRARS, |channel, number| {
            let mut request = Request::new(AddClusterRequest {
                id: self.id(number),
                address: "grpc://localhost:30650".to_owned(),
                secret: self.secret.clone(),
                ..AddClusterRequest::default()
            });
            if let Some(token) = &self.token {
                request.metadata_mut().insert("authn-token", token.clone());
            }
            async move { ApiClient::new(channel).add_cluster(request).await.map(drop) }
        });
        registered
            .await
            .map_err(|status| Failure::new("cannot register a cluster").cause(status.message()))?;
        output::note(&format!("registered {count} clusters"));
        Ok(())
    }
}

/// One client, which beats for every `step`th cluster.
pub(super) struct Member {
    api: Option<Grpc<Channel>>,
    fleet: Fleet,
    first: u64,
    step: u64,
    all: u64,
}

impl Member {
    /// Makes the clients of a load, which share the clusters.
    pub(super) fn of(
        fleet: &Fleet,
        channels: &[Channel],
        all: u64,
        load: &Load,
    ) -> impl FnMut(u32) -> Member {
        let mut channels = channels.iter().cloned().cycle();
        let (fleet, step) = (fleet.clone(), u64::from(load.clients));
        move |number| Member {
            // Never empty: at least one target is required.
            api: channels.next().map(Grpc::new),
            fleet: fleet.clone(),
            first: u64::from(number),
            step,
            all,
        }
    }
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
        api.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static("/license_v2.API/Heartbeat");
        // As with etcd's answers: the fields do not matter.
        let codec = ProstCodec::<HeartbeatRequest, ()>::default();
        api.unary(Request::new(request), path, codec).await.map(drop)
    }
}
