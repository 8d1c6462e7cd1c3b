//! Seeded command sequences: whatever comes, the invariants hold and replicas agree.

use std::collections::BTreeMap;

use bytes::Bytes;
use muster_proto::muster::log::v1::{Caller, Command, Reply, caller::Who, command::Kind, reply};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::super::auth::principal::ROOT;
use super::super::{LogTime, State};
use super::{World, command};

const SEEDS: u64 = 20;
const LINES: usize = 600;

/// One script line from few ids, secrets and names, so that they meet.
fn line(dice: &mut StdRng) -> String {
    let id = format!("c{}", dice.random_range(0..6));
    let secret = format!("s{}", dice.random_range(0..3));
    let expires = dice.random_range(0..4_000);
    let max = dice.random_range(0..8);
    let request = match dice.random_range(0..3) {
        0 => format!("request=r{}", dice.random_range(0..9)),
        _ => String::new(),
    };
    let verbs = [
        format!("activate code=k{expires} expires={expires} {request}"),
        format!("activate code=k expires=4000 max={max} {request}"),
        format!("add {id} grpc://{id}:1650 secret={secret} {request}"),
        format!("add {id} grpc://{id}:1650 generated secret={secret} {request}"),
        format!("add {id} {request}"),
        format!("update {id} secret={secret} address=x {request}"),
        format!("update {id} {request}"),
        format!("delete {id} {request}"),
        format!("beat {id}/{secret} c1/s1 c2/s0 version={max}"),
        format!("beat {id}/{secret}"),
        format!("activate-self {id}/{secret} {request}"),
        format!("beat-self {request}"),
        format!("join {id}/{secret} sealed=x code=k expires={expires} {request}"),
        format!("answer {id}/{secret} code=k expires={expires}"),
        format!("answer {id}/{secret}"),
        format!("bootstrap {id} grpc://x code=k expires={expires} secret={secret} as=internal"),
        format!("configure id={id} deployment={secret} as=internal"),
        format!("calls {id} by=t{max} refusal={secret} peer=h{max}:{expires} as=internal"),
        format!("retain records={} as=internal", 20 * (max + 1)),
    ];
    match dice.random_range(0..60) {
        2..30 => auth_line(dice),
        0 => format!("remove-all {request}"),
        1 => format!("deactivate-self {request}"),
        _ => {
            let line = verbs.choose(dice).unwrap();
            if line.contains(" as=") { line.clone() } else { format!("{line} as=t0") }
        }
    }
}

/// The same of auth.
fn auth_line(dice: &mut StdRng) -> String {
    let token = format!("t{}", dice.random_range(0..6));
    let other = format!("t{}", dice.random_range(0..6));
    let name = ["robot:a", "robot:b", "user:a", "pach:root"].choose(dice).unwrap();
    let role = ["clusterAdmin", "debugger", "repoOwner", ""].choose(dice).unwrap();
    let number = dice.random_range(0..2_000);
    let verbs = [
        "auth-on t0".to_owned(),
        "auth-on t0".to_owned(),
        format!("robot a token={token} ttl={}", number % 50),
        format!("user user:a token={token} ttl={number} claim=g{}", number % 3),
        format!("user user:a token={token} ttl={number} login=l"),
        format!("revoke {token}"),
        format!("revoke-of {name} once={}", number % 3),
        format!("forget max={}", number % 3),
        format!("purge max={}", number % 3),
        format!("restore {name} token={token} expires={number}"),
        format!("rotate {token} once={}", number % 2),
        format!("bind {name} {role}"),
        format!("bind group:g1 {role}"),
        format!("bind {name} {role} project=p"),
        "create project=p".to_owned(),
        format!("groups {name} g1 group:g{}", number % 3),
        format!("members g{} add={name},user:b remove=user:b", number % 3),
        "login-start l".to_owned(),
        "login-sweep".to_owned(),
        format!("login-finish l {}", if number % 2 == 0 { "user:a" } else { "" }),
    ];
    let caller = match dice.random_range(0..3) {
        0 => "internal",
        1 => "t0",
        _ => other.as_str(),
    };
    match dice.random_range(0..40) {
        0 => "auth-off as=internal".to_owned(),
        _ => format!("{} as={caller}", verbs.choose(dice).unwrap()),
    }
}

fn script(seed: u64) -> Vec<(u64, Command)> {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut now = 0;
    (0..LINES)
        .map(|_| {
            now += dice.random_range(0..20);
            (now, command(&line(&mut dice)))
        })
        .collect()
}

/// The invariants are checked by [`World::apply`] after every command.
fn play(world: &mut World, script: &[(u64, Command)]) {
    for (now, command) in script {
        world.now = *now;
        world.apply(command);
    }
}

#[test]
fn invariants_hold_after_any_commands() {
    for seed in 0..SEEDS {
        play(&mut World::default(), &script(seed));
    }
}

#[test]
fn replicas_agree_whatever_their_snapshots_and_batches() {
    for seed in 0..SEEDS {
        let script = script(seed);
        let mut straight = World::default();
        play(&mut straight, &script);

        let mut dice = StdRng::seed_from_u64(!seed);
        let mut broken = World::default();
        let mut rest = script.as_slice();
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(dice.random_range(1..=rest.len().min(50)));
            play(&mut broken, batch);
            // A view is held while the next batch is applied, as when a snapshot is written.
            let view = broken.state.clone();
            broken.state = State::from_records(view.records()).unwrap();
            rest = after;
        }
        assert_eq!(straight.state.digest(), broken.state.digest(), "seed {seed}");
    }
}

