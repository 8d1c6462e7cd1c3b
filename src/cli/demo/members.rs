//! A small fleet: members that beat, each through whichever replica answers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use muster_proto::license_v2::api_client::ApiClient;
use muster_proto::license_v2::{AddClusterRequest, HeartbeatRequest, ListClustersRequest};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::cli::output::Failure;

const RETRY_PAUSE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(20);
/// How an id that is registered already is refused; clients know the text, not the code.
const TAKEN: &str = "is not unique";

/// The members and what was acknowledged to them.
pub(super) struct Fleet {
    /// Marks the beats of this run, so that those of an earlier one are told apart.
    run: String,
    secret: String,
    apis: Vec<ApiClient<Channel>>,
    members: Vec<Arc<Mutex<Member>>>,
    beating: JoinSet<()>,
}

#[derive(Clone, Debug)]
struct Member {
    id: String,
    /// The number of the last acknowledged beat, from 1, and so how many there were.
    acknowledged: u64,
    /// The moment of interest, and when the first beat that was begun after it was acknowledged.
    moment: Option<Instant>,
    first_after: Option<Instant>,
}

impl Fleet {
    /// A fleet that proves itself with `secret`; `apis` are the replicas.
    pub(super) fn new(run: String, secret: String, apis: Vec<ApiClient<Channel>>) -> Fleet {
        Fleet { run, secret, apis, members: Vec::new(), beating: JoinSet::new() }
    }

    /// Registers `count` members, one replica after the other. One of an earlier run is taken over.
    pub(super) async fn register(&mut self, count: usize) -> Result<(), Failure> {
        for number in self.members.len()..self.members.len() + count {
            let id = format!("demo-{number}");
            let request = AddClusterRequest {
                id: id.clone(),
                address: format!("grpc://member-{number}.example:30650"),
                secret: self.secret.clone(),
                ..AddClusterRequest::default()
            };
            let mut turn = number;
            let end = Instant::now() + PATIENCE;
            loop {
                let Some(mut api) = self.api(turn) else { break };
                match api.add_cluster(request.clone()).await {
                    Ok(_) => break,
                    // By an earlier run, or by a try whose answer was lost.
                    Err(status) if status.message().contains(TAKEN) => break,
                    Err(status) if Instant::now() >= end || !is_transient(&status) => {
                        return Err(
                            Failure::new(format!("cannot register {id}")).cause(status.message())
                        );
                    }
                    Err(_) => sleep(RETRY_PAUSE).await,
                }
                turn += 1;
            }
            self.members.push(Arc::new(Mutex::new(Member {
                id,
                acknowledged: 0,
                first_after: None,
                moment: None,
            })));
        }
        Ok(())
    }

    /// Lets every member that does not beat yet beat every `interval`.
    pub(super) fn beat(&mut self, interval: Duration) {
        for (number, member) in self.members.iter().enumerate().skip(self.beating.len()) {
            let (apis, member) = (self.apis.clone(), Arc::clone(member));
            let (run, secret) = (self.run.clone(), self.secret.clone());
            self.beating.spawn(async move {
                let mut turn = number;
                loop {
                    beat_until_acknowledged(&apis, &mut turn, &member, &run, &secret).await;
                    sleep(interval.mul_f64(rand::random_range(0.9..1.1))).await;
                }
            });
        }
    }

    /// Stops; beats that are under way stay unacknowledged.
    pub(super) async fn stop(&mut self) {
        self.beating.shutdown().await;
    }

    /// Beats acknowledged so far.
    pub(super) fn acknowledged(&self) -> u64 {
        self.members.iter().map(|member| lock(member).acknowledged).sum()
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// From here on `since_mark` looks at beats that are begun later.
    pub(super) fn mark(&self, moment: Instant) {
        for member in &self.members {
            let mut member = lock(member);
            (member.moment, member.first_after) = (Some(moment), None);
        }
    }

    /// When the first beat that was begun after the mark was acknowledged, and when every member of
    /// then had one; none before.
    pub(super) fn since_mark(&self) -> Option<(Instant, Instant)> {
        let marked = self.members.iter().map(|member| lock(member).clone());
        let marked = marked.filter(|member| member.moment.is_some());
        let firsts: Option<Vec<_>> = marked.map(|member| member.first_after).collect();
        let firsts = firsts?;
        Some((*firsts.iter().min()?, *firsts.iter().max()?))
    }

    /// What the group remembers of the members, against what was acknowledged to them: how many
    /// acknowledged beats and registrations it does not know.
    pub(super) async fn lost(&self, replica: usize) -> Result<Lost, Failure> {
        let mut api = self.api(replica).ok_or_else(|| Failure::new("no replica"))?;
        let listed = api
            .list_clusters(ListClustersRequest {})
            .await
            .map_err(|status| Failure::new("cannot list the fleet").cause(status.message()))?;
        let listed = listed.into_inner().clusters;
        let mut lost = Lost::default();
        for member in &self.members {
            let member = lock(member).clone();
            let Some(found) = listed.iter().find(|cluster| cluster.id == member.id) else {
                lost.registrations += 1;
                lost.beats += member.acknowledged;
                continue;
            };
            let recorded = found.client_id.strip_prefix(&self.run);
            let recorded = recorded.and_then(|rest| rest.strip_prefix('-')?.parse().ok());
            lost.beats += member.acknowledged.saturating_sub(recorded.unwrap_or(0));
        }
        Ok(lost)
    }

    fn api(&self, turn: usize) -> Option<ApiClient<Channel>> {
        self.apis.get(turn % self.apis.len().max(1)).cloned()
    }
}

/// What was acknowledged and is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) registrations: u64,
    pub(super) beats: u64,
}

/// Sends one beat, to the next replica whenever one cannot take it. No try is given up before its
/// replica has answered or gone, so an older beat never arrives after a newer one.
async fn beat_until_acknowledged(
    apis: &[ApiClient<Channel>],
    turn: &mut usize,
    member: &Mutex<Member>,
    run: &str,
    secret: &str,
) {
    let begun = Instant::now();
    let (id, number) = {
        let member = lock(member);
        (member.id.clone(), member.acknowledged + 1)
    };
    let request = HeartbeatRequest {
        id,
        secret: secret.to_owned(),
        version: "2.11.6".to_owned(),
        auth_enabled: false,
        client_id: format!("{run}-{number}"),
    };
    while let Some(mut api) = apis.get(*turn % apis.len()).cloned() {
        if api.heartbeat(request.clone()).await.is_ok() {
            let mut member = lock(member);
            let now = Instant::now();
            member.acknowledged = number;
            if member.moment.is_some_and(|moment| begun >= moment) {
                member.first_after.get_or_insert(now);
            }
            return;
        }
        *turn += 1;
        sleep(RETRY_PAUSE).await;
    }
}

fn is_transient(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Unknown
            // The client's own word for a call whose connection broke before it was sent.
            | Code::Cancelled
    )
}

fn lock(member: &Mutex<Member>) -> std::sync::MutexGuard<'_, Member> {
    member.lock().unwrap_or_else(PoisonError::into_inner)
}
