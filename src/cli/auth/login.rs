//! Signing in, with a browser or with an ID token.

use std::process::{Command, Stdio};

use clap::Args;
use muster_proto::auth_v2::{AuthenticateRequest, GetOidcLoginRequest};

use super::{AnyWords, OnEither, Prompt, keep, read_line};
use crate::cli::output::{self, Failure};
use crate::cli::pachctl::connect::{Invocation, Server};
use crate::cli::pachctl::failures::scrubbed;

const NOTICE: &str = "You will momentarily be directed to your IdP and asked to authorize Pachyderm to \
use your login.";
const INSTRUCTION: &str = "Paste the following URL into a browser if not automatically redirected:";

/// Sign in: opens a browser at the identity provider and waits until you have signed in there.
#[derive(Debug, Args)]
pub(crate) struct Login {
    #[command(flatten)]
    on: OnEither,
    /// Only print the URL; open no browser.
    #[arg(short = 'b', long)]
    no_browser: bool,
    /// Sign in with an ID token of the identity provider, read from standard input.
    #[arg(short = 't', long)]
    id_token: bool,
    #[command(flatten)]
    ignored: AnyWords,
}

impl Login {
    pub(super) async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let which = self.on.which();
        let server = Server::open(invocation, which).await?;
        let token = if self.id_token {
            with_id_token(&server).await
        } else {
            self.with_browser(&server).await
        };
        keep(invocation, which, &token?)
    }

    async fn with_browser(&self, server: &Server) -> Result<String, Failure> {
        let begun = server.call(server.auth().get_oidc_login(GetOidcLoginRequest {})).await;
        let begun = begun.map_err(|status| {
            Failure::pachctl("no authentication providers are configured")
                .hint(format!("the server says: {}", scrubbed(&status).text()))
        })?;
        // The URL stands alone on its line, where scripts look for it.
        output::data(&format!("{NOTICE}\n\n{INSTRUCTION}\n\n{}\n\n\n", begun.login_url))?;
        if !self.no_browser && !open_browser(&begun.login_url) {
            output::data("Couldn't open a browser, visit the page manually.\n")?;
        }
        output::data("Retrieving Pachyderm token...\n")?;
        let outer = format!(
            "authorization failed (OIDC state token: {:?}; Pachyderm logs may contain more information)",
            half(&begun.state)
        );
        let request = AuthenticateRequest { oidc_state: begun.state, ..Default::default() };
        let answer = server.call(server.auth().authenticate(request)).await;
        answer.map(|it| it.pach_token).map_err(|status| scrubbed(&status).within(&outer))
    }
}

async fn with_id_token(server: &Server) -> Result<String, Failure> {
    output::note_raw("ID token: ");
    let line = read_line(Prompt::Hidden)
        .map_err(|error| Failure::pachctl(format!("error reading token: {error}")))?;
    let id_token = line.map(|line| line.trim().to_owned()).ok_or_else(|| {
        Failure::pachctl("error reading token: EOF").hint("end the token with a newline")
    })?;
    let request = AuthenticateRequest { id_token, ..Default::default() };
    let answer = server.call(server.auth().authenticate(request)).await;
    answer.map(|it| it.pach_token).map_err(|status| {
        scrubbed(&status)
            .within("authorization failed (Pachyderm logs may contain more information)")
    })
}

/// Whether a browser was found. What it says would stand in the way of what we say.
fn open_browser(url: &str) -> bool {
    // Whatever else a server could name is not handed to a program of this machine.
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return false;
    }
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    Command::new(opener)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .is_ok()
}

/// Enough of a state to find the login in the server's log, and not enough to end it.
fn half(state: &str) -> String {
    let half: String = state.chars().take(state.chars().count() / 2).collect();
    format!("{half}.../{}", state.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_state_is_shown() {
        assert_eq!(half("abcdefg"), "abc.../7");
        assert_eq!(half(""), ".../0");
    }

    #[test]
    fn a_browser_gets_nothing_but_web_addresses() {
        assert!(!open_browser("file:///etc/passwd"));
        assert!(!open_browser("--version"));
    }
}
