//! The record's rules without a group around them.

use super::*;
use crate::types::{Member, RequestId};

fn member(id: u64) -> Member {
    Member { id: ReplicaId(id), name: format!("r{id}"), address: format!("r{id}:1") }
}

fn digest(token: &str) -> JoinDigest {
    JoinDigest::of(token)
}

/// A record, its configuration, and where in the log it is.
struct Book {
    record: GroupRecord,
    conf: Conf,
    index: u64,
}

impl Book {
    fn new(founders: u64) -> Self {
        let founders: Vec<Member> = (1..=founders).map(member).collect();
        let conf = Conf::of_voters(founders.iter().map(|founder| founder.id));
        Self { record: GroupRecord::of_settings(founders.clone(), &founders), conf, index: 1 }
    }

    fn place(&mut self) -> Place {
        self.index += 1;
        Place { index: self.index, time: Timestamp(1_000 * self.index) }
    }

    fn ask(&mut self, request: Option<RequestId>, command: Command) -> Outcome {
        let place = self.place();
        let wish = Wish { founders: self.record.founders.clone(), command };
        let wish = Wish::decode(&wish.encode()).unwrap();
        let outcome = self.record.apply(place, request, wish, &self.conf);
        assert_eq!(Outcome::decode(&outcome.encode()), outcome);
        outcome
    }

    fn wish(&mut self, command: Command) -> Outcome {
        self.ask(None, command)
    }

    fn refusal(&mut self, command: Command) -> Refusal {
        match self.wish(command) {
            Outcome::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        }
    }

    fn admit(&mut self, token: &str, name: &str, address: &str) -> Outcome {
        let (name, address) = (name.to_owned(), address.to_owned());
        self.wish(Command::Admit { digest: digest(token), name, address, zone: String::new() })
    }

    fn add(&mut self, id: u64) {
        let Member { id, name, address } = member(id);
        let (zone, standby) = (String::new(), false);
        let add = Command::Add { id: Some(id), name, address, zone, standby };
        assert_eq!(self.wish(add), Outcome::Admitted { replica: id });
        self.steps();
    }

    /// Takes every step that is due; tells how many there were.
    fn steps(&mut self) -> usize {
        let mut count = 0;
        while let Some(step) = self.record.next_step(&self.conf) {
            let place = self.place();
            self.conf = self.record.apply_step(place, &step, &self.conf).unwrap();
            count += 1;
        }
        let stored = StoredConf { conf: self.conf.clone(), record: Some(self.record.clone()) };
        assert_eq!(StoredConf::decode(&stored.encode()).unwrap(), stored);
        count
    }

    fn voters(&self) -> Vec<u64> {
        self.conf.voters.iter().map(|id| id.0).collect()
    }
}

fn ids(ids: &[u64]) -> Vec<ReplicaId> {
    ids.iter().copied().map(ReplicaId).collect()
}

fn promote(wanted: &[u64]) -> Command {
    Command::Promote { ids: ids(wanted), force: false }
}

fn remove(unwanted: &[u64]) -> Command {
    Command::Remove { ids: ids(unwanted), force: false }
}

#[test]
fn what_was_stored_before_there_was_a_record_says_who_votes() {
    let mut raft =
        raft::eraftpb::ConfState { voters: vec![3, 1, 2], ..raft::eraftpb::ConfState::default() };
    let bytes = protobuf::Message::write_to_bytes(&raft).unwrap();
    let stored = StoredConf::decode(&bytes).unwrap();
    assert_eq!(stored, StoredConf { conf: Conf::of_voters(ids(&[1, 2, 3])), record: None });
    raft.voters.sort_unstable();
    let sorted = protobuf::Message::write_to_bytes(&raft).unwrap();
    assert_eq!(stored.encode(), sorted, "and is stored as before");
}

