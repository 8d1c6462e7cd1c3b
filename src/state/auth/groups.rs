//! Who is in which group, both ways round.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use muster_proto::muster::log::v1::{
    GroupsClaim, ModifyMembers, Rejection, RejectionKind, SetGroups,
};

use crate::state::auth::principal;
use crate::state::{limits, rejection};

/// Memberships by principal and by group.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    /// Whoever once was in a group stays, be it without groups.
    of_principal: OrdMap<Arc<str>, OrdMap<Arc<str>, Source>>,
    members: OrdMap<Arc<str>, OrdSet<Arc<str>>>,
    memberships: usize,
}

/// Who put a principal into a group; at least one of both (D-43).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// An administrator.
    pub by_hand: bool,
    /// The provider, at the last login.
    pub by_claim: bool,
}

impl Groups {
    /// The groups of a principal, by name.
    pub fn of(&self, principal: &str) -> impl Iterator<Item = &Arc<str>> {
        self.of_principal.get(principal).into_iter().flat_map(OrdMap::keys)
    }

    /// The members of a group, by name; none of an unknown one (D-41).
    pub fn members(&self, group: &str) -> impl Iterator<Item = &Arc<str>> {
        self.members.get(group).into_iter().flatten()
    }

    /// Whoever was put into a group at any time, by name.
    pub fn principals(&self) -> impl Iterator<Item = &Arc<str>> {
        self.of_principal.keys()
    }

    /// All principals with their memberships.
    pub(in crate::state) fn iter(
        &self,
    ) -> impl Iterator<Item = (&Arc<str>, &OrdMap<Arc<str>, Source>)> {
        self.of_principal.iter()
    }

    /// Principals and memberships together: what the bound is about.
    pub fn size(&self) -> usize {
        self.of_principal.len() + self.memberships
    }

    /// Makes a principal known.
    pub(in crate::state) fn know(&mut self, principal: &str) {
        if !self.of_principal.contains_key(principal) {
            self.of_principal.insert(Arc::from(principal), OrdMap::new());
        }
    }

    /// Writes down why a principal is in a group; no reason left takes it out.
    pub(in crate::state) fn set(&mut self, principal: &str, group: &str, source: Source) {
        self.know(principal);
        let Some(groups) = self.of_principal.get_mut(principal) else {
            return;
        };
        if source == Source::default() {
            if groups.remove(group).is_some() {
                self.memberships -= 1;
                self.leave(principal, group);
            }
        } else if groups.insert(Arc::from(group), source).is_none() {
            self.memberships += 1;
            self.members.entry(Arc::from(group)).or_default().insert(Arc::from(principal));
        }
    }

    fn leave(&mut self, principal: &str, group: &str) {
        if let Some(members) = self.members.get_mut(group) {
            members.remove(principal);
            if members.is_empty() {
                self.members.remove(group);
            }
        }
    }

    fn source(&self, principal: &str, group: &str) -> Source {
        let groups = self.of_principal.get(principal);
        groups.and_then(|groups| groups.get(group)).copied().unwrap_or_default()
    }

    fn names_of(&self, principal: &str) -> Vec<Arc<str>> {
        self.of(principal).map(Arc::clone).collect()
    }

    fn check_room(&self, more: usize) -> Result<(), Rejection> {
        if self.size() + more > limits::MEMBERSHIPS_MAX {
            return Err(rejection::too_many("memberships", limits::MEMBERSHIPS_MAX));
        }
        Ok(())
    }

    /// Whether both directions tell the same.
    pub(in crate::state) fn is_consistent(&self) -> bool {
        let forth: usize = self.of_principal.values().map(OrdMap::len).sum();
        let back: usize = self.members.values().map(OrdSet::len).sum();
        forth == self.memberships && back == self.memberships
    }
}

fn check_group(group: &str) -> Result<(), Rejection> {
    if group.is_empty() {
        return Err(rejection::about(RejectionKind::FieldEmpty, "group"));
    }
    limits::check_text("group", group, limits::PRINCIPAL_BYTES_MAX)
}

fn check_groups(groups: &[String]) -> Result<(), Rejection> {
    if groups.len() > limits::GROUPS_PER_PRINCIPAL_MAX {
        return Err(rejection::too_many("groups", limits::GROUPS_PER_PRINCIPAL_MAX));
    }
    groups.iter().try_for_each(|group| check_group(group))
}

/// The principal's groups become exactly the given ones.
pub(super) fn set(groups: &mut Groups, command: &SetGroups) -> Result<(), Rejection> {
    principal::check(&command.principal)?;
    check_groups(&command.groups)?;
    groups.check_room(command.groups.len() + 1)?;

    groups.know(&command.principal);
    for group in groups.names_of(&command.principal) {
        groups.set(&command.principal, &group, Source::default());
    }
    for group in &command.groups {
        groups.set(&command.principal, group, Source { by_hand: true, by_claim: false });
    }
    Ok(())
}

/// Adds, then removes.
pub(super) fn modify(groups: &mut Groups, command: &ModifyMembers) -> Result<(), Rejection> {
    check_group(&command.group)?;
    let named = command.add.len() + command.remove.len();
    if named > limits::MEMBERS_PER_COMMAND_MAX {
        return Err(rejection::too_many("members", limits::MEMBERS_PER_COMMAND_MAX));
    }
    for name in command.add.iter().chain(&command.remove) {
        principal::check(name)?;
    }
    for name in &command.add {
        if groups.of(name).count() >= limits::GROUPS_PER_PRINCIPAL_MAX {
            return Err(rejection::too_many("groups", limits::GROUPS_PER_PRINCIPAL_MAX));
        }
    }
    groups.check_room(named * 2)?;

    for name in &command.add {
        let source = groups.source(name, &command.group);
        groups.set(name, &command.group, Source { by_hand: true, ..source });
    }
    for name in &command.remove {
        groups.set(name, &command.group, Source::default());
    }
    Ok(())
}

/// Says no to a claim that is not within its limits.
pub(super) fn check_claim(groups: &Groups, claim: &GroupsClaim) -> Result<(), Rejection> {
    check_groups(&claim.groups)?;
    groups.check_room(claim.groups.len() + 1)
}

/// What the provider said replaces what it said before; what administrators did stays.
pub(super) fn follow_claim(groups: &mut Groups, principal: &str, claim: &GroupsClaim) {
    let claimed: BTreeSet<&str> = claim.groups.iter().map(String::as_str).collect();
    for group in groups.names_of(principal) {
        let source = groups.source(principal, &group);
        let by_claim = claimed.contains(group.as_ref());
        groups.set(principal, &group, Source { by_claim, ..source });
    }
    for group in claimed {
        let source = groups.source(principal, group);
        groups.set(principal, group, Source { by_claim: true, ..source });
    }
}
