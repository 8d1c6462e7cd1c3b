//! The record's rules: checks first, changes last; the same answer on every replica.

use muster_hooks::mutant;
use rustls::pki_types::ServerName;

use super::{
    Change, ChangeKind, Command, Conf, Finished, GroupRecord, JoinDigest, JoinToken, MAX_MEMBERS,
    MAX_REMEMBERED, MAX_TEXT, MAX_TOKENS, MAX_TOMBSTONES, MAX_VOTERS, MemberRecord, MemberRole,
    Outcome, Refusal, Step, Tombstone, Wish, draw_id,
};
use crate::types::{Member, ReplicaId, RequestId, Timestamp};

/// Where in the log something happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The entry.
    pub(crate) index: u64,
    /// Its log time.
    pub(crate) time: Timestamp,
}

type Answer = Result<Outcome, Refusal>;

impl GroupRecord {
    /// Applies a command. `request` is who asked, none for the leader's own wishes; `conf` is the
    /// configuration at this entry.
    pub(crate) fn apply(
        &mut self,
        place: Place,
        request: Option<RequestId>,
        wish: Wish,
        conf: &Conf,
    ) -> Outcome {
        if let Some(answer) = request.and_then(|request| self.answer(request)) {
            return answer.clone();
        }
        self.found(&wish.founders);
        let answer = if self.founders.is_empty() {
            Err(Refusal::Unfounded)
        } else {
            self.command(place, wish.command, conf)
        };
        let outcome = answer.unwrap_or_else(Outcome::Refused);
        self.revision = place.index;
        if let Some(request) = request {
            self.answers.push_back((request, outcome.clone()));
            if self.answers.len() > MAX_REMEMBERED {
                self.answers.pop_front();
            }
        }
        outcome
    }

    /// Applies a step of raft's configuration. `None`: it is not what comes next, so it is ignored.
    pub(crate) fn apply_step(&mut self, place: Place, step: &Step, conf: &Conf) -> Option<Conf> {
        if self.next_step(conf).as_ref() != Some(step) {
            return None;
        }
        let after = step.after(conf);
        for (id, member) in &mut self.members {
            let votes = after.votes(*id);
            member.role = if votes { MemberRole::Voter } else { MemberRole::Observer };
        }
        self.revision = place.index;
        self.finish_if_done(place, &after);
        Some(after)
    }

    /// The first command puts into the log what until then stood in everybody's settings.
    fn found(&mut self, founders: &[Member]) {
        if self.revision == 0 && !founders.is_empty() {
            *self = Self::of_settings(founders.to_vec(), founders);
        }
    }

    fn command(&mut self, place: Place, command: Command, conf: &Conf) -> Answer {
        match command {
            Command::MintToken { digest, ttl_us } => self.mint(place, digest, ttl_us),
            Command::Admit { digest, name, address, zone } => {
                self.admit(place, digest, name, address, zone)
            }
            Command::Add { id, name, address, zone, standby } => {
                self.add(place, id, Member { id: ReplicaId(0), name, address }, zone, standby)
            }
            Command::Promote { ids, force } => self.promote(place, ids, force, conf),
            Command::Remove { ids, force } => self.remove(place, ids, force, conf),
            Command::Replace { old, new, force } => self.replace(place, old, new, force, conf),
            Command::Abandon { change, why, only_whole } => {
                self.abandon(place, (change, why), only_whole, conf)
            }
            Command::SetTarget { voters } => {
                self.target = voters;
                Ok(Outcome::Done)
            }
            Command::SetDeadAfter { silence_us } => {
                self.dead_after = silence_us;
                Ok(Outcome::Done)
            }
            Command::Readdress { id, address } => self.readdress(id, address),
            Command::CleanUp { dead, with } => {
                let begun = self.replace(place, dead, with, false, conf)?;
                self.cleaned = place.time;
                Ok(begun)
            }
        }
    }

    fn mint(&mut self, place: Place, digest: JoinDigest, ttl_us: u64) -> Answer {
        self.tokens.retain(|_, token| token.expires >= place.time);
        if self.tokens.len() >= MAX_TOKENS {
            return Err(too_many("join tokens", MAX_TOKENS));
        }
        let expires = Timestamp(place.time.0.saturating_add(ttl_us));
        self.tokens.entry(digest).or_insert(JoinToken { expires, used_by: None });
        Ok(Outcome::Minted { expires })
    }

