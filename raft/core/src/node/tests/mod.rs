//! Transcripts of three nodes over one log: what they propose, what the leader orders. `p` is the
//! primary, `a` and `b` its ackers; probes and beats come and go as the hosts do.

mod alarms;
mod cadence;
mod carried_out;
mod cost;
mod eyes;
mod founding;
mod ground;
mod hearing;
mod leading;
mod planning;
mod reopening;
mod stalling;
mod starved;
mod voting;
mod waiting;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Leads, Node, NodeInput, NodeOutput, NodeSettings, ProposalEnd, Standing};
use crate::act::{Reply, Said};
use crate::agree::Verdict;
use crate::alarm::Change;
use crate::ids::{ClusterId, Epoch, Generation, Incarnation, NodeId, PlaneId, Tick, Token};
use crate::observe::{
    Besides, ChannelSeen, Heartbeat, MysqldWord, Probe, Pulse, Role, Seen, SourceGround,
};
use crate::policy::Automation;
use crate::record::{Command, FenceReport, Founding, FreezeReport, PromotionRule, Registration};
use crate::testing::{
    World, at, beat, cluster_id, instance, opened, promotion_of, registration, report, set, uuid,
    word,
};

const STEP_MS: u64 = 20;

type Bend = Box<dyn Fn(&str, &mut Heartbeat)>;

struct Plane {
    world: World,
    nodes: Vec<Node>,
    now: u64,
    beats: u64,
    /// Hosts that are gone, and (node, host) that do not reach each other.
    down: BTreeSet<&'static str>,
    cut: BTreeSet<(usize, &'static str)>,
    /// Nodes that are gone.
    gone: BTreeSet<usize>,
    /// Their agents live; the servers exited.
    exited: BTreeSet<&'static str>,
    /// Ackers whose read position goes on, whoever is cut off.
    hear: bool,
    /// What a fresh or a warm look finds read only, beside the replicas.
    shut: BTreeSet<&'static str>,
    /// Replicas that somebody pointed elsewhere.
    elsewhere: BTreeSet<&'static str>,
    /// Replication alone is cut.
    starves: Option<starved::Cut>,
    /// What else the beat of one of them says.
    bend: Bend,
    /// What a probe sees of the primary's ground, where all is as ordered.
    sees: fn(SourceGround) -> Option<SourceGround>,
    probes: Vec<(usize, String, Probe, u64)>,
    /// How long the leader took for each input, where somebody measures.
    took: Option<Vec<Duration>>,
    /// Which node made durable that it saw the primary of an epoch.
    remembered: Vec<(usize, Epoch)>,
    lines: Vec<(u64, String)>,
    alarms: Vec<String>,
}

fn node(id: u64, world: &World, remembered: &[(ClusterId, Epoch)]) -> Node {
    Node::new(
        NodeId(id),
        Incarnation(7),
        NodeSettings::default(),
        remembered.iter().cloned().collect(),
        world.committed(),
    )
}

fn leads(id: u64, leader: Option<u64>) -> NodeInput {
    NodeInput::Leads(Leads {
        leader: leader.map(NodeId),
        me: leader == Some(id),
        hears_majority: true,
    })
}

/// A beat that has come, from an agent that does not say after which acknowledgement it sent it.
fn heard(beat: Box<Heartbeat>) -> NodeInput {
    NodeInput::Beat {
        beat,
        rtt_ms: 1,
        after: None,
    }
}

impl Plane {
    /// Node 1 leads; everything is well.
    fn new(world: World) -> Self {
        let mut plane = Self::started(world);
        plane.runs(1_000);
        // Until it has heard the agents, a new leader repeats the orders that stand.
        plane
            .said()
            .iter()
            .for_each(|line| assert!(line.contains("follow"), "{line}"));
        plane
    }

    fn started(world: World) -> Self {
        let nodes = (1..=3).map(|id| node(id, &world, &[])).collect();
        let mut plane = Self {
            world,
            nodes,
            now: 1_000,
            beats: 0,
            down: BTreeSet::new(),
            cut: BTreeSet::new(),
            gone: BTreeSet::new(),
            exited: BTreeSet::new(),
            hear: false,
            shut: BTreeSet::new(),
            elsewhere: BTreeSet::new(),
            starves: None,
            bend: Box::new(|_, _| {}),
            sees: Some,
            probes: Vec::new(),
            took: None,
            remembered: Vec::new(),
            lines: Vec::new(),
            alarms: Vec::new(),
        };
        plane.led_by(Some(1));
        plane.show_state();
        plane
    }

    fn led_by(&mut self, leader: Option<u64>) {
        for i in 0..3 {
            self.tell(i, leads(i as u64 + 1, leader));
        }
    }

    fn show_state(&mut self) {
        for i in 0..3 {
            let state = self.world.committed();
            self.tell(i, NodeInput::Applied(state));
        }
    }

