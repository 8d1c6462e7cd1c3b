//! Where each promise about upstream's behaviour, and each pitfall of the consensus library, is held: by a test
//! of a name that is checked here to exist, or by construction, with the reason.
//!
//! The numbers of defects, the lists of what upstream's own tests assert and the pitfalls of raft-rs are those
//! of the project's references.

mod defects;
mod pitfalls;
mod upstream;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use defects::DEFECTS;
use pitfalls::PITFALLS;
use upstream::{ADMINISTRATION, ENTERPRISE, LICENSE, SIGNING_IN, TOKENS};

/// A promise in a few words, and the tests that hold it: names of functions, or of scenarios of `tests/login` behind
/// `login: `; with `by construction: …` in place of a name, the reason why none can fail.
type Promises = &'static [(&'static str, &'static [&'static str])];

#[test]
fn every_promise_names_tests_that_exist() {
    let tests = tests_of(Path::new(env!("CARGO_MANIFEST_DIR")));
    let mut missing = Vec::new();
    let all = [DEFECTS, LICENSE, ENTERPRISE, ADMINISTRATION, TOKENS, SIGNING_IN, PITFALLS];
    for (promise, held_by) in all.concat() {
        assert!(!held_by.is_empty(), "{promise}: by nothing");
        for name in held_by {
            if !name.starts_with("by construction: ") && !tests.contains(*name) {
                missing.push(format!("{promise}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "no such tests:\n{}", missing.join("\n"));
    assert_eq!(PITFALLS.len(), 19);
}

/// The names of all tests: of functions, and of scenarios of `tests/login`.
fn tests_of(root: &Path) -> BTreeSet<String> {
    let mut names = functions_of(root);
    let scenarios = fs::read_to_string(root.join("tests/login/main.mjs")).unwrap();
    let titles =
        scenarios.lines().filter_map(|line| line.strip_prefix("  async '")?.strip_suffix("'() {"));
    names.extend(titles.map(|title| format!("login: {title}")));
    names
}

/// The names of all functions that follow a `#[test]` or `#[tokio::test]`.
fn functions_of(root: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = ["src", "cluster/src", "tests/it"].map(|folder| root.join(folder)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                names.extend(tests_in(&fs::read_to_string(path).unwrap()));
            }
        }
    }
    names
}

fn tests_in(text: &str) -> Vec<String> {
    let mut is_test = false;
    let mut names = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((_, rest)) = line.split_once("fn ")
            && is_test
        {
            names.extend(rest.split(['(', '<']).next().map(str::to_owned));
            is_test = false;
        }
    }
    names
}
