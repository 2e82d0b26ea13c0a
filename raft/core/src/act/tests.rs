//! Transcripts of one agent, `a`: what it is told, and what it does, in order. Its beats and its
//! surveys go on all the while and are left out.
//!
//! ```text
//! persist(frozen 1)   made durable, and what changed in the seal
//! run freeze          a statement; `cancel` kills the session of the one before
//! say frozen          an answer; `refused: …` says why
//! ```

use std::collections::BTreeMap;

use super::{
    Acknowledgement, Agent, AgentInput, AgentOutput, Marker, NamedPrimary, Op, OpDone, OpError,
    OpId, Opened, Order, OrderKind, Said, Seal, Settings, Survey, orders,
};
use crate::gtid::GtidSet;
use crate::ids::{Committed, Epoch, Generation, Incarnation, PlaneId, Tick, Token};
use crate::observe::{Heartbeat, IoThread, MysqldWord, Role};
use crate::record::{FenceReport, State};
use crate::testing::{World, at, cluster_id, instance, report, set, uuid};

/// Fenced, replicating from nobody.
fn fenced() -> Survey {
    Survey {
        server_uuid: uuid("a"),
        version: (8, 4, 6),
        super_read_only: true,
        offline_mode: false,
        executed: set("p:1-10"),
        received: GtidSet::default(),
        purged: GtidSet::default(),
        source: None,
        io: IoThread::Off,
        applier_runs: false,
        acking: false,
        heartbeats: 0,
        read_position: (String::new(), 0),
        replication_error: String::new(),
        semi_sync_source: false,
        semi_sync_replicas: BTreeMap::new(),
        waiting: 0,
    }
}

fn open() -> Survey {
    Survey {
        super_read_only: false,
        ..fenced()
    }
}

fn holding(executed: &str, received: &str) -> Survey {
    Survey {
        executed: set(executed),
        received: set(received),
        ..fenced()
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
    }
}

fn open_for(epoch: u64, need: &str) -> OrderKind {
    OrderKind::Open {
        epoch: Epoch(epoch),
        need: set(need),
        k: 1,
        first: epoch == 1,
        adopted: false,
    }
}

