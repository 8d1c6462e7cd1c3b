//! `muster license …`: the license server's license and its registry of clusters.

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal, Read};

use clap::{Args, Subcommand};
use muster_proto::enterprise_v2::{ActivateRequest as EnterpriseActivateRequest, State};
use muster_proto::license_v2::{
    ActivateRequest, AddClusterRequest, ClusterStatus, DeleteAllRequest, DeleteClusterRequest,
    GetActivationCodeRequest, GetActivationCodeResponse, ListClustersRequest, UpdateClusterRequest,
};

use super::config::Which;
use super::connect::{Invocation, Server};
use super::contexts::Ignored;
use super::failures::{raw, scrubbed};
use crate::cli::authority::Authority;
use crate::cli::go;
use crate::cli::output::{self, Failure};
use crate::dial::MESSAGE_BYTES_MAX;

/// The license of the fleet, and the clusters registered under it.
#[derive(Debug, Subcommand)]
pub(crate) enum License {
    /// Activate the enterprise server with an activation code read from standard input.
    Activate {
        /// Only store the license; do not register the server as a cluster of its own.
        #[arg(long)]
        no_register: bool,
    },
    /// Register a cluster and print its shared secret.
    AddCluster(AddCluster),
    /// Change the fields given of a registered cluster.
    UpdateCluster(UpdateCluster),
    /// Remove a registered cluster; it loses its license at its next heartbeat.
    DeleteCluster {
        /// Id of the cluster.
        #[arg(long, default_value = "", hide_default_value = true)]
        id: String,
    },
    /// List the registered clusters with their last heartbeats.
    ListClusters,
    /// Forget the license and all registered clusters.
    DeleteAll,
    /// Print the license with its activation code.
    GetState(Ignored),
    #[command(flatten)]
    Authority(Authority),
}

