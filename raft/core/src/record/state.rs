use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{Incarnation, NodeId, Position, Region, Seq};

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

/// One log entry: commands of one node, keyed so that nothing takes effect twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    pub proposer: NodeId,
    pub incarnation: Incarnation,
    pub seq: Seq,
    pub commands: Vec<String>,
}

/// What the apply of one proposal did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub at: Position,
    pub applied: bool,
}

/// The replicated state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub voters: BTreeMap<NodeId, Member>,
    pub seen: BTreeMap<NodeId, (Incarnation, Seq)>,
    pub applied: u64,
}

impl State {
    pub fn apply(&mut self, at: Position, proposal: &Proposal) -> Outcome {
        let key = (proposal.incarnation, proposal.seq);
        let fresh = self.seen.get(&proposal.proposer).is_none_or(|last| *last < key);
        if fresh {
            self.seen.insert(proposal.proposer, key);
            self.applied += 1;
        }
        Outcome { at, applied: fresh }
    }

    pub fn set_voters(&mut self, _at: Position, voters: BTreeMap<NodeId, Member>) {
        self.voters = voters;
    }
}
