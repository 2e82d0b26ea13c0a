//! One control node's state machine: it observes, votes, and, while it leads, decides and orders.
//!
//! Driven by its shell and by the simulator alike: inputs with a `now`, outputs as data. Everything
//! is level-triggered: what is lost on the way is proposed or sent again, because the state still
//! asks for it.

mod alarms;
mod answer;
mod explain;
mod ground;
mod lead;
mod level;
mod outbox;
mod plan;
mod starved;
mod views;
mod voter;
mod watch;
mod withdraw;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::act::{Acknowledgement, NamedPrimary, Order, Reply, acker_uuids};
use crate::alarm::Change;
use crate::gtid::{GtidSet, Uuid};
use crate::ids::{
    ClusterId, Committed, Epoch, Incarnation, InquestId, InstanceId, NodeId, Position, Region, Seq,
    Tick,
};
use crate::observe::{Heartbeat, Named, Probe, Pulse, Role, Seen, Sight, SightKind};
use crate::record::{Cluster, FEATURE_LEVEL, Line, Proposal, State};

pub use explain::Standing;
use lead::Lead;
use outbox::Outbox;
pub use outbox::ProposalEnd;
use voter::inquest_key;
use watch::Watch;
pub use watch::{InFact, WatchView};

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
    /// An agent's beat, the round trip to it, and which of its beats it knew to be acknowledged by this
    /// node when it sent this one; `None` where its version does not say.
    Beat {
        beat: Box<Heartbeat>,
        rtt_ms: u64,
        after: Option<u64>,
    },
    Pulse {
        instance: InstanceId,
        probe: Probe,
        begun: Tick,
        pulse: Pulse,
        /// What it said of itself.
        seen: Option<Box<Seen>>,
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
        cluster: ClusterId,
        instance: InstanceId,
        acknowledgement: Acknowledgement,
    },
    /// Through the log, with a short deadline; its end comes back as `Proposed`.
    Propose(Proposal),
    /// Make durable that this node could tell how this primary is in this epoch.
    Remember {
        cluster: ClusterId,
        epoch: Epoch,
    },
    /// Something that people must know stands, or is over; each is told once, by whoever leads.
    Alarm {
        cluster: ClusterId,
        change: Box<Change>,
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

/// How one attempt to reach an instance ended.
struct Attempt {
    probe: Probe,
    begun: Tick,
    pulse: Pulse,
    seen: Option<Seen>,
}

pub struct Node {
    id: NodeId,
    incarnation: Incarnation,
    settings: NodeSettings,
    state: Committed<Arc<State>>,
    leads: Leads,
    watches: BTreeMap<InstanceId, Watch>,
    /// Epochs in which this node could tell how the primary is; durable.
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
    at_rest: bool,
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
            at_rest: false,
        }
    }

    pub fn state(&self) -> &Committed<Arc<State>> {
        &self.state
    }

    /// Whether nothing is under way that time alone moves on: each primary serves as far as this
    /// node sees, and no question is open. Then a tick may come later: no threshold is near.
    pub fn at_rest(&self) -> bool {
        self.at_rest
    }

    pub fn handle(&mut self, now: Tick, input: NodeInput) -> Vec<NodeOutput> {
        let mut out = Vec::new();
        match input {
            NodeInput::Tick => {}
            NodeInput::Applied(state) => self.applied(now, state),
            NodeInput::Leads(leads) => {
                if leads.me != self.leads.me {
                    alarms::told(self.lead.watched.leave(now), &mut out);
                    self.lead = Lead::default();
                }
                self.leads = leads;
            }
            NodeInput::Beat {
                beat,
                rtt_ms,
                after,
            } => self.beat(now, *beat, rtt_ms, after, &mut out),
            NodeInput::Pulse {
                instance,
                probe,
                begun,
                pulse,
                seen,
            } => {
                let attempt = Attempt {
                    probe,
                    begun,
                    pulse,
                    seen: seen.map(|seen| *seen),
                };
                self.pulse(now, &instance, attempt, &mut out);
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
        self.at_rest = true;
        for cluster in state.get().clusters.values() {
            let sight = self.look(now, cluster);
            let serves = sight.is_some_and(|sight| sight.kind == SightKind::Alive);
            self.at_rest &= serves && cluster.inquest.is_none() && cluster.has_acknowledged();
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
        self.at_rest &= self.outbox.is_idle();
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
                if let Some(promotion) = cluster.promotion()
                    && *id == cluster.primary
                {
                    let (reach_ms, opened) = (cluster.policy.reach_ms, promotion.opened);
                    watch.detector.name(now, cluster.epoch, reach_ms, opened);
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

    /// What a node tells the agent of this instance, from its applied state.
    fn named_to(&self, now: Tick, cluster: &Cluster, instance: &InstanceId) -> NamedPrimary {
        NamedPrimary {
            epoch: cluster.epoch,
            instance: cluster.primary.clone(),
            deposed: cluster.promotion().is_none(),
            ackers: acker_uuids(cluster),
            restart_hold_ms: cluster.policy.restart_hold_ms,
            unacked_fence_ms: cluster.policy.unacked_fence_ms,
            at: self.state.at(),
            k: cluster.ackers.k,
            hands_off: cluster.policy.hands_off(),
            repairs: cluster.policy.repair_ground,
            open_stall_ms: cluster.policy.open_stall_ms,
            ends_holders: cluster.policy.ends_holders,
            ground: cluster.ground.clone(),
            scheduled: cluster.owed_scheduled(self.state.get().level),
            own_writes: self.own_writes(now, cluster, instance),
            common: cluster.common.clone(),
            addresses: starved::addresses(cluster, instance),
            replica_stale_ms: cluster.policy.replica_stale_ms,
        }
    }

    fn beat(
        &mut self,
        now: Tick,
        beat: Heartbeat,
        rtt_ms: u64,
        after: Option<u64>,
        out: &mut Vec<NodeOutput>,
    ) {
        let state = self.state.clone();
        let spoken = state.get().clusters.get(&beat.cluster);
        // A node that hears no majority may be long out of date: it confirms nothing.
        let confirms = self.leads.hears_majority;
        let instance = beat.instance.clone();
        let named = spoken.map(|cluster| self.named_to(now, cluster, &instance));
        out.push(NodeOutput::Acknowledge {
            cluster: beat.cluster.clone(),
            instance: instance.clone(),
            acknowledgement: Acknowledgement {
                beat: beat.word.beat,
                named: named.filter(|_| confirms),
            },
        });
        // Of another cluster, or of a server that is not the enrolled one, it says nothing here.
        let Some(cluster) = spoken.filter(|of| of.instances.contains_key(&instance)) else {
            return;
        };
        let Some(watch) = self.watches.get_mut(&instance) else {
            return;
        };
        if let Some(other) = stranger_to(cluster, &instance, beat.server_uuid) {
            watch.imposter = Some(other);
            return;
        }
        watch.imposter = None;
        let named = Self::named(cluster, &instance);
        let primary = cluster.primary == instance;
        let executed = (primary && beat.role == Role::Open(cluster.epoch) && !beat.fenced)
            .then(|| beat.executed.clone());
        let sound = beat.ground.broken.is_empty();
        // Also of one that has shut itself since: what it answered before counts.
        let ground = (primary && beat.opened == Some(cluster.epoch))
            .then(|| (beat.word, beat.ground.clone()));
        let scheduled = beat
            .scheduled
            .clone()
            .filter(|_| beat.role == Role::Open(cluster.epoch));
        let harmless = beat.harmless.clone();
        // What it says of then stays true; of now it says nothing.
        if !watch.has_lain(now, beat.word, after) {
            watch.beat(now, beat, rtt_ms, named, cluster.epoch);
        }
        self.hear_harmless(now, cluster, &instance, &harmless);
        if let Some(executed) = executed {
            self.know(cluster, &executed, sound);
        }
        if let Some((word, said)) = ground {
            self.hear_ground(now, cluster, word.order(), said);
            if let Some(said) = scheduled {
                self.hear_scheduled(now, cluster, said);
            }
        }
        self.remember(cluster, out);
    }

    /// Notes what the primary has executed, where that is more than it brought along itself: from
    /// the moment that k of V hold its first marker, and while its ground is as ordered.
    fn know(&mut self, cluster: &Cluster, executed: &GtidSet, sound: bool) {
        if cluster.has_acknowledged()
            && sound
            && cluster.ground.broken.is_empty()
            && let Some(watch) = self.watches.get_mut(&cluster.primary)
        {
            watch.know(cluster.epoch, executed);
        }
    }

    fn pulse(
        &mut self,
        now: Tick,
        instance: &InstanceId,
        attempt: Attempt,
        out: &mut Vec<NodeOutput>,
    ) {
        let Attempt {
            probe,
            begun,
            mut pulse,
            mut seen,
        } = attempt;
        let state = self.state.clone();
        let Some(cluster) = state.get().cluster_of(instance) else {
            return;
        };
        let Some(watch) = self.watches.get_mut(instance) else {
            return;
        };
        let uuid = seen.as_ref().map(|seen| seen.server_uuid);
        if let Some(other) = stranger_to(cluster, instance, uuid) {
            // Its address answers for another server: of the enrolled one that is no answer.
            watch.imposter = Some(other);
            pulse = Pulse::Failed { reset: false };
            seen = None;
        }
        watch.pulse(now, probe, begun, pulse, Self::named(cluster, instance));
        if let Some(seen) = seen
            && pulse == (Pulse::Answered { fenced: false })
            && cluster.primary == *instance
            && cluster.promotion().is_some()
        {
            let faults = match &seen.ground {
                Some(ground) => watch.look(begun, cluster.epoch, cluster.ackers.k, ground),
                None => BTreeSet::new(),
            };
            let sound = faults.is_empty() && seen.ground.is_some();
            self.know(cluster, &seen.executed, sound);
            self.tell_faults(now, cluster, faults);
        }
        self.remember(cluster, out);
    }

    fn remember(&mut self, cluster: &Cluster, out: &mut Vec<NodeOutput>) {
        let Some(watch) = self.watches.get(&cluster.primary) else {
            return;
        };
        if watch.detector.seen_in() == Some(cluster.epoch)
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

/// The server that speaks in this instance's name, if the log knows it under another one.
fn stranger_to(cluster: &Cluster, instance: &InstanceId, said: Option<Uuid>) -> Option<Uuid> {
    let enrolled = cluster.instances.get(instance)?.server_uuid?;
    said.filter(|uuid| *uuid != enrolled)
}
