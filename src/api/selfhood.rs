//! Whether an address is this server itself. `pachctl license activate` names the server that it
//! talks to `grpc://localhost:1653`, whatever its address; that and every address of our own is served
//! in process, never dialled.

use std::time::Duration;

use muster_proto::admin_v2::InspectClusterRequest;
use muster_proto::admin_v2::api_client::ApiClient;
use tokio::time::Instant;
use tonic::Status;

use crate::address::{Address, AddressError};
use crate::dial::{self, Roots};

/// Ports on the machine itself that always mean the server itself.
const OWN_PORTS: [u16; 2] = [1653, 653];

/// The longest that another server may take to say who it is.
const DIAL_MAX: Duration = Duration::from_secs(10);

/// The addresses of this server.
#[derive(Clone, Debug)]
pub struct Selfhood {
    port: u16,
    others: Vec<Address>,
}

impl Selfhood {
    /// A server that listens on `port`, known under `others` too; what is no address is left out.
    pub fn new(port: u16, others: &[String]) -> Selfhood {
        Selfhood { port, others: others.iter().filter_map(|text| text.parse().ok()).collect() }
    }

    /// Whether `address` is known to be this server.
    fn knows(&self, address: &Address) -> bool {
        let Address::Tcp { host, port, .. } = address else { return false };
        let here = matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1");
        if here && (OWN_PORTS.contains(port) || *port == self.port) {
            return true;
        }
        self.others.iter().any(|own| match own {
            Address::Tcp { host: own_host, port: own_port, .. } => {
                own_host == host && own_port == port
            }
            Address::Unix { .. } => false,
        })
    }

    /// Settles whether `license_server` is this server, by asking it if need be; if it is another one,
    /// gives its address.
    ///
    /// # Errors
    /// When it is none that answers in time, or no address.
    pub(super) async fn other(
        &self,
        license_server: &str,
        cluster_id: &str,
        deadline: Instant,
    ) -> Result<Option<Address>, Status> {
        let address: Address = license_server.parse().map_err(|error: AddressError| {
            let reason = error.reason();
            Status::invalid_argument(format!("could not parse the pachd address: {reason}"))
        })?;
        if self.knows(&address) {
            return Ok(None);
        }
        let deadline = deadline.min(Instant::now() + DIAL_MAX);
        let asked = tokio::time::timeout_at(deadline, ask(&address)).await;
        let id = asked.map_err(|_| unreachable_server("context deadline exceeded"))??;
        let is_this_one = id == cluster_id && !id.is_empty();
        Ok((!is_this_one).then_some(address))
    }
}

/// The id that the server at `address` gives itself.
async fn ask(address: &Address) -> Result<String, Status> {
    let channel = dial::connect(address, &Roots::System, DIAL_MAX, |_| ())
        .await
        .map_err(|_| unreachable_server("it cannot be connected to"))?;
    let info = ApiClient::new(channel)
        .inspect_cluster(InspectClusterRequest::default())
        .await
        .map_err(|_| unreachable_server("it does not say who it is"))?;
    Ok(info.into_inner().id)
}

/// The other server's own words stay out of it: they might hold a text that clients match.
fn unreachable_server(reason: &str) -> Status {
    Status::unavailable(format!("the license server was not reached: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knows(text: &str) -> bool {
        let own = ["grpcs://muster.example".to_owned(), "pach-enterprise.ns:31650".to_owned()];
        Selfhood::new(31650, &own).knows(&text.parse().unwrap())
    }

    #[test]
    fn upstreams_names_for_the_server_itself_are_itself() {
        assert!(knows("grpc://localhost:1653"));
        assert!(knows("grpc://localhost:653"));
        assert!(knows("127.0.0.1:31650"));
        assert!(!knows("grpc://localhost:1650"));
    }

    #[test]
    fn own_addresses_are_itself_with_any_scheme_and_only_on_their_port() {
        assert!(knows("muster.example"));
        assert!(knows("grpc://pach-enterprise.ns:31650"));
        assert!(!knows("grpc://pach-enterprise.ns"));
        assert!(!knows("grpc://elsewhere:1653"));
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_refused_by_its_reason() {
        let own = Selfhood::new(1, &[]);
        let error = own.other("", "id", Instant::now()).await.unwrap_err();
        assert_eq!(
            error.message(),
            "could not parse the pachd address: no pachd address specified"
        );
    }

    #[tokio::test]
    async fn a_server_that_cannot_be_reached_is_unavailable() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("grpc://{}", listener.local_addr().unwrap());
        drop(listener);
        let own = Selfhood::new(1, &[]);
        let deadline = Instant::now() + Duration::from_millis(300);
        let error = own.other(&address, "id", deadline).await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::Unavailable);
    }
}
