//! Transcripts of one agent, `a`: what it is told, and what it does, in order. Its beats and its
//! surveys go on all the while and are left out.
//!
//! ```text
//! persist(frozen 1)   made durable, and what changed in the seal
//! run freeze          a statement; `cancel` kills the session of the one before
//! say frozen          an answer; `refused: …` says why
//! ```

mod adoption;
mod common;
mod disk;
mod doubt;
mod fetch;
mod off;
mod orders;
mod probes;
mod processes;
mod progress;
mod promises;
mod scheduled;
mod server;
mod stall;
mod standing;
mod starved;
mod told;
mod turning;
mod unordered;
mod words;

use std::collections::{BTreeMap, VecDeque};

use super::{
    Acknowledgement, Agent, AgentInput, AgentOutput, Applier, Ground, Marker, NamedPrimary, Op,
    OpDone, OpError, OpId, Opened, Order, OrderKind, ProcessId, Said, Seal, Settings, Survey,
    orders,
};
use crate::gtid::GtidSet;
use crate::ids::{Committed, Epoch, Generation, Incarnation, PlaneId, Position, Tick, Token};
use crate::observe::{Heartbeat, IoThread, MysqldWord, Role, SourceGround};
use crate::record::{FenceReport, FreezeReport, State};
use crate::testing::{World, at, cluster_id, instance, report, set, uuid};
use words::{changes, op_name, said};

/// Fenced, replicating from nobody.
fn fenced() -> Survey {
    Survey {
        server_uuid: uuid("a"),
        version: (8, 4, 6),
        read_only: true,
        super_read_only: true,
        offline_mode: true,
        executed: set("p:1-10"),
        received: GtidSet::default(),
        purged: GtidSet::default(),
        source: None,
        io: IoThread::Off,
        receiver_waits: false,
        receiver_bytes: None,
        applier_runs: false,
        acking: false,
        heartbeats: 0,
        read_position: (String::new(), 0),
        receiver_error: String::new(),
        applier_error: String::new(),
        semi_sync_source: false,
        semi_sync_replicas: BTreeMap::new(),
        waiting: 0,
        semi_sync_dumps: Vec::new(),
        ground: Ground {
            source: SourceGround::ordered(1),
            ..Ground::default()
        },
        ack_waits: 0,
        ack_wait_ms: None,
        probes: BTreeMap::new(),
        login_error: None,
    }
}

pub(super) fn open() -> Survey {
    Survey {
        read_only: false,
        super_read_only: false,
        offline_mode: false,
        ..fenced()
    }
}

/// Replicating from `b`, acknowledging.
pub(super) fn following() -> Survey {
    Survey {
        source: Some(("b.example".into(), 3306)),
        io: IoThread::On,
        receiver_waits: true,
        receiver_bytes: Some(1_000),
        applier_runs: true,
        acking: true,
        read_position: ("binlog.000001".into(), 197),
        ..fenced()
    }
}

pub(super) fn holding(executed: &str, received: &str) -> Survey {
    Survey {
        executed: set(executed),
        received: set(received),
        ..fenced()
    }
}

fn marker() -> Marker {
    Marker {
        before: set("p:1-10"),
        after: set("p:1-11"),
    }
}

fn prepared(executed: &str) -> OpDone {
    OpDone::Prepared {
        executed: set(executed),
        server_uuid: uuid("a"),
    }
}

fn confirmed() -> OpDone {
    OpDone::Fenced {
        final_set: set("p:1-12"),
        server_uuid: uuid("a"),
        ground: None,
    }
}

fn frozen(survey: Survey) -> OpDone {
    OpDone::Frozen(Box::new(survey))
}

fn freeze(epoch: u64) -> OrderKind {
    OrderKind::Freeze {
        epoch: Epoch(epoch),
    }
}

fn fence(epoch: u64) -> OrderKind {
    OrderKind::Fence {
        epoch: Epoch(epoch),
    }
}

fn follow(epoch: u64, within: &str) -> OrderKind {
    OrderKind::Follow {
        epoch: Epoch(epoch),
        source: instance("b"),
        host: "b.example".into(),
        port: 3306,
        acking: true,
        within: set(within),
        own: None,
        heartbeat_ms: 500,
        online: true,
    }
}

fn open_for(epoch: u64, need: &str) -> OrderKind {
    OrderKind::Open {
        epoch: Epoch(epoch),
        need: set(need),
        k: 1,
        first: epoch == 1,
        adopted: false,
        members: [uuid("b")].into(),
    }
}

fn reopen(epoch: u64, mysqld: u64) -> OrderKind {
    OrderKind::Reopen {
        epoch: Epoch(epoch),
        k: 1,
        members: [uuid("b")].into(),
        mysqld: Incarnation(mysqld),
    }
}

fn token(epoch: u64, index: u64) -> Token {
    Token {
        plane: PlaneId::from("plane"),
        generation: Generation::INITIAL,
        epoch: Epoch(epoch),
        at: at(index),
    }
}

