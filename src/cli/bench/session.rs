//! Tokens and roles: `WhoAmI` and `Authorize` beside heartbeats, in interleaved rounds of one run.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use muster_proto::auth_v2::api_client::ApiClient as AuthClient;
use muster_proto::auth_v2::{
    AuthorizeRequest, DeleteExpiredAuthTokensRequest, ModifyRoleBindingRequest, Permission,
    Resource, ResourceType, RestoreAuthTokenRequest, TokenInfo, WhoAmIRequest,
};
use prost_types::Timestamp;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::heartbeat::{Fleet, Member};
use super::load::{AsyncSend, Load, Measured, in_parallel};
use crate::cli::output::{self, Failure};
use crate::clock::{Clock as _, SystemClock};
use crate::entropy::{self, SystemEntropy};
use crate::state::secret;

/// Preparing requests under way at a time.
const PREPARERS: usize = 512;
/// How long the tokens live that stay: the server forgets them by itself.
const LIFE: Duration = Duration::from_hours(24);
/// What one restored token may take at the most: how long the short-lived ones live.
const RESTORE_EACH: Duration = Duration::from_millis(1);

/// Measure sessions: restore tokens and bind roles, then ask who has them beside heartbeats. The
/// servers need auth.
#[derive(Debug, Args)]
pub(in crate::cli) struct Session {
    #[command(flatten)]
    pub(super) load: Load,
    /// File with a token that has clusterAdmin.
    #[arg(long, env = "MUSTER_BENCH_TOKEN_FILE", value_name = "FILE")]
    token_file: PathBuf,
    /// Tokens to restore, each of which asks in turn; they live for a day.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(super) tokens: u64,
    /// Owners of tokens to give a role on the server, which stays.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=200_000))]
    bindings: u64,
    /// Clusters to register for the heartbeats.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    clusters: u64,
    /// Rounds of heartbeats, `WhoAmI` and `Authorize`, each as long as told.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// More tokens, which expire and are forgotten while `WhoAmI` is measured; 0: none.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    expiring: u64,
}

