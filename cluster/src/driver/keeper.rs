//! The thread that writes snapshots and moves their chunks.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    iter::Peekable,
    sync::{Arc, mpsc::Receiver},
    time::Instant,
};

use bytes::Bytes;

use super::shared::Shared;
use crate::{
    core::{Input, message::PeerMessage},
    group::{SaveError, SavedSnapshot, StartError},
    machine::StateMachine,
    net::{Lane, Peers},
    sessions::{Picture, Replicated},
    snapshot::{SnapshotError, SnapshotMeta, SnapshotReader, SnapshotReceiver, SnapshotStore},
    types::{GroupId, ReplicaId},
};

pub(crate) enum KeepJob<M: StateMachine> {
    Save { picture: Picture<M>, conf: Bytes, ticket: u64 },
    Send { to: ReplicaId, transfer: u64, index: u64, first: u64, count: u64 },
    Receive { from: ReplicaId, transfer: u64, meta: SnapshotMeta },
    Store { from: ReplicaId, transfer: u64, last: bool, data: Bytes },
}

struct Outgoing {
    transfer: u64,
    next: u64,
    /// The last chunk is sent: what is still asked for was asked before the receiver knew.
    done: bool,
    chunks: Peekable<SnapshotReader>,
}

pub(crate) struct Keeper<M: StateMachine> {
    shared: Arc<Shared<M>>,
    jobs: Receiver<KeepJob<M>>,
    store: Arc<dyn SnapshotStore>,
    peers: Peers,
    group: GroupId,
    newest: Option<SnapshotMeta>,
    outgoing: BTreeMap<ReplicaId, Outgoing>,
    incoming: Option<(ReplicaId, u64, SnapshotReceiver)>,
}

impl<M: StateMachine> Keeper<M> {
    pub(crate) fn new(
        shared: Arc<Shared<M>>,
        jobs: Receiver<KeepJob<M>>,
        store: Arc<dyn SnapshotStore>,
        peers: Peers,
        group: GroupId,
        newest: Option<SnapshotMeta>,
    ) -> Self {
        let (outgoing, incoming) = (BTreeMap::new(), None);
        Self { shared, jobs, store, peers, group, newest, outgoing, incoming }
    }

    pub(crate) fn run(mut self) -> Result<(), StartError> {
        while let Ok(job) = self.jobs.recv() {
            match job {
                KeepJob::Save { picture, conf, ticket } => self.save(&picture, conf, ticket)?,
                KeepJob::Send { to, transfer, index, first, count } => {
                    if let Err(error) = self.send(to, transfer, index, first, count) {
                        // The receiver's patience ends, and it is offered a newer one.
                        tracing::warn!(peer = %to, %error, "a snapshot is not sent on");
                        self.outgoing.remove(&to);
                    }
                }
                KeepJob::Receive { from, transfer, meta } => {
                    self.incoming = None;
                    match self.store.receive(meta) {
                        Ok(receiver) => self.incoming = Some((from, transfer, receiver)),
                        Err(error) if is_full(&error) => self.received(from, transfer, false),
                        Err(error) => return Err(error.into()),
                    }
                }
                KeepJob::Store { from, transfer, last, data } => {
                    self.store_chunk(from, transfer, last, &data)?;
                }
            }
        }
        Ok(())
    }