/// Of an agent that was enrolled when its cluster was founded.
fn enrolled_seal() -> Seal {
    Seal {
        plane: Some(PlaneId::from("plane")),
        ..Seal::blank(cluster_id(), instance("a"))
    }
}

fn process(pid: u32) -> ProcessId {
    ProcessId {
        boot: "a boot".into(),
        pid,
        started: 1_000,
    }
}

pub(super) fn named(epoch: u64, who: &str) -> NamedPrimary {
    NamedPrimary {
        epoch: Epoch(epoch),
        instance: instance(who),
        deposed: false,
        ackers: [uuid("b"), uuid("c")].into(),
        restart_hold_ms: 10_000,
        unacked_fence_ms: 30_000,
        at: Position::default(),
        k: 1,
        hands_off: false,
        repairs: true,
        open_stall_ms: 1_000,
        ends_holders: true,
        ground: Default::default(),
        scheduled: None,
        own_writes: Default::default(),
        common: Default::default(),
        addresses: BTreeMap::new(),
        replica_stale_ms: 1_500,
    }
}

/// More than follow from one input.
const ANSWERS_MAX: usize = 100;

struct Desk {
    agent: Agent,
    now: u64,
    /// The newest seal that it made durable.
    disk: Seal,
    /// What it is asked to write stays unwritten.
    disk_hangs: bool,
    handed: Option<(u64, Seal)>,
    /// The newest statement of an order, and the surveys and markers under way.
    op: Option<OpId>,
    survey: Option<OpId>,
    markers: Vec<OpId>,
    look: Option<OpId>,
    /// How often it looked at the applier, and whether it was to end what holds it.
    looks: usize,
    look_ends: Option<bool>,
    /// What a look at the applier shows.
    applier: Applier,
    /// By host: where the agent tries whether it could follow.
    logins: BTreeMap<String, OpId>,
    beat: Option<Heartbeat>,
    report: Option<FreezeReport>,
}

impl Desk {
    fn boot(seal: Seal) -> Self {
        Self {
            agent: Agent::new(Tick(1_000), seal.clone(), process(77), Settings::default()),
            now: 1_000,
            disk: seal,
            disk_hangs: false,
            handed: None,
            op: None,
            survey: None,
            markers: Vec::new(),
            look: None,
            looks: 0,
            look_ends: None,
            applier: Applier::default(),
            logins: BTreeMap::new(),
            beat: None,
            report: None,
        }
    }

    /// An agent whose server answered this at first.
    fn with(seal: Seal, survey: Survey) -> (Self, String) {
        let mut desk = Self::boot(seal);
        desk.tell(AgentInput::ServerUp);
        let said = desk.surveyed(survey);
        (desk, said)
    }

    fn up() -> Self {
        Self::with(enrolled_seal(), fenced()).0
    }

    /// Open for epoch 1, its first write acknowledged.
    fn serving() -> Self {
        let mut desk = Self::up();
        desk.order(open_for(1, "p:1-10"), 2);
        desk.opens("p:1-10");
        desk.marked();
        assert_eq!(desk.agent.serving(), Some(Epoch(1)));
        desk
    }

    /// A process holds its data directory, started by this agent or by somebody else.
    fn runs(&mut self, pid: u32, started: bool) -> String {
        let process = process(pid);
        self.tell(AgentInput::ServerRuns { process, started })
    }

    /// What it started comes up, and is looked at.
    fn comes_up(&mut self, survey: Survey) -> String {
        self.runs(77, true);
        self.tell(AgentInput::ServerUp);
        self.surveyed(survey)
    }

    fn opens(&mut self, executed: &str) {
        self.ends(OpDone::Applied);
        self.ends(prepared(executed));
        self.ends(OpDone::Opened(Opened));
    }

    fn tell(&mut self, input: AgentInput) -> String {
        let mut lines = Vec::new();
        let mut next = VecDeque::from([input]);
        let mut left = ANSWERS_MAX;
        while let Some(input) = next.pop_front() {
            assert!(left > 0, "each answer makes it ask again");
            left -= 1;
            let outputs = self.agent.handle(Tick(self.now), input);
            lines.extend(outputs.into_iter().filter_map(|o| self.line(o)));
            if !self.disk_hangs
                && let Some((number, seal)) = self.handed.take()
            {
                self.disk = seal;
                next.push_back(AgentInput::Persisted { number, ok: true });
            }
            if let Some(id) = self.look.take() {
                let result = Ok(OpDone::ApplierSeen(self.applier.clone()));
                next.push_back(AgentInput::OpEnded { id, result });
            }
        }
        lines.join(", ")
    }

    /// The write that hung returns.
    fn writes(&mut self) -> String {
        self.disk_hangs = false;
        let (number, seal) = self.handed.take().expect("something to write");
        self.disk = seal;
        self.tell(AgentInput::Persisted { number, ok: true })
    }

