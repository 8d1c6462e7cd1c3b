//! Tokens: whose, new ones, ended ones.

use clap::{Args, ValueEnum};
use muster_proto::auth_v2::{
    GetRobotTokenRequest, RevokeAuthTokenRequest, RevokeAuthTokensForUserRequest,
    RotateRootTokenRequest, WhoAmIRequest, WhoAmIResponse,
};
use serde_json::json;

use super::activate::WARNING;
use super::{AnyWords, OnEither, Prompt, read_token};
use crate::cli::go;
use crate::cli::output::{self, Failure};
use crate::cli::pachctl::config::Which;
use crate::cli::pachctl::connect::{Invocation, Server};
use crate::cli::pachctl::failures::{raw, scrubbed};

#[derive(Debug, Args)]
pub(crate) struct Whoami {
    #[command(flatten)]
    on: OnEither,
    /// How to print.
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
    #[command(flatten)]
    ignored: AnyWords,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For programs.
    Json,
}

impl Whoami {
    pub(super) async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let server = Server::open(invocation, self.on.which()).await?;
        let answer = server.call(server.auth().who_am_i(WhoAmIRequest {})).await;
        let who = answer.map_err(|status| scrubbed(&status).within("error"))?;
        output::data(&match self.output {
            None => for_people(&who),
            Some(Format::Json) => for_programs(&who),
        })
    }
}

fn for_people(who: &WhoAmIResponse) -> String {
    let ends = who.expiration.as_ref().map(go::rfc822);
    let ends = ends.map(|ends| format!("session expires: {ends}\n")).unwrap_or_default();
    format!("You are \"{}\"\n{ends}", who.username)
}

fn for_programs(who: &WhoAmIResponse) -> String {
    let expiration = who.expiration.as_ref().map(|time| go::rfc3339_or_nil(Some(time)));
    format!("{}\n", json!({ "username": who.username, "expiration": expiration }))
}

#[derive(Debug, Args)]
pub(crate) struct GetRobotToken {
    /// Its name, with or without `robot:`.
    robot: String,
    /// Print the token alone.
    #[arg(short, long)]
    quiet: bool,
    /// How long the token serves, such as `1h`; for ever if not given.
    #[arg(long, default_value = "", hide_default_value = true)]
    ttl: String,
    #[command(flatten)]
    on: OnEither,
}

impl GetRobotToken {
    pub(super) async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let server = Server::open(invocation, self.on.which()).await?;
        let ttl = if self.ttl.is_empty() {
            0
        } else {
            let ttl = go::parse_duration(&self.ttl).map_err(|reason| {
                Failure::pachctl(format!("could not parse duration {:?}: {reason}", self.ttl))
            })?;
            // Less than a second is not "for ever".
            i64::try_from(ttl.as_secs().max(u64::from(!ttl.is_zero()))).unwrap_or(i64::MAX)
        };
        let request = GetRobotTokenRequest { robot: self.robot, ttl };
        let answer = server.call(server.auth().get_robot_token(request)).await;
        let token = answer.map_err(|status| scrubbed(&status))?.token;
        output::data(&if self.quiet { format!("{token}\n") } else { format!("Token: {token}\n") })
    }
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// End this token; `-` reads it from standard input.
    #[arg(long, default_value = "", hide_default_value = true)]
    token: String,
    /// End all tokens of this user or robot.
    #[arg(long, default_value = "", hide_default_value = true)]
    user: String,
    #[command(flatten)]
    on: OnEither,
}

impl Revoke {
    pub(super) async fn run(mut self, invocation: &Invocation) -> Result<(), Failure> {
        match (self.token.is_empty(), self.user.is_empty()) {
            (true, true) => {
                return Err(Failure::pachctl("one of --token or --user must be set"));
            }
            (false, false) => {
                return Err(Failure::pachctl("only one of --token or --user may be set"));
            }
            _ => (),
        }
        if self.token == "-" {
            self.token = read_token(Prompt::Hidden)?;
        }
        let server = Server::open(invocation, self.on.which()).await?;
        let mut auth = server.auth();
        let answer = if self.user.is_empty() {
            let request = RevokeAuthTokenRequest { token: self.token };
            server.call(auth.revoke_auth_token(request)).await.map(|answer| answer.number)
        } else {
            let request = RevokeAuthTokensForUserRequest { username: self.user };
            server.call(auth.revoke_auth_tokens_for_user(request)).await.map(|answer| answer.number)
        };
        let number = answer.map_err(|status| scrubbed(&status).within("error"))?;
        let noun = if number == 1 { "token" } else { "tokens" };
        output::data(&format!("{number} auth {noun} revoked\n"))
    }
}

#[derive(Debug, Args)]
pub(crate) struct RotateRootToken {
    /// The new token; one is drawn if not given; `-` reads it from standard input.
    #[arg(long, default_value = "", hide_default_value = true)]
    supply_token: String,
}

impl RotateRootToken {
    pub(super) async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let root_token = match self.supply_token.as_str() {
            "-" => read_token(Prompt::Hidden)?,
            _ => self.supply_token,
        };
        let server = Server::open(invocation, Which::Active).await?;
        let request = RotateRootTokenRequest { root_token };
        let answer = server.call(server.auth().rotate_root_token(request)).await;
        let token = answer.map_err(|status| raw(&status))?.root_token;
        output::data(&format!("{WARNING}\nPachyderm auth token:\n{token}\n"))
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn a_session_is_shown_with_its_end_if_it_has_one() {
        let mut who =
            WhoAmIResponse { username: "robot:r".to_owned(), ..WhoAmIResponse::default() };
        assert_eq!(for_people(&who), "You are \"robot:r\"\n");
        assert_eq!(for_programs(&who), "{\"expiration\":null,\"username\":\"robot:r\"}\n");
        who.expiration = Some(Timestamp { seconds: 1_924_905_600, nanos: 0 });
        let text = "You are \"robot:r\"\nsession expires: 31 Dec 30 00:00 UTC\n";
        assert_eq!(for_people(&who), text);
    }
}
