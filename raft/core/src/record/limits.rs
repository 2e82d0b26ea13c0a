//! How many failovers may be under way in one region, and who goes first.
//!
//! Primaries of one region that fail at once mostly share their trouble. Each promotion loads what
//! is left (connections move, replicas re-point), so that only some go at a time, the most important
//! first; the others wait, and keep voting: an epoch is deposed by a fresh vote, never because a
//! slot became free.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::cluster::{Cluster, Stage};
use super::state::State;
use crate::decide;
use crate::ids::{ClusterId, InstanceId, Region};
use crate::policy::Automation;

/// A failover that has not opened by then gives its slot up: one that halts, or applies a long
/// backlog, must not hold up the others of its region for ever.
pub const SLOT_MS: u64 = 60_000;

/// So many clusters are named in a sentence; of more, their number.
const NAMED_MAX: usize = 5;

impl Cluster {
    fn region_of(&self, instance: &InstanceId) -> Option<&Region> {
        self.instances.get(instance).map(|spec| &spec.region)
    }

    /// The region of the newest primary.
    pub fn home(&self) -> Option<&Region> {
        self.region_of(&self.primary)
    }

    /// The region of the primary that a failover under way replaces. It counts from the deposing
    /// to the opening, and not beyond `SLOT_MS`.
    pub fn failing_in(&self) -> Option<&Region> {
        if self.slot_ms == 0 {
            return None;
        }
        match &self.stage {
            Stage::Founding { .. } => None,
            Stage::Deposed(_) => self.home(),
            Stage::Named(promotion) => self.region_of(&promotion.choice.from),
        }
    }

    /// Whether time that passes changes anything here.
    pub fn counts_time(&self) -> bool {
        self.rest_ms > 0 || self.slot_ms > 0
    }

    /// Whether nothing but a slot is missing for an automatic failover.
    pub fn waits_for_slot(&self) -> bool {
        self.policy.automation == Automation::Auto
            && self.rest_ms == 0
            && self.inquest.is_some()
            && self.judgement.as_ref().is_some_and(|j| j.verdict.deposes())
            && decide::feasible(self).is_ok()
    }

    /// Who goes first comes first.
    fn rank(&self) -> (Reverse<u32>, &ClusterId) {
        (Reverse(self.policy.priority), &self.id)
    }
}

impl State {
    /// Whether a cluster that waits for a slot of its region may take one: fewer failovers are under
    /// way there than its policy allows, and those that go before it leave one over.
    pub(super) fn admits(&self, cluster: &Cluster) -> bool {
        let Some(home) = cluster.home() else {
            return false;
        };
        let limit = cluster.policy.promotions_max as usize;
        let others = || self.clusters.values().filter(|one| one.id != cluster.id);
        let taken = others()
            .filter(|one| one.failing_in() == Some(home))
            .count();
        // Cheap questions first: this is asked by each vote of a cluster that waits.
        let claimed = others()
            .filter(|one| one.inquest.is_some() && one.rank() < cluster.rank())
            .filter(|one| one.home() == Some(home) && one.waits_for_slot());
        let free = limit.saturating_sub(taken);
        claimed.take(free).count() < free
    }

    /// Who holds a slot and who waits for one, by region; regions with nobody are left out.
    pub fn lines(&self) -> BTreeMap<Region, Line> {
        let mut lines: BTreeMap<Region, Line> = BTreeMap::new();
        let mut waiting: BTreeMap<&Region, Vec<&Cluster>> = BTreeMap::new();
        for cluster in self.clusters.values() {
            if let Some(region) = cluster.failing_in() {
                let line = lines.entry(region.clone()).or_default();
                line.under_way.push(cluster.id.clone());
            }
            if let Some(home) = cluster.home()
                && cluster.waits_for_slot()
            {
                waiting.entry(home).or_default().push(cluster);
            }
        }
        for (region, mut clusters) in waiting {
            clusters.sort_by_key(|cluster| cluster.rank());
            let line = lines.entry(region.clone()).or_default();
            line.waiting = clusters.iter().map(|cluster| cluster.id.clone()).collect();
        }
        lines
    }
}

/// Who holds a slot of one region, and who waits for one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    pub under_way: Vec<ClusterId>,
    /// Who goes first comes first.
    pub waiting: Vec<ClusterId>,
}

impl Line {
    fn others_under_way<'a>(&'a self, id: &'a ClusterId) -> impl Iterator<Item = &'a ClusterId> {
        self.under_way.iter().filter(move |other| *other != id)
    }

    fn ahead_of(&self, id: &ClusterId) -> Option<&[ClusterId]> {
        let place = self.waiting.iter().position(|other| other == id)?;
        Some(&self.waiting[..place])
    }

    /// Whether the next vote that finds this cluster waiting deposes.
    pub fn is_next(&self, cluster: &Cluster) -> bool {
        self.ahead_of(&cluster.id).is_some_and(|ahead| {
            let before = self.others_under_way(&cluster.id).count() + ahead.len();
            before < cluster.policy.promotions_max as usize
        })
    }

    /// Why a cluster waits, and for what; `None` if it does not.
    pub fn explain(&self, cluster: &Cluster) -> Option<String> {
        let ahead = self.ahead_of(&cluster.id)?;
        if self.is_next(cluster) {
            return None;
        }
        let region = cluster.home()?;
        let limit = cluster.policy.promotions_max;
        let under_way: Vec<_> = self.others_under_way(&cluster.id).collect();
        let mut said = match under_way.len() {
            0 => format!("no failover is under way in {region}"),
            1 => format!(
                "a failover is under way in {region} ({})",
                named(&under_way)
            ),
            some => format!(
                "{some} failovers are under way in {region} ({})",
                named(&under_way)
            ),
        };
        said.push_str(&format!(", and promotions_max is {limit}"));
        if !ahead.is_empty() {
            let go = if ahead.len() == 1 { "goes" } else { "go" };
            let ahead: Vec<_> = ahead.iter().collect();
            said.push_str(&format!("; before it, by priority, {go} {}", named(&ahead)));
        }
        said.push_str(&format!(
            ". It goes when enough of them have opened, each at the latest {} s after its deposing; \
             approve it by hand, or wait",
            SLOT_MS / 1_000
        ));
        Some(said)
    }
}

/// Some names, and how many more there are.
pub(super) fn named(clusters: &[&ClusterId]) -> String {
    let some: Vec<_> = clusters
        .iter()
        .take(NAMED_MAX)
        .map(|id| id.as_str())
        .collect();
    match clusters.len().saturating_sub(NAMED_MAX) {
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}