/// One part of the run by its name.
pub(super) type Part = (&'static str, Measured);

impl Session {
    /// Prepares and measures: heartbeats first, then what is compared with them.
    pub(super) async fn measure(&self) -> Result<Vec<Part>, Failure> {
        let token = read_token(&self.token_file)?;
        let channels = self.load.connect().await?;
        let run = entropy::uuid(&SystemEntropy);
        let bench = Bench { channels, token, run };
        let fleet = Fleet::draw(Some(bench.token.clone()));
        fleet.register(&bench.channels, self.clusters).await?;
        bench.restore("", self.tokens, LIFE).await?;
        bench.bind(self.bindings).await?;

        let mut parts: [Part; 3] = [
            ("heartbeat", Measured::nothing()),
            ("whoami", Measured::nothing()),
            ("authorize", Measured::nothing()),
        ];
        let [beats, whoami, authorize] = &mut parts;
        for _ in 0..self.rounds {
            beats.1.add(
                self.load
                    .drive(Member::of(&fleet, &bench.channels, self.clusters, &self.load))
                    .await,
            );
            whoami.1.add(self.load.drive(bench.asker(self, Question::WhoAmI)).await);
            authorize.1.add(self.load.drive(bench.asker(self, Question::Authorize)).await);
        }
        let mut parts = Vec::from(parts);
        if self.expiring > 0 {
            parts.extend(self.sweep(&bench).await?);
        }
        Ok(parts)
    }

    /// The same questions while nothing else happens, and while expired tokens are forgotten.
    async fn sweep(&self, bench: &Bench) -> Result<[Part; 2], Failure> {
        let count = u32::try_from(self.expiring).unwrap_or(u32::MAX);
        let life = RESTORE_EACH * count + Duration::from_secs(10);
        let expired = Instant::now() + life;
        bench.restore("short-", self.expiring, life).await?;
        let calm = self.load.drive(bench.asker(self, Question::WhoAmI)).await;
        tokio::time::sleep_until(expired + Duration::from_secs(1)).await;
        let swept = bench.forget_expired();
        let (sweeping, swept) =
            self.load.drive_while(bench.asker(self, Question::WhoAmI), swept).await;
        swept.map_err(|status| failed("forget expired tokens", &status))?;
        output::note(&format!("forgot {count} tokens in {:.1} s", sweeping.window.as_secs_f64()));
        Ok([("whoami, calm", calm), ("whoami, sweep", sweeping)])
    }
}

/// What every part of the run needs.
struct Bench {
    channels: Vec<Channel>,
    token: MetadataValue<Ascii>,
    run: String,
}

impl Bench {
    /// Puts tokens in place by their digests, as from a backup.
    async fn restore(&self, kind: &str, count: u64, life: Duration) -> Result<(), Failure> {
        let begun = Instant::now();
        let ends = SystemClock.now().0 / 1_000_000 + life.as_secs();
        let expiration = Timestamp { seconds: i64::try_from(ends).unwrap_or(i64::MAX), nanos: 0 };
        let restored = in_parallel(&self.channels, count, PREPARERS, |channel, number| {
            let text = format!("{kind}{}", self.text(number));
            let info = TokenInfo {
                subject: subject(number),
                expiration: Some(expiration),
                hashed_token: hex::encode(secret::token_digest(text)),
            };
            let request = self.signed(RestoreAuthTokenRequest { token: Some(info) });
            async move { AuthClient::new(channel).restore_auth_token(request).await.map(drop) }
        });
        restored.await.map_err(|status| failed("restore a token", &status))?;
        let seconds = begun.elapsed().as_secs_f64();
        output::note(&format!("restored {count} tokens in {seconds:.1} s"));
        Ok(())
    }

    /// Gives each owner a role.
    async fn bind(&self, count: u64) -> Result<(), Failure> {
        let begun = Instant::now();
        let bound = in_parallel(&self.channels, count, PREPARERS, |channel, number| {
            let request = self.signed(ModifyRoleBindingRequest {
                resource: Some(server()),
                principal: subject(number),
                roles: vec!["licenseAdmin".to_owned()],
            });
            async move { AuthClient::new(channel).modify_role_binding(request).await.map(drop) }
        });
        bound.await.map_err(|status| failed("bind a role", &status))?;
        output::note(&format!("bound {count} roles in {:.1} s", begun.elapsed().as_secs_f64()));
        Ok(())
    }

    /// One call may not last long enough for all.
    fn forget_expired(&self) -> impl Future<Output = Result<(), Status>> + Send + 'static {
        let channel = self.channels.first().cloned();
        let token = self.token.clone();
        async move {
            let channel = channel.ok_or_else(|| Status::internal("no connection"))?;
            let request = signed(DeleteExpiredAuthTokensRequest {}, &token);
            AuthClient::new(channel).delete_expired_auth_tokens(request).await.map(drop)
        }
    }

    /// Makes clients, each of which asks with every token in turn.
    fn asker(&self, session: &Session, question: Question) -> impl FnMut(u32) -> Asker {
        let mut channels = self.channels.clone().into_iter().cycle();
        let (all, step) = (session.tokens, u64::from(session.load.clients));
        let run = self.run.clone();
        move |number| Asker {
            api: channels.next().map(AuthClient::new),
            question,
            run: run.clone(),
            first: u64::from(number),
            step,
            all,
        }
    }

    fn text(&self, number: u64) -> String {
        text(&self.run, number)
    }

    fn signed<T>(&self, message: T) -> Request<T> {
        signed(message, &self.token)
    }
}

/// What is asked.
#[derive(Clone, Copy)]
enum Question {
    WhoAmI,
    Authorize,
}

/// One client.
struct Asker {
    api: Option<AuthClient<Channel>>,
    question: Question,
    run: String,
    first: u64,
    step: u64,
    all: u64,
}

impl AsyncSend for Asker {
    async fn send(&mut self, number: u64) -> Result<(), Status> {
        let api = self.api.as_mut().ok_or_else(|| Status::internal("no connection"))?;
        let number = self.first.wrapping_add(number.wrapping_mul(self.step)) % self.all;
        let token = text(&self.run, number)
            .parse()
            .map_err(|_| Status::internal("the token is no metadata"))?;
        match self.question {
            Question::WhoAmI => api.who_am_i(signed(WhoAmIRequest {}, &token)).await.map(drop),
            Question::Authorize => {
                let request = AuthorizeRequest {
                    resource: Some(server()),
                    permissions: vec![Permission::ClusterLicenseListClusters.into()],
                };
                api.authorize(signed(request, &token)).await.map(drop)
            }
        }
    }
}

fn text(run: &str, number: u64) -> String {
    format!("bench-{run}-{number}")
}

fn subject(number: u64) -> String {
    format!("robot:bench-{number}")
}

fn server() -> Resource {
    Resource { r#type: ResourceType::Cluster.into(), name: String::new() }
}

pub(super) fn signed<T>(message: T, token: &MetadataValue<Ascii>) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authn-token", token.clone());
    request
}

fn read_token(path: &Path) -> Result<MetadataValue<Ascii>, Failure> {
    let what = || Failure::new(format!("cannot read a token from {}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| what().because(&error))?;
    text.trim().parse().map_err(|_| what().cause("it holds more than visible ASCII characters"))
}

fn failed(what: &str, status: &Status) -> Failure {
    Failure::new(format!("cannot {what}")).cause(status.message())
}
