//! The planner: which proof, what is needed, which candidate, and why the others not.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::basis::{Basis, Return, basis, loss, returns};
use super::evidence::Evidence;
use super::fetch::fetches;
use super::{Choice, LossBound, Reason};
use crate::gtid::GtidSet;
use crate::ids::InstanceId;
use crate::record::{Ackers, Cluster, Deposition, PromotionRule};

/// Chooses the next primary of a deposed epoch, or says what it waits for.
///
/// An old primary that would serve no better than before is chosen again only where everybody else
/// has been heard, and none qualifies.
pub fn choose(cluster: &Cluster) -> Result<Choice, Vec<Reason>> {
    choose_with(cluster, &Circumstances::default())
}

/// What the log does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// Those that are not heard were waited for: an old primary that would serve no better than before
    /// need not be the last one that was.
    pub last_resort: bool,
    /// Whose agents are not heard now, whatever they reported: none of them is chosen while another
    /// qualifies. It could not be told whether it opens, nor that it died.
    pub unheard: BTreeSet<InstanceId>,
    /// At whom too few of the next epoch's ackers can log in: chosen only where nobody else qualifies.
    pub forsaken: BTreeSet<InstanceId>,
}

pub fn choose_with(cluster: &Cluster, now: &Circumstances) -> Result<Choice, Vec<Reason>> {
    let Some(deposition) = cluster.deposition() else {
        return Err(vec![Reason::NotDeposed]);
    };
    let evidence = Evidence::new(cluster, deposition);
    let basis = basis(&evidence)?;
    match returns(&evidence, &basis)? {
        Return::No => best(&evidence, &basis, now),
        Return::First(holds) => Ok(reinstate(cluster, deposition, basis, holds)),
        Return::Last(holds, why) => {
            let found = best(&evidence, &basis, now);
            let returns = match &found {
                // Whoever qualifies may be gone for good.
                Ok(choice) => now.last_resort && now.unheard.contains(&choice.to),
                Err(_) => now.last_resort || nobody_else(cluster, deposition),
            };
            if returns {
                return Ok(reinstate(cluster, deposition, basis, holds));
            }
            found.map_err(|mut reasons| {
                let instance = cluster.primary.clone();
                reasons.push(Reason::LastResort { instance, why });
                reasons
            })
        }
    }
}

/// Everybody else has reported, and nothing that could be fetched would help one of them.
fn nobody_else(cluster: &Cluster, deposition: &Deposition) -> bool {
    let heard = |id: &InstanceId| {
        *id == cluster.primary
            || cluster.left_behind.contains(id)
            || deposition.frozen.contains_key(id)
    };
    cluster.instances.keys().all(heard) && fetches(cluster).is_empty()
}

/// The old primary came back before anybody was chosen, and is shut: it opens again, as a
/// promotion like any other. It holds all that it ever answered.
fn reinstate(cluster: &Cluster, deposition: &Deposition, basis: Basis, holds: GtidSet) -> Choice {
    Choice {
        cluster: cluster.id.clone(),
        from: cluster.primary.clone(),
        to: cluster.primary.clone(),
        epoch: cluster.epoch.next(),
        proof: basis.proof,
        within: holds,
        need: basis.need,
        ackers: cluster.inherited().without(&cluster.primary),
        // It holds all that it ever answered; what it was chosen without it lacks still.
        loss: match &deposition.withdrawn {
            Some(withdrawn) => withdrawn.loss.clone(),
            None => LossBound::Zero,
        },
        why: vec![match (&deposition.aborted, &deposition.withdrawn) {
            (Some(abort), _) => format!(
                "{} is reinstated: {} aborted the failover",
                cluster.primary, abort.who
            ),
            (None, Some(withdrawn)) => format!(
                "{} is tried again, since nobody else qualifies; it stalled before ({})",
                cluster.primary, withdrawn.why
            ),
            (None, None) => format!("{} came back in time and is reinstated", cluster.primary),
        }],
    }
}

