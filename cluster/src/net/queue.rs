//! What waits for one connection to take it.
//!
//! Whoever queued a message writes it, as far as the connection takes it at once: no other thread
//! has to wake up for it. What the connection does not take yet is left to its dialler.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use metrics::Counter;
use tokio::io::{AsyncWrite, WriteHalf};
use tokio::sync::Notify;

use super::frame::{self, Kind};
use super::link::Link;

/// Frames and bytes that may wait; what comes on top is refused, so the sender knows.
const MAX_FRAMES: usize = 4096;
const MAX_BYTES: usize = 16 << 20;
/// One write takes this much at a time.
const BATCH_BYTES: usize = 256 << 10;
/// A write buffer that grew beyond this is given back.
const KEPT_BUFFER: usize = 1 << 20;

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
    /// For the dialler: there is something that it has to write.
    left: Notify,
    line: Mutex<Option<Line>>,
}

#[derive(Default)]
struct Waiting {
    open: bool,
    payloads: VecDeque<Bytes>,
    bytes: usize,
}

/// The connection, and what it has not taken yet.
pub(super) struct Line {
    link: WriteHalf<Box<dyn Link>>,
    batch: BytesMut,
    /// It is the dialler's turn: only that one is told when there is room again.
    stuck: bool,
    sent: Counter,
}

impl Line {
    pub(super) fn new(link: WriteHalf<Box<dyn Link>>, sent: Counter) -> Line {
        Line { link, batch: BytesMut::new(), stuck: false, sent }
    }

    pub(super) fn into_link(self) -> WriteHalf<Box<dyn Link>> {
        self.link
    }

    fn poll_write(&mut self, queue: &Queue, context: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            if self.batch.is_empty() {
                if self.batch.capacity() > KEPT_BUFFER {
                    self.batch = BytesMut::new();
                }
                queue.drain(&mut self.batch);
            }
            if self.batch.is_empty() {
                return Pin::new(&mut self.link).poll_flush(context);
            }
            let written = ready!(Pin::new(&mut self.link).poll_write(context, &self.batch))?;
            if written == 0 {
                return Poll::Ready(Err(Error::from(ErrorKind::WriteZero)));
            }
            self.batch.advance(written);
            self.sent.increment(written as u64);
        }
    }
}

impl Queue {
    pub(super) fn open(&self, line: Line) {
        *self.line() = Some(line);
        self.lock().open = true;
    }

    /// Drops what waits and refuses more; gives back the connection.
    pub(super) fn close(&self) -> Option<Line> {
        *self.lock() = Waiting::default();
        self.line().take()
    }

    pub(super) fn push(&self, payload: Bytes) -> std::result::Result<(), PushError> {
        let mut waiting = self.lock();
        if !waiting.open {
            return Err(PushError::Closed);
        }
        if waiting.payloads.len() >= MAX_FRAMES || waiting.bytes + payload.len() > MAX_BYTES {
            return Err(PushError::Full);
        }
        waiting.bytes += payload.len();
        waiting.payloads.push_back(payload);
        Ok(())
    }

    /// Writes what waits as far as the connection takes it now. When another thread is at it, that
    /// one looks again before it goes.
    pub(super) fn flush(&self) {
        while !self.lock().payloads.is_empty() {
            let Ok(mut line) = self.line.try_lock() else { return };
            let Some(line) = line.as_mut().filter(|line| !line.stuck) else { return };
            let mut context = Context::from_waker(Waker::noop());
            if !matches!(line.poll_write(self, &mut context), Poll::Ready(Ok(()))) {
                line.stuck = true;
                self.left.notify_one();
                return;
            }
        }
    }

    /// Returns when something is left to the dialler.
    pub(super) async fn left(&self) {
        while !self.line().as_ref().is_some_and(|line| line.stuck) {
            self.left.notified().await;
        }
    }

    /// Writes what was left, and all that came meanwhile.
    pub(super) async fn write_left(&self) -> Result<()> {
        std::future::poll_fn(|context| {
            let mut line = self.line();
            let Some(line) = line.as_mut() else { return Poll::Ready(Ok(())) };
            let written = ready!(line.poll_write(self, context));
            line.stuck = false;
            Poll::Ready(written)
        })
        .await?;
        // What came after the last look found the connection stuck.
        self.flush();
        Ok(())
    }

    /// Moves waiting messages, as frames, into `batch` until it holds enough for one write.
    fn drain(&self, batch: &mut BytesMut) {
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

    fn line(&self) -> MutexGuard<'_, Option<Line>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn line(room: usize) -> (Line, Box<dyn Link>) {
        let (near, far) = tokio::io::duplex(room);
        let near: Box<dyn Link> = Box::new(near);
        (Line::new(tokio::io::split(near).1, Counter::noop()), Box::new(far))
    }

    #[tokio::test]
    async fn a_closed_queue_keeps_nothing() {
        let queue = Queue::default();
        assert_eq!(queue.push(Bytes::from_static(b"a")), Err(PushError::Closed));
        queue.open(line(100).0);
        queue.push(Bytes::from_static(b"b")).unwrap();
        queue.close();
        queue.open(line(100).0);
        let mut batch = BytesMut::new();
        queue.drain(&mut batch);
        assert!(batch.is_empty());
    }

    #[tokio::test]
    async fn a_full_queue_says_so_and_takes_again_when_drained() {
        let queue = Queue::default();
        queue.open(line(100).0);
        let large = Bytes::from(vec![0; MAX_BYTES / 2]);
        queue.push(large.clone()).unwrap();
        queue.push(large.clone()).unwrap();
        assert_eq!(queue.push(large.clone()), Err(PushError::Full));
        queue.drain(&mut BytesMut::new());
        queue.push(large).unwrap();

        let queue = Queue::default();
        queue.open(line(100).0);
        for _ in 0..MAX_FRAMES {
            queue.push(Bytes::new()).unwrap();
        }
        assert_eq!(queue.push(Bytes::new()), Err(PushError::Full));
    }

    #[tokio::test]
    async fn what_fits_is_written_at_once_and_the_rest_is_left_in_order() {
        let queue = Queue::default();
        let (line, mut far) = line(20);
        queue.open(line);
        let mut expected = BytesMut::new();
        let mut read = BytesMut::new();
        for number in 0..30_u8 {
            let payload = Bytes::from(vec![number; 3]);
            frame::put(Kind::Message, &payload, &mut expected);
            queue.push(payload).unwrap();
            queue.flush();
            if number == 0 {
                // Nobody but this thread has run.
                far.read_buf(&mut read).await.unwrap();
                assert_eq!(read, expected);
            }
        }
        let dialler = async {
            while is_stuck(&queue) {
                queue.left().await;
                queue.write_left().await.unwrap();
            }
        };
        let reader = async {
            while read.len() < expected.len() {
                far.read_buf(&mut read).await.unwrap();
            }
        };
        tokio::join!(dialler, reader);
        assert_eq!(read, expected);
    }

    fn is_stuck(queue: &Queue) -> bool {
        queue.line().as_ref().is_some_and(|line| line.stuck)
    }
}
