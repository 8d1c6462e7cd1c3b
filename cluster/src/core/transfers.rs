//! Moving a snapshot from one replica's disk to another's. The receiver asks for chunks as it
//! stores them; raft hears of the snapshot only when all of it is on the receiver's disk.

use std::collections::BTreeMap;

use raft::eraftpb::Message;

use super::{
    io::Output,
    message::{Kind, PeerMessage, SnapshotChunk, SnapshotHead, SnapshotVerdict, SnapshotWant},
};
use crate::{net::Lane, snapshot::SnapshotMeta, types::ReplicaId};

/// Chunks under way to one receiver.
const WINDOW: u64 = 4;

struct Sending {
    transfer: u64,
    index: u64,
    touched: u64,
}

struct Receiving {
    from: ReplicaId,
    transfer: u64,
    meta: SnapshotMeta,
    message: Message,
    /// Number of the next chunk.
    next: u64,
    /// Chunks asked for so far.
    asked: u64,
    touched: u64,
    /// All chunks are here; the disk is making them durable, however long that takes.
    finishing: bool,
}

#[derive(Default)]
pub(super) struct Transfers {
    started: u64,
    sending: BTreeMap<ReplicaId, Sending>,
    receiving: Option<Receiving>,
}

impl Transfers {
    /// Transfer names of different starts of a process differ.
    pub(super) fn new(incarnation: u64) -> Self {
        Self { started: incarnation << 24, ..Self::default() }
    }

    /// Offers a snapshot.
    pub(super) fn offer(
        &mut self,
        to: ReplicaId,
        meta: &SnapshotMeta,
        raft: bytes::Bytes,
        tick: u64,
        out: &mut Vec<Output>,
    ) {
        self.started += 1;
        let sending = Sending { transfer: self.started, index: meta.index, touched: tick };
        self.sending.insert(to, sending);
        let head = Kind::SnapshotHead(SnapshotHead::new(self.started, meta, raft));
        out.push(send(to, Lane::Bulk, head));
    }

    /// The receiver asks for chunks.
    pub(super) fn wanted(
        &mut self,
        from: ReplicaId,
        want: SnapshotWant,
        tick: u64,
        out: &mut Vec<Output>,
    ) {
        let Some(sending) = self.sending.get_mut(&from) else { return };
        if sending.transfer != want.transfer {
            return;
        }
        sending.touched = tick;
        if want.count == 0 {
            // The receiver is still at it.
            return;
        }
        out.push(Output::SendChunks {
            to: from,
            transfer: want.transfer,
            index: sending.index,
            first: want.first,
            count: want.count.min(WINDOW),
        });
    }

    /// Whether this ends a transfer that was under way.
    pub(super) fn ended(&mut self, from: ReplicaId, transfer: u64) -> bool {
        let ours = self.sending.get(&from).is_some_and(|sending| sending.transfer == transfer);
        if ours {
            self.sending.remove(&from);
        }
        ours
    }

    /// Whether a transfer to this peer was under way; it is not any more.
    pub(super) fn broken(&mut self, peer: ReplicaId) -> bool {
        self.sending.remove(&peer).is_some()
    }

    /// Leadership was lost: raft waits for no report any more.
    pub(super) fn forget_sending(&mut self) {
        self.sending.clear();
    }

    /// The peers to whom a transfer stands still; their transfers are given up. Whoever waits for its
    /// own disk says so.
    pub(super) fn tick(
        &mut self,
        tick: u64,
        patience: u64,
        out: &mut Vec<Output>,
    ) -> Vec<ReplicaId> {
        let stuck = |receiving: &Receiving| tick >= receiving.touched + patience;
        self.receiving.take_if(|receiving| !receiving.finishing && stuck(receiving));
        let due = |receiving: &Receiving| tick >= receiving.touched + patience / 4;
        if let Some(receiving) = &mut self.receiving
            && receiving.finishing
            && due(receiving)
        {
            receiving.touched = tick;
            out.push(want(receiving.from, receiving.transfer, receiving.next, 0));
        }
        let stuck: Vec<ReplicaId> = self
            .sending
            .iter()
            .filter(|(_, sending)| tick >= sending.touched + patience)
            .map(|(peer, _)| *peer)
            .collect();
        self.sending.retain(|peer, _| !stuck.contains(peer));
        stuck
    }

    /// Begins to receive what `from` offers.
    pub(super) fn receive(
        &mut self,
        from: ReplicaId,
        transfer: u64,
        meta: SnapshotMeta,
        message: Message,
        tick: u64,
        out: &mut Vec<Output>,
    ) {
        out.push(Output::ReceiveSnapshot { from, transfer, meta: meta.clone() });
        out.push(want(from, transfer, 0, WINDOW));
        let asked = WINDOW;
        let (next, touched, finishing) = (0, tick, false);
        self.receiving =
            Some(Receiving { from, transfer, meta, message, next, asked, touched, finishing });
    }

    /// Takes a chunk if it is the one that comes next.
    pub(super) fn chunk(
        &mut self,
        from: ReplicaId,
        chunk: SnapshotChunk,
        tick: u64,
        out: &mut Vec<Output>,
    ) {
        let Some(receiving) = &mut self.receiving else { return };
        let next = receiving.from == from
            && receiving.transfer == chunk.transfer
            && receiving.next == chunk.number
            && receiving.next < receiving.asked;
        if !next {
            return;
        }
        receiving.next += 1;
        receiving.touched = tick;
        receiving.finishing = chunk.last;
        out.push(Output::StoreChunk {
            from,
            transfer: chunk.transfer,
            last: chunk.last,
            data: chunk.data,
        });
    }

    /// A chunk is stored: there is room for one more.
    pub(super) fn stored(
        &mut self,
        from: ReplicaId,
        transfer: u64,
        tick: u64,
        out: &mut Vec<Output>,
    ) {
        let Some(receiving) = &mut self.receiving else { return };
        if receiving.from == from && receiving.transfer == transfer {
            out.push(want(from, transfer, receiving.asked, 1));
            receiving.asked += 1;
            receiving.touched = tick;
        }
    }

    /// The snapshot is on the disk, or is not to be had: what raft was to be told.
    pub(super) fn received(
        &mut self,
        from: ReplicaId,
        transfer: u64,
        ok: bool,
        out: &mut Vec<Output>,
    ) -> Option<(SnapshotMeta, Message)> {
        let receiving = self
            .receiving
            .take_if(|receiving| receiving.from == from && receiving.transfer == transfer)?;
        out.push(verdict(from, transfer, ok));
        ok.then_some((receiving.meta, receiving.message))
    }
}

/// Tells the sender how a transfer ended.
pub(super) fn verdict(to: ReplicaId, transfer: u64, ok: bool) -> Output {
    send(to, Lane::Control, Kind::SnapshotVerdict(SnapshotVerdict { transfer, ok }))
}

fn want(to: ReplicaId, transfer: u64, first: u64, count: u64) -> Output {
    send(to, Lane::Control, Kind::SnapshotWant(SnapshotWant { transfer, first, count }))
}

fn send(to: ReplicaId, lane: Lane, kind: Kind) -> Output {
    Output::Send { to, lane, payload: PeerMessage::payload(kind) }
}
