//! The checker: vets a choice before it is proposed, and again when it is applied.
//!
//! **Invariant:** it shares no code with the planner. It asks of a finished choice whether each law
//! holds, from the recorded reports alone; a mistake would have to be made twice to get through.

use std::collections::BTreeSet;

use super::{Choice, Fetch, LossBound, Proof};
use crate::agree::Verdict;
use crate::gtid::GtidSet;
use crate::ids::InstanceId;
use crate::policy::MaxLoss;
use crate::record::{Cluster, FenceReport, PromotionRule, Stage};

/// Every law that the choice breaks, in words; empty if it may be committed.
pub fn check(cluster: &Cluster, choice: &Choice) -> Vec<String> {
    let Stage::Deposed(record) = &cluster.stage else {
        return vec!["a choice follows a deposed epoch, and none is deposed".into()];
    };
    let mut broken = Vec::new();
    let mut law = |holds: bool, words: &str| {
        if !holds {
            broken.push(words.to_owned());
        }
    };
    law(
        choice.cluster == cluster.id,
        "the choice speaks of this cluster",
    );
    law(
        choice.epoch.0 == cluster.epoch.0 + 1,
        "the next epoch is the newest plus one",
    );
    law(
        choice.from == cluster.primary,
        "the choice replaces the deposed primary",
    );

    // Has the old primary stopped?
    let v = &cluster.ackers.members;
    let k = cluster.ackers.k as usize;
    // Who could acknowledge: V, and those outside it that were seen to.
    let all = v.len() + cluster.ground.strangers.len();
    let reporting: BTreeSet<_> = v
        .iter()
        .filter(|id| record.frozen.contains_key(*id))
        .collect();
    // With this many frozen, fewer than k members are left to acknowledge.
    let silenced = all - reporting.len() < k;
    let confirmed = match &record.fence {
        Some(FenceReport::Confirmed { final_set, .. }) => Some(final_set),
        _ => None,
    };
    let named_frozen = |named: &BTreeSet<InstanceId>| named.iter().all(|id| reporting.contains(id));
    match &choice.proof {
        Proof::Founding { .. } => law(false, "an epoch that had a primary is not founded"),
        Proof::Confirmed { final_set } => {
            law(
                confirmed == Some(final_set),
                "the log holds the fence that the proof names",
            );
        }
        Proof::Exited { frozen } => {
            law(
                record.fence == Some(FenceReport::Exited),
                "the log holds the exit",
            );
            law(
                silenced,
                "an exit proves silence, the frozen ackers the content",
            );
            law(named_frozen(frozen), "who is named is a frozen acker");
        }
        Proof::AckersFrozen {
            frozen,
            of,
            k: of_k,
            strangers,
        } => {
            law(silenced, "the ackers left could still acknowledge a write");
            law(named_frozen(frozen), "who is named is a frozen acker");
            law(
                of == v && *of_k as usize == k && all - frozen.len().min(all) < k,
                "the proof counts the ackers of the deposed epoch, and names enough of them",
            );
            law(
                *strangers == cluster.ground.strangers,
                "the proof counts the strangers that acknowledged",
            );
            law(
                record.judgement.verdict != Verdict::Wedged
                    || record.fence.is_some()
                    || record.unheard,
                "a primary that still answers is fenced before anybody replaces it",
            );
        }
    }

    // Is everything acknowledged in the need?
    law(
        choice.need.is_superset_of(&cluster.floor),
        "the need contains the floor",
    );
    law(
        choice.need.is_superset_of(&record.inquest.last_known),
        "the need contains all that a node saw executed on the old primary",
    );
    // Of a write that was acknowledged, all but so many of k members of V may be unheard.
    let remember: Vec<_> = reporting
        .iter()
        .filter(|id| {
            let report = &record.frozen[**id];
            report.forgot.is_none()
                && report.marked.is_none()
                && !report.left_unknown.contains(&cluster.primary)
        })
        .map(|id| acknowledged_by(cluster, id))
        .collect();
    let unheard = all - remember.len();
    let content = record.unopened || unheard < k || confirmed.is_some();
    if record.unopened {
        law(
            record.opener.is_some(),
            "the run of the agent that never began to open is known",
        );
    } else if unheard < k {
        law(
            every_group(&remember, k - unheard, |common| {
                choice.need.is_superset_of(common)
            }),
            "the need contains whatever enough ackers tell",
        );
    } else if let Some(last) = confirmed {
        law(
            choice.need.is_superset_of(last),
            "the need contains the final set",
        );
    }
    let back = choice.to == cluster.primary;
    // What could be missing on one that did not open could be on the next.
    let taken_back = record.withdrawn.as_ref().map(|of| &of.loss);
    let zero = &LossBound::Zero;
    let proved = content
        && taken_back.is_none_or(|loss| loss == zero)
        && cluster.floor_stands
        && cluster.ground.broken.is_empty()
        && record
            .ground_age_ms
            .is_some_and(|ms| ms <= cluster.policy.ground_age_ms);
    let any =
        [Some(cluster.policy.max_loss), record.approval.max_loss].contains(&Some(MaxLoss::Any));
    law(
        match choice.loss {
            // One that returns holds all that it answered.
            LossBound::Zero => proved || (back && taken_back.is_none_or(|loss| loss == zero)),
            LossBound::Unknown => any || (back && taken_back == Some(&choice.loss)),
            LossBound::AtMost(_) => false,
        },
        "no more may be lost than is proved, or allowed",
    );

    // May this one take over?
    law(
        cluster.instances.contains_key(&choice.to),
        "the chosen one is registered",
    );
    law(
        back || record.aborted.is_none(),
        "after an abort the old primary alone opens again",
    );
    if back {
        law(
            confirmed.is_some(),
            "a primary is reinstated only when it confirmed its fence",
        );
        law(
            matches!(&record.fence, Some(FenceReport::Confirmed { final_set, received, .. })
                if final_set.union(received).is_superset_of(&choice.need)),
            "the reinstated primary holds what is needed",
        );
        law(
            matches!(&record.fence, Some(FenceReport::Confirmed { final_set, received, .. })
                if final_set.union(received) == choice.within),
            "others are compared with what the chosen one holds",
        );
    } else if let Some(holds) = record.newest.get(&choice.to) {
        law(
            holds.is_superset_of(&choice.need),
            "the chosen one holds what is needed",
        );
        law(
            choice.within == *holds,
            "others are compared with what the chosen one holds",
        );
        law(
            own_writes(cluster, &choice.to).is_subset_of(&record.approval.errant),
            "the chosen one has no errant transaction",
        );
        law(
            record
                .frozen
                .get(&choice.to)
                .is_some_and(|report| report.marked.is_none()),
            "the chosen one's GTIDs say what is in it",
        );
        law(
            record
                .approval
                .to
                .as_ref()
                .is_none_or(|to| *to == choice.to),
            "the chosen one is the one that was approved",
        );
    } else {
        law(false, "the chosen one is frozen");
    }
    law(
        back || !cluster.left_behind.contains(&choice.to),
        "a former primary is chosen again only after it rejoined",
    );
    law(
        cluster
            .instances
            .get(&choice.to)
            .is_some_and(|spec| back || spec.promotion != PromotionRule::Never),
        "the chosen one may be promoted",
    );

    // V′ and k′.
    let mut expected = v.clone();
    let mut missing_before = v.len() - k;
    let mut stays = false;
    if let (true, Some(former)) = (record.unopened, &record.former) {
        missing_before = former.members.len() - former.k as usize;
        stays = former.members.contains(&cluster.primary);
        expected.extend(stays.then(|| cluster.primary.clone()));
    }
    expected.remove(&choice.to);
    law(
        choice.ackers.members == expected,
        "V′ is the former V without the chosen one",
    );
    law(!choice.ackers.members.is_empty(), "V′ is not empty");
    law(
        stays || !choice.ackers.members.contains(&cluster.primary),
        "the old primary is not in V′, unless it never began to open",
    );
    let k_next = expected.len().saturating_sub(missing_before).max(1);
    law(
        choice.ackers.k as usize == k_next,
        "as many ackers may be missing as before",
    );
    broken
}

