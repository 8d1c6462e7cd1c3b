//! The HTTP server.

use std::net::TcpListener;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};

use super::figures;
use super::versions::Versions;
use crate::actors::{Reader, Replica, Role};
use crate::clock::Clock;
use crate::state::LogTime;

/// What the probes and metrics look at. Cheap to clone.
#[derive(Clone)]
pub struct Ops {
    joined: Arc<OnceLock<(Replica, Reader)>>,
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
    clock: Arc<dyn Clock>,
    versions: Arc<Versions>,
}

impl Ops {
    /// A replica whose group has not begun; `metrics` prints them in Prometheus' text format.
    pub fn new(metrics: Arc<dyn Fn() -> String + Send + Sync>, clock: Arc<dyn Clock>) -> Ops {
        Ops { joined: Arc::default(), metrics, clock, versions: Arc::default() }
    }

    /// From now on there is a group to look at. Said twice, the first time counts.
    pub fn joined(&self, replica: Replica, reader: Reader) {
        drop(self.joined.set((replica, reader)));
    }

    fn replica(&self) -> Option<&Replica> {
        self.joined.get().map(|(replica, _)| replica)
    }
}

/// Longest time for ending.
const STOP_MAX: Duration = Duration::from_millis(250);

/// A server that runs until it is stopped.
#[derive(Debug)]
pub struct Running {
    handle: ServerHandle,
}

impl Running {
    /// Ends the server. Nobody waits long for a probe's last answer.
    pub async fn stop(self) {
        let _ = tokio::time::timeout(STOP_MAX, self.handle.stop(false)).await;
    }
}

/// Serves `/livez`, `/readyz`, `/startupz`, `/leaderz`, `/healthz` and `/metrics` on `listener`, on
/// the current runtime.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve(listener: TcpListener, ops: Ops) -> std::io::Result<Running> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(ops.clone()))
            .route("/livez", web::get().to(livez))
            .route("/readyz", web::get().to(readyz))
            .route("/startupz", web::get().to(startupz))
            .route("/leaderz", web::get().to(leaderz))
            .route("/healthz", web::get().to(healthz))
            .route("/metrics", web::get().to(metrics))
    })
    .workers(1)
    .disable_signals()
    .shutdown_timeout(1)
    .keep_alive(Duration::from_secs(30))
    .listen(listener)?
    .run();
    let handle = server.handle();
    tokio::spawn(server);
    Ok(Running { handle })
}

/// Whether a restart would help: the process answers and the group's thread runs. Having no leader
/// is no reason: a restart brings none.
async fn livez(ops: web::Data<Ops>) -> HttpResponse {
    let hangs = ops.replica().is_some_and(|replica| !replica.is_live());
    answer(hangs.then_some("the group's thread hangs"))
}

async fn readyz(ops: web::Data<Ops>) -> HttpResponse {
    let Some(replica) = ops.replica() else { return answer(Some("the group has not begun")) };
    match replica.unready() {
        None if replica.info().quarantined => HttpResponse::Ok()
            .content_type("text/plain")
            .body("ok, in quarantine: muster restore status\n"),
        unready => answer(unready),
    }
}

/// A process that answers here has opened its data, and has joined its group or waits for the others
/// of a first start.
async fn startupz() -> HttpResponse {
    answer(None)
}

async fn leaderz(ops: web::Data<Ops>) -> HttpResponse {
    let leads = ops.replica().is_some_and(|replica| replica.info().role == Role::Leader);
    answer((!leads).then_some("not the leader"))
}

/// What the probes look at, for a person.
async fn healthz(ops: web::Data<Ops>) -> HttpResponse {
    let text = match ops.replica() {
        None => "the group has not begun\n".to_owned(),
        Some(replica) => detail(replica),
    };
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(text)
}

fn detail(replica: &Replica) -> String {
    let info = replica.info();
    let age = match info.leader_age {
        None => "never".to_owned(),
        Some(age) => format!("{} ms ago", age.as_millis()),
    };
    format!(
        "live: {}\nready: {}\nquarantined: {}\nrole: {:?}\nleader: {}\nleader heard of: {age}\nterm: {}\n\
         commit index: {}\napplied index: {}\nticked: {} ms ago\n",
        replica.is_live(),
        replica.unready().unwrap_or("yes"),
        if info.quarantined { "yes" } else { "no" },
        info.role,
        info.leader.as_deref().unwrap_or("none"),
        info.term,
        info.commit,
        info.applied,
        info.tick_age.as_millis(),
    )
}

async fn metrics(ops: web::Data<Ops>) -> HttpResponse {
    // Beside the probes, which must not wait for it.
    let text = web::block(move || {
        if let Some((_, reader)) = ops.joined.get() {
            figures::refresh(reader, &ops.versions, LogTime(ops.clock.now().0));
        }
        (ops.metrics)()
    });
    match text.await {
        Ok(text) => {
            HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text)
        }
        Err(_) => answer(Some("the metrics could not be collected")),
    }
}

fn answer(wrong: Option<&str>) -> HttpResponse {
    match wrong {
        None => HttpResponse::Ok().content_type("text/plain").body("ok\n"),
        Some(wrong) => {
            HttpResponse::ServiceUnavailable().content_type("text/plain").body(format!("{wrong}\n"))
        }
    }
}
