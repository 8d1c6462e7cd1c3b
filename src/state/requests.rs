//! Answers already given to requests that their clients named, so that asking again does nothing
//! again.

use std::sync::Arc;

use imbl::{OrdMap, Vector};
use muster_proto::muster::log::v1::{Command, Rejection, RejectionKind, Reply, command};
use prost::Message;
use sha2::{Digest as _, Sha256};

use crate::state::secret::Digest;
use crate::state::time::LogTime;
use crate::state::{limits, rejection};

/// The newest answers. Rejections are not among them: they changed nothing, so asking again is
/// judged anew.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    by_key: OrdMap<Digest, Arc<Answer>>,
    /// Keys, oldest first.
    order: Vector<Digest>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    /// Digest of what was asked.
    pub(super) question: Digest,
    pub(super) reply: Reply,
    pub(super) at: LogTime,
}

/// A named request: who asked under which name, and what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    key: Digest,
    question: Digest,
}

impl Named {
    /// None when the client gave no name, or when the answer goes with a token that the server drew:
    /// it is nowhere to be had a second time, so asking again brings another one.
    pub(super) fn of(command: &Command) -> Result<Option<Named>, Rejection> {
        if command.request_id.is_empty() || brings_token(command) {
            return Ok(None);
        }
        limits::check_text("request_id", &command.request_id, limits::REQUEST_ID_BYTES_MAX)?;
        let caller = command.caller.clone().unwrap_or_default();
        let key = Sha256::new()
            .chain_update(caller.encode_length_delimited_to_vec())
            .chain_update(&command.request_id)
            .finalize();
        Ok(Some(Named { key: key.into(), question: question(command) }))
    }
}

fn brings_token(command: &Command) -> bool {
    matches!(
        command.kind,
        Some(
            command::Kind::ActivateAuth(_)
                | command::Kind::IssueRobotToken(_)
                | command::Kind::IssueUserToken(_)
                | command::Kind::RotateRootToken(_)
        )
    )
}

/// A digest of the intent without what the server drew for it.
fn question(command: &Command) -> Digest {
    let mut asked = Command { kind: command.kind.clone(), ..Command::default() };
    if let Some(command::Kind::AddCluster(add)) = &mut asked.kind
        && add.secret_generated
    {
        add.secret_digest.clear();
    }
    Sha256::digest(asked.encode_to_vec()).into()
}

impl Answers {
    /// The answer given before, or none.
    pub(super) fn find(&self, named: Named) -> Result<Option<&Answer>, Rejection> {
        match self.by_key.get(&named.key) {
            None => Ok(None),
            Some(answer) if answer.question == named.question => Ok(Some(answer)),
            Some(_) => Err(rejection::plain(RejectionKind::RequestIdTaken)),
        }
    }

    /// Remembers an answer and forgets those beyond the bounds.
    pub(super) fn remember(&mut self, named: Named, reply: &Reply, now: LogTime) {
        self.push(named.key, Answer { question: named.question, reply: reply.clone(), at: now });
        while self.is_oldest_due(now) {
            if let Some(key) = self.order.pop_front() {
                self.by_key.remove(&key);
            }
        }
    }

    fn is_oldest_due(&self, now: LogTime) -> bool {
        let Some(oldest) = self.order.front().and_then(|key| self.by_key.get(key)) else {
            return false;
        };
        self.order.len() > limits::ANSWERS_MAX
            || oldest.at.plus_seconds(limits::ANSWER_SECONDS_MAX) < now
    }

    /// Adds an answer that is newer than all others; a key that is there already stays as it is.
    pub(super) fn push(&mut self, key: Digest, answer: Answer) {
        if self.by_key.contains_key(&key) {
            return;
        }
        self.by_key.insert(key, Arc::new(answer));
        self.order.push_back(key);
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Keys and answers, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Digest, &Answer)> {
        self.order.iter().filter_map(|key| Some((key, self.by_key.get(key)?.as_ref())))
    }

    /// Whether every key has its answer and the other way round.
    pub(super) fn is_consistent(&self) -> bool {
        self.order.len() == self.by_key.len() && self.iter().count() == self.order.len()
    }
}
