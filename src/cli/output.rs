//! What the command line says and with which code it ends: data on standard output, everything
//! else on standard error, and one printer for every error.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// How a process of Muster ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The command failed, here or on the server.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The group agrees, but not all is as it should be.
    Degraded = 7,
    /// The group cannot agree, or nobody of it can be reached.
    Down = 8,
    /// Something inside failed, IO included.
    Internal = 70,
    /// Stored data is damaged.
    Damaged = 71,
    /// IO at the start, such as a port in use.
    Start = 74,
    /// The configuration, or whose data this is, forbids it.
    Refused = 78,
}

/// Why a command did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    exit: u8,
    what: String,
    causes: Vec<String>,
    hint: Option<String>,
    bare: bool,
}

impl Failure {
    /// A failure of one of Muster's own commands; `what` says what could not be done.
    pub fn new(what: impl Into<String>) -> Self {
        Failure {
            exit: Exit::Failed as u8,
            what: what.into(),
            causes: Vec::new(),
            hint: None,
            bare: false,
        }
    }

    /// A failure in pachctl's form: the text alone, as scripts know it.
    pub fn pachctl(what: impl Into<String>) -> Self {
        Failure { bare: true, ..Failure::new(what) }
    }

    /// Adds the reason and, in turn, its sources.
    #[must_use]
    pub fn because(mut self, cause: &(dyn std::error::Error + '_)) -> Self {
        let mut next = Some(cause);
        while let Some(cause) = next {
            let text = cause.to_string();
            if self.causes.last() != Some(&text) {
                self.causes.push(text);
            }
            next = cause.source();
        }
        self
    }

    /// Adds a reason given as text.
    #[must_use]
    pub fn cause(mut self, text: impl Into<String>) -> Self {
        self.causes.push(text.into());
        self
    }

    /// Puts the failure into a larger one of pachctl's form: `outer: inner`.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        self.what = format!("{outer}: {}", self.what);
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }

    /// Ends with another code than 1.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit as u8;
        self
    }

    /// Ends with the code that a stopped replica names.
    #[must_use]
    pub fn exit_code(mut self, code: u8) -> Self {
        self.exit = code;
        self
    }

    /// What could not be done, without causes and hint.
    pub fn text(&self) -> &str {
        self.what.trim()
    }

    /// The text for standard error. pachctl's form gets its hint only where a person looks on.
    fn render(&self, for_a_person: bool) -> String {
        let mut text = if self.bare {
            let mut text = self.what.trim().to_owned();
            for cause in &self.causes {
                text.push_str(": ");
                text.push_str(cause.trim());
            }
            text.push('\n');
            text
        } else {
            let mut text = format!("error: {}\n", self.what.trim());
            for cause in &self.causes {
                let _ = writeln!(text, "  cause: {}", cause.trim());
            }
            text
        };
        if let Some(hint) = self.hint.as_ref().filter(|_| for_a_person || !self.bare) {
            let _ = writeln!(text, "  try:   {hint}");
        }
        text
    }
}

/// Prints the failure, if any, and says how the process ends.
pub(crate) fn end(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            note_raw(&failure.render(io::stderr().is_terminal()));
            ExitCode::from(failure.exit)
        }
    }
}

/// Writes data to standard output. A reader that went away is no failure, a full disk is.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new("cannot write to standard output").because(&error))
        }
        _ => Ok(()),
    }
}

/// Writes one line to standard error.
pub(crate) fn note(line: &str) {
    note_raw(&format!("{line}\n"));
}

/// Writes to standard error as it is. There is nowhere to report that this failed.
pub(crate) fn note_raw(text: &str) {
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn our_own_failures_say_what_why_and_what_to_do() {
        let failure = Failure::new("cannot read the license")
            .because(&io::Error::other("disk on fire"))
            .hint("another disk");
        expect![[r#"
            error: cannot read the license
              cause: disk on fire
              try:   another disk
        "#]]
        .assert_eq(&failure.render(false));
    }

    #[test]
    fn failures_in_the_form_of_pachctl_are_one_chain() {
        let failure = Failure::pachctl("could not connect \n").cause("no").hint("yes");
        assert_eq!(failure.render(false), "could not connect: no\n");
        assert_eq!(failure.render(true), "could not connect: no\n  try:   yes\n");
    }
}
