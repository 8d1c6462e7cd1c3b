//! What this replica says of itself, and what operators may do with it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use muster_cluster::folder::Lineage;
use muster_cluster::group::{Group, GroupStatus, MemberStatus, Role as GroupRole, Told};
use muster_cluster::members::{ChangeKind, GroupRecord};
use muster_cluster::types::{GroupId, ReplicaId};
use tokio::time::Instant;

use super::machine::Machine;
use super::membership::WishError;

/// The way to the replica of this process. Cheap to clone.
#[derive(Clone)]
pub struct Replica {
    group: Group<Machine>,
    identity: Arc<Identity>,
    flags: Arc<Flags>,
}

struct Identity {
    group: GroupId,
    name: String,
    lineage: Lineage,
}

#[derive(Default)]
struct Flags {
    ready: AtomicBool,
    draining: AtomicBool,
}

/// What a replica is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Follows a leader, or looks for one.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
    /// Receives the log without a vote.
    Observer,
}

/// A replica as it sees itself.
#[derive(Clone, Debug)]
pub struct ReplicaInfo {
    /// 16 hex digits.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// 32 hex digits.
    pub group: String,
    /// What it is at the moment.
    pub role: Role,
    /// The leader's id, if one is known.
    pub leader: Option<String>,
    /// The term of the group.
    pub term: u64,
    /// The last position known to be agreed.
    pub commit: u64,
    /// The last position in the state.
    pub applied: u64,
    /// The last position in the log.
    pub last: u64,
    /// Bytes of the log on disk.
    pub log_bytes: u64,
    /// Log time of the last applied entry, in microseconds since the Unix epoch.
    pub time_us: u64,
    /// Since a leader was heard of; none if never.
    pub leader_age: Option<Duration>,
    /// Since the group's timer last went.
    pub tick_age: Duration,
    /// The process is about to end.
    pub draining: bool,
    /// The group was restored and nobody has confirmed that yet.
    pub quarantined: bool,
    /// Everybody in the group.
    pub members: Vec<MemberInfo>,
}

/// A replica as this one sees it.
#[derive(Clone, Debug)]
pub struct MemberInfo {
    /// 16 hex digits.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// `host:port` of its peer listener.
    pub address: String,
    /// The last position it is known to hold; known to the leader.
    pub matched: Option<u64>,
    /// Since it was heard of; known to the leader.
    pub contact_age: Option<Duration>,
    /// Whether it votes.
    pub voter: bool,
    /// Where it stands; empty if nobody said.
    pub zone: String,
    /// Why it does not vote yet; empty for a voter, and where the leader is not asked.
    pub waits: String,
}

/// What the group says of itself beside its members.
#[derive(Clone, Debug, Default)]
pub struct GroupInfo {
    /// The change of the members that is under way; empty for none.
    pub change: String,
    /// Its name; 0 for none.
    pub change_id: u64,
    /// A step of it was taken.
    pub change_half_done: bool,
    /// How many were removed for ever.
    pub removed: usize,
    /// Observers become voters by themselves up to so many; 0: as many as there can be.
    pub target_voters: u32,
    /// A voter that is silent for so long gives way to an observer.
    pub dead_after: Option<Duration>,
}

/// What a peer answered when it was asked how it is.
#[derive(Clone, Debug)]
pub struct PeerReport {
    /// 16 hex digits.
    pub id: String,
    /// What its edge wrote, or why there is no answer.
    pub report: Result<bytes::Bytes, String>,
}

/// A snapshot on this machine's disk, read back after it was written.
#[derive(Clone, Debug)]
pub struct SavedSnapshot {
    /// The file.
    pub path: PathBuf,
    /// The last log position in it.
    pub index: u64,
    /// The term of that position.
    pub term: u64,
}

/// Why an operator's wish was not granted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReplicaError {
    /// No replica has an id written like that.
    #[error("that is not the id of a replica: 16 hex digits")]
    NoId,
    /// Leadership stays where it is.
    #[error("leadership was not handed over: {0}")]
    NotTransferred(String),
    /// There is no new snapshot.
    #[error("no snapshot was saved: {0}")]
    NotSaved(String),
}

