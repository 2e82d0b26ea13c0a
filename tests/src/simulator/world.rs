//! The event heap, the processes, their clocks; who is up, who is stopped.
//!
//! True time is `World::now`, in microseconds. A process never sees it: nodes and agents read a
//! clock of their own, with an offset and a rate.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

use primacy_core::act::{OpError, Reply};
use primacy_core::ids::{InstanceId, NodeId};
use primacy_core::node::NodeInput;
use primacy_core::observe::Pulse;
use primacy_core::record::State;

use super::Options;
use super::agents::AgentProc;
use super::clients::Client;
pub use super::event::{ANY_RUN, Event, Target, What};
use super::faults::Faults;
use super::log::Log;
use super::mysql::{Mysqld, Txn};
use super::network::Network;
use super::nodes::NodeProc;
use super::prng::Rng;
pub use super::process::{Clock, Gate};
use super::stranger::Stranger;
use super::timeline::Timeline;
use crate::invariants::Truth;

struct Entry {
    at: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The heap gives the greatest first: that is the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// What a run did; a sweep in which one of these is zero has proved nothing.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub failovers: u64,
    /// Those of a second cluster among them.
    pub neighbours: u64,
    pub reinstated: u64,
    pub acknowledged: u64,
    pub faults: u64,
    pub events: u64,
    pub proofs: [u64; 3],
    /// Epochs whose need was fetched before anybody could be chosen.
    pub fetched: u64,
    pub halts: u64,
    /// How often each kind of fault struck.
    pub kinds: BTreeMap<&'static str, u64>,
}

/// A law that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub law: &'static str,
    pub words: String,
}

pub struct World {
    pub options: Options,
    pub now: u64,
    order: u64,
    heap: BinaryHeap<Entry>,
    pub rng: Rng,
    pub net: Network,
    pub log: Log,
    pub nodes: Vec<NodeProc>,
    pub agents: Vec<AgentProc>,
    pub servers: Vec<Mysqld>,
    pub clients: Vec<Client>,
    pub txns: Vec<Txn>,
    pub faults: Faults,
    /// Of each cluster.
    pub truths: Vec<Truth>,
    pub timeline: Timeline,
    pub counts: Counts,
    pub violation: Option<Violation>,
    pub done: bool,
    pub stranger: Stranger,
    /// Until then a killed dump thread does not end.
    pub cuts_hang_until: u64,
    /// When the log's primary last worked off its relay log, every fault over.
    pub caught_up: u64,
    /// When a node last had a sign of life of each host.
    pub last_sign: Vec<u64>,
    /// When the newest look at good ground that a node heard of was taken at each host.
    pub last_look: Vec<u64>,
    /// How many of the servers belong to the first cluster. The next is a stranger; those of a second
    /// cluster follow.
    pub members: usize,
    numbers: u64,
    pub probes: BTreeMap<u64, super::nodes::Outstanding>,
}

impl World {
    pub fn new(options: Options) -> Self {
        let mut rng = Rng::new(options.seed);
        let plan = super::setup::Plan::of(options, &mut rng);
        let net = Network::new(plan.places(), &mut rng);
        let mut world = Self {
            timeline: Timeline::new(options.trace),
            options,
            now: 0,
            order: 0,
            heap: BinaryHeap::new(),
            net,
            log: Log::new(plan.nodes.len(), plan.first_state()),
            nodes: Vec::new(),
            agents: Vec::new(),
            servers: Vec::new(),
            clients: Vec::new(),
            txns: Vec::new(),
            faults: Faults::default(),
            truths: vec![Truth::default(); plan.clusters()],
            counts: Counts::default(),
            stranger: Stranger::default(),
            cuts_hang_until: 0,
            caught_up: 0,
            last_sign: vec![0; plan.servers()],
            last_look: vec![0; plan.servers()],
            violation: None,
            done: false,
            members: plan.instances.len(),
            numbers: 0,
            probes: BTreeMap::new(),
            rng,
        };
        world.set_up(&plan);
        world
    }

    /// Runs until the judgement, or until a law is broken.
    pub fn run(&mut self) {
        while !self.done && self.violation.is_none() {
            let Some(entry) = self.heap.pop() else { return };
            self.now = entry.at;
            self.counts.events += 1;
            self.dispatch(entry.order, entry.event);
        }
    }

    pub fn after(&mut self, us: u64, to: Target, run: u64, what: What) {
        let event = self.event(to, run, what);
        self.push(us, event);
    }

    pub fn push(&mut self, us: u64, event: Event) {
        self.order += 1;
        self.heap.push(Entry {
            at: self.now + us,
            order: self.order,
            event,
        });
    }

    /// A message between two places: delayed, lost, or delivered twice; to whatever runs there then.
    pub fn send(&mut self, from: usize, to: usize, target: Target, what: What) {
        self.send_to_run(from, to, target, ANY_RUN, what);
    }

    /// On a connection to this run of the target, which no other one reads.
    pub fn send_to_run(&mut self, from: usize, to: usize, target: Target, run: u64, what: What) {
        let Some(us) = self.net.message_us(from, to, &mut self.rng) else {
            return;
        };
        if self.rng.chance(self.net.twice_permille) {
            let later = self.rng.below(self.net.twice_later_us);
            self.after(us + later, target, run, what.clone());
        }
        self.after(us, target, run, what);
    }

