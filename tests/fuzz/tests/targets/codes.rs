//! Activation codes: three layers that a stranger wrote.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bolero::check;
use muster::activation::{Claims, TrustRoot, TrustRoots, issue, keygen, redact};
use muster_fuzz::Damage;

struct Signed {
    roots: TrustRoots,
    /// As they are typed in,
    codes: Vec<Vec<u8>>,
    /// and what base64 wraps of them: token and signature.
    inner: Vec<Vec<u8>>,
}

static SIGNED: LazyLock<Signed> = LazyLock::new(|| {
    let pair = keygen(2_048).unwrap();
    let roots = TrustRoots::new(vec![TrustRoot::from_pem("fuzz", &pair.public).unwrap()]);
    let claims = [
        r#"{"expiry":"2099-01-31T22:13:42.101Z"}"#,
        r#"{"expiry":"2099-01-31T22:13:42Z","customer":"Acme","max_clusters":3,"grace_days":14}"#,
    ];
    let issue = |claims: &&str| {
        let claims: Claims = Claims::read(claims).unwrap();
        issue(&pair.private, &claims).unwrap().into_bytes()
    };
    let codes: Vec<Vec<u8>> = claims.iter().map(issue).collect();
    let inner = codes.iter().map(|code| BASE64_STANDARD.decode(code).unwrap()).collect();
    Signed { roots, codes, inner }
});

/// Whatever is accepted says what the authority signed, damaged outside of base64 or within. A change
/// beside the token and the signature may leave a code good; a changed token may not.
#[test]
fn an_activation_code() {
    let signed = &*SIGNED;
    let genuine: Vec<(Claims, String)> = signed
        .codes
        .iter()
        .map(|code| {
            let code = std::str::from_utf8(code).unwrap();
            let claims = signed.roots.verify_even_if_expired(code).unwrap().claims;
            (claims, signed.roots.inspect(code).unwrap().token)
        })
        .collect();
    check!().with_iterations(6_000).with_type::<(bool, Damage)>().for_each(|(within, damage)| {
        let text = if *within {
            BASE64_STANDARD.encode(damage.of(&signed.inner))
        } else {
            String::from_utf8_lossy(&damage.of(&signed.codes)).into_owned()
        };
        let inspected = signed.roots.inspect(&text);
        drop(redact(&text));
        if let Ok(accepted) = signed.roots.verify_even_if_expired(&text) {
            let said = (accepted.claims, inspected.unwrap().token);
            assert!(genuine.contains(&said), "{text}");
        }
    });
}

/// The innermost layer by itself, behind the signature.
#[test]
fn the_claims_of_a_code() {
    let texts: Vec<Vec<u8>> = [
        r#"{"expiry":"2099-01-31T22:13:42.101Z"}"#,
        r#"{"expiry":"2099-01-31T22:13:42+02:00","customer":"Acme","max_clusters":3,"grace_days":14}"#,
        r#"{"scopes":{"basic":true},"expiry":"1969-12-31T23:59:59.999999999Z"}"#,
        "null",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    check!().with_iterations(20_000).with_type::<Damage>().for_each(|damage| {
        drop(Claims::read(&String::from_utf8_lossy(&damage.of(&texts))));
    });
}
