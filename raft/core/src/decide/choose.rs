//! The planner: which proof, what is needed, which candidate, and why the others not.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Choice, LossBound, Proof};
use crate::agree::Verdict;
use crate::gtid::{GtidSet, Uuid};
use crate::ids::InstanceId;
use crate::record::{Ackers, Cluster, Deposition, FenceReport, FreezeReport, PromotionRule};

/// Why nobody can be chosen yet, or why an instance was passed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    #[error("nothing is deposed")]
    NotDeposed,
    #[error(
        "{frozen} of {needed} ackers needed are frozen; waiting for one of {names}, or for \
         the old primary to confirm its fence",
        names = listed(.missing)
    )]
    TooFewFrozen {
        frozen: usize,
        needed: usize,
        missing: Vec<InstanceId>,
    },
    #[error(
        "{names} acknowledged to the old primary without being in V: each counts as an acker that \
         nobody can freeze; where freezing all of V is not enough, only the old primary's confirmed \
         fence is",
        names = named(.uuids)
    )]
    Strangers { uuids: Vec<Uuid> },
    #[error(
        "{0} answers but cannot write; waiting until its agent confirms the fence, or its exit"
    )]
    NotFenced(InstanceId),
    /// Nobody but the old primary may open, and it has not confirmed its fence.
    #[error(
        "{who} aborted the failover: {primary} alone may open again, once its agent confirms its \
         fence{exited}; until then nobody takes writes. If it cannot come back, lift the abort: \
         `primacy approve` for the same epoch",
        exited = if *.exited { " (its mysqld has exited; its agent starts it again after restart_hold_ms)" } else { "" }
    )]
    Aborted {
        primary: InstanceId,
        who: String,
        exited: bool,
    },
    #[error(
        "the failover is aborted, and {primary}, who alone may open again, lacks {set}, which was \
         seen on it before; lift the abort: `primacy approve` for the same epoch"
    )]
    Unreturnable { primary: InstanceId, set: String },
    #[error("{0} is not frozen")]
    NotFrozen(InstanceId),
    /// Otherwise a delayed re-point of an epoch in between could make a member forget that it
    /// acknowledged to this primary.
    #[error("{0} was primary before and has not rejoined")]
    LeftBehind(InstanceId),
    #[error("{0} must never be promoted")]
    RuleNever(InstanceId),
    #[error("{instance} holds errant transactions {set}")]
    Errant { instance: InstanceId, set: String },
    #[error("{instance} lacks {set}")]
    Lacks { instance: InstanceId, set: String },
    #[error("{instance} has purged what its future replicas still need")]
    Purged { instance: InstanceId },
    #[error("{0} would have no acker left")]
    NoAckerLeft(InstanceId),
    #[error(
        "the loss would be {0}, and the policy allows none; the floor must stand first (one \
         acknowledged marker)"
    )]
    Loss(LossBound),
}

fn named(uuids: &[Uuid]) -> String {
    let names: Vec<_> = uuids.iter().map(Uuid::to_string).collect();
    names.join(", ")
}

fn listed(instances: &[InstanceId]) -> String {
    let names: Vec<_> = instances.iter().map(InstanceId::as_str).collect();
    names.join(", ")
}

/// What frozen members tell, minus what was never acknowledged.
pub(super) struct Evidence<'a> {
    pub cluster: &'a Cluster,
    pub deposition: &'a Deposition,
    held: BTreeMap<&'a InstanceId, GtidSet>,
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
        errant.subtract(&self.base())
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
    fn base(&self) -> GtidSet {
        self.cluster
            .floor
            .union(&self.deposition.inquest.last_known)
    }

    /// What this member adds to the need: nothing, if it never replicated from this primary. What
    /// it holds beyond is then phantom, and fetching it would overwrite acknowledged rows.
    fn adds(&self, instance: &InstanceId, report: &FreezeReport) -> GtidSet {
        if report.replicated_from.as_ref() != Some(&self.cluster.primary) {
            return GtidSet::default();
        }
        self.held[instance].subtract(&self.errant(instance))
    }
}

/// Chooses the next primary of a deposed epoch, or says what it waits for.
pub fn choose(cluster: &Cluster) -> Result<Choice, Vec<Reason>> {
    let Some(deposition) = cluster.deposition() else {
        return Err(vec![Reason::NotDeposed]);
    };
    let evidence = Evidence::new(cluster, deposition);
    let mut reasons = Vec::new();
    for ground in grounds(&evidence)? {
        let chosen = match ground.back {
            Some(received) => reinstate(cluster, deposition, ground, received),
            None => best(cluster, &evidence, ground.need, ground.proof),
        };
        match chosen {
            Ok(choice) => return Ok(choice),
            Err(why) if reasons.is_empty() => reasons = why,
            Err(_) => {}
        }
    }
    Err(reasons)
}

