//! Who is in the group, and how that changes. Everything here can be asked of any replica.
//!
//! ```text
//!  mint_join_token ─▶ the secret goes to the new machine ─▶ admit ─▶ Admission ─▶ bootstrap::join
//!                                                             │              └─▶ Group::start there
//!                     observer ◀── by itself, one at a time ──┘
//!                        └─▶ voter: by itself once it has kept up for [`ChangeTimers::gate`] and the
//!                            number of voters stays odd; or by `promote`
//! ```
//!
//! A wish is an entry of the log: refused at its place there, or begun as the one change under way,
//! which the leader of the moment carries out and the next leader goes on with. A call that waits for
//! a change returns when it is done; when its deadline passes first the change goes on
//! ([`MembershipError::UnderWay`]) and [`Group::record`] tells how it ends.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{Group, ProposeError};
use crate::{
    core::ChangePolicy,
    machine::StateMachine,
    members::{Admission, Command, GroupRecord, JoinDigest, Outcome, Refusal, Wish},
    types::{ReplicaId, Timestamp},
};

/// When members change by themselves, and how far an observer may lag to become a voter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeTimers {
    /// An observer that is to vote lacks fewer entries than this,
    pub lag_entries: u64,
    /// and less log time than this.
    pub lag: Duration,
    /// It must have been so without a break for this long before it is promoted by itself. A wish to
    /// promote waits for so long for it to be so at all, then it is refused.
    pub gate: Duration,
    /// A new leader removes no dead replica by itself for so long.
    pub settle: Duration,
    /// Nor does any leader for so long after a member came back.
    pub returned: Duration,
    /// Between two removals of dead replicas.
    pub cleanup_pause: Duration,
}

impl Default for ChangeTimers {
    fn default() -> Self {
        Self {
            lag_entries: 1_000,
            lag: Duration::from_secs(1),
            gate: Duration::from_secs(10),
            settle: Duration::from_mins(1),
            returned: Duration::from_secs(10),
            cleanup_pause: Duration::from_hours(1),
        }
    }
}

impl ChangeTimers {
    /// The same, counted in ticks.
    pub(crate) fn in_ticks(self, tick: Duration) -> ChangePolicy {
        let us = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let ticks = |duration| us(duration).div_ceil(us(tick).max(1));
        ChangePolicy {
            lag_entries: self.lag_entries,
            lag_us: us(self.lag),
            gate_ticks: ticks(self.gate),
            settle_ticks: ticks(self.settle),
            return_ticks: ticks(self.returned),
            tick_us: us(tick),
            cleanup_pause_us: us(self.cleanup_pause),
        }
    }
}

/// Why the members are not as was wished.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// The group said no; nothing changed. Each reason is a variant of its own.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The wish did not get through, or nobody knows whether it did. It may be made again: what is
    /// done already is refused as such.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The deadline passed while the change was under way. It goes on.
    #[error("the change {0} is still under way; it goes on without being waited for")]
    UnderWay(u64),
    /// The replica stopped, or the change ended so long ago that nobody remembers how.
    #[error("nobody can tell any more how the change {0} ended; look at the members")]
    Forgotten(u64),
}

