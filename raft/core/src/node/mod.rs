//! One control node's state machine: it observes, votes, and, while it leads, decides and orders.
//!
//! Driven by its shell and by the simulator alike: inputs with a `now`, outputs as data. Everything
//! is level-triggered: what is lost on the way is proposed or sent again, because the state still
//! asks for it.

mod answer;
mod explain;
mod lead;
mod level;
mod outbox;
mod plan;
mod voter;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::act::{Acknowledgement, NamedPrimary, Order, Reply, ServerLook, acker_uuids};
use crate::gtid::GtidSet;
use crate::ids::{
    ClusterId, Committed, Epoch, Incarnation, InquestId, InstanceId, NodeId, Position, Region, Seq,
    Tick,
};
use crate::observe::{Heartbeat, Named, Probe, Pulse, Role, Sight};
use crate::record::{Cluster, Command, FEATURE_LEVEL, Line, Proposal, State};

pub use explain::Standing;
use lead::Lead;
use outbox::Outbox;
pub use outbox::ProposalEnd;
use voter::inquest_key;
use watch::Watch;
pub use watch::WatchView;

/// What one node goes by; times in milliseconds.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    pub warm_every_ms: u64,
    pub fresh_every_ms: u64,
    /// An order is sent again after this, if its effect is not in the log.
    pub order_again_ms: u64,
    /// After enough ackers are frozen, how long the leader waits for the rest.
    pub freeze_grace_ms: u64,
    /// A vote that would only repeat the last is cast again after this.
    pub revote_ms: u64,
    /// The newest feature level that this version knows.
    pub knows: u32,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self {
            warm_every_ms: 200,
            fresh_every_ms: 30_000,
            order_again_ms: 250,
            freeze_grace_ms: 20,
            revote_ms: 100,
            knows: FEATURE_LEVEL,
        }
    }
}

/// A vote that says nothing new is cast again after this, once no threshold is left to cross. Not
/// where the next vote would depose, since the slot that was waited for has become free: then a
/// second for each slot would add up.
const SETTLED_REVOTE_MS: u64 = 1_000;

/// What the node knows of the log's leadership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leads {
    pub leader: Option<NodeId>,
    pub me: bool,
    /// It is in contact with a majority of the voters.
    pub hears_majority: bool,
}

