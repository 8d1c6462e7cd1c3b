//! Opens gRPC connections to Pachyderm servers, Muster among them, as every client of theirs does:
//! one connection, TLS by the address, messages up to 20 MiB.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::address::Address;

/// The largest message either way, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 20 << 20;

/// How long a connection may take to open.
pub const DIAL_LIMIT: Duration = Duration::from_secs(30);

/// Whose signature on a server's certificate is trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Roots {
    /// What the machine trusts.
    #[default]
    System,
    /// Only these certificates, in PEM.
    Pem(Vec<u8>),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The address or the trusted certificates cannot be used.
    #[error("cannot dial {address}: {reason}")]
    Unusable {
        /// The canonical address.
        address: Address,
        /// What is wrong with it.
        reason: String,
    },
    /// The server's certificate is not one to be trusted; trying again would not help.
    #[error("{address} does not prove who it is: {reason}")]
    Untrusted {
        /// The canonical address.
        address: Address,
        /// What the TLS library says.
        reason: String,
    },
    /// The time is over.
    #[error("{address} did not answer in time: {reason}")]
    TimedOut {
        /// The canonical address.
        address: Address,
        /// How the last attempt ended.
        reason: String,
    },
}

impl DialError {
    /// How the last attempt ended.
    pub fn reason(&self) -> &str {
        match self {
            DialError::Unusable { reason, .. }
            | DialError::Untrusted { reason, .. }
            | DialError::TimedOut { reason, .. } => reason,
        }
    }
}

/// Connects within `limit`, trying again while the server does not listen. `waiting` hears why
/// each attempt failed.
pub async fn connect(
    address: &Address,
    roots: &Roots,
    limit: Duration,
    waiting: impl Fn(&str),
) -> Result<Channel, DialError> {
    let endpoint = endpoint(address, roots)?;
    let mut reason = "no attempt ended".to_owned();
    let attempts = async {
        let mut pause = Duration::from_millis(100);
        loop {
            match endpoint.connect().await {
                Ok(channel) => return Ok(channel),
                Err(error) if is_about_trust(&error) => {
                    let (address, reason) = (address.clone(), innermost(&error));
                    return Err(DialError::Untrusted { address, reason });
                }
                Err(error) => {
                    reason = innermost(&error);
                    waiting(&reason);
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    };
    match tokio::time::timeout(limit, attempts).await {
        Ok(result) => result,
        Err(_) => Err(DialError::TimedOut { address: address.clone(), reason }),
    }
}

fn endpoint(address: &Address, roots: &Roots) -> Result<Endpoint, DialError> {
    let unusable = |error: tonic::transport::Error| DialError::Unusable {
        address: address.clone(),
        reason: innermost(&error),
    };
    let mut endpoint = Endpoint::from_shared(address.uri())
        .and_then(|endpoint| endpoint.user_agent(concat!("muster/", env!("CARGO_PKG_VERSION"))))
        .map_err(unusable)?
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    if let Address::Tcp { host, secured: true, .. } = address {
        let tls = ClientTlsConfig::new().domain_name(host);
        let tls = match roots {
            Roots::System => tls.with_native_roots(),
            Roots::Pem(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
        };
        endpoint = endpoint.tls_config(tls).map_err(unusable)?;
    }
    Ok(endpoint)
}

/// The reason at the end of the chain, which is the one that says something.
fn innermost(error: &tonic::transport::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = error.to_string();
        next = error.source();
    }
    text
}

fn is_about_trust(error: &tonic::transport::Error) -> bool {
    let mut next = error.source();
    while let Some(error) = next {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let is_inner =
            inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>);
        if is_inner || error.is::<rustls::Error>() {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_does_not_listen_is_tried_until_the_limit() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address: Address = listener.local_addr().unwrap().to_string().parse().unwrap();
        drop(listener);
        let tried = std::cell::Cell::new(0);
        let error = connect(&address, &Roots::System, Duration::from_secs(1), |reason| {
            tried.set(tried.get() + 1);
            assert!(reason.contains("refused"), "{reason}");
        })
        .await
        .unwrap_err();
        assert!(tried.get() >= 2);
        assert!(matches!(error, DialError::TimedOut { .. }), "{error}");
    }

    #[test]
    fn roots_that_are_no_pem_are_refused() {
        let address: Address = "grpcs://localhost:1".parse().unwrap();
        let roots =
            Roots::Pem(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----".to_vec());
        assert!(matches!(endpoint(&address, &roots), Err(DialError::Unusable { .. })));
    }
}
