//! Around every request: counts it, times it, says where in the log it was answered, and turns a panic
//! into an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use metrics::{Counter, Histogram};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::body::Body;
use tonic::codegen::http::{HeaderValue, Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::actors::LogPlace;

/// The metadata key of the place in the log at which an answer was given.
const LOG_INDEX: &str = "muster-log-index";

/// Adds [`Measured`] to a server.
#[derive(Clone, Debug)]
pub(super) struct Measure {
    methods: Arc<Methods>,
}

/// All methods by their paths; any other path is counted as `other`, so that nobody can grow the
/// set of labels.
#[derive(Debug)]
struct Methods {
    known: BTreeMap<String, Method>,
    other: Method,
}

#[derive(Debug)]
struct Method {
    service: String,
    name: String,
    /// Of the requests that went well, which are nearly all: looked up once.
    good: OnceLock<Figures>,
}

struct Figures {
    requests: Counter,
    duration: Histogram,
}

impl std::fmt::Debug for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Figures")
    }
}

impl Methods {
    fn get(&self, path: &str) -> &Method {
        self.known.get(path).unwrap_or(&self.other)
    }
}

impl Method {
    fn new(service: &str, name: &str) -> Method {
        Method { service: service.to_owned(), name: name.to_owned(), good: OnceLock::new() }
    }

    fn record(&self, code: Code, began: Instant) {
        let took = began.elapsed().as_secs_f64();
        if code == Code::Ok {
            self.good.get_or_init(|| self.figures(code)).record(took);
        } else {
            self.figures(code).record(took);
        }
    }

    fn figures(&self, code: Code) -> Figures {
        let labels = [
            ("service", self.service.clone()),
            ("method", self.name.clone()),
            ("code", format!("{code:?}")),
        ];
        Figures {
            requests: metrics::counter!("muster_grpc_requests_total", &labels),
            duration: metrics::histogram!("muster_grpc_request_duration_seconds", &labels),
        }
    }
}

impl Figures {
    fn record(&self, took: f64) {
        self.requests.increment(1);
        self.duration.record(took);
    }
}

impl Measure {
    /// Knows the methods of all services of this program.
    pub(super) fn new() -> Measure {
        let mut known = BTreeMap::new();
        for set in [muster_proto::DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET] {
            known.extend(methods(set));
        }
        Measure { methods: Arc::new(Methods { known, other: Method::new("other", "other") }) }
    }

    /// The paths of these methods.
    pub(super) fn paths(&self) -> BTreeSet<String> {
        self.methods.known.keys().cloned().collect()
    }
}

fn methods(descriptors: &[u8]) -> Vec<(String, Method)> {
    let set = FileDescriptorSet::decode(descriptors).unwrap_or_default();
    let mut methods = Vec::new();
    for file in &set.file {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            for method in &service.method {
                let path = format!("/{name}/{}", method.name());
                methods.push((path, Method::new(&name, method.name())));
            }
        }
    }
    methods
}

impl<S> Layer<S> for Measure {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured { inner, methods: Arc::clone(&self.methods) }
    }
}

/// A service that is measured.
#[derive(Clone, Debug)]
pub(super) struct Measured<S> {
    inner: S,
    methods: Arc<Methods>,
}

impl<S> Service<Request<Body>> for Measured<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Send,
    S::Future: Send + 'static,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let methods = Arc::clone(&self.methods);
        let path = request.uri().clone();
        let began = Instant::now();
        let place = LogPlace::default();
        request.extensions_mut().insert(place.clone());
        let answer = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        Box::pin(async move {
            let mut answer = answer.await.unwrap_or_else(|_| {
                // The panic hook has written where and why; a client is told neither.
                Ok(Status::internal("the server failed over this request").into_http())
            });
            if let Ok(response) = &mut answer {
                if let Some(index) = place.index() {
                    response.headers_mut().insert(LOG_INDEX, index.into());
                }
                methods.get(path.path()).record(code(response), began);
            }
            answer
        })
    }
}

/// A failed unary call carries its code in the headers; a good one has it in the trailers.
fn code(response: &Response<Body>) -> Code {
    let code = response.headers().get("grpc-status").map(HeaderValue::as_bytes);
    code.map_or(Code::Ok, Code::from_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_ours_is_known_by_its_path() {
        let known = &Measure::new().methods.known;
        for path in [
            "/license_v2.API/Heartbeat",
            "/identity_v2.API/CreateIDPConnector",
            "/muster.v1.Replica/Status",
            "/grpc.health.v1.Health/Check",
        ] {
            assert!(known.contains_key(path), "{path}");
        }
    }

    #[tokio::test]
    async fn a_panic_becomes_an_internal_error() {
        let service = tower::service_fn(|_request: Request<Body>| async {
            let broken = true;
            assert!(!broken, "on purpose");
            Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
        });
        let mut measured = Measure::new().layer(service);
        let answer = measured.call(Request::new(Body::empty())).await.unwrap();
        assert_eq!(answer.headers().get("grpc-status").unwrap(), "13");
    }
}
