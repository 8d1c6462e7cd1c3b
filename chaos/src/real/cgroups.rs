//! Shares of the machine for one replica: of the processor, of a disk, or nothing at all while frozen.
//! Version 1 of control groups, each controller its own tree, or version 2, one tree for all.

use std::fs;
use std::path::{Path, PathBuf};

use super::tools::{self, ToolError};

const ROOT: &str = "/sys/fs/cgroup";
/// In microseconds.
const PERIOD: u32 = 100_000;

/// The groups of one replica.
#[derive(Clone, Debug)]
pub(super) struct Cgroup {
    name: String,
}

fn is_v2() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

fn folder(controller: &str, name: &str) -> PathBuf {
    if is_v2() { Path::new(ROOT).join(name) } else { Path::new(ROOT).join(controller).join(name) }
}

/// Whether groups of that controller (as version 1 calls it) can be made.
pub(super) fn can(controller: &str, name: &str) -> Result<(), String> {
    let path = folder(controller, &format!("{name}-try"));
    fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let file = match (is_v2(), controller) {
        (true, "cpu") => "cpu.max",
        (true, "freezer") => "cgroup.freeze",
        (true, _) => "io.max",
        (false, "cpu") => "cpu.cfs_quota_us",
        (false, "freezer") => "freezer.state",
        (false, _) => "blkio.throttle.write_iops_device",
    };
    let there = path.join(file).exists();
    let _gone = fs::remove_dir(&path);
    if there { Ok(()) } else { Err(format!("{} has no {file}", path.display())) }
}

impl Cgroup {
    /// Makes the groups that can be made.
    pub(super) fn make(name: String) -> Cgroup {
        for controller in ["cpu", "freezer", "blkio"] {
            let _cannot = fs::create_dir(folder(controller, &name));
        }
        Cgroup { name }
    }

    /// Takes a process in.
    pub(super) fn adopt(&self, pid: u32) {
        for controller in ["cpu", "freezer", "blkio"] {
            let _cannot =
                tools::set(&folder(controller, &self.name).join("cgroup.procs"), &pid.to_string());
        }
    }

    /// Hundredths of one processor; 0 for all there is.
    pub(super) fn share(&self, percent: u32) -> Result<(), ToolError> {
        let path = folder("cpu", &self.name);
        let quota = PERIOD / 100 * percent;
        if is_v2() {
            let quota = if percent == 0 { "max".to_owned() } else { quota.to_string() };
            return tools::set(&path.join("cpu.max"), &format!("{quota} {PERIOD}"));
        }
        let quota = if percent == 0 { "-1".to_owned() } else { quota.to_string() };
        tools::set(&path.join("cpu.cfs_quota_us"), &quota)
    }

    pub(super) fn freeze(&self, frozen: bool) -> Result<(), ToolError> {
        let path = folder("freezer", &self.name);
        if is_v2() {
            return tools::set(&path.join("cgroup.freeze"), if frozen { "1" } else { "0" });
        }
        tools::set(&path.join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" })
    }

    /// Writes a second on the device `MAJOR:MINOR`; 0 for as many as it can.
    pub(super) fn throttle(&self, device: &str, writes: u32) -> Result<(), ToolError> {
        let path = folder("blkio", &self.name);
        if is_v2() {
            let bound = if writes == 0 { "max".to_owned() } else { writes.to_string() };
            return tools::set(&path.join("io.max"), &format!("{device} wiops={bound}"));
        }
        let line = format!("{device} {writes}");
        tools::set(&path.join("blkio.throttle.write_iops_device"), &line)
    }
}

/// Removes every group whose name begins with `prefix`; their processes must be gone.
pub(super) fn remove(prefix: &str) {
    for controller in ["cpu", "freezer", "blkio"] {
        let root = folder(controller, "");
        for entry in fs::read_dir(root).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                let _gone = fs::remove_dir(entry.path());
            }
        }
    }
}

/// Wakes every process in groups whose name begins with `prefix`: what is frozen cannot be killed.
pub(super) fn thaw(prefix: &str) {
    for entry in fs::read_dir(folder("freezer", "")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(prefix) {
            let _cannot = Cgroup { name }.freeze(false);
        }
    }
}
