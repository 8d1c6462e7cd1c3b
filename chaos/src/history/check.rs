//! Both checkers over a whole history.

use std::fmt;
use std::process::ExitCode;

use super::Record;
use super::certificate::{self, Verdict};
use super::events::{self, EventsError};
use super::wgl;

/// What became of a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Operations that were answered, and those of unknown outcome.
    pub(crate) answered: usize,
    pub(crate) unknown: usize,
    pub(crate) keys: usize,
    /// Whether every answer has its place in the log; else there is no certificate.
    pub(crate) certified: bool,
    /// Reads that show less than was seen before them.
    pub(crate) stale: Vec<usize>,
    /// Writes placed before what was seen before them.
    pub(crate) misplaced: Vec<usize>,
    /// By key: the record that the replay does not explain.
    pub(crate) unexplained: Vec<(String, usize)>,
    /// By key: the record that no order explains.
    pub(crate) impossible: Vec<(String, usize)>,
    /// Keys at which the certificate, and the search, gave up.
    pub(crate) undecided: (Vec<String>, Vec<String>),
}

impl Checked {
    /// Nothing is wrong as far as anybody knows; what is undecided is told apart.
    pub(crate) fn is_well(&self) -> bool {
        self.stale.is_empty()
            && self.misplaced.is_empty()
            && self.unexplained.is_empty()
            && self.impossible.is_empty()
    }

    pub(crate) fn judgement(&self) -> Judgement {
        match (self.is_well(), self.is_decided()) {
            (true, true) => Judgement::Well,
            (true, false) => Judgement::Undecided,
            (false, _) => Judgement::Wrong,
        }
    }

    /// Everything was decided, by the search at least where there is no certificate.
    pub(crate) fn is_decided(&self) -> bool {
        self.undecided.0.is_empty() && self.undecided.1.is_empty()
    }
}

/// What a run or a check comes to, by its exit code: what is not known is no success, and no fault either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    Well = 0,
    Wrong = 1,
    /// Nothing wrong was found, and at some keys a checker gave up. Not 2, which is wrong usage.
    Undecided = 3,
}

impl Judgement {
    pub(crate) fn exit_code(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}

impl From<bool> for Judgement {
    fn from(well: bool) -> Judgement {
        if well { Judgement::Well } else { Judgement::Wrong }
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Checked { answered, unknown, keys, .. } = self;
        writeln!(f, "{answered} operations answered, {unknown} of unknown outcome, {keys} keys")?;
        if self.certified {
            let (stale, misplaced) = (self.stale.len(), self.misplaced.len());
            let (broken, open) = (self.unexplained.len(), self.undecided.0.len());
            writeln!(
                f,
                "certificate: {stale} stale reads, {misplaced} misplaced writes, {broken} keys that the \
                 replay does not explain, {open} undecided"
            )?;
        } else {
            writeln!(f, "certificate: none, answers do not say where in the log they were given")?;
        }
        let (broken, open) = (self.impossible.len(), self.undecided.1.len());
        write!(f, "search: {broken} keys that no order explains, {open} undecided")?;
        for line in &self.stale {
            write!(f, "\n  record {line}: a stale read")?;
        }
        for line in &self.misplaced {
            write!(f, "\n  record {line}: a write before what was seen before it")?;
        }
        for (key, line) in &self.unexplained {
            write!(f, "\n  record {line}, {key}: not what replaying the log gives")?;
        }
        for (key, line) in &self.impossible {
            write!(f, "\n  record {line}, {key}: no order explains the answers up to here")?;
        }
        for (key, who) in [(&self.undecided.0, "certificate"), (&self.undecided.1, "search")] {
            for key in key {
                write!(f, "\n  UNDECIDED, {key}: the {who} used up its budget")?;
            }
        }
        Ok(())
    }
}

/// Judges a history by both checkers; each looks at no more than `budget` steps for a key.
pub(crate) fn check(records: &[Record], budget: usize) -> Result<Checked, EventsError> {
    let operations = events::operations(records)?;
    let keys = events::by_key(&operations)?;
    let mut checked = Checked {
        answered: operations.iter().filter(|it| it.returned != u64::MAX).count(),
        unknown: operations.iter().filter(|it| it.returned == u64::MAX).count(),
        keys: keys.len(),
        certified: certificate::is_complete(&operations),
        ..Checked::default()
    };
    if checked.certified {
        let broken = certificate::real_time(&operations);
        let looks = |line: &usize| operations.iter().any(|it| it.line == *line && it.looks());
        (checked.stale, checked.misplaced) = broken.into_iter().partition(looks);
    }
    for (key, events) in &keys {
        if checked.certified {
            match certificate::replay(events, budget) {
                Verdict::Holds => {}
                Verdict::Broken(line) => checked.unexplained.push((key.clone(), line)),
                Verdict::Undecided => checked.undecided.0.push(key.clone()),
            }
        }
        match wgl::search(events, budget) {
            Verdict::Holds => {}
            Verdict::Broken(line) => checked.impossible.push((key.clone(), line)),
            Verdict::Undecided => checked.undecided.1.push(key.clone()),
        }
    }
    Ok(checked)
}
