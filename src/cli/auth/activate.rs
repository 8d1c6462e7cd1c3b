//! Turning auth on and off.

use std::io;

use clap::Args;
use muster_proto::auth_v2::{
    ActivateRequest, DeactivateRequest, OidcConfig, SetConfigurationRequest,
};
use muster_proto::identity_v2::{
    CreateOidcClientRequest, DeleteAllRequest, DeleteOidcClientRequest,
    GetIdentityServerConfigRequest, IdentityServerConfig, OidcClient,
    SetIdentityServerConfigRequest,
};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Status};

use super::{AnyWords, OnEither, Prompt, keep, read_line, read_token};
use crate::cli::output::{self, Failure};
use crate::cli::pachctl::config::{ConfigFile, Which};
use crate::cli::pachctl::connect::{Invocation, Server};
use crate::cli::pachctl::failures::scrubbed;

/// Printed above a root token, to the letter.
pub(super) const WARNING: &str = "WARNING: DO NOT LOSE THE AUTH TOKEN BELOW. STORE IT SECURELY FOR \
THE LIFE OF THE CLUSTER.THIS TOKEN WILL ALWAYS HAVE ADMIN ACCESS TO FIX THE CLUSTER CONFIGURATION.";

const ALREADY_ON: &str = "the auth service is already activated";

#[derive(Debug, Args)]
pub(crate) struct Activate {
    #[command(flatten)]
    on: OnEither,
    /// Read the root token from standard input instead of having one drawn.
    #[arg(long)]
    supply_root_token: bool,
    /// Set up no identity provider.
    #[arg(long = "only-activate")]
    without_provider: bool,
    /// The issuer of the identity provider.
    #[arg(long, default_value = "http://pachd:1658/")]
    issuer: String,
    /// Where the provider sends people back.
    #[arg(long, default_value = "http://localhost:30657/authorization-code/callback")]
    redirect: String,
    /// The server's own id at the provider.
    #[arg(long, default_value = "pachd")]
    client_id: String,
    /// Clients whose ID tokens are good for signing in.
    #[arg(long, value_delimiter = ',')]
    trusted_peers: Vec<String>,
    /// What the provider is asked to tell.
    #[arg(long, value_delimiter = ',', default_value = "email,profile,groups,openid")]
    scopes: Vec<String>,
    #[command(flatten)]
    ignored: AnyWords,
}

