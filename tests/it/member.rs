//! `muster agent` as a member of the fleet: registered by the command line, beating, failing open.

use std::fs;
use std::path::PathBuf;
use std::process::ExitStatus;

use muster_proto::auth_v2::RevokeAuthTokenRequest;
use muster_proto::enterprise_v2::{self, State};
use muster_proto::license_v2::{self, ClusterStatus};
use tempfile::TempDir;

use crate::support::authority::code;
use crate::support::cli::Cli;
use crate::support::client::Client;
use crate::support::ports;
use crate::support::process::{Process, tail};
use crate::support::replicas::{Replicas, muster};
use crate::support::secured::{ROOT, bind, robot, secured, signed};
use crate::support::wait;

/// An agent on the loopback that beats often.
struct Agent {
    // First, so that the process is gone and its log told before the folder goes.
    process: Option<Process>,
    folder: TempDir,
    port: u16,
}

impl Agent {
    fn start(arguments: &[&str]) -> Agent {
        let folder = tempfile::tempdir().unwrap();
        let mut agent = Agent { folder, port: ports::free(), process: None };
        agent.launch(arguments);
        agent
    }

    fn launch(&mut self, arguments: &[&str]) {
        self.launch_with(arguments, &[]);
    }

    fn launch_with(&mut self, arguments: &[&str], environment: &[(&str, &str)]) {
        let mut command = muster();
        command
            .arg("agent")
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .args(["--interval", "200ms"])
            .arg("--record")
            .arg(self.record())
            .args(arguments)
            .env("HOME", self.folder.path())
            .envs(environment.iter().copied());
        self.process = Some(Process::spawn("agent", &mut command, &self.log()));
    }

