//! The machine's programs, as subprocesses: what they print, or why they failed.

use std::path::Path;
use std::process::{Command, Stdio};

/// Why a program did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{program}: {why}")]
pub(super) struct ToolError {
    program: String,
    why: String,
}

/// Runs a program to its end and gives what it printed.
pub(super) fn run(line: &[&str]) -> Result<String, ToolError> {
    let error = |why: String| ToolError { program: line.join(" "), why };
    let (program, arguments) = line.split_first().ok_or_else(|| error("nothing to run".into()))?;
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|why| error(why.to_string()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(error(format!("{}: {}", output.status, text(&output.stderr))))
}

/// Runs a program whose failure says that there is nothing to do any more.
pub(super) fn try_run(line: &[&str]) {
    let _gone = run(line);
}

/// Writes into a file of the kernel, in one piece.
pub(super) fn set(path: &Path, text: &str) -> Result<(), ToolError> {
    std::fs::write(path, text).map_err(|why| ToolError {
        program: format!("write {text} to {}", path.display()),
        why: why.to_string(),
    })
}
