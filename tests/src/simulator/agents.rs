//! The shell around an agent's core: its disk, its sessions with `mysqld`, its word to the nodes.

use std::collections::BTreeMap;

use primacy_core::act::{
    Agent, AgentInput, AgentOutput, Op, OpDone, OpError, OpId, ProcessId, Reply, Seal, Settings,
};
use primacy_core::ids::Incarnation;
use primacy_core::node::NodeInput;
use primacy_core::observe::{Heartbeat, IoThread, Role};

use super::planted::Planted;
use super::world::{ANY_RUN, Clock, Gate, Target, What, World, host_number, reply_input};

const TICK_US: u64 = 20_000;

pub struct AgentProc {
    pub gate: Gate,
    pub clock: Clock,
    pub agent: Option<Agent>,
    /// What its disk holds.
    pub seal: Seal,
    /// Ops under way, and their names.
    ops: BTreeMap<OpId, &'static str>,
    /// The node that sent the newest order.
    asked_by: Option<usize>,
    /// The newest of its beats that each node has acknowledged.
    acknowledged: BTreeMap<usize, u64>,
    /// When each of its beats was sent.
    beats: BTreeMap<(Incarnation, u64), u64>,
}

impl AgentProc {
    pub fn new(clock: Clock, seal: Seal) -> Self {
        Self {
            gate: Gate::default(),
            clock,
            agent: None,
            seal,
            ops: BTreeMap::new(),
            asked_by: None,
            acknowledged: BTreeMap::new(),
            beats: BTreeMap::new(),
        }
    }

    /// Whether this run of it still waits for an op. Another run has forgotten it: it may take effect.
    pub fn awaits(&self, run: u64, id: OpId) -> bool {
        run != self.gate.run || self.ops.contains_key(&id)
    }

    /// When it sent this one.
    pub fn sent(&self, beat: &Heartbeat) -> u64 {
        let sent = self.beats.get(&beat.word.order());
        sent.copied().expect("what arrives was sent")
    }
}

/// How long the shell waits for an op; `None`: as long as the session lives.
fn deadline_us(op: &Op) -> Option<u64> {
    match op {
        Op::Survey
        | Op::LookAtApplier { .. }
        | Op::StartApplier
        | Op::PrepareOpen { .. }
        | Op::Adopt { .. }
        | Op::Cut { .. }
        | Op::Repair { .. }
        | Op::TakeOverScheduled { .. }
        | Op::LookAtScheduled
        | Op::LookInto { .. } => Some(1_000_000),
        Op::Fence => Some(3_000_000),
        Op::Freeze | Op::Follow { .. } | Op::CleanUp | Op::EndChannel { .. } => Some(4_000_000),
        Op::LogIn { .. } => Some(2_000_000),
        Op::Open { .. } | Op::WaitApplied { .. } | Op::Fetch { .. } => Some(5_000_000),
        Op::Marker { .. } | Op::WriteEmpty { .. } => None,
    }
}

impl World {
    pub fn start_agent(&mut self, host: usize) {
        let clock = Clock::new(self.now, &mut self.rng);
        let now = self.now;
        let proc = &mut self.agents[host];
        proc.gate.start();
        proc.clock = clock;
        proc.seal.agent = proc.seal.agent.next();
        proc.ops.clear();
        proc.asked_by = None;
        proc.acknowledged.clear();
        // Another one with each start, whatever becomes of its disk.
        let process = ProcessId {
            boot: format!("agent {host}"),
            pid: 1,
            started: proc.gate.run,
        };
        proc.agent = Some(Agent::new(
            clock.tick(now),
            proc.seal.clone(),
            process,
            Settings::default(),
        ));
        let run = proc.gate.run;
        self.note(&Target::Agent(host).to_string(), || "starts".into());
        self.after(1_000, Target::Agent(host), run, What::AgentTick);
        if self.servers[host].gate.up || self.servers[host].booting {
            self.tell_process(host, false);
        }
        if self.servers[host].gate.up {
            let what = What::Ping { agent_run: run };
            self.after(300, Target::Mysqld(host), ANY_RUN, what);
        } else if !self.servers[host].booting {
            self.agent_says(host, AgentInput::ServerExited);
        }
    }

    /// Which process holds the data directory of its host.
    pub(super) fn tell_process(&mut self, host: usize, started: bool) {
        let process = ProcessId {
            boot: String::new(),
            pid: self.servers[host].pid,
            started: 0,
        };
        self.agent_says(host, AgentInput::ServerRuns { process, started });
    }

    pub fn kill_agent(&mut self, host: usize) {
        let proc = &mut self.agents[host];
        if proc.gate.up {
            proc.gate.die();
            proc.agent = None;
            self.note(&Target::Agent(host).to_string(), || "killed".into());
        }
    }

