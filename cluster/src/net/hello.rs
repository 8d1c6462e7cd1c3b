//! What two replicas say to each other before anything else.

use prost::{Enumeration, Message};

/// The versions of the peer protocol that this build speaks.
pub(crate) const PROTOCOL: std::ops::RangeInclusive<u32> = 1..=1;

/// The largest frame before the other side is known, in bytes.
pub(crate) const HANDSHAKE_LIMIT: usize = 16 << 10;

/// The dialler's first frame of a connection between members of a group.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Hello {
    #[prost(uint32, tag = "1")]
    pub(crate) protocol_min: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) protocol_max: u32,
    /// The group id, 16 bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) group: Vec<u8>,
    #[prost(fixed64, tag = "4")]
    pub(crate) replica: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) incarnation: u64,
    /// Whom the dialler believes to find at this address.
    #[prost(fixed64, tag = "6")]
    pub(crate) expects: u64,
    /// 1 control, 2 bulk.
    #[prost(uint32, tag = "7")]
    pub(crate) lane: u32,
    /// The dialler's name, for a replica that has not heard of it yet.
    #[prost(string, tag = "8")]
    pub(crate) name: String,
    /// Where the dialler is reached, likewise.
    #[prost(string, tag = "9")]
    pub(crate) address: String,
    /// Up to which entry the dialler knows the group's record.
    #[prost(uint64, tag = "10")]
    pub(crate) revision: u64,
}

/// The listener's answer to a [`Hello`] that it takes.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Welcome {
    #[prost(uint32, tag = "1")]
    pub(crate) protocol: u32,
    #[prost(fixed64, tag = "2")]
    pub(crate) replica: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) incarnation: u64,
}

/// The listener's answer to a [`Hello`] that it does not take; the connection ends after it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Refusal {
    #[prost(enumeration = "Reason", tag = "1")]
    pub(crate) reason: i32,
}

/// Why a replica does not want to talk. The numbers are part of the wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub(crate) enum Reason {
    Unknown = 0,
    Version = 1,
    OtherGroup = 2,
    WrongReplica = 3,
    NotAMember = 4,
    Certificate = 5,
    OldIncarnation = 6,
    BadHello = 7,
    NotBegun = 8,
    Removed = 9,
    OldEpoch = 20,
}

impl Reason {
    /// A word for metrics and logs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Reason::Unknown => "unknown",
            Reason::Version => "version",
            Reason::OtherGroup => "other_group",
            Reason::WrongReplica => "wrong_replica",
            Reason::NotAMember => "not_a_member",
            Reason::Certificate => "certificate",
            Reason::OldIncarnation => "old_incarnation",
            Reason::BadHello => "bad_hello",
            Reason::NotBegun => "not_begun",
            Reason::Removed => "removed",
            Reason::OldEpoch => "old_epoch",
        }
    }

    /// A sentence for people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Reason::Unknown => "it gave no reason that this version knows",
            Reason::Version => "the two speak no common version of the peer protocol",
            Reason::OtherGroup => "they belong to different groups",
            Reason::WrongReplica => "the address leads to another replica than the dialler expects",
            Reason::NotAMember => "the dialler is not a member of the group",
            Reason::Certificate => "the dialler's certificate does not carry its replica's name",
            Reason::OldIncarnation => {
                "a later start of the dialler was seen: a copy of its data folder is running"
            }
            Reason::BadHello => "the dialler's first frame was not understood",
            Reason::NotBegun => "its group has not begun yet",
            Reason::Removed => "the dialler was removed from the group",
            Reason::OldEpoch => {
                "the dialler's group was given up, and another took its place: its data is of the past"
            }
        }
    }
}

/// Asked by a replica that wants to begin a group; see `bootstrap`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Question {
    /// The asker's name, for the other side's log.
    #[prost(string, tag = "1")]
    pub(crate) asker: String,
    /// Wants to hear how the replica is.
    #[prost(bool, tag = "2")]
    pub(crate) report: bool,
}

/// What a replica says about itself to one that wants to begin a group.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Answer {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// The group it belongs to, 16 bytes. When given, nothing below matters.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) group: Vec<u8>,
    /// The mark of its disk, 16 bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) disk: Vec<u8>,
    /// A digest of the bootstrap token, 32 bytes.
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) token: Vec<u8>,
    /// A digest of the list of initial members, 32 bytes.
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) list: Vec<u8>,
    /// The group it has promised to begin, 16 bytes; empty before it did.
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) promised: Vec<u8>,
    /// How it is, if that was asked; opaque here.
    #[prost(bytes = "bytes", tag = "7")]
    pub(crate) report: bytes::Bytes,
}
