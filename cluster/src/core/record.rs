//! The group record and raft's configuration, as far as entries were handed to the applier. They
//! move with what is handed on, not with what the applier reports: so a snapshot's picture, which is
//! asked for in the same order, always fits them.

use std::{collections::BTreeSet, sync::Arc};

use protobuf::Message as _;
use raft::{
    StateRole,
    eraftpb::{ConfChangeType, ConfChangeV2, Entry, EntryType},
};

use super::{Core, CoreConfig, CoreError, conf, io::Output};
use crate::{
    log::LoadedLog,
    members::{Conf, GroupRecord, Place, StoredConf, Wish},
    sessions::{self, Envelope},
    snapshot::SnapshotMeta,
    types::{Member, ReplicaId, Timestamp},
};

pub(super) struct Record {
    pub(super) group: Arc<GroupRecord>,
    pub(super) conf: Conf,
    /// Log time of the last entry that was handed on.
    pub(super) time: Timestamp,
    /// This replica is no member any more.
    pub(super) removed: bool,
    /// It leads, and its removal is agreed on: it stays until the others know.
    pub(super) leaving: Option<Leaving>,
}

/// A leader that is to go.
pub(super) struct Leaving {
    /// The entry that removes it.
    index: u64,
    /// The voters that are left.
    voters: BTreeSet<ReplicaId>,
}

impl Record {
    /// What snapshot or log say; without a record in them, what the settings say.
    pub(super) fn new(
        config: &CoreConfig,
        log: &LoadedLog,
        snapshot: Option<&SnapshotMeta>,
    ) -> Result<Self, CoreError> {
        let given = Conf::of_voters(config.founders.iter().map(|founder| founder.id));
        let StoredConf { conf, record } = stored(log, snapshot)?
            .unwrap_or_else(|| StoredConf { conf: given.clone(), record: None });
        // Without a record only the settings tell where the voters are. They may name more, who are
        // to join: a group that was restored begins with one.
        if record.is_none() && !conf.voters.is_subset(&given.voters) {
            let ids = |conf: &Conf| conf.voters.iter().map(|id| id.0).collect();
            return Err(CoreError::OtherVoters { stored: ids(&conf), given: ids(&given) });
        }
        let group = record.unwrap_or_else(|| {
            let is_to_join = |member: &Member| {
                given.voters.contains(&member.id) && !conf.voters.contains(&member.id)
            };
            let belonging = |members: &[Member]| -> Vec<Member> {
                members.iter().filter(|member| !is_to_join(member)).cloned().collect()
            };
            GroupRecord::of_settings(belonging(&config.founders), &belonging(&config.members))
        });
        let time = snapshot.map_or(Timestamp(0), |meta| meta.time);
        Ok(Self { group: Arc::new(group), conf, time, removed: false, leaving: None })
    }

    fn told(&self) -> Output {
        Output::Record { record: Arc::clone(&self.group), conf: self.conf.clone() }
    }

    /// Both, for a snapshot of what was handed on so far.
    pub(super) fn encode(&self) -> bytes::Bytes {
        let record = (self.group.revision > 0).then(|| GroupRecord::clone(&self.group));
        StoredConf { conf: self.conf.clone(), record }.encode()
    }
}

fn stored(
    log: &LoadedLog,
    snapshot: Option<&SnapshotMeta>,
) -> Result<Option<StoredConf>, prost::DecodeError> {
    let bytes = snapshot.map(|meta| &meta.conf).or(log.conf.as_ref());
    bytes.map(|bytes| StoredConf::decode(bytes)).transpose()
}

