//! Observe → record: what was seen of a primary's ground goes into the log, and, once k of V hold all
//! that was answered meanwhile, that it is settled.

use std::collections::BTreeSet;

use super::Node;
use crate::act::acker_uuids;
use crate::gtid::GtidSet;
use crate::ids::{InstanceId, Tick};
use crate::observe::{Fault, GroundWord};
use crate::record::{Cluster, Command, GroundSaid, ScheduledSaid, THIRD, Told};

impl Node {
    /// A word of the open primary's agent.
    pub(super) fn hear_ground(
        &mut self,
        now: Tick,
        cluster: &Cluster,
        told: Told,
        mut said: GroundWord,
    ) {
        let log = &cluster.ground;
        if told <= log.told {
            return;
        }
        let members = acker_uuids(cluster);
        said.strangers.retain(|uuid| !members.contains(uuid));
        // What the log has is said anew where it came again since: that it was settled may have been
        // told before, and be committed late.
        let newer = (told.0, said.since) > log.told;
        if newer && !(said.strangers.is_empty() && said.broken.is_empty()) {
            let said = GroundSaid {
                told,
                strangers: said.strangers,
                broken: said.broken,
                held: None,
            };
            return self.say_ground(now, cluster, "seen", said);
        }
        // The agent knows of all that the log holds, so its marker began after that.
        let knows =
            said.strangers.is_superset(&log.strangers) && said.broken.is_superset(&log.broken);
        if let Some(held) = said.caught_up
            && !log.is_settled()
            && knows
            && self.holding(now, cluster, &held) >= cluster.ackers.k as usize
        {
            let said = GroundSaid {
                told,
                held: Some(held),
                ..GroundSaid::default()
            };
            self.say_ground(now, cluster, "settled", said);
        }
    }

    /// What this node saw itself.
    pub(super) fn tell_faults(&mut self, now: Tick, cluster: &Cluster, broken: BTreeSet<Fault>) {
        if broken.is_subset(&cluster.ground.broken) {
            return;
        }
        let said = GroundSaid {
            told: cluster.ground.told,
            broken,
            ..GroundSaid::default()
        };
        self.say_ground(now, cluster, "looked", said);
    }

    fn say_ground(&mut self, now: Tick, cluster: &Cluster, what: &str, said: GroundSaid) {
        let command = Command::Ground {
            cluster: cluster.id.clone(),
            epoch: cluster.epoch,
            instance: cluster.primary.clone(),
            said: Box::new(said),
        };
        self.outbox
            .push(now, format!("ground/{what}/{}", cluster.id), command);
    }

    /// A word of the open primary's agent on its scheduled events.
    pub(super) fn hear_scheduled(&mut self, now: Tick, cluster: &Cluster, said: ScheduledSaid) {
        if self.state.get().level < THIRD || !cluster.lacks_scheduled(&said) {
            return;
        }
        let command = Command::Scheduled {
            cluster: cluster.id.clone(),
            epoch: cluster.epoch,
            instance: cluster.primary.clone(),
            said: Box::new(said),
        };
        self.outbox
            .push(now, format!("scheduled/{}", cluster.id), command);
    }

    /// What this replica wrote itself, where the primary and it are heard, as its agent is told.
    pub(super) fn own_writes(&self, now: Tick, cluster: &Cluster, id: &InstanceId) -> GtidSet {
        let policy = &cluster.policy;
        if *id == cluster.primary || !policy.make_common || policy.hands_off() {
            return GtidSet::default();
        }
        let executed = |id: &InstanceId| Some(&self.watches.get(id)?.fresh_beat(now)?.executed);
        let (Some(own), Some(primary)) = (executed(id), executed(&cluster.primary)) else {
            return GtidSet::default();
        };
        let own = cluster.own_writes_in(own, Some(primary));
        cluster.lacks_common(self.state.get().level, &own)
    }

    /// The agent of a replica says that these, which it wrote itself, change nothing.
    pub(super) fn hear_harmless(
        &mut self,
        now: Tick,
        cluster: &Cluster,
        holder: &InstanceId,
        harmless: &GtidSet,
    ) {
        if harmless.is_empty() {
            return;
        }
        let set = self.own_writes(now, cluster, holder).intersect(harmless);
        if set.is_empty() {
            return;
        }
        let command = Command::Common {
            cluster: cluster.id.clone(),
            epoch: cluster.epoch,
            holder: holder.clone(),
            set,
            who: None,
        };
        let key = format!("common/{}/{holder}", cluster.id);
        self.outbox.push(now, key, command);
    }

    /// Members of V whose newest beat holds this.
    pub(super) fn holding(&self, now: Tick, cluster: &Cluster, set: &GtidSet) -> usize {
        let beats = cluster
            .ackers
            .members
            .iter()
            .filter_map(|id| self.watches.get(id)?.fresh_beat(now));
        beats
            .filter(|beat| beat.holds().is_superset_of(set))
            .count()
    }
}
