//! Transcripts of three nodes over one log: what they propose, what the leader orders. `p` is the
//! primary, `a` and `b` its ackers; probes and beats come and go as the hosts do.

use std::collections::BTreeSet;

use super::{Leads, Node, NodeInput, NodeOutput, NodeSettings, ProposalEnd};
use crate::act::{Reply, Said};
use crate::agree::Verdict;
use crate::ids::{ClusterId, Epoch, Generation, Incarnation, NodeId, PlaneId, Tick, Token};
use crate::observe::{Heartbeat, MysqldWord, Probe, Pulse, Role};
use crate::policy::Automation;
use crate::record::{Command, Founding, FreezeReport, Registration};
use crate::testing::{
    World, at, beat, cluster_id, instance, opened, registration, report, set, word,
};

const STEP_MS: u64 = 20;

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
    probes: Vec<(usize, String, Probe, u64)>,
    lines: Vec<(u64, String)>,
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
            probes: Vec::new(),
            lines: Vec::new(),
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

    fn tell(&mut self, i: usize, input: NodeInput) {
        if self.gone.contains(&i) {
            return;
        }
        for output in self.nodes[i].handle(Tick(self.now), input) {
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
                NodeOutput::Acknowledge { .. } | NodeOutput::Remember { .. } => {}
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
                        fenced: host != "p",
                    }
                } else {
                    Pulse::Failed { reset: false }
                };
                let input = NodeInput::Pulse {
                    instance: instance(&host),
                    probe,
                    begun: Tick(begun),
                    pulse,
                    executed: None,
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
                    self.tell(i, NodeInput::Beat { beat, rtt_ms: 1 });
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
        beat
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

fn name(command: &Command) -> String {
    match command {
        Command::OpenInquest { .. } => "opens an inquest".into(),
        Command::CloseInquest { why, .. } => format!("closes it: {why}"),
        Command::Vote(vote) => format!("votes {:?}", vote.sight.kind).to_lowercase(),
        Command::Choose(choice) => format!("chooses {}", choice.to),
        Command::Freeze { instance, .. } => format!("records {instance} frozen"),
        Command::Fence { instance, .. } => format!("records {instance} fenced"),
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

fn reply(index: u64, letter: &str, said: Said) -> NodeInput {
    NodeInput::Reply(Box::new(Reply {
        token: Token {
            plane: PlaneId::from("plane"),
            generation: Generation::INITIAL,
            epoch: Epoch(1),
            at: at(index),
        },
        cluster: cluster_id(),
        instance: instance(letter),
        said,
    }))
}

fn frozen(letter: &str, executed: &str) -> NodeInput {
    let report: FreezeReport = report(letter, executed, "");
    reply(1, letter, Said::Frozen { report })
}

#[test]
fn from_silence_to_the_orders() {
    let mut plane = Plane::new(world());
    plane.down.insert("p");
    let gone = plane.now;
    plane.runs(4_000);
    let opened = plane.when("1 opens an inquest") - gone;
    let deposed = plane.when("epoch 1 of p deposed") - gone;
    assert!((800..=1_300).contains(&opened), "asked early: {opened} ms");
    assert!(
        (2_800..=3_400).contains(&deposed),
        "after sustain_ms: {deposed} ms"
    );
    let said = plane.said();
    assert_eq!(
        said,
        [
            "1 opens an inquest",
            "1 votes silent",
            "verdict on p: Undecided",
            "2 votes silent",
            "3 votes silent",
            "verdict on p: Dead",
            "epoch 1 of p deposed",
            "order a freeze",
            "order b freeze",
            "order p fence",
        ]
    );
    let record = plane.world.cluster().deposition().expect("deposed");
    assert_eq!(record.judgement.verdict, Verdict::Dead);
    assert_eq!(
        record.inquest.last_known,
        set("p:1-12"),
        "what was last seen on it"
    );
}

#[test]
fn an_attested_exit_is_quicker() {
    let mut plane = Plane::new(world());
    plane.exited.insert("p");
    let gone = plane.now;
    plane.runs(1_500);
    let deposed = plane.when("epoch 1 of p deposed") - gone;
    assert!((250..=700).contains(&deposed), "{deposed} ms");
}

#[test]
fn one_that_is_cut_off_alone_convinces_nobody() {
    let mut plane = Plane::new(world());
    plane.cut.insert((1, "p"));
    plane.runs(1_600);
    let said = plane.said();
    for line in [
        "2 opens an inquest",
        "2 votes silent",
        "1 votes alive",
        "3 votes alive",
    ] {
        assert!(said.iter().any(|said| said == line), "{line:?} in {said:?}");
    }
    let closed = "1 closes it: no missing vote can complete a majority of silence";
    assert!(said.iter().any(|line| line == closed), "{said:?}");
    plane.runs(5_000);
    plane.never("deposed");
}

#[test]
fn while_its_ackers_hear_it_nothing_is_promoted() {
    let mut plane = Plane::new(world());
    plane.hear = true;
    plane.down.insert("p");
    plane.runs(10_000);
    plane.never("deposed");
    assert!(
        plane
            .said()
            .iter()
            .any(|line| line == "verdict on p: Isolated")
    );
    let waits = plane.nodes[0]
        .standing(&cluster_id())
        .expect("it leads")
        .waits;
    assert!(
        waits[0].starts_with("alert: a majority of the control plane"),
        "{waits:?}"
    );
    // The question is asked anew: one voter's last word must not hold it up for ever.
    plane.runs(25_000);
    assert!(
        plane
            .said()
            .iter()
            .any(|line| line == "1 closes it: expired without a verdict")
    );
    plane.hear = false;
    plane.runs(6_000);
    plane.when("epoch 1 of p deposed");
}

#[test]
fn what_a_dead_voter_heard_last_holds_nothing_up() {
    let mut plane = Plane::new(world());
    plane.hear = true;
    plane.down.insert("p");
    plane.runs(5_000);
    let isolated = |line: &String| line == "verdict on p: Isolated";
    assert!(plane.said().iter().any(isolated));
    // From now on nobody hears it, but node 3 can no longer say so.
    plane.hear = false;
    plane.gone.insert(2);
    let gone = plane.now;
    plane.runs(6_000);
    plane.when("1 closes it: node 3 votes no more");
    let deposed = plane.when("epoch 1 of p deposed") - gone;
    assert!(deposed < 5_000, "{deposed} ms");
}

#[test]
fn nothing_is_ordered_without_leadership() {
    let mut plane = Plane::new(world());
    // Somebody else leads: votes go to it, orders are its own.
    plane.led_by(Some(9));
    plane.down.insert("p");
    plane.runs(4_000);
    plane.when("epoch 1 of p deposed");
    plane.never("order");
    // A leader resumes at the last committed stage.
    plane.led_by(Some(2));
    plane.runs(40);
    assert_eq!(
        plane
            .lines
            .split_off(plane.lines.len() - 3)
            .into_iter()
            .map(|(_, line)| line)
            .collect::<Vec<_>>(),
        ["order a freeze", "order b freeze", "order p fence"]
    );
    // Without any leader nothing is proposed.
    let mut plane = Plane::new(world());
    plane.led_by(None);
    plane.down.insert("p");
    plane.runs(4_000);
    assert_eq!(plane.said(), [""; 0]);
}

#[test]
fn advice_waits_for_an_operator() {
    let mut world = world();
    world.cluster_mut().policy.automation = Automation::Advise;
    let mut plane = Plane::new(world);
    plane.down.insert("p");
    plane.runs(4_000);
    plane.never("deposed");
    let waits = plane.nodes[0]
        .standing(&cluster_id())
        .expect("it leads")
        .waits;
    assert_eq!(waits, ["an operator's approval"]);
}

#[test]
fn a_blind_node_does_not_vote_silent() {
    // Node 3 hears no majority.
    let mut plane = Plane::new(world());
    let leads = Leads {
        leader: Some(NodeId(1)),
        me: false,
        hears_majority: false,
    };
    plane.tell(2, NodeInput::Leads(leads));
    plane.down.insert("p");
    plane.runs(4_000);
    plane.never("3 votes silent");
    plane.when("3 votes blind");
    plane.when("epoch 1 of p deposed");
    // None of them ever saw it alive: nobody even asks.
    let mut plane = Plane::started(world());
    plane.down.insert("p");
    plane.runs(6_000);
    plane.never("inquest");
}

#[test]
fn what_a_node_saw_outlives_its_process() {
    let remembering = |epoch| {
        let mut plane = Plane::started(world());
        plane.nodes = (1..=3)
            .map(|id| {
                // It begins with an older state, which knows no cluster yet.
                let older = World::of("xyz");
                node(id, &older, &[(cluster_id(), Epoch(epoch))])
            })
            .collect();
        plane.led_by(Some(1));
        plane.show_state();
        plane.down.insert("p");
        plane.runs(6_000);
        plane
            .lines
            .iter()
            .any(|(_, line)| line == "epoch 1 of p deposed")
    };
    assert!(remembering(1));
    assert!(!remembering(0), "of an earlier epoch");
    assert!(!remembering(2), "of a later one, hence of another state");
}

#[test]
fn memory_is_of_the_primary_of_that_epoch() {
    let older = world();
    let mut newer = older.clone();
    newer.silence("p:1-12");
    newer.freeze(report("a", "p:1-12", ""));
    newer.freeze(report("b", "p:1-12", ""));
    let choice = crate::decide::choose(newer.cluster()).expect("a candidate");
    newer.must(Command::Choose(Box::new(choice)));
    newer.open(2, "a", "p:1-12,a:1");
    // On its way to the newest state it passes one that names another primary.
    let mut node = node(1, &older, &[(cluster_id(), Epoch(2))]);
    node.handle(Tick(0), leads(1, Some(9)));
    for world in [&older, &newer] {
        node.handle(Tick(10), NodeInput::Applied(world.committed()));
    }
    let kind = |who: &str| format!("{:?}", node.views(Tick(20))[&instance(who)].sight.kind);
    assert_ne!(kind("a"), "Blind");
}

#[test]
fn a_stale_state_is_ignored() {
    let older = world();
    let mut newer = older.clone();
    newer.open_inquest();
    let mut node = node(1, &newer, &[]);
    node.handle(Tick(10), NodeInput::Applied(older.committed()));
    assert_eq!(node.state().at(), newer.committed().at());
    newer.must(Command::TimePassed { ms: 1 });
    node.handle(Tick(20), NodeInput::Applied(newer.committed()));
    assert_eq!(node.state().at(), newer.committed().at());
}

#[test]
fn answers_become_commands() {
    let mut plane = Plane::new(world());
    plane.down.insert("p");
    plane.runs(4_000);
    plane.said();
    plane.tell(1, frozen("a", "p:1-12"));
    plane.runs(40);
    plane.never("records a frozen");
    plane.tell(0, frozen("a", "p:1-12"));
    plane.runs(40);
    plane.when("1 records a frozen");
    plane.lines.clear();
    plane.runs(1_000);
    plane.never("order a");
    let why = "waiting for b".to_owned();
    plane.tell(0, reply(1, "b", Said::Refused { why: why.clone() }));
    let standing = plane.nodes[0].standing(&cluster_id()).expect("it leads");
    assert_eq!(standing.refused[&instance("b")], why);
    assert!(
        standing.waits[0].starts_with("1 of 2 ackers needed are frozen"),
        "{standing:?}"
    );
    plane.when("order b freeze");
}

#[test]
fn orders_are_repeated_until_the_log_shows_their_effect() {
    let mut plane = Plane::new(world());
    plane.down.insert("p");
    plane.runs(4_000);
    plane.lines.clear();
    plane.runs(1_000);
    let times = plane
        .lines
        .iter()
        .filter(|(_, line)| line == "order a freeze")
        .count();
    assert!((3..=4).contains(&times), "every 250 ms: {times}");
}

/// When a choice is proposed, after so many of the ackers `a`, `b`, `c` answered; k = 2.
fn chosen_after(answers: &[&str]) -> Option<u64> {
    let mut plane = Plane::new(World::serving("pabc", 2));
    plane.down.insert("p");
    plane.runs(4_000);
    plane.lines.clear();
    let asked = plane.now;
    for letter in answers {
        plane.tell(0, frozen(letter, "p:1-12"));
    }
    plane.runs(400);
    let found = plane
        .lines
        .iter()
        .find(|(_, line)| line.starts_with("1 chooses"));
    found.map(|(when, _)| when - asked)
}

#[test]
fn the_plan_waits_a_grace_for_the_rest() {
    assert_eq!(chosen_after(&["a"]), None, "two are needed");
    let with_grace = chosen_after(&["a", "b"]).expect("two are enough");
    let at_once = chosen_after(&["a", "b", "c"]).expect("all are there");
    assert!(at_once < with_grace, "{at_once} ms, {with_grace} ms");
    // The bound of 20 ms, and the answers' own way through the outbox.
    assert!((20..=140).contains(&with_grace), "{with_grace} ms");
}

#[test]
fn a_closed_primary_reopens_when_k_hold_what_it_has() {
    let reopened = |executed: &str, for_ms: u64| {
        let mut plane = Plane::new(world());
        plane.down.insert("p");
        plane.runs(200);
        for _ in 0..for_ms / 100 {
            for i in 0..3 {
                let mut closed = beat("p", plane.beats + 1);
                closed.word = word(
                    plane.beats + 1,
                    2,
                    MysqldWord::Running { answered_ms_ago: 0 },
                );
                (closed.role, closed.replica) = (Role::Closed, None);
                closed.opened = Some(Epoch(1));
                closed.executed = set(executed);
                let beat = Box::new(closed);
                plane.tell(i, NodeInput::Beat { beat, rtt_ms: 1 });
            }
            plane.runs(100);
        }
        plane.said().contains(&"1 lets p reopen".to_owned())
    };
    assert!(reopened("p:1-12", 800));
    assert!(!reopened("p:1-12", 300), "an opening in hand looks alike");
    assert!(!reopened("p:1-13", 800), "nobody else has it");
}

#[test]
fn an_adopted_floor_needs_k_that_hold_it() {
    // Beats of `a` and `b` hold p:1-12. The answer of a primary that does not wait proves nothing.
    let recorded = |floor: &str| {
        let mut world = World::of("xyz");
        world.found(Registration {
            founding: Founding::Adopted,
            ..registration("pab", 1)
        });
        world.must(opened(1, "p"));
        let mut plane = Plane::started(world);
        plane.runs(300);
        let floor = set(floor);
        plane.tell(0, reply(1, "p", Said::Acknowledged { floor }));
        plane.runs(40);
        plane
            .said()
            .contains(&"1 records the first write".to_owned())
    };
    assert!(recorded("p:1-12"));
    assert!(!recorded("p:1-13"));
}

#[test]
fn the_rest_is_logged_in_portions() {
    let mut world = world();
    world.cluster_mut().rest_ms = 12_000;
    let mut plane = Plane::started(world);
    plane.runs(20_000);
    assert_eq!(plane.world.cluster().rest_ms, 0);
    let portions = plane
        .lines
        .iter()
        .filter(|(_, line)| line.contains("logs"))
        .count();
    assert_eq!(portions, 3, "{:?}", plane.lines);
}

// ---- one proposal at a time

#[test]
fn what_did_not_get_through_is_asked_again() {
    let mut world = World::serving("pab", 1);
    world.silence("p:1-12");
    let mut node = node(1, &world, &[]);
    node.handle(Tick(0), leads(1, Some(1)));
    node.handle(Tick(0), NodeInput::Applied(world.committed()));
    let mut propose = |now: u64, input: NodeInput| {
        let outputs = node.handle(Tick(now), input);
        outputs.into_iter().find_map(|output| match output {
            NodeOutput::Propose(proposal) => Some(proposal),
            _ => None,
        })
    };
    let first = propose(10, frozen("a", "p:1-12")).expect("proposed");
    assert_eq!(propose(20, frozen("b", "p:1-12")), None, "one is in flight");
    let ended = |end| NodeInput::Proposed {
        seq: first.seq,
        end,
    };
    let second = propose(30, ended(ProposalEnd::NoLeader));
    assert_eq!(second, None, "a moment's rest");
    let second = propose(60, NodeInput::Tick).expect("what waited");
    assert!(second.seq > first.seq, "a key of its own");
    let third = propose(
        70,
        NodeInput::Proposed {
            seq: second.seq,
            end: ProposalEnd::Unknown,
        },
    );
    assert_eq!(third, None, "the agents say it again");
    let again = propose(80, frozen("a", "p:1-12")).expect("at once");
    assert!(again.seq > second.seq);
}

#[test]
fn a_node_that_hears_no_majority_confirms_nothing() {
    let world = world();
    let mut node = node(1, &world, &[]);
    let mut named = |hears_majority| {
        let leads = Leads {
            leader: None,
            me: false,
            hears_majority,
        };
        node.handle(Tick(0), NodeInput::Leads(leads));
        let beat = Box::new(beat("p", 1));
        let outputs = node.handle(Tick(10), NodeInput::Beat { beat, rtt_ms: 1 });
        outputs.into_iter().find_map(|output| match output {
            NodeOutput::Acknowledge {
                acknowledgement, ..
            } => Some(acknowledgement.named),
            _ => None,
        })
    };
    assert_eq!(named(false), Some(None));
    let told = named(true).flatten().expect("its cluster is known");
    assert_eq!(
        (told.epoch, told.instance, told.deposed),
        (Epoch(1), instance("p"), false)
    );
}

#[test]
fn what_an_operator_aborted_is_not_asked_again_until_it_ends() {
    let mut world = world();
    world.cluster_mut().policy.automation = Automation::Advise;
    let mut plane = Plane::new(world);
    plane.down.insert("p");
    plane.runs(4_000);
    assert!(plane.world.cluster().inquest.is_some(), "it is silent");
    plane.world.must(Command::Abort {
        cluster: cluster_id(),
        epoch: Epoch(1),
        who: "ann".into(),
        why: "its network is being mended".into(),
    });
    plane.show_state();
    plane.runs(10_000);
    let cluster = plane.world.cluster();
    assert_eq!(cluster.inquest, None, "the same silence goes on");
    let standing = plane.nodes[0].standing(&cluster_id()).unwrap_or_default();
    let said = standing.waits.join("; ");
    assert!(said.contains("ann aborted the inquest"), "{said}");

    plane.down.remove("p");
    plane.runs(2_000);
    plane.down.insert("p");
    plane.runs(4_000);
    let cluster = plane.world.cluster();
    assert!(cluster.inquest.is_some(), "another silence");
    assert_eq!(cluster.aborted, None);
}
