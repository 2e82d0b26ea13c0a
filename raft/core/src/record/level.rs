//! The feature level: which semantics the log is applied under.
//!
//! Nodes of two versions must apply alike, so what a newer version does otherwise begins with a
//! committed entry, and that entry comes only when every voter has said that it knows how. A node
//! that meets a level above its own stops before it applies anything under it.

use super::apply::Applied;
use super::command::{Command, Event, EventKind, Proposal, Refusal};
use super::state::State;
use crate::ids::{Epoch, NodeId, Position};

/// The newest level that this version knows.
///
/// Raised by one with each change of what an apply does; what is new asks the state's level.
pub const FEATURE_LEVEL: u32 = 3;

/// Since this level a founding report is judged before it is stored, a cluster that never opened
/// can be taken back, and a policy is changed field by field.
pub const SECOND: u32 = 2;

/// Since this level a choice can be taken back, and whose sessions were ended for it is recorded; a
/// primary that lives and gathers no acknowledgement may be voted and deposed as Starved; the log keeps
/// what a cluster's scheduled events were; a policy may say that prepared branches (XA) are in use; what
/// a replica wrote itself is made common.
pub const THIRD: u32 = 3;

/// The level of logs and snapshots that name none.
pub(super) fn first() -> u32 {
    1
}

/// The log goes on under a level that this version does not know. Not retryable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the log goes on under feature level {level}, and this version knows levels up to {knows}: \
     upgrade this node; it has applied nothing under the new level"
)]
pub struct UnknownLevel {
    pub level: u32,
    pub knows: u32,
}

/// A level in force, to be compared with what a version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InForce(u32);

impl InForce {
    pub(super) fn within(self, knows: u32) -> Result<(), UnknownLevel> {
        let level = self.0;
        if level > knows {
            Err(UnknownLevel { level, knows })
        } else {
            Ok(())
        }
    }
}

impl State {
    /// Whether a version that knows levels up to `knows` may go on from this state.
    pub fn known_to(&self, knows: u32) -> Result<(), UnknownLevel> {
        InForce(self.level).within(knows)
    }

    /// The level in force once this entry is applied. One that raises it is tried on a copy first,
    /// which is rare, and costs little: clusters are shared.
    pub(super) fn level_after(&self, at: Position, proposal: &Proposal) -> InForce {
        let raises = |command: &Command| {
            matches!(
                command,
                Command::FoundPlane { .. } | Command::RaiseLevel { .. }
            )
        };
        if !proposal.commands.iter().any(raises) {
            return InForce(self.level);
        }
        let mut copy = self.clone();
        copy.take(at, proposal);
        InForce(copy.level)
    }

    pub(super) fn announce(&mut self, node: NodeId, knows: u32) -> Applied {
        if !self.voters.contains_key(&node) {
            return Err(Refusal::NotAVoter(node));
        }
        if knows < self.level {
            let level = self.level;
            return Err(Refusal::LevelInForce { node, knows, level });
        }
        self.knows.insert(node, knows);
        Ok(Vec::new())
    }

    pub(super) fn raise_level(&mut self, to: u32) -> Applied {
        if to <= self.level {
            return Ok(Vec::new());
        }
        let told = |node: &NodeId| self.knows.get(node).copied();
        let behind = self
            .voters
            .keys()
            .find(|node| told(node).is_none_or(|knows| knows < to));
        if let Some(node) = behind {
            return Err(Refusal::LevelUnknown {
                to,
                node: *node,
                knows: told(node),
            });
        }
        self.level = to;
        Ok(vec![Event {
            cluster: None,
            epoch: Epoch::INITIAL,
            kind: EventKind::LevelRaised,
            what: format!("feature level {to} is in force: every voter knows it"),
        }])
    }

    /// The level that every voter knows; `None` while one has not said.
    pub fn known_by_all(&self) -> Option<u32> {
        let told: Option<Vec<u32>> = self
            .voters
            .keys()
            .map(|node| self.knows.get(node).copied())
            .collect();
        told?.into_iter().min()
    }

    /// The laws of the level that do not hold, in words.
    pub(super) fn level_violations(&self) -> Vec<String> {
        let behind = self.knows.iter().filter(|(_, knows)| **knows < self.level);
        behind
            .map(|(node, knows)| {
                let level = self.level;
                format!("node {node} knows level {knows}, and {level} is in force")
            })
            .collect()
    }
}
