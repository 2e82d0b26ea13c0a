//! A second cluster in the same plane, in every fifth seed: other hosts, other clients, and the same
//! nodes, log and leader. What befalls one is nothing to the other.

use std::ops::Range;

use primacy_core::ids::ClusterId;
use primacy_core::record::Cluster;

use super::Options;
use super::fault::Fault;
use super::faults::Faults;
use super::network::both_ways;
use super::prng::Rng;
use super::world::{Target, World};
use crate::invariants::Truth;

/// The clusters, in the order of their names: most faults are for the first.
pub(crate) const NAMES: [&str; 2] = ["shop", "till"];

/// How many hosts the neighbour has, one in each region.
pub(super) const HOSTS: usize = 3;

const EVERY: u64 = 5;

/// Whether a run has a second cluster.
pub(super) fn settles(options: Options) -> bool {
    options.seed % EVERY == EVERY - 1 && !options.calm
}

impl Faults {
    /// Its primary is lost as well, often at the very moment at which the first cluster's is.
    pub(super) fn plan_neighbour(&mut self, hosts: Range<usize>, rng: &mut Rng) {
        let primary = hosts.start;
        let first = self.planned.iter().map(|planned| planned.at).min();
        let at = match first.filter(|_| rng.chance(500)) {
            Some(at) => at,
            None => rng.between(4_000_000, 10_000_000),
        };
        let fault = match rng.below(5) {
            0 => Fault::KillServer(primary),
            1 => Fault::Pause(vec![Target::Mysqld(primary)]),
            2 => Fault::Pause(vec![Target::Mysqld(primary), Target::Agent(primary)]),
            3 => Fault::power(primary),
            _ => Fault::Cut(both_ways(3 + primary, 0..3)),
        };
        self.add(at, rng.between(1_000_000, 12_000_000), fault);
        for _ in 0..rng.below(4) {
            let host = hosts.start + rng.index(hosts.len());
            let fault = match rng.below(6) {
                0 => Fault::KillServer(host),
                1 => Fault::KillAgent(host),
                2 => Fault::Pause(vec![Target::Agent(host)]),
                3 => Fault::StuckDisk(host),
                4 => Fault::SlowApplier(host),
                _ => Fault::power(host),
            };
            let at = rng.between(4_000_000, 16_000_000);
            self.add(at, rng.between(50_000, 5_000_000), fault);
        }
    }
}

impl World {
    /// Which cluster a host belongs to. The stranger is one of the first's.
    pub fn cluster_of(&self, host: usize) -> usize {
        usize::from(host > self.members)
    }

    pub fn hosts_of(&self, cluster: usize) -> Range<usize> {
        match cluster {
            0 => 0..self.members,
            _ => self.members + 1..self.servers.len(),
        }
    }

    /// Every host that an agent stands beside.
    pub fn agented(&self) -> impl Iterator<Item = usize> + use<> {
        self.hosts_of(0).chain(self.hosts_of(1))
    }

    /// What truly happened in the cluster of a host.
    pub fn truth(&self, host: usize) -> &Truth {
        &self.truths[self.cluster_of(host)]
    }

    pub fn truth_mut(&mut self, host: usize) -> &mut Truth {
        let cluster = self.cluster_of(host);
        &mut self.truths[cluster]
    }

    /// What truly happened in a cluster.
    pub fn truth_of(&mut self, id: &ClusterId) -> &mut Truth {
        let cluster = NAMES.iter().position(|name| *name == id.0);
        &mut self.truths[cluster.expect("one of the two")]
    }

    /// What the log knows of a cluster.
    pub fn cluster(&self, cluster: usize) -> Option<&Cluster> {
        let id = ClusterId(NAMES[cluster].into());
        self.state().clusters.get(&id).map(|found| &**found)
    }

    /// The first cluster.
    pub fn shop(&self) -> Option<&Cluster> {
        self.cluster(0)
    }
}
