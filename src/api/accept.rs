//! Connections of clients: accepted, secured, and spread over servers of different patience.
//!
//! A server asks each of its connections to go after an age of its own. There is one for each of
//! [`AGES`] ages around the configured one, and chance decides which of them a connection comes to: so
//! clients that connected together do not all come back together.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

use super::tls::ApiTls;
use crate::entropy::{self, Entropy};

/// How many ages there are: from nine to eleven tenths of the configured one.
const AGES: u32 = 16;

/// Connections on their way to a server; each is taken at once.
const WAITING_MAX: usize = 64;

/// Clients that may be agreeing on TLS at the same time; more are left in the listener's queue.
const HANDSHAKES_MAX: usize = 16_384;

/// The longest that a client may take to agree on TLS.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// After the listener refused one, for want of file descriptors as a rule.
const PAUSE: Duration = Duration::from_millis(50);

/// A client is asked for a sign of life after so long without one.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// Connections for one server.
pub(super) type Incoming<IO> = ReceiverStream<io::Result<IO>>;

type Doors<IO> = Vec<mpsc::Sender<io::Result<IO>>>;

/// A door to each server, and how long its connections are to last.
pub(super) fn servers<IO>(age: Duration) -> (Doors<IO>, Vec<(Duration, Incoming<IO>)>) {
    (0..AGES)
        .map(|step| {
            let (door, incoming) = mpsc::channel(WAITING_MAX);
            (door, (aged(age, step), ReceiverStream::new(incoming)))
        })
        .unzip()
}

fn aged(age: Duration, step: u32) -> Duration {
    age * (900 + step * 200 / (AGES - 1)) / 1000
}

/// Brings every connection to one of the servers, for as long as there are any.
pub(super) async fn plain(
    listener: TcpListener,
    doors: Doors<TcpStream>,
    entropy: Arc<dyn Entropy>,
) {
    while let Some(stream) = next(&listener, &doors).await {
        let Some(door) = one_of(&doors, entropy.as_ref()) else { return };
        // Fails only when that server ends.
        let _ending = door.send(Ok(stream)).await;
    }
}

/// As [`plain`], after TLS was agreed on; who takes long keeps nobody else waiting.
pub(super) async fn secured(
    listener: TcpListener,
    tls: ApiTls,
    doors: Doors<TlsStream<TcpStream>>,
    entropy: Arc<dyn Entropy>,
) {
    let room = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    while let Some(stream) = next(&listener, &doors).await {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let Some(door) = one_of(&doors, entropy.as_ref()).cloned() else { return };
        let handshake = tls.acceptor().accept(stream);
        tokio::spawn(async move {
            let agreed = tokio::time::timeout(HANDSHAKE_MAX, handshake).await;
            drop(place);
            let result = match agreed {
                Ok(Ok(_)) => "ok",
                Ok(Err(_)) => "failed",
                Err(_) => "late",
            };
            let labels = [("listener", "api"), ("result", result)];
            metrics::counter!("muster_tls_handshakes_total", &labels).increment(1);
            if let Ok(Ok(stream)) = agreed {
                let _ending = door.send(Ok(stream)).await;
            }
        });
    }
}

/// The next connection; none once the servers have ended.
async fn next<IO>(listener: &TcpListener, doors: &Doors<IO>) -> Option<TcpStream> {
    let ended = async {
        if let Some(door) = doors.first() {
            door.closed().await;
        }
    };
    tokio::pin!(ended);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut ended => return None,
        };
        match accepted {
            Ok((stream, _)) => {
                prepare(&stream);
                return Some(stream);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Answers leave at once, and a client that is gone without a word is found out.
fn prepare(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
    let prepared =
        stream.set_nodelay(true).and_then(|()| SockRef::from(stream).set_tcp_keepalive(&keepalive));
    if let Err(error) = prepared {
        tracing::debug!(%error, "a connection goes on as the system made it");
    }
}

fn one_of<'a, IO>(
    doors: &'a Doors<IO>,
    entropy: &dyn Entropy,
) -> Option<&'a mpsc::Sender<io::Result<IO>>> {
    let dice = usize::try_from(entropy::seed(entropy) >> 32).unwrap_or_default();
    doors.get(dice % doors.len().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_lie_around_the_configured_one() {
        let age = Duration::from_mins(10);
        assert_eq!(aged(age, 0), Duration::from_mins(9));
        assert_eq!(aged(age, AGES - 1), Duration::from_mins(11));
        let ages: std::collections::BTreeSet<_> = (0..AGES).map(|step| aged(age, step)).collect();
        assert_eq!(ages.len(), 16);
    }

    #[tokio::test]
    async fn connections_come_to_different_servers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (doors, servers) = servers::<TcpStream>(Duration::from_secs(1));
        let entropy: Arc<dyn Entropy> = Arc::new(entropy::SystemEntropy);
        let accepting = tokio::spawn(plain(listener, doors, entropy));
        let mut clients = Vec::new();
        for _ in 0..40 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        // The last one has been brought to its server once all have been counted.
        let mut servers: Vec<_> =
            servers.into_iter().map(|(_, incoming)| incoming.into_inner()).collect();
        while servers.iter().map(mpsc::Receiver::len).sum::<usize>() < 40 {
            tokio::task::yield_now().await;
        }
        let reached = servers.iter().filter(|server| !server.is_empty()).count();
        assert!(reached > 1, "all came to one server");
        servers.clear();
        accepting.await.unwrap();
    }
}
