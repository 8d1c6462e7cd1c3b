use expect_test::expect;
use muster_proto::muster::log::v1::License;
use prost_types::Timestamp;

use super::super::{LogTime, State, license, limits};
use super::{World, check};

#[test]
fn a_license_is_active_until_its_expiry_and_expired_just_after() {
    check(
        "show
         activate code=code-1 expires=100
         at=100 show
         at=101 show",
        &expect![[r#"
            license=NONE gate=NONE
            activated until=100
            license=ACTIVE gate=NONE
            license=EXPIRED gate=NONE
        "#]],
    );
}

#[test]
fn another_activation_replaces_the_license_even_by_an_expired_one() {
    check(
        "at=10 activate code=code-1 expires=100
         add c1 grpc://c1:1650 secret=s
         activate code=code-2 expires=5
         show
         beat c1/s version=2.11.6",
        &expect![[r#"
            activated until=100
            done
            activated until=5
            license=EXPIRED gate=NONE
              c1 at grpc://c1:1650 for "" deployment="" version=unknown auth=false client="" created=10 beat=0
            RECORDED license=Some("code-2")
        "#]],
    );
}

#[test]
fn removing_all_takes_license_and_clusters_and_leaves_the_own_record() {
    check(
        "activate code=code-1 expires=100
         add localhost grpc://localhost:1653 es secret=s
         activate-self localhost/s
         remove-all
         show
         remove-all
         activate code=code-1 expires=100
         show",
        &expect![[r#"
            activated until=100
            done
            done
            done
            license=NONE gate=ACTIVE
            done
            activated until=100
            license=ACTIVE gate=ACTIVE
        "#]],
    );
}

#[test]
fn a_license_without_its_parts_is_refused() {
    check(
        "activate code=code-1
         activate expires=100
         show",
        &expect![[r#"
            no: COMMAND_INCOMPLETE expires
            no: FIELD_EMPTY activation_code
            license=NONE gate=NONE
        "#]],
    );
}

#[test]
fn a_code_may_be_sealed_and_then_stands_nowhere_in_clear() {
    let mut world = World::default();
    for line in [
        "activate code-sealed=envelope expires=100",
        "add localhost grpc://localhost:1653 es secret=s",
        "activate-self localhost/s",
    ] {
        world.tell(line);
    }
    let again = State::from_records(world.state.records()).unwrap();
    assert_eq!(again.digest(), world.state.digest());
    for license in [again.licensing().record().unwrap(), again.enterprise().license().unwrap()] {
        assert!(license::is_sealed(license));
        assert_eq!(license.activation_code, "");
        assert_eq!(license.activation_code_sealed, "envelope");
    }
    assert_eq!(
        world.tell("activate code=a code-sealed=b expires=100"),
        "no: COMMAND_INCOMPLETE activation_code"
    );
    // As it was stored before there was a key, and afterwards.
    assert_eq!(world.tell("activate code=a expires=100"), "activated until=100");
    assert_eq!(world.tell("activate code-sealed=a expires=100"), "activated until=100");
    let too_long = "x".repeat(limits::ACTIVATION_CODE_BYTES_MAX + limits::ENVELOPE_BYTES_MAX + 1);
    assert_eq!(
        world.tell(&format!("activate code-sealed={too_long} expires=100")),
        "no: FIELD_TOO_LONG activation_code limit=65536"
    );
}

#[test]
fn the_days_of_grace_keep_everything_going() {
    check(
        "activate code=a expires=100 grace=1
         add localhost grpc://localhost:1653 es secret=s
         activate-self localhost/s
         at=86500 show
         add c1 grpc://c1:1650 secret=s
         at=86501 show
         add c2 grpc://c2:1650 secret=s",
        &expect![[r#"
            activated until=100
            done
            done
            license=ACTIVE gate=ACTIVE
              localhost at grpc://localhost:1653 for "" deployment="" version= auth=false client="" created=0 beat=0 es
            done
            license=EXPIRED gate=EXPIRED
              c1 at grpc://c1:1650 for "" deployment="" version=unknown auth=false client="" created=86500 beat=0
              localhost at grpc://localhost:1653 for "" deployment="" version= auth=false client="" created=0 beat=0 es
            no: LICENSE_NOT_ACTIVE EXPIRED
        "#]],
    );
}

#[test]
fn grace_begins_after_the_expiry_and_ends_with_its_days() {
    let license = License {
        expires: Some(Timestamp { seconds: 100, nanos: 0 }),
        grace_days: Some(1),
        ..License::default()
    };
    let is_in_grace = |second: u64| license::is_in_grace(&license, LogTime(second * 1_000_000));
    assert!(!is_in_grace(100));
    assert!(is_in_grace(101));
    assert!(is_in_grace(86_500));
    assert!(!is_in_grace(86_501));
    let endless = License { grace_days: Some(u32::MAX), ..license };
    assert_eq!(
        license::end(&endless).unwrap().seconds,
        253_402_300_799,
        "a year that can be shown"
    );
}
