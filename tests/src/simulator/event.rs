//! What happens, to whom.

use primacy_core::act::{Acknowledgement, AgentInput, Op, OpDone, OpError, OpId, Order};
use primacy_core::ids::Epoch;
use primacy_core::node::NodeInput;
use primacy_core::observe::{Probe, Pulse, Seen};
use primacy_core::record::Proposal;

use super::mysql::Writer;

/// An event for whichever run of its process is there.
pub const ANY_RUN: u64 = 0;

/// Whom an event is for. A process that is stopped takes it later, a dead one never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    World,
    Node(usize),
    Agent(usize),
    Mysqld(usize),
    Client(usize),
}

#[derive(Clone, Debug)]
pub struct Event {
    pub to: Target,
    /// Only for this run of the process.
    pub run: u64,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    // The control plane.
    LogTick,
    LogPropose {
        from: usize,
        run: u64,
        to: usize,
        proposal: Box<Proposal>,
    },
    LogCommit(Box<Proposal>),
    Applied {
        index: usize,
    },
    NodeTick,
    Node(NodeInput),
    ProbeEnd {
        probe: u64,
        pulse: Pulse,
        seen: Option<Box<Seen>>,
    },
    // The agents.
    AgentTick,
    Agent(Box<AgentInput>),
    Acknowledged {
        by: usize,
        acknowledgement: Box<Acknowledgement>,
    },
    Ordered {
        from: usize,
        order: Box<Order>,
    },
    OpEnded {
        id: OpId,
        result: Box<Result<OpDone, OpError>>,
    },
    OpDeadline {
        id: OpId,
    },
    WhoServes {
        client: usize,
    },
    // The servers.
    Ping {
        agent_run: u64,
    },
    Asked {
        node: usize,
        probe: u64,
        kind: Probe,
    },
    Op {
        agent_run: u64,
        id: OpId,
        op: Box<Op>,
        epoch: Option<Epoch>,
        arrived: u64,
    },
    OpEffect {
        number: u64,
    },
    Survey {
        agent_run: u64,
        id: OpId,
    },
    Cancel {
        agent_run: u64,
        id: OpId,
    },
    Write {
        writer: Writer,
        key: u64,
    },
    Commit {
        writer: Writer,
        key: u64,
    },
    Synced {
        position: usize,
    },
    SemiSyncOff {
        back_us: u64,
    },
    /// Whoever switched semi-sync off switches it on again.
    SemiSyncOn,
    XaCommit {
        key: u64,
    },
    Booted {
        host: usize,
    },
    Connect {
        connection: u64,
    },
    IoTick {
        connection: u64,
    },
    Received {
        connection: u64,
    },
    AcksArrive {
        replica: usize,
    },
    Apply,
    /// A repair loop (planted) starts the IO thread again.
    Repair,
    // The clients.
    ClientWake,
    Serves {
        host: Option<usize>,
    },
    Answered {
        write: u64,
        ok: bool,
    },
    ClientTimeout {
        write: u64,
    },
    // What befalls them.
    Fault {
        index: usize,
        begins: bool,
    },
    Revive(Target),
    Resume(Target),
    Heal,
    Judge,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::World => f.pad("world"),
            Target::Node(node) => f.pad(&format!("node {}", node + 1)),
            Target::Agent(host) => f.pad(&format!("agent i{}", host + 1)),
            Target::Mysqld(host) => f.pad(&format!("mysqld i{}", host + 1)),
            Target::Client(client) => f.pad(&format!("client {}", client + 1)),
        }
    }
}
