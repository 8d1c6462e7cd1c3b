//! Where people sign in.

use std::fs;
use std::io::{self, Read};

use clap::Args;
use muster_proto::auth_v2::{GetConfigurationRequest, OidcConfig, SetConfigurationRequest};

use super::OnEither;
use crate::cli::go;
use crate::cli::output::{self, Failure};
use crate::cli::pachctl::connect::{Invocation, Server};
use crate::cli::pachctl::failures::scrubbed;
use crate::config::OidcDocument;

#[derive(Debug, Args)]
pub(crate) struct GetConfig {
    #[command(flatten)]
    on: OnEither,
    /// `json` or `yaml`.
    #[arg(short, long, default_value = "json")]
    output_format: String,
}

#[derive(Debug, Args)]
pub(crate) struct SetConfig {
    #[command(flatten)]
    on: OnEither,
    /// A file of YAML or JSON; `-` is standard input.
    #[arg(short, long, default_value = "-")]
    file: String,
}

impl GetConfig {
    pub(super) async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let server = Server::open(invocation, self.on.which()).await?;
        let answer = server.call(server.auth().get_configuration(GetConfigurationRequest {})).await;
        let Some(found) = answer.map_err(|status| scrubbed(&status))?.configuration else {
            return output::data("no auth config set\n");
        };
        let document = OidcDocument::from(found);
        let text = match self.output_format.as_str() {
            "json" => document.json().map(|json| format!("{json}\n")),
            "yaml" => document.yaml(),
            other => {
                let text =
                    format!("unrecognized encoding: {other:?} (must be \"yaml\" or \"json\")");
                return Err(Failure::pachctl(text));
            }
        };
        // pachctl's extra empty line.
        output::data(&format!("{}\n", text.map_err(Failure::pachctl)?))
    }
}

impl SetConfig {
    pub(super) async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        if self.file.is_empty() {
            return Err(Failure::pachctl("must set input file (use \"-\" to read from stdin)"));
        }
        let server = Server::open(invocation, self.on.which()).await?;
        let request = SetConfigurationRequest { configuration: Some(read(&self.file)?) };
        let answer = server.call(server.auth().set_configuration(request)).await;
        answer.map(drop).map_err(|status| scrubbed(&status))
    }
}

fn read(file: &str) -> Result<OidcConfig, Failure> {
    let text = if file == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(file)
    };
    let text = text.map_err(|error| {
        let reason = go::open_error(file, &error);
        Failure::pachctl(format!("could not read config from {file:?}: {reason}"))
    })?;
    let given = OidcDocument::read(&text)
        .map_err(|reason| Failure::pachctl(format!("could not parse config: {reason}")))?;
    Ok(given.into())
}
