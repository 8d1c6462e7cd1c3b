//! Garbage on every port of running replicas. What reads bytes is tried by itself in `tests/fuzz`.

use std::io::Write as _;
use std::net::TcpStream;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::support::authority::code;
use crate::support::replicas::Replicas;

/// Rounds of garbage.
const ROUNDS: u32 = 60;

#[tokio::test]
async fn garbage_on_every_port_harms_nobody() {
    let mut world = Replicas::start(3);
    world.client(0).activate(&code()).await.unwrap();
    let mut dice = StdRng::seed_from_u64(6);
    for round in 0..ROUNDS {
        for port in [world.replica(0).peer, world.replica(0).grpc, world.replica(0).ops] {
            let mut bytes = vec![0; dice.random_range(1..600)];
            dice.fill(bytes.as_mut_slice());
            if round % 3 == 0 {
                // A frame that announces far more than it brings.
                bytes.splice(..0, [0x7f, 0xff, 0xff, 0xff]);
            }
            if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
                // The other side may hang up before all is written.
                drop(stream.write_all(&bytes));
            }
        }
    }
    world.client(0).add("pach-1", "grpc://member:1").await.unwrap();
    for at in 0..3 {
        assert!(world.process(at).ended().is_none(), "{}", world.printed(at));
        assert_eq!(world.client(at).clusters().await.unwrap().len(), 1);
    }
}
