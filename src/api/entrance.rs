//! Where every request comes in: tells who asks from where under which name, and has written down
//! what came of it when the log did not. The only place that fills [`Context`].

use std::collections::BTreeSet;
use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{self, Poll};

use futures::future::BoxFuture;
use muster_proto::auth_v2::ResourceType;
use muster_proto::muster::log::v1::{Caller, Context, Rejection, ServedCall, caller::Who};
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, HeaderValue, Request, Response};
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::caller::{REQUEST_ID, TOKEN};
use super::limits::RateLimits;
use super::status::Refused;
use crate::actors::{Auditor, Origin};
use crate::entropy::{self, Entropy};
use crate::state::audit::{quiet, refusal};
use crate::state::{limits, secret};

/// Adds [`Entered`] to a server.
#[derive(Clone, Debug)]
pub(super) struct Entrance {
    /// The methods that there are: any other path is nobody's act.
    pub(super) paths: Arc<BTreeSet<String>>,
    pub(super) auditor: Auditor,
    pub(super) entropy: Arc<dyn Entropy>,
    /// Knows which proxies to believe.
    pub(super) limits: RateLimits,
}

impl<S> Layer<S> for Entrance {
    type Service = Entered<S>;

    fn layer(&self, inner: S) -> Entered<S> {
        Entered { inner, entrance: self.clone() }
    }
}

/// A service behind the entrance.
#[derive(Clone, Debug)]
pub(super) struct Entered<S> {
    inner: S,
    entrance: Entrance,
}

impl<S> Service<Request<Body>> for Entered<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Send,
    S::Future: Send + 'static,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Some(path) = self.entrance.paths.get(request.uri().path()) else {
            return Box::pin(self.inner.call(request));
        };
        let origin = Origin::of(Context {
            rpc: path.clone(),
            peer: self.entrance.peer(&request),
            request_id: self.entrance.name(request.headers()),
        });
        let token = request.headers().get(TOKEN).cloned();
        request.extensions_mut().insert(origin.clone());
        let mut visit =
            Visit { auditor: self.entrance.auditor.clone(), origin, token, ended: false };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            if let Some(call) = answer.as_ref().ok().and_then(|response| visit.end(response)) {
                visit.write_down(call).await;
            }
            answer
        })
    }
}

/// A request until its answer is there.
struct Visit {
    auditor: Auditor,
    origin: Origin,
    token: Option<HeaderValue>,
    ended: bool,
}

impl Visit {
    /// What has to be written down of the request, unless the log has.
    fn end(&mut self, response: &Response<Body>) -> Option<ServedCall> {
        self.ended = true;
        if self.origin.is_logged() {
            return None;
        }
        noteworthy(&self.origin, self.token.as_ref(), response)
    }

    /// Acts, and secrets that are given away, are written down before the answer; what strangers and
    /// readers are refused, within a second.
    async fn write_down(&self, call: ServedCall) {
        if self.is_awaited(&call) {
            self.auditor.record(call).await;
        } else {
            self.auditor.note(call);
        }
    }

    fn is_awaited(&self, call: &ServedCall) -> bool {
        let knows = |caller: &Caller| self.auditor.knows(caller);
        let is_unsure = PASSING.iter().any(|code| call.refusal == code_name(*code));
        !is_unsure
            && self.origin.context.rpc != SAVE_SNAPSHOT
            && !quiet::is_quiet(&self.origin.context.rpc)
            && (call.refusal.is_empty() || call.caller.as_ref().is_some_and(knows))
    }
}

impl Drop for Visit {
    /// A client that goes away before it is answered takes no act back.
    fn drop(&mut self) {
        if !self.ended && !self.origin.is_logged() && self.origin.act().is_some() {
            let refusal = code_name(Code::Cancelled);
            self.auditor.note(served(&self.origin, self.token.as_ref(), refusal, String::new()));
        }
    }
}

/// Makes a file beside the replica's others: it changes nothing that the group agrees on and gives
/// nothing away, so its record may come after the answer.
const SAVE_SNAPSHOT: &str = "/muster.v1.Replica/SaveSnapshot";

/// What could not be done for now; whether it was done all the same, nobody knows.
const PASSING: [Code; 3] = [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled];

impl Entrance {
    /// The client's own name for the request, or one for the record alone: only a client that gave a
    /// name means that the same name is the same request.
    fn name(&self, headers: &HeaderMap) -> String {
        let given = headers.get(REQUEST_ID).and_then(|name| name.to_str().ok());
        let usable = given.filter(|name| (1..=limits::REQUEST_ID_BYTES_MAX).contains(&name.len()));
        usable.map_or_else(|| entropy::uuid(self.entropy.as_ref()), ToOwned::to_owned)
    }

    /// host:port of the other side, or the host that a trusted proxy names and no port; empty when the
    /// listener does not tell.
    fn peer(&self, request: &Request<Body>) -> String {
        let plain = request.extensions().get::<TcpConnectInfo>();
        let tls = request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>();
        let info = plain.or_else(|| tls.map(TlsConnectInfo::get_ref));
        let connection = info.and_then(TcpConnectInfo::remote_addr);
        let from = self.limits.origins().of(request.extensions(), request.headers());
        match (connection, from) {
            (Some(connection), Some(from)) if connection.ip().to_canonical() != from => {
                SocketAddr::new(from, 0).to_string()
            }
            (Some(connection), _) => connection.to_string(),
            (None, _) => String::new(),
        }
    }
}

