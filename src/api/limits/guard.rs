//! The limits around every request, before a service sees it.

use std::future::ready;
use std::net::IpAddr;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt as _};
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};

use super::{Limit, RateLimits, lock};
use crate::actors::Reader;
use crate::api::caller;
use crate::state::access::Need;
use crate::state::auth::rpcs;
use crate::state::secret::{self, Digest};

const HEARTBEAT: &str = "/license_v2.API/Heartbeat";
/// In front of all methods of the health service.
const HEALTH: &str = "/grpc.health.";
const AUTHENTICATE: &str = "/auth_v2.API/Authenticate";
const BEGIN_LOGIN: &str = "/auth_v2.API/GetOIDCLogin";

/// Where a request comes from, for those who look at it later; none for what came over no network.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) struct Origin(pub(in crate::api) Option<IpAddr>);

/// Adds [`Guarded`] to a server.
#[derive(Clone, Debug)]
pub(in crate::api) struct Guard {
    pub(in crate::api) limits: RateLimits,
    pub(in crate::api) reader: Reader,
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, guard: self.clone() }
    }
}

/// A service that is asked only so often.
#[derive(Clone, Debug)]
pub(in crate::api) struct Guarded<S> {
    inner: S,
    guard: Guard,
}

/// What is still to be counted when the answer is there.
#[derive(Clone, Copy, Debug)]
struct Pending {
    address: u64,
    /// Nobody has this token as far as this replica knows.
    stranger: Option<Digest>,
    signs_in: bool,
}

impl Guard {
    /// Lets a request pass, or not.
    fn admit(
        &self,
        request: &Request<Body>,
        from: IpAddr,
    ) -> Result<Option<Pending>, tonic::Status> {
        let limits = &self.limits;
        let Some(site) = limits.site(from) else { return Ok(None) };
        let address = limits.key(site);
        let path = request.uri().path();
        let signs_in = path == AUTHENTICATE;
        if signs_in {
            limits.look(Limit::SignIn, address)?;
        }
        if path == BEGIN_LOGIN {
            limits.take(Limit::Login, address)?;
        }
        let view = self.reader.local();
        // What is open to all looks at no token: a stale one does no harm there, and a right one
        // must not become known by a request that nobody refuses.
        let judged = view.auth().is_on() && judges_tokens(path);
        let token = caller::token(request.headers()).filter(|token| judged && !token.is_empty());
        let Some(token) = token else {
            if path.starts_with(HEALTH) {
                limits.take(Limit::Health, address)?;
            } else if path != HEARTBEAT {
                limits.take(Limit::Open, address)?;
            }
            return Ok(Some(Pending { address, stranger: None, signs_in }));
        };
        let digest = secret::token_digest(token);
        let known = limits.key((Limit::Token.name(), site, digest));
        let was_known = lock(&limits.0.known).has(known);
        if !was_known {
            limits.look(Limit::Token, address)?;
        }
        let stranger = if let Some(token) = view.auth().tokens().get(&digest) {
            if !was_known {
                lock(&limits.0.known).remember(known);
            }
            limits.take(Limit::Principal, limits.key(&*token.subject))?;
            None
        } else {
            lock(&limits.0.known).forget(known);
            limits.take(Limit::Open, address)?;
            Some(digest)
        };
        Ok(Some(Pending { address, stranger, signs_in }))
    }

    /// Counts what was wrong.
    fn settle(&self, pending: Pending, response: &Response<Body>) {
        // A new token may not have been here yet when its request came.
        let is_stranger = |digest| self.reader.local().auth().tokens().get(&digest).is_none();
        if pending.stranger.is_some_and(is_stranger) {
            self.limits.charge(Limit::Token, pending.address);
        }
        if pending.signs_in && failed(response) {
            self.limits.charge(Limit::SignIn, pending.address);
        }
    }
}

/// Whether a wrong token is refused there.
fn judges_tokens(path: &str) -> bool {
    let by_itself = ["/auth_v2.API/WhoAmI", "/auth_v2.API/Authorize"].contains(&path);
    by_itself || !(path.starts_with("/grpc.") || rpcs::need(path) == Some(Need::Open))
}

/// Whether a sign-in was judged and found wrong. A failed call carries its code in the headers.
fn failed(response: &Response<Body>) -> bool {
    let code = response
        .headers()
        .get("grpc-status")
        .map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
    matches!(
        code,
        Code::Unknown
            | Code::InvalidArgument
            | Code::NotFound
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::FailedPrecondition
    )
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Send,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let origin = self.guard.limits.0.origins.of(request.extensions(), request.headers());
        request.extensions_mut().insert(Origin(origin));
        let admitted = match origin {
            Some(from) => self.guard.admit(&request, from),
            None => Ok(None),
        };
        let pending = match admitted {
            Ok(Some(pending)) => pending,
            Ok(None) => return self.inner.call(request).boxed(),
            Err(refused) => return ready(Ok(refused.into_http())).boxed(),
        };
        let guard = self.guard.clone();
        let answer = self.inner.call(request);
        async move {
            let answer = answer.await;
            if let Ok(response) = &answer {
                guard.settle(pending, response);
            }
            answer
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_refuses_wrong_tokens_is_a_place_to_guess_them() {
        for path in ["/auth_v2.API/WhoAmI", "/license_v2.API/ListClusters", "/muster.v1.Fleet/List"]
        {
            assert!(judges_tokens(path), "{path}");
        }
        for path in [HEARTBEAT, AUTHENTICATE, BEGIN_LOGIN, "/versionpb_v2.API/GetVersion"] {
            assert!(!judges_tokens(path), "{path}");
        }
        assert!(!judges_tokens("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"));
    }
}
