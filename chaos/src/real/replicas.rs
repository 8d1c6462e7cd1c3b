//! The processes of the group: started, hurt and asked how they are.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use muster_proto::muster::v1::replica_client::ReplicaClient;
use muster_proto::muster::v1::{
    ReplicaStatus, Role, SaveSnapshotRequest, StatusRequest, TransferLeaderRequest,
};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};

use super::abilities::Abilities;
use super::cgroups::Cgroup;
use super::stage::{Stage, text};
use super::tools::run;

/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(20);
/// How long a question to a replica may take.
const QUESTION: Duration = Duration::from_secs(1);

/// All replicas of the run.
pub(super) struct Replicas {
    pub(super) stage: Stage,
    binary: PathBuf,
    faketime: Option<PathBuf>,
    /// Those of this program's version.
    flags: Vec<String>,
    /// One for each place of the stage.
    members: Vec<Replica>,
    /// So many of them, the first ones, are in the group and for clients to ask.
    current: Arc<AtomicUsize>,
}

struct Replica {
    child: Option<Child>,
    cgroup: Cgroup,
    channel: Channel,
    /// The file with the token that it joined with, and the address that it asked.
    joined: Option<(PathBuf, String)>,
}

/// How a replica ended by itself.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) at: usize,
    pub(super) status: ExitStatus,
}

impl Replicas {
    /// Everything that the replicas need, and no process yet.
    pub(super) fn prepare(
        stage: Stage,
        binary: &Path,
        abilities: &Abilities,
    ) -> Result<Replicas, String> {
        let say = |line: &[&str]| run(line).map_err(|error| error.to_string());
        let (muster, folder) = (text(binary), stage.folder.clone());
        fs::write(folder.join("token"), &stage.name).map_err(|error| error.to_string())?;
        let license = text(&folder.join("license"));
        say(&[&muster, "license", "keygen", "--out", &license, "--bits", "2048"])?;
        let tls = text(&folder.join("tls"));
        let mut line = vec![muster, "tls".into(), "init".into(), "--out".into(), tls];
        for at in 0..stage.places() {
            line.extend(["--replica".into(), format!("r{at}={},localhost", stage.host(at))]);
        }
        say(&line.iter().map(String::as_str).collect::<Vec<_>>())?;
        let mut members = Vec::new();
        for at in 0..stage.places() {
            set_clock(&stage, at, 0)?;
            let channel = endpoint(&stage, at)?.connect_lazy();
            let cgroup = Cgroup::make(format!("{}-r{at}", stage.name));
            members.push(Replica { child: None, cgroup, channel, joined: None });
        }
        let faketime = abilities.faketime.clone();
        // Clients that guess secrets all the time are what the limits are there for.
        let help = say(&[&text(binary), "serve", "--help"])?;
        let flags = ["--no-rate-limits"].iter().filter(|flag| help.contains(**flag));
        let flags = flags.map(|flag| (*flag).to_owned()).collect();
        let current = Arc::new(AtomicUsize::new(stage.size));
        Ok(Replicas { stage, binary: binary.to_owned(), faketime, flags, members, current })
    }

    /// Replicas that are in the group: always the first places.
    pub(super) fn len(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    pub(super) fn places(&self) -> usize {
        self.members.len()
    }

    /// From now on the first `count` are in the group.
    pub(super) fn resize(&self, count: usize) {
        self.current.store(count.min(self.members.len()), Ordering::Relaxed);
    }

    /// How many there are, for those who watch.
    pub(super) fn current(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.current)
    }

    pub(super) fn binary(&self) -> &Path {
        &self.binary
    }

    pub(super) fn channel(&self, at: usize) -> Option<Channel> {
        self.members.get(at).map(|member| member.channel.clone())
    }

    pub(super) fn cgroup(&self, at: usize) -> Option<&Cgroup> {
        self.members.get(at).map(|member| &member.cgroup)
    }

    pub(super) fn log(&self, at: usize) -> PathBuf {
        self.stage.folder.join(format!("r{at}.log"))
    }

