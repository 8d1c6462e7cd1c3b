//! How a fixed list of replicas becomes a group, exactly once.
//!
//! The rule is in `candidate`; here it meets the disk and the network. Peers ask and answer through
//! the same listener and TLS as later; a replica whose group has begun goes on answering (the
//! listener of `net` does), so that one that comes late, or lost its disk, learns of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

mod candidate;
mod plan;
#[cfg(test)]
mod tests;

pub use candidate::Refusal;
pub use plan::{DiskMark, Misfit, Plan, PlanError, Promise, TokenDigest};

pub(crate) use plan::replica_id;

use self::candidate::{Answer, Candidate, Step};
use crate::folder::{DataFolder, FolderError, Identity, Lineage};
use crate::members::Admission;
use crate::net::frame::Kind;
use crate::net::link::{self, LinkError};
use crate::net::{PeerTls, hello};
use crate::types::{Member, Timestamp};

/// Between one round of questions and the next.
const PAUSE: Duration = Duration::from_millis(200);
/// How long one question, or one asker's connection, may take.
const TIME_LIMIT: Duration = Duration::from_secs(3);
/// Askers served at a time; more are turned away and ask again.
const ASKERS: usize = 64;

/// What [`run`] needs.
pub struct BootstrapOptions<'a> {
    /// The replica's folder: fresh, or with its identity.
    pub folder: &'a mut DataFolder,
    /// The list of initial members, this replica, the token.
    pub plan: Plan,
    /// The peer listener.
    pub listener: &'a TcpListener,
    /// The same as for peers.
    pub tls: Option<PeerTls>,
    /// The time, for the identity of a fresh folder.
    pub now: Timestamp,
}

/// The group has begun: with this start or with an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Whose folder this is.
    pub identity: Identity,
    /// The initial members, all voters, at their addresses of today.
    pub founders: Vec<Member>,
    /// Where the settings expect the members: the founders, or for a replica that joined, whom it was
    /// told of when it was let in.
    pub members: Vec<Member>,
}

