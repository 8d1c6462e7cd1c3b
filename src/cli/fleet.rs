//! `muster fleet …`: the registered clusters as an operator sees them.

use clap::{Args, Subcommand};
use muster_proto::muster::v1::{FleetCluster, ListRequest, ListResponse};
use prost_types::Timestamp;
use serde_json::{Value, json};

use super::go;
use super::output::{self, Failure};
use super::pachctl::connect::{Invocation, Server};
use super::remote::{Format, Remote, refused};
use super::table::{or_dash, sheet, span, table};

/// All registered clusters.
#[derive(Debug, Subcommand)]
pub(super) enum Fleet {
    /// List the registered clusters with their last heartbeats.
    List(List),
    /// Print all that is known of one cluster.
    Describe(Describe),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only clusters whose id begins so.
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
    /// Only clusters that never sent a heartbeat.
    #[arg(long)]
    silent: bool,
    /// At most so many.
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub(super) struct Describe {
    /// Id of the cluster.
    id: String,
    #[command(flatten)]
    remote: Remote,
}

pub(super) async fn run(command: Fleet, invocation: &Invocation) -> Result<(), Failure> {
    match command {
        Fleet::List(command) => command.run(invocation).await,
        Fleet::Describe(command) => command.run(invocation).await,
    }
}

async fn page(server: &Server, request: ListRequest) -> Result<ListResponse, Failure> {
    let answer = server.call(server.fleet().list(request)).await;
    answer.map_err(|status| refused(server, "cannot list the fleet of", &status))
}

impl List {
    async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let server = self.remote.any(invocation).await?;
        let limit = self.limit.unwrap_or(usize::MAX);
        let mut request = ListRequest { id_prefix: self.prefix.clone(), ..ListRequest::default() };
        let mut clusters = Vec::new();
        let mut last;
        loop {
            last = page(&server, request.clone()).await?;
            let wanted = std::mem::take(&mut last.clusters)
                .into_iter()
                .filter(|cluster| !self.silent || cluster.last_heartbeat.is_none());
            clusters.extend(wanted);
            if last.next_page_token.is_empty() || clusters.len() >= limit {
                break;
            }
            request.page_token.clone_from(&last.next_page_token);
        }
        clusters.truncate(limit);
        output::data(&match self.remote.output {
            Format::Table => list(&clusters, &last),
            Format::Json => {
                let clusters: Vec<_> = clusters.iter().map(cluster_json).collect();
                let value =
                    json!({ "clusters": clusters, "total": last.total, "index": last.index });
                format!("{value:#}\n")
            }
        })
    }
}

impl Describe {
    async fn run(self, invocation: &Invocation) -> Result<(), Failure> {
        let server = self.remote.any(invocation).await?;
        // The id itself comes first among all that begin with it.
        let request =
            ListRequest { id_prefix: self.id.clone(), page_size: 1, ..ListRequest::default() };
        let answer = page(&server, request).await?;
        let found = answer.clusters.iter().find(|cluster| cluster.id == self.id);
        let cluster = found.ok_or_else(|| {
            let failure = Failure::new(format!("no cluster is registered as {:?}", self.id));
            match answer.clusters.first() {
                Some(near) => failure.hint(format!("muster fleet describe {}", near.id)),
                None => failure.hint("muster fleet list"),
            }
        })?;
        output::data(&match self.remote.output {
            Format::Table => describe(cluster, answer.time.as_ref()),
            Format::Json => format!("{:#}\n", cluster_json(cluster)),
        })
    }
}

/// How long before `now`, in the server's own time.
fn age(time: Option<&Timestamp>, now: Option<&Timestamp>) -> String {
    let (Some(time), Some(now)) = (time, now) else { return "-".to_owned() };
    let milliseconds =
        (now.seconds - time.seconds) * 1000 + i64::from(now.nanos - time.nanos) / 1_000_000;
    format!("{} ago", span(u64::try_from(milliseconds).unwrap_or(0)))
}

