//! The outer layers of a code, both ways.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};

use crate::activation::CodeError;

/// Bytes of a code that are looked at; a genuine one has about 2 KiB.
pub const CODE_BYTES_MAX: usize = 64 * 1024;

/// As Go's `base64.StdEncoding` reads: padding is needed, unused bits are not looked at.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// A code without its outermost layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Envelope {
    /// JSON text, exactly as it was signed.
    pub(super) token: String,
    /// Base64.
    pub(super) signature: String,
}

impl Envelope {
    /// Opens the outermost layer.
    pub(super) fn open(code: &str) -> Result<Envelope, CodeError> {
        if code.len() > CODE_BYTES_MAX {
            return Err(CodeError::TooLong);
        }
        let json = decode(code).ok_or(CodeError::NotBase64)?;
        serde_json::from_slice(&json).map_err(|_| CodeError::NotJson)
    }

    /// The signature's bytes.
    pub(super) fn signature(&self) -> Result<Vec<u8>, CodeError> {
        decode(&self.signature).ok_or(CodeError::SignatureNotBase64)
    }

    /// Closes the outermost layer as Go would: capital keys, its order and its escapes.
    pub(super) fn close(&self) -> String {
        let json = format!(
            "{{\"Token\":{},\"Signature\":{}}}",
            go_string(&self.token),
            go_string(&self.signature)
        );
        encode(json.as_bytes())
    }
}

/// What everybody may see of a code: its expiry, in a code without a signature. Who the customer is and what
/// else was signed is for those who may read the code itself (D-24). None when it cannot be opened.
pub fn redact(code: &str) -> Option<String> {
    let mut envelope = Envelope::open(code).ok()?;
    let mut claims: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&envelope.token).ok()?;
    let is_expiry = |name: &String| name.eq_ignore_ascii_case("expiry");
    if !claims.keys().all(is_expiry) {
        claims.retain(|name, _| is_expiry(name));
        envelope.token = serde_json::Value::Object(claims).to_string();
    }
    envelope.signature.clear();
    Some(envelope.close())
}

pub(super) fn encode(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let bare: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    BASE64.decode(bare).ok()
}

/// A JSON string with the escapes that Go's encoder makes.
fn go_string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

impl<'de> Deserialize<'de> for Envelope {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Envelope, D::Error> {
        from.deserialize_map(EnvelopeVisitor)
    }
}

/// Keys in any case, unknown ones skipped, the last of a kind wins, `null` changes nothing.
struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(key) = map.next_key::<String>()? {
            let field = if key.eq_ignore_ascii_case("token") {
                &mut envelope.token
            } else if key.eq_ignore_ascii_case("signature") {
                &mut envelope.signature
            } else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if let Some(text) = map.next_value::<Option<String>>().map_err(A::Error::custom)? {
                *field = text;
            }
        }
        Ok(envelope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_written_as_go_writes_it() {
        assert_eq!(
            go_string("a\"b\\c\n\r\t<d>&\u{2028}\u{1}é"),
            r#""a\"b\\c\n\r\t\u003cd\u003e\u0026\u2028\u0001é""#
        );
    }

    #[test]
    fn lines_are_joined_and_other_strays_refused() {
        assert_eq!(decode("aG\r\nk="), Some(b"hi".to_vec()));
        assert_eq!(decode("aG k="), None);
        assert_eq!(decode("aGk"), None);
        assert_eq!(decode("aGk=="), None);
        assert_eq!(decode("aGl="), Some(b"hi".to_vec()));
        assert_eq!(decode(""), Some(Vec::new()));
    }

    #[test]
    fn keys_match_in_any_case_and_the_last_one_wins() {
        let open = |json: &str| Envelope::open(&encode(json.as_bytes()));
        let found = open(r#"{"TOKEN":"a","x":[1,{}],"Token":"b","token":null}"#).unwrap();
        assert_eq!(found, Envelope { token: "b".to_owned(), signature: String::new() });
        for json in ["null", "", "[]", "1", "\"a\"", r#"{"token":1}"#, "{} {}", "{"] {
            assert_eq!(open(json), Err(CodeError::NotJson), "{json}");
        }
    }
}
