//! Bad input to every flag of every command: a reason on standard error, never a panic.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::cli::Cli;
use crate::support::replicas::muster;

/// Commands whose flags may be right for all we know: they go on, and are ended.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many run at one time.
const AT_ONCE: usize = 8;

#[test]
fn every_flag_survives_what_it_cannot_mean() {
    let cli = Cli::new();
    let mut flags = BTreeSet::new();
    collect(&cli, &[], &mut flags);
    assert!(flags.len() > 150, "{flags:?}");
    let huge = vec![b'x'; 100_000];
    let values: [&[u8]; 5] = [b"", b"\x01\n\x7f", b"\xff\xfe", &huge, b"-1"];
    let calls: Vec<Vec<OsString>> = flags
        .iter()
        .flat_map(|(command, flag)| {
            values.iter().map(move |value| {
                let mut words: Vec<OsString> = command.iter().map(OsString::from).collect();
                let mut joined = OsString::from(flag);
                joined.push("=");
                joined.push(OsStr::from_bytes(value));
                words.push(joined);
                words
            })
        })
        .collect();
    std::thread::scope(|scope| {
        for share in 0..AT_ONCE {
            let (cli, calls) = (&cli, &calls);
            scope.spawn(move || {
                for words in calls.iter().skip(share).step_by(AT_ONCE) {
                    assert_survived(cli, words);
                }
            });
        }
    });
}

/// The flags that take a value, of a command and of those beneath it, as their help tells them. Those of every
/// command are told once.
fn collect(cli: &Cli, command: &[String], flags: &mut BTreeSet<(Vec<String>, String)>) {
    let mut words: Vec<&str> = command.iter().map(String::as_str).collect();
    words.push("--help");
    let help = cli.ok(&words);
    for line in help.lines().map(str::trim_start).filter(|line| line.starts_with('-')) {
        let flag = line.split(' ').find(|word| word.starts_with("--")).unwrap_or_default();
        let is_global = ["--rpc-timeout", "--staleness"].contains(&flag);
        if line.contains('<') && (!is_global || command == ["version"]) {
            flags.insert((command.to_vec(), flag.to_owned()));
        }
    }
    let listed = help.split("Commands:\n").nth(1).unwrap_or_default();
    for line in listed.lines().take_while(|line| !line.is_empty()) {
        let name = line.strip_prefix("  ").filter(|name| !name.starts_with(' '));
        let Some(name) = name.and_then(|name| name.split(' ').next()) else { continue };
        if name != "help" {
            collect(cli, &[command, &[name.to_owned()]].concat(), flags);
        }
    }
}

fn assert_survived(cli: &Cli, words: &[OsString]) {
    let errors = tempfile::tempfile().unwrap();
    // Its own: one call may make what another one stumbles over.
    let here = tempfile::tempdir().unwrap();
    let mut child = muster()
        .args(words)
        .env("HOME", cli.home())
        .current_dir(here.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors.try_clone().unwrap())
        .spawn()
        .unwrap();
    let code = wait(&mut child);
    let told = read(errors);
    let shown: String = format!("{words:?}").chars().take(200).collect();
    assert!(!told.contains("panicked"), "{shown}: {told}");
    if let Some(code) = code {
        assert!([0, 1, 2, 8, 70, 74, 78].contains(&code), "{shown}: {code}: {told}");
        assert!(code == 0 || !told.is_empty(), "{shown}: no word of why");
    }
}

/// The exit code; none of one that had to be ended.
fn wait(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status.code().unwrap_or(-1));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

fn read(mut file: std::fs::File) -> String {
    use std::io::{Read as _, Seek as _};
    file.rewind().unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
