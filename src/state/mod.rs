//! The replicated state: pure and deterministic. No IO, no clock, no chance, no async, no logging.
//!
//! [`State::apply`] takes one committed command and answers it; everything else reads. Commands,
//! replies and records are the messages of `muster.log.v1`. A rule is one function in the file of its
//! noun: first the checks, a blank line, then the changes, which cannot fail.

#![warn(clippy::as_conversions, clippy::wildcard_enum_match_arm)]

pub mod access;
pub mod audit;
pub mod auth;
pub mod config;
pub mod enterprise;
pub mod fleet;
pub mod founding;
pub mod invariants;
pub mod license;
pub mod limits;
pub mod quarantine;
pub mod rejection;
pub mod requests;
pub mod secret;
pub mod snapshot;
#[cfg(test)]
mod tests;
mod tie;
pub mod time;

use muster_hooks::mutant;
use muster_proto::muster::log::v1::{
    AuditRecord, Command, Done, LicenseState, Rejection, RejectionKind, Reply, command, reply,
};

pub use self::time::LogTime;

use self::audit::{Audit, Stamp};
use self::auth::Auth;
use self::auth::principal::Principal;
use self::config::Server;
use self::enterprise::Enterprise;
use self::fleet::Fleet;
use self::license::Licensing;
use self::quarantine::Quarantine;
use self::requests::{Answers, Named};

/// Everything that the group agrees on. Cloning it is O(1): the clone is a consistent view.
#[derive(Clone, Debug, Default)]
pub struct State {
    index: u64,
    time: LogTime,
    licensing: Licensing,
    fleet: Fleet,
    enterprise: Enterprise,
    server: Server,
    answers: Answers,
    auth: Auth,
    quarantine: Quarantine,
    audit: Audit,
}

/// What a command came to when nothing was in its way.
enum Answered {
    /// It was carried out.
    Now(reply::Kind),
    /// It was carried out before, under the same name.
    Before(reply::Kind),
}

impl State {
    /// Applies the committed command at position `index` of the log, stamped `time` by the leader.
    ///
    /// The same commands in the same order give the same state and the same replies on every
    /// replica. Time never runs back: a command stamped earlier than the last counts as the last.
    pub fn apply(&mut self, command: &Command, index: u64, time: LogTime) -> Reply {
        self.index = index;
        self.time = self.time.max(time);
        let at = Stamp { index, time: self.time };
        // Before the act: it may end the token that it was asked with.
        let act = audit::acts::of(self, command);
        let answered = self.answer(command);
        if let Some(act) = act {
            self.write_down(at, act, &answered);
        }
        self.audit.tend(at);
        let kind = match answered {
            Ok(Answered::Now(kind) | Answered::Before(kind)) => kind,
            Err(rejection) => reply::Kind::Rejected(rejection),
        };
        Reply { kind: Some(kind) }
    }

    fn write_down(&mut self, at: Stamp, act: AuditRecord, answered: &Result<Answered, Rejection>) {
        match answered {
            Ok(Answered::Now(done)) if !audit::acts::goes_on(done) => {
                self.audit.conclude(at, act, None);
            }
            // It was written down when it was done.
            Ok(Answered::Now(_) | Answered::Before(_)) => (),
            Err(rejection) => self.audit.conclude(at, act, Some(rejection)),
        }
    }

    fn answer(&mut self, command: &Command) -> Result<Answered, Rejection> {
        let kind = command
            .kind
            .as_ref()
            .ok_or_else(|| rejection::plain(RejectionKind::CommandIncomplete))?;
        let admitted = self.admit(command.caller.as_ref(), access::need(kind), self.time);
        let who =
            if mutant!(ApplyUnchecked) { admitted.unwrap_or(Principal::Nobody) } else { admitted? };
        let Some(named) = Named::of(command)? else {
            return self.perform(kind, &who).map(Answered::Now);
        };
        if let Some(answer) = self.answers.find(named)? {
            let (given, at) = (answer.reply.kind.clone(), answer.at);
            let given = given.ok_or_else(|| rejection::plain(RejectionKind::CommandIncomplete))?;
            return Ok(if self.repeat(kind, at) {
                Answered::Now(given)
            } else {
                Answered::Before(given)
            });
        }
        let done = self.perform(kind, &who)?;
        let reply = Reply { kind: Some(done.clone()) };
        if !mutant!(RequestForgotten) {
            self.answers.remember(named, &reply, self.time);
        }
        Ok(Answered::Now(done))
    }