/// Why a replica may not start. No restart with the same folder and configuration will help.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The folder failed.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The folder's group began with another list or token.
    #[error("{0}; correct the configuration, or mount the right data folder")]
    Misfit(#[from] Misfit),
    /// The peers know better.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Returns when the group has begun: at once if the folder says so or nobody else is on the list,
/// otherwise when every listed replica has promised, however long that takes.
pub async fn run(options: BootstrapOptions<'_>) -> Result<Started, BootstrapError> {
    let BootstrapOptions { folder, plan, listener, tls, now } = options;
    if let Some(promise) = folder.promise() {
        promise.check(&plan)?;
    }
    if let Some(identity) = folder.identity().cloned() {
        let members = plan.members_of(identity.group);
        folder.check(identity.group, replica_id(identity.group, &plan.me), &plan.me)?;
        return Ok(Started { identity, founders: members.clone(), members });
    }
    let disk = match folder.disk_mark() {
        Some(disk) => disk,
        None => folder.mark_disk(DiskMark(rand::random()))?,
    };
    let mut candidate = Candidate::new(plan, disk, folder.promise().cloned());
    let (answer, answers) = watch::channel(candidate.answer());
    let promise = tokio::select! {
        promise = ask_until_begun(&mut candidate, folder, tls.clone(), &answer) => promise?,
        never = answer_all(listener, tls, &answers) => never,
    };
    let (group, plan) = (promise.group(), candidate.plan());
    let identity = Identity {
        group,
        replica: replica_id(group, &plan.me),
        name: plan.me.clone(),
        created: now,
        lineage: Lineage::default(),
    };
    folder.adopt(identity.clone())?;
    tracing::info!(%group, replica = %identity.replica, name = identity.name, "the group begins");
    metrics::gauge!("muster_bootstrap_missing_peers").set(0.0);
    let founders = plan.members_of(group);
    Ok(Started { identity, members: founders.clone(), founders })
}

/// Makes a fresh folder that of a replica that a group has let in ([`crate::group::Group::admit`]).
/// The replica then starts with an empty log, as an observer, and waits for the leader. A folder that
/// is of the same admission already stays as it is; any other is refused. `lineage` is that of the group.
pub fn join(
    folder: &mut DataFolder,
    admission: &Admission,
    lineage: Lineage,
    now: Timestamp,
) -> Result<Started, FolderError> {
    let identity = Identity {
        group: admission.group,
        replica: admission.replica,
        name: admission.name.clone(),
        created: now,
        lineage,
    };
    folder.adopt_joined(identity, admission)?;
    tracing::info!(
        group = %admission.group,
        replica = %admission.replica,
        name = admission.name,
        "this replica joins"
    );
    joined(folder).ok_or_else(|| folder.foreign(admission))
}

/// What [`join`] returned, for every later start of the same folder; `None` for a fresh folder and
/// for that of a founder, which [`run`] knows how to start.
pub fn joined(folder: &DataFolder) -> Option<Started> {
    let identity = folder.identity()?.clone();
    let Admission { founders, members, .. } = folder.admission()?.clone();
    Some(Started { identity, founders, members })
}

/// Asks the others, round by round, and does what follows from the answers.
async fn ask_until_begun(
    candidate: &mut Candidate,
    folder: &mut DataFolder,
    tls: Option<PeerTls>,
    answer: &watch::Sender<Answer>,
) -> Result<Promise, BootstrapError> {
    let mut last_obstacles = Vec::new();
    loop {
        match candidate.next()? {
            Step::Begin(promise) => return Ok(promise),
            Step::Promise(promise) => {
                folder.make_promise(candidate.disk(), promise.clone())?;
                candidate.promised(promise);
                answer.send_replace(candidate.answer());
                continue;
            }
            Step::Wait => {}
        }
        for (name, heard) in ask_all(candidate.plan(), tls.as_ref()).await {
            candidate.hear(&name, heard);
        }
        let obstacles: Vec<_> = candidate.obstacles().collect();
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        metrics::gauge!("muster_bootstrap_missing_peers").set(obstacles.len() as f64);
        if obstacles != last_obstacles && !obstacles.is_empty() {
            tracing::warn!("the group has not begun, will go on asking: {}", obstacles.join("; "));
        }
        last_obstacles = obstacles;
        if matches!(candidate.next()?, Step::Wait) {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// What the others say now, by the name that they should have.
async fn ask_all(plan: &Plan, tls: Option<&PeerTls>) -> BTreeMap<String, Answer> {
    let mut asking = JoinSet::new();
    for (name, address) in plan.others() {
        let (name, address, tls) = (name.to_owned(), address.to_owned(), tls.cloned());
        let question = hello::Question { asker: plan.me.clone(), report: false };
        asking.spawn(async move {
            let answer = link::question(&address, &name, tls.as_ref(), &question, TIME_LIMIT).await;
            (name, answer)
        });
    }
    let mut answers = BTreeMap::new();
    while let Some(asked) = asking.join_next().await {
        let Ok((name, answer)) = asked else { continue };
        match answer.map(Answer::try_from) {
            Ok(Ok(answer)) => {
                answers.insert(name, answer);
            }
            Ok(Err(error)) => tracing::debug!(peer = name, "{error}"),
            Err(error) => tracing::debug!(peer = name, "no answer: {error}"),
        }
    }
    answers
}

/// Answers whoever asks.
async fn answer_all(
    listener: &TcpListener,
    tls: Option<PeerTls>,
    answers: &watch::Receiver<Answer>,
) -> ! {
    let tls = Arc::new(tls);
    let mut askers = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while askers.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) if askers.len() < ASKERS => {
                let (tls, answers) = (Arc::clone(&tls), answers.clone());
                askers.spawn(async move {
                    let answered = answer_one(stream, tls.as_ref().as_ref(), &answers);
                    let answered = tokio::time::timeout(TIME_LIMIT, answered).await;
                    if let Err(error) = answered.unwrap_or(Err(LinkError::TimedOut)) {
                        tracing::debug!("an asker's connection came to nothing: {error}");
                    }
                });
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!("cannot take a connection of a peer: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn answer_one(
    stream: TcpStream,
    tls: Option<&PeerTls>,
    answers: &watch::Receiver<Answer>,
) -> Result<(), LinkError> {
    let (mut channel, _) = link::accept(stream, tls).await?;
    if link::receive(&mut channel).await?.kind != Kind::Question {
        // A member's hello: it will call again when this replica's group has begun too.
        let refusal = hello::Refusal { reason: hello::Reason::NotBegun as i32 };
        return link::say(&mut channel, Kind::Refusal, &refusal).await;
    }
    let answer: hello::Answer = answers.borrow().clone().into();
    link::say(&mut channel, Kind::Answer, &answer).await
}
