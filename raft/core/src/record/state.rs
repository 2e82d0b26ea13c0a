//! The replicated state: what every node agrees on, a pure function of the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cluster::Cluster;
use super::incident::Incident;
use super::level;
use crate::ids::{
    ClusterId, Epoch, Generation, Incarnation, InstanceId, NodeId, PlaneId, Position, Region, Seq,
    Token,
};

/// One control node as the log knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// `host:port` of its gRPC listener.
    pub address: String,
    pub region: String,
}

impl Member {
    pub fn region(&self) -> Region {
        Region(self.region.clone())
    }
}

/// Everything agreed. Cloning is cheap: clusters are shared until an apply changes one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub plane: Option<PlaneId>,
    pub generation: Generation,
    /// The voters of the control plane at this log position.
    pub voters: BTreeMap<NodeId, Member>,
    /// The newest proposal of each node that took effect.
    pub proposers: BTreeMap<NodeId, (Incarnation, Seq)>,
    pub clusters: BTreeMap<ClusterId, Arc<Cluster>>,
    /// Regions in which many primaries fell silent together.
    #[serde(default)]
    pub incidents: BTreeMap<Region, Incident>,
    /// The feature level under which the log is applied. Without one (an older snapshot): the first.
    #[serde(default = "level::first")]
    pub level: u32,
    /// Up to which feature level each voter can apply the log, by its own word.
    #[serde(default)]
    pub knows: BTreeMap<NodeId, u32>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            plane: None,
            generation: Generation::default(),
            voters: BTreeMap::new(),
            proposers: BTreeMap::new(),
            clusters: BTreeMap::new(),
            incidents: BTreeMap::new(),
            level: level::first(),
            knows: BTreeMap::new(),
        }
    }
}

impl State {
    pub fn set_voters(&mut self, voters: BTreeMap<NodeId, Member>) {
        self.knows.retain(|node, _| voters.contains_key(node));
        self.voters = voters;
    }

    pub fn regions(&self) -> BTreeMap<NodeId, Region> {
        self.voters
            .iter()
            .map(|(node, member)| (*node, member.region()))
            .collect()
    }

    /// The right to give an order that the entry at `at` allows.
    pub fn token(&self, epoch: Epoch, at: Position) -> Option<Token> {
        Some(Token {
            plane: self.plane.clone()?,
            generation: self.generation,
            epoch,
            at,
        })
    }

    pub fn cluster_of(&self, instance: &InstanceId) -> Option<&Arc<Cluster>> {
        self.clusters
            .values()
            .find(|cluster| cluster.instances.contains_key(instance))
    }
}
