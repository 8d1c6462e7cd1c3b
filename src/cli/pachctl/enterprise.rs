//! `muster enterprise …`: a cluster's tie to the enterprise server.

use clap::{Args, Subcommand};
use muster_proto::enterprise_v2::{
    ActivateRequest, DeactivateRequest, GetStateRequest, GetStateResponse, HeartbeatRequest,
    PauseRequest, PauseStatusRequest, State, UnpauseRequest, pause_status_response::PauseStatus,
};
use muster_proto::license_v2::{
    AddClusterRequest, DeleteClusterRequest, ListUserClustersRequest, UserClusterInfo,
};

use super::config::{ConfigFile, Which};
use super::connect::{Invocation, Server};
use super::context::{Context, IMPORTED};
use super::contexts::Ignored;
use super::failures::raw;
use crate::cli::go;
use crate::cli::output::{self, Failure};

/// A cluster's tie to the enterprise server.
#[derive(Debug, Subcommand)]
pub(crate) enum Enterprise {
    /// Register the active context's cluster with the enterprise server.
    Register(Register),
    /// Print whether the server is licensed and until when.
    GetState(OnEither),
    /// Have the server send a heartbeat to its license server now.
    Heartbeat(OnEither),
    /// Take the active context's cluster off its license server.
    Deactivate,
    /// Import the registered clusters as contexts.
    SyncContexts(Ignored),
    /// Pause the server.
    Pause(Ignored),
    /// End the server's pause.
    Unpause(Ignored),
    /// Print whether the server is paused.
    PauseStatus(Ignored),
}

#[derive(Debug, Args)]
pub(crate) struct Register {
    /// Id of the cluster in the fleet; best the name of its context.
    #[arg(long, default_value = "", hide_default_value = true)]
    id: String,
    /// Where the enterprise server reaches the cluster; the active context's address if not given.
    #[arg(long, default_value = "", hide_default_value = true)]
    pachd_address: String,
    /// Where users reach the cluster; the active context's address if not given.
    #[arg(long, default_value = "", hide_default_value = true)]
    pachd_user_address: String,
    /// Where the cluster reaches the enterprise server; its context's address if not given.
    #[arg(long, default_value = "", hide_default_value = true)]
    enterprise_server_address: String,
    /// What the cluster calls itself; asked of it if not given.
    #[arg(long, default_value = "", hide_default_value = true)]
    cluster_deployment_id: String,
}

#[derive(Debug, Args)]
pub(crate) struct OnEither {
    /// Ask the active enterprise context's server instead of the active context's.
    #[arg(long)]
    enterprise: bool,
    #[command(flatten)]
    ignored: Ignored,
}

impl OnEither {
    fn which(&self) -> Which {
        if self.enterprise { Which::Enterprise } else { Which::Active }
    }
}

pub(crate) async fn run(command: Enterprise, invocation: &Invocation) -> Result<(), Failure> {
    let open = |which| Server::open(invocation, which);
    match command {
        Enterprise::Register(register) => {
            let cluster = open(Which::Active).await?;
            let server = open(Which::Enterprise).await?;
            register.run(&cluster, &server).await
        }
        Enterprise::GetState(on) => {
            let server = open(on.which()).await?;
            let answer = server.call(server.enterprise().get_state(GetStateRequest {})).await;
            output::data(&state(&answer.map_err(|status| raw(&status))?))
        }
        Enterprise::Heartbeat(on) => {
            let server = open(on.which()).await?;
            let answer = server.call(server.enterprise().heartbeat(HeartbeatRequest {})).await;
            answer.map_err(|status| raw(&status).within("could not sync with license server"))?;
            Ok(())
        }
        Enterprise::Deactivate => {
            let server = open(Which::Active).await?;
            let answer = server.call(server.enterprise().deactivate(DeactivateRequest {})).await;
            answer.map_err(|status| raw(&status))?;
            Ok(())
        }
        Enterprise::SyncContexts(_) => {
            let server = open(Which::Enterprise).await?;
            let request = ListUserClustersRequest {};
            let answer = server.call(server.license().list_user_clusters(request)).await;
            let clusters = answer.map_err(|status| raw(&status))?.clusters;
            let mut file = ConfigFile::load(&invocation.environment)?;
            import(&clusters, &mut file);
            Ok(file.save()?)
        }
        Enterprise::Pause(_) => {
            let server = open(Which::Enterprise).await?;
            let answer = server.call(server.enterprise().pause(PauseRequest {})).await;
            answer.map_err(|status| raw(&status).within("could not pause cluster"))?;
            Ok(())
        }
        Enterprise::Unpause(_) => {
            let server = open(Which::Enterprise).await?;
            let answer = server.call(server.enterprise().unpause(UnpauseRequest {})).await;
            answer.map_err(|status| raw(&status).within("could not unpause cluster"))?;
            Ok(())
        }
        Enterprise::PauseStatus(_) => {
            let server = open(Which::Enterprise).await?;
            let answer = server.call(server.enterprise().pause_status(PauseStatusRequest {})).await;
            let answer =
                answer.map_err(|status| raw(&status).within("could not get pause status"))?;
            output::data(pause_text(answer.status()))
        }
    }
}

