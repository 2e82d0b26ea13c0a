//! The agent's state machine: one order at a time, refused if stale, durable before it acts.
//!
//! ```text
//! order ── token older than the newest? ──► refused
//!   │ no
//!   ▼
//! kill the session of an earlier order → persist token (and frozen / shut / source / opened)
//!   → statement → reply
//! ```

mod content;
mod ground;
mod joining;
mod orders;
mod probes;
mod results;
mod server;

mod time;

use std::collections::BTreeSet;

use super::op::{Op, OpDone, OpError, OpId, Survey};
use super::order::{Order, Reply, Said};
use super::seal::Seal;
use crate::gtid::Uuid;
use crate::ids::{Epoch, Incarnation, InstanceId, Position, Tick, Token};
use crate::observe::{Heartbeat, Role};
use ground::Ground;
use joining::{Joining, Resting};
use probes::Probes;

/// Times of one agent, in milliseconds.
#[derive(Clone, Debug)]
pub struct Settings {
    pub beat_ms: u64,
    /// From opening until the first acknowledged write.
    pub marker_ms: u64,
    pub markers_max: usize,
    /// The write probe of an open primary.
    pub write_probe_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            beat_ms: 100,
            marker_ms: 20,
            markers_max: 8,
            write_probe_ms: 1_000,
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
    /// What the log holds of the primary's ground, and is not settled.
    #[serde(default)]
    pub ground: crate::record::Ground,
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
    /// `mysqld` (incarnation as in the seal) answers.
    ServerUp,
    /// It is reaped.
    ServerExited,
    Order(Box<Order>),
    OpEnded {
        id: OpId,
        result: Result<OpDone, OpError>,
    },
    Acknowledged(Acknowledgement),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentOutput {
    /// Make it durable before anything that follows in the list is done.
    Persist(Seal),
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
    seal: Seal,
    /// The `mysqld` that this run of the agent may have found running.
    found: Incarnation,
    server: Server,
    role: Role,
    survey: Option<Survey>,
    survey_op: Option<(OpId, Tick)>,
    survey_due: Tick,
    /// When the newest answered survey began.
    answered: Option<Tick>,
    job: Option<Job>,
    /// An order to follow whose effect is not seen yet, and one that had none.
    joining: Option<Joining>,
    resting: Option<Resting>,
    /// The newest answer, repeated if its order is.
    said: Option<(Token, &'static str, Said)>,
    /// Markers under way, and what came of others.
    markers: Probes,
    marker_due: Tick,
    /// Markers go out fast until one is acknowledged; answers this token's order.
    proving: Option<(Token, &'static str, bool)>,
    opened_at: Tick,
    side_ops: BTreeSet<OpId>,
    /// Fences without an order under way.
    side_fences: BTreeSet<OpId>,
    clean_up: bool,
    ground: Ground,
    /// Settings are being put back.
    repair: Option<OpId>,
    held: Option<content::Held>,
    /// Replication that somebody started on an open primary is being ended.
    circle: Option<OpId>,
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
    /// `seal` is what the disk holds, its run counted up and durable already.
    pub fn new(now: Tick, seal: Seal, settings: Settings) -> Self {
        Self {
            settings,
            found: seal.mysqld,
            seal,
            server: Server::Starting,
            role: Role::Closed,
            survey: None,
            survey_op: None,
            survey_due: now,
            answered: None,
            job: None,
            joining: None,
            resting: None,
            said: None,
            markers: Probes::default(),
            marker_due: now,
            proving: None,
            opened_at: now,
            side_ops: BTreeSet::new(),
            side_fences: BTreeSet::new(),
            clean_up: false,
            ground: Ground::default(),
            repair: None,
            held: None,
            circle: None,
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

    pub fn handle(&mut self, now: Tick, input: AgentInput) -> Vec<AgentOutput> {
        let mut out = Vec::new();
        match input {
            AgentInput::Tick => {}
            AgentInput::ServerUp => {
                self.server = Server::Fresh;
                self.survey_due = now;
            }
            AgentInput::ServerExited => self.exited(now, &mut out),
            AgentInput::Order(order) => self.order(now, *order, &mut out),
            AgentInput::OpEnded { id, result } => self.ended(now, id, result, &mut out),
            AgentInput::Acknowledged(ack) => self.acknowledged(ack),
        }
        self.tick(now, &mut out);
        out
    }

    fn run(&mut self, op: Op, out: &mut Vec<AgentOutput>) -> OpId {
        self.next_op += 1;
        let id = OpId(self.next_op);
        out.push(AgentOutput::Run { id, op });
        id
    }

    fn persist(&self, out: &mut Vec<AgentOutput>) {
        out.push(AgentOutput::Persist(self.seal.clone()));
    }
}

fn refused(why: &str) -> Said {
    Said::Refused {
        why: why.to_owned(),
    }
}
