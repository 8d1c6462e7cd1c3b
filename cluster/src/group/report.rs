//! What the members say of themselves: asked by their peer addresses, which every replica knows, and
//! under the same certificates. What is said is opaque here.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::Group;
use crate::{machine::StateMachine, types::Member};

/// What one member says, or why it says nothing.
#[derive(Clone, Debug)]
pub struct Told {
    /// Who.
    pub member: Member,
    /// What.
    pub report: Result<Bytes, String>,
}

impl<M: StateMachine> Group<M> {
    /// From now on `report` answers peers that ask how this replica is. The first one counts; an
    /// answer of more than 12 KiB does not fit.
    pub fn answer_peers(&self, report: impl Fn(&Group<M>) -> Bytes + Send + Sync + 'static) {
        let inner = Arc::downgrade(&self.inner);
        let report = move || {
            let inner = inner.upgrade();
            inner.map_or_else(Bytes::new, |inner| report(&Group { inner }))
        };
        let _said_before = self.inner.shared.report.set(Box::new(report));
    }

    /// Asks every other member how it is; one that does not answer within `limit` is told as such.
    pub async fn ask_peers(&self, limit: Duration) -> Vec<Told> {
        let me = self.inner.shared.me;
        let mut asking = JoinSet::new();
        for member in self.record().addresses() {
            if member.id == me {
                continue;
            }
            let peers = self.inner.peers.clone();
            asking.spawn(async move {
                let report = peers.ask(&member, limit).await;
                Told { member, report }
            });
        }
        let mut all = asking.join_all().await;
        all.sort_by(|one, other| one.member.name.cmp(&other.member.name));
        all
    }
}
