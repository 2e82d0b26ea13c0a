//! The second model: fencing, completeness and the choice, under `semi_sync`.
//!
//! No clock and no lease is in it. Every step may come arbitrarily late, so a stopped agent, a host
//! paused whole, a stale leader and a slow network are all just schedules. An order, once given,
//! never leaves: it may be obeyed late, twice, or after newer ones. When to depose is
//! [`agreement`](super::agreement)'s business; here an epoch may be deposed at any moment.
//!
//! | module | plays |
//! | --- | --- |
//! | [`server`] | `mysqld`: what it holds, who acknowledges to it, what its clients were told |
//! | [`agent`] | the agent: obeys orders, refuses stale ones, answers |
//! | [`memory`] | what the agent keeps of whom its instance followed |
//! | [`plane`] | the replicated log: reports, V and k, and the orders that follow |
//! | [`need`] | what the next primary must hold, from what was reported |
//! | [`choice`] | `PrimaryChosen`: proof, candidate, V′ and k′ |
//! | [`withdrawal`] | a choice taken back before it opened |
//! | [`ground`] | semi-sync switched off and put back, and what a choice may claim then |
//! | [`look`] | what a node last knew of the primary |
//! | [`branch`] | a prepared branch: a write that passes `super_read_only` |
//! | [`disk`] | an agent whose file cannot be written |
//! | [`stranger`] | a replica that nobody registered, and that acknowledges |
//! | [`laws`] | what must be true in every state |
//!
//! Left out, and why nothing is lost by it: what voters last knew of the primary (it can only
//! enlarge need), the applier (a candidate applies before it opens), and joint changes of V but the
//! adding of a member, which needs no barrier. Of strangers, those that acknowledge before anybody
//! has seen them: no proof can count them.

pub mod agent;
pub mod branch;
pub mod choice;
pub mod disk;
pub mod ground;
pub mod laws;
pub mod look;
pub mod memory;
pub mod need;
pub mod plane;
pub mod server;
pub mod stranger;
pub mod withdrawal;

use std::fmt::{self, Display};

use stateright::{Model, Property};

use super::mistake::Mistake;
use super::set::{Element, Set};
use agent::{Order, Token};
use choice::Choice;
use ground::Ground;
use plane::{Log, Reply};
use server::{Server, Write};

/// One `mysqld` and the agent beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instance(pub u8);

impl Element for Instance {
    fn index(self) -> u8 {
        self.0
    }
    fn nth(index: u8) -> Self {
        Self(index)
    }
}

impl Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "db{}", self.0)
    }
}

/// One transaction; it stands for its GTID. Numbered in the order of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u8);

impl Element for WriteId {
    fn index(self) -> u8 {
        self.0
    }
    fn nth(index: u8) -> Self {
        Self(index)
    }
}

impl Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}", self.0)
    }
}

/// A primary generation. [`Epoch::UNFOUNDED`] is the time before the plane took the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u8);

impl Epoch {
    pub const UNFOUNDED: Self = Self(0);

    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The size of a run, what may happen in it, and which rules are broken.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub instances: u8,
    /// k of the first epoch; its V is every instance but the primary and `outside`.
    pub wait_for: u8,
    /// Instances that replicate from the first primary, but are not in its V.
    pub outside: Set<Instance>,
    /// Servers beyond `instances` that nobody registered, and that no agent governs.
    pub strangers: u8,
    /// They withhold their names.
    pub nameless: bool,
    /// How often someone may switch semi-sync off on an open primary.
    pub switches_max: u8,
    pub epochs_max: u8,
    pub writes_max: u8,
    pub crashes_max: u8,
    /// How many replicas may lose their last unapplied transaction.
    pub relay_losses_max: u8,
    /// How many errant transactions someone may write on a replica.
    pub errants_max: u8,
    /// Members outside V may join it once they follow the primary.
    pub joins: bool,
    /// A primary that crashed may reopen within its epoch.
    pub reopens: bool,
    /// Something beside the agent (a cron job, a colleague) tries to restart replication.
    pub repairs: bool,
    /// Replies travel too: late, twice, out of order. Otherwise they arrive at once.
    pub replies_late: bool,
    /// A frozen replica may be told to fetch from another what it lacks.
    pub fetches: bool,
    /// Nodes may read what the primary has executed.
    pub looks: bool,
    /// A branch was prepared on the first primary, and its transaction manager commits it.
    pub branches: bool,
    /// How often an agent may fail to write down that it froze.
    pub disk_failures_max: u8,
    /// After each start an agent reads the log before it starts a thread.
    pub reads_at_start: bool,
    /// A chosen primary may say that it cannot open.
    pub stalls: bool,
    /// Start before the first epoch, with servers that anybody may have left open.
    pub founding: bool,
    pub mistakes: &'static [Mistake],
}

