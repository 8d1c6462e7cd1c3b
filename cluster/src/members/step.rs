//! What the change under way still needs.

use super::{ChangeKind, Conf, GroupRecord};
use crate::types::ReplicaId;

/// One change of raft's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new learner.
    AddLearner(ReplicaId),
    /// A learner becomes a voter.
    Promote(ReplicaId),
    /// A member goes.
    Remove(ReplicaId),
    /// From now on two configurations hold: the one before, and the one with these changes.
    Enter {
        /// New voters.
        voters: Vec<ReplicaId>,
        /// Members that go.
        gone: Vec<ReplicaId>,
    },
    /// From now on only the coming configuration holds.
    Leave,
}

impl Step {
    /// The configuration after this step.
    pub fn after(&self, conf: &Conf) -> Conf {
        let mut next = conf.clone();
        match self {
            Self::AddLearner(id) => {
                next.learners.insert(*id);
            }
            Self::Promote(id) => promote(&mut next, *id),
            Self::Remove(id) => remove(&mut next, *id),
            Self::Enter { voters, gone } => {
                next.outgoing.clone_from(&conf.voters);
                for id in voters {
                    promote(&mut next, *id);
                }
                for id in gone {
                    remove(&mut next, *id);
                }
            }
            Self::Leave => {
                next.outgoing.clear();
                next.learners.append(&mut next.learners_next);
            }
        }
        next
    }

    /// Whether it makes anybody a voter.
    pub fn promotes(&self) -> &[ReplicaId] {
        match self {
            Self::Promote(id) => std::slice::from_ref(id),
            Self::Enter { voters, .. } => voters,
            _ => &[],
        }
    }
}

fn promote(conf: &mut Conf, id: ReplicaId) {
    conf.learners.remove(&id);
    conf.voters.insert(id);
}

fn remove(conf: &mut Conf, id: ReplicaId) {
    conf.learners.remove(&id);
    conf.voters.remove(&id);
}

impl GroupRecord {
    /// What the configuration needs next to become what the record says; `None` for nothing.
    pub fn next_step(&self, conf: &Conf) -> Option<Step> {
        if conf.is_joint() {
            return Some(Step::Leave);
        }
        let change = self.change.as_ref().and_then(|change| self.step_of(&change.kind, conf));
        change.or_else(|| {
            let new = self.members.keys().find(|id| !conf.contains(**id));
            new.map(|id| Step::AddLearner(*id))
        })
    }

    /// Whether a step of the change under way was taken, and another is left.
    pub fn is_half_done(&self, conf: &Conf) -> bool {
        match self.change.as_ref().map(|change| &change.kind) {
            None => false,
            Some(ChangeKind::Promote(ids)) => ids.iter().any(|id| conf.voters.contains(id)),
            Some(ChangeKind::Remove(ids)) => ids.iter().any(|id| !conf.contains(*id)),
            Some(ChangeKind::Replace { new, .. }) => conf.voters.contains(new),
        }
    }

    /// The next step of one change; `None` when it is done.
    pub(super) fn step_of(&self, kind: &ChangeKind, conf: &Conf) -> Option<Step> {
        match kind {
            ChangeKind::Promote(ids) => {
                let left: Vec<_> =
                    ids.iter().copied().filter(|id| !conf.voters.contains(id)).collect();
                match left.as_slice() {
                    [] => None,
                    [one] => Some(Step::Promote(*one)),
                    _ => Some(Step::Enter { voters: left, gone: Vec::new() }),
                }
            }
            ChangeKind::Remove(ids) => {
                let voters: Vec<_> =
                    ids.iter().copied().filter(|id| conf.voters.contains(id)).collect();
                match voters.as_slice() {
                    [] => ids.iter().find(|id| conf.contains(**id)).map(|id| Step::Remove(*id)),
                    [one] => Some(Step::Remove(*one)),
                    _ => Some(Step::Enter { voters: Vec::new(), gone: voters }),
                }
            }
            ChangeKind::Replace { old, new } => self.step_of_replacement(conf, *old, *new),
        }
    }

    /// In one zone both in one step: the group never has one voter more in it. Across zones the new
    /// one votes first.
    fn step_of_replacement(&self, conf: &Conf, old: ReplicaId, new: ReplicaId) -> Option<Step> {
        let zone = |id| self.members.get(&id).map(|member| member.zone.as_str());
        match (conf.voters.contains(&new), conf.contains(old)) {
            (true, false) => None,
            (true, true) => Some(Step::Remove(old)),
            (false, _) if zone(old) == zone(new) && conf.voters.contains(&old) => {
                Some(Step::Enter { voters: vec![new], gone: vec![old] })
            }
            (false, _) => Some(Step::Promote(new)),
        }
    }
}
