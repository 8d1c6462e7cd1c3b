//! Bringing a replica up: first what is on its disk, then its peers, then its threads.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64},
        mpsc::{channel, sync_channel},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{
    QUEUE,
    applier::{Applier, ApplyJobs},
    desk::{Proposals, Tickets},
    end::Ending,
    inbox::Inbox,
    keeper::{Keeper, load_state},
    metrics::Gauges,
    runner::Runner,
    shared::{Events, Shared, StatusRecord},
    turns::{Seat, keep_applying, keep_ticking},
    writer::Writer,
};
use crate::{
    core::{Core, CoreConfig, Leadership, reconcile},
    folder::DataFolder,
    group::{GroupEnd, GroupOptions, Inner, Published, StartError},
    log::{FileLog, LogStore},
    machine::StateMachine,
    net::{PeerOptions, Peers},
    sessions::Replicated,
    snapshot::{FileSnapshots, SnapshotMeta, SnapshotStore},
    stall::{Advice, StallWatch},
    types::GroupId,
};

/// What a data folder holds.
struct Opened<M> {
    log: Box<dyn LogStore>,
    store: Arc<dyn SnapshotStore>,
    newest: Option<SnapshotMeta>,
    state: Replicated<M>,
    core: Core,
    data: DataFolder,
}

pub(crate) async fn start<M: StateMachine>(
    options: GroupOptions,
) -> Result<(Inner<M>, GroupEnd), StartError> {
    let GroupOptions {
        data,
        founders,
        members,
        listener,
        tls,
        timers,
        snapshot,
        changes,
        seed,
        clock,
    } = options;
    let identity = data.identity().cloned().ok_or(StartError::NoIdentity)?;
    let (group, me, incarnation) = (identity.group, identity.replica, data.incarnation());
    if members.iter().all(|member| member.id != me) {
        return Err(StartError::NotAMember(me));
    }
    let config = CoreConfig {
        group,
        me,
        incarnation,
        founders,
        members: members.clone(),
        state_format: M::FORMAT,
        seed,
        election_ticks: timers.election_ticks,
        heartbeat_ticks: timers.heartbeat_ticks,
        snapshot,
        changes: changes.in_ticks(timers.tick),
    };
    let opened = tokio::task::spawn_blocking(move || open::<M>(data, config))
        .await
        .map_err(|error| StartError::Panicked(error.to_string()))??;
    let (ending, ended) = Ending::new();
    let shared = Arc::new(Shared {
        me,
        incarnation,
        inbox: Inbox::default(),
        core: Seat::default(),
        jobs: ApplyJobs::default(),
        state: Seat::default(),
        proposals: Proposals::default(),
        reads: Tickets::default(),
        wishes: Tickets::default(),
        published: ArcSwap::from_pointee(published(&opened.state)),
        status: ArcSwap::from_pointee(StatusRecord {
            core: opened.core.status(),
            ticked: Instant::now(),
            leader_heard: None,
        }),
        leadership: watch::Sender::new(Leadership::default()),
        leaderless: AtomicBool::new(false),
        disk_full: AtomicBool::new(false),
        disk_low: AtomicBool::new(false),
        disk_free: AtomicU64::new(u64::MAX),
        ending,
        report: OnceLock::new(),
        group,
        record: watch::Sender::new(Arc::clone(opened.core.record())),
        settings: members,
    });
    let roster = shared.roster(opened.core.record());
    let peers = Peers::start(
        PeerOptions {
            group,
            before: identity.lineage.before,
            me,
            incarnation,
            listener,
            tls,
            members: roster.members.clone(),
            settings: shared.settings.clone(),
            election_timeout: timers.tick * timers.election_ticks,
        },
        Arc::new(Events(Arc::clone(&shared))),
    );
    peers.set_roster(roster);
    let inner = Inner { shared, peers, timers, threads: Mutex::default() };
    spawn_all(&inner, opened, group, clock)?;
    Ok((inner, GroupEnd(ended)))
}

fn open<M: StateMachine>(data: DataFolder, config: CoreConfig) -> Result<Opened<M>, StartError> {
    let mut log: Box<dyn LogStore> = Box::new(FileLog::open(&data.log_path())?);
    let store: Arc<dyn SnapshotStore> = Arc::new(FileSnapshots::open(&data.snapshots_path())?);
    let newest = store.latest()?;
    let (loaded, repair) = reconcile(log.load()?, newest.as_ref())?;
    if let Some(batch) = repair {
        log.write(&[batch])?;
    }
    let state = match &newest {
        Some(meta) => load_state(store.as_ref(), meta.index)?,
        None => Replicated::empty(),
    };
    let core = Core::new(config, loaded, newest.clone())?;
    Ok(Opened { log, store, newest, state, core, data })
}

fn spawn_all<M: StateMachine>(
    inner: &Inner<M>,
    opened: Opened<M>,
    group: GroupId,
    clock: crate::group::Clock,
) -> Result<(), StartError> {
    let Opened { log, store, newest, state, core, data } = opened;
    let opened_record = Arc::clone(core.record());
    let Inner { shared, peers, timers, .. } = inner;
    // The core never waits for its threads: it bounds what lies before them by refusing to take more.
    let (to_writer, for_writer) = channel();
    let (to_keeper, for_keeper) = sync_channel(QUEUE);
    let writer = Writer::new(Arc::clone(shared), for_writer, log, data);
    let applier = Applier {
        shared: Arc::clone(shared),
        state,
        store: Arc::clone(&store),
        keeper: to_keeper.clone(),
        took: metrics::histogram!("muster_raft_apply_duration_seconds"),
    };
    let keeper = Keeper::new(Arc::clone(shared), for_keeper, store, peers.clone(), group, newest);
    let runner = Runner {
        core,
        clock,
        tick: timers.tick,
        patience: u64::from(timers.election_ticks) * 3,
        peers: peers.clone(),
        writer: to_writer,
        keeper: to_keeper,
        gauges: Gauges::new(shared.me, opened_record.as_ref()),
        clogged: BTreeSet::new(),
        leader_heard: None,
        leaderless: 0,
        writes: VecDeque::new(),
        stall: StallWatch::default(),
        advice: Advice::GoOn,
        began: Instant::now(),
        out: Vec::new(),
        mail: BTreeSet::new(),
        shared: Arc::clone(shared),
    };
    shared.state.take(applier);
    shared.core.take(runner);
    let (applying, ticking, tick) = (Arc::clone(shared), Arc::clone(shared), timers.tick);
    let threads = vec![
        shared.spawn("log", || writer.run())?,
        shared.spawn("apply", move || {
            keep_applying(&applying);
            Ok(())
        })?,
        shared.spawn("keep", || keeper.run())?,
        shared.spawn("core", move || {
            keep_ticking(&ticking, tick);
            Ok(())
        })?,
    ];
    *inner.threads.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = threads;
    Ok(())
}

fn published<M: StateMachine>(state: &Replicated<M>) -> Published<M::View> {
    Published {
        view: state.machine().view(),
        index: state.index(),
        term: state.term(),
        time: state.time(),
    }
}
