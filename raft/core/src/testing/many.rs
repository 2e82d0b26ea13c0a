//! Several clusters in one plane, driven by commands alone. Cluster `s` has the primary `s-p` and
//! the ackers `s-a`, beside it, and `s-b` and `s-c`, in another region.

use std::collections::BTreeMap;

use super::{World, registration, spec};
use crate::agree::Vote;
use crate::decide::choose;
use crate::gtid::{GtidSet, Uuid};
use crate::ids::{ClusterId, InstanceId, NodeId, Seq};
use crate::observe::{Reached, Sight, SightKind};
use crate::policy::Policy;
use crate::record::{Cluster, Command, Event, EventKind, FreezeReport, Refusal, Registration};

pub const AWAY: &str = "elsewhere";
const ROLES: [&str; 4] = ["p", "a", "b", "c"];

#[derive(Clone)]
pub struct Many {
    pub world: World,
    votes: u64,
}

fn instance_of(id: &str, role: &str) -> InstanceId {
    InstanceId(format!("{id}-{role}"))
}

/// The cluster's name, then the role.
fn uuid_of(id: &str, role: &str) -> Uuid {
    let mut bytes = [role.as_bytes()[0]; 16];
    bytes[..id.len()].copy_from_slice(id.as_bytes());
    Uuid::from_bytes(bytes)
}

fn holds(id: &str) -> GtidSet {
    let text = format!("{}:1-10", uuid_of(id, "p"));
    text.parse().expect("a set")
}

impl Many {
    pub fn within(world: World) -> Self {
        Self { world, votes: 0 }
    }

    /// Clusters of these names, each in the region that its first letter names; three voters; each
    /// region's failovers limited to `limit` at once.
    pub fn of(names: &str, limit: u32) -> Self {
        let mut many = Self::within(World::of("uvw"));
        for id in names.split_whitespace() {
            many.add(id, |policy| policy.promotions_max = limit);
        }
        many
    }

    /// Founded and open, under `auto`.
    pub fn add(&mut self, id: &str, change: impl FnOnce(&mut Policy)) {
        self.register(id, change);
        for role in ROLES {
            self.world.must(Command::FoundingReport {
                cluster: id.into(),
                instance: instance_of(id, role),
                report: self.report(id, role),
                fenced: true,
                registered: None,
            });
        }
        self.open(id);
    }

    pub fn register(&mut self, id: &str, change: impl FnOnce(&mut Policy)) {
        let instances: BTreeMap<_, _> = ROLES
            .into_iter()
            .map(|role| {
                let mut spec = spec(role);
                spec.host = format!("{id}-{role}.example");
                let beside = ["p", "a"].contains(&role);
                spec.region = if beside { &id[..1] } else { AWAY }.into();
                spec.server_uuid = Some(uuid_of(id, role));
                (instance_of(id, role), spec)
            })
            .collect();
        let mut registration = Registration {
            cluster: id.into(),
            instances,
            primary: instance_of(id, "p"),
            ..registration("pabc", 1)
        };
        change(&mut registration.policy);
        self.world.must(Command::Register(Box::new(registration)));
    }

    pub fn get(&self, id: &str) -> &Cluster {
        &self.world.state.clusters[&ClusterId::from(id)]
    }

    /// The clusters whose primary is deposed.
    pub fn deposed(&self) -> String {
        let clusters = self.world.state.clusters.values();
        let deposed = clusters.filter(|cluster| cluster.deposition().is_some());
        let names: Vec<_> = deposed.map(|cluster| cluster.id.as_str()).collect();
        names.join(" ")
    }

    pub fn policy(&mut self, id: &str, change: impl FnOnce(&mut Policy)) {
        let mut policy = self.get(id).policy.clone();
        change(&mut policy);
        self.world.must(Command::SetPolicy {
            cluster: id.into(),
            policy: Box::new(policy),
        });
    }

    /// A vote of `node`, in an inquest opened for it if none is, that reaches every replica.
    pub fn vote(&mut self, id: &str, node: u64, sight: Sight) -> Result<Vec<Event>, Refusal> {
        let epoch = self.get(id).epoch;
        self.world.run(Command::OpenInquest {
            cluster: id.into(),
            epoch,
            after: None,
        })?;
        self.votes += 1;
        let cluster = self.get(id);
        let replicas = cluster
            .instances
            .keys()
            .filter(|it| **it != cluster.primary);
        let vote = Vote {
            cluster: cluster.id.clone(),
            inquest: cluster.inquests,
            node: NodeId(node),
            seq: Seq(self.votes),
            reached: replicas
                .map(|it| (it.clone(), Reached::default()))
                .collect(),
            ..super::vote(node, sight.kind, sight.for_ms)
        };
        self.world.run(Command::Vote(Box::new(vote)))
    }

