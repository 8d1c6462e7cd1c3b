//! Who is in the group: the *group record*, which every replica keeps alike because it changes only
//! by entries of the log. Pure: no IO, no clock, no chance.
//!
//! ```text
//!  command (a wish) ─▶ log ─▶ record: refused, done at once, or begun as *the* change under way
//!                                                    │
//!            the leader's controller proposes the next step as a change of raft's configuration
//!                                                    │
//!                            log ─▶ configuration and record: next step, or finished
//! ```
//!
//! One change is under way at a time. What it still needs is a function of record and configuration
//! ([`GroupRecord::next_step`]), so a new leader goes on where the one before stopped, and an entry
//! that is not the next step is ignored by all alike. A member that was let in needs no change of its
//! own: it is in the record, and the configuration follows.

mod apply;
mod command;
mod conf;
mod step;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use sha2::{Digest, Sha256};

pub(crate) use apply::Place;
pub use command::{Command, Outcome, Refusal, Wish};
pub use conf::{Conf, StoredConf};
pub use step::Step;

use crate::types::{GroupId, Member, ReplicaId, RequestId, Timestamp};

/// Rises with every release that writes wishes or steps which mean something new.
pub const FORMAT: u32 = 1;
/// Members that a group can have.
pub const MAX_MEMBERS: usize = 32;
/// Voters that a group can have: more only make it slower.
pub const MAX_VOTERS: usize = 9;
/// Join tokens that may be open at once.
pub const MAX_TOKENS: usize = 256;
/// Replicas that can ever have been removed; they are remembered for ever.
pub const MAX_TOMBSTONES: usize = 4096;
/// Changes and answers that are remembered for those who still ask about them.
pub const MAX_REMEMBERED: usize = 64;
/// Bytes of a name, an address or a zone.
pub const MAX_TEXT: usize = 256;

/// The digest of a join token. The token itself never enters the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JoinDigest(pub [u8; 32]);

impl JoinDigest {
    /// Of the token as it is handed to whoever starts the new replica.
    pub fn of(token: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"muster join token\0");
        hash.update(token.as_bytes());
        Self(hash.finalize().into())
    }
}

impl std::fmt::Debug for JoinDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JoinDigest")
    }
}

/// Whether a member votes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemberRole {
    /// Its acknowledgement counts, and it may lead.
    Voter,
    /// It receives the log and serves clients, without a vote.
    #[default]
    Observer,
}

/// One member as the record has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRecord {
    /// Id, name and address.
    pub member: Member,
    /// Where it stands; replicas of one zone are expected to fail together. Empty: not said.
    pub zone: String,
    /// Whether it votes.
    pub role: MemberRole,
    /// It stays an observer until somebody promotes it.
    pub standby: bool,
    /// The member of the same name whose place it takes once it has caught up.
    pub replaces: Option<ReplicaId>,
    /// The entry by which it came in; 0 for those who began the group.
    pub since: u64,
}

/// A replica that was removed. Its id is refused for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// What it was called.
    pub name: String,
    /// The entry that removed it.
    pub index: u64,
    /// When, in log time.
    pub time: Timestamp,
}

/// A join token that somebody may still use, or has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinToken {
    /// When it ends, in log time.
    pub expires: Timestamp,
    /// Who came in with it: only the same replica may ask again.
    pub used_by: Option<ReplicaId>,
}

/// What is to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Observers become voters, all at once.
    Promote(Vec<ReplicaId>),
    /// Members go, all at once.
    Remove(Vec<ReplicaId>),
    /// A voter gives way to an observer.
    Replace {
        /// Who goes.
        old: ReplicaId,
        /// Who comes.
        new: ReplicaId,
    },
}

/// The change under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name: the entry that began it.
    pub id: u64,
    /// What it is.
    pub kind: ChangeKind,
    /// Somebody wants it even if the group may then be unable to agree.
    pub force: bool,
    /// When it began, in log time.
    pub since: Timestamp,
}

/// How a change ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// [`Change::id`].
    pub id: u64,
    /// Why it was given up; `None` when it is done.
    pub refused: Option<Refusal>,
}

