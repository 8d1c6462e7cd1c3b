//! Ten thousand connections that send nothing.

use std::fs;
use std::net::TcpStream;
use std::thread;

use crate::support::authority::code;
use crate::support::replicas::Replicas;

const AIM: usize = 10_000;
const DIALLERS: usize = 20;

#[tokio::test]
async fn ten_thousand_silent_connections_do_not_keep_others_from_being_served() {
    let count = AIM.min(descriptors().saturating_sub(1000));
    if count < AIM {
        eprintln!("only {count} connections: the limit of open files is {}", descriptors());
    }
    let world = Replicas::start(1);
    let port = world.replica(0).grpc;
    // From several threads, since a full queue of new connections makes each wait for a second.
    let dial = || TcpStream::connect(("127.0.0.1", port)).unwrap();
    let idle: Vec<Vec<TcpStream>> = thread::scope(|scope| {
        let diallers: Vec<_> = (0..DIALLERS)
            .map(|_| scope.spawn(|| (0..count / DIALLERS).map(|_| dial()).collect()))
            .collect();
        diallers.into_iter().map(|dialler| dialler.join().unwrap()).collect()
    });
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