/// Longest time without a leader in which a replica still counts as ready: an election must not
/// empty the list of endpoints.
const LEADERLESS_MAX: Duration = Duration::from_secs(15);

/// Entries that a ready replica may lag behind what is agreed.
const LAG_MAX: u64 = 10_000;

/// Longest time that a peer may take to say how it is.
const ASK_MAX: Duration = Duration::from_secs(2);

/// Longest time for handing leadership over before leaving.
const STEP_DOWN_MAX: Duration = Duration::from_secs(5);

/// Longest time between two ticks of a replica that lives.
const TICK_AGE_MAX: Duration = Duration::from_secs(30);

impl Replica {
    /// The replica of that identity, in `group`.
    pub fn new(group: Group<Machine>, own: muster_cluster::folder::Identity) -> Replica {
        let (id, name, lineage) = (own.group, own.name, own.lineage);
        let identity = Arc::new(Identity { group: id, name, lineage });
        Replica { group, identity, flags: Arc::default() }
    }

    /// What this replica says of itself.
    pub fn info(&self) -> ReplicaInfo {
        let status = self.group.status();
        let local = self.group.local();
        let id = status.me.to_string();
        ReplicaInfo {
            id,
            name: self.identity.name.clone(),
            group: self.identity.group.to_string(),
            role: role(&status),
            leader: status.leader.map(|leader| leader.to_string()),
            term: status.term,
            commit: status.commit,
            applied: local.index,
            last: status.last_index,
            log_bytes: status.log_bytes,
            time_us: local.time.0,
            leader_age: status.leader_age,
            tick_age: status.tick_age,
            draining: self.is_draining(),
            quarantined: local.view.quarantine().is_on(),
            members: status.members.into_iter().map(member).collect(),
        }
    }

    /// How often the group went on as another one, and the ids of those before.
    pub fn lineage(&self) -> (u64, Vec<Vec<u8>>) {
        let Lineage { epoch, before } = &self.identity.lineage;
        (*epoch, before.iter().map(|group| group.0.to_be_bytes().to_vec()).collect())
    }

    /// What the group says of itself beside its members.
    pub fn group_info(&self) -> GroupInfo {
        let record = self.group.record();
        let status = self.group.status();
        GroupInfo {
            change_id: status.change.unwrap_or_default(),
            change_half_done: status.half_done || status.joint,
            change: record
                .change
                .as_ref()
                .map(|change| told(&record, &change.kind))
                .unwrap_or_default(),
            removed: record.tombstones.len(),
            target_voters: record.target,
            dead_after: record.dead_after.map(Duration::from_micros),
        }
    }

    /// From now on peers that ask how this replica is hear what `write` makes of it.
    pub fn answer_peers(&self, write: impl Fn(ReplicaInfo) -> Vec<u8> + Send + Sync + 'static) {
        let (identity, flags) = (Arc::clone(&self.identity), Arc::clone(&self.flags));
        self.group.answer_peers(move |group| {
            let (identity, flags) = (Arc::clone(&identity), Arc::clone(&flags));
            let replica = Replica { group: group.clone(), identity, flags };
            write(replica.info()).into()
        });
    }

    /// Asks every other replica of the group how it is.
    pub async fn ask_peers(&self) -> Vec<PeerReport> {
        let told = self.group.ask_peers(ASK_MAX).await;
        let report =
            |told: Told| PeerReport { id: told.member.id.to_string(), report: told.report };
        told.into_iter().map(report).collect()
    }

