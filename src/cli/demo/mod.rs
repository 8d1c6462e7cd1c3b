//! `muster demo`: three replicas and a small fleet on this machine, to look at or to be convinced by.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use muster_proto::license_v2::ActivateRequest;
use time::format_description::well_known::Iso8601;
use time::{Duration as Days, OffsetDateTime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::output::{self, Exit, Failure};
use crate::activation::{self, Claims};
use crate::clock::{self, Clock, SystemClock};
use crate::entropy::{self, SystemEntropy};

mod members;
mod proof;
mod replicas;

use members::Fleet;
use replicas::{Replicas, Shared, write_secret};

const LICENSE_DAYS: i64 = 30;
const LICENSE_BITS: usize = 2048;
const INTERVAL: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(20);
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// The whole of `--once`.
const ONCE_LIMIT: Duration = Duration::from_mins(1);

/// Start three replicas on this machine with a self-issued license and a small fleet that beats.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Folder for all data, kept for the next time; a temporary one if not given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Clusters that register and beat.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    members: u16,
    /// Kill the leader under load, check that nothing acknowledged was lost, print a summary and end.
    #[arg(long)]
    once: bool,
}

/// Runs `muster demo`.
pub(super) fn run(command: &Demo) -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start").because(&error).exit(Exit::Internal))?
        .block_on(command.run())
}

impl Demo {
    async fn run(&self) -> Result<(), Failure> {
        let temporary;
        let folder = if let Some(folder) = &self.data {
            fs::create_dir_all(folder).map_err(|error| cannot_keep(folder, &error))?;
            folder.as_path()
        } else {
            let made = tempfile::Builder::new().prefix("muster-demo-").tempdir();
            temporary = made
                .map_err(|error| Failure::new("cannot make a temporary folder").because(&error))?;
            temporary.path()
        };
        // Interrupted at any moment, the processes end with `replicas` and then the folder goes.
        let end = Instant::now() + ONCE_LIMIT;
        let (mut replicas, mut fleet, until) = tokio::select! {
            started = self.start(folder) => started?,
            interrupted = interrupted() => return Err(interrupted),
        };
        if self.once {
            let walked = tokio::select! {
                walked = tokio::time::timeout_at(end, proof::walk(&mut replicas, &mut fleet, &until)) => {
                    let late = format!("not done within {} s", ONCE_LIMIT.as_secs());
                    walked.unwrap_or_else(|_| Err(Failure::new(late)))
                }
                interrupted = interrupted() => Err(interrupted),
            };
            replicas.kill_all().await;
            return walked;
        }
        fleet.beat(INTERVAL);
        self.welcome(folder, &replicas, &until)?;
        let ended = tokio::select! {
            failed = tend(&mut replicas) => Err(failed),
            _ = interrupted() => Ok(()),
        };
        fleet.stop().await;
        output::note("stopping");
        replicas.stop().await;
        ended
    }

    /// Replicas with a license, and a registered fleet. Also says until when the license holds.
    async fn start(&self, folder: &Path) -> Result<(Replicas, Fleet, String), Failure> {
        let kept = Kept::load(folder).map_err(|error| cannot_keep(folder, &error))?;
        output::note("starting three replicas");
        let shared = Shared { license_public_key: &kept.public_key, bootstrap_token: &kept.token };
        let replicas = Replicas::start(folder, &shared).await?;
        let now = OffsetDateTime::from_unix_timestamp(clock::to_message(SystemClock.now()).seconds);
        let until = now.unwrap_or(OffsetDateTime::UNIX_EPOCH) + Days::days(LICENSE_DAYS);
        activate(&replicas, &kept.private_key, until).await?;
        let run = entropy::uuid(&SystemEntropy);
        let mut fleet = Fleet::new(run, kept.fleet_secret, replicas.licenses());
        fleet.register(self.members.into()).await?;
        Ok((replicas, fleet, until.date().format(&Iso8601::DATE).unwrap_or_default()))
    }

