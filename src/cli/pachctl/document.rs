//! JSON in the dialect of pachctl's config file: the order of keys is kept, the indent is two
//! blanks, strings are escaped as Go's encoder does.
//!
//! A document that is read and printed again is the same text, whatever keys it holds.

use std::fmt::{self, Write as _};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// One JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The value at `key` of a map; `null` counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        let Node::Map(entries) = self else { return None };
        let (_, value) = entries.iter().rfind(|(name, _)| name == key)?;
        (*value != Node::Null).then_some(value)
    }

    /// The text of a string.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The entries of a map, none for anything else.
    pub(crate) fn entries(&self) -> &[(String, Node)] {
        match self {
            Node::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Changes the map at `key`, made empty where there is none, before the first key that
    /// `after` says comes later.
    pub(crate) fn edit(
        &mut self,
        key: &str,
        after: impl Fn(&str) -> bool,
        change: impl FnOnce(&mut Node),
    ) {
        let mut inner = self.get(key).cloned().unwrap_or(Node::Map(Vec::new()));
        change(&mut inner);
        self.set(key, inner, after);
    }

    /// Sets `key`, keeping its place if it has one, else before the first key that `after` says
    /// comes later.
    pub(crate) fn set(&mut self, key: &str, value: Node, after: impl Fn(&str) -> bool) {
        if !matches!(self, Node::Map(_)) {
            *self = Node::Map(Vec::new());
        }
        let Node::Map(entries) = self else { return };
        if let Some((_, old)) = entries.iter_mut().rfind(|(name, _)| name == key) {
            *old = value;
            return;
        }
        let place = entries.iter().position(|(name, _)| after(name)).unwrap_or(entries.len());
        entries.insert(place, (key.to_owned(), value));
    }

    /// Removes `key`.
    pub(crate) fn remove(&mut self, key: &str) {
        if let Node::Map(entries) = self {
            entries.retain(|(name, _)| name != key);
        }
    }

    fn write(&self, depth: usize, out: &mut String) {
        match self {
            Node::Null => out.push_str("null"),
            Node::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Node::Number(value) => out.push_str(&value.to_string()),
            Node::Text(text) => quote(text, out),
            Node::List(items) => {
                write_all('[', ']', depth, items, out, |item, out| item.write(depth + 1, out));
            }
            Node::Map(entries) => {
                write_all('{', '}', depth, entries, out, |(key, value), out| {
                    quote(key, out);
                    out.push_str(": ");
                    value.write(depth + 1, out);
                });
            }
        }
    }
}

fn write_all<T>(
    open: char,
    close: char,
    depth: usize,
    items: &[T],
    out: &mut String,
    write: impl Fn(&T, &mut String),
) {
    out.push(open);
    for (position, item) in items.iter().enumerate() {
        out.push_str(if position == 0 { "\n" } else { ",\n" });
        out.push_str(&"  ".repeat(depth + 1));
        write(item, out);
    }
    if !items.is_empty() {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    }
    out.push(close);
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// Prints without a newline at the end.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        self.write(0, &mut out);
        f.write_str(&out)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        serde_json::Number::from_f64(value)
            .map(Node::Number)
            .ok_or_else(|| E::custom("a number that JSON cannot hold"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_reads_and_prints_as_the_same_text() {
        let text = r#"{
  "z": 1,
  "a": {
    "empty": {},
    "none": null,
    "list": [
      true,
      -2,
      1.5
    ],
    "text": "a \u003cb\u003e \u0026 \"c\" \\ \n \u0001 ü"
  }
}"#;
        let node: Node = serde_json::from_str(text).unwrap();
        assert_eq!(node.to_string(), text);
    }

    #[test]
    fn a_new_key_goes_before_the_first_that_comes_later() {
        let mut node: Node = serde_json::from_str(r#"{"a": 1, "c": 3}"#).unwrap();
        node.set("b", Node::Null, |key| key > "b");
        node.set("c", Node::Bool(true), |_| true);
        let keys: Vec<_> = node.entries().iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["a", "b", "c"]);
        assert_eq!(node.get("b"), None);
        assert_eq!(node.get("c"), Some(&Node::Bool(true)));
    }
}
