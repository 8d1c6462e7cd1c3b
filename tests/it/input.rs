//! Bad input to every method: refused with a reason, no panic, no growth, and the server goes on.

use std::fs;
use std::future::poll_fn;

use http_body_util::{BodyExt as _, Full};
use muster_proto::license_v2::{AddClusterRequest, HeartbeatRequest, UpdateClusterRequest};
use tonic::codegen::{Bytes, Service as _, http};
use tonic::{Code, Status};

use crate::support::authority::code;
use crate::support::client::Client;
use crate::support::replicas::Replicas;

const MEMBER: &str = "grpc://member:1";
/// What a replica with next to nothing in it may take, whatever it was sent.
const MEMORY_MAX_KIB: u64 = 400 * 1024;

/// Texts that must never be an answer to malformed input.
const FATAL: [&str; 3] =
    ["cluster ID or secret is not valid", "the auth service is not activated", "panic"];

fn add(id: &str, address: &str) -> AddClusterRequest {
    AddClusterRequest {
        id: id.to_owned(),
        address: address.to_owned(),
        ..AddClusterRequest::default()
    }
}

#[tokio::test]
async fn ids_with_control_characters_or_beyond_4096_bytes_are_refused_with_the_rule() {
    let world = Replicas::start(1);
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    for id in ["a\nb", "a\0b", "\u{7f}", "\u{85}", "tab\t", &"x".repeat(4097)] {
        let refused = client.add(id, MEMBER).await.unwrap_err();
        assert_ne!(refused.code(), Code::Internal, "{refused:?}");
        assert!(refused.message().contains("id"), "{refused:?}");
        assert!(!refused.message().contains('\n'), "no control characters echoed: {refused:?}");
    }
    for id in ["x", &"x".repeat(4096), "Zürich'; DROP TABLE 集群 --", " ", "../../etc/passwd"] {
        client.add(id, MEMBER).await.unwrap();
    }
    assert_eq!(client.clusters().await.unwrap().len(), 5);
}

#[tokio::test]
async fn every_other_field_of_a_registration_is_bounded() {
    let world = Replicas::start(1);
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    let huge = "x".repeat(1 << 20);
    let bad = [
        AddClusterRequest { address: huge.clone(), ..add("a", MEMBER) },
        AddClusterRequest { user_address: huge.clone(), ..add("b", MEMBER) },
        AddClusterRequest { cluster_deployment_id: huge.clone(), ..add("c", MEMBER) },
        AddClusterRequest { secret: huge.clone(), ..add("d", MEMBER) },
    ];
    for request in bad {
        let refused = client.add_cluster(request).await.unwrap_err();
        assert!(FATAL.iter().all(|text| !refused.message().contains(text)), "{refused:?}");
    }
    let secret = client.add("pach-1", MEMBER).await.unwrap();
    let refused = client.beat("pach-1", &secret, &huge).await.unwrap_err();
    assert!(FATAL.iter().all(|text| !refused.message().contains(text)), "{refused:?}");
    let update = UpdateClusterRequest {
        id: "pach-1".to_owned(),
        address: huge.clone(),
        ..UpdateClusterRequest::default()
    };
    client.update(update).await.unwrap_err();
    let refused = client.activate(&huge).await.unwrap_err();
    assert!(refused.message().len() < 4096, "the input is not echoed");
    assert_eq!(client.clusters().await.unwrap().len(), 1);
}

#[tokio::test]
async fn empty_requests_to_every_method_are_answered_and_harm_nothing() {
    let world = Replicas::start(1);
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    for path in methods() {
        let answer = raw(&client, path, &[0, 0, 0, 0, 0]).await;
        if let Err(status) = answer {
            assert!(!status.message().contains("panic"), "{path}: {status:?}");
            assert_ne!(status.code(), Code::Aborted, "{path}: {status:?}");
        }
    }
    client.version().await.unwrap();
}

