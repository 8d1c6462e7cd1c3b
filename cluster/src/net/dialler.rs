//! Keeps one outgoing connection: dials, says hello, writes what is queued, dials again.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Lane;
use super::frame::Kind;
use super::hello::{PROTOCOL, Reason, Welcome};
use super::link::{self, Channel, Link, LinkError};
use super::queue::{Line, Queue};
use super::roster::Book;
use crate::types::Member;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// What is still queued when the replica closes has this long to leave.
const LAST_WRITES: Duration = Duration::from_secs(1);

pub(super) struct Dialler {
    pub(super) book: Arc<Book>,
    pub(super) peer: Member,
    /// Where it may be, tried in turn.
    pub(super) addresses: Vec<String>,
    pub(super) lane: Lane,
    pub(super) queue: Arc<Queue>,
    /// Told when the peer itself called: then it is worth dialling at once.
    pub(super) wake: Arc<Notify>,
    pub(super) stop: CancellationToken,
}

impl Dialler {
    /// Runs until `stop`.
    pub(super) async fn run(self) {
        let mut pause = FIRST_PAUSE;
        let mut last_complaint = String::new();
        let sent = metrics::counter!("muster_peer_sent_bytes_total", "lane" => self.lane.word());
        let local = Arc::clone(&self.book.local);
        let addresses = self.addresses.clone();
        for address in addresses.iter().cycle() {
            let opened = tokio::select! {
                () = self.stop.cancelled() => return,
                opened = tokio::time::timeout(local.dial_timeout, self.open(address)) => {
                    opened.unwrap_or(Err(LinkError::TimedOut))
                }
            };
            let end = match opened {
                Ok(channel) => {
                    pause = FIRST_PAUSE;
                    last_complaint.clear();
                    let (from_peer, to_peer) = tokio::io::split(channel.into_inner());
                    self.up(Line::new(to_peer, sent.clone()));
                    let end = tokio::select! {
                        end = self.keep(from_peer) => end,
                        () = self.overtime() => Ok(()),
                    };
                    self.down();
                    end
                }
                Err(error) => Err(error),
            };
            match end {
                Err(error) if !self.stop.is_cancelled() => {
                    self.complain(&error, &mut last_complaint);
                }
                _ => return,
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.wake.notified() => pause = FIRST_PAUSE,
                () = tokio::time::sleep(jittered(pause)) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
    }

    async fn open(&self, address: &str) -> Result<Channel, LinkError> {
        let tls = self.book.local.tls.as_ref();
        let mut channel = link::dial(address, &self.peer.name, tls).await?;
        let hello = self.book.hello(self.peer.id, self.lane);
        let welcome: Welcome = link::ask(&mut channel, Kind::Hello, &hello, Kind::Welcome).await?;
        if welcome.replica != self.peer.id.0 {
            return Err(LinkError::Refused(Reason::WrongReplica));
        }
        if !PROTOCOL.contains(&welcome.protocol) {
            return Err(LinkError::Refused(Reason::Version));
        }
        Ok(channel)
    }

    /// Writes what is left to it until the connection breaks (an error), or the replica closes and
    /// nothing is queued.
    async fn keep(&self, mut from_peer: ReadHalf<Box<dyn Link>>) -> Result<(), LinkError> {
        let failed = |error: std::io::Error| LinkError::Frame(error.into());
        let mut byte = [0; 1];
        loop {
            tokio::select! {
                biased;
                () = self.queue.left() => self.queue.write_left().await.map_err(failed)?,
                () = self.stop.cancelled() => {
                    let line = self.queue.close();
                    return match line {
                        Some(line) => line.into_link().shutdown().await.map_err(failed),
                        None => Ok(()),
                    };
                }
                // The peer answers on its own connection: here only the end can come.
                read = from_peer.read(&mut byte) => {
                    return Err(match read {
                        Ok(0) => LinkError::Closed,
                        Ok(_) => LinkError::OutOfPlace,
                        Err(error) => failed(error),
                    });
                }
            }
        }
    }

    /// Returns when the replica is closing and the last writes have had their time.
    async fn overtime(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(LAST_WRITES).await;
    }

    fn up(&self, line: Line) {
        self.queue.open(line);
        tracing::info!(peer = self.peer.name, lane = self.lane.word(), "connected to a peer");
        if self.lane == Lane::Control {
            self.book.local.events.up(self.peer.id);
        }
    }

    fn down(&self) {
        drop(self.queue.close());
        if self.lane == Lane::Control {
            self.book.local.events.down(self.peer.id);
        }
    }

    /// Logs a failure once, not at every try.
    fn complain(&self, error: &LinkError, last: &mut String) {
        if let LinkError::Refused(reason) = error {
            metrics::counter!("muster_peer_refusals_total", "side" => "dialler", "reason" => reason.word())
                .increment(1);
        }
        if matches!(error, LinkError::Refused(Reason::OldEpoch)) {
            self.book.local.events.superseded(&self.peer);
        }
        if matches!(error, LinkError::Refused(Reason::Removed)) {
            self.book.local.events.told_removed(self.peer.id);
        }
        if matches!(error, LinkError::Refused(Reason::NotBegun)) {
            tracing::debug!(peer = self.peer.name, "a peer's group has not begun yet");
            return;
        }
        let complaint = error.to_string();
        if complaint != *last {
            tracing::warn!(
                peer = self.peer.name,
                address = self.peer.address,
                lane = self.lane.word(),
                "cannot talk to a peer, will go on trying: {complaint}"
            );
            *last = complaint;
        }
    }
}

/// Between half of `pause` and all of it, so that peers do not come in step.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..=1.0))
}