impl Config {
    /// Three instances, two ackers of whom one must acknowledge, one failover, one crash.
    pub const SMALL: Self = Self {
        instances: 3,
        wait_for: 1,
        outside: Set::EMPTY,
        strangers: 0,
        nameless: false,
        switches_max: 0,
        epochs_max: 2,
        writes_max: 2,
        crashes_max: 1,
        relay_losses_max: 0,
        errants_max: 0,
        joins: false,
        reopens: false,
        repairs: true,
        replies_late: false,
        fetches: false,
        looks: false,
        disk_failures_max: 0,
        reads_at_start: false,
        branches: false,
        stalls: false,
        founding: false,
        mistakes: &[],
    };

    pub fn makes(&self, mistake: Mistake) -> bool {
        self.mistakes.contains(&mistake)
    }

    /// Every registered instance.
    pub fn all(&self) -> Set<Instance> {
        Set::first(self.instances)
    }

    /// Strangers included.
    pub fn every_server(&self) -> Set<Instance> {
        Set::first(self.instances + self.strangers)
    }
}

/// What has been used of the allowances in [`Config`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Used {
    pub crashes: u8,
    pub relay_losses: u8,
    pub errants: u8,
    pub attachments: u8,
    pub switches: u8,
    pub branch: bool,
    pub disk_failures: u8,
}

/// Everything at one moment. When a write was acknowledged is remembered for the laws alone.
/// `openings` also stand for what each agent has on file: that it has opened for an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub log: Log,
    pub servers: Vec<Server>,
    pub writes: Vec<Write>,
    /// Orders given and not yet certain to be refused, sorted.
    pub orders: Vec<Order>,
    /// Replies on their way, sorted.
    pub replies: Vec<Reply>,
    /// Who opened, for which epoch: sorted, each pair once.
    pub openings: Vec<(Epoch, Instance)>,
    pub used: Used,
}

impl State {
    pub fn server(&self, instance: Instance) -> &Server {
        &self.servers[usize::from(instance.0)]
    }

    pub fn server_mut(&mut self, instance: Instance) -> &mut Server {
        &mut self.servers[usize::from(instance.0)]
    }

    /// The highest epoch for which anyone opened, and who did.
    pub fn newest_opened(&self) -> Option<(Epoch, Instance)> {
        self.openings.last().copied()
    }

    pub fn opened(&self, epoch: Epoch) -> bool {
        self.openings.iter().any(|(of, _)| *of == epoch)
    }

    fn new(config: &Config) -> Self {
        let log = if config.founding {
            Log::unfounded()
        } else {
            Log::founded(config)
        };
        let mut state = Self {
            servers: config
                .every_server()
                .iter()
                .map(|i| Server::at_start(i, &log, config))
                .collect(),
            log,
            writes: Vec::new(),
            orders: Vec::new(),
            replies: Vec::new(),
            openings: Vec::new(),
            used: Used::default(),
        };
        if config.founding {
            state.order_fence_of_all(config);
        } else {
            let primary = state.log.primary();
            state.openings.push((state.log.epoch, primary));
            state.order_opening(config, Set::EMPTY);
        }
        state
    }

    /// Makes states that can never again differ equal: fewer to visit, none lost.
    fn settle(&mut self, config: &Config) {
        // An agent that has obeyed a newer token refuses the older for good, if it remembers it.
        if !config.makes(Mistake::TokenNotPersisted) {
            let servers = &self.servers;
            self.orders.retain(|order| {
                let server = &servers[usize::from(order.to.0)];
                let remembered = server.on_disk.map_or(server.token, |disk| disk.token);
                order.token >= remembered
            });
        }
        self.orders.sort();
        self.orders.dedup();

        let log = &self.log;
        self.replies.retain(|reply| log.listens(reply.epoch));
        self.replies.sort();
        self.replies.dedup();
    }
}

/// One step. Its `Display` is a line of a counterexample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Write { on: Instance, write: WriteId },
    WriteErrant { on: Instance, write: WriteId },
    Receive { on: Instance, write: WriteId },
    Acknowledge { write: WriteId, by: Instance },
    CommitBranch { on: Instance, write: WriteId },
    Crash(Instance),
    Restart(Instance),
    AskToReopen(Instance),
    Reopen(Instance),
    Repair(Instance),
    LoseRelayLog { on: Instance, write: WriteId },
    Obey(Order),
    ObeyUnwritten(Order),
    ReadLog(Instance),
    Hear(Reply),
    SwitchOff(Instance),
    PutBack(Instance),
    StatusOn(Instance),
    ClaimAgain,
    Look(Instance),
    SayStuck(Instance),
    Depose(Epoch),
    Choose(Choice),
    OrderBeforeCommit(Choice),
    OrderFetch { to: Instance, donor: Instance },
    Join(Instance),
    Found(Instance),
    Attach(Instance),
    CutOff(Instance),
    Forget,
    Settle,
}

