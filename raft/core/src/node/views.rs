//! What one node shows of itself to people.

use std::collections::BTreeMap;

use super::explain::Standing;
use super::{Node, WatchView};
use crate::alarm::{self, Facts};
use crate::ids::{ClusterId, InstanceId, Tick};
use crate::record::Cluster;

impl Node {
    /// What it sees of every instance; for `status`.
    pub fn views(&self, now: Tick) -> BTreeMap<InstanceId, WatchView> {
        let clusters = self.state.get().clusters.values();
        clusters
            .flat_map(|cluster| {
                let facts = self.facts(now, cluster);
                let view =
                    |id: &InstanceId| Some((id.clone(), self.view(now, cluster, id, &facts)?));
                cluster
                    .instances
                    .keys()
                    .filter_map(view)
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    fn view(
        &self,
        now: Tick,
        cluster: &Cluster,
        id: &InstanceId,
        facts: &BTreeMap<InstanceId, Facts<'_>>,
    ) -> Option<WatchView> {
        let watch = self.watches.get(id)?;
        let sight = if *id == cluster.primary {
            self.sight_of(now, cluster, watch)
        } else {
            watch.detector.glance(now)
        };
        let acknowledges = alarm::acknowledges(cluster, facts, id);
        Some(watch.view(now, sight, acknowledges))
    }

    /// Why a cluster stands where it does, as its leader sees it: what it waits for, what would
    /// satisfy it, and what people should see to.
    pub fn standing(&self, cluster: &ClusterId) -> Option<Standing> {
        let mut standing = self.lead.standing(cluster)?;
        standing.readiness = self.lead.watched.readiness(cluster);
        standing.alarms = self.lead.watched.shown(cluster);
        Some(standing)
    }
}
