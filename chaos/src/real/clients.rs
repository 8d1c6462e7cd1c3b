//! The clients: over the real wire, at any replica, one operation at a time each, and again elsewhere
//! when nobody answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use muster_proto::license_v2::api_client::ApiClient;
use muster_proto::license_v2::{
    ActivateRequest, AddClusterRequest, DeleteClusterRequest, GetActivationCodeRequest,
    HeartbeatRequest, ListClustersRequest, UpdateClusterRequest,
};
use tokio::time::sleep;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::recorder::{End, Recorder};
use crate::chance::Chance;
use crate::history::{ALL, LICENSE, Op, Outcome, Row, Value};

/// Clusters that the clients meet at.
const CLUSTERS: u64 = 6;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it thinks between operations, at most, milliseconds.
const THINK_MS: u64 = 30;
/// How often a client goes on to the next replica although it was answered.
const RESTLESS_PERMILLE: u64 = 30;
/// How often a named request is asked before the client gives it up.
const ATTEMPTS: usize = 8;
/// The end of the first license, seconds; each activation moves it on by one.
const FIRST_END: i64 = 4_000_000_000;

/// What all clients share.
pub(super) struct Crowd {
    pub(super) recorder: Arc<Recorder>,
    pub(super) channels: Vec<Channel>,
    /// How many of these, the first ones, are in the group.
    pub(super) current: Arc<AtomicUsize>,
    pub(super) code: String,
    pub(super) stop: AtomicBool,
}

/// One client.
struct Client {
    crowd: Arc<Crowd>,
    chance: Chance,
    number: u64,
    process: u64,
    turn: usize,
    counter: u64,
}

/// Works until told to stop.
pub(super) async fn work(crowd: Arc<Crowd>, seed: u64, number: u64) {
    let chance = Chance::stream(seed, &format!("client-{number}"));
    let process = crowd.recorder.process();
    let turn = usize::try_from(number).unwrap_or(0);
    let mut client = Client { crowd, chance, number, process, turn, counter: 0 };
    while !client.crowd.stop.load(Ordering::Relaxed) {
        client.operation().await;
        let think = client.chance.below(THINK_MS);
        sleep(Duration::from_millis(think)).await;
    }
}

/// Stores the first license; asked until it is done.
pub(super) async fn activate(crowd: &Arc<Crowd>) -> bool {
    let process = crowd.recorder.process();
    let chance = Chance::stream(0, "first");
    let mut client =
        Client { crowd: Arc::clone(crowd), chance, number: 0, process, turn: 0, counter: 0 };
    for _ in 0..100 {
        if client.attempt(&Wish::activate(FIRST_END)).await {
            return true;
        }
        sleep(Duration::from_millis(100)).await;
    }
    false
}

/// Asks every replica for everything, once nobody writes any more; whether all answered.
pub(super) async fn look_everywhere(crowd: &Arc<Crowd>) -> bool {
    let mut all = true;
    for turn in 0..crowd.current.load(Ordering::Relaxed) {
        for op in [Op::List, Op::License] {
            let process = crowd.recorder.process();
            let chance = Chance::stream(0, "last");
            let crowd = Arc::clone(crowd);
            let mut client = Client { crowd, chance, number: 0, process, turn, counter: 0 };
            all &= client.attempt_at(turn, &Wish::look(op)).await;
        }
    }
    all
}

/// What a client wants.
#[derive(Clone, Debug)]
struct Wish {
    op: Op,
    key: String,
    value: Value,
    request: Option<String>,
}

impl Wish {
    fn look(op: Op) -> Wish {
        let key = if op == Op::List { ALL } else { LICENSE };
        Wish { op, key: key.to_owned(), value: Value::default(), request: None }
    }

    fn activate(end: i64) -> Wish {
        let value = Value { code: Some(end.to_string()), ..Value::default() };
        Wish { op: Op::Activate, key: LICENSE.to_owned(), value, request: None }
    }
}

