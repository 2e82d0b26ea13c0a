//! The second model: fencing, completeness and the choice, under `semi_sync`.
//!
//! No clock and no lease is in it. Every step may come arbitrarily late, so a stopped agent, a host
//! paused whole, a stale leader and a slow network are all just schedules. An order, once given,
//! never leaves: it may be obeyed late, twice, or after newer ones. When to depose is
//! [`agreement`](super::agreement)'s business; here an epoch may be deposed at any moment.
//!
//! | module | plays |
//! | --- | --- |
//! | [`config`] | the size of a run, and what may happen in it |
//! | [`action`] | the steps, and how they read |
//! | [`server`] | `mysqld`: what it holds, who acknowledges to it, what its clients were told |
//! | [`agent`] | the agent: obeys orders, refuses stale ones, answers |
//! | [`answer`] | what it answers, and what the log keeps of that |
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
//! | [`laws`], [`reached`] | what must be true in every state, and what must be reached |
//!
//! Left out, and why nothing is lost by it: the applier (a candidate applies before it opens), joint
//! changes of V but the adding of a member, which needs no barrier, and which of several lawful
//! candidates is preferred (each may be chosen here, so who is reinstated is no question of safety).
//! Of strangers, and of semi-sync switched off, what happens before anybody has seen it: no proof can
//! count it.

pub mod action;
pub mod agent;
pub mod answer;
pub mod branch;
pub mod choice;
pub mod common;
pub mod config;
pub mod disk;
pub mod ground;
pub mod laws;
pub mod look;
pub mod memory;
pub mod need;
pub mod plane;
pub mod reached;
pub mod server;
pub mod stranger;
pub mod withdrawal;

use std::fmt::{self, Display};

use stateright::{Model, Property};

use super::mistake::Mistake;
use super::set::{Element, Set};
pub use action::Action;
use agent::{Order, Token};
use answer::Reply;
pub use config::Config;
use ground::Ground;
use plane::Log;
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
            state.order_opening(config);
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
            Action::Receive { on, write } => state.receive(self, on, write),
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
            Action::NameCommon { write, .. } => state.log.common = state.log.common.with(write),
            Action::WriteCommon { on, write } => state.write_common(on, write),
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
        properties.extend(reached::sometimes(self));
        properties
    }
}
