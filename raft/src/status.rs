//! One node's log, for people.

use std::collections::BTreeMap;

use primacy_core::ids::{LogIndex, NodeId, Term};
use primacy_core::record::Member;

use crate::leadership::Leadership;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub node: NodeId,
    pub leadership: Leadership,
    pub term: Term,
    /// The last entry in the log.
    pub last_log: Option<LogIndex>,
    pub applied: Option<LogIndex>,
    /// The newest snapshot's position.
    pub snapshot: Option<LogIndex>,
    /// Up to here the log is purged.
    pub purged: Option<LogIndex>,
    pub voters: BTreeMap<NodeId, Member>,
    pub learners: BTreeMap<NodeId, Member>,
}
