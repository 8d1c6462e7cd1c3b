//! Reads what replicas say to each other, for the checks: the core itself is not asked.

use bytes::Bytes;
use muster_cluster::core::message::{Kind, PeerMessage};
use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};

/// What a message promises on behalf of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// The sender's vote of `term` goes to the replica with raft id `to`.
    Vote { term: u64, to: u64 },
    /// The sender's log of `term` holds everything up to `index`.
    Append { term: u64, index: u64 },
}

/// The raft message in `payload`, if it is one.
pub(crate) fn raft_message(payload: &Bytes) -> Option<Message> {
    match PeerMessage::from_payload(payload.clone()).ok()?.kind? {
        Kind::Raft(bytes) => Message::parse_from_bytes(&bytes).ok(),
        _ => None,
    }
}

/// What `message` promises.
pub(crate) fn promise(message: &Message) -> Option<Promise> {
    let (term, index) = (message.term, message.index);
    match message.get_msg_type() {
        MessageType::MsgRequestVote => Some(Promise::Vote { term, to: message.from }),
        MessageType::MsgRequestVoteResponse if !message.reject => {
            Some(Promise::Vote { term, to: message.to })
        }
        MessageType::MsgAppendResponse if !message.reject => Some(Promise::Append { term, index }),
        _ => None,
    }
}

/// A word for the story.
pub(crate) fn describe(payload: &Bytes) -> String {
    match PeerMessage::from_payload(payload.clone()) {
        Ok(PeerMessage { kind: Some(Kind::Raft(bytes)) }) => {
            match Message::parse_from_bytes(&bytes) {
                Ok(message) => format!(
                    "{:?} term {} log {}@{} commit {} entries {}{}",
                    message.get_msg_type(),
                    message.term,
                    message.index,
                    message.log_term,
                    message.commit,
                    message.entries.len(),
                    if message.reject { " reject" } else { "" },
                ),
                Err(error) => format!("{error}"),
            }
        }
        Ok(PeerMessage { kind: Some(Kind::SnapshotChunk(chunk)) }) => {
            format!("SnapshotChunk {} of transfer {}", chunk.number, chunk.transfer)
        }
        Ok(PeerMessage { kind: Some(kind) }) => format!("{kind:?}"),
        Ok(PeerMessage { kind: None }) => "an unknown kind".into(),
        Err(error) => format!("{error}"),
    }
}
