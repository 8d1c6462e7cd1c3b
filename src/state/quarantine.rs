//! What a restored state does not know for sure.
//!
//! The group that it came from may have registered a cluster, or changed its secret, after the
//! snapshot was taken. Until an operator says that nothing is missing, a pair that the fleet does not
//! know is answered with *not decided*: the no that switches a member off has to be certain.

use std::sync::Arc;

use imbl::OrdMap;
use muster_proto::muster::log::v1::{
    QuarantineRecord, RestoreCause, StrayRecord, StrayRecords, record::Kind,
};

use crate::state::limits;
use crate::state::snapshot::{Chunks, LoadError};
use crate::state::time::LogTime;

/// The quarantine after a restore, or none.
#[derive(Clone, Debug, Default)]
pub struct Quarantine {
    watch: Option<Watch>,
}

#[derive(Clone, Debug)]
struct Watch {
    cause: RestoreCause,
    since: LogTime,
    strays: OrdMap<Arc<str>, Stray>,
    untold: u64,
}

/// A cluster that beat and was not known, or not by that secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stray {
    /// How often.
    pub beats: u64,
    /// When last.
    pub last: LogTime,
}

impl Quarantine {
    /// Whether a restored state waits to be confirmed.
    pub fn is_on(&self) -> bool {
        self.watch.is_some()
    }

    /// How the state became this group's; none without a quarantine.
    pub fn cause(&self) -> Option<RestoreCause> {
        self.watch.as_ref().map(|watch| watch.cause)
    }

    /// Since when; none without a quarantine.
    pub fn since(&self) -> Option<LogTime> {
        self.watch.as_ref().map(|watch| watch.since)
    }

    /// The clusters that were not known, in the order of their ids.
    pub fn strays(&self) -> impl Iterator<Item = (&str, &Stray)> {
        let strays = self.watch.iter().flat_map(|watch| watch.strays.iter());
        strays.map(|(id, stray)| (id.as_ref(), stray))
    }

    /// How many of them there are.
    pub fn len(&self) -> usize {
        self.watch.as_ref().map_or(0, |watch| watch.strays.len())
    }

    /// Whether none was met.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Beats that found no room among the strays.
    pub fn untold(&self) -> u64 {
        self.watch.as_ref().map_or(0, |watch| watch.untold)
    }

    pub(super) fn begin(&mut self, cause: RestoreCause, since: LogTime) {
        self.watch = Some(Watch { cause, since, strays: OrdMap::new(), untold: 0 });
    }

    pub(super) fn end(&mut self) {
        self.watch = None;
    }

    /// Notes a beat of a pair that is not known; says whether there is a quarantine to note it.
    pub(super) fn catch(&mut self, id: &str, now: LogTime) -> bool {
        let Some(watch) = &mut self.watch else { return false };
        if let Some(stray) = watch.strays.get_mut(id) {
            stray.beats = stray.beats.saturating_add(1);
            stray.last = now;
        } else if watch.strays.len() < limits::STRAYS_MAX
            && limits::check_text("id", id, limits::TEXT_BYTES_MAX).is_ok()
        {
            watch.strays.insert(Arc::from(id), Stray { beats: 1, last: now });
        } else {
            watch.untold = watch.untold.saturating_add(1);
        }
        true
    }

    pub(super) fn records(&self) -> impl Iterator<Item = Kind> + Send + '_ {
        let head = self.watch.as_ref().map(|watch| {
            Kind::Quarantine(QuarantineRecord {
                cause: watch.cause.into(),
                since_us: watch.since.0,
                untold: watch.untold,
            })
        });
        let strays = self.watch.iter().flat_map(|watch| watch.strays.iter());
        let strays = strays.map(|(id, stray)| StrayRecord {
            id: id.as_ref().to_owned(),
            beats: stray.beats,
            last_us: stray.last.0,
        });
        let strays = Chunks::of(strays).map(|strays| Kind::Strays(StrayRecords { strays }));
        head.into_iter().chain(strays)
    }

    pub(super) fn load(&mut self, record: &QuarantineRecord) {
        self.watch = Some(Watch {
            cause: record.cause(),
            since: LogTime(record.since_us),
            strays: OrdMap::new(),
            untold: record.untold,
        });
    }

    pub(super) fn load_strays(&mut self, records: StrayRecords) -> Result<(), LoadError> {
        let watch = self.watch.as_mut().ok_or(LoadError::FieldDamaged("quarantine"))?;
        for record in records.strays {
            let last = watch.strays.get_max().map(|(id, _)| id.as_ref());
            if last.is_some_and(|last| last >= record.id.as_str()) {
                return Err(LoadError::OrderWrong("strays"));
            }
            let stray = Stray { beats: record.beats, last: LogTime(record.last_us) };
            watch.strays.insert(Arc::from(record.id.as_str()), stray);
        }
        Ok(())
    }
}