    fn welcome(&self, folder: &Path, replicas: &Replicas, until: &str) -> Result<(), Failure> {
        let apis = replicas.names().zip(replicas.addresses()).zip(replicas.ops_addresses());
        let replica = |((name, api), ops)| {
            format!("  {name}   API grpc://{api}   metrics http://{ops}/metrics\n")
        };
        let text = format!(
            "Three replicas run; {members} clusters beat every {interval} s. The license ends on {until}.\n\
             \n{apis}\
             \nTry, in another terminal (the first three lines make a context of its own):\n\
             \n  export PACH_CONFIG={folder}/config.json\
             \n  echo '{{\"pachd_address\": \"grpc://{first}\", \"source\": 2}}' | muster config set context demo\
             \n  muster config set active-context demo && muster config set active-enterprise-context demo\
             \n  muster replica list\
             \n  muster fleet list\
             \n  muster license get-state\n\
             \nData and logs are in {folder}{kept}. Kill replicas as you like (they start again); Ctrl-C ends it all.\n",
            members = self.members,
            interval = INTERVAL.as_secs(),
            apis = apis.map(replica).collect::<String>(),
            first = replicas.addresses().next().unwrap_or_default(),
            folder = folder.display(),
            kept = if self.data.is_some() { "" } else { " and go when this ends" },
        );
        output::data(&text)
    }
}

/// What a kept folder needs the next time.
struct Kept {
    private_key: String,
    public_key: String,
    token: String,
    fleet_secret: String,
}

impl Kept {
    /// Reads it, or draws it and writes it down.
    fn load(folder: &Path) -> io::Result<Kept> {
        let key = folder.join("license.key");
        if !key.try_exists()? {
            let pair = activation::keygen(LICENSE_BITS).map_err(io::Error::other)?;
            fs::write(folder.join("license.pub"), &pair.public)?;
            write_secret(&folder.join("bootstrap-token"), &entropy::uuid(&SystemEntropy))?;
            write_secret(&folder.join("fleet-secret"), &entropy::url_secret(&SystemEntropy))?;
            // Last: with it the folder is complete.
            write_secret(&key, &pair.private)?;
        }
        let read = |name: &str| fs::read_to_string(folder.join(name));
        Ok(Kept {
            private_key: read("license.key")?,
            public_key: read("license.pub")?,
            token: read("bootstrap-token")?,
            fleet_secret: read("fleet-secret")?,
        })
    }
}

async fn activate(
    replicas: &Replicas,
    private_key: &str,
    until: OffsetDateTime,
) -> Result<(), Failure> {
    let claims = Claims {
        expiry: prost_types::Timestamp { seconds: until.unix_timestamp(), nanos: 0 },
        customer: "muster demo".to_owned(),
        max_clusters: None,
        grace_days: None,
    };
    let code = activation::issue(private_key, &claims)
        .map_err(|error| Failure::new("cannot issue a license").because(&error))?;
    let end = Instant::now() + PATIENCE;
    let apis = replicas.licenses();
    for mut api in apis.into_iter().cycle() {
        let request = ActivateRequest { activation_code: code.clone(), expires: None };
        match api.activate(request).await {
            Ok(_) => break,
            Err(status) if Instant::now() >= end => {
                return Err(Failure::new("cannot activate the license").cause(status.message()));
            }
            Err(_) => sleep(RETRY_PAUSE).await,
        }
    }
    Ok(())
}

/// Starts replicas again that somebody kills; returns when one gives up by itself.
async fn tend(replicas: &mut Replicas) -> Failure {
    loop {
        if let Err(failure) = replicas.revive() {
            return failure;
        }
        sleep(RETRY_PAUSE).await;
    }
}

/// Returns when somebody wants this to end.
async fn interrupted() -> Failure {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return Failure::new("cannot listen to signals").exit(Exit::Internal);
    };
    let by = |signal: u8| Failure::new("interrupted").exit_code(128 + signal);
    tokio::select! {
        _ = interrupt.recv() => by(2),
        _ = terminate.recv() => by(15),
    }
}

fn cannot_keep(folder: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot keep the demo's data in {}", folder.display())).because(error)
}