    fn admit(
        &mut self,
        place: Place,
        digest: JoinDigest,
        name: String,
        address: String,
        zone: String,
    ) -> Answer {
        let token = *self.tokens.get(&digest).ok_or(Refusal::TokenUnknown)?;
        if let Some(replica) = token.used_by {
            // Asked again because the answer was lost.
            let same = self.members.get(&replica).is_some_and(|record| {
                record.member.name == name && record.member.address == address
            });
            return if same { Ok(Outcome::Admitted { replica }) } else { Err(Refusal::TokenUsed) };
        }
        if token.expires < place.time {
            return Err(Refusal::TokenExpired);
        }
        let member = Member { id: ReplicaId(0), name, address };
        let admitted = self.add(place, None, member, zone, false)?;
        if let (Outcome::Admitted { replica }, Some(token)) =
            (&admitted, self.tokens.get_mut(&digest))
        {
            token.used_by = Some(*replica);
        }
        Ok(admitted)
    }

    fn add(
        &mut self,
        place: Place,
        id: Option<ReplicaId>,
        member: Member,
        zone: String,
        standby: bool,
    ) -> Answer {
        let Member { name, address, .. } = member;
        if !matches!(ServerName::try_from(name.as_str()), Ok(ServerName::DnsName(_))) {
            return Err(Refusal::BadText(name));
        }
        check_address(&address)?;
        if zone.len() > MAX_TEXT || zone.chars().any(char::is_control) {
            return Err(Refusal::BadText(zone));
        }
        let mut namesakes = self.members.values().filter(|record| record.member.name == name);
        let replaces = namesakes.next().map(|record| record.member.id);
        if namesakes.next().is_some() {
            return Err(Refusal::NameTaken(name));
        }
        let mut others = self.members.values().filter(|record| Some(record.member.id) != replaces);
        if others.any(|record| record.member.address == address) {
            return Err(Refusal::AddressTaken(address));
        }
        if self.members.len() >= MAX_MEMBERS {
            return Err(too_many("members", MAX_MEMBERS));
        }
        if self.tombstones.len() + self.members.len() >= MAX_TOMBSTONES {
            return Err(too_many("removed replicas", MAX_TOMBSTONES));
        }
        let replica = id.unwrap_or_else(|| draw_id(self, &name, place.index));
        if self.members.contains_key(&replica) || self.tombstones.contains_key(&replica) {
            return Err(Refusal::IdTaken(replica));
        }
        let record = MemberRecord {
            member: Member { id: replica, name, address },
            zone,
            role: MemberRole::Observer,
            standby,
            replaces,
            since: place.index,
        };
        self.members.insert(replica, record);
        Ok(Outcome::Admitted { replica })
    }

    fn promote(&mut self, place: Place, ids: Vec<ReplicaId>, force: bool, conf: &Conf) -> Answer {
        self.check_ids(&ids)?;
        if let Some(id) = ids.iter().find(|id| conf.voters.contains(id)) {
            return Err(Refusal::AlreadyVoter(*id));
        }
        let voters = conf.voters.len() + ids.len();
        if voters > MAX_VOTERS {
            return Err(too_many("voters", MAX_VOTERS));
        }
        check_odd(voters, force)?;
        if !force {
            ids.iter().try_for_each(|id| self.check_namesake(*id, None, conf))?;
        }
        self.begin(place, ChangeKind::Promote(ids), force, conf)
    }

    fn remove(&mut self, place: Place, ids: Vec<ReplicaId>, force: bool, conf: &Conf) -> Answer {
        self.check_ids(&ids)?;
        let gone = ids.iter().filter(|id| conf.voters.contains(id)).count();
        let left = conf.voters.len().saturating_sub(gone);
        if gone > 0 {
            if left == 0 {
                return Err(Refusal::LastVoter);
            }
            check_odd(left, force)?;
        }
        self.begin(place, ChangeKind::Remove(ids), force, conf)
    }

    fn replace(
        &mut self,
        place: Place,
        old: ReplicaId,
        new: ReplicaId,
        force: bool,
        conf: &Conf,
    ) -> Answer {
        self.check_ids(&[old, new])?;
        if !conf.voters.contains(&old) {
            return Err(Refusal::NotVoter(old));
        }
        if conf.voters.contains(&new) {
            return Err(Refusal::AlreadyVoter(new));
        }
        if !force {
            self.check_namesake(new, Some(old), conf)?;
        }
        self.begin(place, ChangeKind::Replace { old, new }, force, conf)
    }

