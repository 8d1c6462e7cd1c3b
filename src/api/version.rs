//! `versionpb_v2.API`: the Pachyderm version that this server stands in for.

use std::fmt;

use muster_proto::versionpb_v2::{Version, api_server::Api};
use tonic::{Request, Response, Status};

/// A Pachyderm version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompatVersion {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number.
    pub micro: u32,
    /// What follows, its separator included.
    pub additional: String,
}

impl CompatVersion {
    /// As it goes over the wire.
    pub fn on_wire(&self) -> Version {
        Version {
            major: self.major,
            minor: self.minor,
            micro: self.micro,
            additional: self.additional.clone(),
            ..Version::default()
        }
    }
}

impl fmt::Display for CompatVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}{}", self.major, self.minor, self.micro, self.additional)
    }
}

/// The service.
#[derive(Clone, Debug)]
pub(super) struct VersionService(pub(super) CompatVersion);

#[tonic::async_trait]
impl Api for VersionService {
    async fn get_version(&self, _request: Request<()>) -> Result<Response<Version>, Status> {
        Ok(Response::new(self.0.on_wire()))
    }
}
