//! An issuer that can be discovered and signs nobody in.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How often its document was asked for.
pub(crate) type Discoveries = Arc<AtomicUsize>;

/// Starts one that lives as long as the process, and gives its address.
pub(crate) fn start() -> String {
    counted().0
}

pub(crate) fn counted() -> (String, Discoveries) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let discoveries = Discoveries::default();
    let (own, counted) = (issuer.clone(), Arc::clone(&discoveries));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(stream, &own, &counted);
        }
    });
    (issuer, discoveries)
}

fn answer(mut stream: TcpStream, issuer: &str, discoveries: &AtomicUsize) {
    let mut head = vec![0; 16 << 10];
    let read = stream.read(&mut head).unwrap_or(0);
    let head = String::from_utf8_lossy(&head[..read]).into_owned();
    let (status, body) = match head.split(' ').nth(1) {
        Some("/.well-known/openid-configuration") => {
            discoveries.fetch_add(1, Ordering::Relaxed);
            ("200 OK", document(issuer))
        }
        Some("/jwks") => ("200 OK", "{\"keys\":[]}".to_owned()),
        _ => ("400 Bad Request", "{\"error\":\"invalid_grant\"}".to_owned()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n"
    );
    drop(stream.write_all(format!("{head}{body}").as_bytes()));
}

fn document(issuer: &str) -> String {
    serde_json::json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "code_challenge_methods_supported": ["S256"],
    })
    .to_string()
}
