//! The shell around a control node's core: it carries outputs out and brings inputs in.

use std::collections::BTreeMap;
use std::sync::Arc;

use primacy_core::act::{Order, OrderKind};
use primacy_core::gtid::GtidSet;
use primacy_core::ids::{ClusterId, Committed, Epoch, Incarnation, InstanceId, Tick, Token};
use primacy_core::node::{Leads, Node, NodeInput, NodeOutput, NodeSettings};
use primacy_core::observe::{Heartbeat, MysqldWord, Probe, Pulse, Role, Seen};
use primacy_core::record::{Command, FEATURE_LEVEL, Proposal, State};

use super::planted::Planted;
use super::world::{ANY_RUN, Clock, Gate, Target, What, World, node_id};

/// The core asks to be called at least every 100 ms.
const TICK_US: u64 = 25_000;

/// A probe that has no answer by then has failed.
const PROBE_DEADLINE_US: u64 = 200_000;

pub struct NodeProc {
    pub gate: Gate,
    pub clock: Clock,
    pub node: Option<Node>,
    pub incarnation: u64,
    /// The feature level that this run knows: a rolling upgrade, in the middle of which the seed
    /// begins. Whoever starts again is of the new version.
    pub knows: u32,
    /// Durable.
    pub remembered: BTreeMap<ClusterId, Epoch>,
    /// The newest entry that it applied, durable as its log is.
    pub applied: usize,
    /// The newest entry on its way to it.
    pub sent: usize,
    pub told: Leads,
    /// The run of each server to which the warm connection leads.
    pub warm: Vec<u64>,
}

/// A probe under way.
#[derive(Debug)]
pub struct Outstanding {
    pub node: usize,
    pub run: u64,
    pub instance: InstanceId,
    pub kind: Probe,
    pub begun: Tick,
    /// The same in true time.
    pub at: u64,
}

impl NodeProc {
    pub fn new(clock: Clock, servers: usize) -> Self {
        Self {
            gate: Gate::default(),
            clock,
            node: None,
            incarnation: 0,
            knows: 0,
            remembered: BTreeMap::new(),
            applied: 0,
            sent: 0,
            told: Leads::default(),
            warm: vec![0; servers],
        }
    }
}

impl World {
    pub fn start_node(&mut self, node: usize) {
        let state: Committed<Arc<State>> = self.log.states[self.nodes[node].applied].clone();
        let clock = Clock::new(self.now, &mut self.rng);
        let upgraded = self.options.seed >> node & 1 == 1;
        let proc = &mut self.nodes[node];
        proc.gate.start();
        proc.clock = clock;
        proc.incarnation += 1;
        proc.knows = FEATURE_LEVEL + u32::from(upgraded || proc.incarnation > 1);
        proc.sent = proc.applied;
        proc.told = Leads::default();
        proc.warm.fill(0);
        proc.node = Some(Node::new(
            node_id(node),
            Incarnation(proc.incarnation),
            NodeSettings {
                knows: proc.knows,
                ..NodeSettings::default()
            },
            proc.remembered.clone(),
            // The shell hands over what its log has applied as an input, like any newer state.
            Committed::witness(Default::default(), Arc::new(State::default())),
        ));
        let run = proc.gate.run;
        self.note(&Target::Node(node).to_string(), || "starts".into());
        self.node_input(node, NodeInput::Applied(state));
        self.after(1_000, Target::Node(node), run, What::NodeTick);
    }

    pub fn kill_node(&mut self, node: usize) {
        let proc = &mut self.nodes[node];
        if proc.gate.up {
            proc.gate.die();
            proc.node = None;
            self.note(&Target::Node(node).to_string(), || "killed".into());
        }
    }

