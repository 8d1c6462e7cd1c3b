//! The group record and raft's configuration, as far as entries were handed to the applier. They
//! move with what is handed on, not with what the applier reports: so a snapshot's picture, which is
//! asked for in the same order, always fits them.

use std::sync::Arc;

use raft::eraftpb::{Entry, EntryType};

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
        Ok(Self { group: Arc::new(group), conf, time, removed: false })
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
    /// itself is removed.
    pub(super) fn note(
        &mut self,
        entries: &[Entry],
        out: &mut Vec<Output>,
    ) -> Result<(), CoreError> {
        for entry in entries {
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
            if self.record.removed {
                break;
            }
        }
        Ok(())
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
        let group = Arc::make_mut(&mut self.record.group);
        let Some(after) = group.apply_step(place, &step, &self.record.conf) else { return Ok(()) };
        self.record.conf = after;
        if member && !self.record.conf.contains(self.config.me) {
            // Raft itself would not survive that as a leader.
            self.leave(out);
            return Ok(());
        }
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
