//! The bodies of requests, which come as slowly as their senders like: each has to be whole in time,
//! and all that are not whole share one bound of memory.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::Request;
use tower::{Layer, Service};

use super::retry;

/// Bytes of one body that do not count: all requests but the largest fit.
const BODY_BYTES_FREE: usize = 64 << 10;
/// Bytes beyond those of all bodies that are being received.
const BODIES_BYTES_MAX: usize = 512 << 20;
/// Streams of requests may stay open.
const STREAMING: &str = "/grpc.reflection.";

/// Adds [`Received`] to a server.
#[derive(Clone, Debug)]
pub(super) struct Receive {
    limit: Duration,
    held: Arc<AtomicUsize>,
}

impl Receive {
    /// Each body has to come within `limit`.
    pub(super) fn within(limit: Duration) -> Receive {
        Receive { limit, held: Arc::default() }
    }
}

impl<S> Layer<S> for Receive {
    type Service = Received<S>;

    fn layer(&self, inner: S) -> Received<S> {
        Received { inner, receive: self.clone() }
    }
}

/// A service whose requests are bounded while they come.
#[derive(Clone, Debug)]
pub(super) struct Received<S> {
    inner: S,
    receive: Receive,
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Received<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        if request.uri().path().starts_with(STREAMING) {
            return self.inner.call(request);
        }
        let bound = |inner| {
            let Receive { limit, held } = self.receive.clone();
            Body::new(Bounded { inner, limit, timer: None, received: 0, counted: 0, held })
        };
        let request = request.map(bound);
        self.inner.call(request)
    }
}

/// A body with a time limit, and a share of the memory for all.
struct Bounded {
    inner: Body,
    limit: Duration,
    /// Only for a body that was not there at once.
    timer: Option<Pin<Box<Sleep>>>,
    received: usize,
    /// Of [`Bounded::received`], what is counted in [`Bounded::held`].
    counted: usize,
    held: Arc<AtomicUsize>,
}

impl Bounded {
    fn count(&mut self, bytes: usize) -> Result<(), Status> {
        self.received = self.received.saturating_add(bytes);
        let more = self.received.saturating_sub(BODY_BYTES_FREE).saturating_sub(self.counted);
        if more == 0 {
            return Ok(());
        }
        self.counted += more;
        if self.held.fetch_add(more, Ordering::Relaxed) + more <= BODIES_BYTES_MAX {
            return Ok(());
        }
        metrics::counter!("muster_rate_limited_total", "lane" => "bodies").increment(1);
        let text = "too many large requests are being received: ask again later";
        Err(retry::exhausted(text, Duration::from_secs(1)))
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        self.held.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            let bytes = match &frame {
                Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
                _ => 0,
            };
            return Poll::Ready(match self.count(bytes) {
                Ok(()) => frame,
                Err(refused) => Some(Err(refused)),
            });
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Some(Err(Status::deadline_exceeded(
            "the request did not come whole in time, nothing was done",
        ))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn bounded(inner: Body, held: &Arc<AtomicUsize>) -> Bounded {
        let held = Arc::clone(held);
        let limit = Duration::from_millis(20);
        Bounded { inner, limit, timer: None, received: 0, counted: 0, held }
    }

    fn never() -> Body {
        Body::new(http_body_util::StreamBody::new(futures::stream::pending::<
            Result<Frame<Bytes>, Status>,
        >()))
    }

    #[tokio::test]
    async fn a_body_that_stays_half_is_given_up() {
        let mut body = bounded(never(), &Arc::default());
        let refused = body.frame().await.unwrap().unwrap_err();
        assert_eq!(refused.code(), tonic::Code::DeadlineExceeded);
    }

    #[tokio::test]
    async fn small_bodies_do_not_count_and_large_ones_no_longer_than_they_last() {
        let held = Arc::default();
        let full = |len: usize| Body::new(http_body_util::Full::new(Bytes::from(vec![0; len])));
        let mut small = bounded(full(BODY_BYTES_FREE), &held);
        small.frame().await.unwrap().unwrap();
        assert_eq!(held.load(Ordering::Relaxed), 0);
        let mut large = bounded(full(BODY_BYTES_FREE + 7), &held);
        large.frame().await.unwrap().unwrap();
        assert_eq!(held.load(Ordering::Relaxed), 7);
        held.fetch_add(BODIES_BYTES_MAX - 7, Ordering::Relaxed);
        let mut late = bounded(full(BODY_BYTES_FREE + 1), &held);
        let refused = late.frame().await.unwrap().unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        drop((large, late));
        assert_eq!(held.load(Ordering::Relaxed), BODIES_BYTES_MAX - 7);
    }
}
