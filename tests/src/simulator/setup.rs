//! What a seed makes: three nodes in three regions, three or four instances, clients.

use std::collections::BTreeMap;

use primacy_core::act::Seal;
use primacy_core::gtid::Uuid;
use primacy_core::ids::{ClusterId, Incarnation, InstanceId, NodeId, Region, Seq};
use primacy_core::policy::{Automation, Policy};
use primacy_core::record::{
    Command, FEATURE_LEVEL, Founding, InstanceSpec, Member, PromotionRule, Proposal, Registration,
    State,
};

use super::Options;
use super::agents::AgentProc;
use super::clients::Client;
use super::mysql::Mysqld;
use super::neighbour;
use super::nodes::NodeProc;
use super::planted::Planted;
use super::prng::Rng;
use super::world::{ANY_RUN, Clock, Target, What, World, instance_name};

const CLIENTS: usize = 4;

/// Where everything stands.
pub struct Plan {
    pub nodes: Vec<usize>,
    /// Region of each instance.
    pub instances: Vec<usize>,
    /// Region of the stranger: a replica that nobody registered.
    stranger: usize,
    clients: Vec<usize>,
    /// Region of each instance of a second cluster, if there is one.
    neighbours: Vec<usize>,
    /// One that must never be promoted, as a reporting replica.
    never: Option<usize>,
    policy: Policy,
}

impl Plan {
    pub fn of(options: Options, rng: &mut Rng) -> Self {
        let instances = match rng.below(5) {
            0 => vec![0, 1, 2],
            1 => vec![0, 0, 1, 2],
            2 => vec![0, 1, 1, 2],
            3 => vec![0, 1, 2, 2],
            _ => vec![0, 0, 1, 1],
        };
        let policy = Policy {
            automation: Automation::Auto,
            restart_hold_ms: rng.between(1_500, 6_000),
            // Above `starved_sustain_ms`.
            unacked_fence_ms: rng.between(2_000, 10_000).max(2_200),
            ..Policy::fast()
        };
        let never = rng.chance(250).then(|| 1 + rng.index(instances.len() - 1));
        let mut plan = Self {
            neighbours: Vec::new(),
            never,
            nodes: vec![0, 1, 2],
            instances,
            stranger: rng.index(3),
            clients: (0..CLIENTS).map(|_| rng.index(3)).collect(),
            policy,
        };
        if neighbour::settles(options) {
            let first = rng.index(3);
            plan.neighbours = (0..neighbour::HOSTS).map(|n| (first + n) % 3).collect();
            plan.clients.extend([rng.index(3), rng.index(3)]);
        }
        plan
    }

    pub fn clusters(&self) -> usize {
        1 + usize::from(!self.neighbours.is_empty())
    }

    /// The stranger's among them.
    pub fn servers(&self) -> usize {
        self.instances.len() + 1 + self.neighbours.len()
    }

    /// Region of each host of a cluster.
    fn hosts(&self, cluster: usize) -> impl Iterator<Item = (usize, usize)> {
        let (before, regions) = match cluster {
            0 => (0, &self.instances),
            _ => (self.instances.len() + 1, &self.neighbours),
        };
        regions
            .iter()
            .enumerate()
            .map(move |(host, region)| (before + host, *region))
    }

    /// The region of every place, in the order of places.
    pub fn places(&self) -> Vec<usize> {
        let mut places = self.nodes.clone();
        places.extend(&self.instances);
        places.push(self.stranger);
        places.extend(&self.neighbours);
        places.extend(&self.clients);
        places
    }

    pub fn first_state(&self) -> State {
        let mut state = State::default();
        let voters = self.nodes.iter().enumerate().map(|(node, region)| {
            let member = Member {
                address: format!("n{}:7400", node + 1),
                region: format!("r{}", region + 1),
            };
            (NodeId(node as u64 + 1), member)
        });
        state.set_voters(voters.collect());
        state
    }

