//! A group of real replicas on the loopback, each with its own data folder, ports and log.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use muster_proto::muster::v1::Role;
use tempfile::TempDir;

use super::authority::Authority;
use super::client::Client;
use super::process::{Process, tail};
use super::{http, ports, wait};

const TOKEN: &str = "a-token-that-all-replicas-of-the-tests-share";

/// What differs between worlds.
#[derive(Default, Clone)]
pub(crate) struct Setup {
    /// Mutual TLS between the replicas, with certificates of `muster tls init`.
    pub(crate) peer_tls: bool,
    /// TLS towards clients, with certificates of the same command.
    pub(crate) api_tls: bool,
    /// More flags for every `muster serve`.
    pub(crate) flags: Vec<String>,
    /// More environment for every `muster serve`.
    pub(crate) env: Vec<(String, String)>,
}

pub(crate) struct Replicas {
    // First, so that the processes are gone and their logs told before the folder goes.
    members: Vec<Replica>,
    folder: TempDir,
    setup: Setup,
}

pub(crate) struct Replica {
    pub(crate) name: String,
    pub(crate) grpc: u16,
    pub(crate) ops: u16,
    pub(crate) peer: u16,
    data: PathBuf,
    process: Option<Process>,
}

impl Replicas {
    /// Starts `size` replicas and waits until all are ready.
    pub(crate) fn start(size: usize) -> Replicas {
        Replicas::start_with(size, Setup::default())
    }

    pub(crate) fn start_with(size: usize, setup: Setup) -> Replicas {
        let mut world = Replicas::prepare(size, setup);
        for at in 0..size {
            world.launch(at);
        }
        world.wait_ready();
        world
    }

