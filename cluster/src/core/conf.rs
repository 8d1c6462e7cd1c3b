//! Steps and configurations as raft writes them.

use protobuf::Message as _;
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState,
};

use crate::{
    members::{Conf, Step},
    types::ReplicaId,
};

/// A configuration for raft.
pub(super) fn to_raft(conf: &Conf) -> ConfState {
    let ids = |part: &std::collections::BTreeSet<ReplicaId>| part.iter().map(|id| id.0).collect();
    ConfState {
        voters: ids(&conf.voters),
        learners: ids(&conf.learners),
        voters_outgoing: ids(&conf.outgoing),
        learners_next: ids(&conf.learners_next),
        ..ConfState::default()
    }
}

/// A configuration of raft.
pub(super) fn from_raft(state: &ConfState) -> Conf {
    let ids = |part: &[u64]| part.iter().copied().map(ReplicaId).collect();
    Conf {
        voters: ids(&state.voters),
        learners: ids(&state.learners),
        outgoing: ids(&state.voters_outgoing),
        learners_next: ids(&state.learners_next),
    }
}

/// A step for raft. Joint configurations are left explicitly: raft's own way out is not sure to be
/// taken after a change of leaders.
pub(super) fn change_of(step: &Step) -> ConfChangeV2 {
    let single = |kind, id: ReplicaId| {
        let mut single = ConfChangeSingle::default();
        single.set_change_type(kind);
        single.node_id = id.0;
        single
    };
    let mut change = ConfChangeV2::default();
    let changes = match step {
        Step::AddLearner(id) => vec![single(ConfChangeType::AddLearnerNode, *id)],
        Step::Promote(id) => vec![single(ConfChangeType::AddNode, *id)],
        Step::Remove(id) => vec![single(ConfChangeType::RemoveNode, *id)],
        Step::Enter { voters, gone } => {
            change.set_transition(ConfChangeTransition::Explicit);
            let coming = voters.iter().map(|id| single(ConfChangeType::AddNode, *id));
            let going = gone.iter().map(|id| single(ConfChangeType::RemoveNode, *id));
            coming.chain(going).collect()
        }
        Step::Leave => Vec::new(),
    };
    change.set_changes(changes.into());
    change
}

/// Whether an entry of the log is this step.
pub(super) fn is_step(data: &[u8], step: &Step) -> bool {
    ConfChangeV2::parse_from_bytes(data).is_ok_and(|change| change == change_of(step))
}
