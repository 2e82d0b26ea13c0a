//! Observe: whether the primary lives and starves, as this node sees it, and what its vote rests on.

use std::collections::{BTreeMap, BTreeSet};

use super::Node;
use super::watch::Watch;
use crate::agree::blocking;
use crate::decide::{Way, forsaken};
use crate::ids::{InstanceId, Tick};
use crate::observe::{PathSeen, ReplicaSeen, Role, Sight, SightKind, Starvation};
use crate::record::{Cluster, PromotionRule, THIRD};

impl Node {
    /// What this node sees of the primary: that it starves takes the beats of several agents.
    pub(super) fn sight_of(&self, now: Tick, cluster: &Cluster, watch: &Watch) -> Sight {
        let hears = self.leads.hears_majority;
        let seen = watch.detector.sight(now, cluster.epoch, hears);
        let lives = matches!(seen.kind, SightKind::Alive | SightKind::Overloaded);
        // One that never gathered any is no loss to clients that it ever served; and no verdict says
        // that it starves, so that the question would be asked without end.
        let served = cluster.has_acknowledged();
        // Who does not know the level could not read the vote.
        if !lives || !served || self.state.get().level < THIRD {
            return seen;
        }
        match self.starved_ms(now, cluster, watch) {
            Some(for_ms) if for_ms > cluster.policy.replica_stale_ms => Sight {
                kind: SightKind::Starved,
                for_ms,
            },
            Some(_) | None => seen,
        }
    }

    /// For how long, all at once, a write of it has waited and too few ackers were left that did not
    /// wait for it in vain.
    fn starved_ms(&self, now: Tick, cluster: &Cluster, watch: &Watch) -> Option<u64> {
        let probe_ms = watch.unacknowledged_ms(now, cluster)?;
        let members = cluster.ackers.members.iter();
        let mut deaf: Vec<u64> = members
            .filter_map(|id| self.watches.get(id)?.deaf_ms(now, cluster, watch))
            .collect();
        deaf.sort_unstable();
        let k = cluster.ackers.k as usize;
        let needed = blocking(cluster.ackers.members.len(), k) + cluster.ground.strangers.len();
        let waits_ms = deaf.into_iter().nth_back(needed - 1)?;
        let counts_ms = now.since_ms(watch.detector.counts_from());
        Some(probe_ms.min(waits_ms).min(counts_ms))
    }

    /// What a vote that says Starved rests on.
    pub(super) fn starvation(&self, now: Tick, cluster: &Cluster, of: &Watch) -> Starvation {
        let others = cluster
            .instances
            .keys()
            .filter(|id| **id != cluster.primary);
        let replicas = others.filter_map(|id| {
            let watch = self.watches.get(id)?;
            watch.reached(now, cluster, of)?;
            let beat = watch.fresh_beat(now)?;
            let seen = ReplicaSeen {
                deaf_ms: watch.deaf_ms(now, cluster, of),
                holds: beat.holds(),
                paths: watch.paths(now),
            };
            Some((id.clone(), seen))
        });
        Starvation {
            probe_ms: of.unacknowledged_ms(now, cluster).unwrap_or_default(),
            replicas: replicas.collect(),
        }
    }

    /// Since when what this node sees has lasted: an operator who waved it through is asked again
    /// about the next.
    pub(super) fn trouble_since(
        &self,
        now: Tick,
        cluster: &Cluster,
        watch: &Watch,
        sight: Sight,
    ) -> Tick {
        let probe_ms = watch.unacknowledged_ms(now, cluster);
        match (sight.kind, probe_ms) {
            (SightKind::Starved, Some(ms)) => Tick(now.0.saturating_sub(ms)),
            _ => watch.detector.trouble_since(),
        }
    }

    /// At whom too few of the next epoch's ackers can log in, by their newest tries.
    pub(super) fn forsaken(
        &self,
        now: Tick,
        cluster: &Cluster,
        unheard: &BTreeSet<InstanceId>,
    ) -> BTreeSet<InstanceId> {
        forsaken(cluster, |from, to| {
            match self.watches.get(from).and_then(|watch| watch.path(now, to)) {
                _ if unheard.contains(from) => Way::Shut,
                Some(seen) if seen.open => Way::Open,
                Some(_) => Way::Shut,
                None => Way::Untried,
            }
        })
    }
}

