//! The audit log of real replicas: written by acts on any of them, whole after a leader died, proven
//! by its hashes, followed into files.

use std::fs;

use muster_proto::auth_v2::{GetRobotTokenRequest, SetConfigurationRequest};
use muster_proto::license_v2::{AddClusterRequest, ListClustersRequest};
use muster_proto::muster::v1::membership_client::MembershipClient;
use muster_proto::muster::v1::{
    ConfigureMembershipRequest, GroupStatusRequest, JoinRequest, MintJoinTokenRequest,
    PromoteRequest, RemoveRequest,
};
use serde_json::Value;
use tonic::Code;

use crate::support::cli::Cli;
use crate::support::replicas::{Replicas, Setup};
use crate::support::secured::{ROOT, bind, robot, secured, secured_with, signed};
use crate::support::{http, ports, wait};

/// Records of the group as `muster audit list` gives them, the oldest first.
fn listed(cli: &Cli, arguments: &[&str]) -> Vec<Value> {
    let mut all = vec!["audit", "list", "--limit", "0", "-o", "json"];
    all.extend(arguments);
    let answer: Value = serde_json::from_str(&cli.ok(&all)).unwrap();
    answer["records"].as_array().unwrap().clone()
}

fn told(record: &Value) -> String {
    let text = |name: &str| record[name].as_str().unwrap().to_owned();
    let outcome = if record["refusal"] == "" { text("outcome") } else { text("refusal") };
    format!("{} {} {outcome} on {}", text("principal"), text("rpc"), text("resource"))
}

fn add(id: &str) -> AddClusterRequest {
    AddClusterRequest { id: id.to_owned(), address: "grpc://c".to_owned(), ..Default::default() }
}

/// The replica that leads, asked where nobody has to sign in.
fn leading(world: &Replicas) -> usize {
    wait::until("a leader", || {
        let leads = |at: &usize| {
            let answer = http::get(world.replica(*at).ops, "/leaderz");
            answer.is_some_and(|answer| answer.status == 200)
        };
        (0..world.len()).find(leads)
    })
}

/// A command line that signs in with root's token.
fn administrator(world: &Replicas, at: usize) -> Cli {
    let cli = Cli::connected(&world.pachd_address(at));
    cli.ok_with(&["auth", "use-auth-token"], &format!("{ROOT}\n"));
    cli
}

