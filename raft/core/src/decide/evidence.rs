//! What the frozen replicas tell: what each holds, what of that is nobody's but its own, and what
//! the next primary must therefore contain.

use std::collections::{BTreeMap, BTreeSet};

use crate::gtid::GtidSet;
use crate::ids::InstanceId;
use crate::record::{Ackers, Cluster, Deposition, FenceReport, FreezeReport};

/// What frozen members tell, minus what was never acknowledged.
pub(super) struct Evidence<'a> {
    pub cluster: &'a Cluster,
    pub deposition: &'a Deposition,
    pub held: BTreeMap<&'a InstanceId, GtidSet>,
}

impl<'a> Evidence<'a> {
    pub fn new(cluster: &'a Cluster, deposition: &'a Deposition) -> Self {
        let held = deposition
            .frozen
            .iter()
            .map(|(id, report)| (id, report.holds()))
            .collect();
        Self {
            cluster,
            deposition,
            held,
        }
    }

    /// V and k that those of the next epoch follow from.
    pub fn inherited(&self) -> Ackers {
        self.cluster.inherited_from(Some(self.deposition))
    }

    /// F: the members of V that are frozen. Enough of them prove silence.
    pub fn frozen(&self) -> BTreeSet<InstanceId> {
        let members = &self.cluster.ackers.members;
        let frozen = self.deposition.frozen.keys();
        frozen.filter(|id| members.contains(*id)).cloned().collect()
    }

    /// M: those of F whose memory was unbroken when they first reported. Enough of them prove
    /// content.
    pub fn remembering(&self) -> BTreeSet<InstanceId> {
        let unbroken = |id: &InstanceId| {
            let report = &self.deposition.frozen[id];
            report.forgot.is_none()
                && report.marked.is_none()
                && !report.left_unknown.contains(&self.cluster.primary)
        };
        let frozen = self.frozen().into_iter();
        frozen.filter(unbroken).collect()
    }

    /// Transactions of a server that was never primary here, held by this instance alone: written
    /// to it by hand, never acknowledged to a client of the cluster.
    pub fn errant(&self, instance: &InstanceId) -> GtidSet {
        let mut errant = self.held[instance].without(&self.cluster.primaries);
        for (other, set) in &self.held {
            if *other != instance {
                errant = errant.subtract(set);
            }
        }
        if let Some(FenceReport::Confirmed { final_set, .. }) = &self.deposition.fence {
            errant = errant.subtract(final_set);
        }
        errant.subtract(&self.base()).subtract(&self.cluster.common)
    }

    /// Those of them that bar it: not what an operator named.
    pub fn bars(&self, instance: &InstanceId) -> GtidSet {
        self.errant(instance)
            .subtract(&self.deposition.approval.errant)
    }

    /// What it can still apply: one that lost its relay log between two reports told more once.
    pub fn still_holds(&self, instance: &InstanceId) -> GtidSet {
        self.deposition
            .newest
            .get(instance)
            .cloned()
            .unwrap_or_default()
    }

    /// Needed whoever reports.
    pub fn base(&self) -> GtidSet {
        self.cluster
            .floor
            .union(&self.deposition.inquest.last_known)
    }

    /// What was acknowledged is held by k of V and strangers, hence by all but so many of these: what
    /// fewer of them hold nobody was ever told. All of M give the least: whatever so many of M hold,
    /// so many of each part of it hold, less those that were left out.
    pub fn acknowledged(&self, told: &BTreeSet<InstanceId>) -> GtidSet {
        let unheard = self.cluster.acknowledging() - told.len();
        let enough = (self.cluster.ackers.k as usize).saturating_sub(unheard);
        let sets = told
            .iter()
            .map(|id| self.adds(id, &self.deposition.frozen[id]));
        held_by(sets, enough.max(1))
    }

    /// What this member tells of what it acknowledged to this primary: what it held when it last
    /// left it, nothing if it never replicated from it. What it holds beyond is then phantom, and
    /// fetching it would overwrite acknowledged rows.
    fn adds(&self, instance: &InstanceId, report: &FreezeReport) -> GtidSet {
        let primary = &self.cluster.primary;
        let holds = if report.replicated_from.as_ref() == Some(primary) {
            &self.held[instance]
        } else if let Some(left) = report.left.get(primary) {
            left
        } else {
            return GtidSet::default();
        };
        // What the log names common nobody acknowledged, whoever holds it by now.
        holds
            .subtract(&self.errant(instance))
            .subtract(&self.cluster.common)
    }
}

/// What at least `enough` of these sets contain.
pub(super) fn held_by(sets: impl Iterator<Item = GtidSet>, enough: usize) -> GtidSet {
    // At each index, what one more of the sets seen so far contain.
    let mut by_count: Vec<GtidSet> = vec![GtidSet::default(); enough];
    for set in sets {
        for at in (0..enough).rev() {
            let more = match at {
                0 => set.clone(),
                _ => by_count[at - 1].intersect(&set),
            };
            by_count[at].union_with(&more);
        }
    }
    by_count.pop().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{set, short};

    #[test]
    fn what_so_many_hold() {
        let sets = ["p:1-12,p:14", "p:1-13", "p:1-12,a:1", ""];
        let of = |enough| short(&held_by(sets.iter().map(|text| set(text)), enough));
        assert_eq!(of(1), "a:1,p:1-14");
        assert_eq!(of(2), "p:1-12");
        assert_eq!(of(3), "p:1-12");
        assert_eq!(of(4), "");
    }
}
