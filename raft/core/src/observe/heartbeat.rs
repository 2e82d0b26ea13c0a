//! What an agent says of its instance, every 100 ms and at once when `mysqld` exits.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ground::Fault;
use super::server::Besides;
use super::starved::Path;
use crate::act::ProcessId;
use crate::gtid::{GtidSet, Uuid};
use crate::ids::{ClusterId, Epoch, Incarnation, InstanceId, Token};

/// The state of a `mysqld` as its own agent sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MysqldWord {
    /// Not started yet, or starting: it has answered nothing in this incarnation.
    Starting,
    /// It runs; its newest answered local probe began this many milliseconds before the beat.
    Running { answered_ms_ago: u64 },
    /// No thread of it will run its own code again: gone, or seen ended in the kernel.
    Exited,
}

/// The word of one agent about one incarnation of its `mysqld`; newer beats replace older ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Which run of the agent speaks.
    pub agent: Incarnation,
    /// Counted up by that run with each beat.
    pub beat: u64,
    /// Which `mysqld` it speaks of.
    pub mysqld: Incarnation,
    pub says: MysqldWord,
}

impl Word {
    /// The order in which one agent said things.
    pub fn order(&self) -> (Incarnation, u64) {
        (self.agent, self.beat)
    }
}

/// What an agent holds its instance to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Fenced, replicating from nobody by order.
    #[default]
    Closed,
    /// Opened for writes, for this epoch.
    Open(Epoch),
    /// Its IO thread was stopped by order, for this epoch.
    Frozen(Epoch),
    /// Replicating from the primary of this epoch.
    Following(Epoch),
}

/// State of a replica's IO thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IoThread {
    #[default]
    Off,
    Connecting,
    On,
}

/// What a replica says of its source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaReport {
    pub io: IoThread,
    pub applier_runs: bool,
    /// Whom its agent last pointed it to.
    pub source: Option<InstanceId>,
    /// Anything that changes when the source made progress here: heartbeats received, and the
    /// position read in its binlog.
    pub heartbeats: u64,
    pub read_position: (String, u64),
    /// By when all progress was made that these two tell of, in milliseconds since this run of the
    /// agent began (`Heartbeat::run_ms`): since when it has told of them, or now, if its look is too
    /// old to say. `None` from one that does not say.
    #[serde(default)]
    pub moved_ms: Option<u64>,
    /// Whether it acknowledges semi-sync writes.
    pub acking: bool,
    /// The newest replication error, empty if none.
    pub error: String,
    /// For how long its receiver, by order toward this source, has waited for it or tried to connect,
    /// without a break: since this agent last started it, since its server came up, since a gap in
    /// the agent's own time. `None` while it does anything else.
    #[serde(default)]
    pub waits_ms: Option<u64>,
    /// Bytes that the host has received on the connection to the source; `None` where that is not
    /// known. One event of 200 MB moves neither heartbeats nor position until it is whole.
    #[serde(default)]
    pub bytes: Option<u64>,
}

/// What an open primary's agent saw of its ground that could have let a write be answered without k
/// of V: it counts until the log holds that k of V have all that was answered meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroundWord {
    /// Replicas outside V, by `server_uuid`, that were seen to acknowledge to it. One that names no
    /// server goes by its connection (`Uuid::of_connection`).
    pub strangers: BTreeSet<Uuid>,
    pub broken: BTreeSet<Fault>,
    /// The first beat of this run of the agent that told of just these. A word that told otherwise
    /// may still be on its way to the log: only one that is newer overtakes it.
    pub since: u64,
    /// Nothing of the kind is left, and this was executed when a marker begun since was answered.
    /// Whether k of V hold it, their own agents say.
    pub caught_up: Option<GtidSet>,
}

/// Branches of distributed transactions (XA) that are prepared: neither committed nor rolled back. A
/// replicated one is committed by whoever asks an online replica for it, under a GTID of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Branches {
    pub count: u64,
    /// The id of one of them, as `XA COMMIT` takes it.
    pub first: String,
}

