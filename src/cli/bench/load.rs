//! A closed loop: so many clients, each of which sends its next request when the last is answered.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::histogram::Histogram;
use crate::address::Address;
use crate::cli::output::Failure;
use crate::dial::{self, Roots};

const DIAL_LIMIT: Duration = Duration::from_secs(10);
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// After an error, so that a server that refuses is not stormed.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// How much to send, and where to.
#[derive(Clone, Debug, Args)]
pub(super) struct Load {
    /// Clients that send at the same time, one request each.
    #[arg(long, value_name = "C", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) clients: u32,
    /// Connections that the clients share, spread over the targets.
    #[arg(long, value_name = "K", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) connections: u32,
    /// Threads that the clients share: what they take, servers on the same machine lack.
    #[arg(long, value_name = "T", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) threads: u32,
    /// How long to measure.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) seconds: u32,
    /// How long to send before measuring.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(super) warm_up: u32,
    /// Addresses of the servers, such as 127.0.0.1:31650; grpcs:// for TLS.
    #[arg(long, value_name = "ADDRESS", required = true, num_args = 1.., value_delimiter = ',')]
    target: Vec<Address>,
    /// Certificates (PEM) to trust instead of the machine's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print one line of JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// What came of a load.
pub(super) struct Measured {
    pub(super) window: Duration,
    pub(super) latencies: Histogram,
    /// Refused and failed requests by their status; none of them is in `latencies`.
    pub(super) errors: BTreeMap<String, u64>,
    /// The longest time in which no client was answered.
    pub(super) silence: Duration,
}

/// Hears of every answer and remembers the longest time without one, microseconds.
struct Silence {
    from: Instant,
    last: AtomicU64,
    longest: AtomicU64,
}

impl Silence {
    fn since(from: Instant) -> Silence {
        Silence { from, last: AtomicU64::new(0), longest: AtomicU64::new(0) }
    }

    fn broken(&self, at: Instant) {
        let now = at.saturating_duration_since(self.from).as_micros();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let last = self.last.fetch_max(now, Ordering::Relaxed);
        self.longest.fetch_max(now.saturating_sub(last), Ordering::Relaxed);
    }

    /// With what is silent still at the end.
    fn longest(&self, to: Instant) -> Duration {
        self.broken(to);
        Duration::from_micros(self.longest.load(Ordering::Relaxed))
    }
}

impl Load {
    /// Opens the connections.
    pub(super) async fn connect(&self) -> Result<Vec<Channel>, Failure> {
        let roots = match &self.ca {
            None => Roots::System,
            Some(path) => Roots::Pem(fs::read(path).map_err(|error| {
                Failure::new(format!("cannot read {}", path.display())).because(&error)
            })?),
        };
        let mut channels = Vec::new();
        let wanted = self.connections.min(self.clients) as usize;
        for target in self.target.iter().cycle().take(wanted.max(self.target.len())) {
            let channel = dial::connect(target, &roots, DIAL_LIMIT, |_| {}).await;
            channels.push(channel.map_err(|error| {
                Failure::new(format!("cannot connect to {target}")).because(&error)
            })?);
        }
        Ok(channels)
    }

    /// As [`Load::drive`], but only for as long as `work` takes, if that is sooner.
    pub(super) async fn drive_while<C, T>(
        &self,
        client: impl FnMut(u32) -> C,
        work: impl Future<Output = T>,
    ) -> (Measured, T)
    where
        C: AsyncSend + Send + 'static,
    {
        let over = Arc::new(AtomicBool::new(false));
        let work = async {
            // Not while the clients still warm up.
            tokio::time::sleep(Duration::from_secs(self.warm_up.into())).await;
            let begun = Instant::now();
            let done = work.await;
            over.store(true, Ordering::Relaxed);
            (begun.elapsed(), done)
        };
        let (mut measured, (took, done)) =
            tokio::join!(self.drive_until(client, Arc::clone(&over)), work);
        measured.window = measured.window.min(took);
        (measured, done)
    }

    /// Runs the loop. `client` makes the client number n; it is called with the request's number,
    /// which rises by one with each of its requests.
    pub(super) async fn drive<C>(&self, client: impl FnMut(u32) -> C) -> Measured
    where
        C: AsyncSend + Send + 'static,
    {
        self.drive_until(client, Arc::default()).await
    }

