//! The rule of beginning a group, without disk, network or time.
//!
//! 1. A replica with a fresh folder asks every other one on its list. Only when all have answered
//!    from fresh folders too, with the same list and token, does it *promise*: on its disk, to
//!    begin the group of exactly these disks, and no other.
//! 2. Only when all have made the same promise, or one says that the group has begun, does it
//!    begin.
//!
//! So nobody begins without a promise of everybody. A replica that has no promise and meets a group
//! that has begun, or a promise that does not count its disk, has lost its disk: it may have voted
//! and must not come back under its old id. And a second group would need a second promise of
//! everybody, so a fresh disk everywhere.

use std::collections::BTreeMap;

use super::plan::{DiskMark, Plan, Promise, TokenDigest};
use crate::net::hello;
use crate::types::GroupId;

/// Where a replica stands, as it tells the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) name: String,
    pub(crate) stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Wants to begin.
    Waiting { disk: DiskMark, token: TokenDigest, list: [u8; 32], promised: Option<GroupId> },
    /// Belongs to a group that has begun.
    Begun(GroupId),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing until somebody answers.
    Wait,
    /// Write this promise, then say so with [`Candidate::promised`].
    Promise(Promise),
    /// The group begins.
    Begin(Promise),
}

/// Why a replica must not go on. Waiting would not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A peer's group has begun, and this folder knows nothing of it.
    #[error(
        "{peer} belongs to group {group}, which has begun, and this data folder is empty: the disk of {me} was lost. It may have voted, so it must not come back under its old id: mount its old folder, or replace it under a new id"
    )]
    DiskLost {
        /// This replica.
        me: String,
        /// Who said so.
        peer: String,
        /// Its group.
        group: GroupId,
    },
    /// A peer has promised to begin with an earlier disk of some replica.
    #[error(
        "{peer} has promised to begin a group with other disks than those that answer now: some replica's disk was lost before the group began. If no replica has begun (none says so in its log), stop all of them, empty all their data folders and start again"
    )]
    OtherDisks {
        /// Who promised.
        peer: String,
    },
    /// A peer belongs to another group than the one promised here.
    #[error(
        "{peer} belongs to group {theirs}, this data folder has promised to begin group {ours}: the folder or the address of {peer} is of another installation"
    )]
    OtherGroup {
        /// Who said so.
        peer: String,
        /// Its group.
        theirs: GroupId,
        /// The group promised.
        ours: GroupId,
    },
}

/// A replica that does not belong to a group yet.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    plan: Plan,
    disk: DiskMark,
    promise: Option<Promise>,
    heard: BTreeMap<String, Answer>,
}