/// What has to be written down of a call that did not reach the log: every refusal, and what was
/// served unless it is quiet. What could not be served for now is neither, unless it is an act, which
/// may have been done.
fn noteworthy(
    origin: &Origin,
    token: Option<&HeaderValue>,
    response: &Response<Body>,
) -> Option<ServedCall> {
    let status = response.extensions().get::<Status>();
    let (refusal, resource) = match status.map(Status::code) {
        None | Some(Code::Ok) if quiet::is_quiet(&origin.context.rpc) => return None,
        None | Some(Code::Ok) => (String::new(), String::new()),
        Some(code) if PASSING.contains(&code) && origin.act().is_none() => return None,
        Some(code) => match status.and_then(rejection) {
            Some(no) => (refusal_of(no), about(no)),
            None => (code_name(code), String::new()),
        },
    };
    Some(served(origin, token, refusal, resource))
}

/// A call with its outcome; an act says itself what it is about.
fn served(
    origin: &Origin,
    token: Option<&HeaderValue>,
    refusal: String,
    resource: String,
) -> ServedCall {
    let who =
        token.map(|token| Who::TokenDigest(secret::token_digest(token.as_bytes()).to_vec().into()));
    let act = origin.act();
    ServedCall {
        caller: Some(Caller { who }),
        context: Some(origin.context.clone()),
        act: act.is_some(),
        resource: act.unwrap_or(resource),
        refusal,
        count: 1,
    }
}

fn rejection(status: &Status) -> Option<&Rejection> {
    status.source()?.downcast_ref::<Refused>().map(|refused| &refused.0)
}

fn refusal_of(rejection: &Rejection) -> String {
    refusal(rejection.kind()).to_owned()
}

/// What a refusal is about: the resource that was out of reach, or the cluster of a wrong pair.
fn about(rejection: &Rejection) -> String {
    use muster_proto::muster::log::v1::RejectionKind;
    if let Ok(kind @ (ResourceType::Cluster | ResourceType::Project | ResourceType::Repo)) =
        ResourceType::try_from(rejection.resource_type)
    {
        return format!("{} {}", kind.as_str_name(), rejection.resource_name).trim_end().to_owned();
    }
    match rejection.kind() {
        RejectionKind::IdOrSecretInvalid => format!("cluster:{}", rejection.subject),
        _ => String::new(),
    }
}

/// As gRPC spells it: `PERMISSION_DENIED`.
fn code_name(code: Code) -> String {
    let mut name = String::new();
    for c in format!("{code:?}").chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use muster_proto::muster::log::v1::RejectionKind;

    use super::*;
    use crate::actors::CallError;
    use crate::state::rejection;

    fn noted(path: &str, status: Option<Status>) -> Option<ServedCall> {
        let origin = Origin::of(Context { rpc: path.to_owned(), ..Context::default() });
        let response = match status {
            Some(status) => status.into_http(),
            None => Response::new(Body::empty()),
        };
        noteworthy(&origin, None, &response)
    }

    #[test]
    fn a_refusal_is_told_by_its_rule_or_else_by_its_code() {
        let no = rejection::about(RejectionKind::IdOrSecretInvalid, "c1");
        let refused = Status::from(CallError::Rejected(no));
        let call = noted("/license_v2.API/Heartbeat", Some(refused)).unwrap();
        assert_eq!(
            (call.refusal.as_str(), call.resource.as_str()),
            ("ID_OR_SECRET_INVALID", "cluster:c1")
        );
        let call = noted("/auth_v2.API/WhoAmI", Some(Status::failed_precondition(""))).unwrap();
        assert_eq!(call.refusal, "FAILED_PRECONDITION");
    }

    #[test]
    fn reads_that_succeed_and_servers_that_cannot_now_leave_no_record() {
        assert_eq!(noted("/license_v2.API/ListClusters", None), None);
        assert_eq!(noted("/license_v2.API/ListClusters", Some(Status::unavailable(""))), None);
        assert!(noted("/license_v2.API/GetActivationCode", None).is_some());
        assert!(noted("/muster.v1.Replica/TransferLeader", None).is_some());
    }

    #[test]
    fn an_act_names_what_it_is_about_whatever_came_of_it() {
        let origin = Origin::of(Context { rpc: "/x".to_owned(), ..Context::default() });
        let about = |status: Status| noteworthy(&origin, None, &status.into_http());
        assert_eq!(about(Status::deadline_exceeded("")), None);
        origin.set_act("replica a".to_owned());
        for (status, refusal) in [
            (Status::deadline_exceeded(""), "DEADLINE_EXCEEDED"),
            (Status::unavailable(""), "UNAVAILABLE"),
            (Status::not_found(""), "NOT_FOUND"),
        ] {
            let call = about(status).unwrap();
            assert_eq!((call.refusal.as_str(), call.resource.as_str()), (refusal, "replica a"));
            assert!(call.act);
        }
        let done = noteworthy(&origin, None, &Response::new(Body::empty())).unwrap();
        assert_eq!((done.refusal.as_str(), done.resource.as_str()), ("", "replica a"));
    }
}
