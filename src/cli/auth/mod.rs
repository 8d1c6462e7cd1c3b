//! `muster auth …`: tokens, roles and groups, word for word as pachctl has them.

mod activate;
mod bindings;
mod configuration;
mod login;
mod tokens;

use std::io::{self, BufRead, IsTerminal, Read};

use clap::{Args, Subcommand};
use muster_proto::auth_v2::{
    GetGroupsForPrincipalRequest, GetGroupsRequest, GetRolesForPermissionRequest, Permission,
};

use super::output::{self, Failure};
use super::pachctl::config::{ConfigFile, Which};
use super::pachctl::connect::{Invocation, Server};
use super::pachctl::failures::{raw, scrubbed};

/// Tokens, roles and groups.
#[derive(Debug, Subcommand)]
pub(crate) enum Auth {
    /// Turn auth on; prints the root token once and stores it in the context.
    Activate(activate::Activate),
    /// Turn auth off and forget every token, role and group.
    Deactivate {
        #[command(flatten)]
        on: OnEither,
        #[command(flatten)]
        ignored: AnyWords,
    },
    Login(login::Login),
    /// Forget the context's token.
    Logout {
        #[command(flatten)]
        on: OnEither,
        #[command(flatten)]
        ignored: AnyWords,
    },
    /// Print who the context's token belongs to.
    Whoami(tokens::Whoami),
    /// Store a token read from standard input in the context.
    UseAuthToken(OnEither),
    /// Print a new token for a robot.
    GetRobotToken(tokens::GetRobotToken),
    /// End one token, or all tokens of somebody.
    Revoke(tokens::Revoke),
    /// Replace the root token.
    RotateRootToken(tokens::RotateRootToken),
    /// Print the own groups, or somebody else's.
    GetGroups {
        /// Of whom.
        user: Option<String>,
        #[command(flatten)]
        on: OnEither,
    },
    /// Print where people sign in.
    GetConfig(configuration::GetConfig),
    /// Say where people sign in.
    SetConfig(configuration::SetConfig),
    /// Print who has which roles.
    #[command(subcommand)]
    Get(bindings::On),
    /// Give somebody exactly these roles.
    #[command(subcommand)]
    Set(bindings::Set),
    /// Print somebody's roles and permissions.
    #[command(subcommand)]
    Check(bindings::Check),
    /// Print the roles that grant a permission.
    RolesForPermission {
        /// Such as `repo_read`.
        permission: String,
    },
}

/// Which of the two servers.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct OnEither {
    /// Talk to the enterprise server instead of the active context's.
    #[arg(long)]
    enterprise: bool,
}

/// Words that a command takes and does not look at, because pachctl does so.
#[derive(Debug, Args)]
pub(crate) struct AnyWords {
    #[arg(hide = true, value_name = "WORDS")]
    words: Vec<String>,
}

impl OnEither {
    fn which(self) -> Which {
        if self.enterprise { Which::Enterprise } else { Which::Active }
    }
}

pub(crate) async fn run(command: Auth, invocation: &Invocation) -> Result<(), Failure> {
    match command {
        Auth::Activate(command) => command.run(invocation).await,
        Auth::Deactivate { on, ignored: _ } => activate::deactivate(on.which(), invocation).await,
        Auth::Login(command) => command.run(invocation).await,
        Auth::Logout { on, ignored: _ } => keep(invocation, on.which(), ""),
        Auth::Whoami(command) => command.run(invocation).await,
        Auth::UseAuthToken(on) => {
            output::data("Please paste your Pachyderm auth token:\n")?;
            let token = read_token(Prompt::Hidden)?;
            keep(invocation, on.which(), &token)
        }
        Auth::GetRobotToken(command) => command.run(invocation).await,
        Auth::Revoke(command) => command.run(invocation).await,
        Auth::RotateRootToken(command) => command.run(invocation).await,
        Auth::GetGroups { user, on } => get_groups(user, on.which(), invocation).await,
        Auth::GetConfig(command) => command.run(invocation).await,
        Auth::SetConfig(command) => command.run(invocation).await,
        Auth::Get(on) => bindings::get(on, invocation).await,
        Auth::Set(command) => bindings::set(command, invocation).await,
        Auth::Check(command) => bindings::check(command, invocation).await,
        Auth::RolesForPermission { permission } => roles_for(&permission, invocation).await,
    }
}

async fn get_groups(
    user: Option<String>,
    which: Which,
    invocation: &Invocation,
) -> Result<(), Failure> {
    let server = Server::open(invocation, which).await?;
    let mut auth = server.auth();
    let answer = match user {
        None => server.call(auth.get_groups(GetGroupsRequest {})).await,
        Some(principal) => {
            let request = GetGroupsForPrincipalRequest { principal };
            server.call(auth.get_groups_for_principal(request)).await
        }
    };
    let groups = answer.map_err(|status| scrubbed(&status))?.groups;
    output::data(&format!("{}\n", groups.join("\n")))
}

async fn roles_for(permission: &str, invocation: &Invocation) -> Result<(), Failure> {
    let server = Server::open(invocation, Which::Active).await?;
    let known = Permission::from_str_name(&permission.to_uppercase())
        .ok_or_else(|| Failure::pachctl(format!("unknown permission {permission:?}")))?;
    let request = GetRolesForPermissionRequest { permission: known.into() };
    let answer = server.call(server.auth().get_roles_for_permission(request)).await;
    let roles = answer.map_err(|status| raw(&status))?.roles;
    let mut names: Vec<String> = roles.into_iter().map(|role| role.name).collect();
    names.sort();
    // Without a newline at the end, as pachctl has it.
    output::data(&names.join("\n"))
}

/// Puts a token into the context of that server; an empty one takes it out.
fn keep(invocation: &Invocation, which: Which, token: &str) -> Result<(), Failure> {
    let mut file = ConfigFile::load(&invocation.environment)?;
    let mut named = file.choose(which, &invocation.environment)?;
    token.clone_into(&mut named.context.session_token);
    file.set_context(&named.name, &named.context);
    Ok(file.save()?)
}

/// Whether a terminal shows what is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prompt {
    Hidden,
    Shown,
}

/// A line of standard input, without the space around it.
fn read_token(prompt: Prompt) -> Result<String, Failure> {
    let unreadable = |reason: &str| Failure::pachctl(format!("error reading token: {reason}"));
    let line = read_line(prompt).map_err(|error| unreadable(&error.to_string()))?;
    line.map(|line| line.trim().to_owned()).ok_or_else(|| {
        unreadable("EOF").hint("end the token with a newline: echo \"$TOKEN\" | muster auth …")
    })
}

/// A whole line; none if the input ends before it does.
fn read_line(prompt: Prompt) -> io::Result<Option<String>> {
    const LINE_BYTES_MAX: u64 = 1 << 20;
    if prompt == Prompt::Hidden && io::stdin().is_terminal() {
        return rpassword::read_password().map(Some);
    }
    let mut line = String::new();
    io::stdin().lock().take(LINE_BYTES_MAX).read_line(&mut line)?;
    Ok(line.ends_with('\n').then_some(line))
}
