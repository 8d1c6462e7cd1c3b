//! Three replicas in one process, over real sockets and real files.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};

use crate::{
    bootstrap,
    folder::{DataFolder, Identity, Lineage},
    group::{
        ChangeTimers, Group, GroupEnd, GroupOptions, MembershipError, NotDone, ProposeError,
        REMOVED, Role, SnapshotPolicy, StartError, Timers,
    },
    machine::{Committed, LoadError, StateMachine},
    members::{Admission, JoinDigest, Refusal},
    types::{GroupId, Member, ReplicaId, Timestamp},
};

/// Counts how often each command came; answers with that.
struct Tally(BTreeMap<Bytes, u64>);

impl StateMachine for Tally {
    type View = BTreeMap<Bytes, u64>;

    fn empty() -> Self {
        Self(BTreeMap::new())
    }

    fn apply(&mut self, entry: Committed<'_>) -> Bytes {
        assert_ne!(entry.command, b"panic", "as asked");
        let count = self.0.entry(Bytes::copy_from_slice(entry.command)).or_default();
        *count += 1;
        Bytes::from(count.to_string())
    }

    fn view(&self) -> Self::View {
        self.0.clone()
    }

    fn save(view: &Self::View) -> Box<dyn Iterator<Item = Bytes> + Send + '_> {
        Box::new(view.iter().flat_map(|(key, count)| [key.clone(), count.to_string().into()]))
    }

    fn load(records: &mut dyn Iterator<Item = Bytes>) -> Result<Self, LoadError> {
        let mut tally = BTreeMap::new();
        while let (Some(key), Some(count)) = (records.next(), records.next()) {
            let count = String::from_utf8_lossy(&count).parse();
            tally.insert(key, count.map_err(|_| LoadError("no number".into()))?);
        }
        Ok(Self(tally))
    }
}

struct Party {
    folder: tempfile::TempDir,
    members: Vec<Member>,
    snapshot: SnapshotPolicy,
    tick: Duration,
    groups: BTreeMap<ReplicaId, (Group<Tally>, GroupEnd)>,
}

const PATIENCE: Duration = Duration::from_mins(1);

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

impl Party {
    async fn new(count: u64, snapshot: SnapshotPolicy) -> Self {
        Self::ticking(Duration::from_millis(20), count, snapshot).await
    }

    async fn ticking(tick: Duration, count: u64, snapshot: SnapshotPolicy) -> Self {
        let mut members = Vec::new();
        let mut listeners = Vec::new();
        for id in 1..=count {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            members.push(Member { id: ReplicaId(id), name: format!("m{id}"), address });
            listeners.push((ReplicaId(id), listener));
        }
        let folder = tempfile::tempdir().unwrap();
        let mut party = Self { folder, members, snapshot, tick, groups: BTreeMap::new() };
        for (id, listener) in listeners {
            party.start_on(id, listener).await.unwrap();
        }
        party
    }

    /// A fresh machine that an admission was sent to.
    async fn join(&mut self, admission: Admission, listener: TcpListener) {
        let path = self.folder.path().join(admission.replica.to_string());
        let mut data = DataFolder::open(&path).unwrap();
        let started =
            bootstrap::join(&mut data, &admission, Lineage::default(), Timestamp(1)).unwrap();
        // A second start finds the same.
        assert_eq!(bootstrap::joined(&data), Some(started.clone()));
        let options = self.options(data, started.founders, started.members, listener);
        self.groups.insert(admission.replica, Group::start(options).await.unwrap());
    }

    async fn start(&mut self, id: ReplicaId) {
        let member = self.members.iter().find(|member| member.id == id).unwrap();
        let address = member.address.clone();
        let listener = until(async || TcpListener::bind(&address).await.ok()).await;
        // The process before lets go of its folder when its threads have ended.
        let mut listener = Some(listener);
        until(async || {
            let taken = match listener.take() {
                Some(listener) => listener,
                None => TcpListener::bind(&address).await.ok()?,
            };
            self.start_on(id, taken).await.ok()
        })
        .await;
    }

    async fn start_on(&mut self, id: ReplicaId, listener: TcpListener) -> Result<(), StartError> {
        let path = self.folder.path().join(id.to_string());
        let data = open(&path, id).ok_or(StartError::NoIdentity)?;
        let options = self.options(data, self.members.clone(), self.members.clone(), listener);
        self.groups.insert(id, Group::start(options).await?);
        Ok(())
    }

