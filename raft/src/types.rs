//! How openraft's types map onto the core's.

use std::fmt;

use openraft::impls::leader_id_std;
use openraft::type_config::alias;
use primacy_core::ids::{LogIndex, NodeId, Position, Term};
use primacy_core::record::{Member, Outcome, Proposal};
use serde::{Deserialize, Serialize};

use crate::state_machine::StateMachine;

openraft::declare_raft_types!(
    /// A term has one leader, not one per node: a `Position` is (term, index), and two leaders of
    /// one term could put two entries at the same one.
    pub TypeConfig:
        D = LoggedProposal,
        R = Option<Outcome>,
        NodeId = NodeId,
        Node = Member,
        Term = u64,
        LeaderId = leader_id_std::LeaderId<u64, NodeId>,
);

pub type Raft = openraft::Raft<TypeConfig, StateMachine>;
pub type LogId = alias::LogIdOf<TypeConfig>;
pub type RaftVote = alias::VoteOf<TypeConfig>;
pub type RaftEntry = alias::EntryOf<TypeConfig>;
pub type Membership = alias::StoredMembershipOf<TypeConfig>;
pub type SnapshotMeta = alias::SnapshotMetaOf<TypeConfig>;

/// A proposal as an entry of the log. openraft wants to print what it carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LoggedProposal(pub Proposal);

impl fmt::Display for LoggedProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Proposal {
            proposer,
            incarnation,
            seq,
            commands,
            ..
        } = &self.0;
        write!(
            f,
            "proposal {proposer}/{incarnation}/{seq} of {} commands",
            commands.len()
        )
    }
}

pub fn position(log_id: &LogId) -> Position {
    Position {
        term: Term(*log_id.committed_leader_id().as_ref_term()),
        index: LogIndex(log_id.index),
    }
}

/// The term of a committed leader id, whose field openraft reaches only by dereferencing.
trait AsTerm {
    fn as_ref_term(&self) -> &u64;
}

impl AsTerm for alias::CommittedLeaderIdOf<TypeConfig> {
    fn as_ref_term(&self) -> &u64 {
        &self.term
    }
}
