//! Turning auth on and off.

use std::io;

use clap::Args;
use muster_proto::auth_v2::{
    ActivateRequest, DeactivateRequest, OidcConfig, SetConfigurationRequest,
};
use muster_proto::identity_v2::{
    CreateOidcClientRequest, DeleteOidcClientRequest, IdentityServerConfig, OidcClient,
    SetIdentityServerConfigRequest,
};

use super::{OnEither, Prompt, keep, read_line, read_token};
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
    #[arg(hide = true)]
    ignored: Vec<String>,
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
        if self.without_provider {
            return Ok(());
        }
        let file = ConfigFile::load(&invocation.environment)?;
        let own = file.choose(Which::Enterprise, &invocation.environment)?;
        if own.name != server.context.name {
            return Err(Failure::pachctl(
                "auth is on; how people of a member cluster sign in is set up by pachctl",
            )
            .hint("--only-activate stops here without a word"));
        }
        self.set_up_provider(&server).await
    }

    async fn set_up_provider(self, server: &Server) -> Result<(), Failure> {
        let config = IdentityServerConfig { issuer: self.issuer.clone(), ..Default::default() };
        let request = SetIdentityServerConfigRequest { config: Some(config) };
        let answer = server.call(server.identity().set_identity_server_config(request)).await;
        answer.map_err(|status| {
            scrubbed(&status)
                .within("failed to configure identity server issuer")
                .hint("auth is on; --only-activate leaves the identity provider out")
        })?;
        let client = OidcClient {
            id: self.client_id.clone(),
            name: self.client_id.clone(),
            redirect_uris: vec![self.redirect.clone()],
            trusted_peers: self.trusted_peers,
            ..Default::default()
        };
        let request = CreateOidcClientRequest { client: Some(client) };
        let created = server.call(server.identity().create_oidc_client(request)).await;
        let created = created
            .map_err(|status| scrubbed(&status).within("failed to configure OIDC client ID"))?;
        let configuration = OidcConfig {
            issuer: self.issuer,
            client_id: self.client_id.clone(),
            client_secret: created.client.unwrap_or_default().secret,
            redirect_uri: self.redirect,
            scopes: self.scopes,
            localhost_issuer: true,
            ..Default::default()
        };
        let request = SetConfigurationRequest { configuration: Some(configuration) };
        let set = server.call(server.auth().set_configuration(request)).await;
        if let Err(status) = set {
            // So that the next run can create it again; what counts is the first failure.
            let undo = DeleteOidcClientRequest { id: self.client_id };
            drop(server.call(server.identity().delete_oidc_client(undo)).await);
            return Err(scrubbed(&status).within("failed to configure OIDC in pachd"));
        }
        Ok(())
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
    let answer = server.call(server.auth().deactivate(DeactivateRequest {})).await;
    answer.map(drop).map_err(|status| scrubbed(&status))
}