    /// An operator waves the trouble of epoch 1 through.
    fn aborted(&mut self) {
        self.world.must(Command::Abort {
            cluster: cluster_id(),
            epoch: Epoch(1),
            who: "ann".into(),
            why: "its network is being mended".into(),
        });
        self.show_state();
    }

    fn tell(&mut self, i: usize, input: NodeInput) {
        if self.gone.contains(&i) {
            return;
        }
        let (now, node) = (Tick(self.now), &mut self.nodes[i]);
        let outputs = match &mut self.took {
            Some(took) if i == 0 => cost::timed(took, || node.handle(now, input)),
            _ => node.handle(now, input),
        };
        for output in outputs {
            match output {
                NodeOutput::Probe { instance, probe } => {
                    self.probes.push((i, instance.to_string(), probe, self.now));
                }
                NodeOutput::Order(order) => {
                    let order = order.get();
                    let line = format!("order {} {}", order.instance, order.kind.name());
                    self.note(line);
                }
                NodeOutput::Propose(proposal) => {
                    let outcome = self.world.apply(&proposal);
                    for (command, result) in proposal.commands.iter().zip(&outcome.results) {
                        self.note(format!("{} {}", i + 1, name(command)));
                        for event in result.iter().flatten() {
                            if event.what.contains("deposed") || event.what.contains("verdict") {
                                self.note(event.what.clone());
                            }
                        }
                    }
                    let (seq, end) = (proposal.seq, ProposalEnd::Committed);
                    self.tell(i, NodeInput::Proposed { seq, end });
                    self.show_state();
                }
                NodeOutput::Alarm { change, .. } => {
                    self.alarms.push(alarm_line(&change));
                }
                NodeOutput::Remember { epoch, .. } => self.remembered.push((i, epoch)),
                NodeOutput::Acknowledge { .. } => {}
            }
        }
    }

    fn note(&mut self, line: String) {
        self.lines.push((self.now, line));
    }

    fn reaches(&self, i: usize, host: &str) -> bool {
        !self.down.contains(host) && !self.cut.iter().any(|(n, h)| *n == i && *h == host)
    }

    fn runs(&mut self, ms: u64) {
        for _ in 0..ms / STEP_MS {
            self.now += STEP_MS;
            for (i, host, probe, begun) in std::mem::take(&mut self.probes) {
                let up = self.reaches(i, &host) && !self.exited.contains(host.as_str());
                let pulse = if up {
                    Pulse::Answered {
                        fenced: host != "p" || self.shut.contains(host.as_str()),
                    }
                } else {
                    Pulse::Failed { reset: false }
                };
                let input = NodeInput::Pulse {
                    instance: instance(&host),
                    probe,
                    begun: Tick(begun),
                    pulse,
                    seen: up.then(|| Box::new(self.seen(&host))),
                };
                self.tell(i, input);
            }
            if self.now.is_multiple_of(100) {
                self.beat();
            }
            for i in 0..3 {
                self.tell(i, NodeInput::Tick);
            }
        }
    }

    fn seen(&self, host: &str) -> Seen {
        Seen {
            server_uuid: uuid(host),
            executed: set("p:1-12"),
            ground: (self.sees)(SourceGround::ordered(self.world.cluster().ackers.k)),
        }
    }

    fn beat(&mut self) {
        self.beats += 1;
        let hosts: Vec<String> = self
            .world
            .cluster()
            .instances
            .keys()
            .map(|id| id.to_string())
            .collect();
        for host in hosts {
            let mut beat = self.beat_of(&host);
            if self.exited.contains(host.as_str()) {
                beat.word.says = MysqldWord::Exited;
            }
            for i in 0..3 {
                if self.reaches(i, &host) {
                    let beat = Box::new(beat.clone());
                    self.tell(i, heard(beat));
                }
            }
        }
    }

    fn beat_of(&self, host: &str) -> Heartbeat {
        let mut beat = beat(host, self.beats);
        if host == "p" {
            (beat.role, beat.fenced, beat.replica) = (Role::Open(Epoch(1)), false, None);
            beat.opened = Some(Epoch(1));
        } else if self.down.contains("p") || self.exited.contains("p") {
            let replica = beat.replica.as_mut().expect("a replica");
            replica.heartbeats = if self.hear { self.beats } else { 0 };
        }
        if self.elsewhere.contains(host) {
            let channel = ChannelSeen {
                host: "x.example".into(),
                ..ChannelSeen::default()
            };
            beat.besides = Some(Box::new(Besides {
                channels: vec![channel],
                ..Besides::default()
            }));
        }
        if let Some(cut) = &self.starves {
            cut.shows(self.now, host, &mut beat);
        }
        (self.bend)(host, &mut beat);
        beat
    }

