//! `muster version`: which version of Pachyderm this client and the server speak.

use std::fmt::Write as _;
use std::time::Duration;

use clap::{Args, ValueEnum};
use muster_proto::versionpb_v2::Version;
use tokio::time::Instant;

use super::config::Which;
use super::connect::{Invocation, Server, within};
use super::document::Node;
use crate::cli::go;
use crate::cli::output::{self, Failure};

/// The version of Pachyderm whose commands and wire Muster's client speaks.
pub(crate) fn compatible_version() -> Version {
    Version { major: 2, minor: 11, micro: 6, ..Version::default() }
}

/// Print the Pachyderm version that this client speaks, and the server's. (`muster --version`
/// prints Muster's own.)
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one for each flag")]
pub(crate) struct Show {
    /// Do not ask the server.
    #[arg(long)]
    client_only: bool,
    /// How long to wait for the server, such as `5s`.
    #[arg(long, value_name = "DURATION", default_value = "default")]
    timeout: String,
    /// Ask the active enterprise context's server.
    #[arg(long)]
    enterprise: bool,
    /// Print the whole version messages.
    #[arg(long)]
    raw: bool,
    /// Format of the messages.
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
    /// Fail unless both versions are equal in every field.
    #[arg(long)]
    compare: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
    Yaml,
}

const COLUMN: usize = 20;

pub(crate) async fn run(command: Show, mut invocation: Invocation) -> Result<(), Failure> {
    if command.output.is_some() && !command.raw {
        return Err(Failure::pachctl("cannot set --output (-o) without --raw"));
    }
    if command.timeout != "default" {
        let limit = go::parse_duration(&command.timeout).map_err(|reason| {
            Failure::pachctl(format!("could not parse timeout duration \"0s\": {reason}"))
        })?;
        invocation.deadline = Some(Instant::now() + limit);
    }
    let client = compatible_version();
    let show = |name: &str, version: &Version| {
        if command.raw { message(version, command.output) } else { row(name, &text(version)) }
    };
    if command.client_only {
        let line = if command.raw {
            message(&client, command.output)
        } else {
            format!("{}\n", text(&client))
        };
        return output::data(&line);
    }
    if !command.raw {
        output::data(&row("COMPONENT", "VERSION"))?;
    }
    output::data(&show("pachctl", &client))?;
    let which = if command.enterprise { Which::Enterprise } else { Which::Active };
    let server = Server::open_bare(&invocation, which).await?;
    let mut versions = server.version();
    let asked = within(Duration::from_secs(1), server.call(versions.get_version(())));
    let answer = asked.await.map_err(|status| {
        Failure::pachctl(format!(
            "{:COLUMN$}(version unknown) : error connecting to pachd server at address ({}): {}",
            "pachd",
            server.address,
            status.message()
        ))
    })?;
    output::data(&show("pachd", &answer))?;
    if command.compare && !command.raw && answer != client {
        return Err(Failure::pachctl("the versions of client and server differ"));
    }
    Ok(())
}

/// `MAJOR.MINOR.MICRO` and whatever follows.
fn text(version: &Version) -> String {
    format!("{}.{}.{}{}", version.major, version.minor, version.micro, version.additional)
}

/// Both columns padded, trailing blanks included.
fn row(name: &str, version: &str) -> String {
    format!("{name:COLUMN$}{version:COLUMN$}\n")
}

fn message(version: &Version, format: Option<Format>) -> String {
    let numbers = [("major", version.major), ("minor", version.minor), ("micro", version.micro)];
    let texts = [
        ("additional", &version.additional),
        ("git_commit", &version.git_commit),
        ("git_tree_modified", &version.git_tree_modified),
        ("build_date", &version.build_date),
        ("go_version", &version.go_version),
        ("platform", &version.platform),
    ];
    let mut fields = Vec::new();
    for (name, number) in numbers {
        if number != 0 {
            fields.push((name.to_owned(), Node::Number(number.into())));
        }
    }
    for (name, text) in texts {
        if !text.is_empty() {
            fields.push((name.to_owned(), Node::Text(text.clone())));
        }
    }
    match format {
        Some(Format::Yaml) => fields.iter().fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name}: {value}");
            text
        }),
        Some(Format::Json) | None => Node::Map(fields).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn columns_are_padded_to_the_end() {
        assert_eq!(row("COMPONENT", "VERSION"), "COMPONENT           VERSION             \n");
        assert_eq!(
            row("pachctl", &text(&compatible_version())),
            "pachctl             2.11.6              \n"
        );
    }

    #[test]
    fn the_whole_message_leaves_out_what_is_empty() {
        expect![[r#"
            {
              "major": 2,
              "minor": 11,
              "micro": 6
            }"#]]
        .assert_eq(&message(&compatible_version(), None));
        let version = Version { additional: "-rc.1".to_owned(), ..compatible_version() };
        expect![[r#"
            major: 2
            minor: 11
            micro: 6
            additional: "-rc.1"
        "#]]
        .assert_eq(&message(&version, Some(Format::Yaml)));
    }
}
