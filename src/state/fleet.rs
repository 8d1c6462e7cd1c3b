//! The registered clusters: added, changed, removed, and what their heartbeats tell.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use muster_hooks::mutant;
use muster_proto::muster::log::v1::{
    AddCluster, Beat, BeatOutcome, DeleteCluster, HeartbeatsRecorded, RecordHeartbeats, Rejection,
    RejectionKind, UpdateCluster,
};

use crate::state::enterprise::Enterprise;
use crate::state::license::Licensing;
use crate::state::quarantine::Quarantine;
use crate::state::secret::{self, Digest};
use crate::state::time::LogTime;
use crate::state::{limits, rejection};

/// What a cluster that never beat is said to run.
const VERSION_UNKNOWN: &str = "unknown";

/// All registered clusters by id.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    clusters: OrdMap<Arc<str>, Arc<Cluster>>,
}

/// One registered cluster. A million of them are kept, so every byte counts: the strings are shared
/// between the versions of a record that a heartbeat makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Where the server would reach it; any text, never dialled.
    pub address: Arc<str>,
    /// Where its users reach it; may be empty.
    pub user_address: Arc<str>,
    /// Which installation it is; may be empty.
    pub deployment_id: Arc<str>,
    /// Its OIDC client id as it last reported; empty before.
    pub client_id: Arc<str>,
    /// Its version as it last reported, `unknown` before.
    pub version: Arc<str>,
    /// When it was registered.
    pub created_at: LogTime,
    /// When its last heartbeat was recorded.
    pub last_heartbeat: LogTime,
    /// Whether it said that its auth is on.
    pub auth_enabled: bool,
    /// Registered as an enterprise server: hidden from the users' list.
    pub enterprise_server: bool,
    pub(super) secret: Digest,
    pub(super) previous: Option<Box<PreviousSecret>>,
}

/// A replaced secret that still serves (D-09): a member must not be switched off between the change
/// here and the change there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PreviousSecret {
    pub(super) secret: Digest,
    pub(super) until: LogTime,
}

/// Which of a cluster's secrets was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Current,
    Previous,
}

impl Fleet {
    /// All clusters in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Cluster)> {
        self.clusters.iter().map(|(id, cluster)| (id.as_ref(), cluster.as_ref()))
    }

    /// The clusters whose ids begin with `prefix` and come after `id`, in their order; from the first
    /// one after the empty id.
    pub fn iter_after<'a>(
        &'a self,
        id: &'a str,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Cluster)> {
        let start = if prefix > id { Bound::Included(prefix) } else { Bound::Excluded(id) };
        self.clusters
            .range::<_, str>((start, Bound::Unbounded))
            .map(|(id, cluster)| (id.as_ref(), cluster.as_ref()))
            .take_while(move |(id, _): &(&str, &Cluster)| id.starts_with(prefix))
    }

    /// The cluster of that id.
    pub fn get(&self, id: &str) -> Option<&Cluster> {
        self.clusters.get(id).map(AsRef::as_ref)
    }

    /// How many are registered.
    pub fn len(&self) -> usize {
        self.clusters.len()
    }

    /// Whether none is registered.
    pub fn is_empty(&self) -> bool {
        self.clusters.is_empty()
    }

    pub(super) fn last_id(&self) -> Option<&str> {
        self.clusters.get_max().map(|(id, _)| id.as_ref())
    }

    pub(super) fn insert(&mut self, id: &str, cluster: Cluster) {
        self.clusters.insert(Arc::from(id), Arc::new(cluster));
    }

    pub(super) fn clear(&mut self) {
        self.clusters.clear();
    }

    /// Whether that secret is the cluster's at `now`; none when there is no such pair.
    pub(super) fn shown_secret(&self, id: &str, secret: &Digest, now: LogTime) -> Option<Shown> {
        self.get(id)?.shown(secret, now)
    }

    /// Writes down what a beat tells; the pair was checked before.
    pub(super) fn record(&mut self, beat: &Beat, shown: Shown, now: LogTime) {
        let Some(cluster) = self.clusters.get_mut(beat.id.as_str()) else {
            return;
        };
        let cluster = Arc::make_mut(cluster);
        if shown == Shown::Current {
            cluster.previous = None;
        }
        replace(&mut cluster.version, &beat.version);
        replace(&mut cluster.client_id, &beat.client_id);
        cluster.auth_enabled = beat.auth_enabled;
        cluster.last_heartbeat = now;
    }
}

impl Cluster {
    fn new(command: &AddCluster, secret: Digest, now: LogTime) -> Cluster {
        let address: Arc<str> = Arc::from(command.address.as_str());
        let user_address = if command.user_address == command.address {
            Arc::clone(&address)
        } else {
            Arc::from(command.user_address.as_str())
        };
        Cluster {
            address,
            user_address,
            deployment_id: Arc::from(command.cluster_deployment_id.as_str()),
            client_id: Arc::default(),
            version: Arc::from(VERSION_UNKNOWN),
            created_at: now,
            last_heartbeat: LogTime::NEVER,
            auth_enabled: false,
            enterprise_server: command.enterprise_server,
            secret,
            previous: None,
        }
    }

