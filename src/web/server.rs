//! The HTTP server.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::{App, HttpResponse, HttpServer, web};
use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;

use super::callback::{self, Callbacks};
use crate::api::RateLimits;
use crate::identity::SignIn;

/// Threads that read requests and write pages; what takes long waits on others.
const WORKERS: usize = 2;
/// Connections of one worker.
const CONNECTIONS_MAX: usize = 512;
/// The longest that a browser may take to ask.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// How long an idle connection is kept.
const IDLE_MAX: Duration = Duration::from_secs(15);
/// Longest time for ending; a person who comes back meanwhile may be sent here again.
const STOP_MAX: Duration = Duration::from_secs(5);

/// The certificate of the pages.
#[derive(Clone)]
pub struct Tls(ServerConfig);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Serves with whatever `certificate` is at the time.
    ///
    /// # Errors
    /// When the library refuses its own versions of the protocol.
    pub fn new(certificate: Arc<dyn ResolvesServerCert>) -> Result<Tls, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(certificate);
        Ok(Tls(config))
    }
}

/// A server that runs until it is stopped.
#[derive(Debug)]
pub struct Running {
    handle: ServerHandle,
}

impl Running {
    /// Ends the server, after the pages that are under way.
    pub async fn stop(self) {
        let _ = tokio::time::timeout(STOP_MAX, self.handle.stop(true)).await;
    }
}

/// Serves `/authorization-code/callback` on `listener`, on the current runtime, as often as `limits`
/// has it.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    sign_in: SignIn,
    limits: RateLimits,
) -> std::io::Result<Running> {
    let callbacks = web::Data::new(Callbacks::new(sign_in, limits));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(callbacks.clone())
            .route("/", web::get().to(root))
            .route(callback::PATH, web::get().to(callback::answer))
            .default_service(web::to(callback::nothing_here))
    })
    .workers(WORKERS)
    .max_connections(CONNECTIONS_MAX)
    .client_request_timeout(REQUEST_MAX)
    .keep_alive(IDLE_MAX)
    .shutdown_timeout(STOP_MAX.as_secs())
    .disable_signals();
    let server: Server = match tls {
        None => server.listen(listener)?.run(),
        Some(Tls(config)) => server.listen_rustls_0_23(listener, config)?.run(),
    };
    let handle = server.handle();
    tokio::spawn(server);
    Ok(Running { handle })
}

/// Whoever probes the port learns that it is served.
async fn root() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok\n")
}
