//! Verifies an exported audit log by itself.

use std::io::BufRead;

use super::line::{Line, LineError};
use crate::state::audit::chain::{Broken, Link};

/// What holds together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What the first record continues, by its own word.
    pub anchor: Link,
    /// The last record.
    pub last: Link,
    /// How many there are.
    pub records: u64,
}

/// Why a file is not a whole audit log.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Io(#[from] std::io::Error),
    /// A line is no record.
    #[error("line {line}, behind record {after}")]
    Line {
        /// From 1.
        line: u64,
        /// The last good record; 0 for none.
        after: u64,
        /// What is wrong with it.
        source: LineError,
    },
    /// A record does not continue the one before it.
    #[error("line {line}")]
    Broken {
        /// From 1.
        line: u64,
        /// What is wrong with it.
        source: Broken,
    },
    /// A record says that it continues another one than the one before it.
    #[error("line {line}: record {sequence} continues another record than the one before it")]
    Previous {
        /// From 1.
        line: u64,
        /// The record's number.
        sequence: u64,
    },
}

/// Follows all hashes of a file of lines.
///
/// # Errors
/// At the first line that does not continue what is before it.
pub fn verify(file: impl BufRead) -> Result<Verified, VerifyError> {
    let mut found = Verified { anchor: Link::default(), last: Link::default(), records: 0 };
    for (number, text) in (1..).zip(file.lines()) {
        let line = Line::read(&text?).map_err(|source| VerifyError::Line {
            line: number,
            after: found.last.sequence,
            source,
        })?;
        let sequence = line.record.sequence;
        if found.records == 0 {
            // The first ever continues nothing.
            let before = sequence.saturating_sub(1);
            let hash = if before == 0 { Link::default().hash } else { line.previous };
            found.anchor = Link { sequence: before, hash };
            found.last = found.anchor;
        }
        if line.previous != found.last.hash {
            return Err(VerifyError::Previous { line: number, sequence });
        }
        found.last = found
            .last
            .then(&line.record)
            .map_err(|source| VerifyError::Broken { line: number, source })?;
        found.records += 1;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::line::tests::lines;
    use super::*;

    fn texts(count: u64) -> Vec<String> {
        lines(count).iter().map(Line::text).collect()
    }

    fn told(texts: &[String]) -> String {
        let mut told = Vec::new();
        let error = verify(texts.concat().as_bytes()).unwrap_err();
        let mut next: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = next {
            told.push(error.to_string());
            next = error.source();
        }
        told.join(": ")
    }

    #[test]
    fn a_whole_export_and_the_end_of_one_hold_together() {
        let texts = texts(5);
        let all = verify(texts.concat().as_bytes()).unwrap();
        assert_eq!((all.records, all.anchor, all.last.sequence), (5, Link::default(), 5));
        let rest = verify(texts[3..].concat().as_bytes()).unwrap();
        assert_eq!((rest.records, rest.anchor.sequence, rest.last), (2, 3, all.last));
        assert_eq!(verify(&b""[..]).unwrap().records, 0);
    }

    #[test]
    fn what_was_changed_left_out_or_put_in_is_told_by_its_record() {
        let whole = texts(5);
        let mut changed = whole.clone();
        changed[2] = changed[2].replace("AddCluster", "SubCluster");
        assert_eq!(
            told(&changed),
            "line 3: record 3 does not have the hash that its content and the record before it give"
        );
        let mut left_out = whole.clone();
        left_out.remove(2);
        assert_eq!(
            told(&left_out),
            "line 3: record 4 continues another record than the one before it"
        );
        let mut doubled = whole.clone();
        doubled.insert(2, whole[1].clone());
        assert_eq!(
            told(&doubled),
            "line 3: record 2 continues another record than the one before it"
        );
        let mut torn = whole.clone();
        torn[4].truncate(40);
        assert!(told(&torn).starts_with("line 5, behind record 4: it is no audit record"));
        // A first record that claims to continue something.
        let foreign = whole[0].replace(&"0".repeat(64), &"1".repeat(64));
        assert_eq!(
            told(&[foreign]),
            "line 1: record 1 continues another record than the one before it"
        );
    }
}
