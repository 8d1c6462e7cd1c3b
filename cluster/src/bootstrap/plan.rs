//! What a replica is told to begin, and what it promises to.

use std::collections::{BTreeMap, BTreeSet};

use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::types::{GroupId, Member, ReplicaId};

/// Marks one disk: drawn at random when a fresh folder is first used, so that a wiped disk is
/// another disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiskMark(pub u128);

/// A digest of the bootstrap token, which itself never leaves the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenDigest(pub [u8; 32]);

impl TokenDigest {
    /// Of `token`; of the empty one where none is configured.
    pub fn of(token: &str) -> TokenDigest {
        TokenDigest(digest("token", [token.as_bytes()]))
    }
}

/// Why a configured list of initial members is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The list does not name this replica.
    #[error(
        "the list of initial members does not name this replica, {0}; correct the name or the list"
    )]
    NotListed(String),
    /// A name twice.
    #[error("the list of initial members names {0} twice")]
    NameTwice(String),
    /// An address twice.
    #[error("the list of initial members gives the address {0} twice")]
    AddressTwice(String),
    /// A name that no certificate can carry.
    #[error(
        "the name {0} of an initial member cannot stand in a certificate; use letters, digits and hyphens"
    )]
    BadName(String),
}

/// The initial members and the token, as this replica is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub(crate) me: String,
    pub(crate) token: TokenDigest,
    /// Name to `host:port`.
    pub(crate) members: BTreeMap<String, String>,
}

impl Plan {
    /// The plan of the replica `me` with the `list` of names and addresses (`host:port`).
    pub fn new(me: &str, list: &[(String, String)], token: TokenDigest) -> Result<Plan, PlanError> {
        let mut members = BTreeMap::new();
        let mut addresses = BTreeSet::new();
        for (name, address) in list {
            if !matches!(ServerName::try_from(name.as_str()), Ok(ServerName::DnsName(_))) {
                return Err(PlanError::BadName(name.clone()));
            }
            if members.insert(name.clone(), address.clone()).is_some() {
                return Err(PlanError::NameTwice(name.clone()));
            }
            if !addresses.insert(address) {
                return Err(PlanError::AddressTwice(address.clone()));
            }
        }
        if !members.contains_key(me) {
            return Err(PlanError::NotListed(me.to_owned()));
        }
        Ok(Plan { me: me.to_owned(), token, members })
    }

    /// A digest of names and addresses.
    pub(crate) fn list_digest(&self) -> [u8; 32] {
        let parts = self.members.iter().flat_map(|(name, address)| [name, address]);
        digest("list", parts.map(String::as_bytes))
    }

    /// Everyone but this replica.
    pub(crate) fn others(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.members.iter().map(|(name, address)| (name.as_str(), address.as_str()));
        all.filter(|(name, _)| *name != self.me)
    }

    /// The members of `group`, where this plan says that they are.
    pub(crate) fn members_of(&self, group: GroupId) -> Vec<Member> {
        let member = |(name, address): (&String, &String)| Member {
            id: replica_id(group, name),
            name: name.clone(),
            address: address.clone(),
        };
        self.members.iter().map(member).collect()
    }
}

/// A promise to begin one certain group, and no other on this disk. Kept when the group has begun:
/// it says what the group began with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// [`TokenDigest`], hexadecimal.
    token: String,
    /// Name to [`DiskMark`], hexadecimal.
    disks: BTreeMap<String, String>,
}

/// How the configuration differs from what the folder's group began with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The token differs.
    #[error("the bootstrap token is not the one that the folder's group began with")]
    Token,
    /// The names differ.
    #[error(
        "the folder's group began with the members {began}, the configuration names {configured}"
    )]
    Names {
        /// As the group began.
        began: String,
        /// As configured.
        configured: String,
    },
}

impl Promise {
    pub(crate) fn new(token: TokenDigest, disks: &BTreeMap<String, DiskMark>) -> Promise {
        let [high, low] = halves(token.0);
        let disks = disks.iter().map(|(name, mark)| (name.clone(), format!("{:032x}", mark.0)));
        Promise { token: format!("{high:032x}{low:032x}"), disks: disks.collect() }
    }

    /// The group's id: a digest of token, names and disks. The disks make it unique, so that it
    /// comes back neither from a wiped disk nor from a copied configuration.
    pub fn group(&self) -> GroupId {
        let disks = self.disks.iter().flat_map(|(name, mark)| [name, mark]);
        let parts = std::iter::once(&self.token).chain(disks);
        let [first, ..] = halves(digest("group", parts.map(String::as_bytes)));
        GroupId(first)
    }

    /// Who promised.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.disks.keys()
    }

    /// Whether a configuration still describes the group. Addresses may have changed.
    pub fn check(&self, plan: &Plan) -> Result<(), Misfit> {
        let names = |names: Vec<&String>| {
            names.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ")
        };
        if !self.disks.keys().eq(plan.members.keys()) {
            return Err(Misfit::Names {
                began: names(self.disks.keys().collect()),
                configured: names(plan.members.keys().collect()),
            });
        }
        if self.token == Promise::new(plan.token, &BTreeMap::new()).token {
            Ok(())
        } else {
            Err(Misfit::Token)
        }
    }
}

/// The id of the initial member `name` of `group`.
pub(crate) fn replica_id(group: GroupId, name: &str) -> ReplicaId {
    let [first, _] = halves(digest("replica", [&group.0.to_be_bytes()[..], name.as_bytes()]));
    // Raft's zero means nobody.
    ReplicaId(((first >> 64) as u64).max(1))
}

/// SHA-256 of the parts, each preceded by its length, under a word that keeps uses apart.
fn digest<'a>(word: &'a str, parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in std::iter::once(word.as_bytes()).chain(parts) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn halves(digest: [u8; 32]) -> [u128; 2] {
    let mut halves = [0; 2];
    for (half, bytes) in halves.iter_mut().zip(digest.chunks_exact(16)) {
        *half = bytes.iter().fold(0, |number, byte| (number << 8) | u128::from(*byte));
    }
    halves
}
