//! What waits for one connection to take it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use super::frame::{self, Kind};

/// Frames and bytes that may wait; what comes on top is refused, so the sender knows.
const MAX_FRAMES: usize = 4096;
const MAX_BYTES: usize = 16 << 20;
/// One write takes this much at a time.
const BATCH_BYTES: usize = 256 << 10;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum PushError {
    Closed,
    Full,
}

/// A bounded queue that takes messages only while its connection stands: what was meant for the
/// last connection is stale on the next one.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Default)]
struct Waiting {
    open: bool,
    payloads: VecDeque<Bytes>,
    bytes: usize,
}

impl Queue {
    pub(super) fn open(&self) {
        self.lock().open = true;
    }

    /// Drops what waits and refuses more.
    pub(super) fn close(&self) {
        *self.lock() = Waiting::default();
    }

    pub(super) fn push(&self, payload: Bytes) -> Result<(), PushError> {
        let mut waiting = self.lock();
        if !waiting.open {
            return Err(PushError::Closed);
        }
        if waiting.payloads.len() >= MAX_FRAMES || waiting.bytes + payload.len() > MAX_BYTES {
            return Err(PushError::Full);
        }
        waiting.bytes += payload.len();
        waiting.payloads.push_back(payload);
        let first = waiting.payloads.len() == 1;
        drop(waiting);
        if first {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Returns when something waits.
    pub(super) async fn filled(&self) {
        while self.lock().payloads.is_empty() {
            self.filled.notified().await;
        }
    }

    /// Moves waiting messages, as frames, into `batch` until it holds enough for one write.
    pub(super) fn drain(&self, batch: &mut BytesMut) {
        while batch.len() < BATCH_BYTES {
            // Locked per message: the sender never waits while one is copied and summed.
            let payload = {
                let mut waiting = self.lock();
                let Some(payload) = waiting.payloads.pop_front() else { return };
                waiting.bytes -= payload.len();
                payload
            };
            frame::put(Kind::Message, &payload, batch);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_queue_keeps_nothing() {
        let queue = Queue::default();
        assert_eq!(queue.push(Bytes::from_static(b"a")), Err(PushError::Closed));
        queue.open();
        queue.push(Bytes::from_static(b"b")).unwrap();
        queue.close();
        queue.open();
        let mut batch = BytesMut::new();
        queue.drain(&mut batch);
        assert!(batch.is_empty());
    }

    #[test]
    fn a_full_queue_says_so_and_takes_again_when_drained() {
        let queue = Queue::default();
        queue.open();
        let large = Bytes::from(vec![0; MAX_BYTES / 2]);
        queue.push(large.clone()).unwrap();
        queue.push(large.clone()).unwrap();
        assert_eq!(queue.push(large.clone()), Err(PushError::Full));
        queue.drain(&mut BytesMut::new());
        queue.push(large).unwrap();

        let queue = Queue::default();
        queue.open();
        for _ in 0..MAX_FRAMES {
            queue.push(Bytes::new()).unwrap();
        }
        assert_eq!(queue.push(Bytes::new()), Err(PushError::Full));
    }

    #[tokio::test]
    async fn no_filling_is_slept_through() {
        let queue = Queue::default();
        queue.open();
        for _ in 0..3 {
            queue.push(Bytes::from_static(b"a")).unwrap();
            queue.push(Bytes::from_static(b"b")).unwrap();
            queue.filled().await;
            queue.drain(&mut BytesMut::new());
        }
    }
}
