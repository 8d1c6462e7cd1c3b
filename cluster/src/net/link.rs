//! One connection, plain or encrypted, and its handshake.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use prost::Message;
use rustls::pki_types::CertificateDer;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::codec::Framed;

use super::frame::{Frame, FrameCodec, FrameError, Kind};
use super::hello::{Answer, HANDSHAKE_LIMIT, Question, Reason, Refusal};
use super::tls::{self, PeerTls};

/// A byte stream to a peer.
pub(crate) trait Link: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Link for T {}

/// A stream of frames to a peer.
pub(crate) type Channel = Framed<Box<dyn Link>, FrameCodec>;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("no connection: {0}")]
    Connect(std::io::Error),
    #[error("no secure connection: {0} (the certificates of both sides must come from one CA)")]
    Tls(std::io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("a message that cannot be read: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error("a frame out of place")]
    OutOfPlace,
    #[error("refused: {}", .0.text())]
    Refused(Reason),
    #[error("the other side closed the connection")]
    Closed,
    #[error("no answer in time")]
    TimedOut,
}

impl LinkError {
    /// Whether the other side sent what no replica sends.
    pub(super) fn is_bad_bytes(&self) -> bool {
        match self {
            LinkError::Frame(error) => !matches!(error, FrameError::Io(_)),
            LinkError::Decode(_) | LinkError::OutOfPlace => true,
            _ => false,
        }
    }
}

/// Dials `address`, looking its name up anew, and makes sure that `name` answers there.
pub(crate) async fn dial(
    address: &str,
    name: &str,
    tls: Option<&PeerTls>,
) -> Result<Channel, LinkError> {
    let stream = TcpStream::connect(address).await.map_err(LinkError::Connect)?;
    tune(&stream).map_err(LinkError::Connect)?;
    let link: Box<dyn Link> = match tls {
        Some(tls) => Box::new(tls.connect(name, stream).await.map_err(LinkError::Tls)?),
        None => Box::new(stream),
    };
    Ok(Framed::new(link, FrameCodec::new(HANDSHAKE_LIMIT)))
}

/// The other end of [`dial`]: the channel, and with TLS the certificate that the dialler showed.
pub(crate) async fn accept(
    stream: TcpStream,
    tls: Option<&PeerTls>,
) -> Result<(Channel, Option<CertificateDer<'static>>), LinkError> {
    tune(&stream).map_err(LinkError::Connect)?;
    let (link, shown): (Box<dyn Link>, _) = match tls {
        Some(tls) => {
            let stream = tls.accept(stream).await.map_err(LinkError::Tls)?;
            let shown = tls::certificate_of(&stream);
            (Box::new(stream), shown)
        }
        None => (Box::new(stream), None),
    };
    Ok((Framed::new(link, FrameCodec::new(HANDSHAKE_LIMIT)), shown))
}

/// The next frame; the end of the stream is an error.
pub(crate) async fn receive(channel: &mut Channel) -> Result<Frame, LinkError> {
    Ok(channel.next().await.ok_or(LinkError::Closed)??)
}

/// Sends one message of the handshake.
pub(crate) async fn say(
    channel: &mut Channel,
    kind: Kind,
    message: &impl Message,
) -> Result<(), LinkError> {
    Ok(channel.send(Frame { kind, payload: message.encode_to_vec().into() }).await?)
}

/// Sends `message` and reads an answer of the kind `wanted`.
pub(crate) async fn ask<A: Message + Default>(
    channel: &mut Channel,
    kind: Kind,
    message: &impl Message,
    wanted: Kind,
) -> Result<A, LinkError> {
    say(channel, kind, message).await?;
    let frame = receive(channel).await?;
    if frame.kind == wanted {
        Ok(A::decode(frame.payload)?)
    } else if frame.kind == Kind::Refusal {
        Err(LinkError::Refused(Refusal::decode(frame.payload)?.reason()))
    } else {
        Err(LinkError::OutOfPlace)
    }
}

/// Asks the replica `name` at `address` where it stands; for beginning a group.
pub(crate) async fn question(
    address: &str,
    name: &str,
    tls: Option<&PeerTls>,
    question: &Question,
    limit: Duration,
) -> Result<Answer, LinkError> {
    let asked = async {
        let mut channel = dial(address, name, tls).await?;
        ask(&mut channel, Kind::Question, question, Kind::Answer).await
    };
    tokio::time::timeout(limit, asked).await.unwrap_or(Err(LinkError::TimedOut))
}

/// Small frames leave at once; a peer that vanished without a word is noticed in seconds.
fn tune(stream: &TcpStream) -> std::io::Result<()> {
    const SILENCE: Duration = Duration::from_secs(5);
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(SILENCE)
        .with_interval(Duration::from_secs(1))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(SILENCE))?;
    Ok(())
}
