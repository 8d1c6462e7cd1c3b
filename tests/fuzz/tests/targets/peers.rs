//! What other replicas send. They are known by their certificates and may still be broken, or newer.

use bolero::check;
use bytes::BytesMut;
use muster_cluster::core::message::PeerMessage;
use muster_cluster::net::MAX_PAYLOAD;
use muster_cluster::net::frame::{FrameCodec, Kind, put};
use muster_cluster::snapshot::SnapshotMeta;
use muster_fuzz::{Damage, samples};
use prost::Message as _;
use tokio_util::codec::Decoder as _;

/// A stream of two frames; of what is damaged nothing passes for a frame that was not sent, and no
/// memory is taken for what was only announced.
#[test]
fn frames() {
    let messages = samples("messages");
    check!().with_iterations(10_000).with_type::<Damage>().for_each(|damage| {
        let sent = Damage::none(damage.which()).of(&messages);
        let mut stream = BytesMut::new();
        put(Kind::Message, &sent, &mut stream);
        put(Kind::Question, &sent, &mut stream);
        let mut bytes = BytesMut::from(damage.of(&[stream.to_vec()]).as_slice());
        let length = bytes.len();
        let mut codec = FrameCodec::new(MAX_PAYLOAD);
        while let Ok(Some(frame)) = codec.decode(&mut bytes) {
            // An edit may repeat a whole frame; nothing else matches its checksum.
            assert_eq!(frame.payload, sent, "{:?}", frame.kind);
        }
        let reserved = bytes.capacity();
        assert!(reserved <= length + MAX_PAYLOAD + 64, "{reserved} bytes for {length}");
    });
}

/// A damaged message under a right checksum.
#[test]
fn a_message() {
    let messages = samples("messages");
    check!().with_iterations(20_000).with_type::<Damage>().for_each(|damage| {
        if let Ok(message) = PeerMessage::decode(damage.of(&messages).as_slice()) {
            let again = PeerMessage::decode(message.encode_to_vec().as_slice());
            assert_eq!(again, Ok(message));
        }
    });
}

/// What a snapshot says of itself.
#[test]
fn the_meta_of_a_snapshot() {
    let messages = samples("messages");
    check!().with_iterations(10_000).with_type::<Damage>().for_each(|damage| {
        if let Ok(meta) = SnapshotMeta::decode(&damage.of(&messages)) {
            let again = SnapshotMeta::decode(&meta.encode());
            assert!(again.is_ok_and(|again| again == meta));
        }
    });
}