    /// An input for the run of the agent that is there now.
    pub(super) fn agent_says(&mut self, host: usize, input: AgentInput) {
        if !self.agents[host].gate.up {
            return;
        }
        let run = self.agents[host].gate.run;
        let what = What::Agent(Box::new(input));
        self.after(500, Target::Agent(host), run, what);
    }

    pub(super) fn agent_event(&mut self, host: usize, what: What) {
        match what {
            What::AgentTick => {
                let run = self.agents[host].gate.run;
                let us = TICK_US - 1_000 + self.rng.below(2_000);
                self.after(us, Target::Agent(host), run, What::AgentTick);
                self.agent_input(host, AgentInput::Tick);
            }
            What::Agent(input) => self.agent_input(host, *input),
            What::Acknowledged {
                by,
                acknowledgement,
            } => {
                let run = self.agents[host].seal.agent;
                let sent = &self.agents[host].beats;
                if !sent.contains_key(&(run, acknowledgement.beat)) {
                    return; // on a connection of an earlier run
                }
                let newest = self.agents[host].acknowledged.entry(by).or_default();
                *newest = acknowledgement.beat.max(*newest);
                self.agent_input(host, AgentInput::Acknowledged(*acknowledgement));
            }
            What::Ordered { from, order } => {
                self.agents[host].asked_by = Some(from);
                self.agent_input(host, AgentInput::Order(order));
            }
            What::OpEnded { id, result } => {
                if self.agents[host].ops.remove(&id).is_some() {
                    let result = *result;
                    self.agent_input(host, AgentInput::OpEnded { id, result });
                }
            }
            What::OpDeadline { id } => {
                if let Some(name) = self.agents[host].ops.remove(&id) {
                    self.note(&Target::Agent(host).to_string(), || {
                        format!("{name}: no answer in time, outcome unknown")
                    });
                    // The session is given up; it must be dead before the next order's statement.
                    let agent_run = self.agents[host].gate.run;
                    self.after(
                        50,
                        Target::Mysqld(host),
                        ANY_RUN,
                        What::Cancel { agent_run, id },
                    );
                    let result = Err(OpError::Unknown("no answer in time".into()));
                    self.agent_input(host, AgentInput::OpEnded { id, result });
                }
            }
            What::WhoServes { client } => {
                let serving = self.agents[host].agent.as_ref().and_then(Agent::serving);
                let host_serving = serving.map(|_| host);
                let (from, to) = (self.place_of_host(host), self.place_of_client(client));
                let what = What::Serves { host: host_serving };
                self.send(from, to, Target::Client(client), what);
            }
            other => unreachable!("not an agent's: {other:?}"),
        }
    }

    fn agent_input(&mut self, host: usize, input: AgentInput) {
        self.sight_stranger(host, &input);
        let now = self.now;
        let proc = &mut self.agents[host];
        let tick = proc.clock.tick(now);
        let Some(core) = proc.agent.as_mut() else {
            return;
        };
        let mut written = None;
        for output in core.handle(tick, input) {
            if let AgentOutput::Persist { number, .. } = &output {
                written = Some(*number);
            }
            // A crash may fall between any two steps.
            let step = !matches!(
                output,
                AgentOutput::Beat(_)
                    | AgentOutput::Run {
                        op: Op::Survey | Op::LogIn { .. },
                        ..
                    }
            );
            if step && self.rng.chance(self.faults.step_crash_permille) {
                self.counts.faults += 1;
                self.kill_agent(host);
                let us = self.rng.between(50_000, 2_000_000);
                self.after(
                    us,
                    Target::World,
                    ANY_RUN,
                    What::Revive(Target::Agent(host)),
                );
                return;
            }
            self.agent_output(host, output);
        }
        if let Some(number) = written {
            self.agent_input(host, AgentInput::Persisted { number, ok: true });
        }
    }

