//! Who could be followed: a candidate at which too few ackers can log in would gather no more
//! acknowledgements than the primary that it replaces.
//!
//! A primary that starves is replaced only if whoever may be chosen has these paths, tried since the
//! write was sent that waits: it lives, and nothing is won otherwise. An epoch once deposed is not
//! halted by a path; a candidate without them is chosen only where nobody else qualifies.
//!
//! **Invariant:** `fares_better` is part of an apply: what it asks changes with a feature level only.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::held_by;
use crate::agree::Inquest;
use crate::gtid::GtidSet;
use crate::ids::InstanceId;
use crate::record::{Approval, Cluster, PromotionRule};

/// What one acker's tries to log in at one candidate amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The newest succeeded, recently enough.
    Open,
    /// The newest failed, or its agent is not heard.
    Shut,
    /// Not tried, or not recently enough.
    Untried,
}

/// Whether enough of the next epoch's ackers could follow this candidate.
#[derive(Debug, PartialEq, Eq)]
enum Prospect {
    Followed,
    /// Too few can, whatever those say that have not tried yet.
    Forsaken {
        shut: Vec<InstanceId>,
        must: usize,
    },
    Unknown,
}

fn prospect(
    cluster: &Cluster,
    candidate: &InstanceId,
    way: impl Fn(&InstanceId, &InstanceId) -> Way,
) -> Prospect {
    let next = cluster.inherited().without(candidate);
    let must = next.k as usize;
    let (mut open, mut shut) = (0, Vec::new());
    for member in &next.members {
        match way(member, candidate) {
            Way::Open => open += 1,
            Way::Shut => shut.push(member.clone()),
            Way::Untried => {}
        }
    }
    if open >= must {
        Prospect::Followed
    } else if next.members.len() - shut.len() < must {
        Prospect::Forsaken { shut, must }
    } else {
        Prospect::Unknown
    }
}

/// The instances that could not be followed by as many ackers as each would need, by what is known.
pub fn forsaken(
    cluster: &Cluster,
    way: impl Fn(&InstanceId, &InstanceId) -> Way,
) -> BTreeSet<InstanceId> {
    let ids = cluster.instances.keys();
    let others = ids.filter(|id| **id != cluster.primary);
    others
        .filter(|id| matches!(prospect(cluster, id, &way), Prospect::Forsaken { .. }))
        .cloned()
        .collect()
}

/// Why nobody would gather more acknowledgements than a primary that starves; each says what would
/// satisfy it.
///
/// Who is chosen is not foreseen by its rank: whoever qualifies by the sets last reported must be
/// followed, or known to be forsaken, and so no choice while another qualifies.
pub(super) fn fares_better(
    cluster: &Cluster,
    inquest: &Inquest,
    allows: &Approval,
) -> Result<(), String> {
    let told = Told::of(inquest);
    let mut followed = false;
    let mut forsaken = Vec::new();
    for id in told.qualified(cluster, inquest, allows) {
        match prospect(cluster, id, |from, to| told.way(from, to)) {
            Prospect::Followed => followed = true,
            Prospect::Forsaken { shut, must } => {
                let shut: Vec<_> = shut.iter().map(InstanceId::as_str).collect();
                forsaken.push(format!("{id} needs {must}, {} cannot", shut.join(", ")));
            }
            Prospect::Unknown => {
                return Err(format!(
                    "whether {id} would gather acknowledgements is not known yet: its ackers' agents \
                     have to log in there since the write was sent that waits"
                ));
            }
        }
    }
    if followed {
        return Ok(());
    }
    let why = match forsaken.is_empty() {
        true => "nobody who may be promoted is reached and holds what is needed".to_owned(),
        false => format!(
            "too few ackers can log in there with the replication account ({})",
            forsaken.join("; ")
        ),
    };
    Err(format!(
        "no candidate would fare better: {why}. Mend the network between them, or the account; the \
         primary stays"
    ))
}

/// What the votes say of the replicas, united.
struct Told<'a> {
    inquest: &'a Inquest,
    holds: BTreeMap<&'a InstanceId, GtidSet>,
}

impl<'a> Told<'a> {
    fn of(inquest: &'a Inquest) -> Self {
        let mut holds: BTreeMap<&InstanceId, GtidSet> = BTreeMap::new();
        let starved = inquest.votes.values().filter_map(|v| v.starvation.as_ref());
        for (id, seen) in starved.flat_map(|of| &of.replicas) {
            holds.entry(id).or_default().union_with(&seen.holds);
        }
        Self { inquest, holds }
    }

    /// Open if a vote knows of a login begun since the write was sent that waits, and none of a newest
    /// one that failed.
    fn way(&self, from: &InstanceId, to: &InstanceId) -> Way {
        if !self.holds.contains_key(from) {
            return Way::Shut;
        }
        let votes = self.inquest.votes.values();
        let tries = votes.filter_map(|vote| {
            let of = vote.starvation.as_ref()?;
            let seen = of.replicas.get(from)?.paths.get(to)?;
            Some((seen.open, seen.tried_ms <= of.probe_ms))
        });
        let mut way = Way::Untried;
        for (open, since) in tries {
            match (open, since) {
                (false, _) => return Way::Shut,
                (true, true) => way = Way::Open,
                (true, false) => {}
            }
        }
        way
    }

    /// Who might be chosen: what was acknowledged is foreseen from the sets last reported. Where nobody
    /// holds that, whoever could fetch it from another.
    fn qualified(
        &self,
        cluster: &'a Cluster,
        inquest: &Inquest,
        allows: &Approval,
    ) -> Vec<&'a InstanceId> {
        let members = &cluster.ackers.members;
        let told: Vec<_> = self
            .holds
            .iter()
            .filter(|(id, _)| members.contains(**id))
            .map(|(_, holds)| holds.clone())
            .collect();
        let unheard = cluster.acknowledging().saturating_sub(told.len());
        let enough = (cluster.ackers.k as usize).saturating_sub(unheard).max(1);
        let mut need = cluster.floor.union(&inquest.last_known);
        need.union_with(&held_by(told.into_iter(), enough));
        let may = |id: &InstanceId, rule: PromotionRule| {
            *id != cluster.primary
                && rule != PromotionRule::Never
                && !cluster.left_behind.contains(id)
                && !cluster.ackers.without(id).members.is_empty()
                && allows.to.as_ref().is_none_or(|to| to == id)
        };
        let instances = cluster.instances.iter();
        let held = instances.filter_map(|(id, spec)| {
            let holds = self.holds.get(id).filter(|_| may(id, spec.promotion))?;
            Some((id, holds))
        });
        let held: Vec<_> = held.collect();
        let by = |suffices: &dyn Fn(&GtidSet) -> bool| -> Vec<_> {
            let sufficient = held.iter().filter(|(_, holds)| suffices(holds));
            sufficient.map(|(id, _)| *id).collect()
        };
        let alone = by(&|holds| holds.is_superset_of(&need));
        if !alone.is_empty() {
            return alone;
        }
        let donors = members.iter().filter_map(|id| self.holds.get(id));
        let donors: Vec<_> = donors.filter(|gives| gives.is_superset_of(&need)).collect();
        by(&|holds| donors.iter().any(|gives| gives.is_superset_of(holds)))
    }
}
