//! All tokens of a principal end with one entry; further ones forget them.

use expect_test::{Expect, expect};
use muster_proto::muster::log::v1::{RevocationRecords, record};

use super::super::{LogTime, State, invariants, limits};
use super::auth_words::ON;
use super::{World, command};

fn on() -> World {
    let mut world = World::default();
    for line in ON.lines().map(str::trim).filter(|line| !line.is_empty()) {
        world.tell(line);
    }
    world
}

/// A script on a server with auth on, played twice: by a replica that goes on, and by one that comes
/// out of a snapshot before each line.
fn check(script: &str, expected: &Expect) {
    let (mut world, mut restarted) = (on(), on());
    let mut told = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let answer = world.tell(line);
        restarted.state = State::from_records(restarted.state.records()).unwrap();
        assert_eq!(restarted.tell(line), answer, "{line}");
        told.push_str(&answer);
        told.push('\n');
    }
    expected.assert_eq(&told);
    assert_eq!(restarted.state.digest(), world.state.digest());
}

#[test]
fn all_tokens_die_with_one_entry_and_are_forgotten_by_others() {
    check(
        "robot a token=t1 as=root
         robot a token=t2 ttl=50 as=root
         robot a token=t3 as=root
         robot b token=t4 as=root
         bind robot:a clusterAdmin as=root
         revoke-of robot:a once=1 as=t1
         kept
         who as=t1
         who as=t2
         who as=t3
         who as=t4
         add c grpc://c:1650 secret=s as=t2
         robot b token=t5 as=t3
         robot a token=t6 as=root
         who as=t6
         robots
         revoke t2 as=root
         forget max=1 as=internal
         kept
         forget max=1 as=internal
         kept
         who as=t2
         who as=t6
         forget as=internal
         forget as=root",
        &expect![[r#"
            token of robot:a until=0
            token of robot:a until=50
            token of robot:a until=0
            token of robot:b until=0
            done
            removed 3
            4 of them 2 revoked
            no: TOKEN_UNKNOWN
            no: TOKEN_UNKNOWN
            no: TOKEN_UNKNOWN
            robot:b until=0
            no: TOKEN_UNKNOWN
            no: TOKEN_UNKNOWN
            token of robot:a until=0
            robot:a until=0
            robot:a 0, robot:b 0
            removed 0
            removed 1 and more
            4 of them 1 revoked
            removed 1
            3 of them 0 revoked
            no: TOKEN_UNKNOWN
            robot:a until=0
            removed 0
            no: INTERNAL_ONLY
        "#]],
    );
}

#[test]
fn a_second_revocation_ends_what_was_issued_since_the_first() {
    check(
        "robot a token=t1 as=root
         robot a token=t2 as=root
         robot a token=t3 as=root
         revoke-of robot:a once=1 as=root
         revoke-of robot:a once=1 as=root
         robot a token=t4 as=root
         robot a token=t5 as=root
         revoke-of robot:a once=1 as=root
         kept
         who as=t4
         who as=t5
         forget max=2 as=internal
         robot a token=t6 as=root
         forget max=2 as=internal
         kept
         who as=t6
         revoke-of robot:a as=root
         kept",
        &expect![[r#"
            token of robot:a until=0
            token of robot:a until=0
            token of robot:a until=0
            removed 3
            removed 0
            token of robot:a until=0
            token of robot:a until=0
            removed 2
            4 of them 3 revoked
            no: TOKEN_UNKNOWN
            no: TOKEN_UNKNOWN
            removed 2 and more
            token of robot:a until=0
            removed 1
            2 of them 0 revoked
            robot:a until=0
            removed 1
            1 of them 0 revoked
        "#]],
    );
}

/// The digest of a revoked token is taken as long as it is known to be revoked; other tokens of the same
/// principal can be brought back, and live.
#[test]
fn a_restore_never_shortens_a_revocation() {
    check(
        "robot a token=t1 as=root
         robot a token=t2 as=root
         robot a token=t3 as=root
         revoke-of robot:a once=1 as=root
         restore robot:a token=t3 as=root
         restore robot:b token=t3 as=root
         robot c token=t3 as=root
         rotate t3 as=root
         restore robot:a token=t9 expires=70 as=root
         who as=t9
         who as=t3
         forget as=internal
         who as=t3
         who as=t9
         kept",
        &expect![[r#"
            token of robot:a until=0
            token of robot:a until=0
            token of robot:a until=0
            removed 3
            no: TOKEN_TAKEN
            no: TOKEN_TAKEN
            no: TOKEN_TAKEN
            no: TOKEN_TAKEN
            done
            robot:a until=70
            no: TOKEN_UNKNOWN
            removed 2
            no: TOKEN_UNKNOWN
            robot:a until=70
            2 of them 0 revoked
        "#]],
    );
}

#[test]
fn what_expired_meanwhile_is_forgotten_once_and_counted_as_revoked() {
    check(
        "robot a token=t1 ttl=9 as=root
         robot a token=t2 ttl=5 as=root
         robot a token=t3 ttl=7 as=root
         robot b token=t4 ttl=6 as=root
         revoke-of robot:a once=1 as=root
         at=50 who as=t3
         purge max=2 as=root
         kept
         purge as=root
         kept
         forget as=internal",
        &expect![[r#"
            token of robot:a until=9
            token of robot:a until=5
            token of robot:a until=7
            token of robot:b until=6
            removed 3
            no: TOKEN_UNKNOWN
            removed 1 and more
            2 of them 1 revoked
            removed 0
            1 of them 0 revoked
            removed 0
        "#]],
    );
}

#[test]
fn a_new_root_token_ends_all_others_however_many() {
    check(
        "restore pach:root token=t1 as=root
         restore pach:root token=t2 as=root
         rotate t1 once=1 as=root
         kept
         who as=root
         who as=t2
         who as=t1
         rotate t2 once=1 as=t1
         rotate t1 once=1 as=t1
         who as=t1
         forget as=internal
         kept
         rotate t2 once=1 as=t1
         who as=t2",
        &expect![[r#"
            done
            done
            done
            2 of them 1 revoked
            no: TOKEN_UNKNOWN
            no: TOKEN_UNKNOWN
            pach:root until=0
            no: TOKEN_TAKEN
            done
            pach:root until=0
            removed 1
            1 of them 0 revoked
            done
            pach:root until=0
        "#]],
    );
}

#[test]
fn turning_auth_off_forgets_revocations_too() {
    check(
        "robot a token=t1 as=root
         robot a token=t2 as=root
         revoke-of robot:a once=1 as=root
         auth-off as=root
         kept
         auth-on root
         robot a token=t2 as=root
         who as=t2
         forget as=internal",
        &expect![[r#"
            token of robot:a until=0
            token of robot:a until=0
            removed 2
            done
            0 of them 0 revoked
            done
            token of robot:a until=0
            robot:a until=0
            removed 0
        "#]],
    );
}

#[test]
fn a_group_that_is_founded_anew_knows_who_lost_all_tokens() {
    check(
        "robot a token=t1 as=root
         robot a token=t2 as=root
         revoke-of robot:a once=1 as=root
         found-anew
         who as=t2
         robot a token=t3 as=root
         who as=t3
         found-anew drop-tokens
         kept
         who as=t3",
        &expect![[r#"
            token of robot:a until=0
            token of robot:a until=0
            removed 2
            founded at=10
            no: TOKEN_UNKNOWN
            token of robot:a until=0
            robot:a until=0
            founded at=20
            1 of them 0 revoked
            no: TOKEN_UNKNOWN
        "#]],
    );
}

/// Before positions were written down, tokens had none: they are older than any revocation.
#[test]
fn tokens_of_an_older_snapshot_can_be_revoked() {
    let mut world = on();
    for line in ["robot a token=t1 as=root", "robot a token=t2 as=root"] {
        world.tell(line);
    }
    let mut records: Vec<_> = world.state.records().collect();
    for record in &mut records {
        if let Some(record::Kind::Tokens(it)) = &mut record.kind {
            it.tokens.iter_mut().for_each(|token| token.issued_index = 0);
        }
    }
    world.state = State::from_records(records).unwrap();
    assert_eq!(world.tell("who as=t2"), "robot:a until=0");
    assert_eq!(world.tell("revoke-of robot:a once=1 as=root"), "removed 2");
    assert_eq!(world.tell("who as=t2"), "no: TOKEN_UNKNOWN");
    assert_eq!(world.tell("kept"), "2 of them 1 revoked");
}

#[test]
fn a_snapshot_says_who_lost_all_tokens_before_it_says_which() {
    let mut world = on();
    for line in ["robot a token=t1 as=root", "robot a token=t2 as=root"] {
        world.tell(line);
    }
    world.tell("revoke-of robot:a once=1 as=root");
    let good: Vec<_> = world.state.records().collect();
    let place = |records: &[muster_proto::muster::log::v1::Record]| {
        records.iter().position(|it| matches!(it.kind, Some(record::Kind::Revocations(_)))).unwrap()
    };
    let mut late = good.clone();
    let mark = late.remove(place(&good));
    late.push(mark);
    assert!(State::from_records(late).is_err());
    let mut lost = good.clone();
    lost.remove(place(&good));
    assert!(State::from_records(lost).is_err(), "its tokens would live again");
    let mut idle = good.clone();
    if let Some(record::Kind::Revocations(RevocationRecords { revocations })) =
        &mut idle[place(&good)].kind
    {
        revocations[0].before_index = 0;
    }
    assert!(State::from_records(idle).is_err(), "a mark that ended nothing");
}

/// Principals beyond the bound lose their tokens all the same, in one entry.
#[test]
fn a_revocation_is_never_refused() {
    let mut world = on();
    let mut state = world.state.clone();
    let mut tell = |state: &mut State, line: String| {
        world.index += 1;
        super::shown(&state.apply(&command(&line), world.index, LogTime(0)))
    };
    for n in 0..=limits::REVOCATIONS_MAX {
        for t in 0..2 {
            tell(&mut state, format!("robot r{n} token=t{n}-{t} as=root"));
        }
        let told = tell(&mut state, format!("revoke-of robot:r{n} once=1 as=root"));
        assert_eq!(told, "removed 2");
    }
    assert_eq!(state.auth().tokens().revoked(), limits::REVOCATIONS_MAX);
    assert_eq!(state.auth().tokens().len(), limits::REVOCATIONS_MAX + 1);
    assert_eq!(invariants::first_broken(&state), None);
    let again = State::from_records(state.records()).unwrap();
    assert_eq!(again.digest(), state.digest());
    let mut entries = 0;
    while state.auth().tokens().has_revoked() {
        tell(&mut state, "forget max=128 as=internal".to_owned());
        entries += 1;
        assert!(entries <= limits::REVOCATIONS_MAX);
    }
    assert_eq!(state.auth().tokens().len(), 1);
    assert_eq!(invariants::first_broken(&state), None);
}
