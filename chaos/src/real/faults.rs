//! What is done to the replicas, and how it is undone.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::sleep;

use super::abilities::Ability;
use super::churn;
use super::replicas::{Replicas, set_clock};
use super::restore::restore;
use super::stage::{PORTS, text};
use super::tools::{run, try_run};
use crate::chance::Chance;

/// A way to hurt the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum Kind {
    KillLeader,
    KillFollower,
    KillAll,
    StopLeader,
    StopFollower,
    FreezeLeader,
    StarveLeader,
    IsolateLeader,
    IsolateFollower,
    MuteLeader,
    DeafLeader,
    DeafFollower,
    Loss,
    Delay,
    DiskFullLeader,
    DiskFullFollower,
    ReadOnlyLeader,
    SlowDiskLeader,
    ClockStep,
    HandOver,
    RollingRestart,
    SnapshotWhileDown,
    RestoreUnderFaults,
    GrowAndShrink,
    Replace,
    WipeReplica,
}

/// How long a wait for a leader or an end may take before the run fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);

impl Kind {
    pub(super) const ALL: [Kind; 26] = [
        Kind::KillLeader,
        Kind::KillFollower,
        Kind::KillAll,
        Kind::StopLeader,
        Kind::StopFollower,
        Kind::FreezeLeader,
        Kind::StarveLeader,
        Kind::IsolateLeader,
        Kind::IsolateFollower,
        Kind::MuteLeader,
        Kind::DeafLeader,
        Kind::DeafFollower,
        Kind::Loss,
        Kind::Delay,
        Kind::DiskFullLeader,
        Kind::DiskFullFollower,
        Kind::ReadOnlyLeader,
        Kind::SlowDiskLeader,
        Kind::ClockStep,
        Kind::HandOver,
        Kind::RollingRestart,
        Kind::SnapshotWhileDown,
        Kind::RestoreUnderFaults,
        Kind::GrowAndShrink,
        Kind::Replace,
        Kind::WipeReplica,
    ];

    /// For the report.
    pub(super) fn words(self) -> &'static str {
        match self {
            Kind::KillLeader => "leader: kill -9",
            Kind::KillFollower => "follower: kill -9",
            Kind::KillAll => "all replicas: kill -9 at once",
            Kind::StopLeader => "leader: SIGSTOP for 1 to 4 s",
            Kind::StopFollower => "follower: SIGSTOP for 1 to 4 s",
            Kind::FreezeLeader => "leader: frozen by its control group",
            Kind::StarveLeader => "leader: 10 % of a processor",
            Kind::IsolateLeader => "leader: cut off from all peers",
            Kind::IsolateFollower => "follower: cut off from all peers",
            Kind::MuteLeader => "leader: peers do not hear it",
            Kind::DeafLeader => "leader: it does not hear peers",
            Kind::DeafFollower => "follower: it does not hear peers",
            Kind::Loss => "all peers: packets lost, 10 to 30 %",
            Kind::Delay => "all peers: packets delayed and reordered",
            Kind::DiskFullLeader => "leader: disk full",
            Kind::DiskFullFollower => "follower: disk full",
            Kind::ReadOnlyLeader => "leader: disk turned read-only",
            Kind::SlowDiskLeader => "leader: 20 disk writes a second",
            Kind::ClockStep => "wall clocks stepped, up to an hour either way",
            Kind::HandOver => "planned hand-over of leadership",
            Kind::RollingRestart => "rolling restart by SIGTERM",
            Kind::SnapshotWhileDown => "snapshots saved and verified with one replica down",
            Kind::RestoreUnderFaults => "snapshot restored during faults",
            Kind::GrowAndShrink => "two replicas join, one leads, both are removed, during faults",
            Kind::Replace => "a voter replaced and brought back as another one, during faults",
            Kind::WipeReplica => "a replica whose disk was wiped joins again, packets lost",
        }
    }

    pub(super) fn needs(self) -> Ability {
        match self {
            Kind::IsolateLeader
            | Kind::IsolateFollower
            | Kind::MuteLeader
            | Kind::DeafLeader
            | Kind::DeafFollower
            | Kind::Loss => Ability::Filters,
            Kind::Delay => Ability::Queues,
            Kind::DiskFullLeader | Kind::DiskFullFollower | Kind::ReadOnlyLeader => Ability::Disks,
            Kind::SlowDiskLeader => Ability::Throttle,
            Kind::StarveLeader => Ability::Share,
            Kind::FreezeLeader => Ability::Freezer,
            Kind::ClockStep => Ability::Clock,
            Kind::RestoreUnderFaults => Ability::Restore,
            Kind::GrowAndShrink | Kind::Replace | Kind::WipeReplica => Ability::Change,
            Kind::KillLeader
            | Kind::KillFollower
            | Kind::KillAll
            | Kind::StopLeader
            | Kind::StopFollower
            | Kind::HandOver
            | Kind::RollingRestart
            | Kind::SnapshotWhileDown => Ability::Signals,
        }
    }

    fn strikes_leader(self) -> bool {
        matches!(
            self,
            Kind::KillLeader
                | Kind::StopLeader
                | Kind::FreezeLeader
                | Kind::StarveLeader
                | Kind::IsolateLeader
                | Kind::MuteLeader
                | Kind::DeafLeader
                | Kind::DiskFullLeader
                | Kind::ReadOnlyLeader
                | Kind::SlowDiskLeader
                | Kind::HandOver
        )
    }

    /// Whether a replica may give up on its own account: a disk that fails is a reason.
    pub(super) fn may_end_replicas(self) -> bool {
        matches!(self, Kind::DiskFullLeader | Kind::DiskFullFollower | Kind::ReadOnlyLeader)
    }
}

