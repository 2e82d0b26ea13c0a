//! Why the leader does nothing, in words: what each cluster waits for, and what would satisfy it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Node;
use crate::agree::Verdict;
use crate::alarm::Shown;
use crate::decide::Readiness;
use crate::ids::{ClusterId, InstanceId};
use crate::policy::Automation;
use crate::record::{Cluster, Line, Stage};

/// Where a cluster stands, as its leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// What it waits for; each says what would satisfy it. Empty if there is nothing to do.
    pub waits: Vec<String>,
    /// What agents refused last, and why.
    pub refused: BTreeMap<InstanceId, String>,
    /// Whether a failover would succeed now; `None` before the first look.
    #[serde(default)]
    pub readiness: Option<Readiness>,
    /// What people should see to, the gravest first.
    #[serde(default)]
    pub alarms: Vec<Shown>,
}

impl Node {
    pub(super) fn wait(&mut self, cluster: &Cluster, waits: Vec<String>) {
        self.lead
            .standing
            .entry(cluster.id.clone())
            .or_default()
            .waits
            .extend(waits);
    }

    pub(super) fn explain(&mut self, cluster: &Cluster, verdict: Option<Verdict>) {
        let mut waits = Vec::new();
        match verdict {
            Some(Verdict::Dead | Verdict::Wedged | Verdict::Starved) => {
                if let Err(obstacles) = crate::decide::feasible(cluster) {
                    waits.extend(obstacles.into_iter().map(|why| format!("halted: {why}")));
                }
                match cluster.policy.automation {
                    Automation::Auto if cluster.rest_ms > 0 => waits.push(format!(
                        "the last failover was less than min_interval_s ago ({} s left); approve it \
                         by hand, or wait",
                        cluster.rest_ms / 1_000
                    )),
                    Automation::Auto => waits.extend(self.waits_in_line(cluster)),
                    Automation::Advise => waits.push("an operator's approval".into()),
                    Automation::Off => waits.push("automation is off".into()),
                }
            }
            Some(Verdict::Isolated) => waits.push(
                "alert: a majority of the control plane does not reach the primary, but its ackers \
                 do; nothing is promoted. Look at the network between them"
                    .into(),
            ),
            Some(Verdict::Undecided | Verdict::Standing | Verdict::Stuck) | None => {
                // Votes alone would not do where no proof is within reach.
                if let Err(obstacles) = crate::decide::feasible(cluster) {
                    waits.extend(obstacles);
                }
                waits.push("more votes, or longer silence".into());
            }
        }
        self.wait(cluster, waits);
    }

    fn line(&self, cluster: &Cluster) -> Option<&Line> {
        self.lines.get(cluster.home()?)
    }

    /// Whether a slot of its region is free for this cluster, and nothing else is missing but a
    /// fresh vote.
    pub(super) fn is_next(&self, cluster: &Cluster) -> bool {
        self.line(cluster).is_some_and(|line| line.is_next(cluster))
    }

    fn waits_in_line(&self, cluster: &Cluster) -> Option<String> {
        self.line(cluster)?.explain(cluster)
    }
}

pub(super) fn founding_waits(
    cluster: &Cluster,
    unfit: &BTreeMap<(ClusterId, InstanceId), String>,
) -> Vec<String> {
    let Stage::Founding { reports, .. } = &cluster.stage else {
        return Vec::new();
    };
    let refusal = |id: &InstanceId| unfit.get(&(cluster.id.clone(), id.clone()));
    let mut waits: Vec<String> = cluster
        .instances
        .keys()
        .filter_map(|id| match refusal(id) {
            Some(why) => Some(format!(
                "the founding is refused with the report of {id}: {why}. Everybody is asked again; to \
                 take the registration back: `primacy cluster unregister {}`",
                cluster.id
            )),
            None if reports.contains_key(id) => None,
            None => Some(format!(
                "the agent of {id} has not reported it fenced yet; start it"
            )),
        })
        .collect();
    waits.dedup();
    waits
}
