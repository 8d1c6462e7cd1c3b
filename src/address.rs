//! How Pachyderm's clients and servers write the address of a server: `[scheme://]host[:port]`.
//!
//! `grpc` (assumed) and `http` are plaintext, `grpcs` and `https` are TLS, `unix` is a socket file.

use std::fmt;
use std::str::FromStr;

/// The port of every TCP address that names none, TLS included.
pub const DEFAULT_PORT: u16 = 30650;

/// Where a gRPC server listens. Displays in the canonical spelling that config files hold:
/// `grpc://HOST:PORT`, `grpcs://HOST:PORT`, or the text of a `unix:` address as it was given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// A host name or IP literal (IPv6 without its brackets).
    Tcp {
        /// Name to look up, and the name that a certificate must carry.
        host: String,
        /// TCP port.
        port: u16,
        /// Whether the connection is TLS.
        secured: bool,
    },
    /// A unix socket; always plaintext.
    Unix {
        /// The whole address, `unix://` included.
        text: String,
    },
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The text is empty.
    #[error("no pachd address specified")]
    Empty,
    /// None of the five schemes.
    #[error("unrecognized scheme in pachd address: {0}")]
    Scheme(String),
    /// `user@` before the host.
    #[error("pachd address should not include login credentials")]
    Credentials,
    /// `?` after the host.
    #[error("pachd address should not include a query string")]
    Query,
    /// `#` after the host.
    #[error("pachd address should not include a fragment")]
    Fragment,
    /// Anything after the port, even a lone `/`.
    #[error("pachd address should not include a path")]
    Path,
    /// A host or port that cannot be one.
    #[error("could not parse pachd address: {0}")]
    Malformed(String),
}

impl AddressError {
    /// What is wrong, without a word of the text: in a status it could pass for what clients match.
    pub fn reason(&self) -> String {
        match self {
            AddressError::Scheme(_) => "unrecognized scheme in pachd address".to_owned(),
            AddressError::Malformed(_) => "invalid host or port".to_owned(),
            plain => plain.to_string(),
        }
    }
}

impl Address {
    /// Whether connections to it are TLS.
    pub fn is_secured(&self) -> bool {
        matches!(self, Address::Tcp { secured: true, .. })
    }

    /// What an HTTP/2 client dials: `http://…`, `https://…` or `unix:…`.
    pub fn uri(&self) -> String {
        match self {
            Address::Tcp { host, port, secured } => {
                let scheme = if *secured { "https" } else { "http" };
                format!("{scheme}://{}:{port}", Bracketed(host))
            }
            Address::Unix { text } => text.clone(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port, secured } => {
                let scheme = if *secured { "grpcs" } else { "grpc" };
                write!(f, "{scheme}://{}:{port}", Bracketed(host))
            }
            Address::Unix { text } => f.write_str(text),
        }
    }
}

struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(self.0) }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("grpc", text));
        let secured = match scheme.to_ascii_lowercase().as_str() {
            "grpc" | "http" => false,
            "grpcs" | "https" => true,
            "unix" => return Ok(Address::Unix { text: text.to_owned() }),
            _ => return Err(AddressError::Scheme(scheme.to_owned())),
        };
        let (rest, fragment) = rest.split_once('#').map_or((rest, false), |(rest, _)| (rest, true));
        let (rest, query) = rest.split_once('?').map_or((rest, false), |(rest, _)| (rest, true));
        let (authority, path) =
            rest.split_once('/').map_or((rest, false), |(authority, _)| (authority, true));
        if authority.contains('@') {
            return Err(AddressError::Credentials);
        }
        if query {
            return Err(AddressError::Query);
        }
        if fragment {
            return Err(AddressError::Fragment);
        }
        if path {
            return Err(AddressError::Path);
        }
        let (host, port) = split_port(authority)?;
        Ok(Address::Tcp { host: host.to_owned(), port, secured })
    }
}

fn split_port(authority: &str) -> Result<(&str, u16), AddressError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest
                .split_once(']')
                .ok_or_else(|| AddressError::Malformed("missing ']' in host".to_owned()))?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(AddressError::Malformed(format!("invalid host {host:?}")));
            }
            (host, port.strip_prefix(':').or_else(|| port.is_empty().then_some("")))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("")),
        },
    };
    let allowed = |c: char| c.is_alphanumeric() || "-._~%:".contains(c);
    if host.is_empty() || !host.chars().all(allowed) {
        return Err(AddressError::Malformed(format!("invalid host {host:?}")));
    }
    let port = port.ok_or_else(|| {
        AddressError::Malformed(format!("only a port may follow the host in {authority:?}"))
    })?;
    if port.is_empty() {
        return Ok((host, DEFAULT_PORT));
    }
    let number = port.chars().all(|c| c.is_ascii_digit()).then(|| port.parse().ok()).flatten();
    match number {
        Some(number) => Ok((host, number)),
        None => Err(AddressError::Malformed(format!("invalid port {port:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_has_one_canonical_form() {
        let table = [
            ("host", "grpc://host:30650"),
            ("host:31650", "grpc://host:31650"),
            ("host:", "grpc://host:30650"),
            ("grpc://host", "grpc://host:30650"),
            ("http://host:80", "grpc://host:80"),
            ("grpcs://host", "grpcs://host:30650"),
            ("https://host:443", "grpcs://host:443"),
            ("GRPC://host", "grpc://host:30650"),
            ("127.0.0.1:1", "grpc://127.0.0.1:1"),
            ("[::1]", "grpc://[::1]:30650"),
            ("grpcs://[::1]:80", "grpcs://[::1]:80"),
            ("unix:///run/pachd.sock", "unix:///run/pachd.sock"),
        ];
        for (text, canonical) in table {
            let address: Address = text.parse().expect(text);
            assert_eq!(address.to_string(), canonical, "{text}");
            assert_eq!(canonical.parse::<Address>().as_ref(), Ok(&address), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        let table = [
            ("", "no pachd address specified"),
            ("ftp://host", "unrecognized scheme in pachd address: ftp"),
            ("host/", "pachd address should not include a path"),
            ("grpc://host:1/x", "pachd address should not include a path"),
            ("grpc://me@host", "pachd address should not include login credentials"),
            ("host?a=b", "pachd address should not include a query string"),
            ("host#a", "pachd address should not include a fragment"),
            ("host:port", "could not parse pachd address: invalid port \"port\""),
            ("host:65536", "could not parse pachd address: invalid port \"65536\""),
            ("::1", "could not parse pachd address: invalid host \"\""),
            ("grpc://:80", "could not parse pachd address: invalid host \"\""),
            ("a b", "could not parse pachd address: invalid host \"a b\""),
            ("[::1", "could not parse pachd address: missing ']' in host"),
        ];
        for (text, reason) in table {
            assert_eq!(text.parse::<Address>().unwrap_err().to_string(), reason, "{text}");
        }
    }

    #[test]
    fn the_uri_tells_whether_to_use_tls() {
        let uri = |text: &str| text.parse::<Address>().expect(text).uri();
        assert_eq!(uri("host"), "http://host:30650");
        assert_eq!(uri("grpcs://[::1]:1"), "https://[::1]:1");
        assert_eq!(uri("unix:///a/b"), "unix:///a/b");
    }
}
