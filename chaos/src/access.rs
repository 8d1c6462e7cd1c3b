//! Who may do what, in a hundred lines that trust none of Muster's: fed with every command that takes
//! effect and its answer, in the order of the log.
//!
//! AUT-1: no revoked or expired token authorizes anything at a later place of the log. AUT-2: nothing is
//! permitted without a binding. AUT-3: a token that lives is not said to be unknown or expired. AUT-4:
//! root cannot lose clusterAdmin. AUT-5: a token that exists is not restored, so that neither its
//! end nor a revocation moves, and none is restored dead. AUT-6: auth is wholly on or wholly off, the
//! living tokens are those that the answers gave, and as many end as is said. AUT-7: no more is
//! forgotten, or kept of what ended with all others of its owner, than ended so.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use muster::state::State;
use muster_proto::muster::log::v1::{
    Command, RejectionKind, Reply, caller::Who, command::Kind, reply,
};

use crate::invariants::{Violation, require};

const ROOT: &str = "pach:root";
const ADMIN: &str = "clusterAdmin";
const LICENSES: &str = "licenseAdmin";

/// What the answers so far come to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    on: bool,
    /// Whose a token is and its last microsecond, 0 for none; expired ones stay until they are purged.
    tokens: BTreeMap<Bytes, (String, u64)>,
    /// Tokens that ended with all others of their owner, and may still be kept.
    ended: u64,
    roles: BTreeMap<String, BTreeSet<String>>,
    /// Named requests that were answered: asked again they are answered alike, and change nothing.
    answered: BTreeSet<String>,
    /// Tokens that were ended before their time.
    pub(crate) revoked: u64,
    /// Commands that were refused for want of a living token or of a role.
    pub(crate) refused: u64,
}

impl Access {
    /// Judges the answer to `command` at log time `now`, microseconds, and takes note of it. False when
    /// the command was refused for its caller alone, so that it changed nothing.
    pub(crate) fn judge(
        &mut self,
        command: &Command,
        now: u64,
        answer: &Reply,
    ) -> Result<bool, Violation> {
        let (Some(kind), Some(answer)) = (&command.kind, &answer.kind) else { return Ok(true) };
        if let reply::Kind::Rejected(no) = answer {
            return self.refuses(command, now, no.kind());
        }
        self.permits(command, kind, now)?;
        let brings_token = matches!(
            kind,
            Kind::ActivateAuth(_) | Kind::IssueRobotToken(_) | Kind::RotateRootToken(_)
        );
        let named = !command.request_id.is_empty() && !brings_token;
        if named && !self.answered.insert(command.request_id.clone()) {
            return Ok(true);
        }
        self.follow(kind, now, answer)?;
        Ok(true)
    }

    fn caller(&self, command: &Command) -> Option<(&Bytes, &(String, u64))> {
        match command.caller.as_ref()?.who.as_ref()? {
            Who::TokenDigest(digest) => self.tokens.get_key_value(digest),
            _ => None,
        }
    }

    fn refuses(
        &mut self,
        command: &Command,
        now: u64,
        why: RejectionKind,
    ) -> Result<bool, Violation> {
        let lives = self.caller(command).is_some_and(|(_, token)| !over(token.1, now));
        match why {
            RejectionKind::TokenUnknown | RejectionKind::TokenExpired => {
                require(!lives, "AUT-3", || {
                    format!("a living token is refused: {why:?} {command:?}")
                })?;
            }
            RejectionKind::TokenAbsent
            | RejectionKind::NotAuthorized
            | RejectionKind::GateClosed
            | RejectionKind::AuthNotActivated => {}
            _ => return Ok(true),
        }
        self.refused += 1;
        Ok(false)
    }

    fn permits(&self, command: &Command, kind: &Kind, now: u64) -> Result<(), Violation> {
        let enough: &[&str] = match kind {
            Kind::RecordHeartbeats(_) | Kind::ActivateAuth(_) => return Ok(()),
            Kind::ForgetRevokedTokens(_) => {
                let who = command.caller.as_ref().and_then(|caller| caller.who.as_ref());
                return require(matches!(who, Some(Who::Internal(_))), "AUT-2", || {
                    format!("{command:?} was done for somebody outside")
                });
            }
            // Whoever knows a token may end it.
            Kind::RevokeToken(_) => &[],
            Kind::ActivateLicense(_)
            | Kind::AddCluster(_)
            | Kind::UpdateCluster(_)
            | Kind::DeleteCluster(_) => &[ADMIN, LICENSES],
            _ => &[ADMIN],
        };
        if !self.on {
            return Ok(());
        }
        let caller = self.caller(command);
        require(caller.is_some_and(|(_, token)| !over(token.1, now)), "AUT-1", || {
            format!("{command:?} was done at {now} for {caller:?}")
        })?;
        let roles = caller.and_then(|(_, token)| self.roles.get(&token.0));
        let permitted = roles.is_some_and(|roles| enough.iter().any(|role| roles.contains(*role)));
        require(enough.is_empty() || permitted, "AUT-2", || {
            format!("{command:?} was done for {caller:?} with the roles {roles:?}")
        })
    }