/// Everything that the group knows of itself; the same on every replica at the same entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupRecord {
    /// The last entry that changed it; 0 while it only says what the settings say.
    pub revision: u64,
    /// The voters with whom the log begins.
    pub founders: Vec<Member>,
    /// Everybody in the group.
    pub members: BTreeMap<ReplicaId, MemberRecord>,
    /// The change under way.
    pub change: Option<Change>,
    /// How the last changes ended, oldest first.
    pub finished: VecDeque<Finished>,
    /// Everybody who was removed.
    pub tombstones: BTreeMap<ReplicaId, Tombstone>,
    /// The join tokens.
    pub tokens: BTreeMap<JoinDigest, JoinToken>,
    /// Voters wanted: observers are promoted by themselves up to here.
    pub target: u32,
    /// A voter silent for so many microseconds gives way to an observer; `None`: never by itself.
    pub dead_after: Option<u64>,
    /// When that last happened.
    pub cleaned: Timestamp,
    /// What was answered, oldest first, so that a command that comes twice is done once.
    pub(crate) answers: VecDeque<(RequestId, Outcome)>,
}

/// What a replica that was let in needs to start. See [`crate::bootstrap::join`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The group.
    pub group: GroupId,
    /// The new replica's id; never used before, never used again.
    pub replica: ReplicaId,
    /// The new replica's name.
    pub name: String,
    /// The voters with whom the group's log begins.
    pub founders: Vec<Member>,
    /// Everybody in the group now, the new replica included.
    pub members: Vec<Member>,
}

impl Admission {
    /// The admission as bytes, to be sent to the new replica.
    pub fn encode(&self) -> Bytes {
        wire::encode_admission(self)
    }

    /// The inverse of [`Admission::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, prost::DecodeError> {
        wire::decode_admission(bytes)
    }
}

impl GroupRecord {
    /// What the settings say, before the log says anything.
    pub fn of_settings(founders: Vec<Member>, members: &[Member]) -> Self {
        let is_founder = |id: ReplicaId| founders.iter().any(|founder| founder.id == id);
        let record = |member: &Member| MemberRecord {
            member: member.clone(),
            zone: String::new(),
            role: if is_founder(member.id) { MemberRole::Voter } else { MemberRole::Observer },
            standby: false,
            replaces: None,
            since: 0,
        };
        let members = members.iter().map(|member| (member.id, record(member))).collect();
        Self { founders, members, ..Self::default() }
    }

    /// The voters, in a change of both configurations.
    pub fn voters(&self) -> impl Iterator<Item = &MemberRecord> {
        self.members.values().filter(|member| member.role == MemberRole::Voter)
    }

    /// Id, name and address of everybody.
    pub fn addresses(&self) -> Vec<Member> {
        self.members.values().map(|member| member.member.clone()).collect()
    }

    /// What a replica that was let in needs to start.
    pub fn admission(&self, group: GroupId, replica: ReplicaId) -> Option<Admission> {
        let name = self.members.get(&replica)?.member.name.clone();
        let (founders, members) = (self.founders.clone(), self.addresses());
        Some(Admission { group, replica, name, founders, members })
    }

    /// What a command was answered, if that is remembered.
    pub fn answer(&self, request: RequestId) -> Option<&Outcome> {
        self.answers.iter().find(|(asked, _)| *asked == request).map(|(_, outcome)| outcome)
    }

    /// How a change ended; `None` while it is under way, or so long ago that nobody remembers.
    pub fn ending(&self, change: u64) -> Option<&Finished> {
        self.finished.iter().find(|finished| finished.id == change)
    }
}

/// The id of the member that comes in by the entry `index`: rising with the log, hence never drawn
/// twice, and without a pattern, hence never guessed.
fn draw_id(record: &GroupRecord, name: &str, index: u64) -> ReplicaId {
    let mut hash = Sha256::new();
    hash.update(b"muster replica\0");
    for founder in &record.founders {
        hash.update(founder.id.0.to_be_bytes());
    }
    hash.update(index.to_be_bytes());
    hash.update(name.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let mut id = digest.iter().take(8).fold(0, |id, byte| (id << 8) | u64::from(*byte));
    // Raft's zero means nobody, and a collision is not likely but not impossible.
    let taken = |id| {
        let id = ReplicaId(id);
        record.members.contains_key(&id) || record.tombstones.contains_key(&id)
    };
    while id == 0 || taken(id) {
        id = id.wrapping_add(1);
    }
    ReplicaId(id)
}
