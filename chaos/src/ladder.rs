//! Clients that only make an enterprise server and take it back, over and over: license, registration,
//! membership, auth, and down again. ACT-1: at no place of the log, so after no crash, is it more or less
//! than one of these steps; auth is on only with exactly the one root token and root's binding.

use bytes::Bytes;
use muster::state::State;
use muster::state::auth::bindings::Resource;
use muster_proto::muster::log::v1::{
    ActivateAuth, ActivateEnterprise, ActivateLicense, AddCluster, Beat, Caller, Command,
    DeactivateAuth, DeactivateEnterprise, License, RemoveLicenseAndClusters, caller::Who,
    command::Kind,
};
use prost::Message as _;
use prost_types::Timestamp;

use crate::commands::{BEGINNING, secret_of, token};
use crate::invariants::{Violation, require};

const OWN: &str = "server";
const ROOT: &str = "pach:root";
/// Steps up and down.
pub(crate) const STEPS: u64 = 7;
/// Nothing, and after each step up.
pub(crate) const RUNGS: usize = 5;

/// What a client wants that has got so many steps behind it.
pub(crate) fn step(behind: u64) -> Bytes {
    let kind = match behind % STEPS {
        0 => Kind::ActivateLicense(ActivateLicense {
            license: Some(License {
                activation_code: "code".into(),
                expires: Some(Timestamp { seconds: BEGINNING + (1 << 20), nanos: 0 }),
                ..License::default()
            }),
        }),
        1 => Kind::AddCluster(AddCluster {
            id: OWN.into(),
            secret_digest: secret_of(OWN, 0),
            address: "grpc://localhost:1650".into(),
            ..AddCluster::default()
        }),
        2 => Kind::ActivateEnterprise(ActivateEnterprise {
            license_server: "grpc://localhost:1650".into(),
            beat: Some(Beat {
                id: OWN.into(),
                secret_digest: secret_of(OWN, 0),
                version: "2.6.4".into(),
                ..Beat::default()
            }),
        }),
        3 => Kind::ActivateAuth(ActivateAuth { root_token_digest: token(0).into() }),
        4 => Kind::DeactivateAuth(DeactivateAuth {}),
        5 => Kind::DeactivateEnterprise(DeactivateEnterprise {}),
        _ => Kind::RemoveLicenseAndClusters(RemoveLicenseAndClusters {}),
    };
    let caller = Some(Caller { who: Some(Who::TokenDigest(token(0).into())) });
    Command { caller, kind: Some(kind), ..Command::default() }.encode_to_vec().into()
}

/// Where the server stands on the ladder: the steps that hold.
pub(crate) fn rung(state: &State) -> Result<usize, Violation> {
    let auth = state.auth();
    let root = auth.bindings().get(&Resource::Cluster).is_some_and(|it| it.get(ROOT).is_some());
    let tokens: Vec<_> = auth.tokens().living().map(|(_, token)| token.subject.as_ref()).collect();
    let holds = [
        state.licensing().record().is_some(),
        state.fleet().get(OWN).is_some(),
        state.enterprise().membership().is_some(),
        auth.is_on(),
    ];
    let rung = holds.iter().take_while(|it| **it).count();
    let sound = holds.iter().skip(rung).all(|it| !it)
        && root == auth.is_on()
        && tokens == if auth.is_on() { vec![ROOT] } else { Vec::new() };
    require(sound, "ACT-1", || {
        format!("half activated: {holds:?}, root bound: {root}, tokens of {tokens:?}")
    })?;
    Ok(rung)
}
