//! **Law:** V of the next epoch is the former V without the chosen one, frozen or not; as many may
//! be missing as before.
//!
//! Source: `raft/core/PROTOCOL.md`. One left out but still attached to an instance that opens again
//! acknowledges uncounted. Planted: `next-of-frozen-only`, `old-primary-counts`.

use primacy_core::record::State;

pub fn check(before: &State, state: &State) -> Option<String> {
    state.clusters.iter().find_map(|(id, cluster)| {
        let was = before.clusters.get(id)?;
        was.deposition()?;
        if cluster.epoch <= was.epoch {
            return None;
        }
        let mut members = was.ackers.members.clone();
        members.remove(&cluster.primary);
        let spare = was.ackers.members.len() - was.ackers.k as usize;
        let k = members.len().saturating_sub(spare).max(1);
        let holds = cluster.ackers.members == members && cluster.ackers.k as usize == k;
        (!holds).then(|| {
            format!(
                "epoch {} counts {:?} with k={}, where {members:?} with k={k} follow from epoch {}",
                cluster.epoch, cluster.ackers.members, cluster.ackers.k, was.epoch
            )
        })
    })
}