impl Client {
    async fn operation(&mut self) {
        let wish = self.wish();
        let attempts = if wish.request.is_some() { ATTEMPTS } else { 1 };
        for _ in 0..attempts {
            if self.attempt(&wish).await {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn wish(&mut self) -> Wish {
        self.counter += 1;
        let key = format!("c{}", self.chance.below(CLUSTERS));
        // Most know the secret that is right most of the time.
        let secret = Some(format!("s{}", self.chance.below(8) / 6));
        let name = format!("{}-{}", self.number, self.counter);
        let (op, value, named) = match self.chance.below(100) {
            0..14 => {
                let address = Some(format!("grpc://{name}:30650"));
                (Op::Add, Value { secret, address, ..Value::default() }, true)
            }
            14..24 => {
                let address = Some(format!("grpc://{name}:30650"));
                let secret = secret.filter(|_| self.chance.permille(300));
                (Op::Update, Value { secret, address, ..Value::default() }, true)
            }
            24..32 => (Op::Delete, Value::default(), true),
            32..38 => {
                let end =
                    FIRST_END + i64::try_from(self.number * 100_000 + self.counter).unwrap_or(0);
                return Wish::activate(end);
            }
            38..46 => return Wish::look(Op::List),
            46..50 => return Wish::look(Op::License),
            _ => {
                (Op::Beat, Value { secret, version: Some(name.clone()), ..Value::default() }, false)
            }
        };
        Wish { op, key, value, request: named.then_some(name) }
    }

    /// Asks the replica it stays with, as a member does: until that fails, and now and then for no
    /// reason, so that a replica that comes back is asked again. Whether there was an answer.
    async fn attempt(&mut self, wish: &Wish) -> bool {
        if self.chance.permille(RESTLESS_PERMILLE) {
            self.turn += 1;
        }
        let replicas = self.crowd.current.load(Ordering::Relaxed).max(1);
        let told = self.attempt_at(self.turn % replicas, wish).await;
        if !told {
            self.turn += 1;
        }
        told
    }

    async fn attempt_at(&mut self, at: usize, wish: &Wish) -> bool {
        let Some(channel) = self.crowd.channels.get(at).cloned() else { return false };
        let recorder = Arc::clone(&self.crowd.recorder);
        let attempt = recorder.begin(
            self.process,
            wish.op,
            &wish.key,
            wish.value.clone(),
            wish.request.clone(),
        );
        let asked = ask(channel, wish, &self.crowd.code);
        let end = match tokio::time::timeout(PATIENCE + Duration::from_millis(500), asked).await {
            Ok(Ok(answer)) => End::Told(answer.0, answer.1),
            Ok(Err(status)) => judge(&status),
            Err(_) => End::Unknown(Code::DeadlineExceeded),
        };
        let told = matches!(end, End::Told(..));
        if matches!(end, End::Unknown(_)) {
            self.process = recorder.process();
        }
        recorder.end(attempt, end);
        told
    }
}

/// One request over the wire: the answer and its place in the log.
async fn ask(channel: Channel, wish: &Wish, code: &str) -> Result<(Value, Option<u64>), Status> {
    let mut client = ApiClient::new(channel).max_decoding_message_size(20 << 20);
    let value = wish.value.clone();
    let id = wish.key.clone();
    let secret = value.secret.unwrap_or_default();
    let address = value.address.unwrap_or_default();
    let request = wish.request.as_deref();
    let done = Value { result: Some(Outcome::Done), ..Value::default() };
    match wish.op {
        Op::Add => {
            let asked = AddClusterRequest { id, secret, address, ..AddClusterRequest::default() };
            Ok((done, index(client.add_cluster(named(asked, request)).await?.metadata())))
        }
        Op::Update => {
            let asked =
                UpdateClusterRequest { id, secret, address, ..UpdateClusterRequest::default() };
            Ok((done, index(client.update_cluster(named(asked, request)).await?.metadata())))
        }
        Op::Delete => {
            let asked = DeleteClusterRequest { id };
            Ok((done, index(client.delete_cluster(named(asked, request)).await?.metadata())))
        }
        Op::Beat => {
            let version = value.version.unwrap_or_default();
            let asked = HeartbeatRequest { id, secret, version, ..HeartbeatRequest::default() };
            let answer = client.heartbeat(named(asked, None)).await?;
            let index = index(answer.metadata());
            let end = answer.into_inner().license.and_then(|license| license.expires);
            Ok((Value { code: Some(end_of(end)), ..done }, index))
        }
        Op::Activate => {
            let seconds = value.code.and_then(|end| end.parse().ok()).unwrap_or_default();
            let expires = Some(prost_types::Timestamp { seconds, nanos: 0 });
            let asked = ActivateRequest { activation_code: code.to_owned(), expires };
            Ok((done, index(client.activate(named(asked, None)).await?.metadata())))
        }
        Op::License => {
            let answer =
                client.get_activation_code(named(GetActivationCodeRequest {}, None)).await?;
            let index = index(answer.metadata());
            let end = answer.into_inner().info.and_then(|info| info.expires);
            Ok((Value { code: Some(end_of(end)), ..Value::default() }, index))
        }
        Op::List | Op::Clear => {
            let answer: Response<_> =
                client.list_clusters(named(ListClustersRequest {}, None)).await?;
            let index = index(answer.metadata());
            let rows: BTreeMap<_, _> = answer
                .into_inner()
                .clusters
                .into_iter()
                .map(|row| {
                    let (address, version) = (Some(row.address), Some(row.version));
                    (row.id, Row { address, version, user_address: None })
                })
                .collect();
            Ok((Value { rows: Some(rows), ..Value::default() }, index))
        }
    }
}

fn named<T>(asked: T, name: Option<&str>) -> Request<T> {
    let mut request = Request::new(asked);
    request.set_timeout(PATIENCE);
    if let Some(name) = name.and_then(|name| name.parse::<MetadataValue<_>>().ok()) {
        request.metadata_mut().insert("muster-request-id", name);
    }
    request
}

fn index(metadata: &MetadataMap) -> Option<u64> {
    metadata.get("muster-log-index")?.to_str().ok()?.parse().ok()
}

fn end_of(time: Option<prost_types::Timestamp>) -> String {
    time.map(|time| time.seconds.to_string()).unwrap_or_default()
}

/// Whether a status is an answer of the rules, a refusal to begin, or no answer at all.
fn judge(status: &Status) -> End {
    let says = |words: &str| status.message().contains(words);
    let outcome = match status.code() {
        Code::Unimplemented if says("cluster ID is not unique") => Some(Outcome::Taken),
        Code::Unimplemented if says("cluster ID or secret is not valid") => Some(Outcome::Invalid),
        Code::NotFound if says("no cluster is registered") => Some(Outcome::Unknown),
        Code::NotFound if says("license not found") => Some(Outcome::Unlicensed),
        Code::FailedPrecondition if says("enterprise license is not valid") => {
            Some(Outcome::Unlicensed)
        }
        _ => None,
    };
    if let Some(outcome) = outcome {
        let value = Value { result: Some(outcome), ..Value::default() };
        return End::Told(value, index(status.metadata()));
    }
    // What could not connect was not sent.
    if says("nothing was done") || says("tcp connect error") {
        return End::NotDone(status.code());
    }
    End::Unknown(status.code())
}
