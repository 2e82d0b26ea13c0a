//! In place of Raft: a log that keeps Raft's promises, and no others.
//!
//! One sequence of entries, applied once each, by every node at its own pace. Leaders change, a
//! deposed one may not know it yet; a proposal is delayed, committed though its proposer was told
//! that nobody knows, or committed twice. A node cut off from the majority commits nothing.

use std::sync::Arc;

use primacy_core::ids::{Committed, LogIndex, NodeId, Position, Term};
use primacy_core::node::{Leads, NodeInput, ProposalEnd};
use primacy_core::record::{Proposal, State};

use super::planted::{self, Memory};
use super::world::{ANY_RUN, Event, Target, What, World};

/// How often the log looks at its members.
const TICK_US: u64 = 50_000;

/// How long a node that hears nobody still believes what it was told.
const CONTACT_LOST_US: u64 = 600_000;

#[derive(Debug)]
pub struct Log {
    pub term: u64,
    pub leader: Option<usize>,
    /// Since when the leader cannot lead.
    unfit_since: Option<u64>,
    election_us: u64,
    /// The state after each entry; the first is the empty log's.
    pub states: Vec<Committed<Arc<State>>>,
    /// When each node last heard a majority.
    contact: Vec<u64>,
    pub unknown_permille: u64,
    pub late_permille: u64,
    pub twice_permille: u64,
    /// How much later than the others a node may apply.
    pub lag_us: Vec<u64>,
    pub memory: Memory,
}

impl Log {
    pub fn new(nodes: usize, first: State) -> Self {
        Self {
            term: 1,
            leader: Some(0),
            unfit_since: None,
            election_us: 600_000,
            states: vec![Committed::witness(Position::default(), Arc::new(first))],
            contact: vec![0; nodes],
            unknown_permille: 0,
            late_permille: 0,
            twice_permille: 0,
            lag_us: vec![0; nodes],
            memory: Memory::default(),
        }
    }

    pub fn newest(&self) -> &Committed<Arc<State>> {
        self.states.last().expect("the empty log has a state")
    }
}

impl World {
    /// Whether a node runs and reaches, both ways, so many others that they are a majority.
    fn hears_majority(&self, node: usize) -> bool {
        let runs = |n: usize| self.nodes[n].gate.runs();
        let heard = (0..self.nodes.len())
            .filter(|&other| other == node || (runs(other) && self.net.both_ways(node, other)))
            .count();
        runs(node) && heard > self.nodes.len() / 2
    }

    pub(super) fn log_tick(&mut self) {
        self.after(TICK_US, Target::World, ANY_RUN, What::LogTick);
        let now = self.now;
        for node in 0..self.nodes.len() {
            if self.hears_majority(node) {
                self.log.contact[node] = now;
            }
        }
        let fit = self
            .log
            .leader
            .is_some_and(|leader| self.hears_majority(leader));
        if fit {
            self.log.unfit_since = None;
        } else {
            let since = *self.log.unfit_since.get_or_insert(now);
            if now - since >= self.log.election_us {
                self.elect();
            }
        }
        for node in 0..self.nodes.len() {
            self.tell_leads(node);
            self.deliver_newest(node);
        }
    }

    /// A new leader, if anybody can lead.
    pub(super) fn elect(&mut self) {
        let able: Vec<usize> = (0..self.nodes.len())
            .filter(|&node| self.hears_majority(node))
            .collect();
        if able.is_empty() {
            return;
        }
        let leader = able[self.rng.index(able.len())];
        self.log.term += 1;
        self.log.leader = Some(leader);
        self.log.unfit_since = None;
        self.log.election_us = self.rng.between(400_000, 800_000);
        let term = self.log.term;
        self.note("log", || format!("node {} leads term {term}", leader + 1));
    }

    fn tell_leads(&mut self, node: usize) {
        let Some(leader) = self.log.leader else {
            return;
        };
        let told = self.nodes[node].told;
        let hears = self.now - self.log.contact[node] < CONTACT_LOST_US;
        let in_touch = self.hears_majority(node);
        let leads = if in_touch {
            Leads {
                leader: Some(NodeId(leader as u64 + 1)),
                me: leader == node,
                hears_majority: true,
            }
        } else {
            // Cut off, it goes on believing what it was told, a former leader included.
            Leads {
                hears_majority: hears,
                ..told
            }
        };
        if leads != told {
            self.nodes[node].told = leads;
            let us = self.rng.between(500, 20_000);
            self.after(
                us,
                Target::Node(node),
                ANY_RUN,
                What::Node(NodeInput::Leads(leads)),
            );
        }
    }

    /// The newest state, to a node that is behind.
    fn deliver_newest(&mut self, node: usize) {
        let newest = self.log.states.len() - 1;
        if self.nodes[node].sent >= newest || !self.hears_majority(node) {
            return;
        }
        self.nodes[node].sent = newest;
        let most = self.log.lag_us[node];
        let lag = if most == 0 { 0 } else { self.rng.below(most) };
        let us = 300 + lag + self.rng.below(3_000);
        let what = What::Applied { index: newest };
        self.after(us, Target::Node(node), ANY_RUN, what);
    }

