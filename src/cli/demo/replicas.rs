//! Three `muster serve` of this very program on this machine.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use muster_proto::license_v2::api_client::ApiClient as LicenseClient;
use muster_proto::muster::v1::replica_client::ReplicaClient;
use muster_proto::muster::v1::{ReplicaStatus, Role, StatusRequest};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};

use crate::cli::output::{self, Failure};

const NAMES: [&str; 3] = ["muster-0", "muster-1", "muster-2"];
/// How far apart the ports of two replicas are.
const STRIDE: u16 = 10;
const GRPC_PORT: u16 = 31650;
/// From the gRPC port.
const OPS: u16 = 6;
const PEER: u16 = 9;
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
const CALL_LIMIT: Duration = Duration::from_secs(2);

/// The three replicas; their processes end with this value.
pub(super) struct Replicas {
    folder: PathBuf,
    replicas: Vec<Replica>,
}

struct Replica {
    name: &'static str,
    grpc_port: u16,
    channel: Channel,
    process: Option<Child>,
}

/// What the replicas must share before they start.
pub(super) struct Shared<'a> {
    pub(super) license_public_key: &'a str,
    pub(super) bootstrap_token: &'a str,
}

impl Replicas {
    /// Starts them with their data in `folder`, and waits for a leader.
    pub(super) async fn start(folder: &Path, shared: &Shared<'_>) -> Result<Replicas, Failure> {
        let cannot = |error: io::Error| {
            Failure::new(format!("cannot prepare {}", folder.display())).because(&error)
        };
        fs::write(folder.join("license.pub"), shared.license_public_key).map_err(cannot)?;
        write_secret(&folder.join("bootstrap-token"), shared.bootstrap_token).map_err(cannot)?;
        let mut replicas = Vec::new();
        for (name, grpc_port) in NAMES.into_iter().zip(free_ports()?) {
            let channel = Endpoint::from_shared(format!("http://127.0.0.1:{grpc_port}"))
                .map_err(|error| Failure::new("cannot dial this machine").because(&error))?
                .connect_timeout(CALL_LIMIT)
                .tcp_nodelay(true)
                .connect_lazy();
            replicas.push(Replica { name, grpc_port, channel, process: None });
        }
        let mut replicas = Replicas { folder: folder.to_owned(), replicas };
        for at in 0..NAMES.len() {
            replicas.launch(at)?;
        }
        replicas.wait_for_leader().await?;
        Ok(replicas)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.replicas.iter().map(|replica| replica.name)
    }

    /// `HOST:PORT` of each replica's API.
    pub(super) fn addresses(&self) -> impl Iterator<Item = String> {
        self.replicas.iter().map(|replica| format!("127.0.0.1:{}", replica.grpc_port))
    }

    /// `HOST:PORT` of each replica's probes and metrics.
    pub(super) fn ops_addresses(&self) -> impl Iterator<Item = String> {
        self.replicas.iter().map(|replica| format!("127.0.0.1:{}", replica.grpc_port + OPS))
    }

    pub(super) fn licenses(&self) -> Vec<LicenseClient<Channel>> {
        self.replicas.iter().map(|replica| LicenseClient::new(replica.channel.clone())).collect()
    }

    pub(super) fn clients(&self) -> Vec<ReplicaClient<Channel>> {
        self.replicas.iter().map(|replica| ReplicaClient::new(replica.channel.clone())).collect()
    }

    fn launch(&mut self, at: usize) -> Result<(), Failure> {
        let list = self
            .replicas
            .iter()
            .map(|replica| format!("{}=127.0.0.1:{}", replica.name, replica.grpc_port + PEER));
        let list = list.collect::<Vec<_>>().join(",");
        let Some(replica) = self.replicas.get_mut(at) else { return Ok(()) };
        let cannot = |error: io::Error| {
            Failure::new(format!("cannot start {}", replica.name)).because(&error)
        };
        let port = replica.grpc_port;
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.folder.join(format!("{}.log", replica.name)))
            .map_err(cannot)?;
        let mut command = Command::new(std::env::current_exe().map_err(cannot)?);
        command
            .env_clear()
            .arg("serve")
            .arg("--data")
            .arg(self.folder.join(replica.name))
            .args(["--name", replica.name])
            .args(["--grpc-listen", &format!("127.0.0.1:{port}")])
            .args(["--ops-listen", &format!("127.0.0.1:{}", port + OPS)])
            .args(["--peer-listen", &format!("127.0.0.1:{}", port + PEER)])
            .args(["--initial-cluster", &list])
            .arg("--bootstrap-token-file")
            .arg(self.folder.join("bootstrap-token"))
            .arg("--license-public-key")
            .arg(self.folder.join("license.pub"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(cannot)?)
            .stderr(log)
            .kill_on_drop(true);
        replica.process = Some(command.spawn().map_err(cannot)?);
        Ok(())
    }

