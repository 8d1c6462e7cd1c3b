//! Who may name whom. A new edge is a decision that someone makes in a diff of this table.

use std::fs;
use std::path::{Path, PathBuf};

/// Each room of `src/` with the rooms it may name through `crate::`.
const ROOMS: &[(&str, &[&str])] = &[
    ("dial", &["address"]),
    ("state", &[]),
    ("activation", &[]),
    ("address", &[]),
    ("clock", &[]),
    ("seal", &["entropy"]),
    ("entropy", &[]),
    ("telemetry", &[]),
    ("audit", &["actors", "clock", "state"]),
    ("actors", &["activation", "address", "clock", "dial", "entropy", "seal", "state"]),
    ("identity", &["actors", "clock", "entropy", "seal", "state"]),
    ("web", &["actors", "api", "identity"]),
    (
        "api",
        &[
            "activation",
            "actors",
            "address",
            "clock",
            "dial",
            "entropy",
            "identity",
            "seal",
            "state",
        ],
    ),
    ("rescue", &["actors", "clock", "entropy", "state"]),
    ("ops", &["actors", "clock", "state"]),
    ("config", &["address", "api", "seal", "state", "telemetry"]),
    ("agent", &["activation", "address", "api", "clock", "dial", "entropy", "telemetry"]),
    (
        "serve",
        &[
            "activation",
            "actors",
            "api",
            "audit",
            "clock",
            "config",
            "dial",
            "entropy",
            "identity",
            "ops",
            "seal",
            "state",
            "telemetry",
            "web",
        ],
    ),
    (
        "cli",
        &[
            "activation",
            "address",
            "agent",
            "audit",
            "clock",
            "config",
            "dial",
            "entropy",
            "rescue",
            "serve",
            "state",
            "telemetry",
        ],
    ),
    ("main", &["cli"]),
];

/// What a room must never name, word for word, and why.
const BANS: &[(&str, &[&str], &str)] = &[
    (
        "src/state",
        &[
            "muster_cluster",
            "tokio::",
            "async ",
            "std::fs",
            "std::net",
            "std::time",
            "std::env",
            "rand::",
            "tracing::",
            "f64",
            "f32",
        ],
        "the state is a pure function of the log",
    ),
    (
        "cluster/src/core",
        &["tokio::", "async ", "std::fs", "std::net", "Instant::now", "std::env", "rand::rng("],
        "the core is driven by inputs alone, so that a seed replays",
    ),
    ("cluster/src", &["muster_proto", "muster::"], "consensus knows bytes, never a license"),
    ("src/api", &["muster_cluster"], "the edge translates; the actors propose"),
    ("src/cli", &["raft::"], "the command line sees the program, not its storage"),
    ("proto/src", &["muster_cluster", "muster::state"], "messages name nothing"),
];

#[test]
fn a_room_names_only_the_rooms_of_its_table() {
    let mut strays = Vec::new();
    for file in sources(&root().join("src")) {
        let room = room_of(&file);
        if room == "lib" {
            continue;
        }
        let Some((_, may)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            strays.push(format!("{}: the room `{room}` is not in the table", file.display()));
            continue;
        };
        for (line, text) in product_lines(&file) {
            for other in rooms_named_in(&text) {
                if other != room && !may.contains(&other.as_str()) {
                    strays.push(format!("{}:{line}: {room} names {other}", file.display()));
                }
            }
        }
    }
    assert!(strays.is_empty(), "edges that are not in the table:\n{}", strays.join("\n"));
}

#[test]
fn a_room_never_names_what_would_break_its_promise() {
    let mut strays = Vec::new();
    for (folder, words, reason) in BANS {
        for file in sources(&root().join(folder)) {
            for (line, text) in product_lines(&file) {
                for word in words.iter().filter(|word| text.contains(**word)) {
                    strays.push(format!("{}:{line}: `{word}`: {reason}", file.display()));
                }
            }
        }
    }
    assert!(strays.is_empty(), "banned words:\n{}", strays.join("\n"));
}

#[test]
fn every_room_of_the_table_exists() {
    for (room, _) in ROOMS {
        let folder = root().join("src").join(room);
        let file = folder.with_extension("rs");
        assert!(folder.is_dir() || file.is_file(), "no room `{room}` in src/");
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `folder` that is not a test of its own.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    // That the rooms exist is a test of its own.
    let mut open: Vec<PathBuf> =
        folder.is_dir().then(|| folder.to_path_buf()).into_iter().collect();
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap_or_else(|e| panic!("{}: {e}", next.display())) {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && stem != "tests" {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && !stem.ends_with("tests") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The first part of a file's path below `src/`, without its ending.
fn room_of(file: &Path) -> String {
    let below = file.strip_prefix(root().join("src")).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The numbered lines of a file without comments, up to its inline tests.
fn product_lines(file: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(file).unwrap();
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.trim_start().starts_with("#[cfg(test)]"))
        .map(|(at, line)| (at + 1, line.split("//").next().unwrap_or_default().to_owned()))
        .collect()
}

/// The rooms that follow `crate::` or `muster::` on a line, also inside braces.
fn rooms_named_in(line: &str) -> Vec<String> {
    let mut named = Vec::new();
    for marker in ["crate::", "muster::"] {
        for (at, _) in line.match_indices(marker) {
            let glued = line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            if glued {
                continue;
            }
            let rest = &line[at + marker.len()..];
            let group = rest.strip_prefix('{').map(|inner| inner.split('}').next().unwrap_or(""));
            match group {
                Some(list) => named.extend(list.split(',').map(|item| head(item.trim()))),
                None => named.push(head(rest)),
            }
        }
    }
    named.retain(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase()));
    named
}

fn head(path: &str) -> String {
    path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}
