//! Certificates that are renewed while the process runs: read again on SIGHUP, and whenever their files
//! have changed. Connections that stand go on; a certificate that is of no use leaves the one before.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_cluster::net::PeerTls;
use tokio::signal::unix::{SignalKind, signal};
use x509_parser::pem::parse_x509_pem;

use crate::api::ApiTls;
use crate::config::{self, Config};

/// Between two looks at the files: a mounted secret changes without a signal.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What is served with, and from which files.
pub(super) struct Certificates {
    served: Vec<Served>,
}

struct Served {
    listener: &'static str,
    /// The certificate first.
    files: Vec<PathBuf>,
    seen: Vec<Vec<u8>>,
    with: With,
}

enum With {
    Api(ApiTls),
    Peers(PeerTls),
}

impl Certificates {
    /// Those that `config` names, as they were read at the start.
    pub(super) fn of(
        config: &Config,
        api: Option<&ApiTls>,
        peers: Option<&PeerTls>,
    ) -> Certificates {
        let api = config.api_tls.as_ref().zip(api).map(|(files, tls)| {
            let config::ApiTls { cert, key } = files;
            Served::new("api", &[cert, key], With::Api(tls.clone()))
        });
        let peers = config.peer_tls.as_ref().zip(peers).map(|(files, tls)| {
            let config::PeerTls { ca, cert, key } = files;
            Served::new("peer", &[cert, key, ca], With::Peers(tls.clone()))
        });
        Certificates { served: api.into_iter().chain(peers).collect() }
    }

    /// Keeps them as their files are; never ends.
    pub(super) async fn keep(mut self) -> io::Result<()> {
        let mut hangup = signal(SignalKind::hangup())?;
        let mut every = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                _ = hangup.recv() => tracing::info!("told to read the certificates again"),
                _ = every.tick() => {}
            }
            let looked = tokio::task::spawn_blocking(move || {
                self.served.iter_mut().for_each(Served::look);
                self
            });
            self = looked.await.map_err(io::Error::other)?;
        }
    }
}

impl Served {
    fn new(listener: &'static str, files: &[&PathBuf], with: With) -> Served {
        let files: Vec<PathBuf> = files.iter().map(|file| (*file).clone()).collect();
        let seen = read(&files).unwrap_or_default();
        tell_expiry(listener, seen.first());
        Served { listener, files, seen, with }
    }

    /// Takes what the files hold by now, if that is something else. While they are being written they
    /// may not fit together: then the next look does.
    fn look(&mut self) {
        let now = match read(&self.files) {
            Ok(now) if now == self.seen => return,
            Ok(now) => now,
            Err((file, error)) => {
                return self.tell_failed(&format!("cannot read {}: {error}", file.display()));
            }
        };
        match self.take(&now) {
            Ok(()) => {
                tracing::info!(listener = self.listener, "the certificate was renewed");
                self.count("ok");
                tell_expiry(self.listener, now.first());
                self.seen = now;
            }
            Err(reason) => self.tell_failed(&reason),
        }
    }

    fn take(&self, now: &[Vec<u8>]) -> Result<(), String> {
        match (&self.with, now) {
            (With::Api(tls), [cert, key, ..]) => {
                tls.replace(cert, key).map_err(|error| error.to_string())
            }
            (With::Api(_), _) => Err("certificate or key is missing".to_owned()),
            (With::Peers(tls), _) => tls.reload().map_err(|error| error.to_string()),
        }
    }

    fn tell_failed(&self, reason: &str) {
        tracing::error!(listener = self.listener, reason, "the certificate before stays");
        self.count("failed");
    }

    fn count(&self, result: &'static str) {
        let labels = [("listener", self.listener), ("result", result)];
        metrics::counter!("muster_tls_reloads_total", &labels).increment(1);
    }
}

fn read(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, (&Path, io::Error)> {
    files.iter().map(|file| fs::read(file).map_err(|error| (file.as_path(), error))).collect()
}

/// Nothing is told of what cannot be read: the library that serves with it has the last word.
#[expect(clippy::cast_precision_loss, reason = "a date on a dashboard may lose its last digits")]
fn tell_expiry(listener: &'static str, pem: Option<&Vec<u8>>) {
    let Some((_, pem)) = pem.and_then(|pem| parse_x509_pem(pem).ok()) else { return };
    let Ok(certificate) = pem.parse_x509() else { return };
    let end = certificate.validity().not_after.timestamp();
    metrics::gauge!("muster_tls_certificate_expiry_timestamp_seconds", "listener" => listener)
        .set(end as f64);
}
