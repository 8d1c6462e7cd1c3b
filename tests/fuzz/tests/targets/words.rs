//! Small texts that people and machines write: addresses, and where people sign in.

use bolero::check;
use muster::address::Address;
use muster::config::OidcDocument;
use muster_fuzz::Damage;

fn texts(of: &[&str]) -> Vec<Vec<u8>> {
    of.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Whatever is taken for an address is written so that it is read as the same one.
#[test]
fn an_address() {
    let good = texts(&[
        "grpc://localhost:30650",
        "grpcs://[2001:db8::1]:443",
        "http://pachd.example",
        "unix:/run/pachd.sock",
        "10.0.0.1:31650",
    ]);
    check!().with_iterations(20_000).with_type::<Damage>().for_each(|damage| {
        let text = String::from_utf8_lossy(&damage.of(&good)).into_owned();
        if let Ok(address) = text.parse::<Address>() {
            assert_eq!(address.to_string().parse(), Ok(address), "{text}");
        }
    });
}

#[test]
fn a_configuration_of_sign_in() {
    let good = texts(&[
        "issuer: https://id.example\nclient_id: muster\nclient_secret: s\nscopes: [email, openid]\n",
        r#"{"issuer":"https://id.example","clientId":"muster","scopes":["openid"],"localhost_issuer":true}"#,
        "issuer: &a https://id.example\nredirect_uri: *a\nrequire_email_verified: yes\n",
    ]);
    check!().with_iterations(3_000).with_type::<Damage>().for_each(|damage| {
        let text = String::from_utf8_lossy(&damage.of(&good)).into_owned();
        if let Ok(document) = OidcDocument::read(&text) {
            let yaml = document.yaml().unwrap();
            let again = OidcDocument::read(&yaml).map(|again| again.yaml().unwrap());
            assert_eq!(again, Ok(yaml));
        }
    });
}
