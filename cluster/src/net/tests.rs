//! Real sockets, real certificates.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::frame::Kind;
use super::hello::{Answer, Hello, Question, Reason, Welcome};
use super::link::{self, LinkError};
use super::*;

const GROUP: GroupId = GroupId(7);
const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Recorder {
    events: Mutex<Vec<Event>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Event {
    Received(ReplicaId, Lane, Bytes),
    Up(ReplicaId),
    Down(ReplicaId),
    Superseded(ReplicaId),
    ToldRemoved(ReplicaId),
}

impl Recorder {
    fn push(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.lock().unwrap().iter().filter(|event| wanted(event)).count()
    }

    fn payloads(&self, lane: Lane) -> Vec<Bytes> {
        let events = self.events.lock().unwrap();
        let of_lane = events.iter().filter_map(|event| match event {
            Event::Received(_, l, payload) if *l == lane => Some(payload.clone()),
            _ => None,
        });
        of_lane.collect()
    }
}

impl PeerEvents for Recorder {
    fn received(&self, from: ReplicaId, lane: Lane, payload: Bytes) {
        self.push(Event::Received(from, lane, payload));
    }
    fn up(&self, peer: ReplicaId) {
        self.push(Event::Up(peer));
    }
    fn down(&self, peer: ReplicaId) {
        self.push(Event::Down(peer));
    }
    fn superseded(&self, peer: &Member) {
        self.push(Event::Superseded(peer.id));
    }
    fn told_removed(&self, peer: ReplicaId) {
        self.push(Event::ToldRemoved(peer));
    }
}

/// Polls until `done`.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + DEADLINE;
    while !done() {
        assert!(tokio::time::Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let folder = tempfile::tempdir().unwrap();
        Authority { issuer: Issuer::new(params, key), pem, folder }
    }

    /// Certificates that this CA issued to the replica called `name`.
    fn tls(&self, name: &str) -> PeerTls {
        self.tls_trusting(name, &self.pem)
    }

    fn tls_trusting(&self, name: &str, ca: &str) -> PeerTls {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let file = |kind: &str| self.folder.path().join(format!("{name}-{kind}.pem"));
        let write = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
        write(&file("ca"), ca);
        write(&file("cert"), &cert.pem());
        write(&file("key"), &key.serialize_pem());
        PeerTls::from_pem_files(&file("ca"), &file("cert"), &file("key")).unwrap()
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn member(id: u64, name: &str, listener: &TcpListener) -> Member {
    let address = listener.local_addr().unwrap().to_string();
    Member { id: ReplicaId(id), name: name.into(), address }
}

struct Replica {
    peers: Peers,
    seen: Arc<Recorder>,
}

struct Start {
    group: GroupId,
    me: u64,
    incarnation: u64,
    tls: Option<PeerTls>,
    before: Vec<GroupId>,
}

impl Start {
    fn new(me: u64, tls: Option<PeerTls>) -> Start {
        Start { group: GROUP, me, incarnation: 1, tls, before: Vec::new() }
    }

    fn on(self, listener: TcpListener, members: &[Member]) -> Replica {
        let seen = Arc::new(Recorder::default());
        let options = PeerOptions {
            group: self.group,
            before: self.before,
            me: ReplicaId(self.me),
            incarnation: self.incarnation,
            listener,
            tls: self.tls,
            members: members.to_vec(),
            settings: Vec::new(),
            election_timeout: Duration::from_secs(10),
        };
        Replica { peers: Peers::start(options, Arc::<Recorder>::clone(&seen)), seen }
    }
}

/// Two replicas; the second one may be odd.
async fn two(first: Start, second: Start) -> (Replica, Replica, Vec<Member>) {
    let (one, two) = (listener().await, listener().await);
    let members = vec![member(1, "a", &one), member(2, "b", &two)];
    (first.on(one, &members), second.on(two, &members), members)
}

async fn send(from: &Replica, to: u64, lane: Lane, payload: Bytes) {
    until("sent", || from.peers.send(ReplicaId(to), lane, payload.clone()).is_ok()).await;
}

async fn talk(tls: impl Fn(&str) -> Option<PeerTls>) {
    let (a, b, _) = two(Start::new(1, tls("a")), Start::new(2, tls("b"))).await;
    let large = Bytes::from(vec![9; MAX_PAYLOAD]);
    for number in 0..1000_u32 {
        send(&a, 2, Lane::Control, Bytes::copy_from_slice(&number.to_be_bytes())).await;
    }
    send(&a, 2, Lane::Bulk, large.clone()).await;
    send(&b, 1, Lane::Control, Bytes::new()).await;

    until("all received", || {
        b.seen.payloads(Lane::Control).len() == 1000
            && b.seen.payloads(Lane::Bulk).len() == 1
            && a.seen.payloads(Lane::Control).len() == 1
    })
    .await;
    let expected: Vec<_> =
        (0..1000_u32).map(|number| Bytes::copy_from_slice(&number.to_be_bytes())).collect();
    assert_eq!(b.seen.payloads(Lane::Control), expected);
    assert_eq!(b.seen.payloads(Lane::Bulk), [large]);
    assert_eq!(
        a.seen.count(|e| *e == Event::Received(ReplicaId(2), Lane::Control, Bytes::new())),
        1
    );
    assert_eq!(a.seen.count(|e| *e == Event::Up(ReplicaId(2))), 1);

    let refused = a.peers.send(ReplicaId(2), Lane::Bulk, Bytes::from(vec![0; MAX_PAYLOAD + 1]));
    assert_eq!(refused, Err(SendError::TooLong(MAX_PAYLOAD + 1)));
    let refused = a.peers.send(ReplicaId(3), Lane::Bulk, Bytes::new());
    assert_eq!(refused, Err(SendError::UnknownPeer(ReplicaId(3))));
}

#[tokio::test]
async fn two_replicas_talk_under_tls() {
    let authority = Authority::new();
    talk(|name| Some(authority.tls(name))).await;
}

#[tokio::test]
async fn two_replicas_talk_without_tls() {
    talk(|_| None).await;
}

#[tokio::test]
async fn what_was_queued_before_closing_arrives() {
    let (a, b, _) = two(Start::new(1, None), Start::new(2, None)).await;
    send(&a, 2, Lane::Control, Bytes::from_static(b"last words")).await;
    a.peers.close().await;
    until("received", || !b.seen.payloads(Lane::Control).is_empty()).await;
    let refused = a.peers.send(ReplicaId(2), Lane::Control, Bytes::new());
    assert_eq!(refused, Err(SendError::NotConnected(ReplicaId(2))));
}

#[tokio::test]
async fn a_peer_that_restarts_is_found_again() {
    let authority = Authority::new();
    let (a, b, members) =
        two(Start::new(1, Some(authority.tls("a"))), Start::new(2, Some(authority.tls("b")))).await;
    send(&a, 2, Lane::Control, Bytes::from_static(b"before")).await;
    until("received", || !b.seen.payloads(Lane::Control).is_empty()).await;
    b.peers.close().await;
    drop(b);
    until("down", || a.seen.count(|e| *e == Event::Down(ReplicaId(2))) == 1).await;
    let refused = a.peers.send(ReplicaId(2), Lane::Control, Bytes::new());
    assert_eq!(refused, Err(SendError::NotConnected(ReplicaId(2))));

    let again = TcpListener::bind(&members[1].address).await.unwrap();
    let b = Start { incarnation: 2, ..Start::new(2, Some(authority.tls("b"))) }.on(again, &members);
    send(&a, 2, Lane::Control, Bytes::from_static(b"after")).await;
    send(&b, 1, Lane::Control, Bytes::from_static(b"after")).await;
    until("received", || {
        b.seen.payloads(Lane::Control) == ["after"] && a.seen.payloads(Lane::Control) == ["after"]
    })
    .await;
}

/// Says hello to `to` as `hello` and returns why it was refused.
async fn refusal(to: &Member, hello: &Hello, tls: Option<&PeerTls>) -> Reason {
    let mut channel = link::dial(&to.address, &to.name, tls).await.unwrap();
    let asked = link::ask::<Welcome>(&mut channel, Kind::Hello, hello, Kind::Welcome);
    match asked.await {
        Err(LinkError::Refused(reason)) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

fn hello_of_a() -> Hello {
    Hello {
        protocol_min: 1,
        protocol_max: 1,
        group: GROUP.0.to_be_bytes().to_vec(),
        replica: 1,
        incarnation: 1,
        expects: 2,
        lane: 1,
        ..Hello::default()
    }
}

fn roster(revision: u64, members: &[Member], removed: &[u64]) -> Roster {
    Roster {
        revision,
        members: members.to_vec(),
        removed: removed.iter().copied().map(ReplicaId).collect(),
    }
}

#[tokio::test]
async fn peers_come_and_go_with_the_roster() {
    let (a, b, mut members) = two(Start::new(1, None), Start::new(2, None)).await;
    let third = listener().await;
    members.push(member(3, "c", &third));
    let c = Start::new(3, None).on(third, &members);
    // Neither of the others knows it yet, and it says nothing that would make them believe it.
    until("b refuses c", || c.seen.count(|event| *event == Event::Up(ReplicaId(2))) == 0).await;
    a.peers.set_roster(roster(5, &members, &[]));
    b.peers.set_roster(roster(5, &members, &[]));
    send(&a, 3, Lane::Control, Bytes::from_static(b"welcome")).await;
    until("c heard", || c.seen.payloads(Lane::Control).len() == 1).await;
    send(&c, 1, Lane::Control, Bytes::from_static(b"thanks")).await;
    until("a heard", || a.seen.payloads(Lane::Control).len() == 1).await;

    // It goes, learns why, and is not heard any more.
    members.pop();
    a.peers.set_roster(roster(6, &members, &[3]));
    let told = Event::ToldRemoved(ReplicaId(1));
    until("c told", || c.seen.count(|event| *event == told) > 0).await;
    let refused = a.peers.send(ReplicaId(3), Lane::Control, Bytes::new());
    assert_eq!(refused, Err(SendError::UnknownPeer(ReplicaId(3))));
}

#[tokio::test]
async fn a_replica_that_lags_believes_members_that_it_has_not_heard_of() {
    let (one, new) = (listener().await, listener().await);
    let members = vec![member(1, "a", &one), member(9, "new", &new)];
    let a = Start::new(1, None).on(one, &members[..1]);
    let strange = Hello { replica: 9, expects: 1, ..hello_of_a() };
    assert_eq!(refusal(&members[0], &strange, None).await, Reason::NotAMember);
    let newer = Start::new(9, None).on(new, &members);
    newer.peers.set_roster(roster(7, &members, &[]));
    // It knows more of the record, so it is let in, and answers reach it.
    send(&newer, 1, Lane::Control, Bytes::from_static(b"I lead")).await;
    until("a heard", || a.seen.payloads(Lane::Control).len() == 1).await;
    send(&a, 9, Lane::Control, Bytes::from_static(b"I follow")).await;
    until("new heard", || newer.seen.payloads(Lane::Control).len() == 1).await;
    // Once the record reaches as far and does not know it, it is gone.
    a.peers.set_roster(roster(7, &members[..1], &[]));
    assert_eq!(
        a.peers.send(ReplicaId(9), Lane::Control, Bytes::new()),
        Err(SendError::UnknownPeer(ReplicaId(9)))
    );
}

#[tokio::test]
async fn a_member_that_moved_is_found_again() {
    let (one, two) = (listener().await, listener().await);
    let mut members = vec![member(1, "a", &one), member(2, "b", &two)];
    let elsewhere = member(2, "b", &listener().await);
    let mut wrong = members.clone();
    wrong[1] = elsewhere;
    let a = Start::new(1, None).on(one, &wrong);
    let b = Start::new(2, None).on(two, &members);
    until("b reaches a", || b.seen.count(|event| *event == Event::Up(ReplicaId(1))) == 1).await;
    members.sort_by_key(|member| member.id);
    a.peers.set_roster(roster(3, &members, &[]));
    send(&a, 2, Lane::Control, Bytes::from_static(b"found")).await;
    until("b heard", || b.seen.payloads(Lane::Control).len() == 1).await;
}

#[tokio::test]
async fn a_hello_that_does_not_fit_is_refused_with_its_reason() {
    let (_a, b, members) =
        two(Start { incarnation: 5, ..Start::new(1, None) }, Start::new(2, None)).await;
    send(&b, 1, Lane::Control, Bytes::new()).await;
    until("a connected", || b.seen.count(|e| *e == Event::Up(ReplicaId(1))) == 1).await;
    let sound = Hello { incarnation: 6, ..hello_of_a() };
    let other_group = Hello { group: vec![1; 16], ..sound.clone() };
    let cut_group = Hello { group: vec![0; 3], ..sound.clone() };
    let to_another = Hello { expects: 3, ..sound.clone() };
    let stranger = Hello { replica: 3, ..sound.clone() };
    let myself = Hello { replica: 2, ..sound.clone() };
    let future = Hello { protocol_min: 9, protocol_max: 12, ..sound.clone() };
    let no_lane = Hello { lane: 3, ..sound.clone() };
    for (hello, reason) in [
        (other_group, Reason::OtherGroup),
        (cut_group, Reason::OtherGroup),
        (to_another, Reason::WrongReplica),
        (stranger, Reason::NotAMember),
        (myself, Reason::NotAMember),
        (future, Reason::Version),
        (no_lane, Reason::BadHello),
    ] {
        assert_eq!(refusal(&members[1], &hello, None).await, reason, "{hello:?}");
    }

    let mut channel = link::dial(&members[1].address, "b", None).await.unwrap();
    let welcome: Welcome =
        link::ask(&mut channel, Kind::Hello, &sound, Kind::Welcome).await.unwrap();
    assert_eq!(welcome, Welcome { protocol: 1, replica: 2, incarnation: 1 });
    let older = Hello { incarnation: 4, ..sound };
    assert_eq!(refusal(&members[1], &older, None).await, Reason::OldIncarnation);
}

#[tokio::test]
async fn a_replica_of_another_group_gets_nowhere() {
    let (a, b, _) =
        two(Start::new(1, None), Start { group: GroupId(8), ..Start::new(2, None) }).await;
    nothing_passes(&a, &b).await;
}

#[tokio::test]
async fn a_certificate_of_another_ca_gets_nowhere() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    // It trusts our CA, so that only our side can refuse.
    let tls = theirs.tls_trusting("b", &ours.pem);
    let (a, b, _) = two(Start::new(1, Some(ours.tls("a"))), Start::new(2, Some(tls))).await;
    nothing_passes(&a, &b).await;
}

#[tokio::test]
async fn a_certificate_of_another_name_gets_nowhere() {
    let authority = Authority::new();
    let (a, b, members) =
        two(Start::new(1, Some(authority.tls("a"))), Start::new(2, Some(authority.tls("c")))).await;
    nothing_passes(&a, &b).await;

    // Nor may the holder of b's certificate claim to be a.
    let (_, b, members_again) =
        two(Start::new(1, Some(authority.tls("a"))), Start::new(2, Some(authority.tls("b")))).await;
    let reason = refusal(&members_again[1], &hello_of_a(), Some(&authority.tls("b"))).await;
    assert_eq!(reason, Reason::Certificate);
    drop((b, members));
}

#[tokio::test]
async fn a_replica_without_tls_gets_nowhere() {
    let authority = Authority::new();
    let (a, b, _) = two(Start::new(1, Some(authority.tls("a"))), Start::new(2, None)).await;
    nothing_passes(&a, &b).await;
}

/// Neither side hears of the other while a healthy pair shakes hands a few times.
async fn nothing_passes(a: &Replica, b: &Replica) {
    for _ in 0..3 {
        let (c, d, _) = two(Start::new(1, None), Start::new(2, None)).await;
        until("the healthy pair talks", || {
            c.seen.count(|e| matches!(e, Event::Up(_))) == 1
                && d.seen.count(|e| matches!(e, Event::Up(_))) == 1
        })
        .await;
        tokio::task::yield_now().await;
    }
    let refused = b.peers.send(ReplicaId(1), Lane::Control, Bytes::new());
    assert_eq!(refused, Err(SendError::NotConnected(ReplicaId(1))));
    assert_eq!(a.seen.count(|_| true), 0);
    assert_eq!(b.seen.count(|e| matches!(e, Event::Received(..))), 0);
}

#[tokio::test]
async fn garbage_ends_the_connection_and_nothing_else() {
    let (a, b, members) = two(Start::new(1, None), Start::new(2, None)).await;
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 64], &[0xff; 64], &[0, 0, 0, 2, 1, 1]] {
        let mut stream = TcpStream::connect(&members[1].address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        let mut rest = Vec::new();
        // Closed or reset: both end it.
        drop(stream.read_to_end(&mut rest).await);
        assert!(rest.is_empty(), "{rest:?}");
    }
    send(&a, 2, Lane::Control, Bytes::from_static(b"still here")).await;
    until("received", || b.seen.payloads(Lane::Control) == ["still here"]).await;
}

#[tokio::test]
async fn a_giant_frame_of_a_member_ends_its_connection() {
    let one = listener().await;
    let two = listener().await;
    let members = [member(1, "a", &one), member(2, "b", &two)];
    let b = Start::new(2, None).on(two, &members);
    let mut channel = link::dial(&members[1].address, "b", None).await.unwrap();
    let _: Welcome =
        link::ask(&mut channel, Kind::Hello, &hello_of_a(), Kind::Welcome).await.unwrap();
    let mut stream = channel.into_inner();
    let length = u32::try_from(MAX_PAYLOAD + 6).unwrap();
    stream.write_all(&length.to_be_bytes()).await.unwrap();
    let mut rest = Vec::new();
    drop(stream.read_to_end(&mut rest).await);
    assert!(rest.is_empty());
    assert_eq!(b.seen.count(|e| matches!(e, Event::Received(..))), 0);
}

#[tokio::test]
async fn silent_strangers_do_not_keep_a_replica_out() {
    let (one, two) = (listener().await, listener().await);
    let members = [member(1, "a", &one), member(2, "b", &two)];
    let b = Start::new(2, None).on(two, &members);
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(&members[1].address).await.unwrap());
    }
    let a = Start::new(1, None).on(one, &members);
    send(&a, 2, Lane::Control, Bytes::from_static(b"through")).await;
    until("received", || b.seen.payloads(Lane::Control) == ["through"]).await;
    drop(silent);
}

#[tokio::test]
async fn a_member_of_a_group_says_so_to_one_that_wants_to_begin() {
    let authority = Authority::new();
    let (_a, _b, members) =
        two(Start::new(1, Some(authority.tls("a"))), Start::new(2, Some(authority.tls("b")))).await;
    let question = Question { asker: "c".into(), report: false };
    let tls = authority.tls("c");
    let answer =
        link::question(&members[1].address, "b", Some(&tls), &question, DEADLINE).await.unwrap();
    let expected =
        Answer { name: "b".into(), group: GROUP.0.to_be_bytes().to_vec(), ..Answer::default() };
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn a_replica_of_a_group_that_was_given_up_is_refused_and_told_so() {
    let old = Start { group: GroupId(1), ..Start::new(1, None) };
    let new = Start { before: vec![GroupId(7), GroupId(1)], ..Start::new(2, None) };
    let (a, b, _) = two(old, new).await;
    until("told", || a.seen.count(|e| *e == Event::Superseded(ReplicaId(2))) > 0).await;
    assert_eq!(a.seen.count(|e| matches!(e, Event::Up(_))), 0);
    assert_eq!(b.seen.count(|e| matches!(e, Event::Up(_) | Event::Superseded(_))), 0);
}
