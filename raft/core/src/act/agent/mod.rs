//! The agent's state machine: one order at a time, refused if stale, durable before it acts.
//!
//! ```text
//! order ── token older than the newest? ──► refused
//!   │ no
//!   ▼
//! kill the session of an earlier order → persist token (and frozen / shut / source / opened)
//!   → statement → reply
//! ```
//!
//! A statement toward closed goes out beside the write, and its reply after it (`disk`).

mod backlog;
mod besides;
mod common;
mod content;
mod disk;
mod ground;
mod joining;
mod orders;
mod paths;
mod probes;
mod progress;
mod receiver;
mod results;
mod scheduled;
mod server;
mod stall;
mod time;
mod turning;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::op::{Op, OpDone, OpError, OpId, Survey};
use super::order::{Order, Reply, Said};
use super::seal::{ProcessId, Seal};
use crate::gtid::{GtidSet, Uuid};
use crate::ids::{Epoch, Incarnation, InstanceId, Position, Tick, Token};
use crate::observe::{Heartbeat, Role};
use crate::policy::Policy;
use common::Common;
use disk::Disk;
use ground::Ground;
use joining::{Joining, Resting};
use paths::Paths;
use probes::Probes;
use receiver::{Newest, Receiver};
use scheduled::Scheduled;

pub use progress::ServerSeen;

/// Times of one agent, in milliseconds.
#[derive(Clone, Debug)]
pub struct Settings {
    pub beat_ms: u64,
    /// From opening until the first acknowledged write.
    pub marker_ms: u64,
    pub markers_max: usize,
    /// The write probe of an open primary.
    pub write_probe_ms: u64,
    /// From an order to fence until its server is killed, where nothing else counts.
    pub fence_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            beat_ms: 100,
            marker_ms: 20,
            markers_max: 8,
            write_probe_ms: 1_000,
            fence_ms: 1_200,
        }
    }
}

/// What a node tells an agent about its cluster with each acknowledgement, from its applied state.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NamedPrimary {
    pub epoch: Epoch,
    pub instance: InstanceId,
    /// The epoch is over, its successor not named yet.
    pub deposed: bool,
    /// Members of V by `server_uuid`.
    pub ackers: BTreeSet<Uuid>,
    pub restart_hold_ms: u64,
    pub unacked_fence_ms: u64,
    /// Where the log stood that says all this.
    #[serde(default)]
    pub at: Position,
    /// Acknowledgements that a commit of the primary waits for.
    #[serde(default)]
    pub k: u32,
    /// Under `automation: off` nothing that people set is put back.
    #[serde(default)]
    pub hands_off: bool,
    /// Settings that a proof rests on are put back.
    #[serde(default)]
    pub repairs: bool,
    /// An opening that makes no progress for so long is stuck.
    #[serde(default = "open_stall_ms")]
    pub open_stall_ms: u64,
    /// Clients that hold what a chosen one has to apply are ended.
    #[serde(default = "ends_holders")]
    pub ends_holders: bool,
    /// What the log holds of the primary's ground, and is not settled.
    #[serde(default)]
    pub ground: crate::record::Ground,
    /// What it has to take over of the cluster's scheduled events; `None` while a node cannot say.
    #[serde(default)]
    pub scheduled: Option<crate::record::Owed>,
    /// What this instance alone holds and no primary wrote: its agent looks into it.
    #[serde(default)]
    pub own_writes: GtidSet,
    /// What the primary is to write, empty, since a replica holds it and nobody misses it.
    #[serde(default)]
    pub common: GtidSet,
    /// Told to members of V alone: host and port of the primary, and of whoever may be next.
    #[serde(default)]
    pub addresses: BTreeMap<InstanceId, (String, u16)>,
    /// The policy's; 0 from a node that does not tell it.
    #[serde(default)]
    pub replica_stale_ms: u64,
}

fn open_stall_ms() -> u64 {
    Policy::default().open_stall_ms
}

fn ends_holders() -> bool {
    Policy::default().ends_holders
}

/// A node received a beat.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Acknowledgement {
    pub beat: u64,
    pub named: Option<NamedPrimary>,
}

