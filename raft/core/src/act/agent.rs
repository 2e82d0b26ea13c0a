//! The agent's state machine: one order at a time, refused if stale, durable before it acts.
//!
//! ```text
//! order ── token older than the newest? ──► refused
//!   │ no
//!   ▼
//! kill the session of an earlier order → persist token (and frozen / shut / source / opened)
//!   → statement → reply
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::op::{Op, OpDone, OpError, OpId, Survey};
use super::order::{Order, OrderKind, Reply, Said};
use super::seal::Seal;
use crate::gtid::{GtidSet, Uuid};
use crate::ids::{Epoch, Incarnation, InstanceId, Tick, Token};
use crate::observe::{Heartbeat, MysqldWord, ReplicaReport, Role, TICK_GAP_MS, Word};
use crate::policy::Policy;
use crate::record::{FenceReport, FreezeReport};

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
    /// The newest answer, repeated if its order is.
    said: Option<(Token, &'static str, Said)>,
    /// Markers under way: op → begun.
    markers: BTreeMap<OpId, Tick>,
    marker_due: Tick,
    /// Markers go out fast until one is acknowledged; answers this token's order.
    proving: Option<(Token, &'static str, bool)>,
    /// When the newest acknowledged marker began.
    marked: Option<Tick>,
    opened_at: Tick,
    side_ops: BTreeSet<OpId>,
    /// Fences without an order under way.
    side_fences: BTreeSet<OpId>,
    clean_up: bool,
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
            said: None,
            markers: BTreeMap::new(),
            marker_due: now,
            proving: None,
            marked: None,
            opened_at: now,
            side_ops: BTreeSet::new(),
            side_fences: BTreeSet::new(),
            clean_up: false,
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

    pub fn named(&self) -> Option<&NamedPrimary> {
        self.named.as_ref()
    }

    /// The epoch for which it may take writes now: what `/primary` answers.
    pub fn serving(&self) -> Option<Epoch> {
        let Role::Open(epoch) = self.role else {
            return None;
        };
        (self.server == Server::Up && self.doubt.is_none()).then_some(epoch)
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

    // ---- time

    fn tick(&mut self, now: Tick, out: &mut Vec<AgentOutput>) {
        if now.since_ms(self.last_tick) > TICK_GAP_MS {
            // As after SIGCONT: the world may have gone on without us.
            self.doubt = Some((now, self.beat));
        }
        self.last_tick = now;
        if matches!(self.server, Server::Fresh | Server::Up)
            && self.survey_op.is_none()
            && now >= self.survey_due
        {
            let id = self.run(Op::Survey, out);
            self.survey_op = Some((id, now));
            self.survey_due = now.plus_ms(self.settings.beat_ms);
        }
        self.tick_markers(now, out);
        self.tick_restart(now, out);
        if now >= self.beat_due {
            self.beat(now, out);
        }
    }

    fn tick_markers(&mut self, now: Tick, out: &mut Vec<AgentOutput>) {
        let Role::Open(epoch) = self.role else { return };
        if self.server != Server::Up || now < self.marker_due || epoch == Epoch::INITIAL {
            return;
        }
        let (every_ms, most, create) = match self.proving {
            // The first epoch makes the table: one at a time.
            Some((_, _, true)) => (self.settings.marker_ms, 1, true),
            Some((_, _, false)) => (self.settings.marker_ms, self.settings.markers_max, false),
            None => (self.settings.write_probe_ms, 1, false),
        };
        self.marker_due = now.plus_ms(every_ms);
        if self.markers.len() < most {
            let id = self.run(Op::Marker { epoch, create }, out);
            self.markers.insert(id, now);
        }
        // An agent that no node has told anything since it began is no less bound.
        let fence_ms = self
            .named
            .as_ref()
            .map_or(Policy::default().unacked_fence_ms, |named| {
                named.unacked_fence_ms
            });
        let proved = self.marked.unwrap_or(self.opened_at).max(self.opened_at);
        if now.since_ms(proved) > fence_ms {
            // Nobody acknowledges: it may be deposed long since. Better shut than stale.
            self.role = Role::Closed;
            self.fence_aside(out);
            self.beat_due = now;
        }
    }

    fn tick_restart(&mut self, now: Tick, out: &mut Vec<AgentOutput>) {
        let Server::Exited {
            at,
            restarting: false,
        } = self.server
        else {
            return;
        };
        let hold_ms = self
            .named
            .as_ref()
            .map_or(Policy::default().restart_hold_ms, |named| {
                named.restart_hold_ms
            });
        let was_primary = self.seal.opened.is_some_and(|opened| {
            self.seal
                .source
                .as_ref()
                .is_none_or(|(_, epoch)| *epoch < opened)
        });
        // A replica starts at once: it boots fenced and acknowledges nothing. A primary waits until
        // the log says what became of its epoch.
        let replaced = self
            .named
            .as_ref()
            .is_some_and(|named| Some(named.epoch) > self.seal.opened);
        if was_primary && !replaced && now.since_ms(at) < hold_ms {
            return;
        }
        self.seal.mysqld = self.seal.mysqld.next();
        self.persist(out);
        out.push(AgentOutput::StartServer);
        self.server = Server::Exited {
            at,
            restarting: true,
        };
    }

    fn beat(&mut self, now: Tick, out: &mut Vec<AgentOutput>) {
        self.beat += 1;
        self.beat_due = now.plus_ms(self.settings.beat_ms);
        let says = match self.server {
            Server::Exited { .. } => MysqldWord::Exited,
            Server::Starting | Server::Fresh => MysqldWord::Starting,
            Server::Up => match self.answered {
                Some(at) => MysqldWord::Running {
                    answered_ms_ago: now.since_ms(at),
                },
                None => MysqldWord::Starting,
            },
        };
        let word = Word {
            agent: self.seal.agent,
            beat: self.beat,
            mysqld: self.seal.mysqld,
            says,
        };
        let replica = self
            .survey
            .as_ref()
            .filter(|survey| survey.source.is_some())
            .map(|survey| ReplicaReport {
                io: survey.io,
                applier_runs: survey.applier_runs,
                source: self.seal.source.as_ref().map(|(source, _)| source.clone()),
                heartbeats: survey.heartbeats,
                read_position: survey.read_position.clone(),
                acking: survey.acking,
                error: survey.replication_error.clone(),
            });
        let known = self.survey.as_ref();
        let set = |of: fn(&Survey) -> &GtidSet| known.map(of).cloned().unwrap_or_default();
        out.push(AgentOutput::Beat(Box::new(Heartbeat {
            cluster: self.seal.cluster.clone(),
            instance: self.seal.instance.clone(),
            word,
            role: self.role,
            token: self.seal.token.clone(),
            opened: self.seal.opened,
            server_uuid: known.map(|survey| survey.server_uuid),
            version: known.map(|survey| survey.version).unwrap_or_default(),
            fenced: known.is_none_or(Survey::fenced) || !matches!(self.role, Role::Open(_)),
            executed: set(|survey| &survey.executed),
            received: set(|survey| &survey.received),
            purged: set(|survey| &survey.purged),
            replica,
            write_stuck_ms: self.write_stuck_ms(now),
            semi_sync_replicas: known
                .map(|survey| survey.semi_sync_replicas.clone())
                .unwrap_or_default(),
        })));
    }

    /// A write probe that hangs while reads answer and nobody waits for an acknowledgement or a
    /// lock: the disk is full or stuck.
    fn write_stuck_ms(&self, now: Tick) -> Option<u64> {
        let begun = *self.markers.values().next()?;
        let survey = self.survey.as_ref()?;
        let stuck_ms = now.since_ms(begun);
        (survey.waiting == 0
            && stuck_ms > self.settings.write_probe_ms
            && self.answered > Some(begun))
        .then_some(stuck_ms)
    }

    // ---- the server

    fn exited(&mut self, now: Tick, out: &mut Vec<AgentOutput>) {
        self.server = Server::Exited {
            at: now,
            restarting: false,
        };
        self.role = Role::Closed;
        self.survey_op = None;
        self.markers.clear();
        self.side_ops.clear();
        self.side_fences.clear();
        self.proving = None;
        self.clean_up = false;
        // At once, not with the next beat.
        self.beat_due = now;
        if let Some(job) = self.job.take() {
            match job.order.kind {
                OrderKind::Fence { epoch } => {
                    self.shut(&job.order, epoch, FenceReport::Exited, out)
                }
                _ => self.say(
                    &job.order,
                    refused("mysqld exited; it is asked again when it is up"),
                    out,
                ),
            }
        }
    }

    /// The first look at a server that came up: it must be fenced unless this agent opened it.
    fn came_up(&mut self, now: Tick, survey: &Survey, out: &mut Vec<AgentOutput>) {
        self.server = Server::Up;
        self.beat_due = now;
        if self.seal.server_uuid.is_none() {
            self.seal.server_uuid = Some(survey.server_uuid);
            self.persist(out);
        }
        self.role = Role::Closed;
        if !survey.fenced() {
            match self.seal.opened {
                // One that was started anew has not been opened yet, whatever it boots as.
                Some(epoch)
                    if self.seal.mysqld == self.found
                        && self.seal.may_open(epoch)
                        && self.seal.source.as_ref().is_none_or(|(_, of)| *of < epoch) =>
                {
                    // The agent restarted, its database served on.
                    self.role = Role::Open(epoch);
                    self.opened_at = now;
                    self.doubt = Some((now, self.beat));
                }
                // Fenced below, unless it is somebody else's still.
                _ => {}
            }
        } else if let Some((_, epoch)) = &self.seal.source
            && survey.io != crate::observe::IoThread::Off
            && self.seal.may_follow(*epoch)
        {
            self.role = Role::Following(*epoch);
        }
    }

    fn surveyed(&mut self, now: Tick, begun: Tick, survey: Survey, out: &mut Vec<AgentOutput>) {
        self.answered = self.answered.max(Some(begun));
        if self.server == Server::Fresh {
            self.came_up(now, &survey, out);
        }
        if let Role::Open(epoch) = self.role {
            if survey.fenced() && begun > self.opened_at {
                // Somebody else fenced it; the control plane decides whether it opens again.
                self.role = Role::Closed;
                self.beat_due = now;
            }
            self.cut_strangers(epoch, &survey, out);
        } else if !survey.fenced()
            && self.governed()
            && self.job.is_none()
            && self.side_fences.is_empty()
        {
            // Writable without the right to be: by hand, by a restart, by an opening given up.
            self.fence_aside(out);
        }
        self.survey = Some(survey);
    }

    /// An order of a real epoch was obeyed: from then on it is open by right only. Before, it may
    /// be somebody's running primary that is to be adopted.
    fn governed(&self) -> bool {
        self.seal
            .token
            .as_ref()
            .is_some_and(|token| token.epoch > Epoch::INITIAL)
    }

    /// Fences without an order; what cannot be fenced is killed.
    fn fence_aside(&mut self, out: &mut Vec<AgentOutput>) {
        let id = self.run(Op::Fence, out);
        self.side_fences.insert(id);
    }

    /// Semi-sync has no allow-list: a replica that is not in V must not acknowledge. What is open
    /// for an epoch that is over has no V at all: it is shut at once, before any order comes.
    fn cut_strangers(&mut self, epoch: Epoch, survey: &Survey, out: &mut Vec<AgentOutput>) {
        let Some(named) = &self.named else { return };
        if named.epoch > epoch || (named.epoch == epoch && named.deposed) {
            self.role = Role::Closed;
            self.fence_aside(out);
            return;
        }
        if named.epoch != epoch || named.instance != self.seal.instance {
            return;
        }
        let strangers: Vec<u64> = survey
            .semi_sync_replicas
            .iter()
            .filter(|(uuid, _)| !named.ackers.contains(*uuid))
            .map(|(_, session)| *session)
            .collect();
        if !strangers.is_empty() {
            let id = self.run(
                Op::Cut {
                    sessions: strangers,
                },
                out,
            );
            self.side_ops.insert(id);
        }
    }

    fn acknowledged(&mut self, ack: Acknowledgement) {
        if let (Some((_, beat)), Some(named)) = (self.doubt, &ack.named) {
            let mine = Role::Open(named.epoch) == self.role
                && named.instance == self.seal.instance
                && !named.deposed;
            if ack.beat > beat && mine {
                self.doubt = None;
            }
        }
        if ack.named.as_ref().map(|n| n.epoch) >= self.named.as_ref().map(|n| n.epoch) {
            self.named = ack.named.or(self.named.take());
        }
    }

    // ---- orders

    fn order(&mut self, now: Tick, order: Order, out: &mut Vec<AgentOutput>) {
        if let Some(why) = self.objection(&order) {
            return self.say_once(&order, refused(&why), out);
        }
        let same = |token: &Token, name: &str| *token == order.token && name == order.kind.name();
        if let Some(job) = &self.job
            && same(&job.order.token, job.order.kind.name())
        {
            return; // in hand
        }
        if let Some((token, name, said)) = &self.said
            && same(token, name)
            && self.still_true(&order, said)
        {
            let said = said.clone();
            return self.say_once(&order, said, out);
        }
        if let Some(job) = self.job.take() {
            out.push(AgentOutput::Cancel { id: job.op });
        }
        self.seal.plane = Some(order.token.plane.clone());
        self.seal.token = Some(order.token.clone());
        if let OrderKind::Freeze { epoch } = order.kind {
            self.seal.frozen = self.seal.frozen.max(Some(epoch));
        }
        if let OrderKind::Open {
            epoch,
            adopted: true,
            ..
        } = order.kind
        {
            // It is open already; a restart of this agent must not take it for a stranger's.
            self.seal.opened = self.seal.opened.max(Some(epoch));
        }
        self.persist(out);
        self.begin(now, order, out);
    }

    fn objection(&self, order: &Order) -> Option<String> {
        if order.cluster != self.seal.cluster || order.instance != self.seal.instance {
            return Some(format!(
                "this is {} of cluster {}, the order is for {} of {}",
                self.seal.instance, self.seal.cluster, order.instance, order.cluster
            ));
        }
        if self
            .seal
            .plane
            .as_ref()
            .is_some_and(|plane| *plane != order.token.plane)
        {
            return Some(format!(
                "enrolled in control plane {}, the order comes from {}",
                self.seal.plane.as_ref().map_or("", |plane| plane.as_str()),
                order.token.plane
            ));
        }
        if self.seal.plane.is_none() && order.token.epoch > Epoch::INITIAL {
            return Some(
                "this agent has no memory of this cluster (its seal is lost or new), so it cannot \
                 tell a late order from a new one; it has to be enrolled again"
                    .into(),
            );
        }
        if let Some(newest) = &self.seal.token
            && order.token.older_than(newest)
        {
            return Some(format!(
                "stale: token {} is older than {newest}",
                order.token
            ));
        }
        let found = self.survey.as_ref().map(|survey| survey.server_uuid);
        if found.is_some() && self.seal.server_uuid.is_some() && found != self.seal.server_uuid {
            return Some("the server_uuid is not the one it was enrolled with".into());
        }
        None
    }

    /// Whether the newest answer still describes the server.
    fn still_true(&self, order: &Order, said: &Said) -> bool {
        if !matches!(self.server, Server::Up) {
            return matches!(order.kind, OrderKind::Fence { .. });
        }
        match &order.kind {
            OrderKind::Follow {
                epoch,
                host,
                port,
                acking,
                ..
            } => {
                self.role == Role::Following(*epoch)
                    && self.survey.as_ref().is_some_and(|survey| {
                        survey.source.as_ref() == Some(&(host.clone(), *port))
                            && survey.acking == *acking
                            && survey.io != crate::observe::IoThread::Off
                            && survey.applier_runs
                    })
            }
            OrderKind::Open { epoch, .. } | OrderKind::Reopen { epoch, .. } => {
                self.role == Role::Open(*epoch)
            }
            OrderKind::Report { .. } => false,
            OrderKind::Freeze { .. } => true,
            // It is up again: now it can say what it holds, which an exit could not.
            OrderKind::Fence { .. } => !matches!(
                said,
                Said::Fenced {
                    report: FenceReport::Exited
                }
            ),
        }
    }

    fn begin(&mut self, now: Tick, order: Order, out: &mut Vec<AgentOutput>) {
        if !matches!(self.server, Server::Up) {
            if let (
                OrderKind::Fence { epoch },
                Server::Exited {
                    restarting: false, ..
                },
            ) = (&order.kind, self.server)
            {
                return self.shut(&order, *epoch, FenceReport::Exited, out);
            }
            return self.say(&order, refused("mysqld is not up yet"), out);
        }
        let (epoch, adopts) = match &order.kind {
            OrderKind::Report { .. } => (Epoch::INITIAL, false),
            OrderKind::Open { epoch, adopted, .. } => (*epoch, *adopted),
            OrderKind::Freeze { epoch }
            | OrderKind::Fence { epoch }
            | OrderKind::Follow { epoch, .. }
            | OrderKind::Reopen { epoch, .. } => (*epoch, false),
        };
        if let Role::Open(open) = self.role
            && open < epoch
            && !adopts
        {
            // Whatever a higher epoch orders, what is open under a lower one is shut first.
            return self.step(order, Waits::Closing, Op::Fence, out);
        }
        self.begin_proper(now, order, out);
    }

    fn step(&mut self, order: Order, waits: Waits, op: Op, out: &mut Vec<AgentOutput>) {
        let op = self.run(op, out);
        self.job = Some(Job { order, waits, op });
    }

    fn begin_proper(&mut self, now: Tick, order: Order, out: &mut Vec<AgentOutput>) {
        match order.kind.clone() {
            OrderKind::Report { adopted } => {
                let op = if adopted { Op::Survey } else { Op::Freeze };
                self.step(order, Waits::Report, op, out);
            }
            OrderKind::Freeze { epoch } => {
                self.role = Role::Frozen(epoch);
                self.step(order, Waits::Freeze, Op::Freeze, out);
            }
            OrderKind::Fence { .. } => self.step(order, Waits::Fence, Op::Fence, out),
            OrderKind::Follow { epoch, source, .. } => {
                if !self.seal.may_follow(epoch) {
                    let why = format!("frozen for an epoch not below {epoch}");
                    return self.say(&order, refused(&why), out);
                }
                if self.seal.source == Some((source, epoch)) {
                    // Compared already, and nobody else could write to it since.
                    return self.follow(order, out);
                }
                self.step(order, Waits::Compare, Op::Freeze, out);
            }
            OrderKind::Open {
                epoch,
                need,
                adopted,
                ..
            } => {
                if !self.seal.may_open(epoch) {
                    let why = format!("shut or frozen for an epoch not below {epoch}");
                    return self.say(&order, refused(&why), out);
                }
                if !adopted && self.role != Role::Open(epoch) && self.seal.opened >= Some(epoch) {
                    // An order opens once. What restarted since is compared with V first.
                    let why = "opened for this epoch before, and restarted since: it is opened \
                               again once k of V hold what it has";
                    return self.say(&order, refused(why), out);
                }
                if self.role == Role::Open(epoch) {
                    // Open already; only its first acknowledged write is not reported.
                    self.prove(now, &order);
                    return self.say(&order, Said::Opened, out);
                }
                let received = self
                    .survey
                    .as_ref()
                    .map(|survey| survey.received.clone())
                    .unwrap_or_default();
                let set = need.union(&received);
                self.step(order, Waits::Apply, Op::WaitApplied { set }, out);
            }
            OrderKind::Reopen { epoch, mysqld, .. } => {
                if self.role == Role::Open(epoch) {
                    self.prove(now, &order);
                    return self.say(&order, Said::Opened, out);
                }
                if mysqld != self.seal.mysqld || !self.seal.may_open(epoch) {
                    let why = "another incarnation of mysqld, or shut for this epoch";
                    return self.say(&order, refused(why), out);
                }
                self.step(order, Waits::Session, Op::PrepareOpen, out);
            }
        }
    }

    fn follow(&mut self, order: Order, out: &mut Vec<AgentOutput>) {
        let OrderKind::Follow {
            epoch,
            source,
            host,
            port,
            acking,
            heartbeat_ms,
            ..
        } = order.kind.clone()
        else {
            return;
        };
        self.role = Role::Closed;
        self.seal.source = Some((source, epoch));
        self.persist(out);
        self.step(
            order,
            Waits::Follow,
            Op::Follow {
                host,
                port,
                acking,
                heartbeat_ms,
            },
            out,
        );
    }

    fn shut(
        &mut self,
        order: &Order,
        epoch: Epoch,
        report: FenceReport,
        out: &mut Vec<AgentOutput>,
    ) {
        self.role = Role::Closed;
        self.seal.shut = self.seal.shut.max(Some(epoch));
        self.persist(out);
        self.say(order, Said::Fenced { report }, out);
    }

    fn say(&mut self, order: &Order, said: Said, out: &mut Vec<AgentOutput>) {
        if !matches!(said, Said::Refused { .. } | Said::Applied) {
            self.said = Some((order.token.clone(), order.kind.name(), said.clone()));
        }
        self.say_once(order, said, out);
    }

    fn say_once(&self, order: &Order, said: Said, out: &mut Vec<AgentOutput>) {
        out.push(AgentOutput::Reply(Reply {
            token: order.token.clone(),
            cluster: self.seal.cluster.clone(),
            instance: self.seal.instance.clone(),
            said,
        }));
    }

    // ---- results

    fn ended(
        &mut self,
        now: Tick,
        id: OpId,
        result: Result<OpDone, OpError>,
        out: &mut Vec<AgentOutput>,
    ) {
        if let Some((op, begun)) = self.survey_op
            && op == id
        {
            self.survey_op = None;
            if let Ok(OpDone::Surveyed(survey)) = result {
                self.surveyed(now, begun, *survey, out);
            }
            return;
        }
        if let Some(begun) = self.markers.remove(&id) {
            if let Ok(OpDone::Marked(marker)) = result {
                self.marked(begun, marker.before, out);
            }
            return;
        }
        if self.side_ops.remove(&id) {
            return;
        }
        if self.side_fences.remove(&id) {
            self.beat_due = now;
            if result.is_err() {
                out.push(AgentOutput::KillServer);
            }
            return;
        }
        let Some(job) = self.job.take() else { return };
        if job.op != id {
            self.job = Some(job);
            return; // of an order that was superseded
        }
        match result {
            Ok(done) => self.advance(now, job, done, out),
            Err(why) => self.failed(job, &why, out),
        }
    }

    fn marked(&mut self, begun: Tick, before: GtidSet, out: &mut Vec<AgentOutput>) {
        self.marked = self.marked.max(Some(begun));
        if let Some((since, _)) = self.doubt
            && begun > since
        {
            // k of V acknowledged a probe begun after the doubt: still primary.
            self.doubt = None;
        }
        if let Some((token, name, _)) = self.proving.take() {
            let said = Said::Acknowledged { floor: before };
            self.said = Some((token.clone(), name, said.clone()));
            out.push(AgentOutput::Reply(Reply {
                token,
                cluster: self.seal.cluster.clone(),
                instance: self.seal.instance.clone(),
                said,
            }));
            if self.clean_up {
                self.clean_up = false;
                let id = self.run(Op::CleanUp, out);
                self.side_ops.insert(id);
            }
        }
    }

    fn failed(&mut self, job: Job, why: &OpError, out: &mut Vec<AgentOutput>) {
        match (&job.waits, &job.order.kind) {
            // It could not be fenced: only its death is certain now.
            (Waits::Fence | Waits::Closing, _) => {
                out.push(AgentOutput::KillServer);
                self.job = Some(job);
            }
            _ => {
                let why = format!("{} failed: {why}", job.order.kind.name());
                self.say(&job.order, refused(&why), out);
            }
        }
    }

    fn advance(&mut self, now: Tick, job: Job, done: OpDone, out: &mut Vec<AgentOutput>) {
        let order = job.order;
        match (job.waits, done) {
            (Waits::Closing, OpDone::Fenced { .. }) => {
                self.role = Role::Closed;
                self.begin_proper(now, order, out);
            }
            (Waits::Report, OpDone::Surveyed(survey) | OpDone::Frozen(survey)) => {
                let fenced = survey.fenced();
                let report = self.report(&survey);
                self.survey = Some(*survey);
                self.say(&order, Said::Reported { report, fenced }, out);
            }
            (Waits::Freeze, OpDone::Frozen(survey)) => {
                let report = self.report(&survey);
                self.survey = Some(*survey);
                self.say(&order, Said::Frozen { report }, out);
            }
            (
                Waits::Fence,
                OpDone::Fenced {
                    final_set,
                    server_uuid,
                },
            ) => {
                if let OrderKind::Fence { epoch } = order.kind {
                    let received = self
                        .survey
                        .as_ref()
                        .map(|survey| survey.received.clone())
                        .unwrap_or_default();
                    let report = FenceReport::Confirmed {
                        final_set,
                        received,
                        server_uuid,
                    };
                    self.shut(&order, epoch, report, out);
                }
            }
            (Waits::Compare, OpDone::Frozen(survey)) => {
                let extra = self.extra(&order, &survey);
                self.survey = Some(*survey);
                if extra.is_empty() {
                    self.follow(order, out);
                } else {
                    self.role = Role::Closed;
                    self.say(&order, Said::WillNotFollow { extra }, out);
                }
            }
            (Waits::Follow, OpDone::Followed) => {
                if let OrderKind::Follow { epoch, .. } = order.kind {
                    self.role = Role::Following(epoch);
                    self.survey_due = now;
                    self.say(&order, Said::Following, out);
                }
            }
            (Waits::Apply, OpDone::Applied) => {
                self.say(&order, Said::Applied, out);
                let op = match &order.kind {
                    OrderKind::Open {
                        adopted: true, k, ..
                    } => {
                        return self.step(order.clone(), Waits::Open, Op::Adopt { k: *k }, out);
                    }
                    _ => Op::PrepareOpen,
                };
                self.step(order, Waits::Session, op, out);
            }
            (
                Waits::Session,
                OpDone::Prepared {
                    executed,
                    server_uuid,
                },
            ) => {
                self.open(order, executed, server_uuid, out);
            }
            (Waits::Open, OpDone::Opened(_)) => self.opened(now, order, out),
            (_, other) => {
                let why = format!("unexpected answer {other:?}");
                self.say(&order, refused(&why), out);
            }
        }
    }

    /// What the instance holds beyond what the new primary does.
    fn extra(&self, order: &Order, survey: &Survey) -> GtidSet {
        let OrderKind::Follow { within, own, .. } = &order.kind else {
            return GtidSet::default();
        };
        let extra = survey.holds().subtract(within);
        match own {
            Some(own) => extra.without(&BTreeSet::from([*own])),
            None => extra,
        }
    }

    fn report(&self, survey: &Survey) -> FreezeReport {
        FreezeReport {
            server_uuid: survey.server_uuid,
            version: survey.version,
            executed: survey.executed.clone(),
            received: survey.received.clone(),
            purged: survey.purged.clone(),
            replicated_from: self.seal.source.as_ref().map(|(source, _)| source.clone()),
        }
    }

    /// The session stands, so nothing can slip in between: had this agent slept since, the session
    /// would be dead by now (`wait_timeout=1`).
    fn open(&mut self, order: Order, executed: GtidSet, uuid: Uuid, out: &mut Vec<AgentOutput>) {
        let (epoch, k, need) = match &order.kind {
            OrderKind::Open { epoch, k, need, .. } => (*epoch, *k, need.clone()),
            OrderKind::Reopen { epoch, k, .. } => (*epoch, *k, GtidSet::default()),
            _ => return,
        };
        let lacks = need.subtract(&executed);
        let objection = if self.seal.server_uuid != Some(uuid) {
            Some("the server_uuid is not the enrolled one".to_owned())
        } else if !self.seal.may_open(epoch) {
            Some(format!("shut or frozen for an epoch not below {epoch}"))
        } else if self.seal.token.as_ref() != Some(&order.token) {
            Some("a newer order came".to_owned())
        } else if !lacks.is_empty() {
            Some(format!("lacks {} of what it needs", lacks.compact()))
        } else {
            None
        };
        if let Some(why) = objection {
            return self.say(&order, refused(&why), out);
        }
        self.seal.opened = self.seal.opened.max(Some(epoch));
        // From here on it replicates from nobody: what it holds is its own.
        self.seal.source = None;
        self.persist(out);
        self.step(order, Waits::Open, Op::Open { k }, out);
    }

    fn opened(&mut self, now: Tick, order: Order, out: &mut Vec<AgentOutput>) {
        let epoch = match order.kind {
            OrderKind::Open { epoch, .. } | OrderKind::Reopen { epoch, .. } => epoch,
            _ => return,
        };
        self.role = Role::Open(epoch);
        self.opened_at = now;
        self.doubt = None;
        // A write begun under an earlier epoch proves nothing of this one.
        self.markers.clear();
        self.clean_up = self
            .survey
            .as_ref()
            .is_some_and(|survey| survey.source.is_some());
        self.prove(now, &order);
        self.beat_due = now;
        self.say(&order, Said::Opened, out);
    }

    fn prove(&mut self, now: Tick, order: &Order) {
        let first = order.token.epoch == Epoch(1);
        self.proving = Some((order.token.clone(), order.kind.name(), first));
        self.marker_due = now;
    }
}

fn refused(why: &str) -> Said {
    Said::Refused {
        why: why.to_owned(),
    }
}
