//! The state that the simulated group replicates, and what its clients see of it.

pub(crate) use muster::actors::Machine;
use muster::state::State;

use crate::shadow::Fold;

/// What a reader of the license and the fleet sees, as a hash.
pub(crate) fn observe(state: &State) -> u64 {
    let mut fold = Fold::new();
    if let Some(license) = state.licensing().record() {
        fold.add(license.activation_code.as_bytes());
    }
    for (id, cluster) in state.fleet().iter() {
        fold.add(id.as_bytes());
        fold.add(cluster.address.as_bytes());
        fold.add(cluster.user_address.as_bytes());
        fold.number(cluster.created_at.0);
        fold.number(cluster.last_heartbeat.0);
    }
    fold.value()
}