    /// Nodes 1 and 2 of three see it silent for so long.
    pub fn silent_for(&mut self, id: &str, for_ms: u64) -> Vec<Event> {
        let kind = SightKind::Silent;
        let votes = [1, 2].map(|node| self.vote(id, node, Sight { kind, for_ms }));
        votes.into_iter().flatten().flatten().collect()
    }

    /// The same, for long enough to be dead.
    pub fn silent(&mut self, id: &str) -> Vec<Event> {
        self.silent_for(id, 10_000)
    }

    /// Node 2 sees it alive.
    pub fn alive(&mut self, id: &str) -> Vec<Event> {
        let (kind, for_ms) = (SightKind::Alive, 0);
        self.vote(id, 2, Sight { kind, for_ms }).expect("taken")
    }

    pub fn approve(&mut self, id: &str) -> Result<Vec<Event>, Refusal> {
        self.world.run(Command::Approve {
            cluster: id.into(),
            epoch: self.get(id).epoch,
            who: "ann".into(),
            allows: Default::default(),
        })
    }

    fn report(&self, id: &str, role: &str) -> FreezeReport {
        FreezeReport {
            server_uuid: uuid_of(id, role),
            executed: holds(id),
            replicated_from: Some(self.get(id).primary.clone()),
            ..super::report("p", "", "")
        }
    }

    /// Its ackers are frozen, and the best of them is chosen.
    pub fn choose(&mut self, id: &str) {
        let chosen = self.try_choose(id);
        assert!(!chosen.is_empty(), "{id} has a candidate");
    }

    /// The same, if anybody qualifies.
    pub fn try_choose(&mut self, id: &str) -> Vec<Event> {
        let cluster = self.get(id);
        let (epoch, ackers) = (cluster.epoch, cluster.ackers.members.clone());
        for role in ROLES {
            let instance = instance_of(id, role);
            if ackers.contains(&instance) {
                self.world.must(Command::Freeze {
                    cluster: id.into(),
                    epoch,
                    instance,
                    report: self.report(id, role),
                });
            }
        }
        match choose(self.get(id)) {
            Ok(choice) => self.world.must(Command::Choose(Box::new(choice))),
            Err(_) => Vec::new(),
        }
    }

    /// The named primary is open, and its first write acknowledged.
    pub fn open(&mut self, id: &str) -> Vec<Event> {
        let cluster = self.get(id);
        let (epoch, instance) = (cluster.epoch, cluster.primary.clone());
        let mut events = self.world.must(Command::Opened {
            cluster: id.into(),
            epoch,
            instance: instance.clone(),
            mysqld: None,
        });
        events.extend(self.world.must(Command::Acknowledged {
            cluster: id.into(),
            epoch,
            instance,
            floor: holds(id),
        }));
        events
    }

    pub fn close(&mut self, id: &str) -> Vec<Event> {
        self.world.must(Command::CloseInquest {
            cluster: id.into(),
            inquest: self.get(id).inquests,
            why: "it answers".into(),
        })
    }

    pub fn pass(&mut self, ms: u64) -> Vec<Event> {
        self.world.must(Command::TimePassed { ms })
    }

    /// The incidents that are open, as `region: clusters`.
    pub fn incidents(&self) -> Vec<String> {
        let incidents = self.world.state.incidents.iter();
        incidents
            .map(|(region, incident)| {
                let names: Vec<_> = incident.clusters.iter().map(|id| id.as_str()).collect();
                format!("{region}: {}", names.join(" "))
            })
            .collect()
    }
}

/// What was said of incidents.
pub fn of_incidents(events: &[Event]) -> Vec<String> {
    use EventKind::{IncidentEnded, IncidentJoined, IncidentOpened};
    events
        .iter()
        .filter(|event| [IncidentOpened, IncidentJoined, IncidentEnded].contains(&event.kind))
        .map(|event| event.what.clone())
        .collect()
}