#[derive(Clone, Debug)]
pub enum AgentInput {
    Tick,
    /// This process holds the data directory from now on: it runs, or it starts.
    ServerRuns {
        process: ProcessId,
        /// This agent started it just now, under a configuration that boots fenced.
        started: bool,
    },
    /// It answers.
    ServerUp,
    ServerSeen(ServerSeen),
    /// No thread of it will run its own code again, and nobody else holds the data directory.
    ServerExited,
    /// A start failed, in the last words of its log.
    ServerFails(String),
    Order(Box<Order>),
    OpEnded {
        id: OpId,
        result: Result<OpDone, OpError>,
    },
    Acknowledged(Acknowledgement),
    /// The write of a seal has returned: it is durable, or nothing is known to be.
    Persisted {
        number: u64,
        ok: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentOutput {
    /// Make it durable, beside all that follows, and say when it is. Numbers grow; where several
    /// wait, the newest is enough: it holds what those before it held.
    Persist {
        number: u64,
        seal: Seal,
    },
    Run {
        id: OpId,
        op: Op,
    },
    /// Kill the session of that op.
    Cancel {
        id: OpId,
    },
    Reply(Reply),
    Beat(Box<Heartbeat>),
    StartServer,
    /// SIGKILL, never SIGTERM.
    KillServer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Starting,
    /// It answers; not surveyed yet since it came up.
    Fresh,
    Up,
    Exited {
        at: Tick,
        restarting: bool,
    },
}

/// Which answer the order in hand waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Waits {
    /// Closing what is open under a lower epoch, before the order proper.
    Closing,
    Report,
    Freeze,
    Fence,
    Compare,
    /// Its receiver is stopped before it opens.
    Still,
    /// Stopped, and compared, before it fetches.
    FetchCompare,
    Follow,
    Apply,
    Session,
    Open,
}

#[derive(Clone, Debug)]
struct Job {
    order: Order,
    waits: Waits,
    op: OpId,
}

pub struct Agent {
    settings: Settings,
    /// This very run of it.
    process: ProcessId,
    /// When this run began.
    born: Tick,
    now: Tick,
    seal: Seal,
    disk: Disk,
    /// The newest order to fence that was answered.
    fence_said: Option<Order>,
    /// The `mysqld` that this run of the agent may have found running.
    found: Incarnation,
    server: Server,
    /// Since when no server has come up.
    down_since: Option<Tick>,
    /// When it last made progress, or began.
    moved: Tick,
    /// It is in an orderly shutdown.
    ending: bool,
    /// When one was last ended because a freeze hung in it.
    hung_ended: Option<Tick>,
    /// Why its newest start failed; `None` once one has come up.
    start_failure: Option<String>,
    /// Of whom it follows by order, once its receiver has seen it.
    source_uuid: Option<Uuid>,
    role: Role,
    survey: Option<Survey>,
    survey_op: Option<(OpId, Tick)>,
    survey_due: Tick,
    /// Why the agent's account cannot log in, or may not look, until a survey says otherwise.
    login_error: Option<String>,
    /// When the newest answered survey began.
    answered: Option<Tick>,
    job: Option<Job>,
    /// An order to follow whose effect is not seen yet, and one that had none.
    joining: Option<Joining>,
    resting: Option<Resting>,
    turning: Option<turning::Turning>,
    /// Whom this run saw its server turn to.
    turned: Option<(InstanceId, Epoch)>,
    /// The newest answer, repeated if its order is.
    said: Option<(Token, &'static str, Said)>,
    /// Markers under way, and what came of others.
    markers: Probes,
    marker_due: Tick,
    /// Markers go out fast until one is acknowledged; answers this token's order.
    proving: Option<(Token, &'static str, bool)>,
    apply_due: Tick,
    opening: Option<stall::Opening>,
    /// A statement left that lets it receive, and no survey since has shown it stopped.
    receives: bool,
    pace: backlog::Pace,
    opened_at: Tick,
    /// When a statement last ended that froze, opened, shut or pointed it: a look that began before may
    /// have seen what it was until then.
    turned_at: Tick,
    /// Fences without an order under way.
    side_fences: BTreeSet<OpId>,
    clean_up: bool,
    ground: Ground,
    scheduled: Scheduled,
    common: Common,
    /// Settings are being put back.
    repair: Option<OpId>,
    held: Option<content::Held>,
    receiver: Receiver,
    newest: Newest,
    /// For which epoch it was open, and as which run of its server, when somebody else shut it.
    shut_by_hand: Option<(Epoch, Incarnation)>,
    /// When it went on after a sleep, until a look at its server that began since is answered.
    woke: Option<Tick>,
    paths: Paths,
    /// Replication that nobody ordered is being ended.
    unordered: Option<OpId>,
    unordered_due: Tick,
    /// An order to adopt is in hand or failed, and is sent again: the server stays as it is.
    adopting: bool,
    named: Option<NamedPrimary>,
    /// `/primary` answers 503 until a beat sent after this is confirmed.
    doubt: Option<(Tick, u64)>,
    beat: u64,
    beat_due: Tick,
    last_tick: Tick,
    next_op: u64,
}

impl Agent {
    /// `seal` is what the disk holds, its run counted up and durable already; `process` is this run
    /// under a name that no other ever has, whatever becomes of that disk.
    pub fn new(now: Tick, seal: Seal, process: ProcessId, settings: Settings) -> Self {
        Self {
            settings,
            process,
            born: now,
            now,
            found: seal.mysqld,
            disk: Disk::new(now, seal.mysqld),
            fence_said: None,
            seal,
            server: Server::Starting,
            down_since: None,
            moved: now,
            ending: false,
            hung_ended: None,
            start_failure: None,
            source_uuid: None,
            role: Role::Closed,
            survey: None,
            survey_op: None,
            survey_due: now,
            login_error: None,
            answered: None,
            job: None,
            joining: None,
            resting: None,
            turning: None,
            turned: None,
            said: None,
            markers: Probes::default(),
            marker_due: now,
            proving: None,
            apply_due: now,
            opening: None,
            receives: false,
            pace: backlog::Pace::default(),
            opened_at: now,
            turned_at: Tick(0),
            side_fences: BTreeSet::new(),
            clean_up: false,
            ground: Ground::default(),
            scheduled: Scheduled::default(),
            common: Common::default(),
            repair: None,
            held: None,
            receiver: Receiver::new(now),
            newest: Newest::default(),
            shut_by_hand: None,
            woke: None,
            paths: Paths::default(),
            unordered: None,
            unordered_due: now,
            adopting: false,
            named: None,
            doubt: Some((now, 0)),
            beat: 0,
            beat_due: now,
            last_tick: now,
            next_op: 0,
        }
    }

    pub fn seal(&self) -> &Seal {
        &self.seal
    }

    pub fn role(&self) -> Role {
        self.role
    }

    pub fn survey(&self) -> Option<&Survey> {
        self.survey.as_ref()
    }

    /// When the newest answered survey began.
    pub fn answered(&self) -> Option<Tick> {
        self.answered
    }

    pub fn named(&self) -> Option<&NamedPrimary> {
        self.named.as_ref()
    }

    /// The epoch for which it may take writes now: what `/primary` answers.
    pub fn serving(&self) -> Option<Epoch> {
        let Role::Open(epoch) = self.role else {
            return None;
        };
        let over = self.named.as_ref().is_some_and(|named| {
            let ours = named.instance == self.seal.instance && !named.deposed;
            named.epoch > epoch || (named.epoch == epoch && !ours)
        });
        (self.server == Server::Up && self.doubt.is_none() && !over).then_some(epoch)
    }

    /// What the newest word of a node says of the policy; its default where none has come: an agent
    /// that no node has told anything is no less bound.
    fn policy<T>(&self, told: fn(&NamedPrimary) -> T, default: fn(&Policy) -> T) -> T {
        match &self.named {
            Some(named) => told(named),
            None => default(&Policy::default()),
        }
    }

    pub fn handle(&mut self, now: Tick, input: AgentInput) -> Vec<AgentOutput> {
        let mut out = Vec::new();
        self.now = now;
        match input {
            AgentInput::Tick => {}
            AgentInput::ServerRuns { process, started } => {
                self.runs(now, process, started, &mut out);
            }
            AgentInput::ServerUp => {
                self.server = Server::Fresh;
                self.survey_due = now;
            }
            AgentInput::ServerSeen(seen) => self.seen(now, seen, &mut out),
            AgentInput::ServerExited => self.exited(now, &mut out),
            AgentInput::ServerFails(why) => self.start_failure = Some(why),
            AgentInput::Order(order) => self.order(now, *order, &mut out),
            AgentInput::OpEnded { id, result } => self.ended(now, id, result, &mut out),
            AgentInput::Acknowledged(ack) => self.acknowledged(ack),
            AgentInput::Persisted { number, ok } => self.persisted(number, ok, &mut out),
        }
        self.tick_disk(now, &mut out);
        self.tick(now, &mut out);
        out
    }
}

fn refused(why: &str) -> Said {
    Said::Refused {
        why: why.to_owned(),
    }
}
