//! The command line in a sandbox: its own HOME, nothing of the machine's environment.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use tempfile::TempDir;

use super::replicas::muster;

pub(crate) struct Cli {
    home: TempDir,
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Cli {
    pub(crate) fn new() -> Cli {
        Cli { home: tempfile::tempdir().unwrap() }
    }

    /// A command line whose contexts point at `address` (`grpc://host:port`).
    pub(crate) fn connected(address: &str) -> Cli {
        let cli = Cli::new();
        cli.context("test", address);
        cli.ok(&["config", "set", "active-context", "test"]);
        cli.ok(&["config", "set", "active-enterprise-context", "test"]);
        cli
    }

    /// Creates or replaces a context.
    pub(crate) fn context(&self, name: &str, address: &str) {
        let context = format!("{{\"pachd_address\": \"{address}\"}}");
        let ran = self.run_with(&["config", "set", "context", name, "--overwrite"], &context);
        assert_eq!(ran.code, 0, "{ran:?}");
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.home.path().join(".pachyderm/config.json")
    }

    pub(crate) fn config(&self) -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(self.config_file()).unwrap()).unwrap()
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.home.path().to_owned()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "")
    }

    /// Runs with `input` on stdin.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        let mut child = muster()
            .args(arguments)
            .env("HOME", self.home.path())
            .current_dir(self.home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read its stdin may have closed it already.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a command that has to succeed, and gives its stdout.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        self.ok_with(arguments, "")
    }

    pub(crate) fn ok_with(&self, arguments: &[&str], input: &str) -> String {
        let ran = self.run_with(arguments, input);
        assert_eq!(ran.code, 0, "muster {arguments:?}: {ran:?}");
        ran.out
    }

    /// Runs a command that has to fail with code 1, and gives its stderr.
    pub(crate) fn fails(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 1, "muster {arguments:?}: {ran:?}");
        ran.err
    }
}