/// A fault at work.
pub(super) struct Strike {
    kind: Kind,
    pub(super) victim: usize,
    /// Programs that hold packets back.
    daemons: Vec<Child>,
}

/// Chooses whom it hits and does it.
pub(super) async fn strike(
    kind: Kind,
    chance: &mut Chance,
    replicas: &mut Replicas,
) -> Result<Strike, String> {
    let leader = replicas.await_leader(PATIENCE).await?;
    let others: Vec<usize> = (0..replicas.len()).filter(|at| *at != leader).collect();
    let victim =
        if kind.strikes_leader() { leader } else { chance.pick(&others).unwrap_or(leader) };
    Ok(Strike { kind, victim, daemons: Vec::new() })
}

impl Strike {
    /// Begins.
    pub(super) async fn hit(
        &mut self,
        chance: &mut Chance,
        replicas: &mut Replicas,
    ) -> Result<(), String> {
        let victim = self.victim;
        match self.kind {
            Kind::KillLeader | Kind::KillFollower => replicas.kill(victim),
            Kind::KillAll => (0..replicas.len()).for_each(|at| replicas.kill(at)),
            Kind::StopLeader | Kind::StopFollower => replicas.signal(victim, "STOP")?,
            Kind::FreezeLeader => grouped(replicas, victim, |group| group.freeze(true))?,
            Kind::StarveLeader => grouped(replicas, victim, |group| group.share(10))?,
            Kind::IsolateLeader | Kind::IsolateFollower => {
                filter(replicas, victim, &["input", "output"], "drop")?;
            }
            Kind::MuteLeader => filter(replicas, victim, &["output"], "drop")?,
            Kind::DeafLeader | Kind::DeafFollower => filter(replicas, victim, &["input"], "drop")?,
            Kind::Loss => {
                let percent = chance.between(10, 30);
                let rule = format!("numgen random mod 100 < {percent} drop");
                for at in 0..replicas.len() {
                    filter(replicas, at, &["input"], &rule)?;
                }
            }
            Kind::Delay => self.hold_packets(chance, replicas)?,
            Kind::DiskFullLeader | Kind::DiskFullFollower => fill(&replicas.stage.disk(victim))?,
            Kind::ReadOnlyLeader => {
                let disk = text(&replicas.stage.disk(victim));
                run(&["mount", "-o", "remount,ro", &disk])
                    .map(drop)
                    .or_else(|_| read_only_by_force(&disk))?;
            }
            Kind::SlowDiskLeader => throttle(replicas, victim, 20)?,
            Kind::ClockStep => {
                for at in 0..replicas.len() {
                    let hour = i64::try_from(chance.below(7200)).unwrap_or(0) - 3600;
                    set_clock(&replicas.stage, at, hour)?;
                }
            }
            Kind::HandOver => replicas.hand_over(victim).await?,
            Kind::RollingRestart => {
                for at in 0..replicas.len() {
                    let status = replicas.terminate(at).await?;
                    if !status.success() {
                        return Err(format!("r{at} ended with {status} after SIGTERM"));
                    }
                    replicas.start(at)?;
                    replicas.await_level(1000, PATIENCE).await?;
                }
            }
            Kind::SnapshotWhileDown => {
                replicas.kill(victim);
                for at in (0..replicas.len()).filter(|at| *at != victim) {
                    snapshot(replicas, at).await?;
                }
            }
            Kind::RestoreUnderFaults => {
                replicas.kill(victim);
                let at = replicas.await_leader(PATIENCE).await?;
                restore(replicas, at).await?;
            }
            Kind::GrowAndShrink => churn::grow_and_shrink(chance, replicas).await?,
            Kind::Replace => churn::replace(chance, replicas).await?,
            Kind::WipeReplica => {
                // The leader's too.
                let at = chance.place(replicas.len());
                churn::wipe(chance, replicas, at).await?;
            }
        }
        Ok(())
    }

