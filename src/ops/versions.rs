//! How many clusters run which version: a label that members choose, so it is held to a bound.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use metrics::gauge;

use super::figures::number;
use crate::state::State;

/// Versions told apart at one time; those of the fewest clusters are counted as `other`.
const TOLD_MAX: usize = 20;
/// Versions ever told by one process: a label that was shown once stays, at zero.
const EVER_MAX: usize = 200;

/// The labels that were shown since the start.
#[derive(Debug, Default)]
pub(super) struct Versions {
    shown: Mutex<BTreeSet<String>>,
}

impl Versions {
    /// Sets the figures to what the state says.
    pub(super) fn refresh(&self, view: &State) {
        let versions = view.fleet().iter().map(|(_, cluster)| cluster.version.as_ref());
        for (version, count) in self.count(versions) {
            gauge!("muster_cluster_versions", "version" => version).set(number(count));
        }
    }

    fn count<'a>(&self, versions: impl Iterator<Item = &'a str>) -> BTreeMap<String, u64> {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for version in versions {
            *counts.entry(version).or_default() += 1;
        }
        let mut most: Vec<(&str, u64)> = counts.into_iter().collect();
        most.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told: BTreeMap<String, u64> =
            shown.iter().map(|version| (version.clone(), 0)).collect();
        let mut other = 0;
        for (rank, (version, count)) in most.into_iter().enumerate() {
            let is_known = shown.contains(version);
            if rank < TOLD_MAX && (is_known || shown.len() < EVER_MAX) {
                shown.insert(version.to_owned());
                told.insert(version.to_owned(), count);
            } else {
                other += count;
            }
        }
        *told.entry("other".to_owned()).or_default() += other;
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_are_told_and_who_is_gone_is_zero() {
        let versions = Versions::default();
        let fleet = ["2.11.6", "2.10.0", "2.11.6"];
        let told = versions.count(fleet.into_iter());
        assert_eq!(told["2.11.6"], 2);
        assert_eq!((told["2.10.0"], told["other"]), (1, 0));
        let told = versions.count(["2.11.6"].into_iter());
        assert_eq!((told["2.11.6"], told["2.10.0"]), (1, 0));
    }

    #[test]
    fn members_that_make_versions_up_add_no_label_beyond_the_bound() {
        let versions = Versions::default();
        for round in 0..100 {
            let made_up: Vec<String> = (0..50).map(|at| format!("{round}.{at}")).collect();
            let told = versions.count(made_up.iter().map(String::as_str));
            assert_eq!(told.values().sum::<u64>(), 50);
            assert!(told.len() <= EVER_MAX + 1, "{}", told.len());
        }
    }
}
