//! A snapshot that was taken while a replica was down, verified, and brought to life again as a group
//! of its own, beside the one that goes on.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use muster_proto::license_v2::ListClustersRequest;
use muster_proto::license_v2::api_client::ApiClient;
use tokio::time::{Instant, sleep};
use tonic::transport::Endpoint;

use super::replicas::Replicas;
use super::stage::text;
use super::tools::run;

/// On the loopback of the clients: gRPC, probes, peers.
const PORTS: [u16; 3] = [26650, 26656, 26659];
/// How long the restored replica may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Restores what `at` saves now.
pub(super) async fn restore(replicas: &Replicas, at: usize) -> Result<(), String> {
    let say = |line: &[&str]| run(line).map_err(|error| error.to_string());
    let (path, _) = replicas.save(at).await?;
    let folder = replicas.stage.folder.join("restored");
    let _gone = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let file = folder.join("snapshot");
    fs::copy(&path, &file).map_err(|error| format!("{path}: {error}"))?;
    let (muster, data) = (text(replicas.binary()), folder.join("data"));
    say(&[&muster, "snapshot", "verify", &text(&file)])?;
    say(&[&muster, "snapshot", "restore", &text(&file), "--data", &text(&data)])?;
    let log = OpenOptions::new().create(true).append(true).open(folder.join("log"));
    let log = log.map_err(|error| error.to_string())?;
    let listen = |which: usize| format!("127.0.0.1:{}", PORTS.get(which).unwrap_or(&0));
    let mut child = Command::new(&muster)
        .env_clear()
        .args(["serve", "--grpc-listen", &listen(0), "--ops-listen", &listen(1)])
        .args(["--peer-listen", &listen(2), "--data"])
        .arg(&data)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|error| error.to_string())?;
    let answered = ask(&listen(0)).await;
    let _dead = child.kill();
    let _reaped = child.wait();
    answered
}

async fn ask(address: &str) -> Result<(), String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let channel = endpoint.map_err(|error| error.to_string())?.connect_lazy();
    let until = Instant::now() + PATIENCE;
    loop {
        let asked = ApiClient::new(channel.clone()).list_clusters(ListClustersRequest {}).await;
        match asked {
            Ok(_) => return Ok(()),
            Err(status) if Instant::now() > until => {
                return Err(format!("the restored group does not answer: {status}"));
            }
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}
