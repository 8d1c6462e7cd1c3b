//! What clients ask for: Muster's own commands, over few clusters so that they meet.

use bytes::Bytes;
use muster::state::secret::{cluster_secret_digest, token_digest};
use muster_proto::auth_v2::ResourceType;
use muster_proto::muster::log::v1::{
    ActivateAuth, ActivateEnterprise, ActivateLicense, AddCluster, Anonymous, Beat, Caller,
    Command, DeactivateAuth, DeleteCluster, DeleteExpiredTokens, ForgetRevokedTokens,
    HeartbeatEnterprise, Internal, IssueRobotToken, License, ModifyRoleBinding, RecordHeartbeats,
    RemoveLicenseAndClusters, Resource, RestoreToken, RevokeToken, RevokeTokensOf, RotateRootToken,
    UpdateCluster, caller::Who, command::Kind,
};
use prost::Message as _;
use prost_types::Timestamp;

use crate::chance::Chance;
use crate::plan::ClientPlan;

/// Unix time of the worlds' beginning, seconds; clocks are off by hours.
pub(crate) const BEGINNING: i64 = 1_700_000_000;

/// A command that a client might want; `request` names it, if anything does, for asking again.
pub(crate) fn draw(chance: &mut Chance, plan: &ClientPlan, request: u64) -> Bytes {
    let clusters = plan.clusters;
    let id = format!("cluster-{}", chance.below(clusters));
    let kind = match chance.below(100) {
        _ if chance.permille(plan.auth_permille) => auth(chance, id),
        0..45 => Kind::RecordHeartbeats(beats(chance, clusters, id)),
        45..65 => Kind::AddCluster(add(chance, id)),
        65..78 => Kind::UpdateCluster(update(chance, id)),
        78..90 => Kind::DeleteCluster(DeleteCluster { id }),
        90..99 => Kind::ActivateLicense(activate(chance)),
        _ => Kind::RemoveLicenseAndClusters(RemoveLicenseAndClusters {}),
    };
    let named = !matches!(kind, Kind::RecordHeartbeats(_)) && chance.permille(800);
    let request_id = if named { format!("request-{request}") } else { String::new() };
    let caller = (plan.auth_permille > 0).then(|| caller(chance, &kind));
    let command = Command { caller, request_id, kind: Some(kind), ..Command::default() };
    command.encode_to_vec().into()
}

/// One of three secrets that a cluster's people confuse.
fn secret(chance: &mut Chance, id: &str) -> Bytes {
    secret_of(id, chance.below(3))
}

/// The digest of a cluster's secret of that number.
pub(crate) fn secret_of(id: &str, number: u64) -> Bytes {
    Bytes::copy_from_slice(&cluster_secret_digest(id, &format!("secret-{number}")))
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
    let number = chance.below(1000);
    let code = format!("code-{number}");
    // As the replicas of a group with a data key ask for it, or as those of one without.
    let sealed = number.is_multiple_of(2);
    let license = License {
        activation_code: if sealed { String::new() } else { code.clone() },
        activation_code_sealed: if sealed { code.into() } else { Bytes::new() },
        expires: Some(Timestamp { seconds: BEGINNING + seconds, nanos: 0 }),
        max_clusters: chance.permille(200).then_some(3),
        ..License::default()
    };
    ActivateLicense { license: Some(license) }
}

/// So few tokens are known to the clients that they meet.
pub(crate) const TOKENS: u64 = 6;

/// The digest of the token of that number; token 0 is the first of root's.
pub(crate) fn token(number: u64) -> Vec<u8> {
    token_digest(format!("token-{number}")).to_vec()
}

fn any_token(chance: &mut Chance) -> Bytes {
    token(chance.below(TOKENS)).into()
}

fn caller(chance: &mut Chance, kind: &Kind) -> Caller {
    let who = match chance.below(10) {
        // Nobody else may; a few try.
        0..9 if matches!(kind, Kind::ForgetRevokedTokens(_)) => {
            Who::Internal(Internal::AuthServer.into())
        }
        0..6 => Who::TokenDigest(token(0).into()),
        6..9 => Who::TokenDigest(any_token(chance)),
        _ => Who::Anonymous(Anonymous {}),
    };
    Caller { who: Some(who) }
}

/// License, membership, auth, and then whatever comes to an administrator's mind.
fn auth(chance: &mut Chance, id: String) -> Kind {
    let robot = format!("robot:{}", chance.below(3));
    match chance.below(100) {
        0..12 => {
            let beat = Beat {
                secret_digest: secret(chance, &id),
                id,
                version: "2.6.4".into(),
                ..Beat::default()
            };
            let license_server = "grpc://localhost:1650".into();
            Kind::ActivateEnterprise(ActivateEnterprise { license_server, beat: Some(beat) })
        }
        12..15 => Kind::HeartbeatEnterprise(HeartbeatEnterprise::default()),
        15..30 => Kind::ActivateAuth(ActivateAuth { root_token_digest: token(0).into() }),
        30..50 => Kind::IssueRobotToken(IssueRobotToken {
            robot,
            token_digest: any_token(chance),
            ttl_seconds: chance.pick(&[0, 0, 1, 5, 20]).unwrap_or(0),
        }),
        50..62 => {
            // Root's own goes seldom, or nobody could do anything any more.
            let first = u64::from(!chance.permille(50));
            let token_digest = token(chance.between(first, TOKENS - 1)).into();
            Kind::RevokeToken(RevokeToken { token_digest })
        }
        62..67 => Kind::RevokeTokensOf(RevokeTokensOf {
            subject: robot,
            at_once: chance.pick(&[0, 1, 1]).unwrap_or(0),
        }),
        67..70 => Kind::DeleteExpiredTokens(DeleteExpiredTokens {
            max: chance.pick(&[0, 1]).unwrap_or(0),
        }),
        70..73 => Kind::ForgetRevokedTokens(ForgetRevokedTokens {
            max: chance.pick(&[0, 1]).unwrap_or(0),
        }),
        73..80 => {
            let soon = (u64::try_from(BEGINNING).unwrap_or(0) + chance.below(40)) * 1_000_000;
            let expires_us = if chance.coin() { 0 } else { soon };
            let token_digest = any_token(chance);
            Kind::RestoreToken(RestoreToken { subject: robot, token_digest, expires_us })
        }
        80..83 => {
            Kind::RotateRootToken(RotateRootToken { token_digest: token(0).into(), at_once: 1 })
        }
        83..97 => Kind::ModifyRoleBinding(ModifyRoleBinding {
            resource: Some(Resource { r#type: ResourceType::Cluster.into(), name: String::new() }),
            principal: if chance.permille(200) { "pach:root".into() } else { robot },
            roles: roles(chance),
        }),
        _ => Kind::DeactivateAuth(DeactivateAuth {}),
    }
}

fn roles(chance: &mut Chance) -> Vec<String> {
    let name = chance.pick(&["clusterAdmin", "licenseAdmin", "licenseAdmin", ""]).unwrap_or("");
    if name.is_empty() { Vec::new() } else { vec![name.to_owned()] }
}

/// Whether a command lets the state grow for good, as an operator would say; Muster has its own list.
pub(crate) fn plainly_grows(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::AddCluster(_)
            | Kind::ActivateLicense(_)
            | Kind::IssueRobotToken(_)
            | Kind::RestoreToken(_)
    )
}