    fn shown(&self, secret: &Digest, now: LogTime) -> Option<Shown> {
        if secret::is_same(&self.secret, secret) || mutant!(BeatUnchecked) {
            return Some(Shown::Current);
        }
        let previous = self.previous.as_ref()?;
        (now <= previous.until && secret::is_same(&previous.secret, secret))
            .then_some(Shown::Previous)
    }

    /// Takes another secret; the one before serves on for a while.
    fn change_secret(&mut self, secret: Digest, now: LogTime) {
        if secret::is_same(&self.secret, &secret) {
            return;
        }
        self.previous = Some(Box::new(PreviousSecret {
            secret: self.secret,
            until: now.plus_seconds(limits::PREVIOUS_SECRET_SECONDS_MAX),
        }));
        self.secret = secret;
    }
}

/// Registers a cluster under a free id while the license is in force.
pub(super) fn add(
    fleet: &mut Fleet,
    licensing: &Licensing,
    enterprise: &Enterprise,
    now: LogTime,
    command: &AddCluster,
) -> Result<(), Rejection> {
    let license = licensing.require_active(now)?;
    let secret = check_registration(command)?;
    if fleet.get(&command.id).is_some() {
        return Err(rejection::about(RejectionKind::ClusterIdTaken, &command.id));
    }
    if fleet.len() >= limits::CLUSTERS_MAX {
        return Err(rejection::bound(
            RejectionKind::TooManyClusters,
            u64::try_from(limits::CLUSTERS_MAX).unwrap_or(u64::MAX),
        ));
    }
    if let Some(max) = license.max_clusters
        && licensed_clusters(fleet, enterprise) >= max
    {
        return Err(rejection::bound(RejectionKind::LicensedClustersExhausted, max));
    }

    fleet.insert(&command.id, Cluster::new(command, secret, now));
    Ok(())
}

/// What the license counts: every cluster but the server's own record.
pub(super) fn licensed_clusters(fleet: &Fleet, enterprise: &Enterprise) -> u64 {
    let own = enterprise
        .membership()
        .is_some_and(|own| !own.is_elsewhere() && fleet.get(&own.id).is_some());
    u64::try_from(fleet.len()).unwrap_or(u64::MAX) - u64::from(own)
}

/// The checks of a registration that need no state; gives the secret's digest.
pub(super) fn check_registration(command: &AddCluster) -> Result<Digest, Rejection> {
    if command.id.is_empty() {
        return Err(rejection::plain(RejectionKind::ClusterIdEmpty));
    }
    if command.address.is_empty() {
        return Err(rejection::plain(RejectionKind::ClusterAddressEmpty));
    }
    limits::check_text("id", &command.id, limits::TEXT_BYTES_MAX)?;
    check_addresses(&command.address, &command.user_address, &command.cluster_deployment_id)?;
    secret::read("secret_digest", &command.secret_digest)
}

fn check_addresses(address: &str, user_address: &str, deployment: &str) -> Result<(), Rejection> {
    limits::check_text("address", address, limits::TEXT_BYTES_MAX)?;
    limits::check_text("user_address", user_address, limits::TEXT_BYTES_MAX)?;
    limits::check_text("cluster_deployment_id", deployment, limits::TEXT_BYTES_MAX)
}

/// Registers the server itself, or brings its record up to date; needs no license in force.
pub(super) fn upsert(fleet: &mut Fleet, now: LogTime, command: &AddCluster, secret: Digest) {
    match fleet.clusters.get_mut(command.id.as_str()) {
        None => fleet.insert(&command.id, Cluster::new(command, secret, now)),
        Some(cluster) => {
            let mut next = Cluster::clone(cluster);
            replace_unless_empty(&mut next.address, &command.address);
            replace_unless_empty(&mut next.user_address, &command.user_address);
            replace_unless_empty(&mut next.deployment_id, &command.cluster_deployment_id);
            next.change_secret(secret, now);
            if next != **cluster {
                *cluster = Arc::new(next);
            }
        }
    }
}

/// Gives the cluster that was registered at `registered` the secret of a repeated request: whoever
/// asks again never saw the first one. One that was registered anew since is left alone.
pub(super) fn renew_secret(
    fleet: &mut Fleet,
    now: LogTime,
    registered: LogTime,
    command: &AddCluster,
) {
    let Ok(secret) = secret::read("secret_digest", &command.secret_digest) else {
        return;
    };
    if let Some(cluster) = fleet.clusters.get_mut(command.id.as_str())
        && cluster.created_at == registered
    {
        Arc::make_mut(cluster).change_secret(secret, now);
    }
}