#[test]
fn the_first_wish_puts_the_founders_into_the_log() {
    let mut book = Book::new(3);
    // Somewhere the settings name other addresses of today.
    for founder in &mut book.record.founders {
        founder.address = "elsewhere:1".to_owned();
    }
    assert_eq!(book.wish(Command::SetTarget { voters: 5 }), Outcome::Done);
    assert_eq!((book.record.revision, book.record.target), (2, 5));
    assert!(book.record.members.values().all(|record| record.member.address == "elsewhere:1"));
    assert_eq!(book.record.voters().count(), 3);
}

#[test]
fn a_token_lets_one_replica_in_until_it_expires() {
    let mut book = Book::new(1);
    let mint = |token, ttl_us| Command::MintToken { digest: digest(token), ttl_us };
    assert_eq!(book.admit("a", "x", "x:1"), Outcome::Refused(Refusal::TokenUnknown));
    assert_eq!(book.wish(mint("a", 50_000)), Outcome::Minted { expires: Timestamp(53_000) });
    let admitted = book.admit("a", "x", "x:1");
    assert!(matches!(admitted, Outcome::Admitted { .. }));
    assert_eq!(book.admit("a", "x", "x:1"), admitted, "its answer was lost");
    assert_eq!(book.admit("a", "y", "y:1"), Outcome::Refused(Refusal::TokenUsed));
    book.wish(mint("b", 500));
    assert_eq!(book.admit("b", "y", "y:1"), Outcome::Refused(Refusal::TokenExpired));
    assert_eq!(format!("{:?}", digest("a")), "JoinDigest", "nothing of it in logs");
}

#[test]
fn the_number_of_tokens_is_bounded_and_expired_ones_make_room() {
    let mut book = Book::new(1);
    for number in 0..MAX_TOKENS {
        let digest = digest(&number.to_string());
        book.wish(Command::MintToken { digest, ttl_us: 10_000_000 });
    }
    let more = || Command::MintToken { digest: digest("more"), ttl_us: 1 };
    assert!(matches!(book.refusal(more()), Refusal::TooMany { .. }));
    book.index += 20_000;
    assert!(matches!(book.wish(more()), Outcome::Minted { .. }));
}

#[test]
fn names_and_addresses_are_held_to_their_form_and_to_one_member() {
    let mut book = Book::new(2);
    let add = |name: &str, address: &str| Command::Add {
        id: None,
        name: name.to_owned(),
        address: address.to_owned(),
        zone: String::new(),
        standby: false,
    };
    for (name, address) in [("", "h:1"), ("a b", "h:1"), ("x", "h"), ("x", "h:0"), ("x", ":1")] {
        assert!(
            matches!(book.refusal(add(name, address)), Refusal::BadText(_)),
            "{name} {address}"
        );
    }
    assert_eq!(book.refusal(add("x", "r2:1")), Refusal::AddressTaken("r2:1".to_owned()));
    // The same name is a machine whose disk was lost.
    let Outcome::Admitted { replica } = book.wish(add("r2", "r2:1")) else { panic!() };
    assert_eq!(book.record.members[&replica].replaces, Some(ReplicaId(2)));
    assert_eq!(book.refusal(add("r2", "r2:2")), Refusal::NameTaken("r2".to_owned()));
}

#[test]
fn who_bears_the_name_of_a_voter_takes_no_other_place() {
    let mut book = Book::new(3);
    book.add(4);
    let (name, address, zone) = ("r3".to_owned(), "r5:1".to_owned(), String::new());
    let id = Some(ReplicaId(5));
    book.wish(Command::Add { id, name, address, zone, standby: true });
    book.steps();
    let (old, new) = (ReplicaId(3), ReplicaId(5));
    let stands_for = Refusal::StandsFor { new, old };
    let promote = |force| Command::Promote { ids: ids(&[4, 5]), force };
    assert_eq!(book.refusal(promote(false)), stands_for);
    let other = Command::Replace { old: ReplicaId(1), new, force: false };
    assert_eq!(book.refusal(other), stands_for);
    book.wish(Command::Replace { old, new, force: false });
    book.steps();
    assert_eq!(book.voters(), [1, 2, 5]);
    let back = Command::Replace { old: new, new: ReplicaId(4), force: false };
    assert!(
        matches!(book.wish(back), Outcome::Begun { .. }),
        "once it is gone nothing is left of it"
    );
}