/// A proof that stands, and what the next primary needs under it.
pub(super) struct Ground<'a> {
    pub proof: Proof,
    pub need: GtidSet,
    /// The old primary came back in time, and nobody else is asked for; what it has received.
    pub back: Option<&'a GtidSet>,
}

/// Every proof that stands, with each need that would do under it, in the order of preference;
/// or why there is none.
pub(super) fn grounds<'a>(evidence: &Evidence<'a>) -> Result<Vec<Ground<'a>>, Vec<Reason>> {
    let (cluster, deposition) = (evidence.cluster, evidence.deposition);
    let frozen: BTreeSet<_> = deposition
        .frozen
        .keys()
        .filter(|id| cluster.ackers.members.contains(*id))
        .cloned()
        .collect();

    let aborted = deposition.aborted.as_ref().map(|abort| Reason::Aborted {
        primary: cluster.primary.clone(),
        who: abort.who.clone(),
        exited: deposition.fence == Some(FenceReport::Exited),
    });
    let mut grounds = Vec::new();
    if let Some(FenceReport::Confirmed {
        final_set,
        received,
        ..
    }) = &deposition.fence
    {
        let need = evidence.base().union(final_set);
        let proof = Proof::Confirmed {
            final_set: final_set.clone(),
        };
        let lacks = need.subtract(&final_set.union(received));
        let may_return = deposition.judgement.verdict != Verdict::Wedged || aborted.is_some();
        let back = (may_return && lacks.is_empty()).then_some(received);
        if aborted.is_some() && back.is_none() {
            return Err(vec![Reason::Unreturnable {
                primary: cluster.primary.clone(),
                set: lacks.compact().to_string(),
            }]);
        }
        grounds.push(Ground { proof, need, back });
        if back.is_some() {
            return Ok(grounds);
        }
    }
    if let Some(reason) = aborted {
        return Err(vec![reason]);
    }
    // What answers reads and cannot write is fenced first: only then does a promotion follow.
    if deposition.judgement.verdict == Verdict::Wedged && deposition.fence.is_none() {
        return Err(vec![Reason::NotFenced(cluster.primary.clone())]);
    }
    let needed = cluster.blocking();
    if frozen.len() < needed {
        let missing = cluster
            .ackers
            .members
            .difference(&frozen)
            .cloned()
            .collect();
        let mut reasons = vec![Reason::TooFewFrozen {
            frozen: frozen.len(),
            needed,
            missing,
        }];
        let strangers = &cluster.strangers.seen;
        if !strangers.is_empty() {
            reasons.push(Reason::Strangers {
                uuids: strangers.iter().copied().collect(),
            });
        }
        return if grounds.is_empty() {
            Err(reasons)
        } else {
            Ok(grounds)
        };
    }
    let proof = match &deposition.fence {
        Some(FenceReport::Exited) => Proof::Exited {
            frozen: frozen.clone(),
        },
        _ => Proof::AckersFrozen {
            frozen: frozen.clone(),
            of: cluster.ackers.members.clone(),
            k: cluster.ackers.k,
            strangers: cluster.strangers.seen.clone(),
        },
    };
    // Any F′ of that size is enough: one report that nobody can satisfy must not block the rest.
    for reporters in subsets_largest_first(&frozen, needed) {
        let mut need = evidence.base();
        for id in &reporters {
            need.union_with(&evidence.adds(id, &deposition.frozen[id]));
        }
        grounds.push(Ground {
            proof: proof.clone(),
            need,
            back: None,
        });
    }
    Ok(grounds)
}

/// The old primary came back before anybody was chosen, and is shut: it opens again, as a
/// promotion like any other.
fn reinstate(
    cluster: &Cluster,
    deposition: &Deposition,
    Ground { proof, need, .. }: Ground<'_>,
    received: &GtidSet,
) -> Result<Choice, Vec<Reason>> {
    let loss = loss_of(cluster)?;
    Ok(Choice {
        cluster: cluster.id.clone(),
        from: cluster.primary.clone(),
        to: cluster.primary.clone(),
        epoch: cluster.epoch.next(),
        proof,
        within: need.union(received),
        need,
        ackers: cluster.ackers.without(&cluster.primary),
        loss,
        why: vec![match &deposition.aborted {
            Some(abort) => format!(
                "{} is reinstated: {} aborted the failover",
                cluster.primary, abort.who
            ),
            None => format!("{} came back in time and is reinstated", cluster.primary),
        }],
    })
}

fn loss_of(cluster: &Cluster) -> Result<LossBound, Vec<Reason>> {
    if cluster.floor_stands {
        Ok(LossBound::Zero)
    } else {
        Err(vec![Reason::Loss(LossBound::Unknown)])
    }
}

