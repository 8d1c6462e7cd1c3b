use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use prost_types::Timestamp;

use super::*;

static OURS: LazyLock<KeyPairPem> = LazyLock::new(|| keygen(2048).unwrap());
static OTHERS: LazyLock<KeyPairPem> = LazyLock::new(|| keygen(2048).unwrap());

const NOW: Timestamp = seconds(1_700_000_000);

const fn seconds(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

fn roots() -> TrustRoots {
    TrustRoots::new(vec![
        TrustRoot::pachyderm().unwrap(),
        TrustRoot::from_pem("ours", &OURS.public).unwrap(),
    ])
}

fn claims() -> Claims {
    Claims {
        expiry: Timestamp { seconds: 1_900_000_000, nanos: 101_000_000 },
        customer: "Acme <R&D>".to_owned(),
        max_clusters: Some(7),
        grace_days: Some(14),
    }
}

fn code() -> String {
    issue(&OURS.private, &claims()).unwrap()
}

fn base64(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}

/// A code around any token, signed by us.
fn signed(token: &str) -> String {
    let code = issue(&OURS.private, &claims()).unwrap();
    let mut envelope = code::Envelope::open(&code).unwrap();
    envelope.signature = sign(token);
    token.clone_into(&mut envelope.token);
    envelope.close()
}

fn sign(token: &str) -> String {
    let key = key::read_private(&OURS.private).unwrap();
    let mut signature = vec![0; key.public_modulus_len()];
    let dice = aws_lc_rs::rand::SystemRandom::new();
    key.sign(&aws_lc_rs::signature::RSA_PKCS1_SHA256, &dice, token.as_bytes(), &mut signature)
        .unwrap();
    BASE64_STANDARD.encode(signature)
}

#[test]
fn the_default_root_is_pachyderms_key() {
    let root = TrustRoot::pachyderm().unwrap();
    assert_eq!(
        hex::encode(root.fingerprint()),
        "118a92a57a04b7d8e2c9ac8eac8d000cd2231332b0df9e5e934631578d0cad4f"
    );
}

#[test]
fn an_issued_code_is_accepted_and_says_what_was_asked() {
    let activation = roots().verify(&code(), &NOW).unwrap();
    assert_eq!(activation, Activation { claims: claims(), signed_by: "ours".to_owned() });
}

#[test]
fn a_code_may_hold_the_expiry_alone() {
    let bare = Claims { customer: String::new(), max_clusters: None, grace_days: None, ..claims() };
    let code = issue(&OURS.private, &bare).unwrap();
    assert_eq!(roots().inspect(&code).unwrap().token, r#"{"expiry":"2030-03-17T17:46:40.101Z"}"#);
    assert_eq!(roots().verify(&code, &NOW).unwrap().claims, bare);
}

#[test]
fn each_check_has_its_text_and_comes_in_its_turn() {
    let token = r#"{"expiry":"2030-01-01T00:00:00Z"}"#;
    let cases = [
        ("x".repeat(CODE_BYTES_MAX + 1), "activation code is longer than 65536 bytes"),
        ("not base64!".to_owned(), "activation code is not base64 encoded"),
        (String::new(), "activation code is not valid JSON"),
        (base64("null"), "activation code is not valid JSON"),
        (base64("{"), "activation code is not valid JSON"),
        (base64(r#"{"token":"x","signature":"!"}"#), "signature is not base64 encoded"),
        (base64("{}"), "invalid signature in activation code"),
        (base64(r#"{"token":"x","signature":"eA=="}"#), "invalid signature in activation code"),
        (signed("x"), "token is not valid JSON"),
        (signed("null"), "token is not valid JSON"),
        (signed(r#"{"expiry":7}"#), "token is not valid JSON"),
        (
            signed(r#"{"expiry":"2030-01-01T00:00:00Z","max_clusters":-1}"#),
            "token is not valid JSON",
        ),
        (
            signed(r#"{"expiry":"2030-01-01T00:00:00Z","max_clusters":"9"}"#),
            "token is not valid JSON",
        ),
        (signed("{}"), "expiration is not valid ISO 8601 string"),
        (signed(r#"{"expiry":"tomorrow"}"#), "expiration is not valid ISO 8601 string"),
        (signed(r#"{"expiry":"2030-01-01"}"#), "expiration is not valid ISO 8601 string"),
        (signed(r#"{"expiry":"2020-01-01T00:00:00Z"}"#), "the activation code has expired"),
    ];
    for (code, text) in cases {
        let refused = roots().verify(&code, &NOW).unwrap_err();
        assert_eq!(refused.to_string(), text);
    }
    assert!(roots().verify(&signed(token), &NOW).is_ok());
}

#[test]
fn a_code_expires_after_its_expiry_not_at_it() {
    let code = signed(r#"{"Expiry":"2023-11-14T22:13:20+00:00","customer":{"id":1}}"#);
    assert!(roots().verify(&code, &NOW).is_ok());
    let later = Timestamp { nanos: 1, ..NOW };
    assert_eq!(roots().verify(&code, &later), Err(CodeError::Expired));
    assert!(roots().verify_even_if_expired(&code).is_ok());
}

#[test]
fn an_offset_counts() {
    let code = signed(r#"{"expiry":"2027-01-31T22:13:42.101+02:00"}"#);
    let expiry = roots().verify(&code, &NOW).unwrap().claims.expiry;
    assert_eq!(expiry, Timestamp { seconds: 1_801_426_422, nanos: 101_000_000 });
}

#[test]
fn a_code_wrapped_into_lines_is_the_same_code() {
    let code = code();
    let (one, other) = code.split_at(76);
    assert!(roots().verify(&format!("{one}\r\n{other}\n"), &NOW).is_ok());
}

#[test]
fn only_trusted_keys_count() {
    let foreign = issue(&OTHERS.private, &claims()).unwrap();
    assert_eq!(roots().verify(&foreign, &NOW), Err(CodeError::SignatureInvalid));
    assert_eq!(TrustRoots::default().verify(&code(), &NOW), Err(CodeError::SignatureInvalid));
    let inspection = roots().inspect(&foreign).unwrap();
    assert_eq!(inspection.claims, Ok(claims()));
    assert_eq!(inspection.signed_by, Err(CodeError::SignatureInvalid));
}

#[test]
fn a_redacted_code_can_be_read_and_not_used() {
    let redacted = redact(&code()).unwrap();
    let json = String::from_utf8(BASE64_STANDARD.decode(&redacted).unwrap()).unwrap();
    assert_eq!(json, r#"{"Token":"{\"expiry\":\"2030-03-17T17:46:40.101Z\"}","Signature":""}"#);
    let expiry = claims().expiry;
    assert_eq!(roots().inspect(&redacted).unwrap().claims.map(|it| it.expiry), Ok(expiry));
    assert_eq!(roots().verify(&redacted, &NOW), Err(CodeError::SignatureInvalid));
    let alone = base64(r#"{"token": "{\"expiry\" : \"<&>\"}", "signature": "x"}"#);
    let kept = redact(&alone).unwrap();
    assert_eq!(
        String::from_utf8(BASE64_STANDARD.decode(kept).unwrap()).unwrap(),
        r#"{"Token":"{\"expiry\" : \"\u003c\u0026\u003e\"}","Signature":""}"#
    );
    assert_eq!(redact("!"), None);
}

#[test]
fn an_asked_expiry_only_shortens() {
    let signed = seconds(100);
    assert_eq!(earlier_expiry(signed, None), signed);
    assert_eq!(earlier_expiry(signed, Some(seconds(101))), signed);
    assert_eq!(earlier_expiry(signed, Some(seconds(99))), seconds(99));
}

#[test]
fn a_key_that_cannot_serve_is_told_apart() {
    let wrong = |pem: &str| TrustRoot::from_pem("x", pem).unwrap_err();
    assert_eq!(wrong("hello"), KeyError::NotPem);
    assert_eq!(wrong(&"x".repeat(1 << 20)), KeyError::NotPem);
    assert!(matches!(wrong(&OURS.private), KeyError::WrongBlock { .. }));
    assert_eq!(wrong(&key::write_pem("PUBLIC KEY", b"x")), KeyError::NotRsa);
    assert!(matches!(issue(&OURS.public, &claims()), Err(KeyError::WrongBlock { .. })));
    assert!(matches!(keygen(1024), Err(KeyError::WrongSize { bits: 1024 })));
}

#[test]
fn a_private_key_is_not_printed() {
    assert!(!format!("{:?}", *OURS).contains("PRIVATE"));
}