impl Branches {
    /// What to do about them under a policy that says whether branches are in use (`xa`).
    pub fn alarm(&self, xa: bool) -> Option<String> {
        (self.count > 0 && !xa).then(|| {
            format!(
                "{} prepared {} (XA), the first is {}: on an online replica XA COMMIT would commit it \
                 apart from the primary; where branches are in use, set policy xa=true, which keeps \
                 replicas offline; else end them on the primary by XA COMMIT or XA ROLLBACK",
                self.count,
                if self.count == 1 { "branch" } else { "branches" },
                self.first
            )
        })
    }
}

/// One beat of one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    pub cluster: ClusterId,
    pub instance: InstanceId,
    pub word: Word,
    /// For how long this run of the agent had gone when it sent this, in milliseconds, time that it
    /// slept included; `None` from one that does not say.
    #[serde(default)]
    pub run_ms: Option<u64>,
    /// Its agent slept, and has not looked at its server since: what it tells is of before that. Not
    /// said any more after a second, when its server does not answer.
    #[serde(default)]
    pub slept: bool,
    pub role: Role,
    /// The newest token it has obeyed.
    pub token: Option<Token>,
    /// The newest epoch for which it opened its instance, or was about to.
    #[serde(default)]
    pub opened: Option<Epoch>,
    pub server_uuid: Option<Uuid>,
    pub version: (u32, u32, u32),
    /// Whether the server refuses all writes (`super_read_only` and `offline_mode`).
    pub fenced: bool,
    pub executed: GtidSet,
    pub received: GtidSet,
    pub purged: GtidSet,
    pub replica: Option<ReplicaReport>,
    /// How long a write probe has been stuck while reads answered and no thread waited for an
    /// acknowledgement or a global lock; `None` if writes pass.
    pub write_stuck_ms: Option<u64>,
    /// It is at work on an order to open, or its server recovers before it can be.
    #[serde(default)]
    pub opening: bool,
    /// Why its GTIDs do not say what is in it.
    #[serde(default)]
    pub marked: Option<String>,
    /// Why the agent's account cannot log in, if its newest try was refused.
    #[serde(default)]
    pub login_error: Option<String>,
    /// What of the primary's ground was broken, and is not settled yet.
    #[serde(default)]
    pub ground: GroundWord,
    /// An order to open makes no progress.
    #[serde(default)]
    pub stuck: Option<Stuck>,
    /// Whose sessions were ended for the sake of the newest order to open, and for what they held.
    #[serde(default)]
    pub freed: BTreeSet<String>,
    /// Of an open primary's scheduled events.
    #[serde(default)]
    pub scheduled: Option<crate::record::ScheduledSaid>,
    /// What a replica wrote itself and changes nothing, as its agent read from its binary log.
    #[serde(default)]
    pub harmless: GtidSet,
    /// Prepared branches on it; `None` where they cannot be seen.
    #[serde(default)]
    pub branches: Option<Branches>,
    /// For how long the oldest write of this opening that was sent to the ackers has waited for its
    /// acknowledgement, the agent's own gaps left out; `None` if none waits.
    #[serde(default)]
    pub unacknowledged_ms: Option<u64>,
    /// Whether its agent could log in where its instance may have to follow next.
    #[serde(default)]
    pub paths: BTreeMap<InstanceId, Path>,
    /// What else its newest survey showed; `None` before the first.
    #[serde(default)]
    pub besides: Option<Box<Besides>>,
}

/// An order to open that has made no progress for too long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stuck {
    pub epoch: Epoch,
    pub for_ms: u64,
    /// What it waits for, as far as its server tells.
    pub why: String,
    /// The run of the agent that has not begun to open it.
    #[serde(default)]
    pub unopened: Option<ProcessId>,
}

impl Heartbeat {
    /// Everything that the instance holds, executed or still in its relay log.
    pub fn holds(&self) -> GtidSet {
        self.executed.union(&self.received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prepared_branches_are_an_alarm_unless_they_are_known_to_be_in_use() {
        let of = |count| Branches {
            count,
            first: "X'61',X'',1".into(),
        };
        assert_eq!(of(0).alarm(false), None);
        assert_eq!(of(2).alarm(true), None);
        let one = of(1).alarm(false).expect("an alarm");
        assert!(
            one.starts_with("1 prepared branch (XA), the first is X'61',X'',1: "),
            "{one}"
        );
        assert!(one.contains("set policy xa=true"), "{one}");
        let two = of(2).alarm(false).expect("an alarm");
        assert!(two.starts_with("2 prepared branches (XA), "), "{two}");
    }
}
