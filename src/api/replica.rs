//! `muster.v1.Replica`: what operators ask of this replica.

use bytes::Bytes;
use muster_proto::muster::v1::replica_server;
use muster_proto::muster::v1::{
    GroupStatus, GroupStatusRequest, MemberStatus, ReplicaStatus, Report, Role as WireRole,
    SaveSnapshotRequest, SaveSnapshotResponse, SnapshotChunk, StatusRequest, TransferLeaderRequest,
    TransferLeaderResponse,
};
use prost::Message as _;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::caller::Desk;
use super::operator::Operators;
use crate::actors::{MemberInfo, Replica, ReplicaInfo, Role};
use crate::state::LogTime;

/// Bytes of a snapshot that are sent at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// So many of them wait for a client that is slower than the disk.
const CHUNKS_WAITING: usize = 4;

/// Bytes of a report that a peer is given: a frame before the other side is known holds 16 KiB.
const REPORT_BYTES_MAX: usize = 12 * 1024;

/// The service.
#[derive(Clone)]
pub(super) struct ReplicaService {
    pub(super) replica: Replica,
    pub(super) operators: Operators,
    pub(super) desk: Desk,
}

impl ReplicaService {
    /// What every member says, asked now.
    async fn everybody(&self) -> GroupStatus {
        let (own, group) = (self.replica.info(), self.replica.group_info());
        let told = self.replica.ask_peers().await;
        let replicas = own.members.iter().map(|member| {
            let answer = if member.id == own.id {
                Ok(standing(own.clone()))
            } else {
                let told = told.iter().find(|told| told.id == member.id);
                read(told.map(|told| &told.report))
            };
            let (status, silence) = match answer {
                Ok(status) => (Some(status), String::new()),
                Err(silence) => (None, silence),
            };
            Report {
                id: member.id.clone(),
                name: member.name.clone(),
                peer_address: member.address.clone(),
                voter: member.voter,
                zone: member.zone.clone(),
                status,
                silence,
            }
        });
        let mut replicas: Vec<Report> = replicas.collect();
        replicas.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
        GroupStatus {
            group: own.group.clone(),
            replicas,
            change: group.change,
            removed: u64::try_from(group.removed).unwrap_or(u64::MAX),
            target_voters: group.target_voters,
            change_id: group.change_id,
            change_half_done: group.change_half_done,
            dead_after_seconds: group.dead_after.map_or(0, |silence| silence.as_secs()),
        }
    }
}

/// What a peer that asks how this replica is gets to read: see `read`.
pub fn report(info: ReplicaInfo) -> Vec<u8> {
    let mut status = standing(info);
    let whole = status.encode_to_vec();
    if whole.len() <= REPORT_BYTES_MAX {
        return whole;
    }
    // A frame between strangers has little room; the members are known anyway.
    status.members.clear();
    status.encode_to_vec()
}

/// A peer's report, or why there is none.
fn read(report: Option<&Result<Bytes, String>>) -> Result<ReplicaStatus, String> {
    match report {
        None => Err("it became a member just now".to_owned()),
        Some(Err(silence)) => Err(silence.clone()),
        Some(Ok(bytes)) => ReplicaStatus::decode(bytes.clone())
            .map_err(|error| format!("its answer cannot be read: {error}")),
    }
}

fn standing(info: ReplicaInfo) -> ReplicaStatus {
    ReplicaStatus {
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
    }
}

#[tonic::async_trait]
impl replica_server::Replica for ReplicaService {
    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<ReplicaStatus>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        self.operators.may_look(&call)?;
        Ok(Response::new(standing(self.replica.info())))
    }

    async fn group(
        &self,
        request: Request<GroupStatusRequest>,
    ) -> Result<Response<GroupStatus>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        self.operators.may_look(&call)?;
        Ok(Response::new(self.everybody().await))
    }

    async fn transfer_leader(
        &self,
        request: Request<TransferLeaderRequest>,
    ) -> Result<Response<TransferLeaderResponse>, Status> {
        let (_place, call) = self.desk.open(&request)?;
        let to = request.into_inner().to;
        let heir = if to.is_empty() { "any replica".to_owned() } else { self.replica.called(&to) };
        call.origin.set_act(format!("leadership to {heir}"));
        self.operators.may_act(&call).await?;
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
        call.origin.set_act("snapshot".to_owned());
        self.operators.may_act(&call).await?;
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
        self.operators.may_act(&call).await?;
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
        waits: member.waits,
    }
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