#[tokio::test]
async fn bytes_that_are_no_message_are_refused_by_every_method() {
    let world = Replicas::start(1);
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    let bodies: [&[u8]; 5] = [
        // A string field that is not UTF-8.
        &[0, 0, 0, 0, 4, 0x0a, 2, 0xff, 0xfe],
        // A length that runs out of the message.
        &[0, 0, 0, 0, 3, 0x0a, 0x7f, 0x41],
        // An endless group.
        &[0, 0, 0, 0, 4, 0x0b, 0x0b, 0x0b, 0x0b],
        // A varint without an end.
        &[0, 0, 0, 0, 11, 0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255],
        // Compressed by nothing that was agreed.
        &[1, 0, 0, 0, 2, 0x0a, 0x00],
    ];
    // A request without fields ignores any field, so that one would be carried out.
    for path in methods().into_iter().filter(|path| !path.ends_with("/DeleteAll")) {
        for body in bodies {
            if let Err(status) = raw(&client, path, body).await {
                assert!(FATAL[..1].iter().all(|text| !status.message().contains(text)), "{path}");
                assert!(!status.message().contains("panic"), "{path}: {status:?}");
            }
        }
    }
    assert_eq!(client.license().await.unwrap().activation_code, code());
}

#[tokio::test]
async fn a_message_beyond_20_mib_is_refused_and_takes_no_memory() {
    let mut world = Replicas::start(1);
    let client = world.client(0);
    let huge = "x".repeat(21 * 1024 * 1024);
    let refused = client.activate(&huge).await.unwrap_err();
    assert!(
        matches!(
            refused.code(),
            Code::ResourceExhausted | Code::OutOfRange | Code::Unavailable | Code::Unknown
        ),
        "{:?}",
        refused.code()
    );
    // A frame that only says it has 1 GiB.
    let client = world.client(0);
    for path in methods() {
        raw(&client, path, &[0, 0x40, 0, 0, 0, 1, 2, 3]).await.unwrap_err();
    }
    let memory = memory_kib(world.process(0).id());
    assert!(memory < MEMORY_MAX_KIB, "{memory} KiB");
    world.client(0).version().await.unwrap();
}

#[tokio::test]
async fn an_unknown_method_or_service_is_unimplemented() {
    let world = Replicas::start(1);
    let client = world.client(0);
    for path in ["/license_v2.API/Nothing", "/license.API/Activate", "/x/y"] {
        let refused = raw(&client, path, &[0, 0, 0, 0, 0]).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented, "{path}");
        assert!(FATAL.iter().all(|text| !refused.message().contains(text)), "{refused:?}");
    }
}

#[tokio::test]
async fn a_heartbeat_with_nothing_in_it_is_refused() {
    let world = Replicas::start(1);
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    client.license.clone().heartbeat(HeartbeatRequest::default()).await.unwrap_err();
}

#[tokio::test]
async fn metadata_of_any_kind_is_survived() {
    let world = Replicas::start(1);
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    for (name, value) in [
        ("authn-token", ""),
        ("authn-token", "never issued"),
        ("muster-request-id", ""),
        ("muster-request-id", &"x".repeat(5000)),
        ("grpc-timeout", "99999999H"),
        ("grpc-timeout", "soon"),
    ] {
        let mut request = tonic::Request::new(muster_proto::license_v2::ListClustersRequest {});
        request.metadata_mut().insert(name, value.parse().unwrap());
        drop(client.license.clone().list_clusters(request).await);
    }
    client.clusters().await.unwrap();
}

/// Every unary method of the public wire, from the compiled descriptors.
fn methods() -> Vec<&'static str> {
    use prost::Message as _;
    let set = prost_types::FileDescriptorSet::decode(muster_proto::DESCRIPTORS).unwrap();
    let mut found = Vec::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let (package, service) = (file.package(), service.name());
                let path = format!("/{package}.{service}/{}", method.name());
                // Some strings for the length of one test run.
                found.push(&*Box::leak(path.into_boxed_str()));
            }
        }
    }
    assert!(found.len() > 50, "{found:?}");
    found
}

/// Posts a body as it is; the status of the answer.
async fn raw(client: &Client, path: &str, body: &[u8]) -> Result<(), Status> {
    let request = http::Request::builder()
        .method("POST")
        .uri(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(tonic::body::Body::new(Full::new(Bytes::copy_from_slice(body))))
        .unwrap();
    let mut channel = client.channel.clone();
    let lost = |error: tonic::transport::Error| Status::unavailable(error.to_string());
    poll_fn(|context| channel.poll_ready(context)).await.map_err(lost)?;
    let answer = channel.call(request).await.map_err(lost)?;
    let mut status = Status::from_header_map(answer.headers());
    if status.is_none() {
        let body = answer.into_body().collect().await?;
        status = body.trailers().and_then(Status::from_header_map);
    }
    let status = status.unwrap();
    if status.code() == Code::Ok { Ok(()) } else { Err(status) }
}

fn memory_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
