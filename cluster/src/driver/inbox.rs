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
    /// The core's own thread is to come.
    called: bool,
    closed: bool,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the core's own thread to take.
    pub(crate) fn push(&self, input: Input) {
        self.put([input]);
        self.call();
    }

    /// Whoever puts something here sees to it that a turn of the core follows.
    pub(crate) fn put(&self, inputs: impl IntoIterator<Item = Input>) {
        self.lock().inputs.extend(inputs);
    }

    /// As [`Inbox::put`]; whether there was room.
    pub(crate) fn put_message(&self, from: ReplicaId, payload: Bytes) -> bool {
        let mut waiting = self.lock();
        if waiting.peer_messages >= PEER_MESSAGES || waiting.peer_bytes + payload.len() > PEER_BYTES
        {
            return false;
        }
        waiting.peer_messages += 1;
        waiting.peer_bytes += payload.len();
        waiting.inputs.push(Input::Received { from, payload });
        true
    }

    /// Calls the core's own thread.
    pub(crate) fn call(&self) {
        let mut waiting = self.lock();
        if !mem::replace(&mut waiting.called, true) {
            drop(waiting);
            self.filled.notify_one();
        }
    }

    /// No more is taken out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// Whether nothing is to be taken now.
    pub(crate) fn is_empty(&self) -> bool {
        let waiting = self.lock();
        waiting.closed || waiting.inputs.is_empty()
    }

    /// Takes all that waits; `None` once the inbox is closed.
    pub(crate) fn take(&self) -> Option<Vec<Input>> {
        let mut waiting = self.lock();
        waiting.peer_messages = 0;
        waiting.peer_bytes = 0;
        (!waiting.closed).then(|| mem::take(&mut waiting.inputs))
    }

    /// Waits until the core's own thread is called, at the longest until `deadline`; `false` once
    /// the inbox is closed.
    pub(crate) fn wait(&self, deadline: Instant) -> bool {
        let mut waiting = self.lock();
        loop {
            if waiting.closed {
                return false;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if waiting.called || left.is_zero() {
                waiting.called = false;
                return true;
            }
            waiting =
                self.filled.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
