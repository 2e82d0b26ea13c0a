//! The documents that `status`, `describe`, `explain` and `history` print.

use std::collections::BTreeMap;

use primacy_core::ids::{ClusterId, InstanceId, NodeId, Region};
use primacy_core::node::{Standing, WatchView};
use primacy_core::record::{Cluster, Event, Incident, Member};
use serde::{Deserialize, Serialize};

use crate::decide::View;

/// What one node knows and sees, and what it was told that the others see.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusDocument {
    pub plane: Option<String>,
    pub answered_by: NodeId,
    pub leader: Option<NodeId>,
    pub term: u64,
    pub applied_index: u64,
    pub hears_majority: bool,
    pub nodes: BTreeMap<NodeId, Member>,
    /// The feature level under which the log is applied.
    #[serde(default)]
    pub level: u32,
    /// Up to which level each node can apply it, by its own word.
    #[serde(default)]
    pub knows: BTreeMap<NodeId, u32>,
    /// Regions of which many primaries fell silent together.
    #[serde(default)]
    pub incidents: BTreeMap<Region, Incident>,
    /// What will stop the answering node if nobody sees to it.
    #[serde(default)]
    pub warnings: Vec<String>,
    pub clusters: BTreeMap<ClusterId, ClusterStatus>,
    /// What the answering node sees.
    pub view: View,
    /// What every node sees; empty if the others were not asked.
    #[serde(default)]
    pub sights: BTreeMap<NodeId, NodeSight>,
}

impl StatusDocument {
    /// How this node sees this instance; `None` if that is not known.
    pub fn sight(&self, node: NodeId, instance: &InstanceId) -> Option<&WatchView> {
        let view = if node == self.answered_by {
            &self.view
        } else {
            self.sights.get(&node)?.view.as_ref()?
        };
        view.instances.get(instance)
    }

    /// How the leader sees this instance, or else the node that was asked.
    pub fn best_sight(&self, instance: &InstanceId) -> Option<&WatchView> {
        let leader = self.leader.and_then(|id| self.sight(id, instance));
        leader.or_else(|| self.sight(self.answered_by, instance))
    }

    /// Where a cluster stands by the word of the leader; `None` if no leader answered.
    pub fn standing(&self, cluster: &ClusterId) -> Option<Standing> {
        let others = self.sights.values().filter_map(|sight| sight.view.as_ref());
        let leader = others.chain([&self.view]).find(|view| view.leads)?;
        Some(leader.standing.get(cluster).cloned().unwrap_or_default())
    }
}

/// What one node of the control plane sees.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeSight {
    pub region: String,
    /// Why it did not answer the one that asked; absent if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unanswered: Option<String>,
    pub applied_index: Option<u64>,
    pub hears_majority: Option<bool>,
    pub view: Option<View>,
    /// What will stop it if nobody sees to it.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl NodeSight {
    pub(super) fn of(region: &str, document: &StatusDocument) -> Self {
        Self {
            region: region.to_owned(),
            unanswered: None,
            applied_index: Some(document.applied_index),
            hears_majority: Some(document.hears_majority),
            view: Some(document.view.clone()),
            warnings: document.warnings.clone(),
        }
    }

    pub(super) fn unanswered(region: &str, why: String) -> Self {
        Self {
            region: region.to_owned(),
            unanswered: Some(why),
            applied_index: None,
            hears_majority: None,
            view: None,
            warnings: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// In plain words.
    pub stage: String,
    pub cluster: Cluster,
}

/// One event of the timeline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HistoryEvent {
    pub log_index: u64,
    pub term: u64,
    /// Wall clock of the node that proposed it, Unix milliseconds.
    pub wall_ms: u64,
    pub proposed_by: NodeId,
    /// By an operator's verb, through that node.
    #[serde(default)]
    pub by_operator: bool,
    #[serde(flatten)]
    pub event: Event,
}
