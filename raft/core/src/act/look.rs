//! What a look at a server shows of the ground that proofs rest on: raw values, judged elsewhere.

use serde::{Deserialize, Serialize};

use crate::gtid::Uuid;
use crate::observe::{Branches, ChannelSeen, SourceGround};

/// What else an agent's survey reads beside the state that its orders change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ground {
    pub source: SourceGround,
    pub sync_relay_log: u64,
    pub relay_log_recovery: bool,
    pub channels: Vec<ChannelSeen>,
    /// Each replication filter in the server's words, with its channel where it has one.
    pub filters: Vec<String>,
    /// The newest binary log and its number, as it was up to a second before: to ask for it waits
    /// for the disk, and a survey must not. `None` until it was read.
    pub binlog: Option<(String, u64)>,
    pub event_scheduler: String,
    /// Prepared branches; `None` where the agent's account may not see them.
    pub branches: Option<Branches>,
}

/// A connection to which the server sends its binary log, and whose acknowledgements count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SemiSyncDump {
    pub session: u64,
    /// `None`: it names no server, or nothing that is a `server_uuid`.
    pub uuid: Option<Uuid>,
}

/// What a write probe that is under way is at, as the server's threads and locks show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeAt {
    /// It waits for an acknowledgement.
    Acknowledgement,
    /// In its commit: behind others that wait for one, or for the disk.
    Commit,
    /// Behind a lock; which, and who holds it.
    Lock(String),
    /// Anywhere else, with no lock in its way.
    Work,
}
