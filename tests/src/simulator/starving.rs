//! A primary that lives and gathers no acknowledgement: replication alone is cut, an account is
//! locked, receivers are stopped. And how an agent tries whether its instance could follow another.

use primacy_core::act::{OpDone, OpError, OpId};

use super::fault::Fault;
use super::faults::Faults;
use super::network::both_ways;
use super::prng::Rng;
use super::world::{Target, What, World};

/// Round trips of a login.
const LOGIN_ROUND_TRIPS: u64 = 4;

impl Faults {
    /// Nothing but this befalls the run. What cuts the primary off from its ackers does not end, and
    /// it shuts itself much too late: only its replacement serves anybody.
    pub(super) fn plan_starving(&mut self, hosts: usize, rng: &mut Rng) {
        let at = rng.between(5_000_000, 8_000_000);
        self.starving = true;
        let data = |rng: &mut Rng| match rng.chance(500) {
            true => ways_between_hosts(0, hosts),
            false => Vec::new(),
        };
        let (lasts, fault) = match rng.below(4) {
            0 => (rng.between(4_000_000, 9_000_000), Fault::AccountLocked),
            1 => (rng.between(3_000_000, 6_000_000), Fault::ReceiversStopped),
            _ => {
                let ways = data(rng);
                (1, Fault::ReplicationCut { ways, ends: false })
            }
        };
        self.add(at, lasts, fault);
    }
}

/// Every way between one host and the others. Places of hosts follow those of the three nodes.
pub(super) fn ways_between_hosts(host: usize, hosts: usize) -> Vec<(usize, usize)> {
    let one = 3 + host;
    let others = (3..3 + hosts).filter(|place| *place != one);
    both_ways(one, others)
}

impl World {
    /// The data path is cut, or, without a way to cut, the account that replicas use is locked on the
    /// primary and their sessions are ended.
    pub(super) fn cut_replication(&mut self, ways: &[(usize, usize)]) {
        ways.iter().for_each(|(from, to)| self.net.cut(*from, *to));
        if ways.is_empty()
            && let Some(primary) = self.shop().map(|shop| self.host_of(&shop.primary))
        {
            self.lock_account(primary);
        }
    }

    pub(super) fn mend_replication(&mut self, ways: &[(usize, usize)]) {
        ways.iter().for_each(|(from, to)| self.net.mend(*from, *to));
        if ways.is_empty() {
            // One account: whoever unlocks it does so for all.
            self.unlock_everywhere();
        }
    }

    fn lock_account(&mut self, host: usize) {
        self.faults.locked.insert(host);
        self.servers[host].dumps.clear();
    }

    /// As an ALTER USER does that replicates.
    pub(super) fn lock_everywhere(&mut self) {
        self.faults.locked_everywhere = Some(self.now);
        (0..self.members).for_each(|host| self.lock_account(host));
    }

    pub(super) fn unlock_everywhere(&mut self) {
        self.faults.locked_everywhere = None;
        self.faults.locked.clear();
    }

    /// Somebody stops replication on every replica, and no order of the control plane reaches them.
    pub(super) fn stop_receivers(&mut self) {
        let replicas = self.replicas();
        for (from, to) in self.ways_from_nodes(&replicas) {
            self.net.cut(from, to);
        }
        replicas.iter().for_each(|host| self.stop_io(*host));
    }

    /// The control plane has them follow again.
    pub(super) fn let_receivers_start(&mut self) {
        let replicas = self.replicas();
        for (from, to) in self.ways_from_nodes(&replicas) {
            self.net.mend(from, to);
        }
    }

    /// What outlasts the healing.
    pub(super) fn cut_for_good(&mut self) {
        let ways: Vec<(usize, usize)> = self.lasting_cuts().flatten().copied().collect();
        ways.iter().for_each(|(from, to)| self.net.cut(*from, *to));
    }

    /// Whether replication from this host is cut, and stays so.
    pub fn is_cut_for_good(&self, host: usize) -> bool {
        let place = self.place_of_host(host);
        self.lasting_cuts().any(|ways| match ways.is_empty() {
            true => self.faults.locked.contains(&host),
            false => ways.iter().any(|(from, to)| [from, to].contains(&&place)),
        })
    }

    /// The ways of each cut that outlasts the healing.
    fn lasting_cuts(&self) -> impl Iterator<Item = &Vec<(usize, usize)>> {
        let planned = self.faults.planned.iter();
        planned.filter_map(|planned| match &planned.fault {
            Fault::ReplicationCut { ways, ends: false } => Some(ways),
            _ => None,
        })
    }

    fn replicas(&self) -> Vec<usize> {
        let primary = self.shop().map(|shop| self.host_of(&shop.primary));
        (0..self.members)
            .filter(|host| Some(*host) != primary)
            .collect()
    }

    fn ways_from_nodes(&self, hosts: &[usize]) -> Vec<(usize, usize)> {
        let nodes = 0..self.nodes.len();
        nodes
            .flat_map(|node| hosts.iter().map(move |host| (node, *host)))
            .map(|(node, host)| (self.place_of_node(node), self.place_of_host(host)))
            .collect()
    }

    /// An agent logs in at another host's server. What is dropped on the way is answered by nobody.
    pub(super) fn log_in(&mut self, from: usize, to: usize, id: OpId) {
        let (here, there) = (self.place_of_host(from), self.place_of_host(to));
        let server = &self.servers[to];
        if !self.net.both_ways(here, there) || !server.powered || server.gate.paused > 0 {
            return;
        }
        let result = match (server.gate.up, self.faults.locked.contains(&to)) {
            (true, false) => Ok(OpDone::LoggedIn),
            (true, true) => Err(OpError::Refused("the account is locked".into())),
            (false, _) => Err(OpError::Refused("connection refused".into())),
        };
        let us = 1_000 + 2 * LOGIN_ROUND_TRIPS * self.net.base_us(here, there) + self.net.slow_us;
        let run = self.agents[from].gate.run;
        let result = Box::new(result);
        let what = What::OpEnded { id, result };
        self.after(us, Target::Agent(from), run, what);
    }
}
