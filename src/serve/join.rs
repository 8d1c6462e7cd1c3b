//! How a replica with an empty data folder gets into a group that has begun.

use std::fs;
use std::time::Duration;

use muster_cluster::bootstrap::{self, Started};
use muster_cluster::folder::{DataFolder, Lineage};
use muster_cluster::members::Admission;
use muster_cluster::types::GroupId;
use muster_proto::muster::v1::membership_client::MembershipClient;
use muster_proto::muster::v1::{JoinRequest, JoinResponse};
use tonic::{Code, Status};

use super::{ServeError, begin};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, Join};
use crate::dial::{self, Roots};

/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks to be let in until somebody says yes or no, and makes the folder that of the new replica.
///
/// # Errors
/// When the token is not good, or the group does not take this replica: waiting would not help.
pub(super) async fn join(
    config: &Config,
    join: &Join,
    folder: &mut DataFolder,
) -> Result<Started, ServeError> {
    let roots = match &join.ca {
        None => Roots::System,
        Some(path) => Roots::Pem(fs::read(path).map_err(|source| ServeError::File {
            setting: "join-ca",
            path: path.clone(),
            source,
        })?),
    };
    let mut last = String::new();
    loop {
        match ask(config, join, &roots).await {
            Ok(answer) => {
                let (admission, lineage) = read(&answer)
                    .ok_or_else(|| ServeError::NotLetIn("its answer cannot be read".to_owned()))?;
                return Ok(bootstrap::join(folder, &admission, lineage, SystemClock.now())?);
            }
            Err(no) if may_change(&no) => {
                if last != no.message() {
                    no.message().clone_into(&mut last);
                    tracing::warn!(address = %join.address, "not let in yet, will go on asking: {last}");
                }
            }
            Err(no) => return Err(ServeError::NotLetIn(no.message().to_owned())),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn read(answer: &JoinResponse) -> Option<(Admission, Lineage)> {
    let group = |id: &Vec<u8>| Some(GroupId(u128::from_be_bytes(id.as_slice().try_into().ok()?)));
    let before = answer.groups_before.iter().map(group).collect::<Option<_>>()?;
    let admission = Admission::decode(&answer.admission).ok()?;
    Some((admission, Lineage { epoch: answer.epoch, before }))
}

/// Whether asking again may be answered otherwise.
fn may_change(no: &Status) -> bool {
    !matches!(
        no.code(),
        Code::PermissionDenied
            | Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::Unimplemented
            | Code::ResourceExhausted
            | Code::NotFound
    )
}

async fn ask(config: &Config, join: &Join, roots: &Roots) -> Result<JoinResponse, Status> {
    let waiting = |_: &str| {};
    let channel = dial::connect(&join.address, roots, PATIENCE, waiting)
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let mut request = tonic::Request::new(JoinRequest {
        token: join.token.reveal().to_owned(),
        name: config.name.clone(),
        peer_address: begin::own_address(config),
        zone: config.zone.clone(),
    });
    request.set_timeout(PATIENCE);
    Ok(MembershipClient::new(channel).join(request).await?.into_inner())
}