    /// How often a line that begins so was said.
    fn times(&self, line: &str) -> usize {
        let lines = self.lines.iter();
        lines.filter(|(_, said)| said.starts_with(line)).count()
    }

    /// When a line like this was said last.
    fn last(&self, line: &str) -> u64 {
        let mut lines = self.lines.iter().rev();
        let found = lines.find(|(_, said)| said.contains(line));
        found
            .unwrap_or_else(|| panic!("{line:?} in {:?}", self.lines))
            .0
    }

    /// The plane is at this level: node 3 knows no more, and is not there.
    fn at_level(&mut self, level: u32) {
        self.gone.insert(2);
        self.world.state.level = level;
        self.world.state.knows.insert(NodeId(3), level);
        self.show_state();
    }

    /// What the leader says of the cluster.
    fn standing(&self) -> Standing {
        self.nodes[0].standing(&cluster_id()).expect("it leads")
    }

    /// What happened since it was last asked, each thing said once.
    fn said(&mut self) -> Vec<String> {
        let mut said: Vec<String> = Vec::new();
        for (_, line) in std::mem::take(&mut self.lines) {
            if !said.contains(&line) {
                said.push(line);
            }
        }
        said
    }

    fn when(&self, line: &str) -> u64 {
        let found = self.lines.iter().find(|(_, said)| said.starts_with(line));
        found
            .unwrap_or_else(|| panic!("{line:?} in {:?}", self.lines))
            .0
    }

    fn never(&self, line: &str) {
        let found = self.lines.iter().find(|(_, said)| said.contains(line));
        assert_eq!(found, None);
    }
}

/// `raised applier_error of a`.
fn alarm_line(change: &Change) -> String {
    let what = match change {
        Change::Raised(_) => "raised",
        Change::Cleared(_) => "cleared",
        Change::Left(_) => "left",
    };
    let of = match &change.shown().instance {
        Some(instance) => format!(" of {instance}"),
        None => String::new(),
    };
    format!("{what} {}{of}", change.shown().alarm.code())
}

fn name(command: &Command) -> String {
    match command {
        Command::OpenInquest { .. } => "opens an inquest".into(),
        Command::CloseInquest { why, .. } => format!("closes it: {why}"),
        Command::Vote(vote) => format!("votes {:?}", vote.sight.kind).to_lowercase(),
        Command::Choose(choice) => format!("chooses {}", choice.to),
        Command::Fetch { fetch, .. } => format!("has {} fetch from {}", fetch.to, fetch.donor),
        Command::Freeze { instance, .. } => format!("records {instance} frozen"),
        Command::Fence { instance, .. } => format!("records {instance} fenced"),
        Command::Withdraw { instance, .. } => format!("withdraws {instance}"),
        Command::Reopen { instance, .. } => format!("lets {instance} reopen"),
        Command::TimePassed { ms } => format!("logs {ms} ms"),
        Command::Acknowledged { .. } => "records the first write".into(),
        other => format!("{other:?}"),
    }
}

fn world() -> World {
    let mut world = World::serving("pab", 1);
    for letter in ["a", "b"] {
        world.must(Command::Followed {
            cluster: cluster_id(),
            epoch: Epoch(1),
            instance: instance(letter),
        });
    }
    world
}

/// `p` is deposed, and nobody has answered yet.
fn deposed() -> Plane {
    let mut plane = Plane::new(world());
    plane.down.insert("p");
    plane.runs(4_000);
    plane.lines.clear();
    plane
}

fn token(epoch: u64, index: u64) -> Token {
    Token {
        plane: PlaneId::from("plane"),
        generation: Generation::INITIAL,
        epoch: Epoch(epoch),
        at: at(index),
    }
}

fn reply(index: u64, letter: &str, said: Said) -> NodeInput {
    NodeInput::Reply(Box::new(Reply {
        token: token(1, index),
        cluster: cluster_id(),
        instance: instance(letter),
        said,
    }))
}

fn in_epoch(epoch: u64, input: NodeInput) -> NodeInput {
    match input {
        NodeInput::Reply(mut reply) => {
            reply.token.epoch = Epoch(epoch);
            NodeInput::Reply(reply)
        }
        other => other,
    }
}

fn fenced(letter: &str, report: FenceReport) -> NodeInput {
    let (undurable, unopened) = (false, None);
    let said = Said::Fenced {
        report,
        undurable,
        unopened,
    };
    reply(1, letter, said)
}

/// `p` is shut, and this is all that it executed.
fn confirmed(unacknowledged: bool) -> FenceReport {
    FenceReport::Confirmed {
        received: set(""),
        final_set: set("p:1-12"),
        server_uuid: uuid("p"),
        unacknowledged,
        mysqld: None,
        broken: BTreeSet::new(),
    }
}

fn frozen(letter: &str, executed: &str) -> NodeInput {
    let report: FreezeReport = report(letter, executed, "");
    reply(1, letter, Said::Frozen { report })
}
