//! Small disks, which fill up and turn read-only. Takes root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const MIB: usize = 1 << 20;

/// A file system of its own in memory, gone with the test.
pub(crate) struct Tmpfs(PathBuf);

impl Tmpfs {
    /// None where mounting is not allowed.
    pub(crate) fn mount(at: &Path, mib: usize) -> Option<Tmpfs> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={mib}m");
        if run("mount", &["-t", "tmpfs", "-o", &size, "muster-test"], at) {
            return Some(Tmpfs(at.to_owned()));
        }
        eprintln!("SKIPPED: mounting a file system takes root");
        None
    }

    /// Writes a file until no more than so much is left.
    pub(crate) fn fill(&self, mib: usize) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = fs::File::create(&path).unwrap();
        while self.free() > mib * MIB {
            std::io::Write::write_all(&mut file, &vec![7; MIB]).unwrap();
        }
        path
    }

    fn free(&self) -> usize {
        let df = Command::new("df").args(["--output=avail", "-B1"]).arg(&self.0).output().unwrap();
        let text = String::from_utf8(df.stdout).unwrap();
        text.lines().nth(1).unwrap().trim().parse().unwrap()
    }

    pub(crate) fn remount(&self, mode: &str) {
        assert!(run("mount", &["-o", &format!("remount,{mode}")], &self.0), "remount {mode}");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        run("umount", &["-l"], &self.0);
    }
}

fn run(program: &str, args: &[&str], path: &Path) -> bool {
    let ran = Command::new(program).args(args).arg(path).output();
    ran.is_ok_and(|ran| ran.status.success())
}
