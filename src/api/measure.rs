//! Around every request: counts it, times it, and turns a panic into an answer.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};

/// Adds [`Measured`] to a server.
#[derive(Clone, Debug)]
pub(super) struct Measure {
    /// The paths of all methods; any other path is counted as `other`, so that nobody can grow the
    /// set of labels.
    paths: Arc<BTreeSet<String>>,
}

impl Measure {
    /// Knows the methods of all services of this program.
    pub(super) fn new() -> Measure {
        let mut paths = BTreeSet::new();
        for set in [muster_proto::DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET] {
            paths.extend(methods(set));
        }
        Measure { paths: Arc::new(paths) }
    }
}

fn methods(descriptors: &[u8]) -> Vec<String> {
    let set = FileDescriptorSet::decode(descriptors).unwrap_or_default();
    let mut paths = Vec::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                paths.push(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
            }
        }
    }
    paths
}

impl<S> Layer<S> for Measure {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured { inner, paths: Arc::clone(&self.paths) }
    }
}

/// A service that is measured.
#[derive(Clone, Debug)]
pub(super) struct Measured<S> {
    inner: S,
    paths: Arc<BTreeSet<String>>,
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

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = self.paths.get(request.uri().path()).cloned().unwrap_or_default();
        let began = Instant::now();
        let answer = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        Box::pin(async move {
            let answer = answer.await.unwrap_or_else(|_| {
                // The panic hook has written where and why; a client is told neither.
                Ok(Status::internal("the server failed over this request").into_http())
            });
            if let Ok(response) = &answer {
                record(&path, response, began);
            }
            answer
        })
    }
}

fn record(path: &str, response: &Response<Body>, began: Instant) {
    let (service, method) =
        path.trim_start_matches('/').split_once('/').unwrap_or(("other", "other"));
    // A failed unary call carries its code in the headers; a good one has it in the trailers.
    let code = response.headers().get("grpc-status").and_then(|code| code.to_str().ok());
    let code = tonic::Code::from_bytes(code.unwrap_or("0").as_bytes());
    let labels = [
        ("service", service.to_owned()),
        ("method", method.to_owned()),
        ("code", format!("{code:?}")),
    ];
    metrics::counter!("muster_grpc_requests_total", &labels).increment(1);
    metrics::histogram!("muster_grpc_request_duration_seconds", &labels)
        .record(began.elapsed().as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_ours_is_known_by_its_path() {
        let paths = Measure::new().paths;
        for path in [
            "/license_v2.API/Heartbeat",
            "/identity_v2.API/CreateIDPConnector",
            "/muster.v1.Replica/Status",
            "/grpc.health.v1.Health/Check",
        ] {
            assert!(paths.contains(path), "{path}");
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