    fn record(&self) -> PathBuf {
        self.folder.path().join("record")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn printed(&self) -> String {
        tail(&self.log(), 40)
    }

    fn address(&self) -> String {
        format!("grpc://127.0.0.1:{}", self.port)
    }

    fn client(&self) -> Client {
        Client::new(&format!("http://127.0.0.1:{}", self.port))
    }

    async fn wait_up(&self) {
        wait::until_ok("the agent to answer", || async { self.client().version().await }).await;
    }

    async fn wait_state(&self, state: State) {
        wait::until_ok(&format!("the member to be {state:?}"), || async {
            let now = self.client().standing_state().await.map_err(|e| e.to_string())?;
            if now == state { Ok(()) } else { Err(format!("{now:?}\n{}", self.printed())) }
        })
        .await;
    }

    fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    fn terminate(&mut self) -> ExitStatus {
        self.process.take().unwrap().terminate()
    }
}

/// An administrator of a licensed server and a member that is not registered yet.
async fn administrator(world: &Replicas, agent: &Agent) -> Cli {
    world.client(0).activate(&code()).await.unwrap();
    agent.wait_up().await;
    let cli = Cli::new();
    cli.context("es", &world.pachd_address(0));
    cli.context("member", &agent.address());
    cli.ok(&["config", "set", "active-context", "member"]);
    cli.ok(&["config", "set", "active-enterprise-context", "es"]);
    cli
}

fn register(cli: &Cli, world: &Replicas, agent: &Agent) {
    let es = world.pachd_address(0);
    let es = es.trim_start_matches("grpc://");
    let register = [
        "enterprise",
        "register",
        "--id",
        "pach-1",
        "--enterprise-server-address",
        es,
        "--pachd-address",
        &agent.address(),
    ];
    assert_eq!(cli.ok(&register), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_registered_beats_and_is_active() {
    let world = Replicas::start(1);
    let agent = Agent::start(&[]);
    let cli = administrator(&world, &agent).await;
    assert_eq!(cli.ok(&["enterprise", "get-state"]), "No Pachyderm Enterprise token was found\n");
    register(&cli, &world, &agent);
    assert!(cli.ok(&["enterprise", "get-state"]).contains("state: ACTIVE\n"));

    let row = world.client(0).cluster("pach-1").await.unwrap().unwrap();
    assert_eq!(row.address, agent.address());
    assert_eq!(row.version, "2.11.6");
    assert!(row.last_heartbeat.is_some(), "it has beaten before the command returned");
    let first = row.last_heartbeat.unwrap();
    wait::until_ok("the next heartbeat", || async {
        let row = world.client(0).cluster("pach-1").await.map_err(|e| e.to_string())?.unwrap();
        if row.last_heartbeat == Some(first) { Err("none yet".to_owned()) } else { Ok(()) }
    })
    .await;
    let deployment = agent.client().inspect().await.unwrap().deployment_id;
    assert_eq!(world.client(0).user_clusters().await.unwrap()[0].cluster_deployment_id, deployment);
}

#[tokio::test(flavor = "multi_thread")]
async fn registering_an_id_twice_fails_in_the_words_scripts_know() {
    let world = Replicas::start(1);
    let agent = Agent::start(&[]);
    let cli = administrator(&world, &agent).await;
    register(&cli, &world, &agent);
    let es = world.pachd_address(0);
    let again = ["enterprise", "register", "--id", "pach-1", "--enterprise-server-address", &es];
    let text = "could not register pachd with the license service: rpc error: code = \
                Unimplemented desc = cluster ID is not unique";
    let said = cli.fails(&again);
    assert!(said.contains(text), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_fails_is_rolled_back_and_the_id_is_free_again() {
    let world = Replicas::start(1);
    let agent = Agent::start(&[]);
    let cli = administrator(&world, &agent).await;
    let nowhere =
        ["enterprise", "register", "--id", "pach-1", "--enterprise-server-address", "127.0.0.1:1"];
    let said = cli.fails(&nowhere);
    assert!(said.contains("could not register with the license server"), "{said}");
    assert!(world.client(0).cluster("pach-1").await.unwrap().is_none());
    register(&cli, &world, &agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_registration_was_removed_is_told_so_and_recovers() {
    let world = Replicas::start(1);
    let agent = Agent::start(&[]);
    let cli = administrator(&world, &agent).await;
    register(&cli, &world, &agent);
    agent.wait_state(State::Active).await;
    cli.ok(&["license", "delete-cluster", "--id", "pach-1"]);
    agent.wait_state(State::HeartbeatFailed).await;
    cli.ok(&["enterprise", "deactivate"]);
    agent.wait_state(State::None).await;
    register(&cli, &world, &agent);
    agent.wait_state(State::Active).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_stays_licensed_while_the_server_is_away() {
    let mut world = Replicas::start(1);
    let mut agent = Agent::start(&[]);
    let cli = administrator(&world, &agent).await;
    register(&cli, &world, &agent);
    agent.wait_state(State::Active).await;
    world.kill(0);
    drop(agent.client().sync().await);
    assert_eq!(agent.client().standing_state().await.unwrap(), State::Active);

    // Also over a restart of its own.
    agent.kill();
    agent.launch(&[]);
    agent.wait_up().await;
    assert_eq!(agent.client().standing_state().await.unwrap(), State::Active);
    let answer = agent.client().standing_code().await.unwrap();
    assert_eq!(answer.activation_code, code());

    world.launch(0);
    world.wait_ready();
    wait::until_ok("a heartbeat after the server is back", || async {
        agent.client().sync().await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_license_that_changes_reaches_the_member_with_its_next_beat() {
    let world = Replicas::start(1);
    let agent = Agent::start(&[]);
    let cli = administrator(&world, &agent).await;
    register(&cli, &world, &agent);
    agent.wait_state(State::Active).await;
    world.client(0).activate_until(&code(), Some(1_600_000_000)).await.unwrap();
    agent.wait_state(State::Expired).await;
    world.client(0).activate(&code()).await.unwrap();
    agent.wait_state(State::Active).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_registers_itself_when_told_a_server() {
    let world = Replicas::start(1);
    world.client(0).activate(&code()).await.unwrap();
    let es = world.pachd_address(0);
    let arguments =
        ["--enterprise-server", &es, "--id", "pach-7", "--address", "grpc://pach-7:30650"];
    let mut agent = Agent::start(&arguments);
    agent.wait_up().await;
    agent.wait_state(State::Active).await;
    let row = world.client(0).cluster("pach-7").await.unwrap().unwrap();
    assert_eq!(row.address, "grpc://pach-7:30650");
    assert_eq!(agent.terminate().code(), Some(0), "{}", agent.printed());
    agent.launch(&arguments);
    agent.wait_up().await;
    agent.wait_state(State::Active).await;
    assert_eq!(world.client(0).clusters().await.unwrap().len(), 1);
}

/// The rights that a member's own token needs, and no more.
async fn token_of_a_member(client: &Client) -> String {
    bind(client, ROOT, "robot:members", &["licenseAdmin"]).await.unwrap();
    robot(client, "members", 0).await
}

/// The row of a cluster, as root sees it.
async fn row(client: &Client, id: &str) -> Option<ClusterStatus> {
    let request = signed(license_v2::ListClustersRequest {}, ROOT);
    let rows = client.license.clone().list_clusters(request).await.unwrap().into_inner().clusters;
    rows.into_iter().find(|row| row.id == id)
}

async fn wait_address(client: &Client, address: &str) {
    wait::until_ok(&format!("the member to be registered at {address}"), || async {
        match row(client, "pach-7").await {
            Some(row) if row.address == address && row.last_heartbeat.is_some() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_its_own_token_registers_anew_at_every_start() {
    let world = secured(3).await;
    let client = world.client(0);
    let token = token_of_a_member(&client).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let file_flag = file.display().to_string();
    let arguments = |at: usize, address: &str| {
        let server = world.pachd_address(at);
        ["--enterprise-server", &server, "--id", "pach-7", "--address", address]
            .iter()
            .map(|word| (*word).to_owned())
            .chain(["--enterprise-server-token-file".to_owned(), file_flag.clone()])
            .collect::<Vec<String>>()
    };
    let start = |agent: &mut Agent, at: usize, address: &str| {
        let arguments = arguments(at, address);
        agent.launch(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    };

    // Its token comes later than the member itself, and with the line's end that editors add.
    let folder_of_agent = tempfile::tempdir().unwrap();
    let mut agent = Agent { folder: folder_of_agent, port: ports::free(), process: None };
    start(&mut agent, 0, "grpc://first:30650");
    agent.wait_up().await;
    wait::until_ok("the member to miss its token", || async {
        let log = agent.printed();
        if log.contains("cannot be read") { Ok(()) } else { Err(log) }
    })
    .await;
    assert_eq!(agent.client().standing_state().await.unwrap(), State::None);
    fs::write(&file, format!("{token}\n")).unwrap();
    wait_address(&client, "grpc://first:30650").await;
    agent.wait_state(State::Active).await;

    // At the next start, at another replica, everything is brought up to date.
    assert_eq!(agent.terminate().code(), Some(0));
    start(&mut agent, 1, "grpc://second:30650");
    wait_address(&world.client(1), "grpc://second:30650").await;
    agent.wait_state(State::Active).await;

    // A token that serves no more keeps nobody from running.
    let request = RevokeAuthTokenRequest { token: token.clone() };
    client.auth.clone().revoke_auth_token(signed(request, ROOT)).await.unwrap();
    assert_eq!(agent.terminate().code(), Some(0));
    start(&mut agent, 2, "grpc://third:30650");
    agent.wait_up().await;
    wait::until_ok("the member to be refused", || async {
        let log = agent.printed();
        let text = "provided auth token is corrupted or has expired";
        if log.contains(text) { Ok(()) } else { Err(log) }
    })
    .await;
    assert_eq!(agent.client().standing_state().await.unwrap(), State::Active);
    assert_eq!(row(&client, "pach-7").await.unwrap().address, "grpc://second:30650");

    // A new one is taken without a restart.
    fs::write(&file, robot(&client, "members", 0).await).unwrap();
    wait_address(&client, "grpc://third:30650").await;
    let printed = fs::read_to_string(agent.log()).unwrap();
    assert!(!printed.contains(&token), "the token is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_members_token_without_the_right_registers_nobody() {
    let world = secured(1).await;
    let client = world.client(0);
    let token = robot(&client, "plain", 0).await;
    let server = world.pachd_address(0);
    let mut agent =
        Agent { folder: tempfile::tempdir().unwrap(), port: ports::free(), process: None };
    let arguments =
        ["--enterprise-server", &server, "--id", "pach-7", "--address", "grpc://pach-7:30650"];
    agent.launch_with(&arguments, &[("ENTERPRISE_SERVER_TOKEN", &token)]);
    agent.wait_up().await;
    wait::until_ok("the member to be refused", || async {
        let log = agent.printed();
        if log.contains("needs permissions [CLUSTER_LICENSE_ADD_CLUSTER]") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    assert_eq!(row(&client, "pach-7").await, None);
    bind(&client, ROOT, "robot:plain", &["licenseAdmin"]).await.unwrap();
    agent.wait_state(State::Active).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_stops_the_member() {
    let world = Replicas::start(1);
    let mut agent = Agent::start(&[]);
    let cli = administrator(&world, &agent).await;
    register(&cli, &world, &agent);
    agent.terminate();
    let mut bytes = fs::read(agent.record()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(agent.record(), bytes).unwrap();
    agent.launch(&[]);
    let status = agent.process.take().unwrap().wait();
    assert_eq!(status.code(), Some(71), "{}", agent.printed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_does_not_pause() {
    let agent = Agent::start(&[]);
    agent.wait_up().await;
    let mut client = agent.client().enterprise;
    client.pause(enterprise_v2::PauseRequest {}).await.unwrap_err();
    let status = client.pause_status(enterprise_v2::PauseStatusRequest {}).await.unwrap();
    assert_eq!(status.into_inner().status, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_without_values_takes_the_members_own_address_and_deployment() {
    let world = Replicas::start(1);
    let agent = Agent::start(&["--deployment-id", "its-deployment"]);
    let cli = administrator(&world, &agent).await;
    assert_eq!(cli.ok(&["enterprise", "register", "--id", "pach-1"]), "");
    let row = world.client(0).cluster("pach-1").await.unwrap().unwrap();
    assert_eq!(row.address, agent.address());
    let user = world.client(0).user_clusters().await.unwrap().remove(0);
    assert_eq!(user.address, agent.address());
    assert_eq!(user.cluster_deployment_id, "its-deployment");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_holds_a_license_can_register_with_itself_under_another_id() {
    let world = Replicas::start(1);
    let cli = Cli::connected(&world.pachd_address(0));
    cli.ok_with(&["license", "activate", "--no-register"], &format!("{}\n", code()));
    assert_eq!(cli.ok(&["enterprise", "register", "--id", "by-hand"]), "");
    assert!(cli.ok(&["enterprise", "get-state"]).contains("state: ACTIVE\n"));
    let row = world.client(0).cluster("by-hand").await.unwrap().unwrap();
    assert!(row.last_heartbeat.is_some());
}
