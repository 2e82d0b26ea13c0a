//! What a choice rests on: which proof of silence stands, what is needed under it, whether anything
//! acknowledged could be missing all the same, and whether the old primary may be the next one.

use super::evidence::Evidence;
use super::{Doubt, LossBound, Proof, Reason, Unfit};
use crate::agree::Verdict;
use crate::gtid::GtidSet;
use crate::policy::MaxLoss;
use crate::record::FenceReport;

/// A proof that stands, and what the next primary needs under it.
pub(super) struct Basis {
    pub proof: Proof,
    pub need: GtidSet,
    /// Why `need` may lack something that was acknowledged.
    pub forgotten: Option<Doubt>,
}

/// Whether the old primary, which holds this, may open again, as a promotion like any other.
pub(super) enum Return {
    No,
    /// It came back before anybody was chosen: nobody else is asked.
    First(GtidSet),
    /// Only if nobody else qualifies.
    Last(GtidSet, Unfit),
}

/// The proof that stands, and the least need under it; or why there is none.
pub(super) fn basis(evidence: &Evidence<'_>) -> Result<Basis, Vec<Reason>> {
    let (cluster, deposition) = (evidence.cluster, evidence.deposition);
    if let Some(abort) = &deposition.aborted
        && !matches!(deposition.fence, Some(FenceReport::Confirmed { .. }))
    {
        return Err(vec![Reason::Aborted {
            primary: cluster.primary.clone(),
            who: abort.who.clone(),
            exited: deposition.fence == Some(FenceReport::Exited),
        }]);
    }
    let frozen = evidence.frozen();
    let needed = cluster.blocking();
    let proof = match &deposition.fence {
        Some(FenceReport::Confirmed { final_set, .. }) => Proof::Confirmed {
            final_set: final_set.clone(),
        },
        // What answers reads and cannot write is fenced first: only then does a promotion follow.
        None if deposition.judgement.verdict == Verdict::Wedged && !deposition.unheard => {
            return Err(vec![Reason::NotFenced(cluster.primary.clone())]);
        }
        _ if frozen.len() < needed => return Err(too_few_frozen(evidence)),
        Some(FenceReport::Exited) => Proof::Exited { frozen },
        None => Proof::AckersFrozen {
            frozen,
            of: cluster.ackers.members.clone(),
            k: cluster.ackers.k,
            strangers: cluster.ground.strangers.clone(),
        },
    };
    let told = evidence.remembering();
    let content = match &proof {
        // Nothing was acknowledged in an epoch that never began to open.
        _ if deposition.unopened => GtidSet::default(),
        // It holds more than was answered: a crash's recovery, or a late acknowledgement, commits
        // what waited. So it stands in only where too few can tell.
        Proof::Confirmed { final_set } if told.len() < needed => final_set.clone(),
        _ => evidence.acknowledged(&told),
    };
    let complete =
        deposition.unopened || told.len() >= needed || matches!(proof, Proof::Confirmed { .. });
    Ok(Basis {
        need: evidence.base().union(&content),
        proof,
        forgotten: (!complete).then(|| forgotten(evidence, told.len())),
    })
}

fn too_few_frozen(evidence: &Evidence<'_>) -> Vec<Reason> {
    let cluster = evidence.cluster;
    let frozen = evidence.frozen();
    let missing = cluster.ackers.members.difference(&frozen);
    let mut reasons = vec![Reason::TooFewFrozen {
        frozen: frozen.len(),
        needed: cluster.blocking(),
        missing: missing.cloned().collect(),
    }];
    let strangers = &cluster.ground.strangers;
    if !strangers.is_empty() {
        reasons.push(Reason::Strangers {
            uuids: strangers.iter().copied().collect(),
        });
    }
    reasons
}

fn forgotten(evidence: &Evidence<'_>, told: usize) -> Doubt {
    let reports = evidence.deposition.frozen.iter();
    let forgot: Vec<String> = reports
        .filter_map(|(id, report)| {
            let why = report.forgot.as_ref().or(report.marked.as_ref())?;
            Some(format!("{id}: {why}"))
        })
        .collect();
    Doubt::Forgotten {
        told,
        needed: evidence.cluster.blocking(),
        forgot: forgot.join(", "),
    }
}

/// What could be missing on another than the old primary; an error where the policy, and whoever
/// approved, allow less.
pub(super) fn loss(evidence: &Evidence<'_>, basis: &Basis) -> Result<LossBound, Reason> {
    let (cluster, deposition) = (evidence.cluster, evidence.deposition);
    let taken_back = deposition.withdrawn.as_ref();
    let carried = taken_back.filter(|withdrawn| withdrawn.loss != LossBound::Zero);
    let doubt = carried
        .map(|withdrawn| Doubt::Carried(withdrawn.loss.clone()))
        .or_else(|| cluster.doubt(deposition.ground_age_ms));
    let Some(why) = doubt.or_else(|| basis.forgotten.clone()) else {
        return Ok(LossBound::Zero);
    };
    let approved = deposition.approval.max_loss.unwrap_or_default();
    let allowed = cluster.policy.max_loss.max(approved);
    if allowed == MaxLoss::Any {
        return Ok(LossBound::Unknown);
    }
    Err(Reason::Loss {
        loss: LossBound::Unknown,
        why,
        allowed,
    })
}

/// Whether the old primary may open again.
pub(super) fn returns(evidence: &Evidence<'_>, basis: &Basis) -> Result<Return, Vec<Reason>> {
    let (cluster, deposition) = (evidence.cluster, evidence.deposition);
    let Some(FenceReport::Confirmed {
        final_set,
        received,
        unacknowledged,
        ..
    }) = &deposition.fence
    else {
        return Ok(Return::No);
    };
    let holds = final_set.union(received);
    let lacks = basis.need.subtract(&holds);
    let aborted = deposition.aborted.is_some();
    if !lacks.is_empty() {
        if !aborted {
            return Ok(Return::No);
        }
        return Err(vec![Reason::Unreturnable {
            primary: cluster.primary.clone(),
            set: lacks.compact().to_string(),
        }]);
    }
    let why = if deposition.withdrawn.is_some() {
        Unfit::Stalled
    } else if deposition.judgement.verdict == Verdict::Wedged {
        Unfit::Wedged
    } else if deposition.judgement.verdict == Verdict::Starved {
        Unfit::Starved
    } else if *unacknowledged {
        Unfit::Unacknowledged
    } else if !deposition.acknowledged {
        Unfit::NeverAcknowledged
    } else {
        return Ok(Return::First(holds));
    };
    if aborted {
        return Ok(Return::First(holds));
    }
    Ok(Return::Last(holds, why))
}