    fn options(
        &self,
        data: DataFolder,
        founders: Vec<Member>,
        members: Vec<Member>,
        listener: TcpListener,
    ) -> GroupOptions {
        static CLOCK: AtomicU64 = AtomicU64::new(1_000_000);
        GroupOptions {
            data,
            founders,
            members,
            listener,
            tls: None,
            timers: Timers { tick: self.tick, election_ticks: 10, heartbeat_ticks: 2 },
            snapshot: self.snapshot,
            changes: ChangeTimers { gate: Duration::from_millis(200), ..ChangeTimers::default() },
            seed: 7,
            clock: Arc::new(|| Timestamp(CLOCK.fetch_add(1, Ordering::Relaxed))),
        }
    }

    fn group(&self, id: ReplicaId) -> Group<Tally> {
        self.groups[&id].0.clone()
    }

    async fn leader(&self) -> ReplicaId {
        until(async || {
            let leads = |group: &Group<Tally>| group.status().role == Role::Leader;
            self.groups.iter().find(|(_, (group, _))| leads(group)).map(|(id, _)| *id)
        })
        .await
    }

    async fn follower(&self) -> ReplicaId {
        let leader = self.leader().await;
        *self.groups.keys().find(|id| **id != leader).unwrap()
    }
}

fn open(path: &Path, id: ReplicaId) -> Option<DataFolder> {
    let mut data = DataFolder::open(path).ok()?;
    let identity = Identity {
        group: GroupId(9),
        replica: id,
        name: format!("m{}", id.0),
        created: Timestamp(0),
        lineage: Lineage::default(),
    };
    data.adopt(identity).ok()?;
    Some(data)
}

async fn until<T>(mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = soon();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "it never came to this");
        sleep(Duration::from_millis(10)).await;
    }
}