/// Every law that a fetch breaks, in words; empty if it may be committed. Who fetches stays frozen,
/// so that a proof stands as before; what it gets must be nothing that nobody acknowledged.
pub fn check_fetch(cluster: &Cluster, fetch: &Fetch) -> Vec<String> {
    let Stage::Deposed(record) = &cluster.stage else {
        return vec!["a fetch belongs to a deposed epoch, and none is deposed".into()];
    };
    let Fetch {
        to,
        donor,
        set,
        within,
    } = fetch;
    let mut broken = Vec::new();
    let mut law = |holds: bool, words: &str| {
        if !holds {
            broken.push(words.to_owned());
        }
    };
    law(
        record.aborted.is_none(),
        "after an abort the old primary alone opens again",
    );
    let (Some(has), Some(gives)) = (record.newest.get(to), record.newest.get(donor)) else {
        return vec!["both are frozen".into()];
    };
    law(
        ![to, donor].contains(&&cluster.primary) && to != donor,
        "two replicas of the deposed primary",
    );
    law(
        !cluster.left_behind.contains(donor) && !cluster.left_behind.contains(to),
        "a former primary gives and takes nothing before it rejoined",
    );
    let known = cluster.floor.union(&record.inquest.last_known).union(has);
    law(
        record.frozen[donor].replicated_from.as_ref() == Some(&cluster.primary)
            || gives.is_subset_of(&known),
        "the donor followed the deposed primary: else what it holds may be phantom",
    );
    law(
        own_writes(cluster, donor).is_empty() && own_writes(cluster, to).is_empty(),
        "neither has an errant transaction",
    );
    law(
        gives.is_superset_of(has) && within == gives,
        "compared: the donor holds all that the other does",
    );
    law(
        !set.is_empty() && gives.is_superset_of(set) && has.intersect(set).is_empty(),
        "the donor has what is fetched, the other has not",
    );
    law(
        has.is_superset_of(&record.frozen[donor].purged),
        "the donor's binary log goes back far enough",
    );
    broken
}

