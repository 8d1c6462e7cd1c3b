//! What commands printed, word for word, with what differs from run to run replaced by its name.

use std::fmt::Write as _;

use super::authority::code;
use super::cli::Cli;
use super::replicas::Replicas;

/// Commands and what they did, with what differs from run to run replaced by its name.
pub(crate) struct Transcript<'a> {
    cli: &'a Cli,
    names: Vec<(String, &'static str)>,
    pub(crate) text: String,
}

impl<'a> Transcript<'a> {
    pub(crate) fn new(cli: &'a Cli, world: &Replicas) -> Transcript<'a> {
        let names = vec![
            (world.pachd_address(0), "SERVER"),
            (code(), "CODE"),
            (cli.home().display().to_string(), "HOME"),
        ];
        Transcript { cli, names, text: String::new() }
    }

    /// From now on `what` is called `name`.
    pub(crate) fn call(&mut self, what: &str, name: &'static str) -> &mut Self {
        self.names.push((what.to_owned(), name));
        self
    }

    pub(crate) fn run(&mut self, line: &str) -> &mut Self {
        self.run_with(line, "")
    }

    pub(crate) fn run_with(&mut self, line: &str, input: &str) -> &mut Self {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let ran = self.cli.run_with(&arguments, input);
        let told = |text: &str| {
            let text = self
                .names
                .iter()
                .fold(text.to_owned(), |text, (what, name)| text.replace(what.as_str(), name));
            let lines: Vec<String> = text.lines().map(without_chance).collect();
            lines.iter().fold(String::new(), |text, line| text + line + "\n")
        };
        let (out, err) = (told(&ran.out), told(&ran.err));
        let (line, open) = (
            told(line),
            if ran.out.is_empty() || ran.out.ends_with('\n') { "" } else { "(no newline)\n" },
        );
        write!(self.text, "$ {line}{out}{open}").unwrap();
        for line in err.lines() {
            writeln!(self.text, "2| {line}").unwrap();
        }
        if ran.code != 0 {
            writeln!(self.text, "exit {}", ran.code).unwrap();
        }
        self
    }
}

/// Drawn secrets and times of now, by their names.
fn without_chance(line: &str) -> String {
    for (key, name) in [
        ("Shared secret: ", "SECRET"),
        ("last_heartbeat: 2", "TIME"),
        ("Token: ", "TOKEN"),
        ("session expires: ", "TIME"),
        ("  \"cluster_deployment_id\": ", "DEPLOYMENT"),
    ] {
        if line.starts_with(key) && !line.contains("given") {
            return format!("{}{name}", key.trim_end_matches('2'));
        }
    }
    line.to_owned()
}
