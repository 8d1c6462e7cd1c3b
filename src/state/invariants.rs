//! What must always be true of a state. A replica that finds one broken stops.

use crate::state::audit::Audit;
use crate::state::auth::bindings::Resource;
use crate::state::auth::{principal, roles};
use crate::state::{State, limits};

/// The name of the first broken invariant, or none.
///
/// - `FLEET-1`: an id is 1 to 4096 bytes without control characters, and an address is not empty.
/// - `FLEET-2`: no more clusters than a group can hold.
/// - `FLEET-3`: nothing happened to a cluster after now, nor a heartbeat before its registration.
/// - `LICENSE-1`: a license has a code, either in clear or sealed, and an expiry.
/// - `ENTERPRISE-1`: the own record names an id.
/// - `ANSWERS-1`: each remembered answer is found by its key, and they are within their bound.
/// - `ANSWERS-2`: answers are kept in the order in which they were given.
/// - `QUARANTINE-1`: no more strays than are kept, and none met after now.
/// - `AUTH-1`: while auth is on, root is bound as clusterAdmin on the cluster.
/// - `AUTH-2`: while auth is off, there are no tokens and no groups.
/// - `AUTH-3`: the indexes of tokens, and the two directions of groups, tell the same.
/// - `AUTH-4`: whoever lost all tokens is remembered until these are forgotten, within the bound.
/// - `AUDIT-1`: audit records have no gaps, and the newest continue the hashes of those before them.
/// - `AUDIT-2`: no more audit records and counts than there may be.
pub fn first_broken(state: &State) -> Option<&'static str> {
    let now = state.time();
    for (id, cluster) in state.fleet().iter() {
        if id.is_empty()
            || cluster.address.is_empty()
            || limits::check_text("id", id, limits::TEXT_BYTES_MAX).is_err()
        {
            return Some("FLEET-1");
        }
        let is_beat_early =
            cluster.last_heartbeat.0 != 0 && cluster.last_heartbeat < cluster.created_at;
        if cluster.created_at > now || cluster.last_heartbeat > now || is_beat_early {
            return Some("FLEET-3");
        }
    }
    if state.fleet().len() > limits::CLUSTERS_MAX {
        return Some("FLEET-2");
    }
    if let Some(license) = state.licensing().record()
        && (license.activation_code.is_empty() == license.activation_code_sealed.is_empty()
            || license.expires.is_none())
    {
        return Some("LICENSE-1");
    }
    if let Some(membership) = state.enterprise().membership()
        && membership.id.is_empty()
    {
        return Some("ENTERPRISE-1");
    }
    if !state.answers.is_consistent() || state.answers.len() > limits::ANSWERS_MAX {
        return Some("ANSWERS-1");
    }
    let mut last = None;
    for (_, answer) in state.answers.iter() {
        if Some(answer.at) < last || answer.at > now {
            return Some("ANSWERS-2");
        }
        last = Some(answer.at);
    }
    let mut strays = state.quarantine().strays();
    if state.quarantine().len() > limits::STRAYS_MAX || strays.any(|(_, it)| it.last > now) {
        return Some("QUARANTINE-1");
    }
    first_broken_of_auth(state).or_else(|| first_broken_of_audit(state.audit()))
}

fn first_broken_of_audit(audit: &Audit) -> Option<&'static str> {
    if !audit.is_consistent() {
        return Some("AUDIT-1");
    }
    (!audit.is_bounded()).then_some("AUDIT-2")
}

fn first_broken_of_auth(state: &State) -> Option<&'static str> {
    let auth = state.auth();
    let cluster = auth.bindings().get(&Resource::Cluster);
    let admin = roles::role("clusterAdmin");
    let is_root_admin = cluster
        .and_then(|binding| binding.get(principal::ROOT))
        .is_some_and(|roles| roles.iter().any(|role| Some(*role) == admin));
    if auth.is_on() && !is_root_admin {
        return Some("AUTH-1");
    }
    let is_empty = auth.tokens().is_empty() && auth.groups().size() == 0;
    if !auth.is_on() && !is_empty {
        return Some("AUTH-2");
    }
    if !auth.tokens().is_consistent() || !auth.groups().is_consistent() {
        return Some("AUTH-3");
    }
    if !auth.tokens().are_revocations_sound(state.index()) {
        return Some("AUTH-4");
    }
    None
}
