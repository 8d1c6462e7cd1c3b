//! Where people sign in.

use std::fs;
use std::io::{self, Read};

use clap::Args;
use muster_proto::auth_v2::{GetConfigurationRequest, OidcConfig, SetConfigurationRequest};
use serde::{Deserialize, Serialize};

use super::OnEither;
use crate::cli::output::{self, Failure};
use crate::cli::pachctl::connect::{Invocation, Server};
use crate::cli::pachctl::failures::scrubbed;

#[derive(Debug, Args)]
pub(crate) struct GetConfig {
    #[command(flatten)]
    on: OnEither,
    /// Only `json`.
    #[arg(short, long, default_value = "json")]
    output_format: String,
}

#[derive(Debug, Args)]
pub(crate) struct SetConfig {
    #[command(flatten)]
    on: OnEither,
    /// A file of JSON; `-` is standard input.
    #[arg(short, long, default_value = "-")]
    file: String,
}

/// The configuration as people write it; both spellings are read.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Written {
    #[serde(skip_serializing_if = "String::is_empty")]
    issuer: String,
    #[serde(alias = "clientId", skip_serializing_if = "String::is_empty")]
    client_id: String,
    #[serde(alias = "clientSecret", skip_serializing_if = "String::is_empty")]
    client_secret: String,
    #[serde(alias = "redirectUri", skip_serializing_if = "String::is_empty")]
    redirect_uri: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<String>,
    #[serde(alias = "requireEmailVerified", skip_serializing_if = "is_false")]
    require_email_verified: bool,
    #[serde(alias = "localhostIssuer", skip_serializing_if = "is_false")]
    localhost_issuer: bool,
    #[serde(alias = "userAccessibleIssuerHost", skip_serializing_if = "String::is_empty")]
    user_accessible_issuer_host: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl GetConfig {
    pub(super) async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let server = Server::open(invocation, self.on.which()).await?;
        let answer = server.call(server.auth().get_configuration(GetConfigurationRequest {})).await;
        let Some(found) = answer.map_err(|status| scrubbed(&status))?.configuration else {
            return output::data("no auth config set\n");
        };
        if self.output_format != "json" {
            let text =
                format!("unrecognized encoding: {:?} (must be \"json\")", self.output_format);
            return Err(Failure::pachctl(text));
        }
        output::data(&text(found)?)
    }
}

/// JSON with the escapes that Go makes, and an empty line behind it.
fn text(found: OidcConfig) -> Result<String, Failure> {
    let written = Written {
        issuer: found.issuer,
        client_id: found.client_id,
        client_secret: found.client_secret,
        redirect_uri: found.redirect_uri,
        scopes: found.scopes,
        require_email_verified: found.require_email_verified,
        localhost_issuer: found.localhost_issuer,
        user_accessible_issuer_host: found.user_accessible_issuer_host,
    };
    let json = serde_json::to_string_pretty(&written)
        .map_err(|error| Failure::pachctl(error.to_string()))?;
    let json = json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
    Ok(format!("{json}\n\n"))
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
        Failure::pachctl(format!("could not read config from {file:?}: {error}"))
    })?;
    let given: Written = serde_json::from_str(&text)
        .map_err(|error| Failure::pachctl(format!("could not parse config: {error}")))?;
    Ok(OidcConfig {
        issuer: given.issuer,
        client_id: given.client_id,
        client_secret: given.client_secret,
        redirect_uri: given.redirect_uri,
        scopes: given.scopes,
        require_email_verified: given.require_email_verified,
        localhost_issuer: given.localhost_issuer,
        user_accessible_issuer_host: given.user_accessible_issuer_host,
    })
}
