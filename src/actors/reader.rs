//! Reads the state.

use muster_cluster::group::{Group, Published};
use tokio::time::Instant;

use super::call::{CallError, NotDone};
use super::machine::Machine;
use crate::state::State;

/// The way to the state. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    group: Group<Machine>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

impl Reader {
    /// Reads the state that `group` agrees on.
    pub fn new(group: Group<Machine>) -> Reader {
        Reader { group }
    }

    /// The state with everything in it that was acknowledged before this call.
    ///
    /// # Errors
    /// [`CallError::NotDone`] when no majority of replicas answers by `deadline`.
    pub async fn current(&self, deadline: Instant) -> Result<State, CallError> {
        if deadline <= Instant::now() {
            return Err(NotDone::Late.into());
        }
        let published = self.group.read(deadline).await.map_err(super::proposer::unread)?;
        Ok(published.view)
    }

    /// The state that this replica has, which may be old. Needs no leader.
    pub fn local(&self) -> State {
        let Published { view, .. } = self.group.local();
        view
    }
}