fn command(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_costs_nothing_acknowledged() {
    let mut party = Party::new(3, SnapshotPolicy::default()).await;
    let leader = party.leader().await;
    let survivor = party.follower().await;
    let group = party.group(survivor);
    for number in 0..20 {
        let applied = group.propose(command(&number.to_string()), soon()).await.unwrap();
        assert_eq!(applied.reply, "1");
    }
    // Some are on their way while the leader dies; a retry of one is not a second one.
    let under_way: Vec<_> = (20..60)
        .map(|number| {
            let group = group.clone();
            tokio::spawn(async move { group.propose(command(&number.to_string()), soon()).await })
        })
        .collect();
    party.groups.remove(&leader);
    for proposal in under_way {
        assert_eq!(proposal.await.unwrap().unwrap().reply, "1");
    }
    party.start(leader).await;
    let back = party.group(leader);
    let view = until(async || back.read(soon()).await.ok()).await.view;
    assert_eq!(view.len(), 60);
    assert!(view.values().all(|count| *count == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_anywhere_sees_what_was_acknowledged_elsewhere() {
    let party = Party::new(3, SnapshotPolicy::default()).await;
    party.leader().await;
    let groups: Vec<_> = party.groups.values().map(|(group, _)| group.clone()).collect();
    for number in 0_usize..30 {
        let text = number.to_string();
        let written = groups[number % 3].propose(command(&text), soon()).await.unwrap();
        let read = groups[(number + 1) % 3].read(soon()).await.unwrap();
        assert!(read.view.contains_key(text.as_bytes()));
        assert!(read.index >= written.index);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_hands_leadership_over() {
    let mut party = Party::new(3, SnapshotPolicy::default()).await;
    let leader = party.leader().await;
    party.group(leader).propose(command("one"), soon()).await.unwrap();
    let (group, end) = party.groups.remove(&leader).unwrap();
    group.shutdown().await;
    assert_eq!(end.await.exit_code, 0);
    let refused = group.propose(command("two"), soon()).await.unwrap_err();
    assert_eq!(refused, ProposeError::NotDone(NotDone::Stopping));
    let next = party.leader().await;
    assert_ne!(next, leader);
    party.group(next).propose(command("three"), soon()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_away_is_caught_up_by_a_snapshot() {
    let policy = SnapshotPolicy { every_entries: 50, keep_entries: 5, ..SnapshotPolicy::default() };
    let mut party = Party::new(3, policy).await;
    let away = party.follower().await;
    party.groups.remove(&away);
    let leader = party.leader().await;
    let group = party.group(leader);
    for number in 0..200 {
        group.propose(command(&number.to_string()), soon()).await.unwrap();
    }
    let (meta, path) = group.save_snapshot().await.unwrap();
    assert!(meta.index >= 200);
    assert!(path.is_file());
    party.start(away).await;
    let back = party.group(away);
    until(async || (back.local().view.len() == 200).then_some(())).await;
    party.group(away).propose(command("again"), soon()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_promised() {
    let mut party = Party::new(3, SnapshotPolicy::default()).await;
    let only = party.follower().await;
    let others: Vec<_> = party.groups.keys().copied().filter(|id| *id != only).collect();
    for id in others {
        party.groups.remove(&id);
    }
    let group = party.group(only);
    until(async || group.status().leader.is_none().then_some(())).await;
    let refused = until(async || {
        let deadline = Instant::now() + Duration::from_millis(50);
        match group.propose(command("alone"), deadline).await {
            Err(ProposeError::NotDone(reason)) => Some(reason),
            _ => None,
        }
    })
    .await;
    assert_eq!(refused, NotDone::NoLeader);
    assert!(group.read(Instant::now() + Duration::from_millis(50)).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_state_machine_stops_the_replica() {
    let mut party = Party::new(1, SnapshotPolicy::default()).await;
    let leader = party.leader().await;
    let (group, end) = party.groups.remove(&leader).unwrap();
    group.propose(command("fine"), soon()).await.unwrap();
    assert!(group.propose(command("panic"), soon()).await.is_err());
    assert_eq!(end.await.exit_code, 70);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_where_it_is_wanted() {
    let party = Party::new(3, SnapshotPolicy::default()).await;
    let follower = party.follower().await;
    let asked = party.group(party.leader().await);
    asked.propose(command("settle"), soon()).await.unwrap();
    asked.transfer_leader(Some(follower), soon()).await.unwrap();
    until(async || (party.group(follower).status().role == Role::Leader).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_replica_alone_restarts_where_it_was() {
    let mut party = Party::new(1, SnapshotPolicy::default()).await;
    let me = party.leader().await;
    for _ in 0..3 {
        party.group(me).propose(command("tick"), soon()).await.unwrap();
    }
    let (group, _) = party.groups.remove(&me).unwrap();
    group.shutdown().await;
    drop(group);
    party.start(me).await;
    party.leader().await;
    let reply = party.group(me).propose(command("tick"), soon()).await.unwrap().reply;
    assert_eq!(reply, "4");
}

/// Lets a new replica in through `through` and starts it.
async fn grow(party: &mut Party, through: ReplicaId, name: &str) -> ReplicaId {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (group, digest) = (party.group(through), JoinDigest::of(name));
    group.mint_join_token(digest, Duration::from_hours(1), soon()).await.unwrap();
    let admission = group.admit(digest, name, &address, "", soon()).await.unwrap();
    let again = group.admit(digest, name, &address, "", soon()).await.unwrap();
    assert_eq!(admission.replica, again.replica, "the answer was lost and asked for again");
    let id = admission.replica;
    party.join(admission, listener).await;
    id
}

fn voters(group: &Group<Tally>) -> usize {
    group.status().members.iter().filter(|member| member.voter).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_becomes_three_and_one_again_under_load() {
    let mut party = Party::new(1, SnapshotPolicy::default()).await;
    let first = party.leader().await;
    let busy = party.group(first);
    let load = tokio::spawn(async move {
        let mut written = 0;
        while written < 20_000 {
            match busy.propose(command(&format!("load {written}")), soon()).await {
                Ok(applied) => assert_eq!(applied.reply, "1"),
                Err(ProposeError::MayBeDone(_) | ProposeError::NotDone(NotDone::Stopping)) => break,
                Err(ProposeError::NotDone(_)) => continue,
            }
            written += 1;
        }
        written
    });
    let second = grow(&mut party, first, "second").await;
    let third = grow(&mut party, second, "third").await;
    // Both become voters in one change, and nothing else begins before that has ended.
    until(async || {
        let status = party.group(third).status();
        (voters(&party.group(third)) == 3 && status.change.is_none()).then_some(())
    })
    .await;
    // From here on each of them may be missed: the first one is removed while it leads.
    let asked = party.group(third);
    asked.transfer_leader(Some(first), soon()).await.unwrap();
    let refused = asked.remove(&[first], false, soon()).await;
    assert_eq!(refused, Err(MembershipError::Refused(Refusal::Even(2))));
    asked.remove(&[first, second], false, soon()).await.unwrap();
    for gone in [first, second] {
        // Held on to: one that is dropped stops before it hears that it was removed.
        let (_group, end) = party.groups.remove(&gone).unwrap();
        let end = tokio::time::timeout(PATIENCE, end).await.unwrap();
        assert_eq!(end.exit_code, REMOVED, "{}", end.reason);
    }
    let written = load.await.unwrap();
    assert!(written > 0);
    asked.propose(command("alone"), soon()).await.unwrap();
    let view = asked.read(soon()).await.unwrap().view;
    for number in 0..written {
        let acknowledged = command(&format!("load {number}"));
        assert!(view.contains_key(&acknowledged), "{acknowledged:?} was acknowledged");
    }
    assert!(view.values().all(|count| *count == 1));
    assert_eq!(asked.record().tombstones.len(), 2);

    // Whoever was removed does not come back, not even with its old folder.
    let back = until(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.ok()?;
        let path = party.folder.path().join(first.to_string());
        let data = open(&path, first)?;
        let options = party.options(data, party.members.clone(), party.members.clone(), listener);
        Some(Group::<Tally>::start(options).await)
    })
    .await;
    match back {
        Ok((_group, end)) => {
            let end = tokio::time::timeout(PATIENCE, end).await.unwrap();
            assert_eq!(end.exit_code, REMOVED);
        }
        Err(refused) => assert_eq!(refused.exit_code(), REMOVED, "{refused}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joiner_restarts_and_a_token_is_good_for_one() {
    let policy = SnapshotPolicy { every_entries: 20, keep_entries: 5, ..SnapshotPolicy::default() };
    let mut party = Party::new(1, policy).await;
    let first = party.leader().await;
    for number in 0..100 {
        party.group(first).propose(command(&number.to_string()), soon()).await.unwrap();
    }
    let second = grow(&mut party, first, "second").await;
    until(async || (party.group(second).local().view.len() == 100).then_some(())).await;
    let digest = JoinDigest::of("second");
    let refused = party.group(first).admit(digest, "other", "h:1", "", soon()).await;
    assert_eq!(refused, Err(MembershipError::Refused(Refusal::TokenUsed)));
    let address = party.group(second).record().members[&second].member.address.clone();
    let (group, end) = party.groups.remove(&second).unwrap();
    group.shutdown().await;
    assert_eq!(end.await.exit_code, 0);
    drop(group);
    let listener = until(async || TcpListener::bind(&address).await.ok()).await;
    let path = party.folder.path().join(second.to_string());
    let data = until(async || DataFolder::open(&path).ok()).await;
    let started = bootstrap::joined(&data).unwrap();
    let options = party.options(data, started.founders, started.members, listener);
    party.groups.insert(second, Group::start(options).await.unwrap());
    let reply = party.group(second).propose(command("99"), soon()).await.unwrap().reply;
    assert_eq!(reply, "2");
    assert_eq!(voters(&party.group(second)), 1, "two voters bear no more than one");
}

/// Whatever is brought to the core is taken at once, whoever else turns it just then: here the next
/// tick would come too late.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_waits_for_a_tick() {
    let tick = PATIENCE;
    let party = Party::ticking(tick, 1, SnapshotPolicy::default()).await;
    let group = party.group(party.leader().await);
    let deadline = Instant::now() + tick / 2;
    let clients: Vec<_> = (0..16)
        .map(|client| {
            let group = group.clone();
            tokio::spawn(async move {
                for number in 0..100 {
                    let text = format!("{client}.{number}");
                    group.propose(command(&text), deadline).await.unwrap();
                    let read = group.read(deadline).await.unwrap();
                    assert!(read.view.contains_key(text.as_bytes()));
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
}