    /// How long it goes on before it is undone, milliseconds at least and at most.
    pub(super) fn lasts(&self) -> (u64, u64) {
        match self.kind {
            Kind::HandOver
            | Kind::RollingRestart
            | Kind::GrowAndShrink
            | Kind::Replace
            | Kind::WipeReplica => (300, 500),
            Kind::KillAll => (100, 500),
            Kind::KillLeader
            | Kind::KillFollower
            | Kind::SnapshotWhileDown
            | Kind::RestoreUnderFaults => (1500, 2500),
            Kind::StopLeader | Kind::StopFollower | Kind::FreezeLeader => (1000, 4000),
            _ => (2500, 5000),
        }
    }

    /// Undoes it; replicas that ended are started again.
    pub(super) fn heal(&mut self, replicas: &mut Replicas) -> Result<(), String> {
        let victim = self.victim;
        match self.kind {
            Kind::StopLeader | Kind::StopFollower => replicas.signal(victim, "CONT")?,
            Kind::FreezeLeader => grouped(replicas, victim, |group| group.freeze(false))?,
            Kind::StarveLeader => grouped(replicas, victim, |group| group.share(0))?,
            Kind::IsolateLeader
            | Kind::IsolateFollower
            | Kind::MuteLeader
            | Kind::DeafLeader
            | Kind::DeafFollower
            | Kind::Loss => {
                for at in 0..replicas.len() {
                    unfilter(replicas, at);
                }
            }
            Kind::Delay => self.release_packets(replicas),
            Kind::DiskFullLeader | Kind::DiskFullFollower => {
                let filler = replicas.stage.disk(victim).join("filler");
                std::fs::remove_file(filler).map_err(|error| error.to_string())?;
            }
            Kind::ReadOnlyLeader => {
                let disk = text(&replicas.stage.disk(victim));
                // A disk that was cut off by force has to be mounted anew, and its replica is gone.
                if run(&["mount", "-o", "remount,rw", &disk]).is_err() {
                    replicas.kill(victim);
                    remount(&replicas.stage.folder.join(format!("r{victim}.img")), &disk)?;
                }
            }
            Kind::SlowDiskLeader => throttle(replicas, victim, 0)?,
            Kind::ClockStep => {
                for at in 0..replicas.len() {
                    set_clock(&replicas.stage, at, 0)?;
                }
            }
            Kind::KillLeader
            | Kind::KillFollower
            | Kind::KillAll
            | Kind::HandOver
            | Kind::RollingRestart
            | Kind::SnapshotWhileDown
            | Kind::RestoreUnderFaults
            | Kind::GrowAndShrink
            | Kind::Replace
            | Kind::WipeReplica => {}
        }
        Ok(())
    }

    fn hold_packets(&mut self, chance: &mut Chance, replicas: &Replicas) -> Result<(), String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let (delay, spread) = (chance.between(5, 40), chance.between(5, 60));
        let lost = chance.below(20);
        for at in 0..replicas.len() {
            let mut line = replicas.stage.enter_space(at);
            line.push(text(&program));
            line.push("delay".into());
            // Only to be found by, when the run is taken down.
            line.extend(["--of".into(), format!("{}/", text(&replicas.stage.folder))]);
            for (flag, value) in [
                ("--delay-ms", delay),
                ("--spread-ms", spread),
                ("--lost-permille", lost),
                ("--seed", chance.below(u64::MAX)),
            ] {
                line.extend([flag.to_owned(), value.to_string()]);
            }
            let Some((first, rest)) = line.split_first() else { continue };
            let spawned =
                Command::new(first).args(rest).process_group(0).stdin(Stdio::null()).spawn();
            self.daemons.push(spawned.map_err(|error| error.to_string())?);
            queue(replicas, at, "-A")?;
        }
        Ok(())
    }

    fn release_packets(&mut self, replicas: &Replicas) {
        for at in 0..replicas.len() {
            while queue(replicas, at, "-D").is_ok() {}
        }
        for mut daemon in self.daemons.drain(..) {
            let _dead = daemon.kill();
            let _reaped = daemon.wait();
        }
    }
}