    /// Has the group find this replica at `address`, where it has it elsewhere.
    pub async fn settle_address(&self, address: &str, deadline: Instant) -> Result<(), WishError> {
        let me = self.group.status().me;
        let record = self.group.record();
        let known = record.members.get(&me).filter(|_| record.revision > 0);
        match known {
            Some(known) if known.member.address != address => {
                Ok(self.group.set_address(me, address, deadline).await?)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn group(&self) -> &Group<Machine> {
        &self.group
    }

    /// Hands leadership to the replica `to`, or to the one that is furthest along.
    ///
    /// # Errors
    /// When this replica does not lead, or nobody took over by `deadline`.
    pub async fn transfer_leader(
        &self,
        to: Option<&str>,
        deadline: Instant,
    ) -> Result<Option<String>, ReplicaError> {
        let to = to.map(parse_id).transpose()?;
        self.group
            .transfer_leader(to, deadline)
            .await
            .map_err(|error| ReplicaError::NotTransferred(error.to_string()))?;
        Ok(self.group.status().leader.map(|leader| leader.to_string()))
    }

    /// Hands leadership over, if this replica has it and somebody takes it within a few seconds.
    pub async fn step_down(&self) {
        let status = self.group.status();
        if status.leader != Some(status.me) || status.members.len() < 2 {
            return;
        }
        let deadline = Instant::now() + STEP_DOWN_MAX;
        if let Err(error) = self.transfer_leader(None, deadline).await {
            tracing::warn!(%error, "leaving as the leader");
        }
    }

    /// Writes a snapshot of what this replica has applied.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn save_snapshot(&self) -> Result<SavedSnapshot, ReplicaError> {
        let (meta, path) = self
            .group
            .save_snapshot()
            .await
            .map_err(|error| ReplicaError::NotSaved(error.to_string()))?;
        Ok(SavedSnapshot { path, index: meta.index, term: meta.term })
    }

    /// From now on the replica counts as started: its group has agreed on something.
    pub fn set_ready(&self) {
        self.flags.ready.store(true, Ordering::Relaxed);
    }

    /// From now on the replica counts as leaving.
    pub fn set_draining(&self) {
        self.flags.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the process is about to end.
    pub fn is_draining(&self) -> bool {
        self.flags.draining.load(Ordering::Relaxed)
    }

    /// Whether the group's own thread still runs.
    pub fn is_live(&self) -> bool {
        self.group.status().tick_age < TICK_AGE_MAX
    }

    /// Why clients should not be sent here; none when they should.
    pub fn unready(&self) -> Option<&'static str> {
        let status = self.group.status();
        let leads = status.leader == Some(status.me);
        if self.is_draining() {
            return Some("draining");
        }
        if !self.flags.ready.load(Ordering::Relaxed) {
            return Some("starting");
        }
        if !leads && status.leader_age.is_none_or(|age| age > LEADERLESS_MAX) {
            return Some("no leader");
        }
        if status.commit.saturating_sub(status.applied) > LAG_MAX {
            return Some("lagging");
        }
        None
    }
}

fn role(status: &GroupStatus) -> Role {
    match status.role {
        GroupRole::Leader => Role::Leader,
        GroupRole::Candidate => Role::Candidate,
        GroupRole::Follower => Role::Follower,
    }
}

pub(super) fn parse_id(text: &str) -> Result<ReplicaId, ReplicaError> {
    u64::from_str_radix(text, 16).map(ReplicaId).map_err(|_| ReplicaError::NoId)
}

fn member(member: MemberStatus) -> MemberInfo {
    MemberInfo {
        id: member.member.id.to_string(),
        name: member.member.name,
        address: member.member.address,
        matched: member.matched,
        contact_age: member.contact_age,
        voter: member.voter,
        zone: member.zone,
        waits: member.waits.map(|waits| waits.to_string()).unwrap_or_default(),
    }
}

/// A change in words.
fn told(record: &GroupRecord, change: &ChangeKind) -> String {
    let name = |id: &ReplicaId| {
        let member = record.members.get(id).map(|member| member.member.name.clone());
        member.unwrap_or_else(|| id.to_string())
    };
    let names = |ids: &[ReplicaId]| ids.iter().map(name).collect::<Vec<_>>().join(" and ");
    match change {
        ChangeKind::Promote(ids) => format!("{} to vote", names(ids)),
        ChangeKind::Remove(ids) => format!("{} to go", names(ids)),
        ChangeKind::Replace { old, new } => {
            format!("{} to take the place of {}", name(new), name(old))
        }
    }
}
