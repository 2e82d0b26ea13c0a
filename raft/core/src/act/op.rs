//! What an agent asks of its own `mysqld`, and what it is told. The shell turns an op into SQL; the
//! simulator into its fake server's motions.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::gtid::{GtidSet, Uuid};
use crate::ids::Epoch;
use crate::observe::{IoThread, NotSent, SourceGround};
use crate::record::{Idle, TakeOver, TakenOver};

use super::look::{Ground, ProbeAt, SemiSyncDump};

/// Numbers the ops of one run of an agent; a result of an op that was superseded is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpId(pub u64);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Read what the server is and holds, in one round trip.
    Survey,
    /// Stop the IO thread, switch its acknowledging off, then survey.
    Freeze,
    /// `super_read_only` and `offline_mode`, then what is executed. Past its deadline the shell
    /// kills `mysqld` (SIGKILL, never SIGTERM: a graceful stop acknowledges waiting writes).
    Fence,
    /// Look how far the applier is and what clients hold of what it needs; where it `ends` them, their
    /// sessions are ended.
    LookAtApplier { ends: bool },
    /// Start the applier alone: what was received is applied, and nothing more comes in.
    StartApplier,
    /// Wait until everything in the set is executed.
    WaitApplied { set: GtidSet },
    /// Point to a source, start replicating. Clients are let in, or kept out.
    ///
    /// Where `compared` is given and it replicates from elsewhere, its IO thread is stopped once more and
    /// what it holds is read again; if that is more than was compared, nothing is done.
    Follow {
        host: String,
        port: u16,
        acking: bool,
        heartbeat_ms: u64,
        online: bool,
        compared: Option<GtidSet>,
    },
    /// Receive from this one, acknowledging nothing, until the set is held or patience ends; then as
    /// `Freeze`.
    Fetch {
        host: String,
        port: u16,
        set: GtidSet,
        heartbeat_ms: u64,
    },
    /// Open a session for `Open` beforehand, which dies by itself after a second unused; on it, end
    /// every semi-sync replica's connection but those of these servers, then read what is executed.
    PrepareOpen { members: BTreeSet<Uuid> },
    /// On the prepared session: semi-sync source on, `k`, writable.
    Open { k: u32 },
    /// Set k on an instance that is open already, and switch its semi-sync source on.
    Adopt { k: u32 },
    /// One write into the marker table on a fresh connection; done when it is acknowledged.
    /// `create` makes the table first.
    Marker { epoch: Epoch, create: bool },
    /// Forget the replication that ended with the promotion.
    CleanUp,
    /// Forget a replication channel that no order asked for, and touch no other.
    EndChannel { name: String },
    /// Disconnect semi-sync replicas that are not in V.
    Cut { sessions: Vec<u64> },
    /// Put back what the acknowledgements rest on, on an open primary that waits for `k`: never below
    /// it, and semi-sync is toggled only where nobody waits for it.
    Repair { k: u32 },
    /// On an open primary: its event scheduler as told, and the events enabled that it was left with
    /// as a replica, each under the DEFINER that it has.
    TakeOverScheduled { take_over: TakeOver },
    /// Which of an open primary's scheduled events are not enabled.
    LookAtScheduled,
    /// Read from the binary log what these transactions, which it wrote itself, were.
    LookInto { set: GtidSet },
    /// On an open primary: write these transactions, empty, and wait for their acknowledgement.
    WriteEmpty { set: GtidSet },
    /// Log in there with the replication account, as a replica would, and leave again.
    LogIn { host: String, port: u16 },
}

impl Op {
    /// For logs and traces.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Survey => "survey",
            Op::Freeze => "freeze",
            Op::Fence => "fence",
            Op::StartApplier => "start applier",
            Op::LookAtApplier { .. } => "look at applier",
            Op::WaitApplied { .. } => "wait until applied",
            Op::Follow { .. } => "follow",
            Op::Fetch { .. } => "fetch",
            Op::PrepareOpen { .. } => "prepare to open",
            Op::Open { .. } => "open",
            Op::Adopt { .. } => "adopt",
            Op::Marker { .. } => "marker",
            Op::CleanUp => "clean up",
            Op::EndChannel { .. } => "end channel",
            Op::Cut { .. } => "cut strangers",
            Op::Repair { .. } => "repair",
            Op::TakeOverScheduled { .. } => "take over scheduled events",
            Op::LookAtScheduled => "look at scheduled events",
            Op::LookInto { .. } => "look into what it wrote itself",
            Op::WriteEmpty { .. } => "write empty",
            Op::LogIn { .. } => "log in",
        }
    }
}

