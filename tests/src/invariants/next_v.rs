//! **Law:** V of the next epoch is the former V without the chosen one, frozen or not; as many may
//! be missing as before. One whose choice was taken back before it began to open is back among
//! them.
//!
//! Source: `raft/core/PROTOCOL.md`. One left out but still attached to an instance that opens again
//! acknowledges uncounted. Planted: `next-of-frozen-only`, `old-primary-counts`.

use primacy_core::record::State;

pub fn check(before: &State, state: &State) -> Option<String> {
    state.clusters.iter().find_map(|(id, cluster)| {
        let was = before.clusters.get(id)?;
        let record = was.deposition()?;
        if cluster.epoch <= was.epoch {
            return None;
        }
        let mut members = was.ackers.members.clone();
        let mut spare = was.ackers.members.len() - was.ackers.k as usize;
        if let (true, Some(former)) = (record.unopened, &record.former) {
            let primary = Some(was.primary.clone());
            members.extend(primary.filter(|id| former.members.contains(id)));
            spare = former.members.len() - former.k as usize;
        }
        members.remove(&cluster.primary);
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