    async fn drive_until<C>(
        &self,
        mut client: impl FnMut(u32) -> C,
        over: Arc<AtomicBool>,
    ) -> Measured
    where
        C: AsyncSend + Send + 'static,
    {
        let window = Duration::from_secs(self.seconds.into());
        let from = Instant::now() + Duration::from_secs(self.warm_up.into());
        let to = from + window;
        let silence = Arc::new(Silence::since(from));
        let mut running = JoinSet::new();
        for number in 0..self.clients {
            let client = one(client(number), from, to, Arc::clone(&over), Arc::clone(&silence));
            running.spawn(client);
        }
        let mut measured = Measured::nothing();
        measured.window = window;
        while let Some(ended) = running.join_next().await {
            let Ok((latencies, errors)) = ended else { continue };
            measured.latencies.add(&latencies);
            for (code, count) in errors {
                *measured.errors.entry(format!("{code:?}")).or_default() += count;
            }
        }
        measured.silence = silence.longest(Instant::now().min(to));
        measured
    }
}

impl Measured {
    /// What nothing came of yet.
    pub(super) fn nothing() -> Measured {
        let (window, silence) = (Duration::ZERO, Duration::ZERO);
        Measured { window, latencies: Histogram::new(), errors: BTreeMap::new(), silence }
    }

    /// Takes another round in.
    pub(super) fn add(&mut self, other: Measured) {
        self.window += other.window;
        self.latencies.add(&other.latencies);
        self.silence = self.silence.max(other.silence);
        for (code, count) in other.errors {
            *self.errors.entry(code).or_default() += count;
        }
    }

    /// Answers per second.
    #[expect(clippy::cast_precision_loss, reason = "no rate is near 2^52")]
    pub(super) fn rate(&self) -> f64 {
        self.latencies.total() as f64 / self.window.as_secs_f64()
    }
}

/// Sends requests 0 to `count`, at most `room` at a time, spread over the channels.
///
/// # Errors
/// The first that failed; later ones are not begun then.
pub(super) async fn in_parallel<F>(
    channels: &[Channel],
    count: u64,
    room: usize,
    request: impl Fn(Channel, u64) -> F,
) -> Result<(), Status>
where
    F: Future<Output = Result<(), Status>> + Send + 'static,
{
    let mut running = JoinSet::new();
    let mut failed = None;
    for (number, channel) in (0..count).zip(channels.iter().cycle()) {
        if running.len() >= room
            && let Some(ended) = running.join_next().await
        {
            failed = failed.or(ended.ok().and_then(Result::err));
        }
        if failed.is_some() {
            break;
        }
        running.spawn(request(channel.clone(), number));
    }
    while let Some(ended) = running.join_next().await {
        failed = failed.or(ended.ok().and_then(Result::err));
    }
    failed.map_or(Ok(()), Err)
}

/// A client that sends one request at a time.
pub(super) trait AsyncSend {
    /// Sends its request number `number`, from 0.
    fn send(&mut self, number: u64) -> impl Future<Output = Result<(), Status>> + Send;
}

async fn one(
    mut client: impl AsyncSend,
    from: Instant,
    to: Instant,
    over: Arc<AtomicBool>,
    silence: Arc<Silence>,
) -> (Histogram, Vec<(Code, u64)>) {
    let mut latencies = Histogram::new();
    let mut errors: Vec<(Code, u64)> = Vec::new();
    for number in 0.. {
        let start = Instant::now();
        if start >= to || over.load(Ordering::Relaxed) {
            break;
        }
        let sent = tokio::time::timeout(REQUEST_LIMIT, client.send(number)).await;
        let end = Instant::now();
        let counts = start >= from && end <= to && !over.load(Ordering::Relaxed);
        match sent.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer"))) {
            Ok(()) if counts => {
                latencies.record(end - start);
                silence.broken(end);
            }
            Ok(()) => {}
            Err(status) => {
                match errors.iter_mut().find(|(code, _)| *code == status.code()) {
                    Some((_, count)) => *count += 1,
                    None => errors.push((status.code(), 1)),
                }
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
    (latencies, errors)
}
