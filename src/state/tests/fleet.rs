use expect_test::expect;

use muster_proto::muster::log::v1::{BeatOutcome, command::Kind};

use super::super::license::Licensing;
use super::super::{LogTime, fleet, limits};
use super::{World, check, command, shown};

#[test]
fn clusters_are_added_changed_and_removed_and_listed_by_id() {
    check(
        "activate code=a expires=100
         at=7 add b grpc://b:1650 user=b.example deployment=d-b secret=s
         at=8 add a grpc://a:1650 secret=s es
         show
         update a address=just.text user=a.example deployment=d-a
         show
         delete a
         delete a
         show",
        &expect![[r#"
            activated until=100
            done
            done
            license=ACTIVE gate=NONE
              a at grpc://a:1650 for "" deployment="" version=unknown auth=false client="" created=8 beat=0 es
              b at grpc://b:1650 for "b.example" deployment="d-b" version=unknown auth=false client="" created=7 beat=0
            done
            license=ACTIVE gate=NONE
              a at just.text for "a.example" deployment="d-a" version=unknown auth=false client="" created=8 beat=0 es
              b at grpc://b:1650 for "b.example" deployment="d-b" version=unknown auth=false client="" created=7 beat=0
            done
            done
            license=ACTIVE gate=NONE
              b at grpc://b:1650 for "b.example" deployment="d-b" version=unknown auth=false client="" created=7 beat=0
        "#]],
    );
}

#[test]
fn a_cluster_needs_a_license_in_force_before_all_else() {
    check(
        "add c1 grpc://c1:1650 secret=s
         add
         activate code=a expires=100
         at=100 add c1 grpc://c1:1650 secret=s
         at=101 add c2 grpc://c2:1650 secret=s",
        &expect![[r#"
            no: LICENSE_NOT_ACTIVE NONE
            no: LICENSE_NOT_ACTIVE NONE
            activated until=100
            done
            no: LICENSE_NOT_ACTIVE EXPIRED
        "#]],
    );
}

#[test]
fn a_registration_names_an_id_and_an_address() {
    check(
        "activate code=a expires=100
         add
         add c1 secret=s
         add c1 grpc://c1:1650
         add c1 grpc://c1:1650 secret=s
         add c1 grpc://elsewhere:1650 secret=t
         show",
        &expect![[r#"
            activated until=100
            no: CLUSTER_ID_EMPTY
            no: CLUSTER_ADDRESS_EMPTY
            no: COMMAND_INCOMPLETE secret_digest
            done
            no: CLUSTER_ID_TAKEN c1
            license=ACTIVE gate=NONE
              c1 at grpc://c1:1650 for "" deployment="" version=unknown auth=false client="" created=0 beat=0
        "#]],
    );
}

#[test]
fn an_update_needs_a_field_and_a_known_id() {
    check(
        "activate code=a expires=100
         add c1 grpc://c1:1650 secret=s
         update c1
         update c2 address=x
         show",
        &expect![[r#"
            activated until=100
            done
            no: CLUSTER_FIELDS_EMPTY
            no: CLUSTER_UNKNOWN c2
            license=ACTIVE gate=NONE
              c1 at grpc://c1:1650 for "" deployment="" version=unknown auth=false client="" created=0 beat=0
        "#]],
    );
}

#[test]
fn texts_are_data_and_keep_their_limits() {
    let mut world = World::default();
    world.tell("activate code=a expires=100");
    let mut add = |change: &dyn Fn(&mut super::AddCluster)| {
        let mut command = command("add c1 grpc://c1:1650 secret=s");
        if let Some(Kind::AddCluster(add)) = &mut command.kind {
            change(add);
        }
        shown(&world.apply(&command))
    };
    assert_eq!(
        add(&|it| it.id = "x".repeat(limits::TEXT_BYTES_MAX + 1)),
        "no: FIELD_TOO_LONG id limit=4096"
    );
    assert_eq!(add(&|it| it.id = "a\nb".to_owned()), "no: FIELD_HAS_CONTROL_CHARACTERS id");
    assert_eq!(
        add(&|it| it.user_address = "\u{0}".to_owned()),
        "no: FIELD_HAS_CONTROL_CHARACTERS user_address"
    );
    assert_eq!(
        add(&|it| it.secret_digest = vec![1; 31].into()),
        "no: COMMAND_INCOMPLETE secret_digest"
    );
    assert_eq!(add(&|it| it.id = "x".repeat(limits::TEXT_BYTES_MAX)), "done");
    assert_eq!(add(&|it| it.id = "'; DROP TABLE clusters; --".to_owned()), "done");
}

#[test]
fn a_license_may_bound_the_clusters_without_counting_the_own_record() {
    check(
        "activate code=a expires=100 max=2
         add localhost grpc://localhost:1653 es secret=s
         activate-self localhost/s
         add c1 grpc://c1:1650 secret=s
         add c2 grpc://c2:1650 secret=s
         add c3 grpc://c3:1650 secret=s
         add c2 grpc://c2:1650 secret=s
         delete c1
         add c3 grpc://c3:1650 secret=s
         activate code=b expires=100 max=1
         beat c2/s c3/s version=2.11.6
         activate code=c expires=100
         add c4 grpc://c4:1650 secret=s",
        &expect![[r#"
            activated until=100
            done
            done
            done
            done
            no: LICENSED_CLUSTERS_EXHAUSTED limit=2
            no: CLUSTER_ID_TAKEN c2
            done
            done
            activated until=100
            RECORDED RECORDED license=Some("b")
            activated until=100
            done
        "#]],
    );
}

#[test]
fn a_beat_stores_what_it_tells_and_brings_back_the_license_of_its_entry() {
    check(
        "activate code=a expires=100
         add c1 grpc://c1:1650 secret=s
         at=20 beat c1/s version=2.11.6 auth=1 client=c1
         show
         at=30 beat c1/s version=2.10.0
         activate code=b expires=25
         at=40 beat c1/s version=2.10.0
         show",
        &expect![[r#"
            activated until=100
            done
            RECORDED license=Some("a")
            license=ACTIVE gate=NONE
              c1 at grpc://c1:1650 for "" deployment="" version=2.11.6 auth=true client="c1" created=0 beat=20
            RECORDED license=Some("a")
            activated until=25
            RECORDED license=Some("b")
            license=EXPIRED gate=NONE
              c1 at grpc://c1:1650 for "" deployment="" version=2.10.0 auth=false client="" created=0 beat=40
        "#]],
    );
}

#[test]
fn beats_of_one_entry_are_judged_one_by_one() {
    check(
        "activate code=a expires=100
         add c1 grpc://c1:1650 secret=s
         add c2 grpc://c2:1650 secret=s
         at=5 beat c1/s c2/wrong c3/s c2/s version=2.11.6
         show",
        &expect![[r#"
            activated until=100
            done
            done
            RECORDED ID_OR_SECRET_INVALID ID_OR_SECRET_INVALID RECORDED license=Some("a")
            license=ACTIVE gate=NONE
              c1 at grpc://c1:1650 for "" deployment="" version=2.11.6 auth=false client="" created=0 beat=5
              c2 at grpc://c2:1650 for "" deployment="" version=2.11.6 auth=false client="" created=0 beat=5
        "#]],
    );
}

#[test]
fn a_beat_without_a_pair_changes_nothing() {
    check(
        "activate code=a expires=100
         add c1 grpc://c1:1650 secret=s
         beat c2/s
         beat c1/wrong
         remove-all
         beat c1/s
         show",
        &expect![[r#"
            activated until=100
            done
            ID_OR_SECRET_INVALID license=Some("a")
            ID_OR_SECRET_INVALID license=Some("a")
            done
            ID_OR_SECRET_INVALID license=None
            license=NONE gate=NONE
        "#]],
    );
}

#[test]
fn a_changed_secret_leaves_the_old_one_good_until_the_new_one_is_used() {
    check(
        "activate code=a expires=9000000
         add c1 grpc://c1:1650 secret=one
         at=10 update c1 secret=two
         at=11 beat c1/one version=1
         at=12 beat c1/two version=1
         at=13 beat c1/one version=1",
        &expect![[r#"
            activated until=9000000
            done
            done
            RECORDED license=Some("a")
            RECORDED license=Some("a")
            ID_OR_SECRET_INVALID license=Some("a")
        "#]],
    );
}

#[test]
fn a_changed_secret_leaves_the_old_one_good_for_a_week_at_most() {
    let week = limits::PREVIOUS_SECRET_SECONDS_MAX;
    check(
        &format!(
            "activate code=a expires=9000000
             add c1 grpc://c1:1650 secret=one
             at=0 update c1 secret=two
             at={week} beat c1/one version=1
             at={} beat c1/one version=1",
            week + 1
        ),
        &expect![[r#"
            activated until=9000000
            done
            done
            RECORDED license=Some("a")
            ID_OR_SECRET_INVALID license=Some("a")
        "#]],
    );
}

#[test]
fn changing_a_secret_twice_ends_the_first_at_once() {
    check(
        "activate code=a expires=100
         add c1 grpc://c1:1650 secret=one
         update c1 secret=two
         update c1 secret=three
         beat c1/one version=1
         beat c1/two version=1",
        &expect![[r#"
            activated until=100
            done
            done
            done
            ID_OR_SECRET_INVALID license=Some("a")
            RECORDED license=Some("a")
        "#]],
    );
}

#[test]
fn one_command_carries_a_bounded_number_of_beats() {
    let mut world = World::default();
    let mut command = command("beat c1/s");
    if let Some(Kind::RecordHeartbeats(it)) = &mut command.kind {
        it.beats = vec![it.beats[0].clone(); limits::BEATS_MAX + 1];
    }
    assert_eq!(shown(&world.apply(&command)), "no: COMMAND_TOO_LARGE limit=4096");
}

#[test]
fn a_cluster_is_small() {
    assert!(size_of::<fleet::Cluster>() <= 144);
}

/// No command leads there, since clusters go with the license; the rule holds all the same.
#[test]
fn d08_a_beat_without_a_license_leaves_no_trace() {
    let mut world = World::default();
    world.tell("activate code=a expires=100");
    world.tell("add c1 grpc://c1:1650 secret=s");
    let mut fleet = world.state.fleet().clone();
    let before = fleet.iter().next().map(|(_, cluster)| cluster.clone());
    let Some(Kind::RecordHeartbeats(beats)) = command("beat c1/s version=9.9.9").kind else {
        panic!("no beats");
    };
    let outcome =
        fleet::record_heartbeat(&mut fleet, &Licensing::default(), LogTime(9), &beats.beats[0]);
    assert_eq!(outcome, BeatOutcome::LicenseAbsent);
    assert_eq!(fleet.iter().next().map(|(_, cluster)| cluster.clone()), before);
}
