//! `muster.v1.Replica`: what operators ask of this replica.

use muster_proto::muster::v1::replica_server;
use muster_proto::muster::v1::{
    MemberStatus, ReplicaStatus, Role as WireRole, SaveSnapshotRequest, SaveSnapshotResponse,
    SnapshotChunk, StatusRequest, TransferLeaderRequest, TransferLeaderResponse,
};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::caller::Desk;
use crate::actors::{Call, CallError, MemberInfo, Reader, Replica, Role};
use crate::state::access::Need;
use crate::state::{LogTime, State};
use muster_proto::auth_v2::Permission;

/// Bytes of a snapshot that are sent at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// So many of them wait for a client that is slower than the disk.
const CHUNKS_WAITING: usize = 4;

/// The service.
#[derive(Clone)]
pub(super) struct ReplicaService {
    pub(super) replica: Replica,
    pub(super) reader: Reader,
    pub(super) desk: Desk,
}

impl ReplicaService {
    /// Who may look is judged by the state of this replica alone: an operator must see something when
    /// nothing else works.
    fn may_look(&self, call: &Call) -> Result<(), Status> {
        self.judge(&self.reader.local(), call, Permission::ClusterDebugDump)
    }

    /// Who may act is judged by the state that the group agrees on, which knows of every token that was
    /// revoked; and it takes what only an administrator has.
    async fn may_act(&self, call: &Call) -> Result<(), Status> {
        let view = self.reader.current(call.deadline).await?;
        self.judge(&view, call, Permission::ClusterEnterprisePause)
    }

    fn judge(&self, view: &State, call: &Call, permission: Permission) -> Result<(), Status> {
        let need = Need::PermissionIfOn(permission);
        let judged = view.require(Some(&call.caller), need, self.desk.now());
        Ok(judged.map_err(CallError::Rejected)?)
    }
}

#[tonic::async_trait]
impl replica_server::Replica for ReplicaService {
    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<ReplicaStatus>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        self.may_look(&call)?;
        let info = self.replica.info();
        Ok(Response::new(ReplicaStatus {
            id: info.id,
            name: info.name,
            group: info.group,
            role: role(info.role).into(),
            leader: info.leader.unwrap_or_default(),
            term: info.term,
            commit_index: info.commit,
            applied_index: info.applied,
            last_index: info.last,
            log_bytes: info.log_bytes,
            applied_time: LogTime(info.time_us).on_wire(),
            leader_seen_ms: info.leader_age.map(millis),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            draining: info.draining,
            quarantined: info.quarantined,
            members: info.members.into_iter().map(member).collect(),
        }))
    }

    async fn transfer_leader(
        &self,
        request: Request<TransferLeaderRequest>,
    ) -> Result<Response<TransferLeaderResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        self.may_act(&call).await?;
        let to = request.into_inner().to;
        let to = Some(to.as_str()).filter(|to| !to.is_empty());
        let leader = self.replica.transfer_leader(to, call.deadline).await?;
        Ok(Response::new(TransferLeaderResponse { leader: leader.unwrap_or_default() }))
    }

    type FetchSnapshotStream = ReceiverStream<Result<SnapshotChunk, Status>>;

    async fn fetch_snapshot(
        &self,
        request: Request<SaveSnapshotRequest>,
    ) -> Result<Response<Self::FetchSnapshotStream>, Status> {
        let (place, call) = self.desk.open(&request)?;
        self.may_act(&call).await?;
        let saved = self.replica.save_snapshot().await?;
        let file = File::open(&saved.path).await.map_err(|error| unreadable(&error))?;
        let (chunks, stream) = mpsc::channel(CHUNKS_WAITING);
        tokio::spawn(async move {
            let _place = place;
            send_file(file, chunks).await;
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn save_snapshot(
        &self,
        request: Request<SaveSnapshotRequest>,
    ) -> Result<Response<SaveSnapshotResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        self.may_act(&call).await?;
        let saved = self.replica.save_snapshot().await?;
        Ok(Response::new(SaveSnapshotResponse {
            path: saved.path.display().to_string(),
            index: saved.index,
            term: saved.term,
        }))
    }
}

/// Sends the whole of a file, as fast as the client takes it.
async fn send_file(mut file: File, chunks: mpsc::Sender<Result<SnapshotChunk, Status>>) {
    loop {
        let mut content = Vec::with_capacity(CHUNK_BYTES);
        let read = (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut content).await;
        let chunk = match read {
            Ok(0) => return,
            Ok(_) => Ok(SnapshotChunk { content }),
            Err(error) => Err(unreadable(&error)),
        };
        let is_last = chunk.is_err();
        // A client that went away is no harm.
        if chunks.send(chunk).await.is_err() || is_last {
            return;
        }
    }
}

fn unreadable(error: &std::io::Error) -> Status {
    Status::internal(format!("the snapshot cannot be read: {error}"))
}

fn role(role: Role) -> WireRole {
    match role {
        Role::Follower => WireRole::Follower,
        Role::Candidate => WireRole::Candidate,
        Role::Leader => WireRole::Leader,
        Role::Observer => WireRole::Observer,
    }
}

fn member(member: MemberInfo) -> MemberStatus {
    MemberStatus {
        id: member.id,
        name: member.name,
        peer_address: member.address,
        matched_index: member.matched,
        last_contact_ms: member.contact_age.map(millis),
        voter: member.voter,
    }
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