    fn save(&mut self, picture: &Picture<M>, conf: Bytes, ticket: u64) -> Result<(), StartError> {
        if picture.index == 0 {
            self.not_saved(ticket, SaveError::NothingYet);
            return Ok(());
        }
        let began = Instant::now();
        let newest = self.newest.take_if(|newest| newest.index >= picture.index);
        let meta = match newest.map_or_else(|| self.write(picture, conf), Ok) {
            Ok(meta) => meta,
            // There is room again some day, and until then the log stays longer.
            Err(error) if is_full(&error) => {
                self.not_saved(ticket, SaveError::DiskFull);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        count("save", "ok");
        metrics::histogram!("muster_raft_snapshot_duration_seconds", "direction" => "save")
            .record(began.elapsed().as_secs_f64());
        self.newest = Some(meta.clone());
        self.shared.inbox.push(Input::SnapshotSaved(meta.clone()));
        let path = self.store.path(meta.index).unwrap_or_default();
        self.shared.wishes.answer(ticket, &Ok(SavedSnapshot { meta, path }));
        Ok(())
    }

    fn write(&self, picture: &Picture<M>, conf: Bytes) -> Result<SnapshotMeta, SnapshotError> {
        let meta = SnapshotMeta {
            group: self.group,
            index: picture.index,
            term: picture.term,
            conf,
            time: picture.time,
            digest: 0,
        };
        self.store.write(meta, &mut picture.records())
    }

    fn not_saved(&self, ticket: u64, why: SaveError) {
        tracing::warn!(%why, "no snapshot is saved");
        count("save", "failed");
        self.shared.inbox.push(Input::SnapshotNotSaved);
        self.shared.wishes.answer(ticket, &Err(why));
    }

    fn send(
        &mut self,
        to: ReplicaId,
        transfer: u64,
        index: u64,
        first: u64,
        count: u64,
    ) -> Result<(), SnapshotError> {
        if self.outgoing.get(&to).is_some_and(|sent| sent.transfer == transfer && sent.done) {
            return Ok(());
        }
        let fits = |outgoing: &Outgoing| outgoing.transfer == transfer && outgoing.next == first;
        let mut outgoing = if let Some(outgoing) = self.outgoing.remove(&to).filter(fits) {
            outgoing
        } else {
            let mut chunks = self.store.open(index)?.peekable();
            for _ in 0..first {
                chunks.next().transpose()?;
            }
            Outgoing { transfer, next: first, done: false, chunks }
        };
        for _ in 0..count {
            let Some(data) = outgoing.chunks.next().transpose()? else { return Ok(()) };
            let last = outgoing.chunks.peek().is_none();
            let payload = PeerMessage::snapshot_chunk(transfer, outgoing.next, last, data);
            outgoing.next += 1;
            if let Err(error) = self.peers.send(to, Lane::Bulk, payload) {
                tracing::debug!(peer = %to, %error, "a chunk is lost");
                return Ok(());
            }
            if last {
                outgoing.done = true;
                break;
            }
        }
        self.outgoing.insert(to, outgoing);
        Ok(())
    }

    fn store_chunk(
        &mut self,
        from: ReplicaId,
        transfer: u64,
        last: bool,
        data: &Bytes,
    ) -> Result<(), StartError> {
        let ours = |(peer, name, _): &mut (ReplicaId, u64, _)| *peer == from && *name == transfer;
        let Some((_, _, mut receiver)) = self.incoming.take_if(ours) else { return Ok(()) };
        let stored = match receiver.push(data) {
            Ok(()) if last => receiver.finish().map(|meta| {
                tracing::info!(peer = %from, index = meta.index, "received a snapshot");
                self.newest = Some(meta);
            }),
            Ok(()) => {
                self.incoming = Some((from, transfer, receiver));
                self.shared.inbox.push(Input::ChunkStored { from, transfer });
                return Ok(());
            }
            Err(error) => Err(error),
        };
        let ok = match stored {
            Ok(()) => true,
            Err(SnapshotError::Refused { what }) => {
                tracing::warn!(peer = %from, what, "a received snapshot is refused");
                false
            }
            Err(SnapshotError::TooLarge { .. }) => false,
            Err(error) if is_full(&error) => {
                tracing::warn!(peer = %from, "no room for a snapshot");
                false
            }
            Err(error) => return Err(error.into()),
        };
        self.received(from, transfer, ok);
        Ok(())
    }

    fn received(&self, from: ReplicaId, transfer: u64, ok: bool) {
        count("receive", if ok { "ok" } else { "refused" });
        self.shared.inbox.push(Input::SnapshotReceived { from, transfer, ok });
    }
}

/// There is room again some day; until then the replica goes on without.
fn is_full(error: &SnapshotError) -> bool {
    matches!(error, SnapshotError::Io { source, .. } if source.kind() == ErrorKind::StorageFull)
}

fn count(direction: &'static str, result: &'static str) {
    metrics::counter!("muster_raft_snapshots_total", "direction" => direction, "result" => result)
        .increment(1);
}

/// Reads a state back from its snapshot.
pub(crate) fn load_state<M: StateMachine>(
    store: &dyn SnapshotStore,
    index: u64,
) -> Result<Replicated<M>, StartError> {
    let mut chunks = store.open(index)?;
    let mut broken = None;
    let loaded = Replicated::load(&mut std::iter::from_fn(|| {
        let chunk = chunks.next()?;
        chunk.map_err(|error| broken = Some(error)).ok()
    }));
    match broken {
        Some(error) => Err(error.into()),
        None => Ok(loaded?),
    }
}
