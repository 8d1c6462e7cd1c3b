//! Reads a map from principals to lists of roles, as a Helm chart writes it: JSON, or YAML of the two
//! shapes that such a map has. Principals hold colons, so the last one of a line ends the key.

use std::collections::BTreeMap;

/// The map in the order of its keys, or as written; none for anything else.
pub(super) fn read(text: &str) -> Option<Vec<(String, Vec<String>)>> {
    if text.trim_start().starts_with('{') {
        let map: BTreeMap<String, Vec<String>> = serde_json::from_str(text).ok()?;
        return Some(map.into_iter().collect());
    }
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || line == "---" {
            continue;
        }
        if let Some(role) = line.strip_prefix("- ") {
            found.last_mut()?.1.push(scalar(role)?);
        } else if let Some(key) = line.strip_suffix(':') {
            found.push((scalar(key)?, Vec::new()));
        } else {
            let (key, list) = line.rsplit_once(": ")?;
            found.push((scalar(key)?, flow(list)?));
        }
    }
    Some(found)
}

/// `[a, b]`
fn flow(text: &str) -> Option<Vec<String>> {
    let inner = text.trim().strip_prefix('[')?.strip_suffix(']')?.trim();
    if inner.is_empty() {
        return Some(Vec::new());
    }
    inner.split(',').map(scalar).collect()
}

/// A word, bare or in quotes.
fn scalar(text: &str) -> Option<String> {
    let text = text.trim();
    let unquoted = ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(text);
    let is_plain = !unquoted.is_empty() && !unquoted.contains(['"', '\'', '[', ']', '{', '}']);
    is_plain.then(|| unquoted.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> Vec<(String, Vec<String>)> {
        vec![
            ("robot:r".to_owned(), vec!["robotUser".to_owned()]),
            ("user:a@b.c".to_owned(), vec!["clusterAdmin".to_owned(), "debugger".to_owned()]),
        ]
    }

    #[test]
    fn the_shapes_of_a_chart_are_read() {
        for text in [
            r#"{"user:a@b.c": ["clusterAdmin", "debugger"], "robot:r": ["robotUser"]}"#,
            "robot:r:\n- robotUser\nuser:a@b.c:\n  - clusterAdmin\n  - debugger\n",
            "# roles\n'robot:r': [robotUser]\n\"user:a@b.c\": [clusterAdmin, \"debugger\"]\n",
        ] {
            assert_eq!(read(text), Some(map()), "{text}");
        }
        assert_eq!(read(""), Some(Vec::new()));
        assert_eq!(read("user:a: []"), Some(vec![("user:a".to_owned(), Vec::new())]));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["user:a", "- role", "user:a: role", "{\"a\": 1}", "a: [b", "a: {b: c}"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
