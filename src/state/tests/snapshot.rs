use muster_proto::muster::log::v1::{Record, record};
use prost::Message as _;

use super::super::State;
use super::super::snapshot::LoadError;
use super::World;

fn busy() -> World {
    let mut world = World::default();
    for line in [
        "activate code=a expires=100 max=9",
        "configure id=x deployment=d as=internal",
        "add localhost grpc://localhost:1653 es secret=s",
        "activate-self localhost/s version=2.11.6",
        "at=4 add c1 grpc://c1:1650 user=u deployment=d1 secret=one request=r1",
        "at=5 update c1 secret=two",
        "at=6 beat c1/one version=2.10.1 auth=1 client=c1",
    ] {
        world.tell(line);
    }
    world
}

#[test]
fn records_give_the_state_back() {
    let world = busy();
    let again = State::from_records(world.state.records()).unwrap();
    assert_eq!(again.digest(), world.state.digest());
    let records = |state: &State| state.records().collect::<Vec<_>>();
    assert_eq!(records(&again), records(&world.state));
}

#[test]
fn an_empty_state_has_records_too() {
    let again = State::from_records(State::default().records()).unwrap();
    assert_eq!(again.digest(), State::default().digest());
}

#[test]
fn a_loaded_state_goes_on_like_the_one_it_came_from() {
    let mut one = busy();
    let mut other = busy();
    other.state = State::from_records(one.state.records()).unwrap();
    for line in [
        "beat c1/one c1/two version=3",
        "add c1 grpc://c1:1650 user=u deployment=d1 secret=one request=r1",
        "beat-self",
        "remove-all",
        "beat-self",
    ] {
        assert_eq!(one.tell(line), other.tell(line), "{line}");
    }
    assert_eq!(one.state.digest(), other.state.digest());
}

#[test]
fn records_stay_below_their_size() {
    let mut state = State::default();
    state.apply(&super::command("activate code=a expires=100"), 1, super::LogTime(0));
    for n in 0..3_000 {
        let line = format!(
            "add c{n:05} grpc://{} secret=s",
            "x".repeat(if n % 100 == 0 { 4_000 } else { 40 })
        );
        state.apply(&super::command(&line), 1, super::LogTime(0));
    }
    let sizes: Vec<_> = state.records().map(|it| it.encoded_len()).collect();
    assert!(sizes.iter().all(|size| *size < 512 * 1024), "{sizes:?}");
    assert!(sizes.len() < 8, "{sizes:?}");
    let again = State::from_records(state.records()).unwrap();
    assert_eq!(again.digest(), state.digest());
}

#[test]
fn what_is_not_a_whole_state_is_refused() {
    let records: Vec<Record> = busy().state.records().collect();
    let load = |records: Vec<Record>| State::from_records(records).unwrap_err();

    assert_eq!(load(Vec::new()), LoadError::SummaryMisplaced);
    assert_eq!(load(records[1..].to_vec()), LoadError::SummaryMisplaced);
    let mut twice = records.clone();
    twice.push(records[0].clone());
    assert_eq!(load(twice), LoadError::SummaryMisplaced);
    let mut cut = records.clone();
    cut.pop();
    assert_eq!(load(cut), LoadError::CountWrong { what: "audit records", expected: 5, found: 0 });
    let mut unknown = records.clone();
    unknown.push(Record { kind: None });
    assert_eq!(load(unknown), LoadError::KindUnknown);
    let mut mixed = records;
    for record in &mut mixed {
        if let Some(record::Kind::Clusters(it)) = &mut record.kind {
            it.clusters.reverse();
        }
    }
    assert_eq!(load(mixed), LoadError::OrderWrong("clusters"));
}

#[test]
fn a_record_keeps_its_bytes() {
    let record = busy()
        .state
        .records()
        .find(|record| matches!(record.kind, Some(record::Kind::Clusters(_))))
        .unwrap();
    expect_test::expect!["2ad0010a7e0a026331120e677270633a2f2f63313a313635301a0175220264313220fd6a7a3e91ee94db7956382a3575c52ad713feee661d61aff3f6def6681ad87d3a208522db5048c6b2849a3e4ae23e77ab7b7e2a8b57375b24d91d3a995079f850d140c0d6bf89cd11488092f40150809bee025a06322e31302e3160016a0263310a4e0a096c6f63616c686f73741215677270633a2f2f6c6f63616c686f73743a3136353328013220f37f369b4e3574a57f53194ad438b27a31ba0021220721a0b8282b66e36301a85a06322e31312e36"].assert_eq(&hex::encode(record.encode_to_vec()));
}
