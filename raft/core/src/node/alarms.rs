//! What the leader tells people of each cluster, all the while: what is wrong, and whether a failover
//! would succeed now.
//!
//! Looked at every quarter of a second, and planned once a second: whatever the number of inputs, it
//! costs no more.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::watch::Watch;
use super::{Node, NodeOutput};
use crate::alarm::{self, Alarm, Change, Facts, Key, Shown};
use crate::decide::{Known, Readiness, as_if_frozen, readiness};
use crate::ids::{ClusterId, InstanceId, Tick};
use crate::record::Cluster;

const LOOK_EVERY_MS: u64 = 250;
const PLAN_EVERY_MS: u64 = 1_000;

/// What this leader watches.
#[derive(Debug, Default)]
pub(super) struct Watched {
    of: BTreeMap<ClusterId, OfCluster>,
    /// The newest look.
    looked: Tick,
}

#[derive(Debug, Default)]
struct OfCluster {
    look_due: Tick,
    plan_due: Tick,
    readiness: Option<Readiness>,
    standing: alarm::Standing,
}

impl Watched {
    pub fn readiness(&self, cluster: &ClusterId) -> Option<Readiness> {
        self.of.get(cluster)?.readiness.clone()
    }

    pub fn shown(&self, cluster: &ClusterId) -> Vec<Shown> {
        let of = self.of.get(cluster);
        of.map_or_else(Vec::new, |of| of.standing.shown(self.looked))
    }

    /// Another node leads.
    pub fn leave(&mut self, now: Tick) -> Vec<(ClusterId, Change)> {
        let of = std::mem::take(&mut self.of).into_iter();
        of.flat_map(|(id, of)| {
            let left = of.standing.leave(now);
            left.into_iter().map(move |change| (id.clone(), change))
        })
        .collect()
    }
}

pub(super) fn told(
    changes: impl IntoIterator<Item = (ClusterId, Change)>,
    out: &mut Vec<NodeOutput>,
) {
    for (cluster, change) in changes {
        let change = Box::new(change);
        out.push(NodeOutput::Alarm { cluster, change });
    }
}

impl Node {
    /// What this node knows of each instance of a cluster.
    pub(super) fn facts(&self, now: Tick, cluster: &Cluster) -> BTreeMap<InstanceId, Facts<'_>> {
        let watches = cluster
            .instances
            .keys()
            .filter_map(|id| Some((id, self.watches.get(id)?)));
        let mut facts: BTreeMap<InstanceId, Facts<'_>> = watches
            .map(|(id, watch)| (id.clone(), watch.facts(now)))
            .collect();
        if let Some(primary) = facts.get_mut(&cluster.primary) {
            primary.ground_age_ms = self.ground_age_ms(now, cluster);
        }
        facts
    }

    /// How old this node's newest good look at the primary's ground would be called, were it to vote:
    /// as `Inquest::ground_age_ms` has it, of one vote. `None` where it had no look.
    fn ground_age_ms(&self, now: Tick, cluster: &Cluster) -> Option<u64> {
        let of = self.watches.get(&cluster.primary)?;
        let look = of.ground_look()?;
        let members = cluster.ackers.members.iter();
        let heard_ms = members
            .filter_map(|id| {
                let reached = self.watches.get(id)?.reached(now, cluster, of)?;
                reached.timed?.age_ms()
            })
            .max();
        Some(look.age_ms.max(look.gap_ms).max(heard_ms.unwrap_or(0)))
    }

    /// Looks at every cluster whose turn it is.
    pub(super) fn watch_all(&mut self, now: Tick, out: &mut Vec<NodeOutput>) {
        let state = self.state.clone();
        let mut watched = std::mem::take(&mut self.lead.watched);
        let known = &state.get().clusters;
        watched.of.retain(|id, _| known.contains_key(id));
        for cluster in state.get().clusters.values() {
            let of = watched.of.entry(cluster.id.clone()).or_default();
            if now < of.look_due {
                continue;
            }
            of.look_due = now.plus_ms(LOOK_EVERY_MS);
            watched.looked = now;
            let changes = self.watch_one(now, cluster, of);
            let changes = changes.into_iter();
            told(changes.map(|change| (cluster.id.clone(), change)), out);
        }
        self.lead.watched = watched;
    }

    fn watch_one(&self, now: Tick, cluster: &Arc<Cluster>, of: &mut OfCluster) -> Vec<Change> {
        let facts = self.facts(now, cluster);
        if facts.values().any(Facts::is_new) {
            return Vec::new();
        }
        if now >= of.plan_due {
            of.plan_due = now.plus_ms(PLAN_EVERY_MS);
            of.readiness = Some(readiness(cluster, known(cluster, &facts)));
        }
        let mut found = alarm::alarms(cluster, &facts);
        let serving = cluster.has_acknowledged();
        if let Some(readiness) = &of.readiness
            && !readiness.ready
            && serving
        {
            let why = readiness.why.clone();
            let alarm = Alarm::NotReady { why };
            found.insert(Key::new(None, &alarm), alarm);
        }
        let judged = |code: &str| alarm::judged(cluster, code);
        of.standing.take(now, &cluster.policy, found, judged)
    }
}

/// What a failover could rest on now.
fn known(cluster: &Cluster, facts: &BTreeMap<InstanceId, Facts<'_>>) -> Known {
    let mut known = Known {
        ground_age_ms: facts.get(&cluster.primary).and_then(|of| of.ground_age_ms),
        ..Known::default()
    };
    for (id, of) in facts {
        if *id == cluster.primary || cluster.left_behind.contains(id) {
            continue;
        }
        let Some(beat) = of.running() else { continue };
        let before = of.held_before.cloned().unwrap_or_else(|| beat.holds());
        let Some(report) = as_if_frozen(beat, before) else {
            continue;
        };
        known.newest.insert(id.clone(), beat.holds());
        known.frozen.insert(id.clone(), report);
        if let Some(why) = held(beat) {
            known.held.insert(id.clone(), why);
        }
    }
    known
}

/// Why it could not execute what it received.
fn held(beat: &crate::observe::Heartbeat) -> Option<String> {
    if beat.executed.is_superset_of(&beat.received) {
        return None;
    }
    let channel = beat.besides.as_ref()?.channel()?;
    let error = channel.applier_error.as_ref()?;
    Some(format!("its applier has stopped with {error}"))
}

impl Watch {
    fn facts(&self, now: Tick) -> Facts<'_> {
        let behind = self.beat.as_ref().map_or(0, |(_, beat)| alarm::left(beat));
        Facts {
            beat: self.beat.as_ref().map(|(_, beat)| beat),
            heard_ms: self.beat.as_ref().map(|(at, _)| now.since_ms(*at)),
            watched_ms: now.since_ms(self.born),
            held_before: self.held.before(),
            still_ms: self.pace.still_ms(),
            expected_ms: self.pace.expected_ms(behind.into()),
            ground_age_ms: None,
            other: self.imposter,
        }
    }
}