    pub(super) fn node_event(&mut self, node: usize, what: What) {
        match what {
            What::NodeTick => {
                let run = self.nodes[node].gate.run;
                let us = TICK_US - 2_000 + self.rng.below(4_000);
                self.after(us, Target::Node(node), run, What::NodeTick);
                self.node_input(node, NodeInput::Tick);
            }
            What::Node(input) => self.node_input(node, input),
            What::Applied { index } => {
                if index > self.nodes[node].applied {
                    self.nodes[node].applied = index;
                    let state = self.log.states[index].clone();
                    self.node_input(node, NodeInput::Applied(state));
                }
            }
            What::ProbeEnd { probe, pulse, seen } => {
                let Some(asked) = self.probes.remove(&probe) else {
                    return;
                };
                if asked.run != self.nodes[node].gate.run {
                    return;
                }
                self.hears_of_look(&asked, seen.as_deref());
                let input = NodeInput::Pulse {
                    instance: asked.instance,
                    probe: asked.kind,
                    begun: asked.begun,
                    pulse,
                    seen,
                };
                self.node_input(node, input);
            }
            other => unreachable!("not a node's: {other:?}"),
        }
    }

    fn node_input(&mut self, node: usize, input: NodeInput) {
        let now = self.now;
        match &input {
            NodeInput::Beat { beat, .. }
                if matches!(beat.word.says, MysqldWord::Running { .. }) =>
            {
                let host = self.host_of(&beat.instance);
                let sent = self.agents[host].sent(beat);
                let of_now = matches!(beat.role, Role::Open(_)) || !self.has_opened(beat);
                if of_now && beat.ground.broken.is_empty() {
                    self.last_look[host] = sent.max(self.last_look[host]);
                }
                // One that lay in a socket while its reader stood still is no sign of now.
                if sent >= self.nodes[node].gate.woke {
                    self.last_sign[host] = now;
                }
            }
            NodeInput::Pulse {
                instance,
                pulse: Pulse::Answered { .. },
                seen: Some(seen),
                ..
            } => {
                let host = self.host_of(instance);
                if self.servers[host].uuid == seen.server_uuid {
                    self.last_sign[host] = now;
                }
            }
            _ => {}
        }
        let proc = &mut self.nodes[node];
        let tick = proc.clock.tick(now);
        let Some(core) = proc.node.as_mut() else {
            return;
        };
        for output in core.handle(tick, input) {
            self.node_output(node, output);
        }
    }

    /// Whether whoever speaks opened for the newest epoch.
    fn has_opened(&self, beat: &Heartbeat) -> bool {
        let cluster = self.state().clusters.get(&beat.cluster);
        cluster.is_some_and(|of| beat.opened == Some(of.epoch))
    }

    /// A node is about to hear what its probe saw.
    fn hears_of_look(&mut self, asked: &Outstanding, seen: Option<&Seen>) {
        let host = self.host_of(&asked.instance);
        let good = |seen: &Seen| {
            let ground = seen.ground.as_ref();
            ground.is_some_and(|ground| ground.faults(None, self.servers[host].k).is_empty())
                && seen.server_uuid == self.servers[host].uuid
        };
        if seen.is_some_and(good) {
            self.last_look[host] = asked.at.max(self.last_look[host]);
        }
    }

    fn node_output(&mut self, node: usize, output: NodeOutput) {
        match output {
            NodeOutput::Probe { instance, probe } => self.probe(node, instance, probe),
            NodeOutput::Order(order) => self.send_order(node, order.into_inner()),
            NodeOutput::Acknowledge {
                instance,
                acknowledgement,
                ..
            } => {
                let host = self.host_of(&instance);
                let what = What::Acknowledged {
                    by: node,
                    acknowledgement: Box::new(acknowledgement),
                };
                let (from, to) = (self.place_of_node(node), self.place_of_host(host));
                self.send(from, to, Target::Agent(host), what);
            }
            NodeOutput::Propose(mut proposal) => {
                self.propose_mistakenly(node, &mut proposal);
                self.propose(node, proposal);
            }
            // Words for people.
            NodeOutput::Alarm { .. } => {}
            NodeOutput::Remember { cluster, epoch } => {
                self.nodes[node].remembered.insert(cluster, epoch);
            }
        }
    }