impl Activate {
    pub(super) async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let which = self.on.which();
        let mut server = Server::open(invocation, which).await?;
        let root_token =
            if self.supply_root_token { read_token(Prompt::Hidden)? } else { String::new() };
        let answer = server.call(server.auth().activate(ActivateRequest { root_token })).await;
        match answer {
            Ok(activated) => {
                let token = activated.pach_token;
                keep(invocation, which, &token)?;
                server.sign_in(&token)?;
                output::data(&format!("{WARNING}\nPachyderm root token:\n{token}\n"))?;
            }
            // A second run goes on with the token that the first one stored.
            Err(status) if status.message().contains(ALREADY_ON) => (),
            Err(status) => {
                return Err(scrubbed(&status).within("error activating Pachyderm auth"));
            }
        }
        if which == Which::Active {
            guard_repos_and_pipelines(&server).await?;
        }
        if self.without_provider {
            return Ok(());
        }
        let file = ConfigFile::load(&invocation.environment)?;
        let own = file.choose(Which::Enterprise, &invocation.environment)?;
        if own.name == server.context.name {
            return self.sign_in_here(&server).await;
        }
        let provider = Server::open(invocation, Which::Enterprise).await?;
        self.sign_in_there(&provider, &server).await
    }

    /// People sign in at the server's own identity provider.
    async fn sign_in_here(self, server: &Server) -> Result<(), Failure> {
        let config = IdentityServerConfig { issuer: self.issuer.clone(), ..Default::default() };
        let request = SetIdentityServerConfigRequest { config: Some(config) };
        let answer = server.call(server.identity().set_identity_server_config(request)).await;
        answer.map_err(|status| {
            scrubbed(&status)
                .within("failed to configure identity server issuer")
                .hint("auth is on; --only-activate leaves the identity provider out")
        })?;
        let issuer = self.issuer.clone();
        let outer = "failed to configure OIDC in pachd";
        self.introduce(server, server, issuer, outer).await
    }

    /// People sign in at the enterprise server's identity provider, whose issuer counts.
    async fn sign_in_there(self, provider: &Server, member: &Server) -> Result<(), Failure> {
        let request = GetIdentityServerConfigRequest {};
        let answer = provider.call(provider.identity().get_identity_server_config(request)).await;
        let found = answer.map_err(|status| {
            scrubbed(&status)
                .within("failed to get identity server issuer")
                .hint("auth is on; --only-activate leaves the identity provider out")
        })?;
        let issuer = found.config.unwrap_or_default().issuer;
        // Two full stops: pachctl's words.
        self.introduce(provider, member, issuer, "failed to configure OIDC in pachd.").await
    }

    /// Makes `server` a client of the provider.
    async fn introduce(
        self,
        provider: &Server,
        server: &Server,
        issuer: String,
        outer: &str,
    ) -> Result<(), Failure> {
        let client = OidcClient {
            id: self.client_id.clone(),
            name: self.client_id.clone(),
            redirect_uris: vec![self.redirect.clone()],
            trusted_peers: self.trusted_peers,
            ..Default::default()
        };
        let request = CreateOidcClientRequest { client: Some(client) };
        let created = provider.call(provider.identity().create_oidc_client(request)).await;
        let created = created
            .map_err(|status| scrubbed(&status).within("failed to configure OIDC client ID"))?;
        let configuration = OidcConfig {
            issuer,
            client_id: self.client_id.clone(),
            client_secret: created.client.unwrap_or_default().secret,
            redirect_uri: self.redirect,
            scopes: self.scopes,
            localhost_issuer: provider.context.name == server.context.name,
            ..Default::default()
        };
        let request = SetConfigurationRequest { configuration: Some(configuration) };
        let set = server.call(server.auth().set_configuration(request)).await;
        let Err(status) = set else { return Ok(()) };
        // So that the next run can create it again. pachctl asks the member, which has no such client.
        let id = self.client_id;
        let undo = DeleteOidcClientRequest { id: id.clone() };
        let undone = provider.call(provider.identity().delete_oidc_client(undo)).await;
        let failure = scrubbed(&status).within(outer);
        Err(match undone {
            Ok(_) => failure,
            Err(status) => failure.within(&format!(
                "failed to rollback creation of client with ID: {id}.to retry auth activation, first \
                 delete this client with 'pachctl idp delete-client {id}'.: {}",
                status.message()
            )),
        })
    }
}

/// Tells a cluster's repos and pipelines that auth is on. An enterprise server has none, which is no
/// failure here; pachctl stops there.
async fn guard_repos_and_pipelines(server: &Server) -> Result<(), Failure> {
    let steps = [
        (PathAndQuery::from_static("/pfs_v2.API/ActivateAuth"), "existing PFS repos"),
        (PathAndQuery::from_static("/pps_v2.API/ActivateAuth"), "PPS pipelines"),
    ];
    for (path, what) in steps {
        unless_missing(server.call(server.plain_call(path)).await).map_err(|status| {
            scrubbed(&status).within(&format!(
                "error configuring auth for {what} - run `pachctl auth activate` again"
            ))
        })?;
    }
    Ok(())
}

/// A server that does not know the method has nothing that the call could concern.
fn unless_missing<T>(answer: Result<T, Status>) -> Result<(), Status> {
    match answer {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::Unimplemented => Ok(()),
        Err(status) => Err(status),
    }
}

/// Asks, then forgets everything.
pub(super) async fn deactivate(which: Which, invocation: &Invocation) -> Result<(), Failure> {
    output::data(
        "Are you sure you want to delete ALL auth information (ACLs, tokens, and admins) in this \
         cluster, and expose ALL data? yN\n",
    )?;
    let line =
        read_line(Prompt::Shown).map_err(|error: io::Error| Failure::pachctl(error.to_string()))?;
    let line = line.ok_or_else(|| Failure::pachctl("EOF"))?;
    if !line.starts_with(['y', 'Y']) {
        return Err(Failure::pachctl("operation aborted"));
    }
    let server = Server::open(invocation, which).await?;
    let provider = server.call(server.identity().delete_all(DeleteAllRequest {})).await;
    unless_missing(provider).map_err(|status| scrubbed(&status))?;
    let answer = server.call(server.auth().deactivate(DeactivateRequest {})).await;
    answer.map(drop).map_err(|status| scrubbed(&status))
}