    fn agent_output(&mut self, host: usize, output: AgentOutput) {
        match output {
            AgentOutput::Persist { mut seal, .. } => {
                if let Some(words) = self.truth_mut(host).obeys(host, &seal) {
                    self.violate("stale", words);
                }
                if self.options.planted == Some(Planted::TokenForgotten) {
                    seal.token = self.agents[host].seal.token.clone();
                }
                self.agents[host].seal = seal;
            }
            AgentOutput::Run { id, op } => self.run_op(host, id, op),
            AgentOutput::Cancel { id } => {
                self.agents[host].ops.remove(&id);
                let agent_run = self.agents[host].gate.run;
                self.after(
                    50,
                    Target::Mysqld(host),
                    ANY_RUN,
                    What::Cancel { agent_run, id },
                );
            }
            AgentOutput::Reply(reply) => self.send_reply(host, reply),
            AgentOutput::Beat(mut beat) => {
                self.say_mistakenly(host, &mut beat);
                self.tell_of_stranger(host, &beat);
                let now = self.now;
                self.agents[host].beats.insert(beat.word.order(), now);
                for node in 0..self.nodes.len() {
                    let (from, to) = (self.place_of_host(host), self.place_of_node(node));
                    let rtt_ms = 2 * self.net.base_us(from, to) / 1_000;
                    let acknowledged = self.agents[host].acknowledged.get(&node).copied();
                    // Without it, a node believes every beat.
                    let told = self.options.planted != Some(Planted::LainBeatsFresh);
                    let what = What::Node(NodeInput::Beat {
                        beat: beat.clone(),
                        rtt_ms,
                        after: told.then(|| acknowledged.unwrap_or_default()),
                    });
                    let run = self.nodes[node].gate.run;
                    self.send_to_run(from, to, Target::Node(node), run, what);
                }
            }
            AgentOutput::StartServer => self.start_server(host),
            AgentOutput::KillServer => {
                self.note(&Target::Agent(host).to_string(), || "kills mysqld".into());
                if self.options.planted == Some(Planted::GracefulStop) {
                    self.release_waiting(host, true);
                }
                let server = &self.servers[host];
                if server.gate.up || server.booting {
                    self.kill_server(host, false);
                } else {
                    self.agent_says(host, AgentInput::ServerExited);
                }
            }
        }
    }

    /// Planted: what an agent says wrongly.
    fn say_mistakenly(&self, host: usize, beat: &mut Heartbeat) {
        match self.options.planted {
            Some(Planted::ReturnNotLogged) => beat.ground.since = 0,
            Some(Planted::SleeperBelieved) => (beat.slept, beat.run_ms) = (false, None),
            Some(Planted::SchedulerSeenEarly) if matches!(beat.role, Role::Open(_)) => {
                let said = beat.scheduled.get_or_insert_default();
                said.runs = Some(self.servers[host].scheduler);
            }
            Some(Planted::StarvedRestarted) => {
                let deaf_us = self.now - self.servers[host].io.heard();
                let replica = beat.replica.as_mut();
                if let Some(replica) = replica.filter(|of| of.io == IoThread::Connecting) {
                    replica.waits_ms = Some(deaf_us / 1_000);
                }
            }
            Some(Planted::StarvedWithoutPaths) => {
                for path in beat.paths.values_mut() {
                    (path.tried_ms, path.error) = (0, String::new());
                }
            }
            _ => {}
        }
    }

    fn run_op(&mut self, host: usize, id: OpId, op: Op) {
        let run = self.agents[host].gate.run;
        self.agents[host].ops.insert(id, op.name());
        if let Some(us) = deadline_us(&op) {
            self.after(us, Target::Agent(host), run, What::OpDeadline { id });
        }
        let us = 50 + self.rng.below(250);
        let what = match op {
            Op::Survey => What::Survey { agent_run: run, id },
            Op::LogIn { host: to, .. } => return self.log_in(host, host_number(&to), id),
            op => {
                if !matches!(op, Op::Marker { .. }) {
                    self.note(&Target::Agent(host).to_string(), || {
                        format!("begins: {}", op.name())
                    });
                }
                let epoch = self.agents[host]
                    .agent
                    .as_ref()
                    .and_then(|a| a.seal().opened);
                let arrived = self.now + us;
                What::Op {
                    agent_run: run,
                    id,
                    op: Box::new(op),
                    epoch,
                    arrived,
                }
            }
        };
        self.after(us, Target::Mysqld(host), ANY_RUN, what);
    }

    pub(super) fn op_ended(
        &mut self,
        host: usize,
        agent_run: u64,
        id: OpId,
        result: Result<OpDone, OpError>,
    ) {
        let us = 50 + self.rng.below(150);
        let what = What::OpEnded {
            id,
            result: Box::new(result),
        };
        self.after(us, Target::Agent(host), agent_run, what);
    }

    fn send_reply(&mut self, host: usize, reply: Reply) {
        self.note(&Target::Agent(host).to_string(), || match &reply.said {
            primacy_core::act::Said::Refused { why } => format!("refuses: {why}"),
            primacy_core::act::Said::Frozen { report } => {
                format!("is frozen, holds {}", report.holds().compact())
            }
            other => format!("answers {other:?}").replace("GtidSet", ""),
        });
        let Some(node) = self.agents[host].asked_by else {
            return;
        };
        let (from, to) = (self.place_of_host(host), self.place_of_node(node));
        self.send(from, to, Target::Node(node), What::Node(reply_input(reply)));
    }
}