impl Watch {
    /// For how long the oldest write of the open primary has waited, by a recent beat of its agent.
    fn unacknowledged_ms(&self, now: Tick, cluster: &Cluster) -> Option<u64> {
        let beat = self.fresh_beat(now)?;
        let serves = beat.role == Role::Open(cluster.epoch) && !beat.fenced;
        let sound = beat.ground.broken.is_empty();
        beat.unacknowledged_ms.filter(|_| serves && sound)
    }

    /// Its agent's newest tries, as old as they are now.
    fn paths(&self, now: Tick) -> BTreeMap<InstanceId, PathSeen> {
        let told = self.beat.iter().flat_map(|(_, beat)| beat.paths.keys());
        told.filter_map(|to| Some((to.clone(), self.path(now, to)?)))
            .collect()
    }

    /// The same, of one instance.
    fn path(&self, now: Tick, to: &InstanceId) -> Option<PathSeen> {
        let (at, beat) = self.beat.as_ref()?;
        let path = beat.paths.get(to)?;
        Some(PathSeen {
            tried_ms: path.tried_ms + now.since_ms(*at) + self.rtt_ms(),
            open: path.error.is_empty(),
        })
    }
}

/// Where the members of V are to try whether they could follow: the primary, whom they follow now, and
/// whoever may be next.
pub(super) fn addresses(cluster: &Cluster, to: &InstanceId) -> BTreeMap<InstanceId, (String, u16)> {
    if !cluster.ackers.members.contains(to) {
        return BTreeMap::new();
    }
    let may = |id: &InstanceId, rule: PromotionRule| {
        *id == cluster.primary
            || (rule != PromotionRule::Never && !cluster.left_behind.contains(id))
    };
    let instances = cluster.instances.iter();
    instances
        .filter(|(id, spec)| may(id, spec.promotion))
        .map(|(id, spec)| (id.clone(), (spec.host.clone(), spec.port)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Epoch;
    use crate::observe::{Fault, Heartbeat, Path};
    use crate::testing::{World, beat, instance};

    fn heard(rtt_ms: u64, bend: impl Fn(&mut Heartbeat)) -> Watch {
        let mut watch = Watch::new(Tick(0), None);
        let mut beat = beat("p", 1);
        (beat.role, beat.fenced) = (Role::Open(Epoch(1)), false);
        beat.unacknowledged_ms = Some(700);
        bend(&mut beat);
        watch.beat(Tick(1_000), beat, rtt_ms, None, Epoch(1));
        watch
    }

    /// How long a write waits says something only of one that serves, and waits as ordered.
    #[test]
    fn a_write_waits_on_an_open_primary_with_good_ground() {
        let world = World::serving("pab", 1);
        let waits = |bend: &dyn Fn(&mut Heartbeat)| {
            heard(1, bend).unacknowledged_ms(Tick(1_100), world.cluster())
        };
        assert_eq!(waits(&|_| {}), Some(700));
        assert_eq!(waits(&|beat| beat.fenced = true), None);
        assert_eq!(waits(&|beat| beat.role = Role::Open(Epoch(2))), None);
        let broken = |beat: &mut Heartbeat| beat.ground.broken = [Fault::Disabled].into();
        assert_eq!(waits(&broken), None);
    }

    /// How old a try is: its age when it was told, the way of that word, and the time since.
    #[test]
    fn a_try_grows_older_with_its_way_and_with_time() {
        let watch = heard(30, |beat| {
            let path = Path {
                tried_ms: 200,
                error: String::new(),
            };
            beat.paths = [(instance("a"), path)].into();
        });
        let seen = watch.path(Tick(1_500), &instance("a"));
        assert_eq!(
            seen.map(|seen| (seen.tried_ms, seen.open)),
            Some((730, true))
        );
        assert!(watch.path(Tick(1_500), &instance("b")).is_none());
    }
}