/// The configuration after the last entry of a log, agreed or not; `None` if it says nothing.
pub fn conf_at_the_end(
    log: &LoadedLog,
    snapshot: Option<&SnapshotMeta>,
) -> Result<Option<StoredConf>, CoreError> {
    let Some(StoredConf { mut conf, record }) = stored(log, snapshot)? else { return Ok(None) };
    let mut group = record.unwrap_or_default();
    for entry in &log.entries {
        let place = Place { index: entry.index, time: Timestamp(0) };
        if entry.kind == sessions::WISH {
            let newer = CoreError::Newer { index: entry.index };
            let wish = Envelope::read(entry.data.clone()).ok();
            let wish = wish.and_then(|envelope| Wish::decode(&envelope.wish)).ok_or(newer)?;
            group.apply(place, None, wish, &conf);
        } else if entry.kind == sessions::STEP
            && let Some(step) = group.next_step(&conf)
            && conf::is_step(&entry.data, &step)
            && let Some(after) = group.apply_step(place, &step, &conf)
        {
            conf = after;
        }
    }
    Ok(Some(StoredConf { conf, record: Some(group) }))
}

impl Core {
    /// The group record as of what was handed to the applier.
    pub fn record(&self) -> &Arc<GroupRecord> {
        &self.record.group
    }

    /// The configuration as of what was handed to the applier.
    pub fn conf(&self) -> &Conf {
        &self.record.conf
    }

    /// Takes note of entries that are about to be handed to the applier. Ends early when this replica
    /// itself is removed: the entries from there on are not for it.
    pub(super) fn note(
        &mut self,
        entries: &[Entry],
        out: &mut Vec<Output>,
    ) -> Result<(), CoreError> {
        for entry in entries {
            if self.record.removed || self.record.leaving.is_some() {
                break;
            }
            if entry.data.is_empty() && entry.context.is_empty() {
                continue;
            }
            self.record.time = sessions::next_time(self.record.time, &entry.context);
            match entry.get_entry_type() {
                EntryType::EntryConfChangeV2 => self.note_step(entry, out)?,
                EntryType::EntryNormal if sessions::is_wish(&entry.context) => {
                    self.note_wish(entry, out)?;
                }
                EntryType::EntryNormal | EntryType::EntryConfChange => {}
            }
        }
        Ok(())
    }

    /// Whether an entry is still for this replica.
    pub(super) fn is_for_me(&self, index: u64) -> bool {
        self.record.leaving.as_ref().is_none_or(|leaving| index < leaving.index)
    }

    fn note_wish(&mut self, entry: &Entry, out: &mut Vec<Output>) -> Result<(), CoreError> {
        let newer = CoreError::Newer { index: entry.index };
        let envelope = Envelope::read(entry.data.clone()).ok().ok_or(newer)?;
        let newer = CoreError::Newer { index: entry.index };
        let wish = Wish::decode(&envelope.wish).ok_or(newer)?;
        let request = envelope.request();
        let place = Place { index: entry.index, time: self.record.time };
        // The leader's own wishes are numbered 0 and have no answer.
        let asked = (request.sequence > 0).then_some(request);
        let before = self.tombstones();
        let group = Arc::make_mut(&mut self.record.group);
        let outcome = group.apply(place, asked, wish, &self.record.conf);
        // The record first: whoever gets an answer finds it there.
        self.changed(entry.index, before, out);
        let me = (self.config.me, self.config.incarnation);
        if asked.is_some() && (request.replica, request.incarnation) == me {
            self.proposals.done(&[request.sequence]);
            out.push(Output::Answered { sequence: request.sequence, outcome });
        }
        Ok(())
    }

    fn note_step(&mut self, entry: &Entry, out: &mut Vec<Output>) -> Result<(), CoreError> {
        let Some(step) = self.record.group.next_step(&self.record.conf) else { return Ok(()) };
        if !conf::is_step(&entry.data, &step) {
            return Ok(());
        }
        let place = Place { index: entry.index, time: self.record.time };
        let before = self.tombstones();
        let member = self.record.conf.contains(self.config.me);
        let mut group = self.record.group.as_ref().clone();
        let Some(after) = group.apply_step(place, &step, &self.record.conf) else { return Ok(()) };
        if member && !after.contains(self.config.me) {
            // Raft itself would not survive that as a leader.
            if self.node.raft.state == StateRole::Leader {
                let (index, voters) = (entry.index, after.voters);
                self.record.leaving = Some(Leaving { index, voters });
            } else {
                self.leave(out);
            }
            return Ok(());
        }
        self.record.group = Arc::new(group);
        self.record.conf = after;
        let now = self.node.apply_conf_change(&conf::change_of(&step))?;
        debug_assert_eq!(conf::from_raft(&now), self.record.conf);
        self.changed(entry.index, before, out);
        Ok(())
    }

