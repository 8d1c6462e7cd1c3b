//! What can be wished of the group record, and what is answered.

use super::JoinDigest;
use crate::disk::DiskHealth;
use crate::types::{Member, ReplicaId, Timestamp};

/// A command together with what the record begins with, should it have none yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The founders as the asking replica knows them; empty when its record says more already.
    pub founders: Vec<Member>,
    /// What is wished.
    pub command: Command,
}

/// A wish about the group record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Lets the holder of a token join, once.
    MintToken {
        /// Of the token, which its maker drew.
        digest: JoinDigest,
        /// How long it is good, in microseconds of log time.
        ttl_us: u64,
    },
    /// A replica wants to come in with a token.
    Admit {
        /// Of its token.
        digest: JoinDigest,
        /// Its name. A member of this name that is dead gives way to it.
        name: String,
        /// `host:port` of its peer listener.
        address: String,
        /// Where it stands, or empty.
        zone: String,
    },
    /// An operator lets a replica in.
    Add {
        /// Its id, if whoever asks has drawn one; it must never have been used.
        id: Option<ReplicaId>,
        /// As in `Admit`.
        name: String,
        /// As in `Admit`.
        address: String,
        /// As in `Admit`.
        zone: String,
        /// It is not to be promoted by itself.
        standby: bool,
    },
    /// Observers are to vote.
    Promote {
        /// One, or two that become voters in one step.
        ids: Vec<ReplicaId>,
        /// Also when the number of voters becomes even.
        force: bool,
    },
    /// Members are to go.
    Remove {
        /// One, or two that go in one step.
        ids: Vec<ReplicaId>,
        /// Also when too few voters are in contact, or their number becomes even.
        force: bool,
    },
    /// An observer is to take the place of a voter.
    Replace {
        /// Who goes.
        old: ReplicaId,
        /// Who comes.
        new: ReplicaId,
        /// Also when too few voters are in contact.
        force: bool,
    },
    /// The change under way is given up, if it has not gone too far.
    Abandon {
        /// Which one.
        change: u64,
        /// Why.
        why: Refusal,
        /// Only if no step of it was taken yet.
        only_whole: bool,
    },
    /// How many voters are wanted.
    SetTarget {
        /// Observers are promoted by themselves up to this number.
        voters: u32,
    },
    /// Whether a voter that is silent for long gives way.
    SetDeadAfter {
        /// Microseconds; `None`: never by itself.
        silence_us: Option<u64>,
    },
    /// A member is to be found at another address.
    Readdress {
        /// Who.
        id: ReplicaId,
        /// `host:port`.
        address: String,
    },
    /// A voter that has been silent for long gives way to an observer; the leader's own wish.
    CleanUp {
        /// Who goes.
        dead: ReplicaId,
        /// Who comes.
        with: ReplicaId,
    },
}

/// What a command was answered at its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It is the change under way.
    Begun {
        /// Its name.
        change: u64,
    },
    /// The token is good until then.
    Minted {
        /// In log time.
        expires: Timestamp,
    },
    /// The replica is in the record.
    Admitted {
        /// Its id.
        replica: ReplicaId,
    },
    /// No.
    Refused(Refusal),
}

/// Why the group does not do what was wished.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No member has this id.
    #[error("replica {0} is not a member of the group")]
    Unknown(ReplicaId),
    /// It was a member once, and is none for ever.
    #[error("replica {0} was removed from the group; its id never comes back")]
    Removed(ReplicaId),
    /// An id is used once.
    #[error("the id {0} is or was that of another replica")]
    IdTaken(ReplicaId),
    /// Two members of one name.
    #[error("a member called {0} is being replaced already; wait until that has ended")]
    NameTaken(String),
    /// Two members at one address.
    #[error("the address {0} belongs to another member of the group")]
    AddressTaken(String),
    /// Empty, too long, or no name that a certificate can carry.
    #[error("{0:?} is no name, address or zone of a replica")]
    BadText(String),
    /// Never made, or over for so long that it is forgotten.
    #[error("the join token is not known to the group: have a new one made")]
    TokenUnknown,
    /// It was good once.
    #[error("the join token has expired: have a new one made")]
    TokenExpired,
    /// Another replica came in with it.
    #[error("the join token was used by another replica: have a new one made")]
    TokenUsed,
    /// A bound of the record.
    #[error("the group can hold no more {what}; its limit is {limit}")]
    TooMany {
        /// Of what.
        what: String,
        /// The bound.
        limit: u64,
    },
    /// One change at a time.
    #[error("another change of the members is under way ({0}); wait until it has ended")]
    Busy(u64),
    /// It votes already.
    #[error("replica {0} is a voter already")]
    AlreadyVoter(ReplicaId),
    /// Its namesake would stay a voter.
    #[error(
        "replica {new} came back under the name of the voter {old}: have it replace that one, remove \
         that one first, or force it"
    )]
    StandsFor {
        /// Who is to vote,
        new: ReplicaId,
        /// and whose name it bears.
        old: ReplicaId,
    },
    /// Only a voter can give way.
    #[error("replica {0} is an observer; only a voter can be replaced")]
    NotVoter(ReplicaId),
    /// Nobody, the same twice, or too many at once.
    #[error("a change is about one member, or about two different ones")]
    BadIds,
    /// An even number of voters bears no more failures than the odd one below it.
    #[error(
        "the group would have {0} voters, and an even number bears no more failures than one less \
         would; change two members at once, replace one, or force it"
    )]
    Even(u64),
    /// The last voter stays.
    #[error("the group needs a voter; the last one cannot be removed")]
    LastVoter,
    /// The new majority would not be in contact.
    #[error(
        "only {healthy} of the voters that remain are in contact, and {needed} are needed to agree; \
         bring replicas back first, or force it"
    )]
    BelowQuorum {
        /// Voters in contact after the change.
        healthy: u64,
        /// Their majority.
        needed: u64,
    },
    /// Nobody could lead in its stead.
    #[error("replica {0} leads, and nobody else is fit to take over")]
    Leads(ReplicaId),
    /// It has not caught up.
    #[error("replica {0} has not caught up with the log yet; wait, and try again")]
    NotCaughtUp(ReplicaId),
    /// Its program would not understand what the leader's writes.
    #[error("the program of replica {0} is older than the leader's; upgrade it first")]
    Outdated(ReplicaId),
    /// A voter has to write.
    #[error("the disk of replica {replica} {health}; see to that first")]
    Disk {
        /// Whose.
        replica: ReplicaId,
        /// How it is.
        health: DiskHealth,
    },
    /// It is not the change under way.
    #[error("the change {0} is not under way")]
    NoSuchChange(u64),
    /// Both configurations count, and raft knows no way back.
    #[error(
        "the change {0} cannot be given up any more: majorities of the voters before and after it \
         must both agree now, and it ends as soon as they are in contact; bring their replicas back, \
         or, if they are lost for ever, go on with one (muster recover force-new-group)"
    )]
    TooFar(u64),
    /// Whoever asked did not want that.
    #[error("the change {0} is half done and would be left so; give it up by force")]
    HalfDone(u64),
    /// Somebody gave it up.
    #[error("the change was given up")]
    GivenUp,
    /// The record does not say with whom the group began.
    #[error("the group's record has no beginning; this is a bug")]
    Unfounded,
    /// A newer release knows why.
    #[error("a newer release refused it for a reason that this one does not know")]
    Other,
}
