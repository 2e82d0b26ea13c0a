//! Feasible first: deposing starts only if the votes show that a proof and a candidate are within
//! reach. A deposed epoch never returns.

use std::collections::BTreeSet;

use super::paths::fares_better;
use crate::agree::Verdict;
use crate::policy::MaxLoss;
use crate::record::{Approval, Cluster, PromotionRule};

/// What stands in the way of a failover, by the votes of the open inquest; each says what would
/// satisfy it.
pub fn feasible(cluster: &Cluster) -> Result<(), Vec<String>> {
    feasible_with(cluster, &Approval::default())
}

/// The same, where an operator allows more than the policy.
pub fn feasible_with(cluster: &Cluster, allows: &Approval) -> Result<(), Vec<String>> {
    let Some(inquest) = &cluster.inquest else {
        return Err(vec!["no inquest is open".into()]);
    };
    let reached: BTreeSet<_> = inquest
        .votes
        .values()
        .flat_map(|vote| vote.reached.keys())
        .collect();
    let mut obstacles = Vec::new();

    let needed = cluster.blocking();
    let ackers = cluster
        .ackers
        .members
        .iter()
        .filter(|id| reached.contains(id))
        .count();
    if ackers < needed {
        let missing: Vec<_> = cluster
            .ackers
            .members
            .iter()
            .filter(|id| !reached.contains(id))
            .map(|id| id.as_str())
            .collect();
        let of = cluster.ackers.members.len();
        let strangers = cluster.ground.strangers.len();
        let remedy = if needed > of {
            "only the old primary's own word can prove it: bring its agent back".to_owned()
        } else {
            format!("bring back one of: {}", missing.join(", "))
        };
        let counted = match strangers {
            0 => String::new(),
            some => format!(" ({some} replicas outside V acknowledged too)"),
        };
        obstacles.push(format!(
            "{ackers} of {of} ackers are reached, {needed} are needed to prove that the old primary \
             can acknowledge nothing{counted}; {remedy}"
        ));
    }
    let candidate = cluster.instances.iter().any(|(id, spec)| {
        *id != cluster.primary
            && reached.contains(id)
            && spec.promotion != PromotionRule::Never
            && !cluster.left_behind.contains(id)
            && !cluster.ackers.without(id).members.is_empty()
    });
    if !candidate {
        obstacles.push(
            "no replica that may be promoted is reached and would keep an acker; bring one back"
                .into(),
        );
    }
    let allowed = cluster
        .policy
        .max_loss
        .max(allows.max_loss.unwrap_or_default());
    if allowed != MaxLoss::Any
        && let Some(why) = cluster.doubt(inquest.ground_age_ms())
    {
        obstacles.push(format!(
            "the loss would be unknown: {why}; the policy allows {}. Raise `max_loss`, or approve it \
             by name: `primacy approve --max-loss any`",
            allowed
        ));
    }
    let starves = cluster.judgement.as_ref();
    if starves.is_some_and(|of| of.verdict == Verdict::Starved)
        && let Err(why) = fares_better(cluster, inquest, allows)
    {
        obstacles.push(why);
    }
    if obstacles.is_empty() {
        Ok(())
    } else {
        Err(obstacles)
    }
}