/// What the server is and holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    pub server_uuid: Uuid,
    pub version: (u32, u32, u32),
    /// No application may write; `super_read_only` brings it with it.
    pub read_only: bool,
    pub super_read_only: bool,
    pub offline_mode: bool,
    pub executed: GtidSet,
    pub received: GtidSet,
    pub purged: GtidSet,
    /// Whether a replication channel is configured, and toward which address.
    pub source: Option<(String, u16)>,
    pub io: IoThread,
    /// Its receiver tries to connect, or waits for the source to send: it is not held up by its own
    /// disk.
    pub receiver_waits: bool,
    /// Bytes that this host has received on the connection to the source, while that stands; `None`
    /// where nobody could tell.
    pub receiver_bytes: Option<u64>,
    pub applier_runs: bool,
    pub acking: bool,
    pub heartbeats: u64,
    pub read_position: (String, u64),
    /// Why its receiver stopped or cannot connect; empty if nothing is wrong, and after STOP REPLICA.
    pub receiver_error: String,
    /// Why its applier stopped; empty if nothing is wrong, and after STOP REPLICA.
    pub applier_error: String,
    pub semi_sync_source: bool,
    /// `server_uuid` → session of each connected semi-sync replica.
    pub semi_sync_replicas: BTreeMap<Uuid, u64>,
    /// Threads that wait for an acknowledgement, or behind a global read lock.
    pub waiting: u64,
    /// Every connection that switched semi-sync on, whatever it says of itself.
    pub semi_sync_dumps: Vec<SemiSyncDump>,
    pub ground: Ground,
    /// Threads that wait for an acknowledgement.
    pub ack_waits: u64,
    /// For how long the statement has run that has done so longest, in whole seconds.
    pub ack_wait_ms: Option<u64>,
    /// What each write probe under way is at.
    pub probes: BTreeMap<OpId, ProbeAt>,
    /// Why the agent's account cannot log in, if its newest try was refused, though this one looks on.
    pub login_error: Option<String>,
}

impl Survey {
    pub fn holds(&self) -> GtidSet {
        self.executed.union(&self.received)
    }

    /// Closed: both switches, since XA COMMIT passes the first alone.
    pub fn fenced(&self) -> bool {
        self.super_read_only && self.offline_mode
    }

    /// What is wrong with its replication, the receiver first; empty if nothing is.
    pub fn replication_error(&self) -> &str {
        match self.receiver_error.as_str() {
            "" => &self.applier_error,
            error => error,
        }
    }

    /// No application can write to it.
    pub fn shut(&self) -> bool {
        self.read_only || self.super_read_only || self.offline_mode
    }

    /// Somebody can write to it, if only an administrator.
    pub fn writable(&self) -> bool {
        !self.super_read_only
    }
}

/// A marker that was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// `gtid_executed` read before the marker began.
    pub before: GtidSet,
    /// The same, read when it was answered: itself and all that was answered until then.
    pub after: GtidSet,
}

/// What a replica's applier is at, and who stands in its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applier {
    /// Changes whenever it makes progress, within one transaction too.
    pub at: String,
    /// Sessions that hold what it needs, and since when: for people.
    pub holders: Vec<String>,
    /// Those of them that were ended.
    pub ended: Vec<String>,
}

/// What the session saw that opened the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened;

/// How an op ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpDone {
    Surveyed(Box<Survey>),
    Frozen(Box<Survey>),
    Fenced {
        final_set: GtidSet,
        server_uuid: Uuid,
        /// What its acknowledgements rested on to the last; `None` without semi-sync.
        ground: Option<SourceGround>,
    },
    ApplierSeen(Applier),
    ApplierStarted,
    Applied,
    Followed,
    /// It holds more than it was compared with: it was not pointed anywhere.
    HoldsMore,
    /// The session stands; this is what it read.
    Prepared {
        executed: GtidSet,
        server_uuid: Uuid,
    },
    Opened(Opened),
    Marked(Marker),
    /// A marker that certainly reached no acker, and why.
    NotSent(NotSent),
    Cleaned,
    Cut,
    Repaired,
    ScheduledTakenOver(TakenOver),
    ScheduledSeen(Idle),
    LookedInto {
        /// What was looked into; no log holds more of it.
        known: GtidSet,
        /// What of that changes nothing: empty transactions and administrative statements.
        harmless: GtidSet,
        /// The first of the others, in words.
        first: Option<String>,
    },
    WroteEmpty,
    LoggedIn,
}

/// How it did not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum OpError {
    /// Whether it took effect is not known.
    #[error("{0}")]
    Unknown(String),
    /// The server refused it.
    #[error("{0}")]
    Refused(String),
    /// The server neither carries it out nor ends it: a statement hangs in it, on a disk that is
    /// full or stuck, and KILL does not end that. Only the end of its process does.
    #[error("{0}")]
    Hangs(String),
    /// It refuses the agent's account a login, or what a survey asks: which, and the error.
    #[error("{0}")]
    Denied(String),
}
