//! Ten thousand connections that send nothing.

use std::fs;
use std::net::TcpStream;

use crate::support::authority::code;
use crate::support::replicas::Replicas;

const AIM: usize = 10_000;

#[tokio::test]
async fn ten_thousand_silent_connections_do_not_keep_others_from_being_served() {
    let count = AIM.min(descriptors().saturating_sub(1000));
    if count < AIM {
        eprintln!("only {count} connections: the limit of open files is {}", descriptors());
    }
    let world = Replicas::start(1);
    let port = world.replica(0).grpc;
    let idle: Vec<TcpStream> = (0..count)
        .map(|at| {
            TcpStream::connect(("127.0.0.1", port)).unwrap_or_else(|e| panic!("number {at}: {e}"))
        })
        .collect();
    let client = world.client(0);
    client.activate(&code()).await.unwrap();
    client.add("pach-1", "grpc://member:1").await.unwrap();
    assert_eq!(client.clusters().await.unwrap().len(), 1);
    drop(idle);
    client.version().await.unwrap();
}

/// The soft limit of open files of this process, which its children inherit.
fn descriptors() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3));
    soft.and_then(|text| text.parse().ok()).unwrap_or(1024)
}