/// The best of those that are frozen and qualify.
fn best(
    evidence: &Evidence<'_>,
    basis: &Basis,
    now: &Circumstances,
) -> Result<Choice, Vec<Reason>> {
    let cluster = evidence.cluster;
    let loss = loss(evidence, basis).map_err(|why| vec![why])?;
    let need = basis.need.clone();
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
    qualified.sort_by_key(|id| {
        let last = (now.unheard.contains(*id), now.forsaken.contains(*id));
        let (class, expected_ms) = pace(evidence, id);
        (last, class, expected_ms, rank(evidence, &need, id))
    });
    let Some(to) = qualified.first().map(|id| (*id).clone()) else {
        return Err(reasons);
    };
    let mut why = vec![format!(
        "{to}: holds everything needed; {}{}",
        match (
            cluster.instances[&to].region == cluster.instances[&cluster.primary].region,
            evidence.deposition.region_fails,
        ) {
            (true, false) => "in the old primary's region",
            (false, false) => "no candidate in the old primary's region",
            (false, true) => "outside the old primary's region, which has an incident",
            (true, true) =>
                "in the old primary's region, which has an incident: no candidate outside it",
        },
        in_class(evidence, &to),
    )];
    why.extend(qualified[1..].iter().map(|id| {
        let behind = in_class(evidence, id);
        match now.forsaken.contains(*id) && !now.forsaken.contains(&to) {
            true => format!("{id}: qualified, but too few ackers can log in there{behind}"),
            false => format!("{id}: qualified, ranks after {to}{behind}"),
        }
    }));
    why.extend(reasons.iter().map(Reason::to_string));
    Ok(Choice {
        cluster: cluster.id.clone(),
        from: cluster.primary.clone(),
        epoch: cluster.epoch.next(),
        proof: basis.proof.clone(),
        within: evidence.still_holds(&to),
        need,
        ackers: evidence.inherited().without(&to),
        loss,
        why,
        to,
    })
}

/// How soon one is expected to open, before any preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Before it would count as stalled.
    Soon,
    Later,
    /// It applies nothing of what it received.
    Held,
}

pub(super) fn class(evidence: &Evidence<'_>, id: &InstanceId) -> Class {
    let backlog = &evidence.deposition.frozen[id].backlog;
    match backlog.held {
        Some(_) => Class::Held,
        None if backlog.expected_ms > evidence.cluster.policy.open_stall_ms => Class::Later,
        None => Class::Soon,
    }
}

/// Its class, and within the second the time that it is expected to take.
fn pace(evidence: &Evidence<'_>, id: &InstanceId) -> (Class, u64) {
    let class = class(evidence, id);
    let later = class == Class::Later;
    let expected_ms = evidence.deposition.frozen[id].backlog.expected_ms;
    (class, if later { expected_ms } else { 0 })
}

fn in_class(evidence: &Evidence<'_>, id: &InstanceId) -> String {
    let backlog = &evidence.deposition.frozen[id].backlog;
    match (class(evidence, id), &backlog.held) {
        (Class::Held, Some(why)) => format!("; applies nothing: {why}"),
        (Class::Later, _) => format!("; has {} ms to apply", backlog.expected_ms),
        _ => String::new(),
    }
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

pub(super) fn disqualification(
    evidence: &Evidence<'_>,
    id: &InstanceId,
    need: &GtidSet,
) -> Option<Reason> {
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
    if evidence
        .deposition
        .approval
        .to
        .as_ref()
        .is_some_and(|to| to != id)
    {
        return Some(Reason::NotTheNamed(instance));
    }
    if let Some(why) = &report.marked {
        let why = why.clone();
        return Some(Reason::Marked { instance, why });
    }
    let errant = evidence.bars(id);
    if !errant.is_empty() {
        return Some(Reason::Errant {
            instance,
            set: errant.compact().to_string(),
        });
    }
    let Ackers { members, k } = evidence.inherited().without(id);
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