#[tokio::test]
async fn acts_on_any_replica_are_one_chain_that_outlives_the_leader() {
    let mut world = secured(3).await;
    let token = robot(&world.client(1), "r", 0).await;
    for at in 0..3 {
        let mut request = signed(add(&format!("c{at}")), ROOT);
        request.metadata_mut().insert("muster-request-id", format!("q{at}").parse().unwrap());
        world.client(at).license.clone().add_cluster(request).await.unwrap();
    }
    // Refused in the log, refused by a read, refused before the log, and a secret that comes out.
    let client = world.client(2);
    let refused = client.license.clone().add_cluster(signed(add("x"), &token)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let read = signed(ListClustersRequest {}, "nonsense-token-of-a-stranger");
    client.license.clone().list_clusters(read).await.unwrap_err();
    client.beat("c0", "not its secret", "2.11.6").await.unwrap_err();
    let code = signed(muster_proto::license_v2::GetActivationCodeRequest {}, ROOT);
    client.license.clone().get_activation_code(code).await.unwrap();
    let leader = leading(&world);
    let other = (leader + 1) % 3;
    let cli = administrator(&world, other);
    wait::until_ok("the calls of the edge to be recorded", || async {
        let records: Vec<String> = listed(&cli, &[]).iter().map(told).collect();
        let expected = [
            "pach:root /auth_v2.API/GetRobotToken ok on token of robot:r",
            "pach:root /license_v2.API/AddCluster ok on cluster:c2",
            "robot:r /license_v2.API/AddCluster NOT_AUTHORIZED on cluster:x",
            "anonymous /license_v2.API/ListClusters TOKEN_UNKNOWN on ",
            "anonymous /license_v2.API/Heartbeat ID_OR_SECRET_INVALID on cluster:c0",
            "pach:root /license_v2.API/GetActivationCode ok on ",
        ];
        match expected.iter().find(|line| !records.contains(&(**line).to_owned())) {
            None => Ok(()),
            Some(missing) => Err(format!("{missing} is not in {records:#?}")),
        }
    })
    .await;
    let named = listed(&cli, &["--request-id", "q1"]);
    assert_eq!(named.len(), 1, "{named:?}");
    assert!(named[0]["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{named:?}");
    let before = cli.ok(&["audit", "verify"]);
    let head = before.lines().last().unwrap().rsplit_once(' ').unwrap().1.to_owned();

    world.kill(leader);
    let client = world.client(other);
    wait::until_ok("a new leader to take an act", || async {
        let request = signed(add("late"), ROOT);
        match client.license.clone().add_cluster(request).await {
            Ok(_) => Ok(()),
            Err(status) if status.message() == "cluster ID is not unique" => Ok(()),
            Err(status) => Err(status.to_string()),
        }
    })
    .await;
    let after = cli.ok(&["audit", "verify", "--expect", &head]);
    assert!(after.contains(": whole\n"), "{after}");
    world.launch(leader);
    world.wait_ready_one(leader);
    let returned = administrator(&world, leader);
    returned.ok(&["audit", "verify", "--expect", &head]);

    let exported = cli.ok(&["audit", "export"]);
    let file = world.folder().join("export.jsonl");
    let path = file.to_str().unwrap();
    fs::write(&file, &exported).unwrap();
    cli.ok(&["audit", "verify", "--file", path, "--expect", &head]);
    fs::write(&file, exported.replacen("robot:r", "robot:s", 1)).unwrap();
    let ran = cli.run(&["audit", "verify", "--file", path]);
    assert_eq!(ran.code, 71, "{ran:?}");
    let line = exported.lines().position(|line| line.contains("robot:r")).unwrap() + 1;
    assert!(ran.err.contains(&format!("record {line} does not have the hash")), "{ran:?}");
    let rest = cli.ok(&["audit", "export", "--after", "3"]);
    assert_eq!(rest, exported.split_inclusive('\n').skip(3).collect::<String>());
}

#[tokio::test]
async fn acts_on_the_group_name_their_replicas_and_outlive_a_kill_right_after_the_answer() {
    let mut world = secured(1).await;
    let client = world.client(0);
    let stranger = robot(&client, "r", 0).await;
    let mut membership = MembershipClient::new(client.channel.clone());
    let mint = signed(MintJoinTokenRequest { ttl_seconds: 60 }, ROOT);
    let token = membership.mint_join_token(mint).await.unwrap().into_inner().token;
    let peer_address = format!("127.0.0.1:{}", ports::free());
    let name = "late".to_owned();
    let join = JoinRequest { token, name, peer_address, ..JoinRequest::default() };
    membership.join(join.clone()).await.unwrap();
    let mut replica = client.replica.clone();
    let group = replica.group(signed(GroupStatusRequest {}, ROOT)).await.unwrap().into_inner();
    let late = group.replicas.iter().find(|it| it.name == "late").unwrap().id.clone();
    let promote = |id: &str| PromoteRequest { ids: vec![id.to_owned()], force: false };
    let nobody = "00000000000000ff";
    membership.promote(signed(promote(nobody), ROOT)).await.unwrap_err();
    membership.promote(signed(promote(&late), &stranger)).await.unwrap_err();
    for voters in [3, 1] {
        let asked =
            ConfigureMembershipRequest { voters: Some(voters), dead_after_seconds: Some(90) };
        membership.configure(signed(asked, ROOT)).await.unwrap();
    }
    let remove = RemoveRequest { ids: vec![late.clone()], force: false };
    membership.remove(signed(remove, ROOT)).await.unwrap();
    // What is no act on the group and never reaches the log by itself: a secret that comes out, and a
    // change that a known principal may not make.
    let code = signed(muster_proto::license_v2::GetActivationCodeRequest {}, ROOT);
    client.license.clone().get_activation_code(code).await.unwrap();
    let change = SetConfigurationRequest { configuration: None };
    client.auth.clone().set_configuration(signed(change, &stranger)).await.unwrap_err();
    world.restart(0);

    let cli = administrator(&world, 0);
    let records: Vec<String> = listed(&cli, &[]).iter().map(told).collect();
    for line in [
        "pach:root /muster.v1.Membership/MintJoinToken ok on join token".to_owned(),
        format!(
            "anonymous /muster.v1.Membership/Join ok on replica late ({late}) at {}",
            join.peer_address
        ),
        format!("pach:root /muster.v1.Membership/Promote NOT_FOUND on replica {nobody}"),
        format!("robot:r /muster.v1.Membership/Promote NOT_AUTHORIZED on replica late ({late})"),
        "pach:root /muster.v1.Membership/Configure ok on group: target voters 3, dead after 90 s"
            .to_owned(),
        "pach:root /muster.v1.Membership/Configure ok on group: target voters 1, dead after 90 s"
            .to_owned(),
        format!("pach:root /muster.v1.Membership/Remove ok on replica late ({late})"),
        "pach:root /license_v2.API/GetActivationCode ok on ".to_owned(),
        "robot:r /auth_v2.API/SetConfiguration NOT_AUTHORIZED on CLUSTER".to_owned(),
    ] {
        assert_eq!(records.iter().filter(|it| **it == line).count(), 1, "{line}: {records:#?}");
    }
    cli.ok(&["audit", "verify"]);
}

#[tokio::test]
async fn only_who_may_read_the_servers_logs_reads_the_audit_log() {
    let world = secured(1).await;
    let client = world.client(0);
    let reader = robot(&client, "auditor", 0).await;
    let cli = Cli::connected(&world.pachd_address(0));
    cli.ok_with(&["auth", "use-auth-token"], &format!("{reader}\n"));
    let refused = cli.fails(&["audit", "list"]);
    assert!(refused.contains("needs permissions [CLUSTER_GET_PACHD_LOGS]"), "{refused}");
    assert!(cli.fails(&["audit", "verify"]).contains("CLUSTER_GET_PACHD_LOGS"));
    bind(&client, ROOT, "robot:auditor", &["pachdLogReader"]).await.unwrap();
    let shown = cli.ok(&["audit", "list", "--outcome", "ok", "--rpc", "ModifyRoleBinding"]);
    assert!(shown.contains("CLUSTER: robot:auditor = [pachdLogReader]"), "{shown}");
    assert!(shown.ends_with(" records\n"), "{shown}");
}

#[tokio::test]
async fn a_storm_of_refusals_pushes_nothing_out() {
    let world = secured(1).await;
    let client = world.client(0);
    for n in 0..200 {
        let request = GetRobotTokenRequest { robot: format!("r{n}"), ttl: 0 };
        client.auth.clone().get_robot_token(signed(request, "nonsense")).await.unwrap_err();
        let request = signed(ListClustersRequest {}, &format!("nonsense-{n}"));
        client.license.clone().list_clusters(request).await.unwrap_err();
    }
    let cli = administrator(&world, 0);
    wait::until_ok("the reads to be recorded", || async {
        let reads = listed(&cli, &["--rpc", "ListClusters"]);
        if reads.is_empty() { Err("none") } else { Ok(()) }
    })
    .await;
    let refused = listed(&cli, &["--outcome", "refused"]);
    assert!(refused.len() < 20, "{refused:#?}");
    // The state of the window is counted on, also over a restart of everything.
    assert_eq!(listed(&cli, &["--rpc", "GetRobotToken"]).len(), 1);
}

/// The numbers in a file of lines.
fn numbers(file: &std::path::Path) -> Vec<u64> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let number = |line: &str| serde_json::from_str::<Value>(line).unwrap()["sequence"].as_u64();
    text.lines().map(|line| number(line).unwrap()).collect()
}

#[tokio::test]
async fn the_file_follows_without_holes_or_doubles_over_a_kill_and_tells_its_lag() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let setup =
        Setup { flags: vec![format!("--audit-file={}", file.display())], ..Setup::default() };
    let mut world = secured_with(1, setup).await;
    for round in 0..3 {
        for n in 0..5 {
            let request = signed(add(&format!("c{round}-{n}")), ROOT);
            world.client(0).license.clone().add_cluster(request).await.unwrap();
        }
        world.restart(0);
    }
    let cli = administrator(&world, 0);
    let last = listed(&cli, &[]).last().unwrap()["sequence"].as_u64().unwrap();
    wait::until("the file to follow", || (numbers(&file).last() == Some(&last)).then_some(()));
    assert_eq!(numbers(&file), (1..=last).collect::<Vec<_>>());
    cli.ok(&["audit", "verify", "--file", file.to_str().unwrap()]);
    let exported = cli.ok(&["audit", "export"]);
    assert!(fs::read_to_string(&file).unwrap().starts_with(&exported), "the same lines");
    let metrics = http::get(world.replica(0).ops, "/metrics").unwrap().body;
    for line in ["muster_audit_lag_records 0", "muster_audit_lag_seconds 0"] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    assert!(metrics.contains("muster_audit_last_sequence"), "{metrics}");
    world.terminate(0);
}

#[tokio::test]
async fn a_file_of_somebody_else_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("diary");
    fs::write(&file, "dear diary\n").unwrap();
    let setup =
        Setup { flags: vec![format!("--audit-file={}", file.display())], ..Setup::default() };
    let mut world = Replicas::prepare(1, setup);
    world.launch(0);
    assert_eq!(world.wait_ended(0).code(), Some(78));
    assert!(world.printed(0).contains("has no audit record at its end"), "{}", world.printed(0));
}
