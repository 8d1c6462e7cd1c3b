//! The record, the commands and the admissions as bytes. Field numbers keep their meaning for ever.

use bytes::Bytes;
use prost::Message as _;

use super::{
    Admission, Change, ChangeKind, Command, Finished, GroupRecord, JoinDigest, JoinToken,
    MemberRecord, MemberRole, Outcome, Refusal, Tombstone, Wish,
};
use crate::disk::DiskHealth;
use crate::types::{GroupId, Member, ReplicaId, RequestId, Timestamp};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StoredConf {
    // The first five are those of raft's `ConfState`.
    #[prost(uint64, repeated, packed = "false", tag = "1")]
    pub(super) voters: Vec<u64>,
    #[prost(uint64, repeated, packed = "false", tag = "2")]
    pub(super) learners: Vec<u64>,
    #[prost(uint64, repeated, packed = "false", tag = "3")]
    pub(super) outgoing: Vec<u64>,
    #[prost(uint64, repeated, packed = "false", tag = "4")]
    pub(super) learners_next: Vec<u64>,
    #[prost(bool, tag = "5")]
    pub(super) auto_leave: bool,
    #[prost(message, optional, tag = "200")]
    pub(super) record: Option<Record>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Record {
    #[prost(uint64, tag = "1")]
    revision: u64,
    #[prost(message, repeated, tag = "2")]
    founders: Vec<MemberMessage>,
    #[prost(message, repeated, tag = "3")]
    members: Vec<MemberMessage>,
    #[prost(message, optional, tag = "4")]
    change: Option<ChangeMessage>,
    #[prost(message, repeated, tag = "5")]
    finished: Vec<FinishedMessage>,
    #[prost(message, repeated, tag = "6")]
    tombstones: Vec<TombstoneMessage>,
    #[prost(message, repeated, tag = "7")]
    tokens: Vec<TokenMessage>,
    #[prost(uint32, tag = "8")]
    target: u32,
    #[prost(uint64, optional, tag = "9")]
    dead_after: Option<u64>,
    #[prost(uint64, tag = "10")]
    cleaned: u64,
    #[prost(message, repeated, tag = "11")]
    answers: Vec<AnswerMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MemberMessage {
    #[prost(fixed64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    address: String,
    #[prost(string, tag = "4")]
    zone: String,
    #[prost(bool, tag = "5")]
    voter: bool,
    #[prost(bool, tag = "6")]
    standby: bool,
    #[prost(fixed64, tag = "7")]
    replaces: u64,
    #[prost(uint64, tag = "8")]
    since: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ChangeMessage {
    #[prost(uint64, tag = "1")]
    id: u64,
    /// 1 promote, 2 remove, 3 replace the first by the second.
    #[prost(uint32, tag = "2")]
    kind: u32,
    #[prost(fixed64, repeated, tag = "3")]
    ids: Vec<u64>,
    #[prost(bool, tag = "4")]
    force: bool,
    #[prost(uint64, tag = "5")]
    since: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FinishedMessage {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, optional, tag = "2")]
    refused: Option<RefusalMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TombstoneMessage {
    #[prost(fixed64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(uint64, tag = "3")]
    index: u64,
    #[prost(uint64, tag = "4")]
    time: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TokenMessage {
    #[prost(bytes = "vec", tag = "1")]
    digest: Vec<u8>,
    #[prost(uint64, tag = "2")]
    expires: u64,
    #[prost(fixed64, tag = "3")]
    used_by: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AnswerMessage {
    #[prost(fixed64, tag = "1")]
    replica: u64,
    #[prost(uint64, tag = "2")]
    incarnation: u64,
    #[prost(uint64, tag = "3")]
    sequence: u64,
    #[prost(message, optional, tag = "4")]
    outcome: Option<OutcomeMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AbandonMessage {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, optional, tag = "2")]
    why: Option<RefusalMessage>,
    #[prost(bool, tag = "3")]
    only_whole: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OutcomeMessage {
    /// 1 done, 2 begun, 3 minted, 4 admitted, 5 refused.
    #[prost(uint32, tag = "1")]
    kind: u32,
    /// The change, the expiry or the replica.
    #[prost(uint64, tag = "2")]
    number: u64,
    #[prost(message, optional, tag = "3")]
    refused: Option<RefusalMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RefusalMessage {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(uint64, tag = "2")]
    first: u64,
    #[prost(uint64, tag = "3")]
    second: u64,
    #[prost(string, tag = "4")]
    text: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WishMessage {
    #[prost(message, repeated, tag = "1")]
    founders: Vec<MemberMessage>,
    #[prost(
        oneof = "CommandMessage",
        tags = "200, 201, 202, 203, 204, 205, 206, 207, 208, 209, 210"
    )]
    command: Option<CommandMessage>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum CommandMessage {
    #[prost(message, tag = "200")]
    Mint(TokenMessage),
    #[prost(message, tag = "201")]
    Admit(AdmitMessage),
    #[prost(message, tag = "202")]
    Add(MemberMessage),
    #[prost(message, tag = "203")]
    Promote(ChangeMessage),
    #[prost(message, tag = "204")]
    Remove(ChangeMessage),
    #[prost(message, tag = "205")]
    Replace(ChangeMessage),
    #[prost(message, tag = "206")]
    Abandon(AbandonMessage),
    #[prost(uint32, tag = "207")]
    Target(u32),
    #[prost(message, tag = "208")]
    DeadAfter(DeadAfterMessage),
    #[prost(message, tag = "209")]
    Readdress(MemberMessage),
    #[prost(message, tag = "210")]
    CleanUp(ChangeMessage),
}

#[derive(Clone, PartialEq, prost::Message)]
struct AdmitMessage {
    #[prost(bytes = "vec", tag = "1")]
    digest: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    member: Option<MemberMessage>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct DeadAfterMessage {
    #[prost(uint64, optional, tag = "1")]
    silence_us: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AdmissionMessage {
    #[prost(bytes = "vec", tag = "1")]
    group: Vec<u8>,
    #[prost(fixed64, tag = "2")]
    replica: u64,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(message, repeated, tag = "4")]
    founders: Vec<MemberMessage>,
    #[prost(message, repeated, tag = "5")]
    members: Vec<MemberMessage>,
}

pub(super) fn encode_admission(admission: &Admission) -> Bytes {
    let messages = |members: &[Member]| members.iter().map(MemberMessage::from).collect();
    AdmissionMessage {
        group: admission.group.0.to_be_bytes().to_vec(),
        replica: admission.replica.0,
        name: admission.name.clone(),
        founders: messages(&admission.founders),
        members: messages(&admission.members),
    }
    .encode_to_vec()
    .into()
}

pub(super) fn decode_admission(bytes: &[u8]) -> Result<Admission, prost::DecodeError> {
    let message = AdmissionMessage::decode(bytes)?;
    let group: [u8; 16] = message.group.try_into().unwrap_or_default();
    let members = |messages: Vec<MemberMessage>| messages.into_iter().map(Member::from).collect();
    Ok(Admission {
        group: GroupId(u128::from_be_bytes(group)),
        replica: ReplicaId(message.replica),
        name: message.name,
        founders: members(message.founders),
        members: members(message.members),
    })
}

impl Wish {
    /// The wish as bytes, for an [`crate::sessions::Envelope`].
    pub fn encode(&self) -> Bytes {
        let message = WishMessage {
            founders: self.founders.iter().map(MemberMessage::from).collect(),
            command: Some(CommandMessage::from(&self.command)),
        };
        message.encode_to_vec().into()
    }

    /// The inverse of [`Wish::encode`]; `None` when a newer release wrote it.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let message = WishMessage::decode(bytes).ok()?;
        let founders = message.founders.into_iter().map(Member::from).collect();
        Some(Self { founders, command: message.command?.into_command()? })
    }
}

impl From<&Command> for CommandMessage {
    fn from(command: &Command) -> Self {
        let change = |ids: &[ReplicaId], force: bool| ChangeMessage {
            ids: ids.iter().map(|id| id.0).collect(),
            force,
            ..ChangeMessage::default()
        };
        let member = |name: &String, address: &String, zone: &String, standby| MemberMessage {
            name: name.clone(),
            address: address.clone(),
            zone: zone.clone(),
            standby,
            ..MemberMessage::default()
        };
        match command {
            Command::MintToken { digest, ttl_us } => {
                Self::Mint(TokenMessage { digest: digest.0.to_vec(), expires: *ttl_us, used_by: 0 })
            }
            Command::Admit { digest, name, address, zone } => Self::Admit(AdmitMessage {
                digest: digest.0.to_vec(),
                member: Some(member(name, address, zone, false)),
            }),
            Command::Add { id, name, address, zone, standby } => Self::Add(MemberMessage {
                id: id.map_or(0, |id| id.0),
                ..member(name, address, zone, *standby)
            }),
            Command::Promote { ids, force } => Self::Promote(change(ids, *force)),
            Command::Remove { ids, force } => Self::Remove(change(ids, *force)),
            Command::Replace { old, new, force } => Self::Replace(change(&[*old, *new], *force)),
            Command::Abandon { change, why, only_whole } => Self::Abandon(AbandonMessage {
                id: *change,
                why: Some(RefusalMessage::from(why)),
                only_whole: *only_whole,
            }),
            Command::SetTarget { voters } => Self::Target(*voters),
            Command::SetDeadAfter { silence_us } => {
                Self::DeadAfter(DeadAfterMessage { silence_us: *silence_us })
            }
            Command::Readdress { id, address } => Self::Readdress(MemberMessage {
                id: id.0,
                address: address.clone(),
                ..MemberMessage::default()
            }),
            Command::CleanUp { dead, with } => Self::CleanUp(change(&[*dead, *with], false)),
        }
    }
}

impl CommandMessage {
    fn into_command(self) -> Option<Command> {
        let digest = |bytes: Vec<u8>| bytes.try_into().ok().map(JoinDigest);
        let ids = |ids: Vec<u64>| ids.into_iter().map(ReplicaId).collect::<Vec<_>>();
        let pair = |ids: Vec<u64>| match ids.as_slice() {
            [first, second] => Some((ReplicaId(*first), ReplicaId(*second))),
            _ => None,
        };
        Some(match self {
            Self::Mint(token) => {
                Command::MintToken { digest: digest(token.digest)?, ttl_us: token.expires }
            }
            Self::Admit(admit) => {
                let MemberMessage { name, address, zone, .. } = admit.member?;
                Command::Admit { digest: digest(admit.digest)?, name, address, zone }
            }
            Self::Add(MemberMessage { id, name, address, zone, standby, .. }) => {
                let id = (id != 0).then_some(ReplicaId(id));
                Command::Add { id, name, address, zone, standby }
            }
            Self::Promote(change) => Command::Promote { ids: ids(change.ids), force: change.force },
            Self::Remove(change) => Command::Remove { ids: ids(change.ids), force: change.force },
            Self::Replace(change) => {
                let (old, new) = pair(change.ids)?;
                Command::Replace { old, new, force: change.force }
            }
            Self::Abandon(AbandonMessage { id: change, why, only_whole }) => {
                let why = why.map_or(Refusal::Other, Refusal::from);
                Command::Abandon { change, why, only_whole }
            }
            Self::Target(voters) => Command::SetTarget { voters },
            Self::DeadAfter(message) => Command::SetDeadAfter { silence_us: message.silence_us },
            Self::Readdress(member) => {
                Command::Readdress { id: ReplicaId(member.id), address: member.address }
            }
            Self::CleanUp(change) => {
                let (dead, with) = pair(change.ids)?;
                Command::CleanUp { dead, with }
            }
        })
    }
}

impl From<&Member> for MemberMessage {
    fn from(member: &Member) -> Self {
        let Member { id, name, address } = member.clone();
        Self { id: id.0, name, address, ..Self::default() }
    }
}

impl From<MemberMessage> for Member {
    fn from(message: MemberMessage) -> Self {
        Self { id: ReplicaId(message.id), name: message.name, address: message.address }
    }
}

impl From<&MemberRecord> for MemberMessage {
    fn from(record: &MemberRecord) -> Self {
        Self {
            zone: record.zone.clone(),
            voter: record.role == MemberRole::Voter,
            standby: record.standby,
            replaces: record.replaces.map_or(0, |id| id.0),
            since: record.since,
            ..Self::from(&record.member)
        }
    }
}

impl From<MemberMessage> for MemberRecord {
    fn from(message: MemberMessage) -> Self {
        Self {
            zone: message.zone.clone(),
            role: if message.voter { MemberRole::Voter } else { MemberRole::Observer },
            standby: message.standby,
            replaces: (message.replaces != 0).then_some(ReplicaId(message.replaces)),
            since: message.since,
            member: message.into(),
        }
    }
}

impl From<&Change> for ChangeMessage {
    fn from(change: &Change) -> Self {
        let (kind, ids) = match &change.kind {
            ChangeKind::Promote(ids) => (1, ids.clone()),
            ChangeKind::Remove(ids) => (2, ids.clone()),
            ChangeKind::Replace { old, new } => (3, vec![*old, *new]),
        };
        Self {
            id: change.id,
            kind,
            ids: ids.into_iter().map(|id| id.0).collect(),
            force: change.force,
            since: change.since.0,
        }
    }
}

impl ChangeMessage {
    /// `None` for a kind that only a newer release knows.
    fn into_change(self) -> Option<Change> {
        let ids: Vec<_> = self.ids.into_iter().map(ReplicaId).collect();
        let kind = match (self.kind, ids.as_slice()) {
            (1, _) => ChangeKind::Promote(ids),
            (2, _) => ChangeKind::Remove(ids),
            (3, [old, new]) => ChangeKind::Replace { old: *old, new: *new },
            _ => return None,
        };
        Some(Change { id: self.id, kind, force: self.force, since: Timestamp(self.since) })
    }
}

impl From<&GroupRecord> for Record {
    fn from(record: &GroupRecord) -> Self {
        Self {
            revision: record.revision,
            founders: record.founders.iter().map(MemberMessage::from).collect(),
            members: record.members.values().map(MemberMessage::from).collect(),
            change: record.change.as_ref().map(ChangeMessage::from),
            finished: record
                .finished
                .iter()
                .map(|Finished { id, refused }| FinishedMessage {
                    id: *id,
                    refused: refused.as_ref().map(RefusalMessage::from),
                })
                .collect(),
            tombstones: record
                .tombstones
                .iter()
                .map(|(id, tombstone)| TombstoneMessage {
                    id: id.0,
                    name: tombstone.name.clone(),
                    index: tombstone.index,
                    time: tombstone.time.0,
                })
                .collect(),
            tokens: record
                .tokens
                .iter()
                .map(|(digest, token)| TokenMessage {
                    digest: digest.0.to_vec(),
                    expires: token.expires.0,
                    used_by: token.used_by.map_or(0, |id| id.0),
                })
                .collect(),
            target: record.target,
            dead_after: record.dead_after,
            cleaned: record.cleaned.0,
            answers: record
                .answers
                .iter()
                .map(|(request, outcome)| AnswerMessage {
                    replica: request.replica.0,
                    incarnation: request.incarnation,
                    sequence: request.sequence,
                    outcome: Some(OutcomeMessage::from(outcome)),
                })
                .collect(),
        }
    }
}

impl From<Record> for GroupRecord {
    fn from(record: Record) -> Self {
        let members = record.members.into_iter().map(MemberRecord::from);
        let tombstones = record.tombstones.into_iter().map(|message| {
            let TombstoneMessage { id, name, index, time } = message;
            (ReplicaId(id), Tombstone { name, index, time: Timestamp(time) })
        });
        let tokens = record.tokens.into_iter().filter_map(|token| {
            let digest = token.digest.try_into().ok().map(JoinDigest)?;
            let used_by = (token.used_by != 0).then_some(ReplicaId(token.used_by));
            Some((digest, JoinToken { expires: Timestamp(token.expires), used_by }))
        });
        let answers = record.answers.into_iter().filter_map(|answer| {
            let request = RequestId {
                replica: ReplicaId(answer.replica),
                incarnation: answer.incarnation,
                sequence: answer.sequence,
            };
            Some((request, answer.outcome?.into()))
        });
        let finished = record.finished.into_iter();
        Self {
            revision: record.revision,
            founders: record.founders.into_iter().map(Member::from).collect(),
            members: members.map(|member| (member.member.id, member)).collect(),
            change: record.change.and_then(ChangeMessage::into_change),
            finished: finished
                .map(|message| Finished {
                    id: message.id,
                    refused: message.refused.map(Refusal::from),
                })
                .collect(),
            tombstones: tombstones.collect(),
            tokens: tokens.collect(),
            target: record.target,
            dead_after: record.dead_after,
            cleaned: Timestamp(record.cleaned),
            answers: answers.collect(),
        }
    }
}

impl Outcome {
    /// The outcome as bytes.
    pub fn encode(&self) -> Bytes {
        OutcomeMessage::from(self).encode_to_vec().into()
    }

    /// The inverse of [`Outcome::encode`].
    pub fn decode(bytes: &[u8]) -> Self {
        OutcomeMessage::decode(bytes).unwrap_or_default().into()
    }
}

impl From<&Outcome> for OutcomeMessage {
    fn from(outcome: &Outcome) -> Self {
        let plain = |kind, number| Self { kind, number, refused: None };
        match outcome {
            Outcome::Done => plain(1, 0),
            Outcome::Begun { change } => plain(2, *change),
            Outcome::Minted { expires } => plain(3, expires.0),
            Outcome::Admitted { replica } => plain(4, replica.0),
            Outcome::Refused(refusal) => Self { refused: Some(refusal.into()), ..plain(5, 0) },
        }
    }
}

impl From<OutcomeMessage> for Outcome {
    fn from(message: OutcomeMessage) -> Self {
        match message.kind {
            1 => Self::Done,
            2 => Self::Begun { change: message.number },
            3 => Self::Minted { expires: Timestamp(message.number) },
            4 => Self::Admitted { replica: ReplicaId(message.number) },
            _ => Self::Refused(message.refused.map_or(Refusal::Other, Refusal::from)),
        }
    }
}

impl From<&Refusal> for RefusalMessage {
    fn from(refusal: &Refusal) -> Self {
        let new =
            |kind, first, second, text: &str| Self { kind, first, second, text: text.to_owned() };
        match refusal {
            Refusal::Unknown(id) => new(1, id.0, 0, ""),
            Refusal::Removed(id) => new(2, id.0, 0, ""),
            Refusal::NameTaken(name) => new(3, 0, 0, name),
            Refusal::AddressTaken(address) => new(4, 0, 0, address),
            Refusal::BadText(text) => new(5, 0, 0, text),
            Refusal::TokenUnknown => new(6, 0, 0, ""),
            Refusal::TokenExpired => new(7, 0, 0, ""),
            Refusal::TokenUsed => new(8, 0, 0, ""),
            Refusal::TooMany { what, limit } => new(9, *limit, 0, what),
            Refusal::Busy(change) => new(10, *change, 0, ""),
            Refusal::AlreadyVoter(id) => new(11, id.0, 0, ""),
            Refusal::NotVoter(id) => new(12, id.0, 0, ""),
            Refusal::BadIds => new(13, 0, 0, ""),
            Refusal::Even(voters) => new(14, *voters, 0, ""),
            Refusal::LastVoter => new(15, 0, 0, ""),
            Refusal::BelowQuorum { healthy, needed } => new(16, *healthy, *needed, ""),
            Refusal::Leads(id) => new(17, id.0, 0, ""),
            Refusal::NotCaughtUp(id) => new(18, id.0, 0, ""),
            Refusal::NoSuchChange(change) => new(19, *change, 0, ""),
            Refusal::GivenUp => new(20, 0, 0, ""),
            Refusal::Unfounded => new(21, 0, 0, ""),
            Refusal::IdTaken(id) => new(22, id.0, 0, ""),
            Refusal::Outdated(id) => new(23, id.0, 0, ""),
            Refusal::Disk { replica, health } => new(24, replica.0, u64::from(health.number()), ""),
            Refusal::TooFar(change) => new(25, *change, 0, ""),
            Refusal::HalfDone(change) => new(26, *change, 0, ""),
            Refusal::StandsFor { new: id, old } => new(27, id.0, old.0, ""),
            Refusal::Other => new(0, 0, 0, ""),
        }
    }
}

impl From<RefusalMessage> for Refusal {
    fn from(message: RefusalMessage) -> Self {
        let RefusalMessage { kind, first, second, text } = message;
        let id = ReplicaId(first);
        match kind {
            1 => Self::Unknown(id),
            2 => Self::Removed(id),
            3 => Self::NameTaken(text),
            4 => Self::AddressTaken(text),
            5 => Self::BadText(text),
            6 => Self::TokenUnknown,
            7 => Self::TokenExpired,
            8 => Self::TokenUsed,
            9 => Self::TooMany { what: text, limit: first },
            10 => Self::Busy(first),
            11 => Self::AlreadyVoter(id),
            12 => Self::NotVoter(id),
            13 => Self::BadIds,
            14 => Self::Even(first),
            15 => Self::LastVoter,
            16 => Self::BelowQuorum { healthy: first, needed: second },
            17 => Self::Leads(id),
            18 => Self::NotCaughtUp(id),
            19 => Self::NoSuchChange(first),
            20 => Self::GivenUp,
            21 => Self::Unfounded,
            22 => Self::IdTaken(id),
            23 => Self::Outdated(id),
            25 => Self::TooFar(first),
            26 => Self::HalfDone(first),
            27 => Self::StandsFor { new: id, old: ReplicaId(second) },
            24 => Self::Disk {
                replica: id,
                health: DiskHealth::of_number(u32::try_from(second).unwrap_or(u32::MAX)),
            },
            _ => Self::Other,
        }
    }
}
