//! The documents that `status`, `describe`, `explain` and `history` print.

use std::collections::BTreeMap;

use primacy_core::ids::{ClusterId, NodeId};
use primacy_core::record::{Cluster, Event, Member};
use serde::{Deserialize, Serialize};

use crate::decide::View;

/// What one node knows and sees.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusDocument {
    pub plane: Option<String>,
    pub answered_by: NodeId,
    pub leader: Option<NodeId>,
    pub term: u64,
    pub applied_index: u64,
    pub hears_majority: bool,
    pub nodes: BTreeMap<NodeId, Member>,
    pub clusters: BTreeMap<ClusterId, ClusterStatus>,
    pub view: View,
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
    #[serde(flatten)]
    pub event: Event,
}
