//! Any interleaving of start, crash, disk loss and late answers, for three and five replicas.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::super::candidate::{Answer, Candidate, Refusal, Stage, Step};
use super::super::plan::{DiskMark, Misfit, Plan, PlanError, Promise, TokenDigest};
use crate::net::hello;
use crate::types::GroupId;

fn list(replicas: usize) -> Vec<(String, String)> {
    (0..replicas).map(|n| (format!("r{n}"), format!("r{n}:31659"))).collect()
}

fn plan(me: usize, replicas: usize) -> Plan {
    Plan::new(&format!("r{me}"), &list(replicas), TokenDigest::of("secret")).unwrap()
}

/// What survives a crash.
#[derive(Clone, Default)]
struct Disk {
    mark: Option<DiskMark>,
    promise: Option<Promise>,
    group: Option<GroupId>,
}

enum Process {
    Down,
    Asking(Candidate),
    Begun(GroupId),
    Refused(Refusal),
}

struct World {
    dice: ChaCha8Rng,
    disks: Vec<Disk>,
    processes: Vec<Process>,
    /// Rises with each start, so that an answer to an earlier process is not heard.
    starts: Vec<u64>,
    /// Answers on their way: to whom, for which start, of whom.
    answers: Vec<(usize, u64, usize, Answer)>,
    /// Disks lost, by replica.
    lost: BTreeSet<usize>,
    /// Every group that a replica ever began, with the disk it began on.
    begun: BTreeMap<(GroupId, usize), DiskMark>,
}

impl World {
    fn new(seed: u64, replicas: usize) -> World {
        World {
            dice: ChaCha8Rng::seed_from_u64(seed),
            disks: vec![Disk::default(); replicas],
            processes: (0..replicas).map(|_| Process::Down).collect(),
            starts: vec![0; replicas],
            answers: Vec::new(),
            lost: BTreeSet::new(),
            begun: BTreeMap::new(),
        }
    }

    fn start(&mut self, replica: usize) {
        self.starts[replica] += 1;
        let disk = &mut self.disks[replica];
        self.processes[replica] = if let Some(group) = disk.group {
            Process::Begun(group)
        } else {
            let mark = *disk.mark.get_or_insert_with(|| DiskMark(self.dice.random()));
            let plan = plan(replica, self.processes.len());
            Process::Asking(Candidate::new(plan, mark, disk.promise.clone()))
        };
    }

    /// `from` says where it stands; the answer is under way to `to`.
    fn ask(&mut self, to: usize, from: usize) {
        let answer = match &self.processes[from] {
            Process::Asking(candidate) => candidate.answer(),
            Process::Begun(group) => {
                Answer { name: format!("r{from}"), stage: Stage::Begun(*group) }
            }
            Process::Down | Process::Refused(_) => return,
        };
        let sent = hello::Answer::from(answer.clone());
        assert_eq!(Answer::try_from(sent).unwrap(), answer);
        if to != from {
            self.answers.push((to, self.starts[to], from, answer));
        }
    }

    fn deliver(&mut self, which: usize) {
        let (to, start, from, answer) = self.answers.swap_remove(which);
        let Process::Asking(candidate) = &mut self.processes[to] else { return };
        if start != self.starts[to] {
            return;
        }
        candidate.hear(&format!("r{from}"), answer);
        // A crash may come between any two of these steps: each is a turn of its own.
        match candidate.next() {
            Ok(Step::Wait) => {}
            Ok(Step::Promise(promise)) => {
                assert_eq!(self.disks[to].promise, None, "a second promise on one disk");
                self.disks[to].promise = Some(promise.clone());
                if self.dice.random_bool(0.2) {
                    self.processes[to] = Process::Down;
                } else {
                    candidate.promised(promise);
                }
            }
            Ok(Step::Begin(promise)) => {
                let group = promise.group();
                let mark = self.disks[to].mark.unwrap();
                self.disks[to].group = Some(group);
                self.processes[to] = Process::Begun(group);
                let before = self.begun.insert((group, to), mark);
                assert!(
                    before.is_none_or(|disk| disk == mark),
                    "a wiped disk came back under its old id"
                );
            }
            Err(refusal) => self.processes[to] = Process::Refused(refusal),
        }
    }

    fn turn(&mut self, may_lose: bool) {
        let replicas = self.processes.len();
        let replica = self.dice.random_range(0..replicas);
        match self.dice.random_range(0..100) {
            0..4 => self.processes[replica] = Process::Down,
            4..6 if may_lose
                && (self.lost.len() < replicas - 1 || self.lost.contains(&replica)) =>
            {
                self.processes[replica] = Process::Down;
                self.disks[replica] = Disk::default();
                self.lost.insert(replica);
            }
            6..20 => {
                if matches!(self.processes[replica], Process::Down | Process::Refused(_)) {
                    self.start(replica);
                }
            }
            20..60 => {
                let from = self.dice.random_range(0..replicas);
                self.ask(replica, from);
            }
            60..64 if !self.answers.is_empty() => {
                let which = self.dice.random_range(0..self.answers.len());
                self.answers.swap_remove(which);
            }
            _ if !self.answers.is_empty() => {
                let which = self.dice.random_range(0..self.answers.len());
                self.deliver(which);
            }
            _ => {}
        }
        let groups: BTreeSet<_> = self.begun.keys().map(|(group, _)| group).collect();
        assert!(groups.len() <= 1, "two groups began: {groups:?}");
    }

