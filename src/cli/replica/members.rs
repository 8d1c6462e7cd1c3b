//! Who is in the group: tokens for new replicas, promotion, removal.

use std::time::Duration;

use clap::Args;
use muster_proto::muster::v1::{
    AbandonRequest, ConfigureMembershipRequest, GroupStatus, MintJoinTokenRequest,
    MintJoinTokenResponse, PromoteRequest, RemoveRequest, ReplaceRequest, Report,
};
use serde_json::json;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::{find, group};
use crate::cli::confirm;
use crate::cli::go;
use crate::cli::output::{self, Failure};
use crate::cli::pachctl::connect::{Invocation, Server};
use crate::cli::remote::{Format, Remote, refused};

/// How long to look for what came of a removal whose answer was cut off, and how often.
const LOOK_MAX: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(300);

#[derive(Debug, Args)]
pub(in crate::cli) struct Token {
    /// How long the token is good, such as `30m`.
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = go::parse_duration)]
    ttl: Duration,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Add {
    /// What the new replica is called.
    name: String,
    #[command(flatten)]
    token: Token,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Promote {
    /// Name or id of an observer; two become voters in one step.
    #[arg(required = true, num_args = 1..=2, value_name = "REPLICA")]
    replicas: Vec<String>,
    #[command(flatten)]
    force: Force,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Remove {
    /// Name or id of a replica; two go in one step.
    #[arg(required = true, num_args = 1..=2, value_name = "REPLICA")]
    replicas: Vec<String>,
    #[command(flatten)]
    force: Force,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Replace {
    /// Name or id of the voter that goes.
    old: String,
    /// Name or id of the observer that takes its place.
    new: String,
    #[command(flatten)]
    force: Force,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Abandon {
    /// Do not ask, if a step of the change was taken already.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Configure {
    /// Promote observers by itself up to so many voters; 0: as many as a group can have.
    #[arg(long, value_name = "COUNT")]
    voters: Option<u32>,
    /// Let a voter that is silent for so long give way to an observer, such as `24h`; `off`: never.
    #[arg(long, value_name = "SPAN", value_parser = silence)]
    dead_after: Option<Duration>,
    #[command(flatten)]
    remote: Remote,
}

/// What the group would refuse for good reason.
#[derive(Debug, Args)]
struct Force {
    /// Do it even if the group may then be unable to agree, or its voters become an even number.
    #[arg(long)]
    force: bool,
    /// With --force: do not ask.
    #[arg(long, requires = "force")]
    yes: bool,
}

impl Force {
    /// Has a person type `name` for a step that is forced.
    fn confirm(&self, what: &str, name: &str) -> Result<(), Failure> {
        if !self.force || self.yes {
            return Ok(());
        }
        let question = format!(
            "{what} by force: if too few voters remain in contact, the group cannot agree on anything."
        );
        confirm::typed(&question, name, "--force --yes")
    }
}

fn silence(text: &str) -> Result<Duration, String> {
    if text == "off" { Ok(Duration::ZERO) } else { go::parse_duration(text) }
}

async fn mint(server: &Server, ttl: Duration) -> Result<MintJoinTokenResponse, Failure> {
    let request = MintJoinTokenRequest { ttl_seconds: ttl.as_secs().max(1) };
    let answer = server.call(server.membership().mint_join_token(request)).await;
    answer.map_err(|status| refused(server, "cannot get a join token of", &status))
}

impl Token {
    pub(super) async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let server = self.remote.any(invocation).await?;
        let minted = mint(&server, self.ttl).await?;
        let expires = go::rfc3339_or_nil(minted.expires.as_ref());
        match self.remote.output {
            Format::Table => {
                output::note(&format!("lets one replica join, until {expires}"));
                output::data(&format!("{}\n", minted.token))
            }
            Format::Json => {
                let value = json!({ "token": minted.token, "expires": expires });
                output::data(&format!("{value:#}\n"))
            }
        }
    }
}

impl Add {
    pub(super) async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let Token { ttl, remote } = self.token;
        let server = remote.any(invocation).await?;
        let minted = mint(&server, ttl).await?;
        let expires = go::rfc3339_or_nil(minted.expires.as_ref());
        let command = format!(
            "muster serve --data DIR --name {} --join {} --join-token-file FILE",
            self.name, server.address
        );
        output::data(&match remote.output {
            Format::Table => format!(
                "token:   {}\n\
                 expires: {expires}\n\
                 start:   {command}\n\
                 The replica begins as an observer and becomes a voter when it has caught up and the\n\
                 number of voters stays odd: muster replica list\n",
                minted.token
            ),
            Format::Json => {
                let value = json!({
                    "name": self.name, "token": minted.token, "expires": expires, "start": command,
                });
                format!("{value:#}\n")
            }
        })
    }
}

impl Promote {
    pub(super) async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let server = self.remote.any(invocation).await?;
        let found = resolve(&group(&server).await?, &self.replicas)?;
        let names = names(&found);
        self.force.confirm(&format!("Promoting {names}"), &names)?;
        let request = PromoteRequest { ids: ids(&found), force: self.force.force };
        let answer = server.call(server.membership().promote(request)).await;
        answer
            .map_err(|status| refused(&server, &format!("cannot promote {names} at"), &status))?;
        done(&self.remote, &format!("{names}: voting now"), &found)
    }
}

impl Remove {
    pub(super) async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let server = self.remote.any(invocation).await?;
        let found = resolve(&group(&server).await?, &self.replicas)?;
        let names = names(&found);
        self.force.confirm(&format!("Removing {names}"), &names)?;
        let request = RemoveRequest { ids: ids(&found), force: self.force.force };
        if let Err(status) = server.call(server.membership().remove(request)).await
            && !(is_cut_off(&status) && self.are_gone(invocation, &found).await)
        {
            return Err(refused(&server, &format!("cannot remove {names} at"), &status));
        }
        done(&self.remote, &format!("{names}: removed for ever"), &found)
    }
}