#[test]
fn a_command_that_comes_twice_is_done_once() {
    let mut book = Book::new(1);
    let request = RequestId { replica: ReplicaId(1), incarnation: 1, sequence: 9 };
    let add = || Command::Add {
        id: None,
        name: "x".to_owned(),
        address: "x:1".to_owned(),
        zone: String::new(),
        standby: false,
    };
    let first = book.ask(Some(request), add());
    assert_eq!(book.ask(Some(request), add()), first);
    assert_eq!(book.record.members.len(), 2);
    for sequence in 10..200 {
        book.ask(Some(RequestId { sequence, ..request }), Command::SetTarget { voters: 3 });
    }
    assert_eq!(book.record.answers.len(), MAX_REMEMBERED);
}

#[test]
fn one_to_five_and_back_in_odd_steps() {
    let mut book = Book::new(1);
    for id in 2..=5 {
        book.add(id);
    }
    assert_eq!(book.refusal(promote(&[2])), Refusal::Even(2));
    assert!(matches!(book.wish(promote(&[2, 3])), Outcome::Begun { .. }));
    assert_eq!(book.refusal(remove(&[4])), Refusal::Busy(book.record.change.clone().unwrap().id));
    assert_eq!(book.steps(), 2, "in and out of a joint configuration");
    assert_eq!(book.voters(), [1, 2, 3]);
    book.wish(promote(&[4, 5]));
    book.steps();
    assert_eq!(book.refusal(promote(&[5])), Refusal::AlreadyVoter(ReplicaId(5)));
    book.wish(remove(&[1, 2]));
    book.steps();
    assert_eq!(book.voters(), [3, 4, 5]);
    assert_eq!(book.refusal(remove(&[1])), Refusal::Removed(ReplicaId(1)));
    assert_eq!(book.refusal(remove(&[9])), Refusal::Unknown(ReplicaId(9)));
    assert_eq!(book.refusal(remove(&[3])), Refusal::Even(2));
    assert_eq!(book.refusal(remove(&[3, 3])), Refusal::BadIds);
    book.wish(remove(&[3, 4]));
    book.steps();
    assert_eq!(book.voters(), [5]);
    assert_eq!(book.refusal(remove(&[5])), Refusal::LastVoter);
    assert_eq!(book.record.tombstones.len(), 4);
    let back = Command::Add {
        id: Some(ReplicaId(3)),
        name: "r3".to_owned(),
        address: "r3:1".to_owned(),
        zone: String::new(),
        standby: false,
    };
    assert_eq!(book.refusal(back), Refusal::IdTaken(ReplicaId(3)));
}

#[test]
fn a_replacement_is_joint_in_one_zone_and_in_turn_across_zones() {
    for (zone, steps) in [("", vec![3, 2]), ("other", vec![4])] {
        let mut book = Book::new(3);
        book.add(4);
        book.record.members.get_mut(&ReplicaId(4)).unwrap().zone = zone.to_owned();
        let (old, new) = (ReplicaId(1), ReplicaId(4));
        book.wish(Command::Replace { old, new, force: false });
        let step = book.record.next_step(&book.conf).unwrap();
        assert_eq!(step.after(&book.conf).voters.len(), steps[0]);
        book.steps();
        assert_eq!(book.voters(), [2, 3, 4]);
        assert!(book.record.tombstones.contains_key(&old));
    }
}

