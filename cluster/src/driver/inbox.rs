//! What waits for the core thread.

use std::{
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::{core::Input, types::ReplicaId};
use bytes::Bytes;

/// Messages of peers that may wait, and their bytes; more are dropped, which raft bears. What comes
/// from inside is bounded where it comes from.
const PEER_MESSAGES: usize = 16_384;
const PEER_BYTES: usize = 64 << 20;

#[derive(Default)]
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
    filled: Condvar,
}

#[derive(Default)]
struct Waiting {
    inputs: Vec<Input>,
    peer_messages: usize,
    peer_bytes: usize,
    closed: bool,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, input: Input) {
        self.put(self.lock(), [input]);
    }

    pub(crate) fn push_all(&self, inputs: impl IntoIterator<Item = Input>) {
        self.put(self.lock(), inputs);
    }

    /// Whether there was room.
    pub(crate) fn push_message(&self, from: ReplicaId, payload: Bytes) -> bool {
        let mut waiting = self.lock();
        if waiting.peer_messages >= PEER_MESSAGES || waiting.peer_bytes + payload.len() > PEER_BYTES
        {
            return false;
        }
        waiting.peer_messages += 1;
        waiting.peer_bytes += payload.len();
        self.put(waiting, [Input::Received { from, payload }]);
        true
    }

    fn put(&self, mut waiting: MutexGuard<'_, Waiting>, inputs: impl IntoIterator<Item = Input>) {
        let first = waiting.inputs.is_empty();
        waiting.inputs.extend(inputs);
        drop(waiting);
        if first {
            self.filled.notify_one();
        }
    }

    /// No more is taken out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// Takes all that waits, waiting for it until `deadline`; `None` once the inbox is closed.
    pub(crate) fn drain(&self, deadline: Instant) -> Option<Vec<Input>> {
        let mut waiting = self.lock();
        loop {
            if waiting.closed {
                return None;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !waiting.inputs.is_empty() || left.is_zero() {
                waiting.peer_messages = 0;
                waiting.peer_bytes = 0;
                return Some(mem::take(&mut waiting.inputs));
            }
            waiting =
                self.filled.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
