//! Puts to an etcd, for comparison.

use clap::Args;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::load::{AsyncSend, Load, Measured};
use crate::cli::output::Failure;

/// Measure puts to an etcd with the same clients, for comparison.
#[derive(Debug, Args)]
pub(in crate::cli) struct Etcd {
    #[command(flatten)]
    pub(super) load: Load,
    /// Keys to write, in turn.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) keys: u64,
    /// Bytes per value.
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(super) value_bytes: u32,
}

/// What a put needs of etcd's version 3 request.
#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "bytes", tag = "2")]
    value: bytes::Bytes,
}

impl Etcd {
    pub(super) async fn measure(&self) -> Result<Measured, Failure> {
        let channels = self.load.connect().await?;
        let mut channels = channels.into_iter().cycle();
        let value = bytes::Bytes::from(vec![b'x'; self.value_bytes as usize]);
        let (keys, step) = (self.keys, u64::from(self.load.clients));
        let putter = |number: u32| Putter {
            // Never empty: at least one target is required.
            api: channels.next().map(tonic::client::Grpc::new),
            value: value.clone(),
            first: u64::from(number),
            step,
            keys,
        };
        Ok(self.load.drive(putter).await)
    }
}

struct Putter {
    api: Option<tonic::client::Grpc<Channel>>,
    value: bytes::Bytes,
    first: u64,
    step: u64,
    keys: u64,
}

impl AsyncSend for Putter {
    async fn send(&mut self, number: u64) -> Result<(), Status> {
        let api = self.api.as_mut().ok_or_else(|| Status::internal("no connection"))?;
        let key = self.first.wrapping_add(number.wrapping_mul(self.step)) % self.keys;
        let request =
            PutRequest { key: format!("bench-{key}").into_bytes(), value: self.value.clone() };
        api.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static("/etcdserverpb.KV/Put");
        // The answer's fields do not matter.
        let codec = ProstCodec::<PutRequest, ()>::default();
        api.unary(Request::new(request), path, codec).await.map(drop)
    }
}
