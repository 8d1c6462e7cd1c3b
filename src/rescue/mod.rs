//! What an operator does to data that no replica runs on: verify a snapshot, restore one, let the one
//! replica that a lost group left go on as a new group.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use muster_cluster::folder::{Identity, Lineage};
use muster_cluster::machine::StateMachine as _;
use muster_cluster::rescue::{self, Beginning, RescueError, Survey, Survivor};
use muster_cluster::snapshot::SnapshotMeta;
use muster_cluster::types::{GroupId, ReplicaId, Timestamp};
use muster_proto::muster::log::v1::RestoreCause;

use crate::actors::Machine;
use crate::clock::{Clock, SystemClock};
use crate::entropy::{Entropy, SystemEntropy};
use crate::state::founding::{Founding, INDEX_MARGIN};
use crate::state::{LogTime, State, invariants};

/// How far terms jump: whoever voted in one of the group before never sees a smaller one.
const TERM_MARGIN: u64 = 1 << 10;

/// A snapshot file whose every byte was checked and whose state was loaded.
#[derive(Debug)]
pub struct Verified {
    /// What it is of.
    pub meta: SnapshotMeta,
    /// The state in it.
    pub state: State,
}

/// Why data is not used.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It cannot be read, is damaged, or is not where it should be.
    #[error(transparent)]
    Data(#[from] RescueError),
    /// The bytes are whole, but what they say cannot be.
    #[error("the state breaks the invariant {0}")]
    Broken(&'static str),
    /// The survivor has fewer entries than another replica that is there.
    #[error("{} has more of the log than the survivor that was named", .0.display())]
    Behind(PathBuf),
    /// Replicas of different groups.
    #[error("{} belongs to another group than {}", .0.display(), .1.display())]
    OtherGroup(PathBuf, PathBuf),
    /// None of the folders is the survivor's.
    #[error("none of the folders belongs to {0}")]
    NoSurvivor(String),
}

impl Refused {
    /// Whether stored data is not what it should be.
    pub fn is_damage(&self) -> bool {
        match self {
            Refused::Data(error) => error.is_damage(),
            Refused::Broken(_) => true,
            Refused::Behind(_) | Refused::OtherGroup(..) | Refused::NoSurvivor(_) => false,
        }
    }
}

/// Verifies a snapshot file: every checksum, the state as a whole, its invariants.
pub fn verify(file: &Path) -> Result<Verified, Refused> {
    let read = rescue::read_snapshot::<Machine>(file)?;
    let state = read.machine.view();
    match invariants::first_broken(&state) {
        Some(broken) => Err(Refused::Broken(broken)),
        None => Ok(Verified { meta: read.meta, state }),
    }
}

/// Makes `folder` the first replica's of a new group that begins with a verified snapshot.
pub fn restore(
    verified: Verified,
    folder: &Path,
    name: &str,
    drop_tokens: bool,
) -> Result<Identity, Refused> {
    let Verified { meta, mut state } = verified;
    let (index, term) = (meta.index, meta.term);
    let beginning = begin(
        &mut state,
        RestoreCause::Snapshot,
        name,
        Lineage::default(),
        (index, term),
        drop_tokens,
    );
    Ok(rescue::found::<Machine>(folder, &beginning, state)?)
}

/// A replica that does not run, and what it knows.
#[derive(Debug)]
pub struct Stopped {
    survivor: Survivor<Machine>,
    state: State,
}

impl Stopped {
    /// Where it stands.
    pub fn survey(&self) -> &Survey {
        &self.survivor.survey
    }

    /// Its state with every entry of its log.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Those of its group that are not this replica: who is given up when it goes on alone.
    pub fn others(&self) -> &BTreeMap<ReplicaId, String> {
        &self.survey().others
    }

    fn is_called(&self, name_or_id: &str) -> bool {
        let identity = &self.survey().identity;
        identity.name == name_or_id || identity.replica.to_string() == name_or_id
    }
}

/// Looks at the folders of replicas that do not run, the most advanced first. They stay locked
/// meanwhile.
pub fn look(folders: &[PathBuf]) -> Result<Vec<Stopped>, Refused> {
    let mut all = Vec::new();
    for folder in folders {
        let survivor = rescue::survey::<Machine>(folder)?;
        let state = survivor.machine.view();
        if let Some(broken) = invariants::first_broken(&state) {
            return Err(Refused::Broken(broken));
        }
        all.push(Stopped { survivor, state });
    }
    all.sort_by_key(|stopped| std::cmp::Reverse(stopped.survey().rank()));
    let group = |stopped: &Stopped| stopped.survey().identity.group;
    if let Some(first) = all.first()
        && let Some(other) = all.iter().find(|other| group(other) != group(first))
    {
        let paths = (other.survey().path.clone(), first.survey().path.clone());
        return Err(Refused::OtherGroup(paths.0, paths.1));
    }
    Ok(all)
}

/// The one called `name_or_id` among those that were looked at, unless another has more of the log.
pub fn choose(mut all: Vec<Stopped>, name_or_id: &str) -> Result<Stopped, Refused> {
    let found = all.iter().position(|stopped| stopped.is_called(name_or_id));
    let found = found.ok_or_else(|| Refused::NoSurvivor(name_or_id.to_owned()))?;
    let chosen = all.swap_remove(found);
    match all.iter().find(|other| other.survey().rank() > chosen.survey().rank()) {
        Some(ahead) => Err(Refused::Behind(ahead.survey().path.clone())),
        None => Ok(chosen),
    }
}

/// Lets `survivor` go on as the only voter of a new group, in the next epoch. The replicas of the group
/// before are refused for ever.
pub fn force_new_group(survivor: Stopped) -> Result<Identity, Refused> {
    let Stopped { survivor, mut state } = survivor;
    let survey = &survivor.survey;
    let mut lineage = survey.identity.lineage.clone();
    lineage.epoch += 1;
    lineage.before.push(survey.identity.group);
    let name = survey.identity.name.clone();
    let mark = (survey.last.index, survey.term.max(survey.last.term));
    let beginning = begin(&mut state, RestoreCause::Survivor, &name, lineage, mark, false);
    Ok(rescue::take_over(survivor, &beginning, state)?)
}

/// Makes `state` a new group's first one, and says how that group begins. `after` is the last position
/// and the newest term that are known of the group before.
fn begin(
    state: &mut State,
    cause: RestoreCause,
    name: &str,
    lineage: Lineage,
    after: (u64, u64),
    drop_tokens: bool,
) -> Beginning {
    let now = SystemClock.now();
    let mut group = [0; 16];
    SystemEntropy.fill(&mut group);
    let index = after.0.saturating_add(INDEX_MARGIN);
    state.found(Founding { cause, index, now: LogTime(now.0), drop_tokens });
    Beginning {
        group: GroupId(u128::from_be_bytes(group)),
        name: name.to_owned(),
        lineage,
        index: state.index(),
        term: after.1.saturating_add(TERM_MARGIN),
        time: Timestamp(state.time().0),
        now,
    }
}
