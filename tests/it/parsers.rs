//! Whatever reads bytes from outside gets thousands of damaged ones: an error is fine, a panic or a
//! wrong acceptance is not. Seeded, so that a failure repeats; `MUSTER_TEST_MUTATIONS` asks for more.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;

use bytes::Bytes;
use muster::activation::{TrustRoot, TrustRoots, redact};
use muster::config::{Config, Flags, Settings};
use muster_cluster::log::{FileLog, HardState, LogBatch, LogEntry, LogStore as _};
use muster_proto::muster::log::v1::Command;
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::support::authority::{Authority, FAR, code};
use crate::support::replicas::Replicas;

fn mutations(usual: u64) -> u64 {
    let asked = std::env::var("MUSTER_TEST_MUTATIONS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// One to eight random injuries: flips, cuts, insertions, repetitions.
fn injure(dice: &mut StdRng, whole: &[u8]) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..dice.random_range(1..=8) {
        let at = dice.random_range(0..=bytes.len());
        match dice.random_range(0..5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, dice.random()),
            2 if at < bytes.len() => bytes[at] ^= 1 << dice.random_range(0..8),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            _ => bytes.extend_from_within(..at.min(64)),
        }
    }
    bytes
}

#[test]
fn damaged_activation_codes_are_never_accepted() {
    let key = TrustRoot::from_pem("tests", &Authority::get().public_key()).unwrap();
    let roots = TrustRoots::new(vec![key]);
    let code = code();
    let genuine = roots.verify_even_if_expired(&code).unwrap();
    let mut dice = StdRng::seed_from_u64(1);
    for round in 0..mutations(3_000) {
        let bytes = injure(&mut dice, code.as_bytes());
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(accepted) = roots.verify_even_if_expired(&text) {
            assert_eq!(accepted.claims, genuine.claims, "round {round}: {text}");
        }
        drop(roots.inspect(&text));
        drop(redact(&text));
    }
}

#[test]
fn damaged_inner_layers_of_activation_codes_are_never_accepted() {
    let key = TrustRoot::from_pem("tests", &Authority::get().public_key()).unwrap();
    let roots = TrustRoots::new(vec![key]);
    let token = format!(r#"{{"expiry":"{FAR}","max_clusters":3,"customer":"Acme"}}"#);
    let mut dice = StdRng::seed_from_u64(2);
    for _ in 0..mutations(300) {
        // Signed by the authority, so that what follows the signature is reached.
        let bytes = injure(&mut dice, token.as_bytes());
        let code = Authority::get().code_over(&String::from_utf8_lossy(&bytes));
        drop(roots.verify_even_if_expired(&code));
        drop(roots.inspect(&code));
    }
}

#[test]
fn damaged_configuration_files_give_problems_not_panics() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("muster.toml");
    let whole = "data = \"d\"\nname = \"a\"\ngrpc-listen = \"127.0.0.1:1\"\ntick = \"100ms\"\n\
                 initial-cluster = [\"a=h:1\", \"b=h:2\"]\nsnapshot-bytes = 1\ninsecure = true\n";
    let mut dice = StdRng::seed_from_u64(3);
    for _ in 0..mutations(2_000) {
        fs::write(&file, injure(&mut dice, whole.as_bytes())).unwrap();
        let flags = Flags::from_pairs([("log-level", "info")]);
        let path = file.to_str().unwrap().to_owned();
        let variable = |name: &str| (name == "MUSTER_CONFIG").then(|| path.clone());
        let settings = Settings::join(&flags, &variable);
        drop(Config::check(&settings));
        drop(settings.print());
    }
}

#[test]
fn damaged_logs_are_refused_or_give_exactly_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let entries: Vec<LogEntry> = (1..=20)
        .map(|index| LogEntry {
            index,
            term: 1,
            kind: 0,
            data: Bytes::from(vec![u8::try_from(index).unwrap(); 300]),
            context: Bytes::from_static(b"context"),
        })
        .collect();
    let mut log = FileLog::open(&file).unwrap();
    let hard_state = HardState { term: 1, vote: 7, commit: 20 };
    log.write(&[LogBatch {
        entries: entries.clone(),
        hard_state: Some(hard_state),
        sync: true,
        ..LogBatch::default()
    }])
    .unwrap();
    drop(log);
    let whole = fs::read(&file).unwrap();
    // Behind it the space that waits for later entries.
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let mut dice = StdRng::seed_from_u64(4);
    for round in 0..mutations(60) {
        let mut bytes = whole.clone();
        let at = dice.random_range(0..=used);
        bytes[at] ^= 1 << dice.random_range(0..8);
        let copy = folder.path().join("copy");
        fs::write(&copy, &bytes).unwrap();
        fs::copy(file.with_extension("fence"), copy.with_extension("fence")).unwrap();
        let loaded = FileLog::open(&copy).and_then(|mut log| log.load());
        if let Ok(loaded) = loaded {
            assert_eq!(loaded.entries, entries, "round {round}: byte {at} passed in silence");
            assert_eq!(loaded.hard_state, hard_state, "round {round}: byte {at}");
        }
    }
}

#[test]
fn damaged_commands_decode_to_something_or_nothing() {
    let command = Command { request_id: "request".to_owned(), ..Command::default() };
    let whole = command.encode_to_vec();
    let mut dice = StdRng::seed_from_u64(5);
    for _ in 0..mutations(20_000) {
        drop(Command::decode(injure(&mut dice, &whole).as_slice()));
    }
}

#[tokio::test]
async fn garbage_on_every_port_harms_nobody() {
    let mut world = Replicas::start(3);
    world.client(0).activate(&code()).await.unwrap();
    let mut dice = StdRng::seed_from_u64(6);
    for round in 0..mutations(60) {
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