impl Candidate {
    /// `disk` and `promise` as they stand on the disk.
    pub(crate) fn new(plan: Plan, disk: DiskMark, promise: Option<Promise>) -> Candidate {
        Candidate { plan, disk, promise, heard: BTreeMap::new() }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(crate) fn disk(&self) -> DiskMark {
        self.disk
    }

    /// What this replica tells one that asks.
    pub(crate) fn answer(&self) -> Answer {
        let stage = Stage::Waiting {
            disk: self.disk,
            token: self.plan.token,
            list: self.plan.list_digest(),
            promised: self.promise.as_ref().map(Promise::group),
        };
        Answer { name: self.plan.me.clone(), stage }
    }

    /// Takes what answered at the address of the member `name`.
    pub(crate) fn hear(&mut self, name: &str, answer: Answer) {
        self.heard.insert(name.to_owned(), answer);
    }

    /// The promise is on disk.
    pub(crate) fn promised(&mut self, promise: Promise) {
        self.promise = Some(promise);
    }

    /// What follows from all that was heard.
    pub(crate) fn next(&self) -> Result<Step, Refusal> {
        for (peer, answer) in &self.heard {
            if let Stage::Begun(group) = answer.stage
                && answer.name == *peer
            {
                return self.meet_begun(peer, group);
            }
        }
        if self.obstacles().next().is_some() {
            return Ok(Step::Wait);
        }
        let promise = self.promise.clone().unwrap_or_else(|| self.promise_of_all());
        let mut all = self.promise.is_some();
        for (peer, answer) in &self.heard {
            match answer.stage {
                Stage::Waiting { promised: Some(group), .. } if group != promise.group() => {
                    return Err(Refusal::OtherDisks { peer: peer.clone() });
                }
                Stage::Waiting { promised, .. } => all &= promised.is_some(),
                Stage::Begun(_) => {}
            }
        }
        Ok(match self.promise {
            None => Step::Promise(promise),
            Some(_) if all => Step::Begin(promise),
            Some(_) => Step::Wait,
        })
    }

    fn meet_begun(&self, peer: &str, theirs: GroupId) -> Result<Step, Refusal> {
        let (me, peer) = (self.plan.me.clone(), peer.to_owned());
        match &self.promise {
            None => Err(Refusal::DiskLost { me, peer, group: theirs }),
            Some(promise) if promise.group() == theirs => Ok(Step::Begin(promise.clone())),
            Some(promise) => Err(Refusal::OtherGroup { peer, theirs, ours: promise.group() }),
        }
    }

    /// Who keeps the group from beginning, and by what.
    pub(crate) fn obstacles(&self) -> impl Iterator<Item = String> {
        self.plan.others().filter_map(|(name, address)| {
            let Some(answer) = self.heard.get(name) else {
                return Some(format!("{name} at {address} has not answered"));
            };
            if answer.name != name {
                let other = &answer.name;
                return Some(format!("{other} answers at {address}, the address of {name}"));
            }
            match answer.stage {
                Stage::Waiting { token, .. } if token != self.plan.token => {
                    Some(format!("{name} has another bootstrap token"))
                }
                Stage::Waiting { list, .. } if list != self.plan.list_digest() => {
                    Some(format!("{name} has another list of initial members"))
                }
                _ => None,
            }
        })
    }

    fn promise_of_all(&self) -> Promise {
        let mut disks = BTreeMap::from([(self.plan.me.clone(), self.disk)]);
        for (name, answer) in &self.heard {
            if let Stage::Waiting { disk, .. } = answer.stage {
                disks.insert(name.clone(), disk);
            }
        }
        Promise::new(self.plan.token, &disks)
    }
}

impl From<Answer> for hello::Answer {
    fn from(answer: Answer) -> hello::Answer {
        let id = |id: u128| id.to_be_bytes().to_vec();
        let mut sent = hello::Answer { name: answer.name, ..hello::Answer::default() };
        match answer.stage {
            Stage::Begun(group) => sent.group = id(group.0),
            Stage::Waiting { disk, token, list, promised } => {
                sent.disk = id(disk.0);
                sent.token = token.0.to_vec();
                sent.list = list.to_vec();
                sent.promised = promised.map(|group| id(group.0)).unwrap_or_default();
            }
        }
        sent
    }
}

/// An answer that no replica gives.
#[derive(Debug, thiserror::Error)]
#[error("an answer that cannot be read")]
pub(crate) struct BadAnswer;

impl TryFrom<hello::Answer> for Answer {
    type Error = BadAnswer;

    fn try_from(sent: hello::Answer) -> Result<Answer, BadAnswer> {
        let id = |bytes: &[u8]| bytes.try_into().map(u128::from_be_bytes).map_err(|_| BadAnswer);
        let hash = |bytes: Vec<u8>| bytes.try_into().map_err(|_| BadAnswer);
        let stage = if sent.group.is_empty() {
            let promised = Some(&sent.promised).filter(|promised| !promised.is_empty());
            Stage::Waiting {
                disk: DiskMark(id(&sent.disk)?),
                token: TokenDigest(hash(sent.token)?),
                list: hash(sent.list)?,
                promised: promised.map(|group| id(group).map(GroupId)).transpose()?,
            }
        } else {
            Stage::Begun(GroupId(id(&sent.group)?))
        };
        Ok(Answer { name: sent.name, stage })
    }
}
