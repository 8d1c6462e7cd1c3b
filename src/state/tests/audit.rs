//! Who did what, as the records tell it.

use std::fmt::Write as _;

use bytes::Bytes;
use expect_test::{Expect, expect};
use muster_proto::muster::log::v1::{
    AuditRecord, ConfigureAudit, Context, RecordCalls, ServedCall, record::Kind as Stored,
};

use super::super::audit::chain::{Broken, Link};
use super::super::snapshot::LoadError;
use super::super::{State, limits};
use super::{Line, World};

impl Line<'_> {
    /// `from=PEER`: as if an edge had taken it.
    pub(super) fn context(&self) -> Option<Context> {
        let peer = self.values.get("from")?;
        Some(Context {
            rpc: format!("/{}", self.words[0]),
            peer: (*peer).to_owned(),
            request_id: self.text("id"),
        })
    }

    /// `calls METHOD by=TOKEN refusal=… count=… peer=…`
    pub(super) fn calls(&self) -> RecordCalls {
        let call = ServedCall {
            caller: Some(match self.values.get("by") {
                Some(token) => Line::of(&format!("x as={token}")).caller(),
                None => Line::of("x").caller(),
            }),
            context: Some(Context {
                rpc: format!("/{}", self.word(1)),
                peer: self.text("peer"),
                request_id: self.text("id"),
            }),
            resource: self.text("about"),
            refusal: self.text("refusal"),
            count: self.number("count").unwrap_or(1),
            act: self.words.contains(&"act"),
        };
        RecordCalls { calls: vec![call] }
    }

    pub(super) fn retention(&self) -> ConfigureAudit {
        ConfigureAudit {
            records: self.number("records").unwrap_or(0),
            seconds: self.number("seconds").unwrap_or(0),
        }
    }
}

fn after(script: &str) -> World {
    let mut world = World::default();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        world.tell(line);
    }
    world
}

/// Follows all hashes from the anchor on.
pub(super) fn verified(state: &State) -> Result<Link, Broken> {
    state.audit().iter().try_fold(state.audit().anchor(), Link::then)
}

fn shown(record: &AuditRecord) -> String {
    let mut line = format!(
        "{} at={} {} {} on {}",
        record.sequence,
        record.time_us / 1_000_000,
        record.principal,
        record.rpc,
        record.resource
    );
    for (name, text) in
        [("from", &record.peer), ("no", &record.refusal), ("id", &record.request_id)]
    {
        if !text.is_empty() {
            let _ = write!(line, " {name}={text}");
        }
    }
    if record.count != 1 {
        let _ = write!(line, " times {}", record.count);
    }
    line
}

fn check(script: &str, expected: &Expect) {
    let world = after(script);
    assert_eq!(verified(&world.state), Ok(world.state.audit().last()));
    let lines: Vec<String> = world.state.audit().iter().map(shown).collect();
    expected.assert_eq(&format!("{}\n", lines.join("\n")));
}

