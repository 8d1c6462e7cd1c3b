//! A stand-in for a `pachd` with repos, pipelines and an identity provider, none of which Muster has: it answers the
//! methods that it was given answers for and notes who called what.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{HeaderMap, HeaderValue, Request, Response};
use tonic::server::NamedService;
use tonic::transport::Server;

const SERVICES: [&str; 5] =
    ["admin_v2.API", "auth_v2.API", "identity_v2.API", "pfs_v2.API", "pps_v2.API"];

/// A method, `package.API/Name`, and what it answers.
pub(crate) type Answer = (&'static str, Result<Bytes, Status>);

/// One call: its method, its token, its message.
struct Call {
    path: String,
    token: String,
    message: Bytes,
}

type Calls = Arc<Mutex<Vec<Call>>>;

/// Runs as long as the process.
pub(crate) struct Pachd {
    pub(crate) address: String,
    calls: Calls,
}

#[derive(Clone)]
struct Api<const N: usize> {
    answers: Arc<BTreeMap<&'static str, Result<Bytes, Status>>>,
    calls: Calls,
}

impl<const N: usize> NamedService for Api<N> {
    const NAME: &'static str = SERVICES[N];
}

/// The method answers with `message`.
pub(crate) fn answers(method: &'static str, message: &impl Message) -> Answer {
    (method, Ok(message.encode_to_vec().into()))
}

/// The method fails.
pub(crate) fn fails(method: &'static str, text: &str) -> Answer {
    (method, Err(Status::internal(text)))
}

impl Pachd {
    /// Later answers count more than earlier ones of the same method.
    pub(crate) async fn start(answers: Vec<Answer>) -> Pachd {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("grpc://{}", listener.local_addr().unwrap());
        let (answers, calls) = (Arc::new(BTreeMap::from_iter(answers)), Calls::default());
        let server = Server::builder()
            .add_service(Api::<0> { answers: Arc::clone(&answers), calls: Arc::clone(&calls) })
            .add_service(Api::<1> { answers: Arc::clone(&answers), calls: Arc::clone(&calls) })
            .add_service(Api::<2> { answers: Arc::clone(&answers), calls: Arc::clone(&calls) })
            .add_service(Api::<3> { answers: Arc::clone(&answers), calls: Arc::clone(&calls) })
            .add_service(Api::<4> { answers, calls: Arc::clone(&calls) });
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Pachd { address, calls }
    }

    /// What was called since the last time, and with which token.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = std::mem::take(&mut *self.calls.lock().unwrap());
        calls.into_iter().map(|call| format!("{} {}", call.path, call.token)).collect()
    }

    /// The message of the last call of a method.
    pub(crate) fn message<M: Message + Default>(&self, path: &str) -> M {
        let calls = self.calls.lock().unwrap();
        let call = calls.iter().rev().find(|call| call.path == path).unwrap();
        M::decode(call.message.clone()).unwrap()
    }
}

impl<const N: usize> Service<Request<Body>> for Api<N> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path().trim_start_matches('/').to_owned();
        let token = request.headers().get("authn-token").map(|it| it.to_str().unwrap());
        let token = token.unwrap_or("nobody").to_owned();
        let unknown = || Err(Status::unimplemented(format!("unknown method {path}")));
        let found = self.answers.get(path.as_str()).cloned().unwrap_or_else(unknown);
        let calls = Arc::clone(&self.calls);
        Box::pin(async move {
            let frame = request.into_body().collect().await.unwrap().to_bytes();
            let message = frame.slice(FRAME_HEAD_BYTES..);
            calls.lock().unwrap().push(Call { path, token, message });
            Ok(found.map_or_else(Status::into_http, |message| framed(&message)))
        })
    }
}

/// A mark of compression and a length.
const FRAME_HEAD_BYTES: usize = 5;

/// The wire's frame: not compressed, the length, the message; then the good end.
fn framed(message: &Bytes) -> Response<Body> {
    let length = u32::try_from(message.len()).unwrap();
    let frame = [&[0], &length.to_be_bytes()[..], message].concat();
    let end =
        HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
    let body = Full::new(Bytes::from(frame)).with_trailers(ready(Some(Ok(end))));
    let mut response = Response::new(Body::new(body));
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", kind);
    response
}