    #[expect(clippy::too_many_lines, reason = "an arm for each command, and none forgotten")]
    fn perform(&mut self, kind: &command::Kind, who: &Principal) -> Result<reply::Kind, Rejection> {
        use command::Kind;
        let now = self.time;
        let at = Stamp { index: self.index, time: now };
        let done = |()| reply::Kind::Done(Done {});
        match kind {
            Kind::ActivateLicense(it) => {
                license::activate(&mut self.licensing, &mut self.enterprise, it)
                    .map(reply::Kind::LicenseActivated)
            }
            Kind::RemoveLicenseAndClusters(_) => {
                self.licensing.remove();
                self.fleet.clear();
                Ok(done(()))
            }
            Kind::AddCluster(it) => {
                fleet::add(&mut self.fleet, &self.licensing, &self.enterprise, now, it).map(done)
            }
            Kind::UpdateCluster(it) => fleet::update(&mut self.fleet, now, it).map(done),
            Kind::DeleteCluster(it) => {
                fleet::delete(&mut self.fleet, it);
                Ok(done(()))
            }
            Kind::RecordHeartbeats(it) => {
                let quarantine = &mut self.quarantine;
                fleet::record_heartbeats(&mut self.fleet, &self.licensing, quarantine, now, it)
                    .map(reply::Kind::HeartbeatsRecorded)
            }
            Kind::ActivateEnterprise(it) => enterprise::activate(
                &mut self.enterprise,
                &mut self.fleet,
                &self.licensing,
                &self.quarantine,
                report(&self.auth),
                now,
                it,
            )
            .map(done),
            Kind::HeartbeatEnterprise(it) => {
                let asked = match who {
                    Principal::Server(_) => enterprise::Asked::ByTimer,
                    Principal::Nobody | Principal::Named(_) => enterprise::Asked::ByCaller,
                };
                enterprise::heartbeat(
                    &mut self.enterprise,
                    &mut self.fleet,
                    &self.licensing,
                    &self.quarantine,
                    report(&self.auth),
                    (asked, now),
                    it,
                )
                .map(reply::Kind::EnterpriseState)
            }
            Kind::JoinLicenseServer(it) => tie::join(&mut self.enterprise, now, it).map(done),
            Kind::TakeLicenseServerAnswer(it) => {
                tie::take_answer(&mut self.enterprise, now, it).map(reply::Kind::EnterpriseState)
            }
            Kind::DeactivateEnterprise(_) => {
                self.enterprise.remove();
                Ok(done(()))
            }
            Kind::BootstrapEnterprise(it) => enterprise::bootstrap(
                &mut self.enterprise,
                &mut self.fleet,
                &mut self.licensing,
                now,
                it,
            )
            .map(done),
            Kind::ConfigureServer(it) => {
                config::configure(&mut self.server, it).map(reply::Kind::ServerConfigured)
            }
            Kind::ActivateAuth(it) => {
                auth::activate(&mut self.auth, self.enterprise.state(now), at, it).map(done)
            }
            Kind::DeactivateAuth(_) => {
                auth::deactivate(&mut self.auth);
                Ok(done(()))
            }
            Kind::ConfigureAuth(it) => auth::configure(&mut self.auth, it).map(done),
            Kind::IssueRobotToken(it) => {
                auth::issue_robot_token(&mut self.auth, at, it).map(reply::Kind::TokenIssued)
            }
            Kind::IssueUserToken(it) => {
                let gate = self.enterprise.state(now);
                auth::issue_user_token(&mut self.auth, gate, at, it).map(reply::Kind::TokenIssued)
            }
            Kind::RevokeToken(it) => {
                auth::revoke(&mut self.auth, it).map(reply::Kind::TokensRemoved)
            }
            Kind::RevokeTokensOf(it) => {
                auth::revoke_all_of(&mut self.auth, at, it).map(reply::Kind::TokensRemoved)
            }
            Kind::DeleteExpiredTokens(it) => {
                Ok(reply::Kind::TokensRemoved(auth::purge(&mut self.auth, now, *it)))
            }
            Kind::ForgetRevokedTokens(it) => {
                Ok(reply::Kind::TokensRemoved(auth::forget_revoked(&mut self.auth, *it)))
            }
            Kind::RestoreToken(it) => auth::restore(&mut self.auth, at, it).map(done),
            Kind::RotateRootToken(it) => auth::rotate_root(&mut self.auth, at, it).map(done),
            Kind::ModifyRoleBinding(it) => auth::modify_binding(&mut self.auth, who, it).map(done),
            Kind::CreateRoleBinding(it) => auth::create_binding(&mut self.auth, it).map(done),
            Kind::SetGroups(it) => auth::set_groups(&mut self.auth, it).map(done),
            Kind::ModifyMembers(it) => auth::modify_members(&mut self.auth, it).map(done),
            Kind::StartLogin(it) => auth::logins::start(&mut self.auth.logins, now, it).map(done),
            Kind::FinishLogin(it) => auth::logins::finish(&mut self.auth.logins, now, it).map(done),
            Kind::ConfirmRestore(_) => {
                self.quarantine.end();
                Ok(done(()))
            }
            Kind::RecordCalls(it) => {
                audit::record_calls(&mut self.audit, &self.auth, at, it).map(done)
            }
            Kind::ConfigureAudit(it) => {
                audit::configure(&mut self.audit, *it);
                Ok(done(()))
            }
            Kind::DeleteExpiredLogins(_) => {
                auth::logins::sweep(&mut self.auth.logins, now);
                Ok(done(()))
            }
        }
    }