fn list(clusters: &[FleetCluster], answer: &ListResponse) -> String {
    let rows: Vec<_> = clusters
        .iter()
        .map(|cluster| {
            [
                cluster.id.clone(),
                or_dash(&cluster.version),
                if cluster.auth_enabled { "on" } else { "off" }.to_owned(),
                age(cluster.last_heartbeat.as_ref(), answer.time.as_ref()),
                cluster.address.clone(),
            ]
        })
        .collect();
    format!(
        "{}{} of {} clusters\n",
        table(["ID", "VERSION", "AUTH", "LAST BEAT", "ADDRESS"], &rows),
        clusters.len(),
        answer.total
    )
}

fn describe(cluster: &FleetCluster, now: Option<&Timestamp>) -> String {
    let beat = match &cluster.last_heartbeat {
        None => "never".to_owned(),
        Some(time) => format!("{} ({})", go::rfc3339_or_nil(Some(time)), age(Some(time), now)),
    };
    sheet(&[
        ("id", cluster.id.clone()),
        ("address", cluster.address.clone()),
        ("user address", or_dash(&cluster.user_address)),
        ("deployment id", or_dash(&cluster.cluster_deployment_id)),
        ("enterprise server", if cluster.enterprise_server { "yes" } else { "no" }.to_owned()),
        ("version", or_dash(&cluster.version)),
        ("auth", if cluster.auth_enabled { "on" } else { "off" }.to_owned()),
        ("client id", or_dash(&cluster.client_id)),
        ("registered", go::rfc3339_or_nil(cluster.created_at.as_ref())),
        ("last heartbeat", beat),
    ])
}

fn cluster_json(cluster: &FleetCluster) -> Value {
    let time = |time: &Option<Timestamp>| time.as_ref().map(|time| go::rfc3339_or_nil(Some(time)));
    json!({
        "id": cluster.id,
        "address": cluster.address,
        "user_address": cluster.user_address,
        "cluster_deployment_id": cluster.cluster_deployment_id,
        "enterprise_server": cluster.enterprise_server,
        "version": cluster.version,
        "auth_enabled": cluster.auth_enabled,
        "client_id": cluster.client_id,
        "created_at": time(&cluster.created_at),
        "last_heartbeat": time(&cluster.last_heartbeat),
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn cluster() -> FleetCluster {
        FleetCluster {
            id: "payroll".to_owned(),
            address: "grpc://pach:30650".to_owned(),
            version: "2.11.6".to_owned(),
            created_at: Some(Timestamp { seconds: 1_621_622_000, nanos: 0 }),
            last_heartbeat: Some(Timestamp { seconds: 1_621_622_256, nanos: 0 }),
            ..FleetCluster::default()
        }
    }

    #[test]
    fn ages_are_told_in_the_servers_time() {
        let answer = ListResponse {
            total: 7,
            time: Some(Timestamp { seconds: 1_621_622_256 + 3_600, nanos: 0 }),
            ..ListResponse::default()
        };
        let silent = FleetCluster { id: "new".to_owned(), ..FleetCluster::default() };
        expect![[r#"
            ID       VERSION  AUTH  LAST BEAT  ADDRESS
            payroll  2.11.6   off   1h00m ago  grpc://pach:30650
            new      -        off   -
            2 of 7 clusters
        "#]]
        .assert_eq(&list(&[cluster(), silent], &answer));
    }

    #[test]
    fn a_cluster_is_described_whole() {
        let now = Timestamp { seconds: 1_621_622_261, nanos: 0 };
        expect![[r#"
            id:                payroll
            address:           grpc://pach:30650
            user address:      -
            deployment id:     -
            enterprise server: no
            version:           2.11.6
            auth:              off
            client id:         -
            registered:        2021-05-21T18:33:20Z
            last heartbeat:    2021-05-21T18:37:36Z (5s ago)
        "#]]
        .assert_eq(&describe(&cluster(), Some(&now)));
    }
}
