//! A primary that lives and gathers no acknowledgement: what one node tells of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::gtid::GtidSet;
use crate::ids::InstanceId;

/// How the newest try of a replica's agent ended to log in at an instance that it may have to follow,
/// with the replication account. One that is not answered yet leaves the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path {
    /// Milliseconds since it was begun.
    pub tried_ms: u64,
    /// Why it failed; empty if it did not.
    pub error: String,
}

/// The same in a vote, where nobody reads why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathSeen {
    pub tried_ms: u64,
    pub open: bool,
}

/// What a vote that says Starved tells of one replica that its node reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaSeen {
    /// For how long, without a break, its receiver has waited for this primary, or tried to connect
    /// to it, by order, and heard nothing. `None` if it does something else: it stands still, or
    /// writes; another primary would not help it.
    pub deaf_ms: Option<u64>,
    /// What it said it holds: for what is foreseen, in no need.
    pub holds: GtidSet,
    /// Its agent's tries to log in where it may have to follow next.
    pub paths: BTreeMap<InstanceId, PathSeen>,
}

/// What a vote that says Starved rests on. No report in it is older than the three beats and the
/// round trip within which one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Starvation {
    /// For how long the primary's oldest write that was sent has waited for its acknowledgement.
    pub probe_ms: u64,
    pub replicas: BTreeMap<InstanceId, ReplicaSeen>,
}