    /// What a repeated request still has to change: a secret that the server draws anew for each
    /// try must be the one that serves. Tells whether there was anything.
    fn repeat(&mut self, kind: &command::Kind, first: LogTime) -> bool {
        if let command::Kind::AddCluster(add) = kind
            && add.secret_generated
        {
            fleet::renew_secret(&mut self.fleet, self.time, first, add);
            return true;
        }
        false
    }

    /// Position of the last command in the log.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Log time of the last command.
    pub fn time(&self) -> LogTime {
        self.time
    }

    /// The license of the fleet.
    pub fn licensing(&self) -> &Licensing {
        &self.licensing
    }

    /// NONE, ACTIVE or EXPIRED at `now`, or at the last command's time if that is later.
    pub fn license_state(&self, now: LogTime) -> LicenseState {
        self.licensing.state(now.max(self.time))
    }

    /// The registered clusters.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The server as a member of itself.
    pub fn enterprise(&self) -> &Enterprise {
        &self.enterprise
    }

    /// The state of the server's own gate at `now`, or at the last command's time if that is later.
    pub fn enterprise_state(&self, now: LogTime) -> LicenseState {
        self.enterprise.state(now.max(self.time))
    }

    /// What the server says of itself.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// What a restored state does not know for sure.
    pub fn quarantine(&self) -> &Quarantine {
        &self.quarantine
    }

    /// Tokens, roles, groups and logins.
    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// Who did what.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }
}

/// What the server says of its own auth in its heartbeats.
fn report(auth: &Auth) -> enterprise::Report {
    let client_id = auth.configuration().filter(|_| auth.is_on()).map(|it| it.client_id.clone());
    enterprise::Report { auth_enabled: auth.is_on(), client_id: client_id.unwrap_or_default() }
}
