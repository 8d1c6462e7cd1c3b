//! Real folders and sockets.

use std::path::Path;

use tempfile::TempDir;

use super::super::*;
use crate::net::{Lane, PeerEvents, PeerOptions, Peers};
use crate::types::ReplicaId;

struct Site {
    folder: TempDir,
    listener: TcpListener,
}

async fn sites(count: usize) -> (Vec<Site>, Vec<(String, String)>) {
    let mut sites = Vec::new();
    for _ in 0..count {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        sites.push(Site { folder: tempfile::tempdir().unwrap(), listener });
    }
    let entry = |(n, site): (usize, &Site)| {
        (format!("r{n}"), site.listener.local_addr().unwrap().to_string())
    };
    let list = sites.iter().enumerate().map(entry).collect();
    (sites, list)
}

async fn begin(path: &Path, listener: &TcpListener, plan: Plan) -> Result<Started, BootstrapError> {
    let mut folder = DataFolder::open(path)?;
    run(BootstrapOptions { folder: &mut folder, plan, listener, tls: None, now: Timestamp(1) })
        .await
}

fn plan(me: usize, list: &[(String, String)]) -> Plan {
    Plan::new(&format!("r{me}"), list, TokenDigest::of("secret")).unwrap()
}

/// A replica that goes on answering when it has begun: others may not have heard its promise yet.
fn spawn(site: Site, plan: Plan) -> tokio::task::JoinHandle<(TempDir, Started, Peers)> {
    tokio::spawn(async move {
        let started = begin(site.folder.path(), &site.listener, plan).await.unwrap();
        let peers = serve(&started, site.listener);
        (site.folder, started, peers)
    })
}

struct Deaf;
impl PeerEvents for Deaf {
    fn received(&self, _: ReplicaId, _: Lane, _: bytes::Bytes) {}
    fn up(&self, _: ReplicaId) {}
    fn down(&self, _: ReplicaId) {}
    fn told_removed(&self, _: ReplicaId) {}
}

fn serve(started: &Started, listener: TcpListener) -> Peers {
    let options = PeerOptions {
        group: started.identity.group,
        before: Vec::new(),
        me: started.identity.replica,
        incarnation: 1,
        listener,
        tls: None,
        members: started.members.clone(),
        settings: Vec::new(),
        election_timeout: Duration::from_secs(1),
    };
    Peers::start(options, Arc::new(Deaf))
}

#[tokio::test]
async fn three_replicas_begin_one_group_and_start_again_as_themselves() {
    let (sites, list) = sites(3).await;
    let replicas = sites.into_iter().enumerate().map(|(n, site)| spawn(site, plan(n, &list)));
    let replicas = futures::future::try_join_all(replicas).await.unwrap();
    let all: Vec<_> = replicas.iter().map(|(_, started, _)| started).collect();
    assert!(all.iter().all(|started| started.members == all[0].members));
    assert!(all.iter().all(|started| started.identity.group == all[0].identity.group));
    for (started, member) in all.iter().zip(&all[0].members) {
        assert_eq!(started.identity.replica, member.id);
    }

    // r1 again, with its folder and with an empty one.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let again = begin(replicas[1].0.path(), &listener, plan(1, &list)).await.unwrap();
    assert_eq!(again.identity, all[1].identity);
    let other_token = Plan::new("r1", &list, TokenDigest::of("other")).unwrap();
    let refused = begin(replicas[1].0.path(), &listener, other_token).await.unwrap_err();
    assert!(matches!(refused, BootstrapError::Misfit(Misfit::Token)), "{refused}");
    let wiped = tempfile::tempdir().unwrap();
    let refused = begin(wiped.path(), &listener, plan(1, &list)).await.unwrap_err();
    assert!(matches!(refused, BootstrapError::Refused(Refusal::DiskLost { .. })), "{refused}");
    let again = DataFolder::open(wiped.path()).unwrap();
    assert_eq!((again.identity(), again.promise()), (None, None));
}

#[tokio::test]
async fn a_replica_alone_begins_at_once_and_does_not_become_one_of_three() {
    let (mut sites, list) = sites(3).await;
    let site = sites.remove(0);
    let alone = plan(0, &list[..1]);
    let started = begin(site.folder.path(), &site.listener, alone.clone()).await.unwrap();
    assert_eq!(started.members.len(), 1);
    let again = begin(site.folder.path(), &site.listener, alone).await.unwrap();
    assert_eq!(again, started);
    let refused = begin(site.folder.path(), &site.listener, plan(0, &list)).await.unwrap_err();
    assert!(matches!(refused, BootstrapError::Misfit(Misfit::Names { .. })), "{refused}");
}

#[tokio::test]
async fn nobody_begins_while_one_is_missing() {
    let (mut sites, list) = sites(3).await;
    let third = sites.pop().unwrap();
    let first = spawn(sites.remove(0), plan(0, &list));
    let second = spawn(sites.remove(0), plan(1, &list));
    // The third one listens and answers nothing; give the others several rounds with each other.
    for n in [0, 1] {
        for _ in 0..5 {
            let question = hello::Question { asker: "test".into(), report: false };
            let (name, address) = &list[n];
            let asked = link::question(address, name, None, &question, TIME_LIMIT).await.unwrap();
            assert!(asked.group.is_empty() && asked.promised.is_empty());
        }
    }
    assert!(!first.is_finished() && !second.is_finished());
    let third = spawn(third, plan(2, &list));
    let begun = futures::future::try_join_all([first, second, third]).await.unwrap();
    assert!(begun.iter().all(|(_, started, _)| started.members == begun[0].1.members));
}
