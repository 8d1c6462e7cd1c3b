//! Who is in the group, and what changes it: the operator's wishes and a new replica's.

use std::time::Duration;

use muster_cluster::group::{MembershipError, ProposeError};
use muster_cluster::members::{JoinDigest, Refusal};
use muster_cluster::types::{ReplicaId, Timestamp};
use tokio::time::Instant;

use super::replica::{Replica, ReplicaError, parse_id};

/// How long a join token is good if nobody says.
const TOKEN_TTL: Duration = Duration::from_hours(1);
/// The longest that one may be good.
const TOKEN_TTL_MAX: Duration = Duration::from_hours(7 * 24);

/// Why the members are not as was wished.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WishError {
    /// No replica has an id written like that.
    #[error(transparent)]
    Id(#[from] ReplicaError),
    /// The group said no, the wish did not get through, or its end is not known.
    #[error(transparent)]
    Group(#[from] MembershipError),
}

impl WishError {
    /// What the caller may conclude.
    pub fn kind(&self) -> WishErrorKind {
        match self {
            WishError::Id(_) => WishErrorKind::Malformed,
            WishError::Group(MembershipError::Refused(refusal)) => match refusal {
                Refusal::Unknown(_) => WishErrorKind::Unknown,
                Refusal::TokenUnknown | Refusal::TokenExpired | Refusal::TokenUsed => {
                    WishErrorKind::Token
                }
                Refusal::BadText(_) | Refusal::BadIds => WishErrorKind::Malformed,
                Refusal::TooMany { .. } => WishErrorKind::Bound,
                _ => WishErrorKind::Refused,
            },
            WishError::Group(MembershipError::Propose(ProposeError::NotDone(_))) => {
                WishErrorKind::NotDone
            }
            WishError::Group(
                MembershipError::Propose(ProposeError::MayBeDone(_))
                | MembershipError::Forgotten(_),
            ) => WishErrorKind::MayBeDone,
            WishError::Group(MembershipError::UnderWay(_)) => WishErrorKind::UnderWay,
        }
    }
}

/// What the caller may conclude from a [`WishError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WishErrorKind {
    /// It is no id, name or address.
    Malformed,
    /// No member has that id.
    Unknown,
    /// The join token is not good.
    Token,
    /// There are as many as there can be.
    Bound,
    /// The group does not do it as it stands.
    Refused,
    /// Certainly not done; asking again may help.
    NotDone,
    /// Nobody knows.
    MayBeDone,
    /// It goes on without being waited for.
    UnderWay,
}

impl Replica {
    /// Makes `token` let one replica join; says until when.
    pub async fn mint_join_token(
        &self,
        token: &str,
        ttl: Duration,
        deadline: Instant,
    ) -> Result<Timestamp, WishError> {
        let ttl = if ttl.is_zero() { TOKEN_TTL } else { ttl.min(TOKEN_TTL_MAX) };
        Ok(self.group().mint_join_token(JoinDigest::of(token), ttl, deadline).await?)
    }

    /// The replica of that id as the audit log writes it, with the name that it has now.
    pub fn called(&self, id: &str) -> String {
        let members = self.info().members;
        match members.iter().find(|member| member.id == id) {
            Some(member) => format!("{} ({id})", member.name),
            None => id.to_owned(),
        }
    }

    /// Lets the replica in that shows `token`: its id, and what it needs to start as bytes.
    pub async fn admit(
        &self,
        token: &str,
        (name, address, zone): (&str, &str, &str),
        deadline: Instant,
    ) -> Result<(String, Vec<u8>), WishError> {
        let digest = JoinDigest::of(token);
        let admission = self.group().admit(digest, name, address, zone, deadline).await?;
        Ok((admission.replica.to_string(), admission.encode().to_vec()))
    }

    /// Makes observers voters.
    pub async fn promote(
        &self,
        ids: &[String],
        force: bool,
        deadline: Instant,
    ) -> Result<(), WishError> {
        Ok(self.group().promote(&read_ids(ids)?, force, deadline).await?)
    }

    /// Removes members for ever.
    pub async fn remove(
        &self,
        ids: &[String],
        force: bool,
        deadline: Instant,
    ) -> Result<(), WishError> {
        Ok(self.group().remove(&read_ids(ids)?, force, deadline).await?)
    }

    /// Has the observer `new` take the place of the voter `old`.
    pub async fn replace(
        &self,
        (old, new): (&str, &str),
        force: bool,
        deadline: Instant,
    ) -> Result<(), WishError> {
        Ok(self.group().replace(parse_id(old)?, parse_id(new)?, force, deadline).await?)
    }

    /// Gives up the change of the members that is under way: with `force` also when a step of it was
    /// taken.
    pub async fn abandon(
        &self,
        change: u64,
        force: bool,
        deadline: Instant,
    ) -> Result<(), WishError> {
        Ok(self.group().abandon(change, force, deadline).await?)
    }

    /// Observers become voters by themselves up to so many; 0 for as many as a group can have.
    pub async fn set_target_voters(&self, voters: u32, deadline: Instant) -> Result<(), WishError> {
        Ok(self.group().set_target_voters(voters, deadline).await?)
    }

    /// A voter that is silent for so long gives way to an observer; zero: never by itself.
    pub async fn set_dead_cleanup(
        &self,
        silence: Duration,
        deadline: Instant,
    ) -> Result<(), WishError> {
        let silence = (!silence.is_zero()).then_some(silence);
        Ok(self.group().set_dead_cleanup(silence, deadline).await?)
    }
}

fn read_ids(ids: &[String]) -> Result<Vec<ReplicaId>, ReplicaError> {
    ids.iter().map(|id| parse_id(id)).collect()
}