    fn registration(&self, cluster: usize) -> Registration {
        let instances: BTreeMap<InstanceId, InstanceSpec> = self
            .hosts(cluster)
            .map(|(host, region)| {
                let spec = InstanceSpec {
                    host: format!("i{}", host + 1),
                    port: 3306,
                    region: Region(format!("r{}", region + 1)),
                    zone: String::new(),
                    machine: String::new(),
                    promotion: match self.never == Some(host) {
                        true => PromotionRule::Never,
                        false => PromotionRule::default(),
                    },
                    priority: 0,
                    server_uuid: None,
                    agent: String::new(),
                };
                (instance_name(host), spec)
            })
            .collect();
        Registration {
            cluster: ClusterId(neighbour::NAMES[cluster].into()),
            k: instances.len() as u32 - 2,
            primary: instances.keys().next().expect("some").clone(),
            instances,
            ackers: Default::default(),
            policy: self.policy.clone(),
            founding: Founding::New,
        }
    }
}

impl World {
    pub(super) fn set_up(&mut self, plan: &Plan) {
        let servers = plan.servers();
        for _ in &plan.nodes {
            let clock = Clock::new(0, &mut self.rng);
            self.nodes.push(NodeProc::new(clock, servers));
        }
        let slow = self.rng.chance(300);
        for host in 0..servers {
            let mut bytes = [0x11; 16];
            bytes[0] = host as u8 + 1;
            let apply_us = if slow && self.rng.chance(500) {
                120_000
            } else {
                3_000
            };
            let uuid = Uuid::from_bytes(bytes);
            self.servers.push(Mysqld::new(uuid, apply_us));
        }
        for cluster in 0..plan.clusters() {
            for (host, _) in plan.hosts(cluster) {
                let clock = Clock::new(0, &mut self.rng);
                let id = ClusterId(neighbour::NAMES[cluster].into());
                let seal = Seal::blank(id, instance_name(host));
                // Nobody stands beside the stranger: its place stays empty.
                let agent = || AgentProc::new(clock, seal.clone());
                self.agents.resize_with(host + 1, agent);
            }
        }
        for client in 0..plan.clients.len() {
            let think_us = self.rng.between(20_000, 150_000);
            let cluster = client / CLIENTS;
            self.clients
                .push(Client::new(cluster, client == 0, think_us));
            self.after(1_000, Target::Client(client), ANY_RUN, What::ClientWake);
        }
        self.faults
            .plan(self.options, plan.instances.len(), &mut self.rng);
        if plan.clusters() > 1 {
            let hosts = self.hosts_of(1);
            self.faults.plan_neighbour(hosts, &mut self.rng);
        }
        let clusters = 0..plan.clusters();
        let mut registrations: Vec<_> = clusters.map(|of| plan.registration(of)).collect();
        if self.options.planted == Some(Planted::BlindAtOnce) {
            registrations
                .iter_mut()
                .for_each(|of| of.policy.reach_ms = 0);
        }
        if self.faults.holds_chosen {
            // Whoever is chosen has something left to apply, and applies nothing of it.
            let replicas = self.servers.iter_mut().skip(1);
            replicas.for_each(|server| server.apply_us = 150_000);
        }
        if self.faults.starving {
            // It shuts itself much too late to be of any use.
            registrations[0].policy.unacked_fence_ms = 600_000;
        }
        let mut commands = vec![Command::FoundPlane {
            plane: "sim".into(),
            level: FEATURE_LEVEL,
        }];
        let registers = registrations.into_iter().map(Box::new);
        commands.extend(registers.map(Command::Register));
        let operator = Proposal {
            proposer: NodeId(100),
            incarnation: Incarnation(1),
            seq: Seq(1),
            wall_ms: 0,
            commands,
        };
        self.after(0, Target::World, ANY_RUN, What::LogTick);
        self.after(
            10,
            Target::World,
            ANY_RUN,
            What::LogCommit(Box::new(operator)),
        );
        for node in 0..plan.nodes.len() {
            self.start_node(node);
        }
        for host in self.agented() {
            self.start_agent(host);
        }
        let stranger = self.members;
        self.servers[stranger].gate.start();
        self.schedule_faults();
    }
}