async fn snapshot(replicas: &Replicas, at: usize) -> Result<(), String> {
    // The leader may have been the one that is down: there is a new one within moments.
    let mut last = String::new();
    for _ in 0..50 {
        match replicas.save(at).await {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
        sleep(Duration::from_millis(100)).await;
    }
    Err(format!("r{at} saved no snapshot: {last}"))
}

fn grouped(
    replicas: &Replicas,
    at: usize,
    act: impl Fn(&super::cgroups::Cgroup) -> Result<(), super::tools::ToolError>,
) -> Result<(), String> {
    let Some(group) = replicas.cgroup(at) else { return Ok(()) };
    act(group).map_err(|error| error.to_string())
}

/// Judges what passes between a replica and its peers; clients are not in it.
pub(super) fn filter(
    replicas: &Replicas,
    at: usize,
    hooks: &[&str],
    verdict: &str,
) -> Result<(), String> {
    let port = PORTS[2];
    let mut rules = String::from("table ip chaos {\n");
    for hook in hooks {
        let chain = format!(
            "chain {hook} {{ type filter hook {hook} priority 0; tcp dport {port} {verdict}; tcp sport \
             {port} {verdict}; }}\n"
        );
        rules.push_str(&chain);
    }
    rules.push_str("}\n");
    let file = replicas.stage.folder.join(format!("r{at}.nft"));
    std::fs::write(&file, rules).map_err(|error| error.to_string())?;
    replicas.stage.inside(at, &["nft", "-f", &text(&file)]).map(drop)
}

pub(super) fn unfilter(replicas: &Replicas, at: usize) {
    let _none = replicas.stage.inside(at, &["nft", "delete", "table", "ip", "chaos"]);
}

/// Adds or removes the rule that hands packets between peers to the program that holds them.
fn queue(replicas: &Replicas, at: usize, verb: &str) -> Result<(), String> {
    let port = PORTS[2].to_string();
    for side in ["--dport", "--sport"] {
        let line = [
            "iptables",
            verb,
            "INPUT",
            "-p",
            "tcp",
            side,
            &port,
            "-j",
            "NFQUEUE",
            "--queue-num",
            "7",
            "--queue-bypass",
        ];
        replicas.stage.inside(at, &line)?;
    }
    Ok(())
}

/// Takes all the room there is.
fn fill(disk: &Path) -> Result<(), String> {
    let filler = disk.join("filler");
    let free =
        run(&["stat", "-f", "-c", "%a %S", &text(disk)]).map_err(|error| error.to_string())?;
    let mut numbers = free.split(' ').filter_map(|number| number.parse::<u64>().ok());
    let (blocks, size) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let bytes = (blocks * size).to_string();
    // Extents take some of the room themselves, so the last of it goes piece by piece.
    let filler = text(&filler);
    if run(&["fallocate", "-l", &bytes, &filler]).is_err() {
        let most = (blocks * size / 100 * 99).to_string();
        run(&["fallocate", "-l", &most, &filler]).map_err(|error| error.to_string())?;
        try_run(&[
            "dd",
            "if=/dev/zero",
            &format!("of={filler}"),
            "bs=64k",
            "oflag=append",
            "conv=notrunc",
        ]);
    }
    Ok(())
}

/// A disk with open files cannot be remounted; its file system can be made to give up.
fn read_only_by_force(disk: &str) -> Result<(), String> {
    run(&["mount", "-o", "remount,abort", disk]).map(drop).map_err(|error| error.to_string())
}

fn remount(image: &Path, disk: &str) -> Result<(), String> {
    let image = text(image);
    let say = |line: &[&str]| run(line).map(drop).map_err(|error| error.to_string());
    say(&["umount", disk])?;
    // The journal is played back, as after a power cut; anything worse fails here.
    let _errors = run(&["fsck.ext4", "-p", &image]);
    say(&["mount", "-o", "loop", &image, disk])
}

fn throttle(replicas: &Replicas, at: usize, writes: u32) -> Result<(), String> {
    let Some(device) = replicas.stage.device(at) else { return Ok(()) };
    grouped(replicas, at, |group| group.throttle(&device, writes))
}
