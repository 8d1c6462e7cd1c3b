use expect_test::expect;

use super::super::limits;
use super::{World, check};

#[test]
fn a_named_request_is_done_once_however_often_asked() {
    check(
        "activate code=a expires=100
         add c1 grpc://c1:1650 secret=s request=r1
         add c1 grpc://c1:1650 secret=s request=r1
         add c1 grpc://c1:1650 secret=s
         delete c1
         add c1 grpc://c1:1650 secret=s request=r1
         show",
        &expect![[r#"
            activated until=100
            done
            done
            no: CLUSTER_ID_TAKEN c1
            done
            done
            license=ACTIVE gate=NONE
        "#]],
    );
}

#[test]
fn a_name_stands_for_one_request_of_one_caller() {
    check(
        "activate code=a expires=100
         add c1 grpc://c1:1650 secret=s request=r1
         add c2 grpc://c2:1650 secret=s request=r1
         configure id=x request=r1 as=internal",
        &expect![[r#"
            activated until=100
            done
            no: REQUEST_ID_TAKEN
            id="x" deployment=""
        "#]],
    );
}

#[test]
fn a_rejection_is_not_remembered() {
    check(
        "add c1 grpc://c1:1650 secret=s request=r1
         activate code=a expires=100
         add c1 grpc://c1:1650 secret=s request=r1",
        &expect![[r#"
            no: LICENSE_NOT_ACTIVE NONE
            activated until=100
            done
        "#]],
    );
}

#[test]
fn a_repeated_request_brings_a_new_generated_secret_and_both_serve() {
    check(
        "activate code=a expires=100
         add c1 grpc://c1:1650 secret=first generated request=r1
         at=1 add c1 grpc://c1:1650 secret=second generated request=r1
         beat c1/first version=1
         beat c1/second version=1
         beat c1/first version=1",
        &expect![[r#"
            activated until=100
            done
            done
            RECORDED license=Some("a")
            RECORDED license=Some("a")
            ID_OR_SECRET_INVALID license=Some("a")
        "#]],
    );
}

#[test]
fn a_repeated_request_leaves_a_cluster_alone_that_was_registered_anew() {
    check(
        "activate code=a expires=100
         add c1 grpc://c1:1650 secret=first generated request=r1
         at=1 delete c1
         add c1 grpc://c1:1650 secret=mine
         add c1 grpc://c1:1650 secret=second generated request=r1
         beat c1/second version=1
         beat c1/mine version=1",
        &expect![[r#"
            activated until=100
            done
            done
            done
            done
            ID_OR_SECRET_INVALID license=Some("a")
            RECORDED license=Some("a")
        "#]],
    );
}

#[test]
fn a_name_has_a_limit() {
    let mut world = World::default();
    let long = "r".repeat(limits::REQUEST_ID_BYTES_MAX + 1);
    assert_eq!(
        world.tell(&format!("delete c1 request={long}")),
        "no: FIELD_TOO_LONG request_id limit=128"
    );
}

#[test]
fn the_oldest_answers_go_first() {
    let mut world = World::default();
    for n in 0..=limits::ANSWERS_MAX {
        let line = format!("delete c request=r{n}");
        world.state.apply(&super::command(&line), 1, super::LogTime(0));
    }
    assert_eq!(world.state.answers.len(), limits::ANSWERS_MAX);
    world.now = limits::ANSWER_SECONDS_MAX + 1;
    world.tell("delete c request=later");
    assert_eq!(world.state.answers.len(), 1);
}
