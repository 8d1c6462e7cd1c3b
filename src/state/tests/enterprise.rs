use expect_test::expect;

use super::check;

#[test]
fn the_server_becomes_a_member_of_itself() {
    check(
        "activate code=a expires=100
         add localhost grpc://localhost:1653 es secret=s
         show
         at=5 activate-self localhost/s version=2.11.6
         show
         at=101 show",
        &expect![[r#"
            activated until=100
            done
            license=ACTIVE gate=NONE
              localhost at grpc://localhost:1653 for "" deployment="" version=unknown auth=false client="" created=0 beat=0 es
            done
            license=ACTIVE gate=ACTIVE
              localhost at grpc://localhost:1653 for "" deployment="" version=2.11.6 auth=false client="" created=0 beat=5 es
            license=EXPIRED gate=EXPIRED
              localhost at grpc://localhost:1653 for "" deployment="" version=2.11.6 auth=false client="" created=0 beat=5 es
        "#]],
    );
}

#[test]
fn a_failed_activation_keeps_nothing() {
    check(
        "activate-self localhost/s
         activate code=a expires=100
         add localhost grpc://localhost:1653 es secret=s
         activate-self localhost/wrong
         beat-self
         show
         remove-all
         activate-self localhost/s",
        &expect![[r#"
            no: ID_OR_SECRET_INVALID localhost
            activated until=100
            done
            no: ID_OR_SECRET_INVALID localhost
            no: ENTERPRISE_NOT_ACTIVATED
            license=ACTIVE gate=NONE
              localhost at grpc://localhost:1653 for "" deployment="" version=unknown auth=false client="" created=0 beat=0 es
            done
            no: ID_OR_SECRET_INVALID localhost
        "#]],
    );
}

#[test]
fn a_new_license_opens_the_own_gate_at_once() {
    check(
        "activate code=a expires=100
         add localhost grpc://localhost:1653 es secret=s
         activate-self localhost/s
         at=200 show
         activate code=b expires=300
         show
         activate code=c expires=150
         show",
        &expect![[r#"
            activated until=100
            done
            done
            license=EXPIRED gate=EXPIRED
              localhost at grpc://localhost:1653 for "" deployment="" version= auth=false client="" created=0 beat=0 es
            activated until=300
            license=ACTIVE gate=ACTIVE
              localhost at grpc://localhost:1653 for "" deployment="" version= auth=false client="" created=0 beat=0 es
            activated until=150
            license=EXPIRED gate=EXPIRED
              localhost at grpc://localhost:1653 for "" deployment="" version= auth=false client="" created=0 beat=0 es
        "#]],
    );
}

#[test]
fn a_deleted_own_record_fails_the_next_own_beat_and_adding_it_again_mends_it() {
    check(
        "activate code=a expires=100
         add localhost grpc://localhost:1653 es secret=s
         activate-self localhost/s
         delete localhost
         show
         beat-self
         activate code=b expires=100
         show
         add localhost grpc://localhost:1653 es secret=s
         beat-self
         show",
        &expect![[r#"
            activated until=100
            done
            done
            done
            license=ACTIVE gate=ACTIVE
            HEARTBEAT_FAILED
            activated until=100
            license=ACTIVE gate=HEARTBEAT_FAILED
            done
            ACTIVE
            license=ACTIVE gate=ACTIVE
              localhost at grpc://localhost:1653 for "" deployment="" version=2.11.6 auth=false client="" created=0 beat=0 es
        "#]],
    );
}

#[test]
fn deactivation_forgets_the_own_record_and_nothing_else() {
    check(
        "activate code=a expires=100
         add localhost grpc://localhost:1653 es secret=s
         activate-self localhost/s
         deactivate-self
         show
         deactivate-self
         beat-self",
        &expect![[r#"
            activated until=100
            done
            done
            done
            license=ACTIVE gate=NONE
              localhost at grpc://localhost:1653 for "" deployment="" version= auth=false client="" created=0 beat=0 es
            done
            no: ENTERPRISE_NOT_ACTIVATED
        "#]],
    );
}

#[test]
fn an_own_beat_after_removing_all_closes_the_gate() {
    check(
        "activate code=a expires=100
         add localhost grpc://localhost:1653 es secret=s
         activate-self localhost/s
         remove-all
         show
         beat-self
         show",
        &expect![[r#"
            activated until=100
            done
            done
            done
            license=NONE gate=ACTIVE
            HEARTBEAT_FAILED
            license=NONE gate=HEARTBEAT_FAILED
        "#]],
    );
}

#[test]
fn bootstrap_is_an_upsert_that_an_expired_license_does_not_stop() {
    check(
        "bootstrap localhost grpc://localhost:1653 es code=a expires=100 secret=s as=internal
         show
         bootstrap localhost grpc://localhost:1653 es code=a expires=100 secret=s as=internal
         at=200 bootstrap localhost grpc://localhost:653 es code=b expires=150 secret=t as=internal
         show
         beat localhost/t version=2",
        &expect![[r#"
            done
            license=ACTIVE gate=ACTIVE
              localhost at grpc://localhost:1653 for "" deployment="" version=unknown auth=false client="" created=0 beat=0 es
            done
            done
            license=EXPIRED gate=EXPIRED
              localhost at grpc://localhost:653 for "" deployment="" version=unknown auth=false client="" created=0 beat=0 es
            RECORDED license=Some("b")
        "#]],
    );
}

#[test]
fn only_the_servers_own_parts_bootstrap_and_configure() {
    check(
        "bootstrap localhost grpc://localhost:1653 code=a expires=100 secret=s
         configure id=x
         configure as=internal
         configure id=x as=internal
         configure id=y deployment=d as=internal
         configure as=internal",
        &expect![[r#"
            no: INTERNAL_ONLY
            no: INTERNAL_ONLY
            no: FIELD_EMPTY cluster_id
            id="x" deployment=""
            id="x" deployment="d"
            id="x" deployment="d"
        "#]],
    );
}

#[test]
fn the_own_record_tells_the_truth_about_auth() {
    check(
        "activate code=a expires=100
         add localhost grpc://localhost:1653 es secret=s
         activate-self localhost/s version=2.11.6
         auth-on t0
         show
         beat-self as=t0
         show
         auth-off as=t0
         beat-self
         show",
        &expect![[r#"
            activated until=100
            done
            done
            done
            license=ACTIVE gate=ACTIVE
              localhost at grpc://localhost:1653 for "" deployment="" version=2.11.6 auth=false client="" created=0 beat=0 es
            ACTIVE
            license=ACTIVE gate=ACTIVE
              localhost at grpc://localhost:1653 for "" deployment="" version=2.11.6 auth=true client="" created=0 beat=0 es
            done
            ACTIVE
            license=ACTIVE gate=ACTIVE
              localhost at grpc://localhost:1653 for "" deployment="" version=2.11.6 auth=false client="" created=0 beat=0 es
        "#]],
    );
}

#[test]
fn the_timer_closes_nothing_and_a_caller_who_looks_does() {
    check(
        "activate code=a expires=100
         add localhost grpc://localhost:1653 es secret=s
         activate-self localhost/s version=2.11.6
         delete localhost
         beat-self as=internal
         beat-self
         beat-self as=internal",
        &expect![[r#"
            activated until=100
            done
            done
            done
            ACTIVE
            HEARTBEAT_FAILED
            HEARTBEAT_FAILED
        "#]],
    );
}