#[test]
fn a_change_can_be_given_up_until_two_configurations_hold() {
    let mut book = Book::new(3);
    book.add(4);
    let begun = book.wish(Command::Replace { old: ReplicaId(1), new: ReplicaId(4), force: false });
    let Outcome::Begun { change } = begun else { panic!() };
    let stale = book.record.next_step(&book.conf).unwrap();
    assert_eq!(book.wish(given_up(change, true)), Outcome::Done);
    let ending = book.record.ending(change).unwrap();
    assert_eq!(ending.refused, Some(Refusal::GivenUp));
    let place = book.place();
    assert_eq!(book.record.apply_step(place, &stale, &book.conf), None, "it came too late");

    let begun = book.wish(Command::Replace { old: ReplicaId(1), new: ReplicaId(4), force: false });
    let Outcome::Begun { change } = begun else { panic!() };
    let place = book.place();
    let step = book.record.next_step(&book.conf).unwrap();
    book.conf = book.record.apply_step(place, &step, &book.conf).unwrap();
    assert_eq!(book.refusal(given_up(change, false)), Refusal::TooFar(change));
    book.steps();
    assert_eq!(book.refusal(given_up(change, false)), Refusal::NoSuchChange(change));
}

fn given_up(change: u64, only_whole: bool) -> Command {
    Command::Abandon { change, why: Refusal::GivenUp, only_whole }
}

/// It has ended by then: made an observer again, it would be one that never comes.
#[test]
fn who_was_removed_before_a_change_was_given_up_stays_removed() {
    let mut book = Book::new(3);
    book.add(4);
    book.add(5);
    book.steps();
    let begun = book.wish(Command::Remove { ids: ids(&[4, 5]), force: false });
    let Outcome::Begun { change } = begun else { panic!() };
    let place = book.place();
    let step = book.record.next_step(&book.conf).unwrap();
    book.conf = book.record.apply_step(place, &step, &book.conf).unwrap();
    assert_eq!(book.wish(given_up(change, false)), Outcome::Done);
    assert_eq!(book.record.next_step(&book.conf), None);
    let (gone, left) = (ReplicaId(4), ReplicaId(5));
    assert!(book.record.tombstones.contains_key(&gone) && !book.conf.contains(gone));
    assert!(book.record.members.contains_key(&left) && book.conf.contains(left));
}

#[test]
fn a_change_is_left_half_done_only_by_force() {
    let mut book = Book::new(3);
    book.add(4);
    book.record.members.get_mut(&ReplicaId(4)).unwrap().zone = "other".to_owned();
    let begun = book.wish(Command::Replace { old: ReplicaId(1), new: ReplicaId(4), force: false });
    let Outcome::Begun { change } = begun else { panic!() };
    assert!(!book.record.is_half_done(&book.conf));
    let place = book.place();
    let step = book.record.next_step(&book.conf).unwrap();
    book.conf = book.record.apply_step(place, &step, &book.conf).unwrap();
    assert!(book.record.is_half_done(&book.conf));
    assert_eq!(book.refusal(given_up(change, true)), Refusal::HalfDone(change));
    assert_eq!(book.wish(given_up(change, false)), Outcome::Done);
    book.steps();
    assert_eq!(book.voters(), [1, 2, 3, 4], "nobody is lost by it");
    book.wish(Command::Remove { ids: ids(&[1]), force: false });
    book.steps();
    assert_eq!(book.voters(), [2, 3, 4]);
}

#[test]
fn an_admission_survives_its_bytes() {
    let mut book = Book::new(3);
    book.add(4);
    let admission = book.record.admission(GroupId(77), ReplicaId(4)).unwrap();
    assert_eq!((admission.founders.len(), admission.members.len()), (3, 4));
    assert_eq!(Admission::decode(&admission.encode()).unwrap(), admission);
    assert_eq!(book.record.admission(GroupId(77), ReplicaId(5)), None);
}

#[test]
fn quorums_of_two_configurations_need_both() {
    let mut conf = Conf::of_voters(ids(&[1, 2, 3]));
    let fit = |good: &[u64]| {
        let good = ids(good);
        move |id: ReplicaId| good.contains(&id)
    };
    assert!(conf.is_quorum(fit(&[1, 2])));
    conf.outgoing = ids(&[3, 4, 5]).into_iter().collect();
    assert!(!conf.is_quorum(fit(&[1, 2])));
    assert!(conf.is_quorum(fit(&[1, 3, 4])));
}
