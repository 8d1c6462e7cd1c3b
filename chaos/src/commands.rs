//! What clients ask for: Muster's own commands, over few clusters so that they meet.

use bytes::Bytes;
use muster::state::secret::cluster_secret_digest;
use muster_proto::muster::log::v1::{
    ActivateLicense, AddCluster, Beat, Command, DeleteCluster, License, RecordHeartbeats,
    RemoveLicenseAndClusters, UpdateCluster, command::Kind,
};
use prost::Message as _;
use prost_types::Timestamp;

use crate::chance::Chance;

/// Unix time of the worlds' beginning, seconds; clocks are off by hours.
const BEGINNING: i64 = 1_700_000_000;

/// A command that a client might want; `request` names it, if anything does, for asking again.
pub(crate) fn draw(chance: &mut Chance, clusters: u64, request: u64) -> Bytes {
    let id = format!("cluster-{}", chance.below(clusters));
    let kind = match chance.below(100) {
        0..45 => Kind::RecordHeartbeats(beats(chance, clusters, id)),
        45..65 => Kind::AddCluster(add(chance, id)),
        65..78 => Kind::UpdateCluster(update(chance, id)),
        78..90 => Kind::DeleteCluster(DeleteCluster { id }),
        90..99 => Kind::ActivateLicense(activate(chance)),
        _ => Kind::RemoveLicenseAndClusters(RemoveLicenseAndClusters {}),
    };
    let named = !matches!(kind, Kind::RecordHeartbeats(_)) && chance.permille(800);
    let request_id = if named { format!("request-{request}") } else { String::new() };
    let command = Command { request_id, kind: Some(kind), ..Command::default() };
    command.encode_to_vec().into()
}

/// One of three secrets that a cluster's people confuse.
fn secret(chance: &mut Chance, id: &str) -> Bytes {
    let secret = format!("secret-{}", chance.below(3));
    Bytes::copy_from_slice(&cluster_secret_digest(id, &secret))
}

fn beats(chance: &mut Chance, clusters: u64, id: String) -> RecordHeartbeats {
    let mut ids = vec![id];
    while chance.permille(300) {
        ids.push(format!("cluster-{}", chance.below(clusters)));
    }
    let beat = |id: String| Beat {
        secret_digest: secret(chance, &id),
        id,
        version: "2.6.4".into(),
        auth_enabled: false,
        client_id: String::new(),
    };
    RecordHeartbeats { beats: ids.into_iter().map(beat).collect() }
}

fn add(chance: &mut Chance, id: String) -> AddCluster {
    AddCluster {
        secret_digest: secret(chance, &id),
        id,
        address: format!("grpc://10.0.0.{}:30650", chance.below(250)),
        ..AddCluster::default()
    }
}

fn update(chance: &mut Chance, id: String) -> UpdateCluster {
    let secret_digest = if chance.coin() { secret(chance, &id) } else { Bytes::new() };
    UpdateCluster {
        secret_digest,
        id,
        user_address: format!("grpc://pach-{}.example:30650", chance.below(250)),
        ..UpdateCluster::default()
    }
}

fn activate(chance: &mut Chance) -> ActivateLicense {
    // Some are over, or will be before the world is.
    let seconds = if chance.permille(800) { 1 << 20 } else { i64::from(chance.coin()) * 20 };
    let license = License {
        activation_code: format!("code-{}", chance.below(1000)),
        expires: Some(Timestamp { seconds: BEGINNING + seconds, nanos: 0 }),
        max_clusters: chance.permille(200).then_some(3),
        ..License::default()
    };
    ActivateLicense { license: Some(license) }
}