    /// Planted: what a node proposes wrongly, or does too early.
    fn propose_mistakenly(&mut self, node: usize, proposal: &mut Proposal) {
        match self.options.planted {
            Some(Planted::GroundNotLogged) => {
                for command in &mut proposal.commands {
                    if let Command::Vote(vote) = command {
                        vote.broken.clear();
                    }
                }
            }
            Some(Planted::OpenUncommitted) => self.open_uncommitted(node, proposal),
            _ => {}
        }
    }

    fn send_order(&mut self, node: usize, mut order: Order) {
        match (self.options.planted, &mut order.kind) {
            (Some(Planted::FollowUncompared), OrderKind::Follow { within, .. }) => {
                for server in &self.servers {
                    within.union_with(&server.holds());
                }
            }
            (Some(Planted::OpensUnapplied), OrderKind::Open { need, .. }) => {
                *need = GtidSet::default();
            }
            _ => {}
        }
        let host = self.host_of(&order.instance);
        self.note(&Target::Node(node).to_string(), || {
            format!(
                "orders {} to {} ({})",
                order.instance,
                order.kind.name(),
                order.token
            )
        });
        let what = What::Ordered {
            from: node,
            order: Box::new(order),
        };
        let (from, to) = (self.place_of_node(node), self.place_of_host(host));
        self.send(from, to, Target::Agent(host), what);
    }

    /// Planted: what is only proposed is ordered already.
    fn open_uncommitted(&mut self, node: usize, proposal: &Proposal) {
        for command in &proposal.commands {
            let Command::Choose(choice) = command else {
                continue;
            };
            let mut at = self.log.newest().at();
            at.index = at.index.next();
            let Some(plane) = self.state().plane.clone() else {
                return;
            };
            let order = Order {
                token: Token {
                    plane,
                    generation: self.state().generation,
                    epoch: choice.epoch,
                    at,
                },
                cluster: choice.cluster.clone(),
                instance: choice.to.clone(),
                kind: OrderKind::Open {
                    epoch: choice.epoch,
                    need: choice.need.clone(),
                    k: choice.ackers.k,
                    first: false,
                    adopted: false,
                    members: Default::default(),
                },
            };
            self.send_order(node, order);
        }
    }

    // ---- probes

    fn probe(&mut self, node: usize, instance: InstanceId, kind: Probe) {
        let host = self.host_of(&instance);
        let probe = self.number();
        let begun = self.nodes[node].clock.tick(self.now);
        let run = self.nodes[node].gate.run;
        self.probes.insert(
            probe,
            Outstanding {
                node,
                run,
                instance,
                kind,
                begun,
                at: self.now,
            },
        );
        let failed = What::ProbeEnd {
            probe,
            pulse: Pulse::Failed { reset: false },
            seen: None,
        };
        self.after(PROBE_DEADLINE_US, Target::Node(node), ANY_RUN, failed);
        if !self.answers_at(host) {
            return;
        }
        let (from, to) = (self.place_of_node(node), self.place_of_host(host));
        if let Some(us) = self.net.message_us(from, to, &mut self.rng) {
            let what = What::Asked { node, probe, kind };
            self.after(us, Target::Mysqld(host), ANY_RUN, what);
        }
    }

    /// A machine is there at its address: its own, or another one that has it now.
    fn answers_at(&self, host: usize) -> bool {
        self.servers[host].powered || self.faults.imposters.contains(&host)
    }

    pub(super) fn answer_probe(
        &mut self,
        host: usize,
        node: usize,
        probe: u64,
        pulse: Pulse,
        seen: Option<Seen>,
    ) {
        if !self.answers_at(host) {
            return;
        }
        let (from, to) = (self.place_of_host(host), self.place_of_node(node));
        if let Some(us) = self.net.message_us(from, to, &mut self.rng) {
            let what = What::ProbeEnd {
                probe,
                pulse,
                seen: seen.map(Box::new),
            };
            self.after(us, Target::Node(node), ANY_RUN, what);
        }
    }
}