fn reopen(epoch: u64, mysqld: u64) -> OrderKind {
    OrderKind::Reopen {
        epoch: Epoch(epoch),
        k: 1,
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

fn named(epoch: u64, who: &str) -> NamedPrimary {
    NamedPrimary {
        epoch: Epoch(epoch),
        instance: instance(who),
        deposed: false,
        ackers: [uuid("b"), uuid("c")].into(),
        restart_hold_ms: 10_000,
        unacked_fence_ms: 30_000,
    }
}

struct Desk {
    agent: Agent,
    now: u64,
    /// The newest seal that it made durable.
    disk: Seal,
    /// The newest statement of an order, and the surveys and markers under way.
    op: Option<OpId>,
    survey: Option<OpId>,
    markers: Vec<OpId>,
    beat: Option<Heartbeat>,
}

impl Desk {
    fn boot(seal: Seal) -> Self {
        Self {
            agent: Agent::new(Tick(1_000), seal.clone(), Settings::default()),
            now: 1_000,
            disk: seal,
            op: None,
            survey: None,
            markers: Vec::new(),
            beat: None,
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

    fn opens(&mut self, executed: &str) {
        self.ends(OpDone::Applied);
        self.ends(prepared(executed));
        self.ends(OpDone::Opened(Opened));
    }

    fn tell(&mut self, input: AgentInput) -> String {
        let outputs = self.agent.handle(Tick(self.now), input);
        let lines: Vec<_> = outputs.into_iter().filter_map(|o| self.line(o)).collect();
        lines.join(", ")
    }

    fn line(&mut self, output: AgentOutput) -> Option<String> {
        match output {
            AgentOutput::Persist(seal) => {
                let changes = changes(&self.disk, &seal);
                self.disk = seal;
                Some(format!("persist({changes})"))
            }
            AgentOutput::Run { id, op } => {
                match &op {
                    Op::Survey => {
                        self.survey = Some(id);
                        return None;
                    }
                    Op::Marker { .. } => self.markers.push(id),
                    _ => self.op = Some(id),
                }
                Some(format!("run {}", op_name(&op)))
            }
            AgentOutput::Cancel { id } => Some(if Some(id) == self.op {
                "cancel".into()
            } else {
                "cancel an older one".into()
            }),
            AgentOutput::Reply(reply) => Some(said(&reply.said)),
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

    fn surveyed(&mut self, survey: Survey) -> String {
        let id = self.survey.take().expect("a survey runs");
        self.ended(id, Ok(OpDone::Surveyed(Box::new(survey))))
    }

    /// The oldest marker is acknowledged.
    fn marked(&mut self) -> String {
        let id = self.markers.remove(0);
        let before = set("p:1-10");
        self.ended(id, Ok(OpDone::Marked(Marker { before })))
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

fn op_name(op: &Op) -> String {
    match op {
        Op::Survey => "survey".into(),
        Op::Freeze => "freeze".into(),
        Op::Fence => "fence".into(),
        Op::WaitApplied { set } => format!("apply {}", crate::testing::short(set)),
        Op::Follow { host, acking, .. } => {
            let how = if *acking { "acking" } else { "silently" };
            format!("follow {host} {how}")
        }
        Op::PrepareOpen => "prepare".into(),
        Op::Open { k } => format!("open k={k}"),
        Op::Adopt { k } => format!("adopt k={k}"),
        Op::Marker { create: true, .. } => "first marker".into(),
        Op::Marker { epoch, .. } => format!("marker {epoch}"),
        Op::CleanUp => "clean up".into(),
        Op::Cut { sessions } => format!("cut {sessions:?}"),
    }
}

fn said(said: &Said) -> String {
    match said {
        Said::Reported { fenced, .. } => format!("say reported, fenced {fenced}"),
        Said::Frozen { report } => {
            format!("say frozen {}", crate::testing::short(&report.holds()))
        }
        Said::Fenced { report } => match report {
            FenceReport::Confirmed { final_set, .. } => {
                format!("say confirmed {}", crate::testing::short(final_set))
            }
            FenceReport::Exited => "say exited".into(),
        },
        Said::Following => "say following".into(),
        Said::WillNotFollow { extra } => {
            format!("say will not follow: {}", crate::testing::short(extra))
        }
        Said::Applied => "say applied".into(),
        Said::Opened => "say opened".into(),
        Said::Acknowledged { floor } => {
            format!("say acknowledged {}", crate::testing::short(floor))
        }
        Said::Refused { why } => format!("refused: {why}"),
    }
}

fn changes(old: &Seal, new: &Seal) -> String {
    let mut found = Vec::new();
    let mut changed = |differs: bool, what: String| {
        if differs {
            found.push(what);
        }
    };
    let epoch = |epoch: Option<Epoch>| epoch.map_or("none".into(), |epoch| epoch.to_string());
    let uuid_known = new.server_uuid.is_some();
    changed(
        old.server_uuid != new.server_uuid,
        format!("uuid {uuid_known}"),
    );
    changed(old.mysqld != new.mysqld, format!("mysqld {}", new.mysqld));
    let at = new
        .token
        .as_ref()
        .map(|token| token.at.index.0)
        .unwrap_or(0);
    changed(old.token != new.token, format!("token {at}"));
    changed(
        old.frozen != new.frozen,
        format!("frozen {}", epoch(new.frozen)),
    );
    changed(old.shut != new.shut, format!("shut {}", epoch(new.shut)));
    changed(
        old.opened != new.opened,
        format!("opened {}", epoch(new.opened)),
    );
    if let Some((source, of)) = &new.source {
        changed(old.source != new.source, format!("source {source} {of}"));
    }
    found.join("; ")
}

// ---- whose orders

#[test]
fn an_older_token_is_refused() {
    let mut desk = Desk::up();
    assert_eq!(
        desk.order(freeze(2), 20),
        "persist(token 20; frozen 2), run freeze"
    );
    desk.ends(frozen(fenced()));
    let stale = "refused: stale: token plane/g0/e2@1.19 is older than plane/g0/e2@1.20";
    assert_eq!(desk.order(freeze(2), 19), stale);
    // The epoch goes before the position.
    let stale = "refused: stale: token plane/g0/e1@1.99 is older than plane/g0/e2@1.20";
    assert_eq!(desk.order(fence(1), 99), stale);
    let recovered = Token {
        generation: Generation(1),
        ..token(1, 5)
    };
    assert_eq!(
        desk.order_with(fence(1), recovered),
        "persist(token 5), run fence"
    );
    assert!(
        desk.order(freeze(3), 99).starts_with("refused: stale"),
        "an older generation"
    );
}

#[test]
fn it_obeys_one_plane() {
    let mut desk = Desk::up();
    desk.order(freeze(1), 20);
    let foreign = Token {
        plane: PlaneId::from("other"),
        ..token(9, 99)
    };
    assert_eq!(
        desk.order_with(freeze(9), foreign),
        "refused: enrolled in control plane plane, the order comes from other"
    );
    assert_eq!(desk.disk.plane, Some(PlaneId::from("plane")));
}

#[test]
fn it_obeys_for_itself_alone() {
    let mut desk = Desk::up();
    let order = Order {
        token: token(1, 20),
        cluster: cluster_id(),
        instance: instance("b"),
        kind: freeze(1),
    };
    assert_eq!(
        desk.tell(AgentInput::Order(Box::new(order))),
        "refused: this is a of cluster shop, the order is for b of shop"
    );
}

#[test]
fn other_data_than_enrolled_obeys_nothing() {
    let desk = Desk::up();
    let other = Survey {
        server_uuid: uuid("z"),
        ..fenced()
    };
    let (mut desk, _) = desk.restarts(other);
    assert_eq!(
        desk.order(freeze(1), 20),
        "refused: the server_uuid is not the one it was enrolled with"
    );
}

// ---- durable first

#[test]
fn durable_before_it_acts() {
    // freeze
    let mut desk = Desk::up();
    assert_eq!(
        desk.order(freeze(1), 20),
        "persist(token 20; frozen 1), run freeze"
    );
    assert_eq!(
        desk.ends(frozen(holding("p:1-10", "p:11-20"))),
        "say frozen p:1-20"
    );
    // follow: compared first, with its IO thread stopped
    assert_eq!(
        desk.order(follow(2, "p:1-20"), 30),
        "persist(token 30), run freeze"
    );
    assert_eq!(
        desk.ends(frozen(holding("p:1-10", "p:11-20"))),
        "persist(source b 2), run follow b.example acking"
    );
    assert_eq!(desk.ends(OpDone::Followed), "say following");
    // open
    let mut desk = Desk::up();
    assert_eq!(
        desk.order(open_for(1, "p:1-10"), 20),
        "persist(token 20), run apply p:1-10"
    );
    assert_eq!(desk.ends(OpDone::Applied), "say applied, run prepare");
    assert_eq!(
        desk.ends(prepared("p:1-10")),
        "persist(opened 1), run open k=1"
    );
    assert_eq!(
        desk.ends(OpDone::Opened(Opened)),
        "say opened, run first marker"
    );
    assert_eq!(desk.marked(), "say acknowledged p:1-10");
    // fence: shut is durable before it is said
    assert_eq!(desk.order(fence(1), 21), "persist(token 21), run fence");
    assert_eq!(
        desk.ends(confirmed()),
        "persist(shut 1), say confirmed p:1-12"
    );
    assert_eq!(desk.agent.serving(), None);
}

#[test]
fn a_server_that_is_down_freezes_all_the_same() {
    let mut desk = Desk::up();
    desk.tell(AgentInput::ServerExited);
    // Not an answer, but it will start no replication for this epoch.
    assert_eq!(
        desk.order(freeze(1), 20),
        "persist(token 20; frozen 1), refused: mysqld is not up yet"
    );
}

// ---- promises kept

#[test]
fn frozen_starts_nothing_toward_the_same_epoch() {
    let mut desk = Desk::up();
    desk.order(freeze(1), 20);
    desk.ends(frozen(fenced()));
    let refusal = "persist(token 30), refused: frozen for an epoch not below 1";
    assert_eq!(desk.order(follow(1, "p:1-10"), 30), refusal);
    let (mut desk, _) = desk.restarts(fenced());
    let refusal = "persist(token 31), refused: frozen for an epoch not below 1";
    assert_eq!(
        desk.order(follow(1, "p:1-10"), 31),
        refusal,
        "whatever restarts"
    );
    assert_eq!(
        desk.order(open_for(1, ""), 32),
        "persist(token 32), refused: shut or frozen for an epoch not below 1"
    );
    assert_eq!(
        desk.order(follow(2, "p:1-10"), 33),
        "persist(token 33), run freeze"
    );
}

#[test]
fn confirmed_binds() {
    let mut desk = Desk::serving();
    desk.order(fence(1), 20);
    desk.ends(confirmed());
    for kind in [open_for(1, ""), reopen(1, 0)] {
        let said = desk.order(kind, 30);
        assert!(said.contains("refused") && said.contains("shut"), "{said}");
    }
    let (mut desk, said) = desk.restarts(open());
    assert_eq!(said, "run fence", "whoever opened it meanwhile");
    assert!(desk.order(reopen(1, 0), 31).contains("refused"));
    assert_eq!(
        desk.order(open_for(2, "p:1-10"), 40),
        "persist(token 40), run apply p:1-10"
    );
}

#[test]
fn an_exit_answers_the_fence() {
    let mut desk = Desk::serving();
    desk.tell(AgentInput::ServerExited);
    assert_eq!(
        desk.beats().word.says,
        MysqldWord::Exited,
        "at once, not with the next beat"
    );
    assert_eq!(
        desk.order(fence(1), 20),
        "persist(token 20), persist(shut 1), say exited"
    );
    assert_eq!(desk.order(fence(1), 20), "say exited", "asked again");
    // While it fences.
    let mut desk = Desk::serving();
    desk.order(fence(1), 20);
    assert_eq!(
        desk.tell(AgentInput::ServerExited),
        "persist(shut 1), say exited"
    );
    // Another order is asked again later.
    let mut desk = Desk::up();
    desk.order(freeze(1), 20);
    assert!(
        desk.tell(AgentInput::ServerExited)
            .starts_with("refused: mysqld exited; it is asked again when it is up")
    );
}

#[test]
fn one_that_came_up_again_says_what_it_holds() {
    let mut desk = Desk::serving();
    desk.tell(AgentInput::ServerExited);
    desk.order(fence(1), 20);
    let said = desk.waits(10_010, &fenced());
    assert_eq!(said, "persist(mysqld 1), start");
    desk.tell(AgentInput::ServerUp);
    desk.surveyed(fenced());
    assert_eq!(desk.order(fence(1), 20), "persist(), run fence");
    assert_eq!(desk.ends(confirmed()), "persist(), say confirmed p:1-12");
}

#[test]
fn what_cannot_be_fenced_is_killed() {
    let mut desk = Desk::serving();
    desk.order(fence(1), 20);
    assert_eq!(desk.fails(), "kill");
    assert_eq!(desk.order(fence(1), 20), "", "in hand");
    assert_eq!(
        desk.tell(AgentInput::ServerExited),
        "persist(shut 1), say exited"
    );
}

#[test]
fn an_order_of_a_higher_epoch_first_closes_what_is_open() {
    let mut desk = Desk::serving();
    assert_eq!(
        desk.order(freeze(2), 20),
        "persist(token 20; frozen 2), run fence"
    );
    assert_eq!(desk.ends(confirmed()), "run freeze");
    assert_eq!(desk.agent.role(), Role::Frozen(Epoch(2)));
}

// ---- opening

#[test]
fn it_opens_only_with_everything_needed() {
    let mut desk = Desk::up();
    desk.order(open_for(2, "p:1-12"), 20);
    desk.ends(OpDone::Applied);
    let lacks = format!("refused: lacks {}:11-12 of what it needs", uuid("p"));
    assert_eq!(desk.ends(prepared("p:1-10")), lacks);
    assert_eq!(desk.disk.opened, None);
}

#[test]
fn it_opens_only_under_its_own_name() {
    let mut desk = Desk::up();
    desk.order(open_for(2, "p:1-10"), 20);
    desk.ends(OpDone::Applied);
    let other = OpDone::Prepared {
        executed: set("p:1-10"),
        server_uuid: uuid("z"),
    };
    assert_eq!(
        desk.ends(other),
        "refused: the server_uuid is not the enrolled one"
    );
}

#[test]
fn it_applies_what_it_received_beyond_the_need() {
    let (mut desk, _) = Desk::with(enrolled_seal(), holding("p:1-10", "p:11-15"));
    assert_eq!(
        desk.order(open_for(2, "p:1-12"), 20),
        "persist(token 20), run apply p:1-15"
    );
}

#[test]
fn an_opening_of_unknown_end_is_not_simply_repeated() {
    let mut desk = Desk::up();
    desk.order(open_for(2, "p:1-10"), 20);
    desk.ends(OpDone::Applied);
    desk.ends(prepared("p:1-10"));
    assert_eq!(desk.fails(), "refused: open failed: lost");
    assert_eq!(desk.agent.serving(), None);
    // It may have been open, and have written: it opens again as one that restarted does.
    let said = desk.order(open_for(2, "p:1-10"), 20);
    assert!(
        said.contains("refused: opened for this epoch before"),
        "{said}"
    );
    desk.waits(100, &fenced());
    assert_eq!(desk.beats().opened, Some(Epoch(2)));
    assert!(desk.order(reopen(2, 0), 21).ends_with("run prepare"));
}

#[test]
fn an_adopted_primary_is_never_shut() {
    let seal = Seal::blank(cluster_id(), instance("a"));
    let (mut desk, said) = Desk::with(seal, open());
    assert_eq!(
        said, "persist(uuid true)",
        "nobody's orders yet: left alone"
    );
    let report = OrderKind::Report { adopted: true };
    assert_eq!(desk.order(report, 20), "persist(token 20)");
    assert_eq!(desk.surveyed(open()), "say reported, fenced false");
    let adopt = OrderKind::Open {
        epoch: Epoch(1),
        need: set("p:1-10"),
        k: 1,
        first: true,
        adopted: true,
    };
    assert_eq!(
        desk.order(adopt, 30),
        "persist(token 30; opened 1), run apply p:1-10"
    );
    assert_eq!(desk.ends(OpDone::Applied), "say applied, run adopt k=1");
    assert_eq!(
        desk.ends(OpDone::Opened(Opened)),
        "say opened, run first marker"
    );
}

#[test]
fn reopened_for_one_incarnation_of_mysqld() {
    let mut desk = Desk::serving();
    desk.tell(AgentInput::ServerExited);
    desk.waits(10_010, &fenced());
    desk.tell(AgentInput::ServerUp);
    desk.surveyed(fenced());
    let other = "refused: another incarnation of mysqld, or shut for this epoch";
    assert_eq!(
        desk.order(reopen(1, 2), 20),
        format!("persist(token 20), {other}")
    );
    assert_eq!(
        desk.order(reopen(1, 0), 21),
        format!("persist(token 21), {other}")
    );
    assert_eq!(
        desk.order(reopen(1, 1), 22),
        "persist(token 22), run prepare"
    );
    assert_eq!(desk.ends(prepared("p:1-10")), "persist(), run open k=1");
    assert!(desk.ends(OpDone::Opened(Opened)).starts_with("say opened"));
    assert_eq!(desk.agent.serving(), Some(Epoch(1)));
}

// ---- following

#[test]
fn one_that_holds_more_does_not_follow() {
    let mut desk = Desk::up();
    desk.order(follow(2, "p:1-9"), 20);
    assert_eq!(desk.ends(frozen(fenced())), "say will not follow: p:10");
    assert_eq!(
        desk.disk.source, None,
        "no replication thread before that comparison"
    );
    // An adopted primary's own transactions are nothing extra.
    let mut desk = Desk::up();
    let OrderKind::Follow {
        epoch,
        source,
        host,
        port,
        acking,
        within,
        heartbeat_ms,
        ..
    } = follow(2, "p:1-9")
    else {
        unreachable!()
    };
    let own = OrderKind::Follow {
        epoch,
        source,
        host,
        port,
        acking,
        within,
        own: Some(uuid("p")),
        heartbeat_ms,
    };
    desk.order(own, 20);
    assert!(desk.ends(frozen(fenced())).contains("run follow"));
}

// ---- one order at a time

#[test]
fn a_newer_order_kills_the_session_of_the_older() {
    let mut desk = Desk::up();
    desk.order(follow(2, "p:1-10"), 20);
    let older = desk.op.expect("it compares");
    assert_eq!(
        desk.order(follow(2, "p:1-10"), 20),
        "",
        "the same order is in hand"
    );
    assert_eq!(
        desk.order(freeze(2), 30),
        "cancel, persist(token 30; frozen 2), run freeze"
    );
    assert_eq!(
        desk.ended(older, Ok(frozen(fenced()))),
        "",
        "superseded: nobody asks any more"
    );
    assert_eq!(desk.ends(frozen(fenced())), "say frozen p:1-10");
}

#[test]
fn a_repeated_order_gets_its_answer_again() {
    let mut desk = Desk::up();
    desk.order(freeze(1), 20);
    desk.ends(frozen(fenced()));
    assert_eq!(desk.order(freeze(1), 20), "say frozen p:1-10");
    desk.order(follow(2, "p:1-10"), 30);
    desk.ends(frozen(fenced()));
    desk.ends(OpDone::Followed);
    let following = Survey {
        source: Some(("b.example".into(), 3306)),
        io: IoThread::On,
        applier_runs: true,
        acking: true,
        ..fenced()
    };
    desk.waits(100, &following);
    assert_eq!(desk.order(follow(2, "p:1-10"), 30), "say following");
    // Its thread stopped: what it said is true no longer.
    desk.waits(200, &fenced());
    assert_eq!(
        desk.order(follow(2, "p:1-10"), 30),
        "persist(), persist(), run follow b.example acking"
    );
}

// ---- what it finds

#[test]
fn a_server_that_came_up_open_is_fenced() {
    let mut seal = Seal::blank(cluster_id(), instance("a"));
    seal.server_uuid = Some(uuid("a"));
    let enrolled = |change: fn(&mut Seal)| {
        let mut seal = Seal {
            plane: Some(PlaneId::from("plane")),
            token: Some(token(1, 1)),
            ..seal.clone()
        };
        change(&mut seal);
        let (desk, said) = Desk::with(seal, open());
        (said, desk.agent.role())
    };
    let shut = ("run fence".to_owned(), Role::Closed);
    assert_eq!(enrolled(|_| {}), shut, "it never opened it");
    assert_eq!(
        enrolled(|s| s.opened = Some(Epoch(1))),
        ("run marker 1".to_owned(), Role::Open(Epoch(1)))
    );
    assert_eq!(
        enrolled(|s| (s.opened, s.shut) = (Some(Epoch(1)), Some(Epoch(1)))),
        shut
    );
    assert_eq!(
        enrolled(|s| (s.opened, s.source) = (Some(Epoch(1)), Some((instance("b"), Epoch(2))))),
        shut,
        "it followed another since"
    );
    assert_eq!(
        Desk::with(seal.clone(), open()).1,
        "",
        "not enrolled: somebody else's"
    );
}

#[test]
fn an_agents_restart_takes_no_database_offline() {
    let (mut desk, said) = Desk::serving().restarts(open());
    assert_eq!(said, "run marker 1", "it proves at once that it is primary");
    assert_eq!(desk.agent.role(), Role::Open(Epoch(1)));
    assert_eq!(desk.agent.serving(), None, "503 until somebody confirms it");
    desk.now += 10;
    desk.marked();
    assert_eq!(
        desk.agent.serving(),
        None,
        "begun in the very moment of the doubt"
    );
    desk.waits(1_000, &open());
    desk.marked();
    assert_eq!(desk.agent.serving(), Some(Epoch(1)));
}

#[test]
fn a_server_that_was_started_anew_is_not_open_whatever_it_boots_as() {
    let mut desk = Desk::serving();
    desk.tell(AgentInput::ServerExited);
    desk.waits(10_010, &fenced());
    desk.tell(AgentInput::ServerUp);
    assert_eq!(desk.surveyed(open()), "run fence");
    assert_eq!(desk.agent.serving(), None);
}

#[test]
fn one_that_somebody_fenced_serves_no_more() {
    let mut desk = Desk::serving();
    desk.waits(100, &open());
    assert_eq!(desk.agent.serving(), Some(Epoch(1)));
    desk.waits(200, &fenced());
    assert_eq!(desk.agent.serving(), None);
    assert!(desk.beats().fenced);
}

#[test]
fn strangers_are_cut() {
    let mut desk = Desk::serving();
    let with = |letters: &[(&str, u64)]| Survey {
        semi_sync_replicas: letters
            .iter()
            .map(|(letter, session)| (uuid(letter), *session))
            .collect(),
        ..open()
    };
    let connected = with(&[("b", 7), ("c", 8), ("z", 9)]);
    let said = desk.waits(100, &connected);
    assert_eq!(said, "run marker 1", "V is not known yet");
    desk.acknowledged(1, named(1, "a"));
    assert_eq!(desk.waits(100, &connected), "run cut [9]");
    assert_eq!(desk.beats().strangers, [uuid("z")].into());
    assert_eq!(desk.waits(100, &with(&[("b", 7)])), "");
    // Cut, and still counted: V has not caught up with what it acknowledged.
    assert_eq!(desk.beats().strangers, [uuid("z")].into());
    desk.marked();
    desk.waits(1_200, &with(&[("b", 7)]));
    desk.marked();
    desk.waits(200, &with(&[("b", 7)]));
    assert!(desk.beats().strangers.is_empty() && desk.beats().strangers_known);
    // V of an epoch that is over is empty: what is open for it is shut at once.
    for over in [
        named(2, "b"),
        NamedPrimary {
            deposed: true,
            ..named(1, "a")
        },
    ] {
        let mut desk = Desk::serving();
        desk.acknowledged(2, over);
        let said = desk.waits(100, &connected);
        assert!(said.ends_with("run fence"), "{said:?}");
        assert_eq!(desk.agent.serving(), None);
    }
}

// ---- markers and doubt

#[test]
fn markers_go_out_fast_until_one_is_acknowledged() {
    let mut desk = Desk::up();
    desk.order(open_for(2, "p:1-10"), 20);
    desk.opens("p:1-10");
    assert_eq!(desk.markers.len(), 1);
    desk.waits(60, &open());
    assert_eq!(desk.markers.len(), 4, "every 20 ms");
    desk.waits(1_000, &open());
    assert_eq!(desk.markers.len(), 8, "at most eight in flight");
    assert_eq!(desk.marked(), "say acknowledged p:1-10");
    for _ in 0..7 {
        assert_eq!(desk.marked(), "", "said once");
    }
    assert_eq!(
        desk.waits(2_000, &open()),
        "run marker 2",
        "then one at a time, once a second"
    );
}

#[test]
fn the_first_epoch_makes_its_table_one_at_a_time() {
    let mut desk = Desk::up();
    desk.order(open_for(1, "p:1-10"), 20);
    desk.opens("p:1-10");
    desk.waits(1_000, &open());
    assert_eq!(desk.markers.len(), 1);
}

#[test]
fn a_marker_of_an_earlier_epoch_proves_nothing() {
    let mut desk = Desk::serving();
    desk.waits(1_000, &open());
    let old = desk.markers.pop().expect("a write probe");
    desk.order(fence(1), 20);
    desk.ends(confirmed());
    desk.order(open_for(2, "p:1-12"), 30);
    desk.opens("p:1-12");
    let before = set("p:1-10");
    assert_eq!(desk.ended(old, Ok(OpDone::Marked(Marker { before }))), "");
    assert_eq!(desk.marked(), "say acknowledged p:1-10");
}

#[test]
fn replication_is_forgotten_after_the_first_write() {
    let seal = enrolled_seal();
    let replica = Survey {
        source: Some(("p.example".into(), 3306)),
        ..fenced()
    };
    let (mut desk, _) = Desk::with(seal, replica);
    desk.order(open_for(2, "p:1-10"), 20);
    desk.opens("p:1-10");
    assert_eq!(desk.marked(), "say acknowledged p:1-10, run clean up");
}

#[test]
fn after_a_gap_503_until_confirmed() {
    let doubtful = || {
        let mut desk = Desk::serving();
        desk.waits(100, &open());
        desk.now += 600;
        desk.tell(AgentInput::Tick);
        assert_eq!(desk.agent.serving(), None, "it slept");
        let before = desk.beats().word.beat - 1;
        (desk, before)
    };
    // A node confirms a beat that was sent after it.
    let (mut desk, before) = doubtful();
    desk.acknowledged(before, named(1, "a"));
    assert_eq!(desk.agent.serving(), None, "the answer to an older beat");
    desk.acknowledged(before + 1, named(1, "a"));
    assert_eq!(desk.agent.serving(), Some(Epoch(1)));
    // Not if its epoch is over, or another's.
    for other in [named(2, "b"), named(1, "b"), named(2, "a")] {
        let (mut desk, before) = doubtful();
        desk.acknowledged(before + 1, other);
        assert_eq!(desk.agent.serving(), None);
    }
    let (mut desk, before) = doubtful();
    let deposed = NamedPrimary {
        deposed: true,
        ..named(1, "a")
    };
    desk.acknowledged(before + 1, deposed);
    assert_eq!(desk.agent.serving(), None);
    // Or k of V acknowledge a write begun after it.
    let (mut desk, _) = doubtful();
    desk.marked();
    assert_eq!(desk.agent.serving(), None, "begun before it");
    desk.waits(1_000, &open());
    desk.marked();
    assert_eq!(desk.agent.serving(), Some(Epoch(1)));
    // 500 ms are none.
    let mut desk = Desk::serving();
    desk.now += 500;
    desk.tell(AgentInput::Tick);
    assert_eq!(desk.agent.serving(), Some(Epoch(1)));
}

#[test]
fn one_that_nobody_acknowledges_fences_itself() {
    for known in [true, false] {
        let mut desk = Desk::serving();
        if known {
            let named = NamedPrimary {
                unacked_fence_ms: 20_000,
                ..named(1, "a")
            };
            desk.acknowledged(1, named);
        }
        let bound_ms = if known { 20_000 } else { 30_000 };
        let said = desk.waits(bound_ms - 100, &open());
        assert_eq!(said, "run marker 1", "one probe, never acknowledged");
        assert_eq!(desk.agent.serving(), Some(Epoch(1)));
        let said = desk.waits(1_200, &open());
        assert!(said.starts_with("run fence"), "{said:?}");
        assert_eq!(desk.agent.serving(), None);
    }
}

#[test]
fn a_stuck_write_is_told_unless_somebody_waits() {
    let stuck = |waiting| {
        let mut desk = Desk::serving();
        desk.waits(3_000, &Survey { waiting, ..open() });
        desk.beats().write_stuck_ms
    };
    assert!(stuck(0).is_some_and(|ms| ms > 1_000), "{:?}", stuck(0));
    assert_eq!(stuck(1), None, "for an acknowledgement, or behind a lock");
}

// ---- coming back

#[test]
fn a_primary_waits_for_the_log_before_it_starts_again() {
    let exited = || {
        let mut desk = Desk::serving();
        desk.acknowledged(1, named(1, "a"));
        assert_eq!(desk.tell(AgentInput::ServerExited), "");
        desk
    };
    let mut desk = exited();
    assert_eq!(desk.waits(9_990, &fenced()), "");
    assert_eq!(
        desk.waits(10, &fenced()),
        "persist(mysqld 1), start",
        "it was held long enough"
    );
    let mut desk = exited();
    assert_eq!(
        desk.acknowledged(2, named(2, "b")),
        "persist(mysqld 1), start"
    );
    // A replica boots fenced, and starts at once.
    let mut desk = Desk::up();
    assert_eq!(
        desk.tell(AgentInput::ServerExited),
        "persist(mysqld 1), start"
    );
}

// ---- the orders that stand

fn standing(world: &World) -> Vec<String> {
    let state: Committed<&State> = Committed::witness(at(99), &world.state);
    orders(&state, world.cluster())
        .iter()
        .map(|order| {
            let order = order.get();
            assert_eq!(order.token.epoch.0, world.cluster().epoch.0);
            format!("{} {}", order.instance, order.kind.name())
        })
        .collect()
}

#[test]
fn the_orders_of_each_stage() {
    let mut world = World::serving("pab", 1);
    assert_eq!(standing(&world), ["a follow", "b follow"]);
    world.must(crate::record::Command::Reopen {
        cluster: cluster_id(),
        epoch: Epoch(1),
        instance: instance("p"),
        mysqld: Incarnation(2),
    });
    assert_eq!(standing(&world), ["p reopen", "a follow", "b follow"]);
    world.silence("p:1-12");
    assert_eq!(standing(&world), ["a freeze", "b freeze", "p fence"]);
    world.freeze(report("a", "p:1-20", ""));
    world.exit();
    assert_eq!(
        standing(&world),
        ["b freeze", "p fence"],
        "an exit is no final set"
    );
    world.freeze(report("b", "p:1-12", ""));
    let choice = crate::decide::choose(world.cluster()).expect("a candidate");
    world.must(crate::record::Command::Choose(Box::new(choice)));
    // The old one is shut whenever it comes back, whatever the proof was.
    assert_eq!(standing(&world), ["a open", "b follow", "p fence"]);
    let mut founding = World::of("xyz");
    let registration = crate::testing::registration("pab", 1);
    founding.must(crate::record::Command::Register(Box::new(registration)));
    assert_eq!(standing(&founding), ["a report", "b report", "p report"]);
    let reported = founding.founding_report("a", "p:1-10", true);
    founding.must(reported);
    assert_eq!(standing(&founding), ["b report", "p report"]);
}
