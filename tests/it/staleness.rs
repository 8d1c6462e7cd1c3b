//! Reads that may be old: what a replica without a majority can still say, and how old it says it is.

use std::time::Duration;

use muster_proto::license_v2::{ListClustersRequest, ListClustersResponse};
use tonic::{Code, Request, Response, Status};

use crate::support::authority::code;
use crate::support::client::Client;
use crate::support::replicas::{Replicas, muster};
use crate::support::wait;

async fn list(client: &Client, staleness: &str) -> Result<Response<ListClustersResponse>, Status> {
    let mut request = Request::new(ListClustersRequest {});
    request.metadata_mut().insert("staleness", staleness.parse().unwrap());
    client.license.clone().list_clusters(request).await
}

/// Milliseconds.
fn age<T>(response: &Response<T>) -> u64 {
    let told = response.metadata().get("staleness").unwrap().to_str().unwrap();
    told.strip_suffix("ms").unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_replica_without_a_majority_answers_reads_that_may_be_old_and_says_how_old() {
    let mut world = Replicas::start(3);
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    client.add("a", "grpc://a:1").await.unwrap();
    world.wait_level().await;

    let fresh = wait::until_ok("an answer of little age", || async {
        list(&client, "3s").await.map_err(|status| status.message().to_owned())
    })
    .await;
    assert!(age(&fresh) <= 3000, "{}", age(&fresh));
    assert_eq!(fresh.get_ref().clusters.len(), 1);
    assert_eq!(list(&client, "soon").await.unwrap_err().code(), Code::InvalidArgument);

    // Two are stopped where they stand, as if the network had swallowed them.
    world.process(1).signal("-STOP");
    world.process(2).signal("-STOP");
    let refused = wait::until_ok("the state to be older than allowed", || async {
        list(&client, "2s").await.err().ok_or("it is not yet")
    })
    .await;
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("older than the staleness"), "{}", refused.message());

    let old = list(&client, "1h").await.unwrap();
    assert!(age(&old) > 2000, "{}", age(&old));
    assert_eq!(old.get_ref().clusters.len(), 1);
    let mut current = Request::new(ListClustersRequest {});
    current.set_timeout(Duration::from_secs(3));
    let current = client.license.clone().list_clusters(current).await;
    assert_eq!(current.unwrap_err().code(), Code::Unavailable, "the default is never old");

    let address = world.pachd_address(0);
    let listed = muster()
        .args(["fleet", "list", "--staleness", "1h", "--address", &address])
        .output()
        .unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    assert!(String::from_utf8_lossy(&listed.stdout).contains("grpc://a:1"));
    let told = String::from_utf8_lossy(&listed.stderr).into_owned();
    assert!(told.contains("this answer may be") && told.contains("ms old"), "{told}");

    world.process(1).signal("-CONT");
    world.process(2).signal("-CONT");
    let healed = wait::until_ok("a young state again", || async {
        list(&client, "2s").await.map_err(|status| status.message().to_owned())
    })
    .await;
    assert!(age(&healed) <= 2000);
}

#[tokio::test]
async fn a_replica_that_started_alone_knows_the_age_of_its_last_entry() {
    let mut world = Replicas::start(3);
    world.client(0).activate(&code()).await.unwrap();
    world.client(0).add("a", "grpc://a:1").await.unwrap();
    world.wait_level().await;
    // What was applied is not lost with the majority that knows how much is agreed.
    world.client(0).save_snapshot().await.unwrap();
    for at in 0..3 {
        world.kill(at);
    }
    world.launch(0);
    let client = world.client(0);
    let alone = wait::until_ok("an answer of the one that runs", || async {
        list(&client, "1h").await.map_err(|status| status.message().to_owned())
    })
    .await;
    assert_eq!(alone.get_ref().clusters.len(), 1);
}