    /// A node's shell hands a proposal to whom it takes for the leader.
    pub(super) fn propose(&mut self, node: usize, proposal: Proposal) {
        let hint = self.nodes[node].told.leader;
        let to = hint.map(|id| id.0 as usize - 1);
        let run = self.nodes[node].gate.run;
        let Some(to) = to else {
            return self.tell_end(node, run, &proposal, ProposalEnd::NoLeader, 1_000);
        };
        let us = if to == node {
            Some(50)
        } else {
            self.net.message_us(node, to, &mut self.rng)
        };
        match us {
            Some(us) => {
                let what = What::LogPropose {
                    from: node,
                    run,
                    to,
                    proposal: Box::new(proposal),
                };
                self.after(us, Target::World, ANY_RUN, what);
            }
            None => self.tell_end(node, run, &proposal, ProposalEnd::Unknown, 500_000),
        }
    }

    fn tell_end(&mut self, node: usize, run: u64, proposal: &Proposal, end: ProposalEnd, us: u64) {
        let seq = proposal.seq;
        let what = What::Node(NodeInput::Proposed { seq, end });
        self.after(us, Target::Node(node), run, what);
    }

    pub(super) fn proposed(&mut self, from: usize, run: u64, to: usize, proposal: Proposal) {
        let leads = self.log.leader == Some(to) && self.hears_majority(to);
        if !leads {
            let end = if self.nodes[to].gate.runs() && self.log.leader != Some(to) {
                ProposalEnd::NoLeader
            } else {
                ProposalEnd::Unknown
            };
            // It may be in that node's log, and be committed by the next leader.
            if end == ProposalEnd::Unknown && self.rng.chance(300) {
                let us = self.rng.between(10_000, 3_000_000);
                self.commit_after(us, proposal.clone());
            }
            let us = self.rng.between(1_000, 500_000);
            return self.tell_end(from, run, &proposal, end, us);
        }
        let mut rtts: Vec<u64> = (0..self.nodes.len())
            .filter(|&n| n != to && self.nodes[n].gate.runs() && self.net.both_ways(to, n))
            .map(|n| 2 * self.net.base_us(to, n))
            .collect();
        rtts.sort_unstable();
        let us = rtts.first().copied().unwrap_or_default() + self.rng.between(300, 4_000);
        let back = self.net.base_us(to, from);
        if let Some(late) = self.stranger_returns_before(from, &proposal) {
            self.commit_after(late, proposal.clone());
            return self.tell_end(from, run, &proposal, ProposalEnd::Unknown, 500_000);
        }
        if self.rng.chance(self.log.unknown_permille) {
            if self.rng.chance(500) {
                let late = self.rng.below(2_000_000);
                self.commit_after(us + late, proposal.clone());
            }
            return self.tell_end(
                from,
                run,
                &proposal,
                ProposalEnd::Unknown,
                us + back + 300_000,
            );
        }
        if self.rng.chance(self.log.twice_permille) {
            let late = self.rng.below(2_000_000);
            self.commit_after(us + late, proposal.clone());
        }
        self.commit_after(us, proposal.clone());
        let open = to == from || self.net.open(to, from);
        let end = if open {
            ProposalEnd::Committed
        } else {
            ProposalEnd::Unknown
        };
        self.tell_end(from, run, &proposal, end, us + back + 100);
    }

    fn commit_after(&mut self, us: u64, proposal: Proposal) {
        let what = What::LogCommit(Box::new(proposal));
        self.after(us, Target::World, ANY_RUN, what);
    }

    /// The one apply of an entry; all nodes see its result.
    pub(super) fn commit(&mut self, proposal: &Proposal) {
        let before = self.log.newest().clone();
        let at = Position {
            term: Term(self.log.term),
            index: LogIndex(self.log.states.len() as u64),
        };
        let mut state = (**before.get()).clone();
        // Whether each node may go on from there is for an invariant to say.
        let outcome = state
            .apply(at, proposal, u32::MAX)
            .expect("there is no higher level");
        self.notice_stranger(&state);
        if let Some(mistake) = self.options.planted {
            let memory = &mut self.log.memory;
            planted::distort(mistake, memory, before.get(), &mut state, at, proposal);
        }
        if self.timeline.on {
            for result in &outcome.results {
                match result {
                    Ok(events) => {
                        for event in events {
                            self.note("log", || format!("{at}  e{}: {}", event.epoch, event.what));
                        }
                    }
                    Err(refusal) => self.note("log", || format!("{at}  refused: {refusal}")),
                }
            }
        }
        let state = Arc::new(state);
        self.log.states.push(Committed::witness(at, state.clone()));
        self.watch_state(before.get(), &state, proposal);
        for node in 0..self.nodes.len() {
            self.deliver_newest(node);
        }
    }

    /// Who leads now, if it is fit to.
    pub fn leader(&self) -> Option<usize> {
        self.log.leader
    }

    pub(super) fn event(&self, to: Target, run: u64, what: What) -> Event {
        Event { to, run, what }
    }
}