    /// A snapshot of another replica stands in for all entries before.
    pub(super) fn note_install(&mut self, meta: &SnapshotMeta, out: &mut Vec<Output>) {
        // It was looked at when it was offered.
        let Ok(StoredConf { conf, record }) = StoredConf::decode(&meta.conf) else { return };
        self.record.conf = conf;
        self.record.time = meta.time;
        let Some(record) = record else { return };
        self.record.group = Arc::new(record);
        out.push(self.record.told());
        let me = (self.config.me, self.config.incarnation);
        for (request, outcome) in &self.record.group.answers {
            if (request.replica, request.incarnation) == me {
                let (sequence, outcome) = (request.sequence, outcome.clone());
                self.proposals.done(&[sequence]);
                out.push(Output::Answered { sequence, outcome });
            }
        }
    }

    /// Goes, once the others know that they can go on alone. Until then they may need this vote: of two
    /// voters, the other one cannot know that it is the only one left.
    pub(super) fn farewell(&mut self, out: &mut Vec<Output>) {
        let Some(leaving) = &self.record.leaving else { return };
        let raft = &self.node.raft;
        let knows = |id: &&ReplicaId| {
            raft.prs().get(id.0).is_some_and(|peer| peer.committed_index >= leaving.index)
        };
        let is_known = leaving.voters.iter().filter(knows).count() > leaving.voters.len() / 2;
        if is_known || raft.state != StateRole::Leader {
            self.leave(out);
        }
    }

    #[cfg(test)]
    pub(super) fn is_leaving(&self) -> bool {
        self.record.leaving.is_some()
    }

    /// What goes to the disk as committed, with entries that are about to be handed on. A leader leaves its own removal
    /// out: one that ends before the others know of it has to come up as a member.
    pub(super) fn durable_commit(&self, committed: &[Entry]) -> u64 {
        let raft = &self.node.raft;
        let leads = raft.state == StateRole::Leader;
        let removal = match &self.record.leaving {
            Some(leaving) => Some(leaving.index),
            None => committed.iter().find(|it| leads && self.may_remove_me(it)).map(|it| it.index),
        };
        removal.map_or(raft.raft_log.committed, |index| raft.raft_log.committed.min(index - 1))
    }

    /// Whether an entry names this replica as one to go, or ends a change that may have.
    fn may_remove_me(&self, entry: &Entry) -> bool {
        let Some(step) = step_in(entry) else { return false };
        let me = self.config.me.0;
        let names_me = |change: &raft::eraftpb::ConfChangeSingle| {
            change.node_id == me && change.get_change_type() == ConfChangeType::RemoveNode
        };
        step.changes.is_empty() && !self.record.conf.voters.contains(&self.config.me)
            || step.changes.iter().any(names_me)
    }

    /// This replica is no member any more.
    pub(super) fn leave(&mut self, out: &mut Vec<Output>) {
        if !self.record.removed {
            self.record.removed = true;
            out.push(Output::Removed);
        }
    }

    fn tombstones(&self) -> usize {
        self.record.group.tombstones.len()
    }

    fn changed(&mut self, index: u64, before: usize, out: &mut Vec<Output>) {
        let group = &self.record.group;
        if group.tombstones.len() > before {
            let fresh = group.tombstones.iter().filter(|(_, tombstone)| tombstone.index == index);
            let replicas: Vec<ReplicaId> = fresh.map(|(id, _)| *id).collect();
            if replicas.contains(&self.config.me) {
                self.leave(out);
                return;
            }
            out.push(Output::Retire { at: index, replicas });
        }
        self.contacts.retain(|id, _| group.members.contains_key(id));
        out.push(self.record.told());
    }
}

/// The step of the configuration in an entry, if it is one.
pub(super) fn step_in(entry: &Entry) -> Option<ConfChangeV2> {
    (entry.get_entry_type() == EntryType::EntryConfChangeV2)
        .then(|| ConfChangeV2::parse_from_bytes(&entry.data).ok())
        .flatten()
}