    /// Waits until one replica leads and all that run know it. Returns which one leads.
    pub(super) async fn wait_for_leader(&mut self) -> Result<usize, Failure> {
        let end = Instant::now() + PATIENCE;
        loop {
            self.check_running()?;
            let statuses = self.statuses().await;
            let leads = |status: &ReplicaStatus| status.role() == Role::Leader;
            if let Some((at, Some(leader))) =
                statuses.iter().enumerate().find(|(_, status)| status.as_ref().is_some_and(leads))
                && statuses.iter().zip(&self.replicas).all(|(status, replica)| {
                    replica.process.is_none()
                        || status.as_ref().is_some_and(|status| status.leader == leader.id)
                })
            {
                return Ok(at);
            }
            if Instant::now() >= end {
                return Err(self.failure("the replicas found no leader in time"));
            }
            sleep(POLL).await;
        }
    }

    /// Waits until all replicas have applied the same. Returns the position.
    pub(super) async fn wait_level(&mut self) -> Result<u64, Failure> {
        let end = Instant::now() + PATIENCE;
        loop {
            self.check_running()?;
            let statuses = self.statuses().await;
            let applied: Option<Vec<_>> = statuses
                .into_iter()
                .map(|status| status.map(|status| (status.applied_index, status.last_index)))
                .collect();
            match applied.as_deref() {
                Some([(first, last), rest @ ..])
                    if first == last && rest.iter().all(|other| other == &(*first, *last)) =>
                {
                    return Ok(*first);
                }
                _ if Instant::now() >= end => {
                    return Err(self.failure("the replicas did not become level in time"));
                }
                _ => sleep(POLL).await,
            }
        }
    }

    async fn statuses(&self) -> Vec<Option<ReplicaStatus>> {
        let asked = self.clients().into_iter().map(|mut client| async move {
            let asked = timeout(CALL_LIMIT, client.status(StatusRequest {})).await;
            Some(asked.ok()?.ok()?.into_inner())
        });
        futures::future::join_all(asked).await
    }

    /// kill -9. Returns when the process is gone.
    pub(super) async fn kill(&mut self, at: usize) -> Result<(), Failure> {
        let Some(replica) = self.replicas.get_mut(at) else { return Ok(()) };
        let Some(mut process) = replica.process.take() else { return Ok(()) };
        let killed = process.kill().await;
        killed
            .map_err(|error| Failure::new(format!("cannot kill {}", replica.name)).because(&error))
    }

    pub(super) fn restart(&mut self, at: usize) -> Result<(), Failure> {
        self.launch(at)
    }

    /// Gives them time to end by themselves (a terminal interrupts them too), then ends them.
    pub(super) async fn stop(mut self) {
        const GRACE: Duration = Duration::from_secs(10);
        let ends = self.replicas.iter_mut().filter_map(|replica| replica.process.as_mut());
        drop(timeout(GRACE, futures::future::join_all(ends.map(Child::wait))).await);
        self.kill_all().await;
    }

    /// kill -9 for all that still run.
    pub(super) async fn kill_all(&mut self) {
        for at in 0..self.replicas.len() {
            // One that cannot be killed has ended.
            drop(self.kill(at).await);
        }
    }

    /// Starts those again that a signal ended; fails if one ended by itself.
    pub(super) fn revive(&mut self) -> Result<(), Failure> {
        for at in 0..self.replicas.len() {
            let Some(replica) = self.replicas.get_mut(at) else { continue };
            let ended = replica.process.as_mut().and_then(|process| process.try_wait().ok()?);
            if let Some(signal) = ended.and_then(|status| status.signal()) {
                output::note(&format!(
                    "{} was killed by signal {signal}, starting it again",
                    replica.name
                ));
                self.launch(at)?;
            }
        }
        self.check_running()
    }

    /// Fails if a replica ended by itself.
    pub(super) fn check_running(&mut self) -> Result<(), Failure> {
        for replica in &mut self.replicas {
            let Some(process) = &mut replica.process else { continue };
            if let Ok(Some(status)) = process.try_wait() {
                let what = format!("{} ended by itself ({status})", replica.name);
                return Err(self.failure(&what));
            }
        }
        Ok(())
    }

    /// A failure with the last words of each replica.
    fn failure(&self, what: &str) -> Failure {
        const LAST_LINES: usize = 3;
        let mut failure = Failure::new(what);
        for replica in &self.replicas {
            let log = fs::read_to_string(self.folder.join(format!("{}.log", replica.name)));
            let log = log.unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            for line in lines.iter().skip(lines.len().saturating_sub(LAST_LINES)) {
                failure = failure.cause(format!("{}: {line}", replica.name));
            }
        }
        failure
    }
}

pub(super) fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// The gRPC ports of the replicas: the documented one and its neighbours if they are free,
/// otherwise others below those that the kernel hands out.
fn free_ports() -> Result<[u16; 3], Failure> {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    for shift in 0..300 {
        let first = GRPC_PORT - shift * 3 * STRIDE;
        let ports = [first, first + STRIDE, first + 2 * STRIDE];
        if ports.iter().all(|port| [0, OPS, PEER].iter().all(|offset| free(port + offset))) {
            return Ok(ports);
        }
    }
    Err(Failure::new("no nine free ports on 127.0.0.1"))
}