impl Remove {
    /// Whether the group has none of these any more. The one that was asked may have been among them,
    /// and ended before it answered.
    async fn are_gone(&self, invocation: &Invocation, removed: &[Report]) -> bool {
        let deadline = Instant::now() + LOOK_MAX;
        while Instant::now() < deadline {
            if let Ok(server) = self.remote.any(invocation).await
                && let Ok(left) = group(&server).await
                && left.replicas.iter().all(|it| removed.iter().all(|gone| gone.id != it.id))
            {
                return true;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        false
    }
}

fn is_cut_off(status: &Status) -> bool {
    matches!(status.code(), Code::Unknown | Code::Unavailable | Code::Cancelled)
}

impl Replace {
    pub(super) async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let server = self.remote.any(invocation).await?;
        let all = group(&server).await?;
        let (old, new) = (find(&all, &self.old)?.clone(), find(&all, &self.new)?.clone());
        self.force.confirm(&format!("Replacing {}", old.name), &old.name)?;
        let request =
            ReplaceRequest { old: old.id.clone(), new: new.id.clone(), force: self.force.force };
        let answer = server.call(server.membership().replace(request)).await;
        let what = format!("cannot replace {} at", old.name);
        answer.map_err(|status| refused(&server, &what, &status))?;
        let text = format!("{} votes in the place of {}", new.name, old.name);
        done(&self.remote, &text, &[old, new])
    }
}

impl Abandon {
    pub(super) async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let server = self.remote.any(invocation).await?;
        let group = group(&server).await?;
        let change = &group.change;
        if group.change_id == 0 {
            return Err(Failure::new("no change of the members is under way"));
        }
        // Only what a person has seen is left half done, not what it became in between.
        let force = group.change_half_done;
        if force && !self.yes {
            let question = format!(
                "A step of the change ({change}) was taken and remains: the voters may be an even \
                 number then, until somebody is promoted or removed."
            );
            confirm::typed(&question, &group.change_id.to_string(), "--yes")?;
        }
        let request = AbandonRequest { change: group.change_id, force };
        let answer = server.call(server.membership().abandon(request)).await;
        answer.map_err(|status| refused(&server, "cannot give up the change at", &status))?;
        done(&self.remote, &format!("given up: {change}"), &[])
    }
}

impl Configure {
    pub(super) async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let server = self.remote.any(invocation).await?;
        let request = ConfigureMembershipRequest {
            voters: self.voters,
            dead_after_seconds: self.dead_after.map(|silence| silence.as_secs()),
        };
        let answer = server.call(server.membership().configure(request)).await;
        answer.map_err(|status| refused(&server, "cannot configure the group of", &status))?;
        done(&self.remote, "configured", &[])
    }
}

fn resolve(group: &GroupStatus, wanted: &[String]) -> Result<Vec<Report>, Failure> {
    wanted.iter().map(|wanted| find(group, wanted).cloned()).collect()
}

fn names(replicas: &[Report]) -> String {
    replicas.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(" ")
}

fn ids(replicas: &[Report]) -> Vec<String> {
    replicas.iter().map(|it| it.id.clone()).collect()
}

fn done(remote: &Remote, text: &str, replicas: &[Report]) -> Result<(), Failure> {
    output::data(&match remote.output {
        Format::Table => format!("{text}\n"),
        Format::Json => {
            let value = json!({ "done": text, "ids": ids(replicas) });
            format!("{value:#}\n")
        }
    })
}