    fn abandon(
        &mut self,
        place: Place,
        (change, why): (u64, Refusal),
        only_whole: bool,
        conf: &Conf,
    ) -> Answer {
        if self.change.as_ref().is_none_or(|under_way| under_way.id != change) {
            return Err(Refusal::NoSuchChange(change));
        }
        if conf.is_joint() {
            return Err(Refusal::TooFar(change));
        }
        if only_whole && self.is_half_done(conf) {
            return Err(Refusal::HalfDone(change));
        }
        if let Some(Change { kind: ChangeKind::Remove(ids), .. }) = self.change.take() {
            // Who was removed already has ended, and does not come back.
            let gone = ids.into_iter().filter(|id| !conf.contains(*id));
            gone.for_each(|id| self.bury(place, id));
        }
        self.remember(Finished { id: change, refused: Some(why) });
        Ok(Outcome::Done)
    }

    fn readdress(&mut self, id: ReplicaId, address: String) -> Answer {
        check_address(&address)?;
        let mut others = self.members.values().filter(|record| record.member.id != id);
        if others.any(|record| record.member.address == address) {
            return Err(Refusal::AddressTaken(address));
        }
        let member = self.members.get_mut(&id).ok_or(Refusal::Unknown(id))?;
        member.member.address = address;
        Ok(Outcome::Done)
    }

    fn begin(&mut self, place: Place, kind: ChangeKind, force: bool, conf: &Conf) -> Answer {
        if let Some(change) = &self.change {
            return Err(Refusal::Busy(change.id));
        }
        let Place { index: id, time: since } = place;
        self.change = Some(Change { id, kind, force, since });
        self.finish_if_done(place, conf);
        Ok(Outcome::Begun { change: id })
    }

    fn finish_if_done(&mut self, place: Place, conf: &Conf) {
        let Some(change) = &self.change else { return };
        if conf.is_joint() || self.step_of(&change.kind, conf).is_some() {
            return;
        }
        let Some(Change { id, kind, .. }) = self.change.take() else { return };
        match kind {
            ChangeKind::Promote(_) => {}
            ChangeKind::Remove(ids) => ids.into_iter().for_each(|id| self.bury(place, id)),
            ChangeKind::Replace { old, .. } => self.bury(place, old),
        }
        self.remember(Finished { id, refused: None });
    }

    fn bury(&mut self, place: Place, id: ReplicaId) {
        let Some(gone) = self.members.remove(&id) else { return };
        for member in self.members.values_mut() {
            member.replaces = member.replaces.filter(|old| *old != id);
        }
        let Place { index, time } = place;
        if !mutant!(TombstoneForgotten) {
            self.tombstones.insert(id, Tombstone { name: gone.member.name, index, time });
        }
    }

    fn remember(&mut self, finished: Finished) {
        self.finished.push_back(finished);
        if self.finished.len() > MAX_REMEMBERED {
            self.finished.pop_front();
        }
    }

    /// Who came back under the name of a voter takes that one's place and no other's, or a voter that is
    /// likely lost for ever would stay one.
    fn check_namesake(
        &self,
        new: ReplicaId,
        gives_way: Option<ReplicaId>,
        conf: &Conf,
    ) -> Result<(), Refusal> {
        let namesake = self.members.get(&new).and_then(|record| record.replaces);
        match namesake.filter(|old| Some(*old) != gives_way && conf.voters.contains(old)) {
            Some(old) => Err(Refusal::StandsFor { new, old }),
            None => Ok(()),
        }
    }

    fn check_ids(&self, ids: &[ReplicaId]) -> Result<(), Refusal> {
        if !matches!(ids, [_] | [_, _]) || ids.first() == ids.get(1) {
            return Err(Refusal::BadIds);
        }
        match ids.iter().find(|id| !self.members.contains_key(id)) {
            Some(id) if self.tombstones.contains_key(id) => Err(Refusal::Removed(*id)),
            Some(id) => Err(Refusal::Unknown(*id)),
            None => Ok(()),
        }
    }
}

fn check_odd(voters: usize, force: bool) -> Result<(), Refusal> {
    if voters.is_multiple_of(2) && !force { Err(Refusal::Even(voters as u64)) } else { Ok(()) }
}

fn check_address(address: &str) -> Result<(), Refusal> {
    let fine = address.len() <= MAX_TEXT
        && !address.chars().any(|letter| letter.is_control() || letter.is_whitespace())
        && address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
    if fine { Ok(()) } else { Err(Refusal::BadText(address.to_owned())) }
}

fn too_many(what: &str, limit: usize) -> Refusal {
    Refusal::TooMany { what: what.to_owned(), limit: limit as u64 }
}
