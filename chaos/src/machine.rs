//! The state that the simulated group replicates, and what its clients see of it.

use std::sync::Arc;

pub(crate) use muster::actors::Machine;
use muster::state::State;
use muster_proto::muster::log::v1::{Caller, License, caller::Who};

use crate::commands::{TOKENS, token};
use crate::shadow::Fold;

/// Which code a license has, in either form.
pub(crate) fn code_of(license: &License) -> String {
    let License { activation_code: clear, activation_code_sealed: sealed, .. } = license;
    if sealed.is_empty() { clear.clone() } else { hex::encode(sealed) }
}

/// What a reader of the license, the fleet and the tokens sees, as a hash.
pub(crate) fn observe(state: &State) -> u64 {
    let mut fold = Fold::new();
    if let Some(license) = state.licensing().record() {
        fold.add(code_of(license).as_bytes());
    }
    for (id, cluster) in state.fleet().iter() {
        fold.add(id.as_bytes());
        fold.add(cluster.address.as_bytes());
        fold.add(cluster.user_address.as_bytes());
        fold.number(cluster.created_at.0);
        fold.number(cluster.last_heartbeat.0);
    }
    fold.number(u64::from(state.auth().is_on()));
    for name in 0..TOKENS {
        let digest = token(name).into();
        let caller = Caller { who: Some(Who::TokenDigest(digest)) };
        let subject = state.token_of(Some(&caller), state.time()).map(|it| Arc::clone(&it.subject));
        fold.add(subject.as_deref().unwrap_or_default().as_bytes());
    }
    fold.value()
}
