//! Linearizable reads by rounds: one round asks the leader once for all reads that came before it.
//! A round that is lost is asked anew under a name never used before, so that no late answer to an
//! old question can serve a newer read.

use muster_hooks::mutant;
use raft::{RawNode, StateRole};

use super::{io::Output, tail::Tail};
use crate::types::ReplicaId;

struct Round {
    name: Vec<u8>,
    ticket: u64,
    asked_at: u64,
    /// Term and leader that it was asked of.
    epoch: (u64, u64),
}

pub(super) struct Reads {
    me: ReplicaId,
    incarnation: u64,
    rounds: u64,
    /// The highest ticket that is in no round yet.
    waiting: Option<u64>,
    round: Option<Round>,
    /// Rounds that nobody answered in time, since the last that somebody did.
    unanswered: u32,
}

impl Reads {
    pub(super) fn new(me: ReplicaId, incarnation: u64) -> Self {
        Self { me, incarnation, rounds: 0, waiting: None, round: None, unanswered: 0 }
    }

    pub(super) fn add(&mut self, ticket: u64) {
        self.waiting = self.waiting.max(Some(ticket));
    }

    /// Asks, unless a round is under way that is neither old nor asked of another leader.
    pub(super) fn flush(&mut self, node: &mut RawNode<Tail>, tick: u64, patience: u64) {
        let epoch = (node.raft.term, node.raft.leader_id);
        let leads = node.raft.state == StateRole::Leader;
        // Raft drops the question without a word in both cases.
        if epoch.1 == 0 || (leads && !node.raft.commit_to_current_term()) {
            return;
        }
        let stale = match &self.round {
            // Patience doubles: an answer that takes longer than the first would never be waited for.
            Some(round) => {
                epoch != round.epoch || tick >= round.asked_at + (patience << self.unanswered)
            }
            None => self.waiting.is_some(),
        };
        if !stale {
            return;
        }
        let lost = self.round.take();
        self.unanswered = match &lost {
            Some(lost) if lost.epoch == epoch => (self.unanswered + 1).min(5),
            _ => 0,
        };
        let lost = lost.map(|round| round.ticket);
        let Some(ticket) = self.waiting.take().max(lost) else { return };
        self.rounds += 1;
        let round = if mutant!(ReadNameReused) { 0 } else { self.rounds };
        let name = [self.me.0, self.incarnation, round].map(u64::to_be_bytes).concat();
        self.round = Some(Round { name: name.clone(), ticket, asked_at: tick, epoch });
        node.read_index(name);
    }

    /// Answers what waits without asking anybody: a deliberate bug.
    pub(super) fn guess(&mut self, index: u64, out: &mut Vec<Output>) {
        if let Some(ticket) = self.waiting.take() {
            out.push(Output::ReadAt { ticket, index });
        }
    }

    /// Takes an answer of raft.
    pub(super) fn answered(&mut self, name: &[u8], index: u64, out: &mut Vec<Output>) {
        if let Some(round) = self.round.take_if(|round| round.name == name) {
            let index = index - u64::from(mutant!(ReadBehind));
            out.push(Output::ReadAt { ticket: round.ticket, index });
        }
    }
}