    /// Everybody is up, everything arrives.
    fn settle(&mut self) {
        let replicas = self.processes.len();
        self.answers.clear();
        for replica in 0..replicas {
            self.start(replica);
        }
        for _ in 0..4 {
            for to in 0..replicas {
                for from in 0..replicas {
                    self.ask(to, from);
                }
            }
            while !self.answers.is_empty() {
                self.deliver(0);
            }
        }
    }
}

#[test]
fn two_groups_never_begin_and_a_wiped_disk_never_comes_back() {
    let mut refused = 0;
    for seed in 0..600 {
        let replicas = *[3, 5].choose(&mut ChaCha8Rng::seed_from_u64(seed)).unwrap();
        let mut world = World::new(seed, replicas);
        for _ in 0..600 {
            world.turn(true);
        }
        world.settle();
        world.turn(true);
        for (replica, process) in world.processes.iter().enumerate() {
            let Process::Refused(_) = process else { continue };
            refused += 1;
            assert!(!world.lost.is_empty(), "{replica} refused though no disk was lost");
        }
    }
    assert!(refused > 0, "the seeds never came to a refusal");
}

#[test]
fn without_a_lost_disk_everybody_begins() {
    for seed in 0..200 {
        let replicas = *[3, 5].choose(&mut ChaCha8Rng::seed_from_u64(seed)).unwrap();
        let mut world = World::new(seed, replicas);
        for _ in 0..seed {
            world.turn(false);
        }
        for _ in 0..5 {
            world.settle();
        }
        let begun = |process: &Process| matches!(process, Process::Begun(_));
        assert!(world.processes.iter().all(begun), "seed {seed}");
    }
}

#[test]
fn a_wiped_replica_of_a_running_group_refuses() {
    let mut world = World::new(1, 3);
    while world.begun.len() < 3 {
        world.settle();
    }
    world.disks[1] = Disk::default();
    world.start(1);
    world.ask(1, 2);
    world.deliver(0);
    let refused = matches!(&world.processes[1], Process::Refused(Refusal::DiskLost { peer, .. }) if peer == "r2");
    assert!(refused);
}

#[test]
fn two_disks_lost_after_a_promise_do_not_pass_for_fresh_ones() {
    let mut world = World::new(1, 3);
    for replica in 0..3 {
        world.start(replica);
    }
    // r0 hears both and promises; then they lose their disks.
    world.ask(0, 1);
    world.ask(0, 2);
    world.deliver(0);
    world.deliver(0);
    assert!(world.disks[0].promise.is_some());
    world.disks[1] = Disk::default();
    world.disks[2] = Disk::default();
    world.settle();
    assert!(world.begun.is_empty());
    assert!(matches!(world.processes[1], Process::Refused(Refusal::OtherDisks { .. })));
}

#[test]
fn a_peer_of_another_configuration_is_waited_for() {
    let other_token = Plan::new("r1", &list(3), TokenDigest::of("other")).unwrap();
    let other_list = plan(1, 5);
    let strange_name = plan(2, 3);
    for (peer, complaint) in [
        (other_token, "r1 has another bootstrap token"),
        (other_list, "r1 has another list of initial members"),
        (strange_name, "r2 answers at r1:31659, the address of r1"),
    ] {
        let mut me = Candidate::new(plan(0, 3), DiskMark(0), None);
        me.hear("r2", Candidate::new(plan(2, 3), DiskMark(2), None).answer());
        me.hear("r1", Candidate::new(peer, DiskMark(1), None).answer());
        assert_eq!(me.next(), Ok(Step::Wait));
        assert_eq!(me.obstacles().collect::<Vec<_>>(), [complaint]);
    }
}

#[test]
fn a_replica_alone_begins_at_once() {
    let mut me = Candidate::new(plan(0, 1), DiskMark(0), None);
    let Ok(Step::Promise(promise)) = me.next() else { panic!("{:?}", me.next()) };
    me.promised(promise.clone());
    assert_eq!(me.next(), Ok(Step::Begin(promise)));
}

#[test]
fn a_changed_configuration_is_told_from_a_moved_replica() {
    let marks = (0..3).map(|n| (format!("r{n}"), DiskMark(n))).collect();
    let promise = Promise::new(TokenDigest::of("secret"), &marks);
    let moved = [("r0", "elsewhere:1"), ("r1", "r1:1"), ("r2", "r2:1")]
        .map(|(name, address)| (name.to_owned(), address.to_owned()));
    let moved = Plan::new("r0", &moved, TokenDigest::of("secret")).unwrap();
    assert_eq!(promise.check(&moved), Ok(()));
    let other_token = Plan::new("r0", &list(3), TokenDigest::of("other")).unwrap();
    assert_eq!(promise.check(&other_token), Err(Misfit::Token));
    let misfit = promise.check(&plan(0, 1)).unwrap_err();
    assert_eq!(
        misfit.to_string(),
        "the folder's group began with the members r0, r1, r2, the configuration names r0"
    );
}

#[test]
fn a_list_that_is_of_no_use_is_refused() {
    let token = TokenDigest::of("");
    let entry = |name: &str, address: &str| (name.to_owned(), address.to_owned());
    let refused = |me: &str, list: &[(String, String)]| Plan::new(me, list, token).unwrap_err();
    assert_eq!(refused("x", &list(3)), PlanError::NotListed("x".into()));
    let twice = [entry("a", "a:1"), entry("a", "b:1")];
    assert_eq!(refused("a", &twice), PlanError::NameTwice("a".into()));
    let same = [entry("a", "a:1"), entry("b", "a:1")];
    assert_eq!(refused("a", &same), PlanError::AddressTwice("a:1".into()));
    let strange = [entry("a b", "a:1")];
    assert_eq!(refused("a b", &strange), PlanError::BadName("a b".into()));
}