/// Whether this holds of what each group of so many of these sets has in common.
fn every_group(sets: &[GtidSet], size: usize, holds: impl Fn(&GtidSet) -> bool) -> bool {
    let groups = (0u32..1 << sets.len()).filter(|group| group.count_ones() as usize == size);
    groups.into_iter().all(|group| {
        let mut members = (0..sets.len()).filter(|at| group >> at & 1 == 1);
        let first = members.next().map(|at| sets[at].clone());
        let common = members.fold(first.unwrap_or_default(), |common, at| {
            common.intersect(&sets[at])
        });
        holds(&common)
    })
}

/// What a frozen acker tells of the deposed epoch's acknowledged writes.
fn acknowledged_by(cluster: &Cluster, id: &InstanceId) -> GtidSet {
    let Some(report) = cluster
        .deposition()
        .and_then(|record| record.frozen.get(id))
    else {
        return GtidSet::default();
    };
    let mut told = report
        .left
        .get(&cluster.primary)
        .cloned()
        .unwrap_or_default();
    if report.replicated_from.as_ref() == Some(&cluster.primary) {
        told.union_with(&report.executed);
        told.union_with(&report.received);
    }
    told.subtract(&own_writes(cluster, id))
        .subtract(&cluster.common)
}

/// Transactions that no primary of this cluster wrote, and nobody else holds.
fn own_writes(cluster: &Cluster, id: &InstanceId) -> GtidSet {
    let Some(record) = cluster.deposition() else {
        return GtidSet::default();
    };
    let mut elsewhere = cluster.floor.union(&record.inquest.last_known);
    if let Some(FenceReport::Confirmed { final_set, .. }) = &record.fence {
        elsewhere.union_with(final_set);
    }
    for (other, report) in &record.frozen {
        if other != id {
            elsewhere.union_with(&report.executed);
            elsewhere.union_with(&report.received);
        }
    }
    let report = &record.frozen[id];
    let mut own = GtidSet::default();
    for uuid in report.executed.uuids().chain(report.received.uuids()) {
        if !cluster.primaries.contains(&uuid) {
            own.union_with(&report.executed.only(&uuid));
            own.union_with(&report.received.only(&uuid));
        }
    }
    own.subtract(&elsewhere).subtract(&cluster.common)
}