#[derive(Debug, Args)]
pub(crate) struct AddCluster {
    /// Id of the cluster in the fleet.
    #[arg(long, default_value = "", hide_default_value = true)]
    id: String,
    /// `[grpc://|grpcs://]HOST[:PORT]` where the enterprise server reaches the cluster.
    #[arg(long, default_value = "", hide_default_value = true)]
    address: String,
    /// What the cluster proves itself with; made by the server if not given.
    #[arg(long, default_value = "", hide_default_value = true)]
    secret: String,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateCluster {
    /// Id of the cluster in the fleet.
    #[arg(long, default_value = "", hide_default_value = true)]
    id: String,
    /// Where the enterprise server reaches the cluster.
    #[arg(long, default_value = "", hide_default_value = true)]
    address: String,
    /// Where users reach the cluster.
    #[arg(long, default_value = "", hide_default_value = true)]
    user_address: String,
    /// What the cluster calls itself.
    #[arg(long, default_value = "", hide_default_value = true)]
    cluster_deployment_id: String,
}

/// The name by which an enterprise server knows itself: upstream's own, never dialled by Muster.
const SELF_ID: &str = "localhost";
const SELF_ADDRESS: &str = "grpc://localhost:1653";

pub(crate) async fn run(command: License, invocation: &Invocation) -> Result<(), Failure> {
    match command {
        License::Authority(command) => command.run(),
        License::Activate { no_register } => {
            let code = read_key()?;
            let server = Server::open(invocation, Which::Enterprise).await?;
            activate(&server, code, no_register).await
        }
        command => {
            let server = Server::open(invocation, Which::Enterprise).await?;
            output::data(&ask(command, &server).await?)
        }
    }
}

/// One call, and what is to be printed of its answer.
async fn ask(command: License, server: &Server) -> Result<String, Failure> {
    let mut license = server.license();
    match command {
        License::AddCluster(AddCluster { id, address, secret }) => {
            let request = AddClusterRequest { id, address, secret, ..AddClusterRequest::default() };
            let answer = server.call(license.add_cluster(request)).await;
            Ok(format!("Shared secret: {}\n", answer.map_err(|status| scrubbed(&status))?.secret))
        }
        License::UpdateCluster(update) => {
            let request = UpdateClusterRequest {
                id: update.id,
                address: update.address,
                user_address: update.user_address,
                cluster_deployment_id: update.cluster_deployment_id,
                secret: String::new(),
            };
            let answer = server.call(license.update_cluster(request)).await;
            answer.map_err(|status| scrubbed(&status))?;
            Ok(String::new())
        }
        License::DeleteCluster { id } => {
            let answer = server.call(license.delete_cluster(DeleteClusterRequest { id })).await;
            answer.map_err(|status| scrubbed(&status))?;
            Ok(String::new())
        }
        License::ListClusters => {
            let answer = server.call(license.list_clusters(ListClustersRequest {})).await;
            Ok(list(&answer.map_err(|status| scrubbed(&status))?.clusters))
        }
        License::DeleteAll => {
            let answer = server.call(license.delete_all(DeleteAllRequest {})).await;
            answer.map_err(|status| raw(&status))?;
            // Without a newline, as pachctl has it.
            Ok("All data deleted from license server.".to_owned())
        }
        License::GetState(_) => {
            let request = GetActivationCodeRequest {};
            let answer = server.call(license.get_activation_code(request)).await;
            Ok(state(&answer.map_err(|status| raw(&status))?))
        }
        License::Activate { .. } | License::Authority(_) => Ok(String::new()),
    }
}

/// Stores the license, then ties the server to itself, so that it obeys its own license.
async fn activate(server: &Server, code: String, no_register: bool) -> Result<(), Failure> {
    let request = ActivateRequest { activation_code: code, expires: None };
    let answer = server.call(server.license().activate(request)).await;
    answer.map_err(|status| raw(&status))?;
    if no_register {
        return Ok(());
    }
    let request = AddClusterRequest {
        id: SELF_ID.to_owned(),
        address: SELF_ADDRESS.to_owned(),
        secret: String::new(),
        user_address: SELF_ADDRESS.to_owned(),
        cluster_deployment_id: server.info.deployment_id.clone(),
        enterprise_server: true,
    };
    let added = server.call(server.license().add_cluster(request)).await.map_err(|status| {
        raw(&status)
            .within("could not register pachd with the license service")
            .hint("the license is stored; to renew it later: muster license activate --no-register")
    })?;
    let request = EnterpriseActivateRequest {
        id: SELF_ID.to_owned(),
        secret: added.secret,
        license_server: SELF_ADDRESS.to_owned(),
    };
    let answer = server.call(server.enterprise().activate(request)).await;
    answer.map_err(|status| raw(&status).within("could not activate the enterprise service"))?;
    Ok(())
}

/// Reads the activation code: unseen from a terminal, else one line, its newline included.
fn read_key() -> Result<String, Failure> {
    let unreadable =
        |reason: String| Failure::pachctl(format!("could not read enterprise key: {reason}"));
    output::note_raw("Enterprise key: ");
    if io::stdin().is_terminal() {
        let key = rpassword::read_password().map_err(|error| unreadable(error.to_string()))?;
        return Ok(key);
    }
    let mut line = Vec::new();
    let limit = u64::try_from(MESSAGE_BYTES_MAX).unwrap_or(u64::MAX);
    io::stdin()
        .lock()
        .take(limit)
        .read_until(b'\n', &mut line)
        .map_err(|error| unreadable(error.to_string()))?;
    if !line.ends_with(b"\n") {
        return Err(unreadable("EOF".to_owned())
            .hint("end the key with a newline: echo \"$KEY\" | muster license activate"));
    }
    String::from_utf8(line).map_err(|_| unreadable("it is not text".to_owned()))
}

fn list(clusters: &[ClusterStatus]) -> String {
    let mut text = String::new();
    for cluster in clusters {
        let _ = writeln!(
            text,
            "id: {}\naddress: {}\nversion: {}\nauth_enabled: {}\nlast_heartbeat: {}\n---",
            cluster.id,
            cluster.address,
            cluster.version,
            cluster.auth_enabled,
            go::rfc3339_or_nil(cluster.last_heartbeat.as_ref()),
        );
    }
    text
}

fn state(answer: &GetActivationCodeResponse) -> String {
    if answer.state() == State::None {
        return "No Pachyderm Enterprise license is configured\n".to_owned();
    }
    format!(
        "Pachyderm Enterprise token state: {}\nExpiration: {}\nLicense: {}\n",
        answer.state().as_str_name(),
        go::time_text(answer.info.as_ref().and_then(|info| info.expires.as_ref())),
        answer.activation_code,
    )
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use muster_proto::enterprise_v2::TokenInfo;
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn clusters_are_listed_in_blocks() {
        let beaten = ClusterStatus {
            id: "john".to_owned(),
            address: "pach.example.com:650".to_owned(),
            version: "2.0.0".to_owned(),
            auth_enabled: true,
            last_heartbeat: Some(Timestamp { seconds: 1_621_622_256, nanos: 72_156_000 }),
            ..ClusterStatus::default()
        };
        let new = ClusterStatus {
            id: "doe".to_owned(),
            address: "34.71.247.191:650".to_owned(),
            version: "unknown".to_owned(),
            ..ClusterStatus::default()
        };
        expect![[r#"
            id: john
            address: pach.example.com:650
            version: 2.0.0
            auth_enabled: true
            last_heartbeat: 2021-05-21T18:37:36.072156Z
            ---
            id: doe
            address: 34.71.247.191:650
            version: unknown
            auth_enabled: false
            last_heartbeat: <nil>
            ---
        "#]]
        .assert_eq(&list(&[beaten, new]));
        assert_eq!(list(&[]), "");
    }

    #[test]
    fn the_license_is_shown_with_its_code() {
        let mut answer = GetActivationCodeResponse::default();
        assert_eq!(state(&answer), "No Pachyderm Enterprise license is configured\n");
        answer.set_state(State::Expired);
        answer.activation_code = "CODE".to_owned();
        answer.info =
            Some(TokenInfo { expires: Some(Timestamp { seconds: 1_924_905_600, nanos: 0 }) });
        expect![[r#"
            Pachyderm Enterprise token state: EXPIRED
            Expiration: 2030-12-31 00:00:00 +0000 UTC
            License: CODE
        "#]]
        .assert_eq(&state(&answer));
    }
}
