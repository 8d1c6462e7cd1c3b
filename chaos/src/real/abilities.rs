//! What this machine can do to processes, networks and disks; what it cannot is said in the report.

use std::path::{Path, PathBuf};

use super::cgroups;
use super::stage::{Stage, text};
use super::tools::run;

/// Where Debian puts it, by the machine's architecture.
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];

/// Something that faults need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ability {
    /// Signals alone.
    Signals,
    /// Network namespaces of the run's own.
    Namespaces,
    /// Packet filters in them.
    Filters,
    /// Packets handed to a program that holds them back.
    Queues,
    /// File systems of the run's own.
    Disks,
    /// A share of the processor.
    Share,
    /// The freezer.
    Freezer,
    /// Operations of a disk by second.
    Throttle,
    /// Another wall clock.
    Clock,
    /// A command that loads a snapshot into a new group.
    Restore,
    /// A group that two replicas can join, and one that one voter can leave.
    Change,
}

/// What is missing, and why.
#[derive(Clone, Debug, Default)]
pub(super) struct Abilities {
    pub(super) missing: Vec<(Ability, String)>,
    pub(super) faketime: Option<PathBuf>,
}

impl Abilities {
    /// Tries each on the stage as it stands.
    pub(super) fn find(stage: &Stage, binary: &Path) -> Abilities {
        let mut found = Abilities::default();
        let mut needs = |ability, tried: Result<(), String>| {
            if let Err(why) = tried {
                found.missing.push((ability, why));
            }
        };
        needs(Ability::Namespaces, stage.without_namespaces.clone().map_or(Ok(()), Err));
        let filters = stage.inside(0, &["nft", "list", "ruleset"]);
        needs(Ability::Filters, filters.map(drop));
        needs(Ability::Queues, queues(stage));
        needs(Ability::Disks, stage.without_disks.clone().map_or(Ok(()), Err));
        needs(Ability::Share, cgroups::can("cpu", &stage.name));
        needs(Ability::Freezer, cgroups::can("freezer", &stage.name));
        let throttle = match stage.device(0) {
            Some(_) => cgroups::can("blkio", &stage.name),
            None => Err("the replicas have no disks of their own".into()),
        };
        needs(Ability::Throttle, throttle);
        let library = FAKETIME.iter().map(PathBuf::from).find(|path| path.exists());
        let absent = || "libfaketime is not installed: chaos/real/install".to_owned();
        needs(Ability::Clock, library.as_ref().map(drop).ok_or_else(absent));
        let restore = run(&[&text(binary), "snapshot", "restore", "--help"]).map(drop);
        let absent = |_| "this muster has no `snapshot restore`".to_owned();
        needs(Ability::Restore, restore.map_err(absent));
        let fits = matches!(stage.size, 3 | 5);
        let why = || "members change in groups of three or five".to_owned();
        needs(Ability::Change, fits.then_some(()).ok_or_else(why));
        found.faketime = library;
        found
    }
}

fn queues(stage: &Stage) -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        return Err("only Linux hands packets to programs".into());
    }
    let rule = ["-p", "tcp", "--dport", "1", "-j", "NFQUEUE", "--queue-num", "9", "--queue-bypass"];
    for verb in ["-A", "-D"] {
        let mut line = vec!["iptables", verb, "INPUT"];
        line.extend(rule);
        stage.inside(0, &line)?;
    }
    Ok(())
}
