//! Activation codes: three layers that a stranger wrote.

use std::sync::LazyLock;

use bolero::check;
use muster::activation::{Claims, TrustRoot, TrustRoots, issue, keygen, redact};
use muster_fuzz::Damage;

struct Signed {
    roots: TrustRoots,
    codes: Vec<Vec<u8>>,
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
    Signed { roots, codes: claims.iter().map(issue).collect() }
});

/// Whatever is accepted says what the authority signed.
#[test]
fn an_activation_code() {
    let signed = &*SIGNED;
    let genuine: Vec<Claims> = signed
        .codes
        .iter()
        .map(|code| {
            let code = std::str::from_utf8(code).unwrap();
            signed.roots.verify_even_if_expired(code).unwrap().claims
        })
        .collect();
    check!().with_iterations(3_000).with_type::<Damage>().for_each(|damage| {
        let bytes = damage.of(&signed.codes);
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(accepted) = signed.roots.verify_even_if_expired(&text) {
            assert!(genuine.contains(&accepted.claims), "{text}");
        }
        drop(signed.roots.inspect(&text));
        drop(redact(&text));
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