    fn follow(&mut self, kind: &Kind, now: u64, answer: &reply::Kind) -> Result<(), Violation> {
        match (kind, answer) {
            (Kind::ActivateAuth(it), _) => {
                self.begin(true);
                self.tokens.insert(it.root_token_digest.clone(), (ROOT.into(), 0));
                self.roles.insert(ROOT.into(), [ADMIN.to_owned()].into());
            }
            (Kind::DeactivateAuth(_), _) => {
                self.begin(false);
            }
            (Kind::IssueRobotToken(it), reply::Kind::TokenIssued(issued)) => {
                let token = (issued.subject.clone(), issued.expires_us);
                self.tokens.insert(it.token_digest.clone(), token);
            }
            (Kind::RevokeToken(it), reply::Kind::TokensRemoved(removed)) => {
                let number = u64::from(self.tokens.remove(&it.token_digest).is_some());
                self.revoked += number;
                counted(number, removed.number)?;
            }
            (Kind::RevokeTokensOf(it), reply::Kind::TokensRemoved(removed)) => {
                counted(self.revoke_of(&it.subject), removed.number)?;
            }
            (Kind::ForgetRevokedTokens(it), reply::Kind::TokensRemoved(removed)) => {
                let number = removed.number;
                let sound = number <= self.ended && (it.max == 0 || number <= it.max.into());
                require(sound, "AUT-7", || {
                    format!("{number} revoked tokens were forgotten of {} by {it:?}", self.ended)
                })?;
                self.ended -= number;
            }
            (Kind::RotateRootToken(it), _) => {
                self.tokens.remove(&it.token_digest);
                self.revoke_of(ROOT);
                self.tokens.insert(it.token_digest.clone(), (ROOT.into(), 0));
            }
            (Kind::RestoreToken(it), _) => {
                let sound = !self.tokens.contains_key(&it.token_digest)
                    && (it.expires_us == 0 || it.expires_us > now);
                require(sound, "AUT-5", || format!("{it:?} was restored at {now}"))?;
                let token = (it.subject.clone(), it.expires_us);
                self.tokens.insert(it.token_digest.clone(), token);
            }
            (Kind::DeleteExpiredTokens(_), reply::Kind::TokensRemoved(removed)) => {
                self.purge(now, removed.number)?;
            }
            (Kind::ModifyRoleBinding(it), _) => {
                require(it.principal != ROOT, "AUT-4", || format!("root was bound anew: {it:?}"))?;
                self.roles.insert(it.principal.clone(), it.roles.iter().cloned().collect());
            }
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, on: bool) {
        self.on = on;
        self.tokens.clear();
        self.ended = 0;
        self.roles.clear();
    }

    fn revoke_of(&mut self, subject: &str) -> u64 {
        let before = self.tokens.len();
        self.tokens.retain(|_, (owner, _)| owner != subject);
        let number = (before - self.tokens.len()) as u64;
        self.revoked += number;
        self.ended += number;
        number
    }

    /// The oldest go first.
    fn purge(&mut self, now: u64, number: u64) -> Result<(), Violation> {
        let mut due: Vec<(u64, Bytes)> = self
            .tokens
            .iter()
            .filter(|(_, (_, expires))| over(*expires, now))
            .map(|(digest, (_, expires))| (*expires, digest.clone()))
            .collect();
        due.sort();
        require(due.len() as u64 >= number, "AUT-6", || {
            format!("{number} tokens were purged at {now}, only {} were over", due.len())
        })?;
        for (_, digest) in due.into_iter().take(usize::try_from(number).unwrap_or(usize::MAX)) {
            self.tokens.remove(&digest);
        }
        Ok(())
    }

    /// Compares the state with what its answers come to.
    pub(crate) fn matches(&self, state: &State) -> Result<(), Violation> {
        let tokens = state.auth().tokens();
        let kept = |(digest, token): (&[u8; 32], &muster::state::auth::tokens::Token)| {
            let known = self.tokens.get(digest.as_slice());
            known.is_some_and(|it| *it.0 == *token.subject && it.1 == token.expires.0)
        };
        let same = tokens.living().count() == self.tokens.len() && tokens.living().all(kept);
        let ended = tokens.revoked() as u64;
        require(ended <= self.ended, "AUT-7", || {
            format!("{ended} revoked tokens are kept, and should be at most {}", self.ended)
        })?;
        require(state.auth().is_on() == self.on && same, "AUT-6", || {
            let names: Vec<_> = tokens.living().map(|(_, token)| token).collect();
            format!("auth is {}, with {names:?}, and should be {self:?}", state.auth().is_on())
        })
    }
}

fn counted(expected: u64, told: u64) -> Result<(), Violation> {
    require(expected == told, "AUT-6", || {
        format!("{told} tokens were revoked, it is said, but {expected} were")
    })
}

fn over(expires: u64, now: u64) -> bool {
    expires != 0 && expires < now
}