    pub fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub fn note(&mut self, who: &str, what: impl FnOnce() -> String) {
        self.timeline.note(self.now, who, what);
    }

    pub fn violate(&mut self, law: &'static str, words: String) {
        if self.violation.is_none() {
            self.note("VIOLATION", || format!("{law}: {words}"));
            self.violation = Some(Violation { law, words });
        }
    }

    // ---- places and names

    pub fn place_of_node(&self, node: usize) -> usize {
        node
    }

    pub fn place_of_host(&self, host: usize) -> usize {
        self.nodes.len() + host
    }

    pub fn place_of_client(&self, client: usize) -> usize {
        self.nodes.len() + self.servers.len() + client
    }

    pub fn host_of(&self, instance: &InstanceId) -> usize {
        host_number(instance.as_str())
    }

    pub fn state(&self) -> &State {
        self.log.newest().get()
    }

    // ---- processes

    pub fn gate(&mut self, target: Target) -> Option<&mut Gate> {
        match target {
            Target::World | Target::Client(_) => None,
            Target::Node(node) => Some(&mut self.nodes[node].gate),
            Target::Agent(host) => Some(&mut self.agents[host].gate),
            Target::Mysqld(host) => Some(&mut self.servers[host].gate),
        }
    }

    pub fn pause(&mut self, target: Target) {
        if let Some(gate) = self.gate(target) {
            gate.paused += 1;
        }
        self.note(&target.to_string(), || "stopped (SIGSTOP)".into());
    }

    pub fn resume(&mut self, target: Target) {
        let now = self.now;
        let Some(gate) = self.gate(target) else {
            return;
        };
        if gate.paused == 0 {
            return;
        }
        gate.paused -= 1;
        if gate.paused > 0 {
            return;
        }
        gate.woke = now;
        let parked = std::mem::take(&mut gate.parked);
        self.note(&target.to_string(), || {
            format!("goes on, {} inputs queued", parked.len())
        });
        // A node that goes on is not through with what lies there at once.
        let each_us = match target {
            Target::Node(_) => self.rng.between(3, 1_500),
            _ => 3,
        };
        let (first, most) = (self.order + 1, parked.len() as u64);
        if let Some(gate) = self.gate(target) {
            gate.backlog = first..first + most;
            gate.busy_until = now + most * each_us;
        }
        for (index, event) in parked.into_iter().enumerate() {
            self.push(index as u64 * each_us, event);
        }
    }

    fn dispatch(&mut self, order: u64, event: Event) {
        let now = self.now;
        if let Some(gate) = self.gate(event.to) {
            if event.run != ANY_RUN && event.run != gate.run {
                return;
            }
            if !gate.up {
                return self.bounced(event);
            }
            if gate.paused > 0 {
                gate.parked.push(event);
                return;
            }
            if now < gate.busy_until && !gate.backlog.contains(&order) {
                let us = gate.busy_until - now;
                return self.push(us, event);
            }
        }
        match event.to {
            Target::World => self.world_event(event.what),
            Target::Node(node) => self.node_event(node, event.what),
            Target::Agent(host) => self.agent_event(host, event.what),
            Target::Mysqld(host) => self.server_event(host, event.what),
            Target::Client(client) => self.client_event(client, event.what),
        }
    }

    fn world_event(&mut self, what: What) {
        match what {
            What::LogTick => self.log_tick(),
            What::LogPropose {
                from,
                run,
                to,
                proposal,
            } => self.proposed(from, run, to, *proposal),
            What::LogCommit(proposal) => self.commit(&proposal),
            What::Fault { index, begins } => self.fault(index, begins),
            What::Booted { host } => self.booted(host),
            What::Revive(target) => self.revive(target),
            What::Resume(target) => self.resume(target),
            What::Heal => self.heal(),
            What::Judge => self.judge(),
            other => unreachable!("not the world's: {other:?}"),
        }
    }

    /// What a dead process answers: nothing, but its host resets connections to a dead server.
    fn bounced(&mut self, event: Event) {
        let Target::Mysqld(host) = event.to else {
            return;
        };
        match event.what {
            What::Asked { node, probe, .. } => {
                if self.imposter_answers(host, node, probe) {
                    return;
                }
                let pulse = Pulse::Failed { reset: true };
                self.answer_probe(host, node, probe, pulse, None);
            }
            What::Op { agent_run, id, .. } | What::Survey { agent_run, id } => {
                let gone = OpError::Refused("connection refused".into());
                self.op_ended(host, agent_run, id, Err(gone));
            }
            What::Write { writer, .. } => self.answer_writer(host, &writer, false),
            _ => {}
        }
    }
}

pub fn instance_name(host: usize) -> InstanceId {
    InstanceId(format!("i{}", host + 1))
}

/// The host whose instance, or whose address, is called so.
pub fn host_number(name: &str) -> usize {
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.parse::<usize>().expect("hosts are called i1, i2, …") - 1
}

pub fn node_id(node: usize) -> NodeId {
    NodeId(node as u64 + 1)
}

/// Where an agent's answer goes.
pub fn reply_input(reply: Reply) -> NodeInput {
    NodeInput::Reply(Box::new(reply))
}