impl<M: StateMachine> Group<M> {
    /// Makes a token that lets one replica join until `ttl` of log time has passed; tells when that
    /// is. `digest` is [`JoinDigest::of`] a secret that the caller drew and hands on; the group never
    /// sees the secret itself.
    pub async fn mint_join_token(
        &self,
        digest: JoinDigest,
        ttl: Duration,
        deadline: Instant,
    ) -> Result<Timestamp, MembershipError> {
        let ttl_us = u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX);
        match self.wish(Command::MintToken { digest, ttl_us }, deadline).await? {
            Outcome::Minted { expires } => Ok(expires),
            other => Err(unexpected(other)),
        }
    }

    /// Lets the replica in that holds the token of this digest: it is in the record at once, and an
    /// observer as soon as the leader gets to it. Asked again with the same token, name and address
    /// (because the answer was lost) it answers the same; with others it refuses. A member of the
    /// same `name` that is out of contact gives way to it once it has caught up. `zone` may be empty.
    pub async fn admit(
        &self,
        digest: JoinDigest,
        name: &str,
        address: &str,
        zone: &str,
        deadline: Instant,
    ) -> Result<Admission, MembershipError> {
        let (name, address, zone) = (name.to_owned(), address.to_owned(), zone.to_owned());
        let command = Command::Admit { digest, name, address, zone };
        self.admitted(command, deadline).await
    }

    /// As [`Group::admit`] without a token, for an operator who hands the [`Admission`] on. With
    /// `standby` it stays an observer until it is promoted. The group draws the id.
    pub async fn add(
        &self,
        name: &str,
        address: &str,
        zone: &str,
        standby: bool,
        deadline: Instant,
    ) -> Result<Admission, MembershipError> {
        let (name, address, zone) = (name.to_owned(), address.to_owned(), zone.to_owned());
        self.admitted(Command::Add { id: None, name, address, zone, standby }, deadline).await
    }

    /// Makes an observer, or two in one step, voters, and waits until they are. Refused when one does
    /// not keep up with the log, or, without `force`, when the number of voters would be even.
    pub async fn promote(
        &self,
        ids: &[ReplicaId],
        force: bool,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        self.change(Command::Promote { ids: ids.to_vec(), force }, deadline).await
    }

    /// Removes a member, or two in one step, and waits until they are gone. If one of them leads, it
    /// hands leadership over first. Their ids never come back, their processes end with
    /// [`super::REMOVED`], their data stays where it is. Refused without `force` when the voters that
    /// remain are not in contact with a majority of each other, or when their number would be even;
    /// the last voter is never removed.
    pub async fn remove(
        &self,
        ids: &[ReplicaId],
        force: bool,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        self.change(Command::Remove { ids: ids.to_vec(), force }, deadline).await
    }

    /// Has the observer `new` take the place of the voter `old`, who is removed: within one zone in
    /// one step, across zones the new one votes before the old one goes.
    pub async fn replace(
        &self,
        old: ReplicaId,
        new: ReplicaId,
        force: bool,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        self.change(Command::Replace { old, new, force }, deadline).await
    }

    /// Gives the change under way up. Refused while two configurations hold ([`Refusal::TooFar`]; said
    /// at once, as the group may be unable to agree on anything then), and without `force` when a step
    /// of it was taken already ([`Refusal::HalfDone`]).
    pub async fn abandon(
        &self,
        change: u64,
        force: bool,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        if self.status().joint {
            return Err(Refusal::TooFar(change).into());
        }
        let (why, only_whole) = (Refusal::GivenUp, !force);
        self.done(Command::Abandon { change, why, only_whole }, deadline).await
    }

    /// Observers become voters by themselves until there are so many; 0 for as many as a group can
    /// have.
    pub async fn set_target_voters(
        &self,
        voters: u32,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        self.done(Command::SetTarget { voters }, deadline).await
    }

    /// Whether a voter that is silent for longer than this gives way to an observer that keeps up;
    /// `None`, as at the beginning, for never. Only with four voters or more, one in
    /// [`ChangeTimers::cleanup_pause`], and only while a majority is in contact.
    pub async fn set_dead_cleanup(
        &self,
        silence: Option<Duration>,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        let us = |silence: Duration| u64::try_from(silence.as_micros()).unwrap_or(u64::MAX);
        self.done(Command::SetDeadAfter { silence_us: silence.map(us) }, deadline).await
    }

    /// A member is to be found at another address from now on.
    pub async fn set_address(
        &self,
        id: ReplicaId,
        address: &str,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        self.done(Command::Readdress { id, address: address.to_owned() }, deadline).await
    }

    /// The group's record as this replica knows it: members with their roles and zones, the change
    /// under way and how the last ones ended, tombstones, tokens, settings.
    pub fn record(&self) -> Arc<GroupRecord> {
        self.inner.shared.record.borrow().clone()
    }

    /// Tells of every change of the record.
    pub fn watch_record(&self) -> watch::Receiver<Arc<GroupRecord>> {
        self.inner.shared.record.subscribe()
    }

    async fn wish(&self, command: Command, deadline: Instant) -> Result<Outcome, MembershipError> {
        let record = self.record();
        // What until now only stood in the settings goes into the log with the first wish.
        let founders = if record.revision == 0 { record.founders.clone() } else { Vec::new() };
        let wish = Wish { founders, command }.encode();
        let applied = self.propose_wish(wish, deadline).await?;
        match Outcome::decode(&applied.reply) {
            Outcome::Refused(refusal) => Err(refusal.into()),
            outcome => Ok(outcome),
        }
    }

    async fn done(&self, command: Command, deadline: Instant) -> Result<(), MembershipError> {
        self.wish(command, deadline).await.map(drop)
    }

    async fn admitted(
        &self,
        command: Command,
        deadline: Instant,
    ) -> Result<Admission, MembershipError> {
        let replica = match self.wish(command, deadline).await? {
            Outcome::Admitted { replica } => replica,
            other => return Err(unexpected(other)),
        };
        // The answer comes with the record that has it, or with a later one that has it no more.
        let group = self.inner.shared.group;
        let removed = Refusal::Removed(replica);
        self.record().admission(group, replica).ok_or(removed.into())
    }

    async fn change(&self, command: Command, deadline: Instant) -> Result<(), MembershipError> {
        let change = match self.wish(command, deadline).await? {
            Outcome::Begun { change } => change,
            other => return Err(unexpected(other)),
        };
        let mut record = self.watch_record();
        let under_way = |record: &Arc<GroupRecord>| {
            record.change.as_ref().is_some_and(|under_way| under_way.id == change)
        };
        let ended = record.wait_for(|record| !under_way(record));
        let ending = match timeout_at(deadline, ended).await {
            Ok(Ok(record)) => record.ending(change).cloned(),
            Ok(Err(_)) => None,
            Err(_) => return Err(MembershipError::UnderWay(change)),
        };
        match ending {
            Some(finished) => finished.refused.map_or(Ok(()), |refusal| Err(refusal.into())),
            None => Err(MembershipError::Forgotten(change)),
        }
    }
}

/// Nothing else is answered to such a wish by this release.
fn unexpected(_: Outcome) -> MembershipError {
    Refusal::Other.into()
}
