//! One replica: what outlives its processes, and the process that runs now.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use muster_cluster::core::{Core, Input, Leadership, Proposal};
use muster_cluster::disk::{DiskSpace, DiskWatch};
use muster_cluster::log::{FileLog, LogBatch, LogEntry, LogMark};
use muster_cluster::sessions::{Envelope, Replicated};
use muster_cluster::snapshot::{FileSnapshots, SnapshotMeta, SnapshotReceiver};
use muster_cluster::stall::StallWatch;
use muster_cluster::types::{ReplicaId, RequestId};

use crate::agenda::Micros;
use crate::disk::Disk;
use crate::folder::Folder;
use crate::invariants::progress::Progress;
use crate::machine::Machine;
use crate::network::Place;
use crate::shadow::{Model, Shadow};
use crate::world::Local;

/// A data folder, a clock, and perhaps a process.
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own, in any combination")]
pub(crate) struct Replica {
    pub(crate) disk: Disk,
    /// Of the fence beside the log.
    pub(crate) fence: Disk,
    pub(crate) shadow: Shadow,
    pub(crate) folder: Folder,
    /// Room that is left, as the operating system says.
    pub(crate) space: DiskSpace,
    /// Something that it acknowledged may have changed on its disk.
    pub(crate) rotten: bool,
    /// It found that out, and will not start again.
    pub(crate) lost: bool,
    pub(crate) incarnation: u64,
    pub(crate) progress: Progress,
    /// Microseconds that the wall clock is ahead of the world's.
    pub(crate) clock: i64,
    /// Millionths by which all of its clocks are too fast.
    pub(crate) rate: i64,
    /// The disk answers nothing before this time.
    pub(crate) stalled_until: Micros,
    /// The disk takes seconds for everything.
    pub(crate) slow: bool,
    /// How often it still crashes right after its start.
    pub(crate) crash_again: u64,
    pub(crate) paused: bool,
    /// What happened to a paused process, for when it goes on.
    pub(crate) backlog: VecDeque<Local>,
    pub(crate) process: Option<Process>,
}

impl Replica {
    pub(crate) fn new(clock: i64, rate: i64) -> Self {
        Self {
            disk: Disk::default(),
            fence: Disk::default(),
            shadow: Shadow::default(),
            folder: Folder::default(),
            space: ROOMY,
            rotten: false,
            lost: false,
            incarnation: 0,
            progress: Progress::default(),
            clock,
            rate,
            stalled_until: 0,
            slow: false,
            crash_again: 0,
            paused: false,
            backlog: VecDeque::new(),
            process: None,
        }
    }
}

/// A disk with plenty of room.
pub(crate) const ROOMY: DiskSpace = DiskSpace { available: 50 << 30, total: 100 << 30 };

/// Work for the log writer.
#[derive(Debug)]
pub(crate) enum Writing {
    Persist { number: u64, batch: LogBatch },
    Compact(LogMark),
}

/// Work for the applier.
#[derive(Debug)]
pub(crate) enum Applying {
    Entries(Vec<LogEntry>),
    Install(SnapshotMeta),
    /// The entry at this index will remove these replicas.
    Retire(u64, Vec<ReplicaId>),
    /// A picture of the state is to be saved, with this configuration.
    Picture(Bytes),
}

/// The volatile part of a replica: what production keeps in threads and memory.
pub(crate) struct Process {
    pub(crate) core: Core,
    pub(crate) store: FileLog,
    pub(crate) snapshots: FileSnapshots,
    pub(crate) watch: DiskWatch,
    /// Whether the disk was low, or full, when it was last looked at.
    pub(crate) low: bool,
    pub(crate) full: bool,
    pub(crate) stall: StallWatch,
    /// Writes under way and when they began.
    pub(crate) write_times: VecDeque<(u64, Micros)>,
    pub(crate) machine: Replicated<Machine>,
    pub(crate) applied: u64,
    pub(crate) leadership: Leadership,
    /// The log as the core's memory has it: terms only, for the checks.
    pub(crate) memory: Model,
    pub(crate) to_write: VecDeque<Writing>,
    /// How many of them, from the front, the write under way covers.
    pub(crate) writing: usize,
    /// Which write is under way.
    pub(crate) write_turn: u64,
    pub(crate) to_apply: VecDeque<Applying>,
    pub(crate) applying: bool,
    /// What the core has not been told yet.
    pub(crate) inputs: Vec<Input>,
    pub(crate) inbox: Vec<Proposal>,
    pub(crate) next_sequence: u64,
    pub(crate) next_ticket: u64,
    /// Sequence to operation.
    pub(crate) writes: BTreeMap<u64, u64>,
    /// Ticket to operation.
    pub(crate) reads: BTreeMap<u64, u64>,
    /// Index that must be applied, and the operation that waits for it.
    pub(crate) ready_reads: Vec<(u64, u64)>,
    /// The newest snapshot that this process wrote or received.
    pub(crate) newest: Option<SnapshotMeta>,
    pub(crate) snapshots_busy_until: Micros,
    /// By receiver: the transfer under way and its chunks.
    pub(crate) sending: BTreeMap<ReplicaId, (u64, Arc<Vec<Bytes>>)>,
    pub(crate) receiving: Option<(ReplicaId, u64, SnapshotReceiver)>,
}

/// The id of the replica at `place`.
pub(crate) fn id_of(place: Place) -> ReplicaId {
    ReplicaId(place as u64 + 1)
}

/// Where the replica with this id is.
pub(crate) fn place_of(id: ReplicaId) -> Place {
    usize::try_from(id.0.saturating_sub(1)).unwrap_or(usize::MAX)
}

/// The bytes of chunks, as one hash.
pub(crate) fn hash_of(chunks: impl Iterator<Item = Bytes>) -> u64 {
    let mut fold = crate::shadow::Fold::new();
    for chunk in chunks {
        fold.add(&chunk);
    }
    fold.value()
}

impl Replica {
    /// Whether its disk failed as it was told to since this was last asked.
    pub(crate) fn take_failed(&self) -> bool {
        let log = self.disk.take_failed();
        self.folder.take_failed() || log
    }

    /// Nothing is wrong with its disk from now on, but what is lost is lost.
    pub(crate) fn mend(&mut self) {
        self.disk.mend();
        self.folder.mend();
        self.space = ROOMY;
        self.stalled_until = 0;
    }
}

impl Process {
    /// Looks how much room the disk has.
    pub(crate) fn look(&mut self, space: DiskSpace) {
        self.low = self.watch.judge(space) == muster_cluster::disk::DiskState::Low;
        self.full = space.is_full();
    }

    /// Puts a client's command into the inbox.
    pub(crate) fn queue_command(&mut self, request: RequestId, command: Bytes) {
        let oldest = self.writes.keys().next().copied().unwrap_or(request.sequence);
        let data = Envelope::new(request, oldest, command).write();
        self.inbox.push(Proposal { sequence: request.sequence, data });
    }
}
