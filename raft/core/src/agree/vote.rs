use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::gtid::GtidSet;
use crate::ids::Incarnation;
use crate::ids::{ClusterId, Epoch, InquestId, InstanceId, NodeId, Position, Seq};
use crate::observe::{Fault, GroundLook, Reached, Sight, Starvation, Word};

/// One node's sight of a primary within one inquest, with its evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    pub cluster: ClusterId,
    pub inquest: InquestId,
    pub node: NodeId,
    /// Which run of the node, and its how many-th vote: an apply drops one not above the last.
    pub incarnation: Incarnation,
    pub seq: Seq,
    pub sight: Sight,
    /// What is left of this node's lease promise, in milliseconds. 0 without leases.
    pub lease_left_ms: u64,
    /// The newest `gtid_executed` of the primary that this node ever saw in this epoch.
    pub last_known: GtidSet,
    /// The replicas this node reaches, and how long ago the primary made progress there.
    pub reached: BTreeMap<InstanceId, Reached>,
    /// What the primary's agent last said.
    pub word: Option<Word>,
    /// For how long it has known that word to say that `mysqld` exited.
    #[serde(default)]
    pub exit_ms: Option<u64>,
    /// Its newest look at good ground of the primary; `None` if this run of the node had none.
    #[serde(default)]
    pub ground: Option<GroundLook>,
    /// What its newest look found broken there, if it has had no good one since: the word of it may
    /// not have reached the log.
    #[serde(default)]
    pub broken: BTreeSet<Fault>,
    /// What it rests on, where it says Starved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starvation: Option<Box<Starvation>>,
}

/// One numbered inquiry into one primary of one epoch. At most one per cluster is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inquest {
    pub id: InquestId,
    pub epoch: Epoch,
    pub opened_at: Position,
    /// Each voter's latest vote.
    pub votes: BTreeMap<NodeId, Vote>,
    /// United over all votes of this inquest, superseded ones included.
    pub last_known: GtidSet,
}

impl Inquest {
    pub fn new(id: InquestId, epoch: Epoch, opened_at: Position) -> Self {
        Self {
            id,
            epoch,
            opened_at,
            votes: BTreeMap::new(),
            last_known: GtidSet::default(),
        }
    }

    /// Takes a vote; `false` if it belongs to another inquest or is not above the node's last.
    #[must_use]
    pub fn take(&mut self, vote: &Vote) -> bool {
        if vote.inquest != self.id {
            return false;
        }
        let key = |vote: &Vote| (vote.incarnation, vote.seq);
        if self
            .votes
            .get(&vote.node)
            .is_some_and(|last| key(last) >= key(vote))
        {
            return false;
        }
        self.last_known.union_with(&vote.last_known);
        self.votes.insert(vote.node, vote.clone());
        true
    }

    /// The newest word of the primary's agent that any voter heard.
    pub fn word(&self) -> Option<Word> {
        self.votes
            .values()
            .filter_map(|vote| vote.word)
            .max_by_key(Word::order)
    }
}
