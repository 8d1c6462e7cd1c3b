//! Takes connections, finds out who calls, reads what they send.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use prost::Message;
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::frame::Kind;
use super::hello::{Answer, Hello, PROTOCOL, Question, Reason, Refusal, Welcome};
use super::link::{self, Channel, LinkError};
use super::roster::Book;
use super::{Lane, MAX_PAYLOAD, tls};
use crate::types::{GroupId, ReplicaId};

/// Connections that have not said yet who they are. The oldest gives way to a new one, so that
/// silent strangers cannot keep a replica out.
const STRANGERS: usize = 64;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// After a failed accept (no file descriptor left, as a rule).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Listener {
    pub(super) book: Arc<Book>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) strangers: Strangers,
    pub(super) callers: Arc<Callers>,
}

/// A peer that was let in.
struct Caller {
    id: ReplicaId,
    lane: Lane,
    replaced: CancellationToken,
}

impl Listener {
    /// Runs until `stop`.
    pub(super) async fn run(self: Arc<Self>, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let listener = Arc::clone(&self);
                    let stranger = self.strangers.admit();
                    self.tasks.spawn(async move {
                        tokio::select! {
                            () = listener.stop.cancelled() => {}
                            () = listener.serve(stream, stranger) => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!("cannot take a connection of a peer: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn serve(&self, stream: TcpStream, stranger: CancellationToken) {
        let address = stream.peer_addr().map_or_else(|_| String::new(), |a| a.to_string());
        let greeted = tokio::select! {
            () = stranger.cancelled() => Err(LinkError::TimedOut),
            greeted = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.greet(stream)) => {
                greeted.unwrap_or(Err(LinkError::TimedOut))
            }
        };
        self.strangers.leave(&stranger);
        let end = match greeted {
            Ok(Some((caller, channel))) => {
                let end = tokio::select! {
                    () = caller.replaced.cancelled() => LinkError::Closed,
                    end = self.read(&caller, channel) => end,
                };
                tracing::debug!(peer = %caller.id, lane = caller.lane.word(), "a peer's connection ended: {end}");
                end
            }
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(address, "a connection to the peer port came to nothing: {error}");
                error
            }
        };
        match end {
            LinkError::Refused(reason) => {
                metrics::counter!("muster_peer_refusals_total", "side" => "listener", "reason" => reason.word())
                    .increment(1);
            }
            end if end.is_bad_bytes() => {
                metrics::counter!("muster_peer_bad_frames_total").increment(1);
            }
            _ => {}
        }
    }

    /// Who calls; none for a question that is answered already.
    async fn greet(&self, stream: TcpStream) -> Result<Option<(Caller, Channel)>, LinkError> {
        let (mut channel, shown) = link::accept(stream, self.book.local.tls.as_ref()).await?;
        let first = link::receive(&mut channel).await?;
        let examined = match first.kind {
            Kind::Question => {
                let asked = Question::decode(first.payload)?;
                let answer = Answer {
                    name: self.book.local.name.clone(),
                    group: self.book.local.group.0.to_be_bytes().to_vec(),
                    report: if asked.report {
                        self.book.local.events.report()
                    } else {
                        Bytes::new()
                    },
                    ..Answer::default()
                };
                link::say(&mut channel, Kind::Answer, &answer).await?;
                return Ok(None);
            }
            Kind::Hello => Hello::decode(first.payload)
                .map_err(|_| Reason::BadHello)
                .and_then(|hello| self.examine(&hello, shown.as_ref())),
            _ => return Err(LinkError::OutOfPlace),
        };
        match examined {
            Ok(caller) => {
                let welcome = Welcome {
                    protocol: *PROTOCOL.end(),
                    replica: self.book.local.me.0,
                    incarnation: self.book.local.incarnation,
                };
                link::say(&mut channel, Kind::Welcome, &welcome).await?;
                Ok(Some((caller, channel)))
            }
            Err(reason) => {
                link::say(&mut channel, Kind::Refusal, &Refusal { reason: reason as i32 }).await?;
                Err(LinkError::Refused(reason))
            }
        }
    }

    fn examine(&self, hello: &Hello, shown: Option<&CertificateDer<'_>>) -> Result<Caller, Reason> {
        if hello.protocol_min > *PROTOCOL.end() || hello.protocol_max < *PROTOCOL.start() {
            return Err(Reason::Version);
        }
        if hello.group != self.book.local.group.0.to_be_bytes() {
            let past = |group: &GroupId| hello.group == group.0.to_be_bytes();
            let is_past = self.book.local.before.iter().any(past);
            return Err(if is_past { Reason::OldEpoch } else { Reason::OtherGroup });
        }
        if hello.expects != self.book.local.me.0 {
            return Err(Reason::WrongReplica);
        }
        let id = ReplicaId(hello.replica);
        let name = self.book.name_of(hello)?;
        if self.book.local.tls.is_some() && !shown.is_some_and(|der| tls::names(der, &name)) {
            return Err(Reason::Certificate);
        }
        let lane = Lane::from_number(hello.lane).ok_or(Reason::BadHello)?;
        let replaced =
            self.callers.enter(id, lane, hello.incarnation).ok_or(Reason::OldIncarnation)?;
        self.book.met(hello);
        Ok(Caller { id, lane, replaced })
    }

    async fn read(&self, caller: &Caller, mut channel: Channel) -> LinkError {
        let events = &self.book.local.events;
        channel.codec_mut().set_limit(MAX_PAYLOAD);
        loop {
            // All that came in one piece is taken together.
            let here = if let Some(here) = link::receive(&mut channel).now_or_never() {
                here
            } else {
                events.received_all();
                link::receive(&mut channel).await
            };
            match here {
                Ok(frame) if frame.kind == Kind::Message => {
                    events.received(caller.id, caller.lane, frame.payload);
                }
                end => {
                    events.received_all();
                    return end.err().unwrap_or(LinkError::OutOfPlace);
                }
            }
        }
    }
}

/// The connections that have not said who they are, oldest first.
#[derive(Default)]
pub(super) struct Strangers {
    waiting: Mutex<VecDeque<CancellationToken>>,
}

impl Strangers {
    /// Admits one more; cancels the oldest if there are too many.
    fn admit(&self) -> CancellationToken {
        let token = CancellationToken::new();
        let mut waiting = lock(&self.waiting);
        waiting.push_back(token.clone());
        if waiting.len() > STRANGERS
            && let Some(oldest) = waiting.pop_front()
        {
            oldest.cancel();
        }
        token
    }

    fn leave(&self, token: &CancellationToken) {
        // A token that was not cancelled is still in the queue: cancelling marks which one it is.
        token.cancel();
        lock(&self.waiting).retain(|waiting| !waiting.is_cancelled());
    }
}

/// The peers whose connections are read.
#[derive(Default)]
pub(super) struct Callers {
    seen: Mutex<BTreeMap<ReplicaId, Seen>>,
}

#[derive(Default)]
struct Seen {
    incarnation: u64,
    current: BTreeMap<Lane, CancellationToken>,
}

impl Callers {
    /// Ends the connections of one who is no peer any more.
    pub(super) fn leave(&self, id: ReplicaId) {
        let seen = lock(&self.seen).remove(&id);
        for (_, token) in seen.into_iter().flat_map(|seen| seen.current) {
            token.cancel();
        }
    }

    /// Lets a connection take the place of the one before it; none for an older start of the peer.
    fn enter(&self, id: ReplicaId, lane: Lane, incarnation: u64) -> Option<CancellationToken> {
        let mut seen = lock(&self.seen);
        let seen = seen.entry(id).or_default();
        if incarnation < seen.incarnation {
            return None;
        }
        seen.incarnation = incarnation;
        let token = CancellationToken::new();
        if let Some(before) = seen.current.insert(lane, token.clone()) {
            before.cancel();
        }
        Some(token)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