#[test]
fn each_act_is_one_record_with_who_from_where_what_on_what() {
    check(
        "
        at=1 activate code=a expires=1000 from=10.0.0.1:5 id=i1
        add localhost grpc://localhost:1653 es secret=s from=10.0.0.1:6
        activate-self localhost/s
        beat localhost/s
        at=2 auth-on root
        robot r token=t ttl=60 as=root from=10.0.0.2:7 id=i2
        bind robot:r licenseAdmin as=root
        add c1 grpc://c1 secret=s as=t
        delete c1 as=t
        groups robot:r g1 as=root
        members g1 add=user:a remove=user:b as=root
        revoke t as=root
        rotate root2 as=root
        purge as=root2
        purge as=internal
        configure id=x as=internal
        login-start l as=internal
        at=3 auth-off as=root2
        ",
        &expect![[r#"
            1 at=1 anonymous /activate on license from=10.0.0.1:5 id=i1
            2 at=1 anonymous /add on cluster:localhost from=10.0.0.1:6
            3 at=1 anonymous ActivateEnterprise on enterprise
            4 at=2 anonymous ActivateAuth on auth
            5 at=2 pach:root /robot on token of robot:r from=10.0.0.2:7 id=i2
            6 at=2 pach:root ModifyRoleBinding on CLUSTER: robot:r = [licenseAdmin]
            7 at=2 robot:r AddCluster on cluster:c1
            8 at=2 robot:r DeleteCluster on cluster:c1
            9 at=2 pach:root SetGroups on groups of robot:r: g1
            10 at=2 pach:root ModifyMembers on g1: +[user:a] -[user:b]
            11 at=2 pach:root RevokeToken on token of robot:r
            12 at=2 pach:root RotateRootToken on token of pach:root
            13 at=2 pach:root DeleteExpiredTokens on expired tokens
            14 at=3 pach:root DeactivateAuth on auth
        "#]],
    );
}

#[test]
fn acts_of_the_edge_that_were_done_are_one_record_each_and_refused_ones_are_counted() {
    check(
        "
        at=1 calls Promote peer=a:1 about=replica-a act as=internal
        at=2 calls Promote peer=a:2 about=replica-b act as=internal
        calls Promote peer=a:3 about=replica-c refusal=NOT_FOUND act as=internal
        calls Promote peer=a:4 about=replica-d refusal=NOT_FOUND act as=internal
        calls GetActivationCode peer=a:5 as=internal
        calls GetActivationCode peer=a:6 as=internal
        at=400 calls Promote peer=a:7 about=replica-a act as=internal
        ",
        &expect![[r#"
            1 at=1 anonymous /Promote on replica-a from=a:1
            2 at=2 anonymous /Promote on replica-b from=a:2
            3 at=2 anonymous /Promote on replica-c from=a:3 no=NOT_FOUND
            4 at=2 anonymous /GetActivationCode on  from=a:5
            5 at=400 anonymous /Promote on replica-a from=a:7
            6 at=400 anonymous /GetActivationCode on  from=a:6
            7 at=400 anonymous /Promote on replica-d from=a:4 no=NOT_FOUND
        "#]],
    );
}

#[test]
fn a_refusal_is_recorded_with_its_reason_and_its_caller_even_if_the_token_serves_no_more() {
    check(
        "
        at=1 activate code=a expires=1000
        add localhost grpc://localhost:1653 es secret=s
        activate-self localhost/s
        auth-on root
        robot r token=t ttl=5 as=root
        add c1 grpc://c1 secret=s as=t
        add c1 grpc://c1 secret=s
        add c1 grpc://c1 secret=s as=bad
        at=60 add c1 grpc://c1 secret=s as=t
        bootstrap x grpc://x code=k expires=9 secret=s
        ",
        &expect![[r#"
            1 at=1 anonymous ActivateLicense on license
            2 at=1 anonymous AddCluster on cluster:localhost
            3 at=1 anonymous ActivateEnterprise on enterprise
            4 at=1 anonymous ActivateAuth on auth
            5 at=1 pach:root IssueRobotToken on token of robot:r
            6 at=1 robot:r AddCluster on cluster:c1 no=NOT_AUTHORIZED
            7 at=1 anonymous AddCluster on cluster:c1 no=TOKEN_ABSENT
            8 at=1 anonymous AddCluster on cluster:c1 no=TOKEN_UNKNOWN
            9 at=60 robot:r AddCluster on cluster:c1 no=TOKEN_EXPIRED
            10 at=60 anonymous BootstrapEnterprise on license, enterprise no=INTERNAL_ONLY
        "#]],
    );
}

#[test]
fn repeated_refusals_are_counted_and_the_count_is_written_when_the_window_closes() {
    let mut script = String::from("at=1 activate code=a expires=1000\n");
    for _ in 0..5 {
        script.push_str("add c1 x from=10.0.0.9:1\n");
        script.push_str("calls WhoAmI refusal=TOKEN_UNKNOWN peer=10.0.0.9:2 count=7 as=internal\n");
    }
    // Another host is another kind; a served call is one too.
    script.push_str("add c1 x from=10.0.0.8:1\n");
    script.push_str("calls GetCode peer=10.0.0.9:2 as=internal\n");
    script.push_str("calls GetCode peer=10.0.0.9:3 as=internal\n");
    script.push_str("at=300 delete c1\nat=301 delete c1\nat=302 add c1 x from=10.0.0.9:4\n");
    check(
        &script,
        &expect![[r#"
        1 at=1 anonymous ActivateLicense on license
        2 at=1 anonymous /add on cluster:c1 from=10.0.0.9:1 no=COMMAND_INCOMPLETE
        3 at=1 anonymous /WhoAmI on  from=10.0.0.9:2 no=TOKEN_UNKNOWN times 7
        4 at=1 anonymous /add on cluster:c1 from=10.0.0.8:1 no=COMMAND_INCOMPLETE
        5 at=1 anonymous /GetCode on  from=10.0.0.9:2
        6 at=300 anonymous DeleteCluster on cluster:c1
        7 at=301 anonymous DeleteCluster on cluster:c1
        8 at=301 anonymous /GetCode on  from=10.0.0.9:3
        9 at=301 anonymous /WhoAmI on  from=10.0.0.9:2 no=TOKEN_UNKNOWN times 28
        10 at=301 anonymous /add on cluster:c1 from=10.0.0.9:1 no=COMMAND_INCOMPLETE times 4
        11 at=302 anonymous /add on cluster:c1 from=10.0.0.9:4 no=COMMAND_INCOMPLETE
    "#]],
    );
}

#[test]
fn kinds_beyond_the_bound_are_counted_together() {
    let mut world = World::default();
    for host in 0..100 {
        world.tell(&format!("calls X refusal=NO peer=h{host}:1 count=2 as=internal"));
    }
    assert_eq!(world.state.audit().len(), limits::AUDIT_KINDS_MAX);
    world.now = limits::AUDIT_WINDOW_SECONDS;
    world.tell("beat c1/s");
    let others = world.state.audit().iter().next_back().unwrap();
    assert_eq!((others.principal.as_str(), others.count), ("(others)", 2 * (100 - 32)));
    assert_eq!(world.state.audit().len(), limits::AUDIT_KINDS_MAX + 1);
    assert!(!world.state.audit().is_due(super::LogTime(u64::MAX)));
}

#[test]
fn a_request_asked_again_is_no_second_act_unless_it_brings_a_new_secret() {
    check(
        "
        activate code=a expires=100
        add c1 x secret=s request=r1
        add c1 x secret=s request=r1
        add c2 x generated secret=s request=r2
        add c2 x generated secret=u request=r2
        ",
        &expect![[r#"
            1 at=0 anonymous ActivateLicense on license
            2 at=0 anonymous AddCluster on cluster:c1 id=r1
            3 at=0 anonymous AddCluster on cluster:c2 id=r2
            4 at=0 anonymous AddCluster on cluster:c2 id=r2
        "#]],
    );
}

#[test]
fn the_oldest_records_go_and_the_rest_still_holds_together() {
    let mut world = after("retain records=5 as=internal");
    for at in 1..=20 {
        world.tell(&format!("at={at} delete c{at}"));
    }
    let audit = world.state.audit();
    assert_eq!((audit.len(), audit.anchor().sequence, audit.last().sequence), (5, 16, 21));
    assert_eq!(verified(&world.state), Ok(audit.last()));
    world.tell("retain seconds=10 as=internal");
    world.tell("at=31 delete x");
    let audit = world.state.audit();
    assert_eq!(audit.len(), 1, "only those of the last ten seconds");
    assert_eq!(verified(&world.state), Ok(audit.last()));
}

#[test]
fn a_retention_made_smaller_is_reached_step_by_step() {
    let mut world = World::default();
    for at in 0..1000 {
        world.tell(&format!("delete c{at}"));
    }
    world.tell("retain records=1 as=internal");
    assert!(world.state.audit().len() > 500, "one entry takes no long pause");
    for _ in 0..5 {
        world.tell("delete x");
    }
    assert_eq!(world.state.audit().len(), 1);
    assert_eq!(verified(&world.state), Ok(world.state.audit().last()));
}

#[test]
fn only_the_server_itself_writes_records_or_settles_the_retention() {
    let mut world = World::default();
    assert_eq!(world.tell("calls X refusal=NO"), "no: INTERNAL_ONLY");
    assert_eq!(world.tell("retain records=1"), "no: INTERNAL_ONLY");
    let too_many = RecordCalls { calls: vec![ServedCall::default(); limits::AUDIT_CALLS_MAX + 1] };
    let mut command = super::command("calls X as=internal");
    command.kind = Some(super::Kind::RecordCalls(too_many));
    assert_eq!(super::shown(&world.apply(&command)), "no: COMMAND_TOO_LARGE limit=512");
}

#[test]
fn no_token_and_no_secret_is_in_any_record() {
    let world = after(
        "
        at=1 activate code=planted-code expires=1000
        add localhost grpc://localhost:1653 es secret=planted-secret
        activate-self localhost/planted-secret
        auth-on planted-root
        robot r token=planted-token as=planted-root
        revoke planted-token as=planted-root
        add c grpc://c secret=planted-secret as=planted-wrong
        ",
    );
    let records = format!("{:?}", world.state.audit());
    assert!(records.contains("token of robot:r"), "{records}");
    for token in ["planted-root", "planted-token", "planted-wrong"] {
        let digest = super::token_digest(token);
        assert!(!records.contains(token) && !records.contains(&hex::encode(&digest)), "{records}");
        assert!(!records.contains(&format!("{digest:?}")), "{records}");
    }
    assert!(!records.contains("planted"), "{records}");
}

fn stored() -> Vec<muster_proto::muster::log::v1::Record> {
    let world = after(
        "
        retain records=3 as=internal
        at=5 delete c1
        delete c2
        delete c3
        add c1 x from=h:1
        add c1 x from=h:2
        ",
    );
    let records: Vec<_> = world.state.records().collect();
    let again = State::from_records(records.clone()).unwrap();
    assert_eq!(again.digest(), world.state.digest());
    assert_eq!(again.audit().last(), world.state.audit().last());
    records
}

#[test]
fn a_stored_audit_log_comes_back_with_its_anchor_and_its_counts() {
    let mut state = State::from_records(stored()).unwrap();
    assert_eq!((state.audit().anchor().sequence, state.audit().len()), (2, 3));
    assert_eq!(verified(&state), Ok(state.audit().last()));
    state.apply(&super::command("beat c1/s"), 9, super::LogTime(400_000_000));
    let counted = state.audit().iter().next_back().unwrap();
    assert_eq!((counted.count, counted.peer.as_str()), (1, "h:2"));
}

#[test]
fn a_stored_audit_log_that_was_changed_is_damaged() {
    let change = |change: fn(&mut Vec<AuditRecord>)| {
        let mut records = stored();
        for record in &mut records {
            if let Some(Stored::AuditRecords(it)) = &mut record.kind {
                change(&mut it.records);
            }
        }
        State::from_records(records).map(|_| ())
    };
    let damaged = Err(LoadError::OrderWrong("audit records"));
    assert_eq!(change(|_| ()), Ok(()));
    assert_eq!(change(|it| it[1].principal = "robot:innocent".to_owned()), damaged);
    assert_eq!(change(|it| it[1].hash = Bytes::from_static(&[1; 32])), damaged);
    assert_eq!(change(|it| drop(it.remove(1))), damaged);
    assert_eq!(change(|it| it.swap(0, 1)), damaged);
    assert!(matches!(change(|it| drop(it.pop())), Err(LoadError::CountWrong { .. })));
}
