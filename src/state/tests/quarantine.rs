use expect_test::expect;
use muster_proto::muster::log::v1::RestoreCause;

use super::super::founding::{Founding, INDEX_MARGIN, TIME_MARGIN_SECONDS};
use super::super::{LogTime, State, limits};
use super::{Line, World, check, command, shown};

impl World {
    /// `found-anew`, with `drop-tokens`: the state founds another group at the clock's time.
    pub(super) fn found_anew(&mut self, line: &Line<'_>) -> String {
        let index = self.index + INDEX_MARGIN;
        self.state.found(Founding {
            cause: RestoreCause::Snapshot,
            index,
            now: LogTime(self.now * 1_000_000),
            drop_tokens: line.words.contains(&"drop-tokens"),
        });
        self.index = index;
        format!("founded at={}", self.state.time().0 / 1_000_000)
    }
}

fn strays(world: &World) -> String {
    let strays = world.state.quarantine().strays();
    strays.fold(String::new(), |told, (id, it)| {
        format!("{told}{id}×{}@{} ", it.beats, it.last.0 / 1_000_000)
    })
}

#[test]
fn a_restored_state_condemns_nobody_until_it_is_confirmed() {
    check(
        "activate code=a expires=1000
         add c1 grpc://c1:1650 secret=one
         beat lost/s c1/one
         at=9 found-anew
         at=80 beat c1/one lost/s c1/other
         activate-self lost/s
         confirm-restore
         beat c1/one lost/s c1/other
         activate-self lost/s
         confirm-restore",
        &expect![[r#"
            activated until=1000
            done
            ID_OR_SECRET_INVALID RECORDED license=Some("a")
            founded at=19
            RECORDED QUARANTINED QUARANTINED license=Some("a")
            no: QUARANTINED lost
            done
            RECORDED ID_OR_SECRET_INVALID ID_OR_SECRET_INVALID license=Some("a")
            no: ID_OR_SECRET_INVALID lost
            done
        "#]],
    );
}

#[test]
fn the_own_gate_does_not_close_on_what_a_restored_state_does_not_know() {
    check(
        "activate code=a expires=1000
         add localhost grpc://localhost:1653 es secret=s
         activate-self localhost/s
         found-anew
         delete localhost
         at=99 beat-self
         show
         confirm-restore
         beat-self",
        &expect![[r#"
            activated until=1000
            done
            done
            founded at=10
            done
            no: QUARANTINED localhost
            license=ACTIVE gate=ACTIVE
            done
            HEARTBEAT_FAILED
        "#]],
    );
}

#[test]
fn who_beat_and_was_not_known_is_remembered_in_bounds_and_in_records() {
    let mut world = World::default();
    world.tell("activate code=a expires=100000");
    world.tell("found-anew");
    for line in ["at=70 beat b/1 a/1 b/2", "at=80 beat b/3"] {
        world.tell(line);
    }
    assert_eq!(strays(&world), "a×1@70 b×3@80 ");
    let again = State::from_records(world.state.records()).unwrap();
    assert_eq!(again.digest(), world.state.digest());
    assert_eq!(again.quarantine().cause(), Some(RestoreCause::Snapshot));
    for n in 0..=limits::STRAYS_MAX {
        world.apply(&command(&format!("beat c{n}/s")));
    }
    assert_eq!(world.state.quarantine().len(), limits::STRAYS_MAX);
    assert_eq!(world.state.quarantine().untold(), 3);
    let again = State::from_records(world.state.records()).unwrap();
    assert_eq!(again.digest(), world.state.digest());
    world.tell("confirm-restore");
    assert_eq!(world.state.quarantine().len(), 0);
}

#[test]
fn time_and_positions_only_jump_forward_and_what_expired_stays_so() {
    let mut world = World::default();
    world.tell("at=5000 activate code=a expires=4000");
    world.tell("at=10 found-anew");
    assert_eq!(world.state.time(), LogTime((5000 + TIME_MARGIN_SECONDS) * 1_000_000));
    assert!(world.state.index() > INDEX_MARGIN);
    let reply = world.apply(&command("add c1 grpc://c1:1650 secret=s"));
    assert_eq!(shown(&reply), "no: LICENSE_NOT_ACTIVE EXPIRED");
}

#[test]
fn only_an_administrator_confirms_when_auth_is_on() {
    check(
        "activate code=a expires=1000
         add localhost grpc://localhost:1653 es secret=s
         activate-self localhost/s
         auth-on root
         robot x as=root token=robot-x
         found-anew
         confirm-restore
         confirm-restore as=robot-x
         confirm-restore as=root",
        &expect![[r#"
            activated until=1000
            done
            done
            done
            token of robot:x until=0
            founded at=10
            no: TOKEN_ABSENT
            no: NOT_AUTHORIZED robot:x needs CLUSTER_ENTERPRISE_PAUSE on CLUSTER ""
            done
        "#]],
    );
}