impl Register {
    /// Registers the cluster with the server, then ties the cluster to it; without the second
    /// there is no first.
    async fn run(self, cluster: &Server, server: &Server) -> Result<(), Failure> {
        let or = |given: String, address: &crate::address::Address| {
            if given.is_empty() { address.to_string() } else { given }
        };
        let cluster_deployment_id = if self.cluster_deployment_id.is_empty() {
            cluster.deployment_id().await.map_err(|status| {
                raw(&status).within("could not get cluster ID: failed to inspect cluster")
            })?
        } else {
            self.cluster_deployment_id
        };
        let request = AddClusterRequest {
            id: self.id.clone(),
            address: or(self.pachd_address, &cluster.address),
            secret: String::new(),
            user_address: or(self.pachd_user_address, &cluster.address),
            cluster_deployment_id,
            enterprise_server: server.context.context.enterprise_server,
        };
        let added = server.call(server.license().add_cluster(request)).await.map_err(|status| {
            raw(&status).within("could not register pachd with the license service")
        })?;
        let request = ActivateRequest {
            id: self.id.clone(),
            secret: added.secret,
            license_server: or(self.enterprise_server_address, &server.address),
        };
        let answer = cluster.call(cluster.enterprise().activate(request)).await;
        let Err(refused) = answer else { return Ok(()) };
        let refused = go::rpc_error(&refused);
        let request = DeleteClusterRequest { id: self.id.clone() };
        let Err(stuck) = server.call(server.license().delete_cluster(request)).await else {
            return Err(Failure::pachctl(format!(
                "could not register with the license server.: {refused}"
            ))
            .hint("can the cluster reach --enterprise-server-address?"));
        };
        let stuck = go::rpc_error(&stuck);
        Err(Failure::pachctl(format!(
            "also failed to rollback creation of cluster with ID, {id}.To retry enterprise \
             registration, first delete this cluster with 'pachctl license delete-cluster --id \
             {id}'.: {stuck}: {stuck}: could not register with the license server.: {refused}",
            id = self.id
        )))
    }
}

/// Brings the contexts in line with the fleet: adds and changes, never removes.
fn import(clusters: &[UserClusterInfo], file: &mut ConfigFile) {
    for cluster in clusters {
        let mut context = match file.context(&cluster.id) {
            None => Context { source: IMPORTED, ..Context::default() },
            Some(mut context) => {
                if context.cluster_deployment_id != cluster.cluster_deployment_id {
                    // Another deployment will not know the old one's token.
                    context.session_token.clear();
                }
                context
            }
        };
        context.cluster_deployment_id.clone_from(&cluster.cluster_deployment_id);
        context.pachd_address.clone_from(&cluster.address);
        context.enterprise_server = cluster.enterprise_server;
        file.set_context(&cluster.id, &context);
    }
}

fn state(answer: &GetStateResponse) -> String {
    if answer.state() == State::None {
        return "No Pachyderm Enterprise token was found\n".to_owned();
    }
    format!(
        "Pachyderm Enterprise token state: {}\nExpiration: {}\n",
        answer.state().as_str_name(),
        go::time_text(answer.info.as_ref().and_then(|info| info.expires.as_ref())),
    )
}

fn pause_text(status: PauseStatus) -> &'static str {
    match status {
        PauseStatus::Unpaused => "unpaused\n",
        PauseStatus::PartiallyPaused => "partially-paused\n",
        PauseStatus::Paused => "paused\n",
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use muster_proto::enterprise_v2::TokenInfo;

    use super::*;
    use crate::cli::environment::Environment;

    #[test]
    fn the_state_is_shown_without_a_code_and_survives_a_missing_expiry() {
        let mut answer = GetStateResponse::default();
        assert_eq!(state(&answer), "No Pachyderm Enterprise token was found\n");
        answer.set_state(State::HeartbeatFailed);
        answer.info = Some(TokenInfo::default());
        expect![[r#"
            Pachyderm Enterprise token state: HEARTBEAT_FAILED
            Expiration: 1970-01-01 00:00:00 +0000 UTC
        "#]]
        .assert_eq(&state(&answer));
    }

    #[test]
    fn imported_contexts_are_added_and_changed_but_never_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let text = r#"{"v2": {"active_context": "a", "contexts": {
            "a": {"pachd_address": "old", "session_token": "t", "cluster_deployment_id": "1"},
            "b": {"pachd_address": "old", "session_token": "t", "cluster_deployment_id": "2"},
            "z": {}}}}"#;
        std::fs::write(&path, text).unwrap();
        let environment = Environment { pach_config: Some(path), ..Environment::default() };
        let mut file = ConfigFile::load(&environment).unwrap();
        let cluster = |id: &str, deployment: &str, address: &str| UserClusterInfo {
            id: id.to_owned(),
            cluster_deployment_id: deployment.to_owned(),
            address: address.to_owned(),
            enterprise_server: false,
        };
        import(
            &[cluster("a", "9", "h:1"), cluster("b", "2", "h:2"), cluster("c", "3", "h:3")],
            &mut file,
        );
        expect![[r#"
            {
              "v2": {
                "active_context": "a",
                "contexts": {
                  "a": {
                    "pachd_address": "h:1",
                    "cluster_deployment_id": "9"
                  },
                  "b": {
                    "pachd_address": "h:2",
                    "session_token": "t",
                    "cluster_deployment_id": "2"
                  },
                  "c": {
                    "source": 3,
                    "pachd_address": "h:3",
                    "cluster_deployment_id": "3"
                  },
                  "z": {}
                }
              }
            }
        "#]]
        .assert_eq(&file.text());
    }
}