    /// Starts a replica that does not run.
    pub(super) fn start(&mut self, at: usize) -> Result<(), String> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log(at))
            .map_err(|error| error.to_string())?;
        let mut command = self.command(at);
        let output: File = log.try_clone().map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stdout(output).stderr(log).process_group(0);
        let Some(member) = self.members.get_mut(at) else { return Ok(()) };
        if member.child.is_some() {
            return Ok(());
        }
        let child = command.spawn().map_err(|error| format!("cannot start r{at}: {error}"))?;
        member.cgroup.adopt(child.id());
        member.child = Some(child);
        Ok(())
    }

    /// Starts a replica that joins, with the token in a file, through one that runs.
    pub(super) fn start_joining(&mut self, at: usize, token: PathBuf) -> Result<(), String> {
        let through = (0..self.places()).find(|other| *other != at && self.runs(*other));
        let through = through.ok_or("nobody runs to join through")?;
        let address = self.stage.address(through, 0);
        if let Some(member) = self.members.get_mut(at) {
            member.joined = Some((token, address));
        }
        self.start(at)
    }

    /// How a replica ended that was to end.
    pub(super) fn has_ended(&mut self, at: usize) -> Option<ExitStatus> {
        let member = self.members.get_mut(at)?;
        let status = member.child.as_mut()?.try_wait().ok()??;
        member.child = None;
        Some(status)
    }

    fn command(&self, at: usize) -> Command {
        let stage = &self.stage;
        let folder = &stage.folder;
        let mut line = stage.enter_space(at);
        line.push(text(&self.binary));
        let mut words = line.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        if let Some(library) = &self.faketime {
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME_TIMESTAMP_FILE", clock_file(stage, at))
                .env("FAKETIME_CACHE_DURATION", "1")
                .env("DONT_FAKE_MONOTONIC", "1");
        }
        let peers: Vec<_> =
            (0..stage.size).map(|at| format!("r{at}={}", stage.address(at, 2))).collect();
        let tls = folder.join("tls").join(format!("r{at}"));
        command
            .arg("serve")
            .arg("--data")
            .arg(stage.data(at))
            .args(["--name", &format!("r{at}"), "--insecure", "--log-level", "info"])
            .args(["--grpc-listen", &stage.address(at, 0)])
            .args(["--ops-listen", &stage.address(at, 1)])
            .args(["--peer-listen", &stage.address(at, 2)])
            .args(["--snapshot-entries", "2000", "--promote-after", "2s"])
            .args(&self.flags)
            .arg("--license-public-key")
            .arg(folder.join("license.pub"))
            .arg("--peer-ca")
            .arg(tls.join("peer-ca.crt"))
            .arg("--peer-cert")
            .arg(tls.join("peer.crt"))
            .arg("--peer-key")
            .arg(tls.join("peer.key"));
        match self.members.get(at).and_then(|member| member.joined.as_ref()) {
            Some((token, through)) => {
                command.args(["--join", through, "--join-token-file"]).arg(token)
            }
            None => command
                .args(["--initial-cluster", &peers.join(","), "--bootstrap-token-file"])
                .arg(folder.join("token")),
        };
        command
    }

    pub(super) fn runs(&self, at: usize) -> bool {
        self.members.get(at).is_some_and(|member| member.child.is_some())
    }

    /// kill -9.
    pub(super) fn kill(&mut self, at: usize) {
        let Some(mut child) = self.members.get_mut(at).and_then(|member| member.child.take())
        else {
            return;
        };
        let _dead = child.kill();
        let _reaped = child.wait();
    }

    /// Sends a signal, by its name.
    pub(super) fn signal(&self, at: usize, signal: &str) -> Result<(), String> {
        let child = self.members.get(at).and_then(|member| member.child.as_ref());
        let Some(child) = child else { return Ok(()) };
        let sent = run(&["kill", &format!("-{signal}"), &child.id().to_string()]);
        sent.map(drop).map_err(|error| error.to_string())
    }

    /// SIGTERM, and how it ended.
    pub(super) async fn terminate(&mut self, at: usize) -> Result<ExitStatus, String> {
        self.signal(at, "TERM")?;
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            let child = self.members.get_mut(at).and_then(|member| member.child.as_mut());
            let Some(child) = child else { break };
            if let Ok(Some(status)) = child.try_wait() {
                if let Some(member) = self.members.get_mut(at) {
                    member.child = None;
                }
                return Ok(status);
            }
            sleep(LOOK).await;
        }
        Err(format!("r{at} did not end within 30 s of SIGTERM"))
    }

    /// Those that ended without being told to.
    pub(super) fn ended(&mut self) -> Vec<Ended> {
        let mut ended = Vec::new();
        for (at, member) in self.members.iter_mut().enumerate() {
            if let Some(child) = &mut member.child
                && let Ok(Some(status)) = child.try_wait()
            {
                member.child = None;
                ended.push(Ended { at, status });
            }
        }
        ended
    }

    pub(super) async fn status(&self, at: usize) -> Option<ReplicaStatus> {
        let channel = self.channel(at).filter(|_| self.runs(at))?;
        let asked = async move { ReplicaClient::new(channel).status(StatusRequest {}).await };
        Some(timeout(QUESTION, asked).await.ok()?.ok()?.into_inner())
    }

    /// Who says that it leads, at the highest term.
    pub(super) async fn leader(&self) -> Option<usize> {
        let mut found: Option<(u64, usize)> = None;
        for at in 0..self.places() {
            if let Some(status) = self.status(at).await
                && status.role() == Role::Leader
            {
                found = found.max(Some((status.term, at)));
            }
        }
        found.map(|(_, at)| at)
    }

    /// Waits until one leads.
    pub(super) async fn await_leader(&self, patience: Duration) -> Result<usize, String> {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if let Some(at) = self.leader().await {
                return Ok(at);
            }
            sleep(LOOK).await;
        }
        Err(format!("no replica led within {patience:?}"))
    }

    /// Waits until every replica runs, knows the leader, and none lags by more than `lag` entries.
    pub(super) async fn await_level(&self, lag: u64, patience: Duration) -> Result<(), String> {
        let until = Instant::now() + patience;
        let mut last = String::new();
        while Instant::now() < until {
            let mut applied = Vec::new();
            for at in 0..self.len() {
                match self.status(at).await {
                    Some(status) if !status.leader.is_empty() => applied.push(status.applied_index),
                    other => last = format!("r{at} says {:?}", other.map(|status| status.role())),
                }
            }
            if applied.len() == self.len() {
                let (low, high) = (applied.iter().min(), applied.iter().max());
                if let (Some(low), Some(high)) = (low, high)
                    && high - low <= lag
                {
                    return Ok(());
                }
                last = format!("applied {applied:?}");
            }
            sleep(LOOK).await;
        }
        Err(format!("the replicas were not level within {patience:?}: {last}"))
    }

    /// Has leadership handed to whoever is furthest along.
    pub(super) async fn hand_over(&self, leader: usize) -> Result<(), String> {
        let Some(channel) = self.channel(leader) else { return Ok(()) };
        let request = TransferLeaderRequest::default();
        let asked = async move { ReplicaClient::new(channel).transfer_leader(request).await };
        match timeout(Duration::from_secs(10), asked).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(format!("hand-over: {status}")),
            Err(_) => Err("hand-over: no answer".into()),
        }
    }

    /// Where the snapshot is that the replica saves now, read back from its disk, and what it holds: its
    /// index and the digest of the state.
    pub(super) async fn save(&self, at: usize) -> Result<(String, (u64, u32)), String> {
        let Some(channel) = self.channel(at) else { return Err("no such replica".into()) };
        let asked =
            async move { ReplicaClient::new(channel).save_snapshot(SaveSnapshotRequest {}).await };
        let saved = timeout(Duration::from_secs(20), asked)
            .await
            .map_err(|_| "saving a snapshot took more than 20 s".to_owned())?
            .map_err(|status| status.to_string())?
            .into_inner();
        let found = muster_cluster::snapshot::inspect(Path::new(&saved.path));
        let found = found.map_err(|error| format!("{}: {error}", saved.path))?;
        Ok((saved.path, (found.meta.index, found.meta.digest)))
    }

    /// Lines of the logs that tell of a panic.
    pub(super) fn panics(&self) -> Vec<String> {
        let mut found = Vec::new();
        for at in 0..self.places() {
            let log = fs::read_to_string(self.log(at)).unwrap_or_default();
            let lines = log.lines().filter(|line| line.contains("panicked"));
            found.extend(lines.map(|line| format!("r{at}: {line}")));
        }
        found
    }
}

/// Sets the wall clock of one replica off by so many seconds.
pub(super) fn set_clock(stage: &Stage, at: usize, seconds: i64) -> Result<(), String> {
    fs::write(clock_file(stage, at), format!("{seconds:+}\n")).map_err(|error| error.to_string())
}

fn clock_file(stage: &Stage, at: usize) -> PathBuf {
    stage.folder.join(format!("r{at}.clock"))
}

fn endpoint(stage: &Stage, at: usize) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(format!("http://{}", stage.address(at, 0)));
    Ok(endpoint.map_err(|error| error.to_string())?.connect_timeout(Duration::from_millis(500)))
}