    fn write_fails(&mut self) -> String {
        let (number, _) = self.handed.as_ref().expect("something to write");
        let number = *number;
        self.tell(AgentInput::Persisted { number, ok: false })
    }

    fn line(&mut self, output: AgentOutput) -> Option<String> {
        match output {
            AgentOutput::Persist { number, seal } => {
                let before = self.handed.as_ref().map_or(&self.disk, |(_, seal)| seal);
                let changes = changes(before, &seal);
                self.handed = Some((number, seal));
                Some(format!("persist({changes})"))
            }
            AgentOutput::Run { id, op } => {
                match &op {
                    Op::Survey => {
                        self.survey = Some(id);
                        return None;
                    }
                    // Answered at once.
                    Op::LookAtApplier { ends } => {
                        self.look = Some(id);
                        self.looks += 1;
                        self.look_ends = Some(*ends);
                        return None;
                    }
                    Op::Marker { .. } => self.markers.push(id),
                    Op::LogIn { host, .. } => {
                        self.logins.insert(host.clone(), id);
                    }
                    _ => self.op = Some(id),
                }
                Some(format!("run {}", op_name(&op)))
            }
            AgentOutput::Cancel { id } => Some(if Some(id) == self.op {
                "cancel".into()
            } else {
                "cancel an older one".into()
            }),
            AgentOutput::Reply(reply) => {
                if let Said::Frozen { report } = &reply.said {
                    self.report = Some(report.clone());
                }
                Some(said(&reply.said))
            }
            AgentOutput::Beat(beat) => {
                self.beat = Some(*beat);
                None
            }
            AgentOutput::StartServer => Some("start".into()),
            AgentOutput::KillServer => Some("kill".into()),
        }
    }

    fn order_with(&mut self, kind: OrderKind, token: Token) -> String {
        self.tell(AgentInput::Order(Box::new(Order {
            token,
            cluster: cluster_id(),
            instance: instance("a"),
            kind,
        })))
    }

    /// An order committed at `index`.
    fn order(&mut self, kind: OrderKind, index: u64) -> String {
        let epoch = match &kind {
            OrderKind::Report { .. } => Epoch::INITIAL,
            OrderKind::Freeze { epoch }
            | OrderKind::Fetch { epoch, .. }
            | OrderKind::Fence { epoch }
            | OrderKind::Follow { epoch, .. }
            | OrderKind::Open { epoch, .. }
            | OrderKind::Reopen { epoch, .. } => *epoch,
        };
        self.order_with(kind, token(epoch.0, index))
    }

    fn ended(&mut self, id: OpId, result: Result<OpDone, OpError>) -> String {
        self.tell(AgentInput::OpEnded { id, result })
    }

    /// The newest statement of an order ended well.
    fn ends(&mut self, done: OpDone) -> String {
        let id = self.op.expect("a statement runs");
        self.ended(id, Ok(done))
    }

    fn fails(&mut self) -> String {
        let id = self.op.expect("a statement runs");
        self.ended(id, Err(OpError::Unknown("lost".into())))
    }

    fn hangs(&mut self) -> String {
        let id = self.op.expect("a statement runs");
        self.ended(id, Err(OpError::Hangs("a statement hangs".into())))
    }

    fn surveyed(&mut self, survey: Survey) -> String {
        let id = self.survey.take().expect("a survey runs");
        self.ended(id, Ok(OpDone::Surveyed(Box::new(survey))))
    }

    /// The oldest marker is acknowledged.
    fn marked(&mut self) -> String {
        let id = self.markers.remove(0);
        self.ended(id, Ok(OpDone::Marked(marker())))
    }

    /// Ticks until a survey is under way, and leaves it so.
    fn begins_a_look(&mut self) {
        while self.survey.is_none() {
            self.now += 10;
            self.tell(AgentInput::Tick);
        }
    }

    /// Ticks every 10 ms for so long, surveys answered by `survey`; what it did meanwhile.
    fn waits(&mut self, ms: u64, survey: &Survey) -> String {
        let mut lines = Vec::new();
        for _ in 0..ms / 10 {
            self.now += 10;
            lines.push(self.tell(AgentInput::Tick));
            if self.survey.is_some() {
                lines.push(self.surveyed(survey.clone()));
            }
        }
        lines.retain(|line| !line.is_empty());
        lines.join(", ")
    }

    fn acknowledged(&mut self, beat: u64, named: NamedPrimary) -> String {
        self.tell(AgentInput::Acknowledged(Acknowledgement {
            beat,
            named: Some(named),
        }))
    }

    /// The agent dies and begins anew from its disk; the server is left alone.
    fn restarts(&self, survey: Survey) -> (Self, String) {
        let mut seal = self.disk.clone();
        seal.agent = seal.agent.next();
        Self::with(seal, survey)
    }

    fn beats(&self) -> &Heartbeat {
        self.beat.as_ref().expect("it has beaten")
    }
}