    /// Folders, ports and certificates; no process yet.
    pub(crate) fn prepare(size: usize, setup: Setup) -> Replicas {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("token"), TOKEN).unwrap();
        fs::write(folder.path().join("license.pub"), Authority::get().public_key()).unwrap();
        let members = (0..size)
            .map(|at| Replica {
                name: format!("r{at}"),
                grpc: ports::free(),
                ops: ports::free(),
                peer: ports::free(),
                data: folder.path().join(format!("data-{at}")),
                process: None,
            })
            .collect();
        let world = Replicas { members, folder, setup };
        if world.setup.peer_tls || world.setup.api_tls {
            world.make_certificates("tls");
        }
        world
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn replica(&self, at: usize) -> &Replica {
        &self.members[at]
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data(&self, at: usize) -> PathBuf {
        self.members[at].data.clone()
    }

    /// Lets the next start use another data folder.
    pub(crate) fn move_data(&mut self, at: usize, data: PathBuf) {
        self.members[at].data = data;
    }

    pub(crate) fn log(&self, at: usize) -> PathBuf {
        self.folder.path().join(format!("log-{at}"))
    }

    /// All that the replica has printed, over all its starts.
    pub(crate) fn printed(&self, at: usize) -> String {
        fs::read_to_string(self.log(at)).unwrap_or_default()
    }

    /// A client of the replica's gRPC port.
    pub(crate) fn client(&self, at: usize) -> Client {
        Client::new(&self.address(at))
    }

    pub(crate) fn address(&self, at: usize) -> String {
        format!("http://127.0.0.1:{}", self.members[at].grpc)
    }

    /// The address as pachctl writes it.
    pub(crate) fn pachd_address(&self, at: usize) -> String {
        format!("grpc://127.0.0.1:{}", self.members[at].grpc)
    }

    /// The flags of one replica, as `launch` gives them.
    pub(crate) fn command(&self, at: usize) -> Command {
        let mut command = self.command_alone(at);
        if self.members.len() > 1 {
            command.args(["--initial-cluster", &self.initial_cluster()]);
            command.arg("--bootstrap-token-file").arg(self.folder.path().join("token"));
        }
        command
    }

    /// The same, of a replica that is told of no other.
    pub(crate) fn command_alone(&self, at: usize) -> Command {
        let replica = &self.members[at];
        let mut command = muster();
        command
            .arg("serve")
            .arg("--data")
            .arg(self.data(at))
            .args(["--name", &replica.name])
            .args(["--grpc-listen", &format!("127.0.0.1:{}", replica.grpc)])
            .args(["--ops-listen", &format!("127.0.0.1:{}", replica.ops)])
            .args(["--peer-listen", &format!("127.0.0.1:{}", replica.peer)])
            .arg("--license-public-key")
            .arg(self.folder.path().join("license.pub"));
        let tls = self.folder.path().join("tls").join(&replica.name);
        if self.setup.peer_tls {
            command.arg("--peer-ca").arg(tls.join("peer-ca.crt"));
            command.arg("--peer-cert").arg(tls.join("peer.crt"));
            command.arg("--peer-key").arg(tls.join("peer.key"));
        }
        if self.setup.api_tls {
            command.arg("--tls-cert").arg(tls.join("api.crt"));
            command.arg("--tls-key").arg(tls.join("api.key"));
        }
        command.args(&self.setup.flags);
        command.envs(self.setup.env.iter().cloned());
        command
    }

    pub(crate) fn initial_cluster(&self) -> String {
        let listed: Vec<String> = self
            .members
            .iter()
            .map(|replica| format!("{}=127.0.0.1:{}", replica.name, replica.peer))
            .collect();
        listed.join(",")
    }

    /// Starts the process of one replica without waiting for anything.
    pub(crate) fn launch(&mut self, at: usize) {
        let mut command = self.command(at);
        self.launch_as(at, &mut command);
    }

    pub(crate) fn launch_as(&mut self, at: usize, command: &mut Command) {
        let log = self.log(at);
        let process = Process::spawn(&self.members[at].name, command, &log);
        self.members[at].process = Some(process);
    }

    /// Waits until every running replica is ready.
    pub(crate) fn wait_ready(&mut self) {
        for at in 0..self.members.len() {
            if self.members[at].process.is_some() {
                self.wait_ready_one(at);
            }
        }
    }

    pub(crate) fn wait_ready_one(&mut self, at: usize) {
        let log = self.log(at);
        let replica = &mut self.members[at];
        wait::until(&format!("{} to be ready", replica.name), || {
            let ended = replica.process.as_mut().and_then(Process::ended);
            if let Some(status) = ended {
                panic!("{} ended with {status}:\n{}", replica.name, tail(&log, 40));
            }
            http::get(replica.ops, "/readyz").filter(|answer| answer.status == 200)
        });
    }

    pub(crate) fn is_running(&self, at: usize) -> bool {
        self.members[at].process.is_some()
    }

    pub(crate) fn process(&mut self, at: usize) -> &mut Process {
        self.members[at].process.as_mut().unwrap()
    }

    /// kill -9.
    pub(crate) fn kill(&mut self, at: usize) {
        if let Some(mut process) = self.members[at].process.take() {
            process.kill();
        }
    }

    /// SIGTERM, and the exit status.
    pub(crate) fn terminate(&mut self, at: usize) -> ExitStatus {
        let mut process = self.members[at].process.take().unwrap();
        process.terminate()
    }

    /// Waits for a replica that is expected to give up.
    pub(crate) fn wait_ended(&mut self, at: usize) -> ExitStatus {
        let mut process = self.members[at].process.take().unwrap();
        process.wait()
    }

    pub(crate) fn restart(&mut self, at: usize) {
        self.kill(at);
        self.launch(at);
        self.wait_ready_one(at);
    }

    /// The replica that leads, as soon as one does.
    pub(crate) async fn leader(&self) -> usize {
        wait::until_ok("a leader", || async {
            for at in 0..self.len() {
                if !self.is_running(at) {
                    continue;
                }
                if let Ok(status) = self.client(at).status().await
                    && status.role() == Role::Leader
                {
                    return Ok(at);
                }
            }
            Err("no replica leads")
        })
        .await
    }

    /// A running replica that does not lead.
    pub(crate) async fn follower(&self) -> usize {
        let leader = self.leader().await;
        (0..self.len()).find(|at| *at != leader && self.is_running(*at)).unwrap()
    }

    /// Waits until all running replicas have applied as much as the one that is furthest.
    pub(crate) async fn wait_level(&self) -> u64 {
        wait::until_ok("the replicas to be level", || async {
            let mut applied = Vec::new();
            for at in (0..self.len()).filter(|at| self.is_running(*at)) {
                let status = self.client(at).status().await.map_err(|e| e.to_string())?;
                applied.push(status.applied_index);
            }
            let first = applied.first().copied().unwrap_or_default();
            if applied.iter().all(|index| *index == first) {
                Ok(first)
            } else {
                Err(format!("applied {applied:?}"))
            }
        })
        .await
    }

    /// Position and digest of each replica's state, once all have applied the same entries.
    pub(crate) async fn state_digests(&self) -> Vec<(u64, u32)> {
        wait::until_ok("snapshots of one position", || async {
            self.wait_level().await;
            // All at once: that somebody saves one is an act, and moves the log on.
            let saved = (0..self.len()).map(async |at| {
                let saved = self.client(at).save_snapshot().await.map_err(|e| e.to_string())?;
                let found = muster_cluster::snapshot::inspect(Path::new(&saved.path)).unwrap();
                Ok::<_, String>((found.meta.index, found.meta.digest))
            });
            let digests = futures::future::try_join_all(saved).await?;
            let is_level = digests.windows(2).all(|pair| pair[0].0 == pair[1].0);
            if is_level { Ok(digests) } else { Err(format!("{digests:?}")) }
        })
        .await
    }

    /// Makes a CA and certificates for all replicas in a folder of that name.
    pub(crate) fn make_certificates(&self, folder: &str) {
        let mut command = muster();
        command.args(["tls", "init", "--out"]).arg(self.folder.path().join(folder));
        for replica in &self.members {
            command.arg("--replica").arg(format!("{}=127.0.0.1,localhost", replica.name));
        }
        let made = command.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
}

/// The program under test, with an environment that nothing of the machine leaks into.
pub(crate) fn muster() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}
