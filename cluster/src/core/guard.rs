//! What raft may be shown of what peers send. raft-rs panics on messages that no correct peer sends;
//! here each of its conditions is checked first, so that bytes from outside can never cause one.

use raft::{
    Raft, StateRole,
    eraftpb::{EntryType, Message, MessageType},
};

use crate::{members::Conf, types::ReplicaId};

use super::{CoreError, conf, tail::Tail};

/// Terms and indexes beyond this are nonsense; below it, arithmetic cannot overflow.
const LIMIT: u64 = 1 << 62;

/// What to do with a message.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Give it to raft.
    Pass,
    /// Forget it: raft's protocol bears loss.
    Drop,
    /// Stop: it proves that this replica lost what it once acknowledged.
    Stop(CoreError),
}

/// Facts about the core that raft does not know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// Entries or a snapshot are on their way to the disk.
    pub(super) writing: bool,
    /// A snapshot is on its way into the state machine, or this replica is the only voter.
    pub(super) may_not_campaign: bool,
    /// The applier lags so far that no more may pile up before it.
    pub(super) clogged: bool,
}

/// Judges one message of the authenticated peer `from`.
pub(super) fn judge(
    raft: &Raft<Tail>,
    from: ReplicaId,
    message: &Message,
    facts: Facts,
) -> Verdict {
    let sane = message.from == from.0
        && message.to == raft.id
        && [message.term, message.log_term, message.index, message.commit, message.commit_term]
            .into_iter()
            .chain([message.reject_hint, message.request_snapshot])
            .all(|value| value < LIMIT);
    if !sane {
        return Verdict::Drop;
    }
    // Whoever asks may be a member that this replica, lagging behind, has not heard of yet. Answers
    // are looked at only from those whom raft asked.
    if raft.prs().get(message.from).is_none() && is_answer(message.get_msg_type()) {
        return Verdict::Drop;
    }
    match message.get_msg_type() {
        MessageType::MsgAppend if facts.clogged => Verdict::Drop,
        MessageType::MsgAppend => when(append(message)),
        MessageType::MsgHeartbeat => heartbeat(raft, message),
        MessageType::MsgSnapshot => when(snapshot(message)),
        MessageType::MsgAppendResponse => when(append_response(raft, message)),
        MessageType::MsgHeartbeatResponse
        | MessageType::MsgRequestVote
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestPreVoteResponse => when(message.term > 0),
        // The requests left when all was on disk, so no honest answer comes earlier.
        MessageType::MsgRequestVoteResponse => when(message.term > 0 && !facts.writing),
        MessageType::MsgTimeoutNow => when(
            message.term == raft.term
                && message.from == raft.leader_id
                && !facts.may_not_campaign
                && !facts.writing,
        ),
        MessageType::MsgReadIndex => {
            when(raft.state == StateRole::Leader && message.entries.len() == 1)
        }
        MessageType::MsgReadIndexResp => when(message.term > 0 && message.entries.len() == 1),
        // Local to a replica, or ours to send in another form.
        MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgPropose
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum
        | MessageType::MsgTransferLeader => Verdict::Drop,
    }
}

fn is_answer(kind: MessageType) -> bool {
    matches!(
        kind,
        MessageType::MsgAppendResponse
            | MessageType::MsgRequestVoteResponse
            | MessageType::MsgRequestPreVoteResponse
            | MessageType::MsgHeartbeatResponse
            | MessageType::MsgReadIndex
    )
}

fn when(fine: bool) -> Verdict {
    if fine { Verdict::Pass } else { Verdict::Drop }
}

/// Entries must follow each other and the place they name.
fn append(message: &Message) -> bool {
    let rooted = if message.index == 0 { message.log_term == 0 } else { message.log_term > 0 };
    let mut term = message.log_term;
    let ordered = (message.index + 1..).zip(message.entries.iter()).all(|(index, entry)| {
        let fine = entry.index == index
            && entry.term >= term
            && entry.term > 0
            && entry.get_entry_type() != EntryType::EntryConfChange;
        term = entry.term;
        fine
    });
    message.term > 0 && rooted && ordered && term <= message.term
}

/// A leader tells us to commit only what we acknowledged.
fn heartbeat(raft: &Raft<Tail>, message: &Message) -> Verdict {
    if message.term == 0 {
        return Verdict::Drop;
    }
    let last = raft.raft_log.last_index();
    if message.term >= raft.term && message.commit > last {
        return Verdict::Stop(CoreError::LostLog { acknowledged: message.commit, last });
    }
    Verdict::Pass
}

/// Raft cannot start from a configuration without voters, nor from one with somebody in it twice.
fn snapshot(message: &Message) -> bool {
    let metadata = message.get_snapshot().get_metadata();
    let Conf { voters, learners, outgoing, learners_next } =
        conf::from_raft(metadata.get_conf_state());
    message.term > 0
        && metadata.index > 0
        && metadata.index < LIMIT
        && metadata.term > 0
        && metadata.term <= message.term
        && !voters.is_empty()
        && learners.iter().all(|id| !voters.contains(id) && !outgoing.contains(id))
        && learners_next.is_empty()
        && ![&voters, &learners, &outgoing].into_iter().any(|part| part.contains(&ReplicaId(0)))
        && !metadata.get_conf_state().auto_leave
}

/// Nobody can have acknowledged what this leader has not sent.
fn append_response(raft: &Raft<Tail>, message: &Message) -> bool {
    let known = message.index <= raft.raft_log.last_index();
    message.term > 0
        && message.request_snapshot == 0
        && (raft.state != StateRole::Leader || message.term != raft.term || known)
}
