use expect_test::expect;

use super::super::State;
use super::{World, check};

#[test]
fn the_gate_goes_by_the_license_of_the_other_server_and_not_by_the_own_fleets() {
    check(
        "join es/s sealed=x code=theirs expires=100
         show
         activate code=ours expires=9
         at=10 show
         at=101 show
         answer es/s code=theirs-2 expires=300
         show
         deactivate-self
         show",
        &expect![[r#"
            done
            license=NONE gate=ACTIVE
            activated until=9
            license=EXPIRED gate=ACTIVE
            license=EXPIRED gate=EXPIRED
            ACTIVE
            license=EXPIRED gate=ACTIVE
            done
            license=EXPIRED gate=NONE
        "#]],
    );
}

#[test]
fn a_refusal_closes_the_gate_and_the_next_answer_opens_it() {
    check(
        "join es/s sealed=x code=a expires=100
         answer es/s
         show
         activate code=ours expires=900
         show
         answer es/s code=b expires=300
         show",
        &expect![[r#"
            done
            HEARTBEAT_FAILED
            license=NONE gate=HEARTBEAT_FAILED
            activated until=900
            license=ACTIVE gate=HEARTBEAT_FAILED
            ACTIVE
            license=ACTIVE gate=ACTIVE
        "#]],
    );
}

#[test]
fn an_answer_for_another_tie_says_nothing() {
    check(
        "answer es/s
         join es/s sealed=x code=a expires=100
         answer es/old
         answer other/s code=b expires=5
         show
         activate code=ours expires=100
         add localhost grpc://localhost:1653 es secret=s
         activate-self localhost/s
         answer localhost/s
         show",
        &expect![[r#"
            NONE
            done
            ACTIVE
            ACTIVE
            license=NONE gate=ACTIVE
            activated until=100
            done
            done
            ACTIVE
            license=ACTIVE gate=ACTIVE
              localhost at grpc://localhost:1653 for "" deployment="" version= auth=false client="" created=0 beat=0 es
        "#]],
    );
}

#[test]
fn a_heartbeat_to_itself_says_nothing_once_the_server_is_tied_elsewhere() {
    check(
        "join es/s sealed=x code=a expires=100
         beat-self
         show",
        &expect![[r#"
            done
            ACTIVE
            license=NONE gate=ACTIVE
        "#]],
    );
}

#[test]
fn a_cluster_of_the_own_fleet_that_is_called_as_the_server_elsewhere_counts_like_any_other() {
    check(
        "join es/s sealed=x code=a expires=100
         activate code=ours expires=100 max=1
         add es grpc://es:1650 secret=t
         add c1 grpc://c1:1650 secret=t",
        &expect![[r#"
            done
            activated until=100
            done
            no: LICENSED_CLUSTERS_EXHAUSTED limit=1
        "#]],
    );
}

#[test]
fn a_tie_without_its_parts_is_refused() {
    check(
        "join es/s code=a expires=100
         join /s sealed=x code=a expires=100
         join es/s sealed=x code=a
         answer /s
         show",
        &expect![[r#"
            no: COMMAND_INCOMPLETE secret_sealed
            no: CLUSTER_ID_EMPTY
            no: COMMAND_INCOMPLETE expires
            no: CLUSTER_ID_EMPTY
            license=NONE gate=NONE
        "#]],
    );
}

#[test]
fn a_tie_survives_a_snapshot() {
    let mut world = World::default();
    world.tell("join es/s sealed=x code=a expires=100");
    let again = State::from_records(world.state.records()).unwrap();
    assert_eq!(again.enterprise().membership(), world.state.enterprise().membership());
    assert!(again.enterprise().membership().unwrap().is_elsewhere());
    assert_eq!(again.digest(), world.state.digest());
}