#[derive(Clone, Debug)]
pub enum NodeInput {
    Tick,
    /// The newest applied state of this node.
    Applied(Committed<Arc<State>>),
    Leads(Leads),
    /// An agent's beat, and the round trip to it.
    Beat {
        beat: Box<Heartbeat>,
        rtt_ms: u64,
    },
    Pulse {
        instance: InstanceId,
        probe: Probe,
        begun: Tick,
        pulse: Pulse,
        /// What it had executed, if it said so.
        executed: Option<GtidSet>,
        /// Who answered, and what its acknowledgements rest on.
        look: ServerLook,
    },
    Reply(Box<Reply>),
    /// How the proposal under this number ended.
    Proposed {
        seq: Seq,
        end: ProposalEnd,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeOutput {
    Probe {
        instance: InstanceId,
        probe: Probe,
    },
    /// To the instance's agent. Only what is committed can be ordered.
    Order(Committed<Order>),
    Acknowledge {
        instance: InstanceId,
        acknowledgement: Acknowledgement,
    },
    /// Through the log, with a short deadline; its end comes back as `Proposed`.
    Propose(Proposal),
    /// Make durable that this node saw this primary alive in this epoch.
    Remember {
        cluster: ClusterId,
        epoch: Epoch,
    },
}

#[derive(Clone, Debug)]
struct Cast {
    inquest: InquestId,
    sight: Sight,
    at: Tick,
    exited: bool,
    ackers: BTreeMap<InstanceId, bool>,
}

pub struct Node {
    id: NodeId,
    incarnation: Incarnation,
    settings: NodeSettings,
    state: Committed<Arc<State>>,
    leads: Leads,
    watches: BTreeMap<InstanceId, Watch>,
    /// Epochs in which this node saw the primary alive; durable.
    remembered: BTreeMap<ClusterId, Epoch>,
    votes: Seq,
    cast: BTreeMap<ClusterId, Cast>,
    /// When this node first applied the open inquest.
    inquest_seen: BTreeMap<ClusterId, (InquestId, Tick)>,
    /// When this node first applied that an inquest was aborted.
    aborts_seen: BTreeMap<ClusterId, (Position, Tick)>,
    /// When an inquest into a cluster's primary was last open.
    asked: BTreeMap<ClusterId, (Epoch, Tick)>,
    /// Who waits for whom, in the newest state.
    lines: BTreeMap<Region, Line>,
    outbox: Outbox,
    lead: Lead,
}

impl Node {
    pub fn new(
        id: NodeId,
        incarnation: Incarnation,
        settings: NodeSettings,
        remembered: BTreeMap<ClusterId, Epoch>,
        state: Committed<Arc<State>>,
    ) -> Self {
        let lines = state.get().lines();
        Self {
            id,
            incarnation,
            settings,
            state,
            leads: Leads::default(),
            watches: BTreeMap::new(),
            remembered,
            votes: Seq::INITIAL,
            cast: BTreeMap::new(),
            inquest_seen: BTreeMap::new(),
            aborts_seen: BTreeMap::new(),
            asked: BTreeMap::new(),
            lines,
            outbox: Outbox::default(),
            lead: Lead::default(),
        }
    }

    pub fn state(&self) -> &Committed<Arc<State>> {
        &self.state
    }

    /// What it sees of every instance; for `status`.
    pub fn views(&self, now: Tick) -> BTreeMap<InstanceId, WatchView> {
        self.watches
            .iter()
            .filter_map(|(id, watch)| {
                let cluster = self.state.get().cluster_of(id)?;
                let (detector, hears) = (&watch.detector, self.leads.hears_majority);
                let sight = if *id == cluster.primary {
                    detector.sight(now, cluster.epoch, hears)
                } else {
                    detector.glance(now)
                };
                Some((id.clone(), watch.view(now, sight)))
            })
            .collect()
    }

    /// Why a cluster stands where it does, as its leader sees it: what it waits for, and what
    /// would satisfy it.
    pub fn standing(&self, cluster: &ClusterId) -> Option<Standing> {
        self.lead.standing(cluster)
    }

    pub fn handle(&mut self, now: Tick, input: NodeInput) -> Vec<NodeOutput> {
        let mut out = Vec::new();
        match input {
            NodeInput::Tick => {}
            NodeInput::Applied(state) => self.applied(now, state),
            NodeInput::Leads(leads) => {
                if leads.me != self.leads.me {
                    self.lead = Lead::default();
                }
                self.leads = leads;
            }
            NodeInput::Beat { beat, rtt_ms } => self.beat(now, *beat, rtt_ms, &mut out),
            NodeInput::Pulse {
                instance,
                probe,
                begun,
                pulse,
                executed,
                look: _,
            } => {
                self.pulse(now, &instance, probe, begun, pulse, executed, &mut out);
            }
            NodeInput::Reply(reply) => self.reply(*reply),
            NodeInput::Proposed { seq, end } => self.outbox.ended(now, seq, end),
        }
        self.tick(now, &mut out);
        out
    }

    fn tick(&mut self, now: Tick, out: &mut Vec<NodeOutput>) {
        for (instance, watch) in &mut self.watches {
            for probe in watch.tick(now, &self.settings) {
                out.push(NodeOutput::Probe {
                    instance: instance.clone(),
                    probe,
                });
            }
        }
        let state = self.state.clone();
        for cluster in state.get().clusters.values() {
            self.look(now, cluster);
        }
        self.announce(now);
        if self.leads.me {
            self.lead(now, out);
        }
        if let Some(proposal) = self
            .outbox
            .next(now, self.id, self.incarnation, self.leads.leader)
        {
            out.push(NodeOutput::Propose(proposal));
        }
    }

    fn applied(&mut self, now: Tick, state: Committed<Arc<State>>) {
        if state.at() < self.state.at() {
            return; // an older view, overtaken
        }
        self.state = state;
        let state = self.state.get();
        self.lines = state.lines();
        let remembered = &self.remembered;
        let known: BTreeSet<_> = state
            .clusters
            .values()
            .flat_map(|c| c.instances.keys().cloned())
            .collect();
        self.watches.retain(|id, _| known.contains(id));
        for cluster in state.clusters.values() {
            for id in cluster.instances.keys() {
                let watch = self
                    .watches
                    .entry(id.clone())
                    .or_insert_with(|| Watch::new(now, None));
                // The memory is of the primary of that epoch, and of nobody else: a state on the
                // way there may name another.
                if *id == cluster.primary && remembered.get(&cluster.id) == Some(&cluster.epoch) {
                    watch.detector.recall(cluster.epoch);
                }
            }
            match &cluster.aborted {
                Some(abort) => {
                    let seen = self.aborts_seen.get(&cluster.id);
                    if seen.is_none_or(|(at, _)| *at != abort.at) {
                        self.aborts_seen.insert(cluster.id.clone(), (abort.at, now));
                    }
                }
                None => {
                    self.aborts_seen.remove(&cluster.id);
                }
            }
            match &cluster.inquest {
                Some(open) => {
                    let seen = self.inquest_seen.get(&cluster.id);
                    if seen.is_none_or(|(id, _)| *id != open.id) {
                        self.inquest_seen.insert(cluster.id.clone(), (open.id, now));
                        self.outbox.happened(&inquest_key(&cluster.id));
                    }
                }
                None => {
                    self.inquest_seen.remove(&cluster.id);
                    self.cast.remove(&cluster.id);
                }
            }
        }
    }

    /// That the log names this instance primary, and whether it has to be open.
    fn named(cluster: &Cluster, instance: &InstanceId) -> Option<Named> {
        let promotion = cluster.promotion()?;
        (cluster.primary == *instance).then_some(Named {
            epoch: cluster.epoch,
            opened: promotion.opened,
        })
    }

    fn beat(&mut self, now: Tick, beat: Heartbeat, rtt_ms: u64, out: &mut Vec<NodeOutput>) {
        let state = self.state.clone();
        let named = state
            .get()
            .clusters
            .get(&beat.cluster)
            .map(|cluster| NamedPrimary {
                epoch: cluster.epoch,
                instance: cluster.primary.clone(),
                deposed: cluster.promotion().is_none(),
                ackers: acker_uuids(cluster).into_iter().collect(),
                restart_hold_ms: cluster.policy.restart_hold_ms,
                unacked_fence_ms: cluster.policy.unacked_fence_ms,
            });
        let instance = beat.instance.clone();
        out.push(NodeOutput::Acknowledge {
            instance: instance.clone(),
            // A node that hears no majority may be long out of date: it confirms nothing.
            acknowledgement: Acknowledgement {
                beat: beat.word.beat,
                named: named.filter(|_| self.leads.hears_majority),
            },
        });
        let Some(cluster) = state.get().cluster_of(&instance) else {
            return;
        };
        self.count_strangers(now, cluster, &beat);
        let Some(watch) = self.watches.get_mut(&instance) else {
            return;
        };
        let executed = (cluster.primary == instance).then(|| beat.executed.clone());
        watch.beat(now, beat, rtt_ms, Self::named(cluster, &instance));
        if let Some(executed) = executed {
            watch.know(cluster.epoch, &executed);
        }
        self.remember(cluster, out);
    }

    /// Has the log count who acknowledges to the primary without being in V.
    fn count_strangers(&mut self, now: Tick, cluster: &Cluster, beat: &Heartbeat) {
        let told = beat.word.order();
        let of_this_epoch =
            cluster.primary == beat.instance && beat.role == Role::Open(cluster.epoch);
        if !of_this_epoch || told <= cluster.strangers.told {
            return;
        }
        let members: BTreeSet<_> = acker_uuids(cluster).into_iter().collect();
        let mut seen: BTreeSet<_> = beat.strangers.difference(&members).copied().collect();
        if !beat.strangers_known || cluster.promotion().is_none() {
            seen.extend(&cluster.strangers.seen);
        }
        // That V has caught up may have been told since, and be committed late.
        let came_again =
            !seen.is_empty() && (beat.word.agent, beat.strangers_since) > cluster.strangers.told;
        if seen != cluster.strangers.seen || came_again {
            let command = Command::Strangers {
                cluster: cluster.id.clone(),
                epoch: cluster.epoch,
                instance: beat.instance.clone(),
                told,
                seen,
            };
            self.outbox
                .push(now, format!("strangers/{}", cluster.id), command);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn pulse(
        &mut self,
        now: Tick,
        instance: &InstanceId,
        probe: Probe,
        begun: Tick,
        pulse: Pulse,
        executed: Option<GtidSet>,
        out: &mut Vec<NodeOutput>,
    ) {
        let state = self.state.clone();
        let Some(cluster) = state.get().cluster_of(instance) else {
            return;
        };
        let Some(watch) = self.watches.get_mut(instance) else {
            return;
        };
        watch.pulse(now, probe, begun, pulse, Self::named(cluster, instance));
        if let Some(executed) = executed
            && cluster.primary == *instance
        {
            watch.know(cluster.epoch, &executed);
        }
        self.remember(cluster, out);
    }

    fn remember(&mut self, cluster: &Cluster, out: &mut Vec<NodeOutput>) {
        let Some(watch) = self.watches.get(&cluster.primary) else {
            return;
        };
        if watch.detector.seen_alive_in() == Some(cluster.epoch)
            && self.remembered.get(&cluster.id) != Some(&cluster.epoch)
        {
            self.remembered.insert(cluster.id.clone(), cluster.epoch);
            out.push(NodeOutput::Remember {
                cluster: cluster.id.clone(),
                epoch: cluster.epoch,
            });
        }
    }

    fn reply(&mut self, reply: Reply) {
        if self.leads.me {
            self.lead.reply(reply);
        }
    }
}
