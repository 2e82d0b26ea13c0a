//! Starved: a primary that lives and can gather no acknowledgement.
//!
//! Its own agent says for how long a write has waited, its ackers' agents say for how long their
//! receivers have waited for it in vain. Both must have lasted, all at once.

use super::verdict::{Bench, Finding, Verdict, blocking};
use super::vote::Inquest;
use crate::ids::{InstanceId, NodeId};

pub(super) fn note(bench: &Bench<'_>, voters: &[NodeId], findings: &mut Vec<Finding>) {
    findings.push(Finding::Starved {
        voters: voters.len(),
        of: bench.voters.len(),
        threshold_ms: bench.policy.starved_sustain_ms,
    });
}

/// Starved only if so many ackers have waited in vain that those left are fewer than k.
pub(super) fn weigh(bench: &Bench<'_>, inquest: &Inquest, findings: &mut Vec<Finding>) -> Verdict {
    let needed = blocking(bench.ackers.len(), bench.k) + bench.strangers;
    if bench.strangers > 0 {
        let count = bench.strangers;
        findings.push(Finding::Strangers { count });
    }
    let waiting = bench.ackers.iter().filter(|id| waits(bench, inquest, id));
    let waiting = waiting.count();
    findings.push(Finding::AckersWait { waiting, needed });
    if waiting >= needed {
        Verdict::Starved
    } else {
        Verdict::Undecided
    }
}

/// Whether it has waited in vain for long enough by every vote that speaks of it: one observer that
/// knows better outweighs any that does not.
fn waits(bench: &Bench<'_>, inquest: &Inquest, acker: &InstanceId) -> bool {
    let votes = || {
        let votes = inquest.votes.values();
        votes.filter(|vote| bench.voters.contains_key(&vote.node))
    };
    let hears = votes().any(|vote| {
        let heard_ms = vote.reached.get(acker).and_then(|seen| seen.heard_ms);
        heard_ms.is_some_and(|ms| ms <= bench.policy.replica_stale_ms)
    });
    let mut told = votes()
        .filter_map(|vote| vote.starvation.as_ref()?.replicas.get(acker))
        .map(|seen| seen.deaf_ms)
        .peekable();
    let long = |ms: Option<u64>| ms.is_some_and(|ms| ms >= bench.policy.starved_sustain_ms);
    told.peek().is_some() && told.all(long) && !hears
}