/// Changes the given fields of a registered cluster (D-02: an unknown one is an error).
pub(super) fn update(
    fleet: &mut Fleet,
    now: LogTime,
    command: &UpdateCluster,
) -> Result<(), Rejection> {
    if command.address.is_empty()
        && command.user_address.is_empty()
        && command.cluster_deployment_id.is_empty()
        && command.secret_digest.is_empty()
    {
        return Err(rejection::plain(RejectionKind::ClusterFieldsEmpty));
    }
    check_addresses(&command.address, &command.user_address, &command.cluster_deployment_id)?;
    let secret = match command.secret_digest.as_ref() {
        [] => None,
        bytes => Some(secret::read("secret_digest", bytes)?),
    };
    let cluster =
        fleet.clusters.get_mut(command.id.as_str()).ok_or_else(|| unknown(&command.id))?;

    let cluster = Arc::make_mut(cluster);
    replace_unless_empty(&mut cluster.address, &command.address);
    replace_unless_empty(&mut cluster.user_address, &command.user_address);
    replace_unless_empty(&mut cluster.deployment_id, &command.cluster_deployment_id);
    if let Some(secret) = secret {
        cluster.change_secret(secret, now);
    }
    Ok(())
}

/// A rejection must fit its bound, whatever id was asked for.
fn unknown(id: &str) -> Rejection {
    match limits::check_text("id", id, limits::TEXT_BYTES_MAX) {
        Ok(()) => rejection::about(RejectionKind::ClusterUnknown, id),
        Err(refused) => refused,
    }
}

/// Removes a cluster, if there is one of that id.
pub(super) fn delete(fleet: &mut Fleet, command: &DeleteCluster) {
    fleet.clusters.remove(command.id.as_str());
}

/// Records every beat whose pair is right, and gives all of them the license of this entry. Without a
/// license nothing is recorded (D-08).
pub(super) fn record_heartbeats(
    fleet: &mut Fleet,
    licensing: &Licensing,
    quarantine: &mut Quarantine,
    now: LogTime,
    command: &RecordHeartbeats,
) -> Result<HeartbeatsRecorded, Rejection> {
    if command.beats.len() > limits::BEATS_MAX {
        return Err(rejection::bound(
            RejectionKind::CommandTooLarge,
            u64::try_from(limits::BEATS_MAX).unwrap_or(u64::MAX),
        ));
    }
    let outcomes = command
        .beats
        .iter()
        .map(|beat| match record_heartbeat(fleet, licensing, now, beat) {
            BeatOutcome::IdOrSecretInvalid if quarantine.catch(&beat.id, now) => {
                BeatOutcome::Quarantined
            }
            outcome @ (BeatOutcome::Recorded
            | BeatOutcome::IdOrSecretInvalid
            | BeatOutcome::LicenseAbsent
            | BeatOutcome::FieldInvalid
            | BeatOutcome::Quarantined
            | BeatOutcome::Unspecified) => outcome,
        })
        .map(i32::from)
        .collect();
    Ok(HeartbeatsRecorded {
        outcomes,
        license: licensing.record().map(|license| license.as_ref().clone()),
    })
}

/// Judges one beat, the pair first and the license second, and records it when both are there.
pub(super) fn record_heartbeat(
    fleet: &mut Fleet,
    licensing: &Licensing,
    now: LogTime,
    beat: &Beat,
) -> BeatOutcome {
    let Ok(secret) = secret::read("secret_digest", &beat.secret_digest) else {
        return BeatOutcome::FieldInvalid;
    };
    let Some(shown) = fleet.shown_secret(&beat.id, &secret, now) else {
        return BeatOutcome::IdOrSecretInvalid;
    };
    if check_beat(beat).is_err() {
        return BeatOutcome::FieldInvalid;
    }
    if licensing.record().is_none() {
        return BeatOutcome::LicenseAbsent;
    }

    fleet.record(beat, shown, now);
    BeatOutcome::Recorded
}

/// The limits of what a beat reports.
///
/// # Errors
///
/// A rejection that names the field.
pub fn check_beat(beat: &Beat) -> Result<(), Rejection> {
    limits::check_text("version", &beat.version, limits::VERSION_BYTES_MAX)?;
    limits::check_text("client_id", &beat.client_id, limits::TEXT_BYTES_MAX)
}

fn replace_unless_empty(field: &mut Arc<str>, text: &str) {
    if !text.is_empty() {
        replace(field, text);
    }
}

fn replace(field: &mut Arc<str>, text: &str) {
    if field.as_ref() != text {
        *field = Arc::from(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_starts_at_its_prefix_or_after_its_token_and_ends_with_the_prefix() {
        let mut fleet = Fleet::default();
        for id in ["a", "b", "b-1", "b-2", "c"] {
            let cluster = Cluster::new(&AddCluster::default(), [0; 32], LogTime(1));
            fleet.insert(id, cluster);
        }
        let ids = |after, prefix| -> Vec<&str> {
            fleet.iter_after(after, prefix).map(|(id, _)| id).collect()
        };
        assert_eq!(ids("", ""), ["a", "b", "b-1", "b-2", "c"]);
        assert_eq!(ids("", "b"), ["b", "b-1", "b-2"]);
        assert_eq!(ids("b", "b"), ["b-1", "b-2"]);
        assert_eq!(ids("b-2", ""), ["c"]);
        assert!(ids("c", "b").is_empty());
    }
}