impl Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { on, write } => write!(f, "a client commits {write} on {on}"),
            Self::WriteErrant { on, write } => write!(f, "someone writes {write} on replica {on}"),
            Self::Receive { on, write } => write!(f, "{on} receives {write} into its relay log"),
            Self::Acknowledge { write, by } => {
                write!(
                    f,
                    "the acknowledgement of {write} by {by} reaches its source"
                )
            }
            Self::CommitBranch { on, write } => {
                write!(f, "a prepared branch is committed on {on} as {write}")
            }
            Self::Crash(on) => write!(f, "{on} crashes, mysqld and agent"),
            Self::Restart(on) => write!(f, "{on} starts again, fenced"),
            Self::AskToReopen(on) => write!(f, "{on} reads that its epoch stands undeposed"),
            Self::Reopen(on) => write!(f, "{on} reopens within its epoch"),
            Self::Repair(on) => write!(f, "a repair loop restarts replication on {on}"),
            Self::LoseRelayLog { on, write } => write!(f, "{on} loses {write} with its relay log"),
            Self::Obey(order) => Display::fmt(order, f),
            Self::ObeyUnwritten(order) => write!(f, "{order}, and cannot write it down"),
            Self::ReadLog(on) => write!(f, "the agent of {on} reads which epochs are over"),
            Self::Hear(reply) => Display::fmt(reply, f),
            Self::SwitchOff(on) => write!(f, "someone switches semi-sync off on {on}; it is seen"),
            Self::PutBack(on) => write!(f, "{on}'s agent switches semi-sync on again"),
            Self::StatusOn(on) => write!(f, "semi-sync's status on {on} reads ON"),
            Self::ClaimAgain => write!(f, "log: nothing is lost any more"),
            Self::Look(on) => write!(f, "a node reads what {on} has executed, and votes it"),
            Self::SayStuck(on) => write!(f, "log: {on} says that it cannot open"),
            Self::Depose(epoch) => write!(f, "log: epoch {} is deposed", epoch.0),
            Self::Choose(choice) => write!(f, "log: {choice}"),
            Self::OrderBeforeCommit(choice) => {
                write!(
                    f,
                    "a leader orders the opening, not yet committed: {choice}"
                )
            }
            Self::OrderFetch { to, donor } => {
                write!(f, "log: {to} is to fetch what it lacks from {donor}")
            }
            Self::Join(on) => write!(f, "log: {on} joins V"),
            Self::Found(on) => write!(f, "log: the cluster is founded with primary {on}, epoch 1"),
            Self::Attach(on) => write!(f, "log: the stranger {on} is seen to acknowledge"),
            Self::CutOff(on) => write!(f, "the primary's agent cuts the stranger {on}"),
            Self::Forget => write!(
                f,
                "the primary's agent: V holds all that a stranger acknowledged"
            ),
            Self::Settle => write!(f, "log: no stranger counts any more"),
        }
    }
}

impl Model for Config {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        state.actions_of_servers(self, actions);
        actions.extend(state.orders.iter().copied().map(Action::Obey));
        actions.extend(state.replies.iter().copied().map(Action::Hear));
        state.actions_of_disks(self, actions);
        state.actions_of_plane(self, actions);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Write { on, write } => state.write(on, write),
            Action::WriteErrant { on, write } => state.write_errant(on, write),
            Action::Receive { on, write } => state.receive(on, write),
            Action::Acknowledge { write, by } => state.acknowledge(write, by),
            Action::CommitBranch { on, write } => state.commit_branch(on, write),
            Action::Crash(on) => state.crash(self, on),
            Action::Restart(on) => state.restart(on),
            Action::AskToReopen(on) => state.server_mut(on).permit = Some(before.log.epoch),
            Action::Reopen(on) => state.reopen(on),
            Action::Repair(on) => state.repair(on),
            Action::LoseRelayLog { on, write } => state.lose_relay_log(on, write),
            Action::Obey(order) => {
                state.write_file(order.to);
                state.obey(self, order);
            }
            Action::ObeyUnwritten(order) => state.obey_unwritten(self, order),
            Action::ReadLog(on) => state.read_log(on),
            Action::Hear(reply) => state.log.hear(self, reply),
            Action::SwitchOff(on) => state.switch_off(on),
            Action::PutBack(on) => state.put_back(self, on),
            Action::StatusOn(on) => state.status_on(on),
            Action::ClaimAgain => state.log.ground = Ground::Good,
            Action::Look(on) => state.look(on),
            Action::SayStuck(_) => state.log.stuck = true,
            Action::Depose(_) => state.depose(self),
            Action::Choose(choice) => state.choose(self, choice),
            Action::OrderBeforeCommit(choice) => state.order_before_commit(self, choice),
            Action::OrderFetch { to, donor } => state.order_fetch(to, donor),
            Action::Join(on) => state.join(self, on),
            Action::Found(on) => state.found(self, on),
            Action::Attach(on) => state.attach(self, on),
            Action::CutOff(on) => state.cut_off(on),
            Action::Forget => state.log.forget_strangers(),
            Action::Settle => state.log.settle_strangers(),
        }
        state.settle(self);
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = laws::always();
        properties.extend(laws::sometimes(self));
        properties
    }
}