#[test]
fn each_act_of_a_random_script_has_its_record_and_all_hold_together() {
    for seed in 0..SEEDS {
        let mut world = World::default();
        let mut before = 0;
        for (now, command) in script(seed) {
            world.now = now;
            let reply = world.apply(&command);
            let audit = world.state.audit();
            let of_this = audit.iter().rev().take_while(|it| it.index == world.index);
            let done = of_this.filter(|it| it.refusal.is_empty() && it.rpc == "DeleteCluster");
            let expected = matches!(command.kind, Some(Kind::DeleteCluster(_)))
                && matches!(reply.kind, Some(reply::Kind::Done(_)))
                && audit.last().sequence > before;
            assert_eq!(done.count(), usize::from(expected), "seed {seed}: {command:?}");
            before = audit.last().sequence;
        }
        let audit = world.state.audit();
        assert_eq!(super::audit::verified(&world.state), Ok(audit.last()), "seed {seed}");
        assert!(audit.last().sequence > 100, "seed {seed}");
    }
}

#[test]
fn a_held_view_does_not_change() {
    let script = script(7);
    let (before, after) = script.split_at(LINES / 2);
    let mut world = World::default();
    play(&mut world, before);
    let view = world.state.clone();
    let digest = view.digest();
    play(&mut world, after);
    assert_eq!(view.digest(), digest);
    assert_ne!(world.state.digest(), digest);
}

#[test]
fn heartbeats_split_over_commands_come_to_the_same() {
    let mut together = World::default();
    let mut apart = World::default();
    for world in [&mut together, &mut apart] {
        world.tell("activate code=a expires=100");
        world.tell("add c1 grpc://c1:1650 secret=s");
        world.tell("add c2 grpc://c2:1650 secret=s");
    }
    together.tell("at=9 beat c1/s c2/s c1/x version=2");
    for line in ["at=9 beat c1/s version=2", "beat c2/s version=2", "beat c1/x version=2"] {
        apart.tell(line);
    }
    let fleet = |world: &World| -> Vec<_> {
        let clusters = world.state.fleet().iter();
        clusters.map(|(id, it)| (id.to_owned(), it.clone())).collect()
    };
    assert_eq!(fleet(&together), fleet(&apart));
}

#[test]
fn most_random_commands_do_something() {
    let mut world = World::default();
    let mut done = 0;
    for (now, command) in script(3) {
        world.now = now;
        let is_beat = matches!(command.kind, Some(Kind::RecordHeartbeats(_)));
        if !super::shown(&world.apply(&command)).starts_with("no:") && !is_beat {
            done += 1;
        }
    }
    assert!(done > LINES / 4, "{done}");
}

/// The tokens that live according to what was answered: subject and last second, 0 = for ever.
#[derive(Default)]
struct Lives {
    alive: BTreeMap<Bytes, (String, u64)>,
}

impl Lives {
    fn follow(&mut self, command: &Command, reply: &Reply) {
        let reply = reply.kind.as_ref().unwrap();
        match (command.kind.as_ref().unwrap(), reply) {
            (_, reply::Kind::Rejected(_)) => {}
            (Kind::ActivateAuth(it), _) => self.begin(&it.root_token_digest, ROOT, 0),
            (Kind::DeactivateAuth(_), _) => self.alive.clear(),
            (Kind::IssueRobotToken(it), reply::Kind::TokenIssued(issued)) => {
                self.begin(&it.token_digest, &issued.subject, issued.expires_us);
            }
            (Kind::IssueUserToken(it), reply::Kind::TokenIssued(issued)) => {
                self.begin(&it.token_digest, &issued.subject, issued.expires_us);
            }
            (Kind::RestoreToken(it), _) => {
                self.begin(&it.token_digest, &it.subject, it.expires_us);
            }
            (Kind::RevokeToken(it), _) => {
                self.alive.remove(&it.token_digest);
            }
            (Kind::RevokeTokensOf(it), _) => {
                self.alive.retain(|_, (subject, _)| *subject != it.subject);
            }
            (Kind::RotateRootToken(it), _) => {
                self.alive.retain(|_, (subject, _)| subject != ROOT);
                self.begin(&it.token_digest, ROOT, 0);
            }
            _ => {}
        }
    }

    fn begin(&mut self, digest: &Bytes, subject: &str, expires_us: u64) {
        self.alive.insert(digest.clone(), (subject.to_owned(), expires_us));
    }
}

#[test]
fn no_revoked_or_expired_token_ever_serves_again() {
    let mut served = 0;
    for seed in 0..SEEDS {
        let mut world = World::default();
        let mut lives = Lives::default();
        for (now, command) in script(seed) {
            world.now = now;
            let reply = world.apply(&command);
            lives.follow(&command, &reply);
            for token in ["t0", "t1", "t2", "t3", "t4", "t5"] {
                let digest = super::token_digest(token);
                let caller = Caller { who: Some(Who::TokenDigest(digest.clone())) };
                let now = LogTime(now * 1_000_000);
                if let Ok(token) = world.state.token_of(Some(&caller), now) {
                    let (subject, expires) = &lives.alive[&digest];
                    assert_eq!(token.subject.as_ref(), subject, "seed {seed}: {command:?}");
                    assert!(*expires == 0 || now.0 <= *expires, "seed {seed}: {command:?}");
                    served += 1;
                }
            }
        }
    }
    assert!(served > 1_000, "{served}");
}