/// The best of those that are frozen and qualify.
fn best(
    cluster: &Cluster,
    evidence: &Evidence<'_>,
    need: GtidSet,
    proof: Proof,
) -> Result<Choice, Vec<Reason>> {
    let loss = loss_of(cluster)?;
    let mut reasons = Vec::new();
    let mut qualified = Vec::new();
    for id in cluster
        .instances
        .keys()
        .filter(|id| **id != cluster.primary)
    {
        match disqualification(evidence, id, &need) {
            Some(reason) => reasons.push(reason),
            None => qualified.push(id),
        }
    }
    qualified.sort_by_key(|id| rank(evidence, &need, id));
    let Some(to) = qualified.first().map(|id| (*id).clone()) else {
        return Err(reasons);
    };
    let mut why = vec![format!(
        "{to}: holds everything needed; {}",
        match (
            cluster.instances[&to].region == cluster.instances[&cluster.primary].region,
            evidence.deposition.region_fails,
        ) {
            (true, false) => "in the old primary's region",
            (false, false) => "no candidate in the old primary's region",
            (false, true) => "outside the old primary's region, which has an incident",
            (true, true) =>
                "in the old primary's region, which has an incident: no candidate outside it",
        }
    )];
    why.extend(
        qualified[1..]
            .iter()
            .map(|id| format!("{id}: qualified, ranks after {to}")),
    );
    why.extend(reasons.iter().map(Reason::to_string));
    Ok(Choice {
        cluster: cluster.id.clone(),
        from: cluster.primary.clone(),
        epoch: cluster.epoch.next(),
        proof,
        within: evidence.still_holds(&to),
        need,
        ackers: cluster.ackers.without(&to),
        loss,
        why,
        to,
    })
}

/// The smaller, the gladlier it is chosen. Ids break ties.
pub(super) fn rank(evidence: &Evidence<'_>, need: &GtidSet, id: &InstanceId) -> impl Ord + use<> {
    let cluster = evidence.cluster;
    let spec = &cluster.instances[id];
    let report = &evidence.deposition.frozen[id];
    let home = &cluster.instances[&cluster.primary].region;
    // What one that never replicated from this primary holds beyond the need is phantom, and
    // would become real: the less of it the better, and rather none.
    let joined = report.replicated_from.as_ref() == Some(&cluster.primary);
    let beyond = if joined {
        0
    } else {
        evidence.held[id].subtract(need).count()
    };
    (
        !joined,
        beyond,
        (spec.region != *home) != evidence.deposition.region_fails,
        spec.promotion,
        Reverse(report.executed.count()),
        report.version,
        Reverse(spec.priority),
        id.clone(),
    )
}

fn disqualification(evidence: &Evidence<'_>, id: &InstanceId, need: &GtidSet) -> Option<Reason> {
    unfit(evidence, id).or_else(|| {
        let lacks = need.subtract(&evidence.still_holds(id));
        (!lacks.is_empty()).then(|| Reason::Lacks {
            instance: id.clone(),
            set: lacks.compact().to_string(),
        })
    })
}

/// What bars it, whatever it holds of the need.
pub(super) fn unfit(evidence: &Evidence<'_>, id: &InstanceId) -> Option<Reason> {
    let cluster = evidence.cluster;
    let instance = id.clone();
    let Some(report) = evidence.deposition.frozen.get(id) else {
        return Some(Reason::NotFrozen(instance));
    };
    if cluster.left_behind.contains(id) {
        return Some(Reason::LeftBehind(instance));
    }
    if cluster.instances[id].promotion == PromotionRule::Never {
        return Some(Reason::RuleNever(instance));
    }
    let errant = evidence.errant(id);
    if !errant.is_empty() {
        return Some(Reason::Errant {
            instance,
            set: errant.compact().to_string(),
        });
    }
    let Ackers { members, k } = cluster.ackers.without(id);
    if members.is_empty() {
        return Some(Reason::NoAckerLeft(instance));
    }
    let stranded = members
        .iter()
        .filter_map(|member| evidence.held.get(member))
        .filter(|held| !held.is_superset_of(&report.purged))
        .count();
    if members.len() - stranded < k as usize {
        return Some(Reason::Purged { instance });
    }
    None
}

/// All subsets of at least `least` members, larger ones first. V is small (its bound is checked at
/// registration), so that there are few.
fn subsets_largest_first(all: &BTreeSet<InstanceId>, least: usize) -> Vec<BTreeSet<InstanceId>> {
    let items: Vec<_> = all.iter().collect();
    let mut subsets: Vec<BTreeSet<InstanceId>> = (0u32..1 << items.len())
        .map(|bits| {
            let chosen = items
                .iter()
                .enumerate()
                .filter(|(bit, _)| bits >> bit & 1 == 1);
            chosen.map(|(_, id)| (*id).clone()).collect()
        })
        .filter(|subset: &BTreeSet<InstanceId>| subset.len() >= least)
        .collect();
    subsets.sort_by_key(|subset| Reverse(subset.len()));
    subsets
}
