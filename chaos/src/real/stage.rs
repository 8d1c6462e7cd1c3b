//! What the run stands on: a namespace for each replica and one for the clients, a switch between them,
//! a small disk for each replica. Everything carries the run's name, so that it can be taken down by
//! name, also by the next run.

use std::fs;
use std::path::{Path, PathBuf};

use super::cgroups;
use super::tools::{run, try_run};

/// With what every name begins.
const PREFIX: &str = "mchaos";
/// The third part is enough: the network ends in the namespaces.
const NETWORK: &str = "10.77.0";
/// Sparse: it takes only what is written. Large enough that no replica thinks its disk low.
const DISK: &str = "8G";
/// gRPC, probes, peers.
pub(super) const PORTS: [u16; 3] = [31650, 31656, 31659];
/// Places for replicas that join while the run goes on.
pub(super) const SPARES: usize = 2;

/// The stage of one run.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    /// Replicas that the group begins with.
    pub(super) size: usize,
    /// Why everything is on the loopback.
    pub(super) without_namespaces: Option<String>,
    /// Why data lies in plain folders.
    pub(super) without_disks: Option<String>,
}

impl Stage {
    /// Builds as much as this machine lets it. `pid` is of the process that takes it down again.
    pub(super) fn build(parent: &Path, size: usize, pid: u32) -> Result<Stage, String> {
        let name = format!("{PREFIX}{pid}");
        let folder = parent.join(&name);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let folder = folder.canonicalize().map_err(|error| error.to_string())?;
        let mut stage = Stage { name, folder, size, without_namespaces: None, without_disks: None };
        if let Err(why) = stage.make_network() {
            stage.remove_network();
            stage.without_namespaces = Some(why);
        }
        if let Err(why) = stage.make_disks() {
            stage.remove_disks();
            stage.without_disks = Some(why);
        }
        for at in 0..stage.places() {
            let data = stage.data(at);
            fs::create_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))?;
        }
        Ok(stage)
    }

    /// Where replicas can be.
    pub(super) fn places(&self) -> usize {
        self.size + SPARES
    }

    fn make_network(&self) -> Result<(), String> {
        let say = |line: &[&str]| run(line).map(drop).map_err(|error| error.to_string());
        let hub = self.hub();
        let address = format!("{NETWORK}.1/24");
        say(&["ip", "netns", "add", &hub])?;
        say(&["ip", "-n", &hub, "link", "set", "lo", "up"])?;
        say(&["ip", "-n", &hub, "link", "add", "br0", "type", "bridge"])?;
        say(&["ip", "-n", &hub, "addr", "add", &address, "dev", "br0"])?;
        say(&["ip", "-n", &hub, "link", "set", "br0", "up"])?;
        for at in 0..self.places() {
            let (space, link) = (self.space(at), format!("v{at}"));
            let address = format!("{}/24", self.host(at));
            say(&["ip", "netns", "add", &space])?;
            say(&[
                "ip", "-n", &hub, "link", "add", &link, "type", "veth", "peer", "name", "eth0",
                "netns", &space,
            ])?;
            say(&["ip", "-n", &hub, "link", "set", &link, "master", "br0", "up"])?;
            say(&["ip", "-n", &space, "addr", "add", &address, "dev", "eth0"])?;
            say(&["ip", "-n", &space, "link", "set", "eth0", "up"])?;
            say(&["ip", "-n", &space, "link", "set", "lo", "up"])?;
        }
        Ok(())
    }

    fn make_disks(&self) -> Result<(), String> {
        let say = |line: &[&str]| run(line).map(drop).map_err(|error| error.to_string());
        for at in 0..self.places() {
            let (image, disk) = (self.folder.join(format!("r{at}.img")), self.disk(at));
            fs::create_dir_all(&disk).map_err(|error| error.to_string())?;
            let (image, disk) = (text(&image), text(&disk));
            say(&["truncate", "-s", DISK, &image])?;
            say(&["mkfs.ext4", "-q", "-F", "-m", "0", &image])?;
            say(&["mount", "-o", "loop", &image, &disk])?;
        }
        Ok(())
    }

    /// Whether replicas have networks of their own.
    pub(super) fn isolated(&self) -> bool {
        self.without_namespaces.is_none()
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    fn space(&self, at: usize) -> String {
        format!("{}-r{at}", self.name)
    }

    /// The program that begins a line which runs among the clients; empty without namespaces.
    pub(super) fn enter_hub(&self) -> Vec<String> {
        self.enter(&self.hub())
    }

    /// The program that begins a line which runs where a replica does.
    pub(super) fn enter_space(&self, at: usize) -> Vec<String> {
        self.enter(&self.space(at))
    }

    /// Only the network: everything else is the machine's.
    fn enter(&self, space: &str) -> Vec<String> {
        if !self.isolated() {
            return Vec::new();
        }
        vec!["nsenter".into(), format!("--net=/run/netns/{space}"), "--".into()]
    }

    /// Runs a program in a replica's network.
    pub(super) fn inside(&self, at: usize, line: &[&str]) -> Result<String, String> {
        if !self.isolated() {
            return Err("the replicas have no networks of their own".into());
        }
        let mut whole = self.enter_space(at);
        whole.extend(line.iter().map(|word| (*word).to_owned()));
        let whole: Vec<&str> = whole.iter().map(String::as_str).collect();
        run(&whole).map_err(|error| error.to_string())
    }

    /// The host of a replica.
    pub(super) fn host(&self, at: usize) -> String {
        if self.isolated() { format!("{NETWORK}.{}", 10 + at) } else { "127.0.0.1".into() }
    }

    /// Where a replica listens for one of [`PORTS`].
    pub(super) fn address(&self, at: usize, which: usize) -> String {
        let port = PORTS.get(which).copied().unwrap_or_default();
        let shift = if self.isolated() { 0 } else { 100 * u16::try_from(at + 1).unwrap_or(0) };
        // Without networks of their own they share one, below the ports that the kernel hands out.
        let port = if self.isolated() { port } else { port - 8000 + shift };
        format!("{}:{port}", self.host(at))
    }

    /// The file system that a replica's data lies on.
    pub(super) fn disk(&self, at: usize) -> PathBuf {
        self.folder.join(format!("disk{at}"))
    }

    pub(super) fn data(&self, at: usize) -> PathBuf {
        self.disk(at).join("data")
    }

    /// `MAJOR:MINOR` of a replica's own disk.
    pub(super) fn device(&self, at: usize) -> Option<String> {
        if self.without_disks.is_some() {
            return None;
        }
        let disk = text(&self.disk(at));
        run(&["findmnt", "-n", "-o", "MAJ:MIN", &disk]).ok().map(|line| line.trim().to_owned())
    }

    /// Takes everything down, whatever of it stands. The folder stays.
    pub(super) fn remove(&self) {
        cgroups::thaw(&self.name);
        for pid in processes(&self.name) {
            try_run(&["kill", "-9", &pid.to_string()]);
        }
        self.remove_network();
        self.remove_disks();
        // Killed processes take a moment to leave their groups.
        for _ in 0..50 {
            cgroups::remove(&self.name);
            if processes(&self.name).is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        cgroups::remove(&self.name);
    }

    fn remove_network(&self) {
        for space in
            spaces().into_iter().filter(|space| space.starts_with(&format!("{}-", self.name)))
        {
            try_run(&["ip", "netns", "del", &space]);
        }
    }

    fn remove_disks(&self) {
        for at in 0..self.places() {
            let disk = text(&self.disk(at));
            if run(&["mountpoint", "-q", &disk]).is_ok() {
                try_run(&["umount", "-l", &disk]);
            }
            let _gone = fs::remove_file(self.folder.join(format!("r{at}.img")));
        }
    }
}

/// Takes down what runs left behind that were killed.
pub(super) fn sweep(parent: &Path) -> Vec<String> {
    let mut names: Vec<String> = spaces()
        .into_iter()
        .filter_map(|space| Some(space.split_once('-')?.0.to_owned()))
        .chain(
            fs::read_dir(parent)
                .into_iter()
                .flatten()
                .flatten()
                .filter(|entry| entry.path().join("r0.img").exists())
                .map(|entry| entry.file_name().to_string_lossy().into_owned()),
        )
        .filter(|name| name.starts_with(PREFIX))
        .collect();
    names.sort();
    names.dedup();
    names.retain(|name| {
        let pid = name.trim_start_matches(PREFIX);
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        !String::from_utf8_lossy(&line).contains("muster-chaos")
    });
    for name in &names {
        let folder = parent.join(name);
        let stage = Stage {
            folder: folder.canonicalize().unwrap_or(folder),
            name: name.clone(),
            size: 8,
            without_namespaces: None,
            without_disks: None,
        };
        // The folder stays: it may be what somebody wants to look at.
        stage.remove();
    }
    names
}

fn spaces() -> Vec<String> {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Processes whose command line names the run's folder, except for this one and its parent.
fn processes(name: &str) -> Vec<u32> {
    let word = format!("/{name}/");
    let spared = [std::process::id(), std::os::unix::process::parent_id()];
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok())
        .filter(|pid| !spared.contains(pid))
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&word)
        })
        .collect()
}

pub(super) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
