//! Nobody who may be promoted holds all that is needed, but a frozen replica does: it is fetched
//! from there.
//!
//! The one that fetches stays frozen: it acknowledges nothing, and what it last followed stays on
//! record. Its next report is a freeze report like any other, and the choice is made of that.

use serde::{Deserialize, Serialize};

use super::basis::{Return, basis, loss, returns};
use super::choose::{rank, unfit};
use super::evidence::Evidence;
use crate::gtid::GtidSet;
use crate::ids::{InstanceId, Position};
use crate::record::Cluster;

/// Who fetches what from whom, before a choice can be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    pub to: InstanceId,
    pub donor: InstanceId,
    /// Needed, held by the donor, lacking on the other.
    pub set: GtidSet,
    /// What the donor holds; whoever holds more must not replicate from it.
    pub within: GtidSet,
}

/// A fetch that was committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetching {
    pub at: Position,
    pub fetch: Fetch,
}

/// Every fetch that would bring a choice nearer, the best first. Empty where a choice can be made
/// already, where no proof stands, and where nobody has what is missing.
pub fn fetches(cluster: &Cluster) -> Vec<Fetch> {
    let Some(deposition) = cluster.deposition() else {
        return Vec::new();
    };
    let evidence = Evidence::new(cluster, deposition);
    let Ok(basis) = basis(&evidence) else {
        return Vec::new();
    };
    let back = returns(&evidence, &basis);
    if !matches!(back, Ok(Return::No | Return::Last(..))) || loss(&evidence, &basis).is_err() {
        return Vec::new();
    }
    let mut takers: Vec<_> = deposition
        .frozen
        .keys()
        .filter(|id| **id != cluster.primary && unfit(&evidence, id).is_none())
        .collect();
    takers.sort_by_key(|id| rank(&evidence, &basis.need, id));
    let mut found = Vec::new();
    for to in takers {
        let held = evidence.still_holds(to);
        let lacks = basis.need.subtract(&held);
        if lacks.is_empty() {
            return Vec::new();
        }
        found.extend(sources(&evidence, to, &held, &lacks));
    }
    found
}

/// Who could give `to` some of what it lacks, the best first.
fn sources(
    evidence: &Evidence<'_>,
    to: &InstanceId,
    held: &GtidSet,
    lacks: &GtidSet,
) -> Vec<Fetch> {
    let cluster = evidence.cluster;
    let mut from: Vec<Fetch> = evidence
        .deposition
        .frozen
        .keys()
        .filter(|donor| *donor != to && may_give(evidence, donor, held))
        .map(|donor| {
            let within = evidence.still_holds(donor);
            Fetch {
                to: to.clone(),
                donor: donor.clone(),
                set: within.intersect(lacks),
                within,
            }
        })
        .filter(|fetch| !fetch.set.is_empty())
        .collect();
    let home = &cluster.instances[to].region;
    from.sort_by_key(|fetch| {
        let missing = lacks.subtract(&fetch.set).count();
        let abroad = cluster.instances[&fetch.donor].region != *home;
        (missing, abroad, fetch.donor.clone())
    });
    from
}

/// Whether this frozen one may be a source of what is needed: it followed the deposed primary, or
/// holds nothing but what is needed whoever reports; it lacks nothing that the other holds, and its
/// binary log goes back far enough.
fn may_give(evidence: &Evidence<'_>, donor: &InstanceId, held: &GtidSet) -> bool {
    let cluster = evidence.cluster;
    let report = &evidence.deposition.frozen[donor];
    let gives = evidence.still_holds(donor);
    *donor != cluster.primary
        // It is fenced, takes no replica, and may hold what nobody acknowledged.
        && !cluster.left_behind.contains(donor)
        && (report.replicated_from.as_ref() == Some(&cluster.primary)
            || evidence.base().union(held).is_superset_of(&gives))
        && evidence.errant(donor).is_empty()
        && gives.is_superset_of(held)
        && held.is_superset_of(&report.purged)
}
