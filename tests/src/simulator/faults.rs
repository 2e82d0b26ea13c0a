//! What befalls a run: a schedule that the seed makes, and blows struck at the worst moment, when
//! the log reaches a stage. At last everything is healed, and progress is demanded.

use std::collections::BTreeSet;

use primacy_core::ids::Epoch;

use super::Options;
use super::fault::Fault;
use super::mysql::{Hold, MARKER_KEY, Writer};
use super::network::both_ways;
use super::prng::Rng;
use super::replication::Acks;
use super::starving::ways_between_hosts;
use super::world::{ANY_RUN, Target, What, World};

/// When the first fault may come: the cluster is about to be founded by then.
const FIRST_US: u64 = 2_500_000;
/// When everything is healed.
pub const HEAL_US: u64 = 20_000_000;

#[derive(Debug)]
pub(super) struct Planned {
    pub at: u64,
    lasts_us: u64,
    pub fault: Fault,
    pub active: bool,
}

#[derive(Debug, Default)]
pub struct Faults {
    pub(super) planned: Vec<Planned>,
    pub healed: bool,
    /// Agents crash between two steps this often.
    pub step_crash_permille: u64,
    step_crashes: u64,
    /// Blows at the moment when the log reaches a stage.
    pub(super) cruelty_permille: u64,
    pub(super) relay_lost: bool,
    /// A new primary's host is lost for good so long after it was chosen.
    pub(super) death_of_chosen_us: Option<u64>,
    /// Hosts that never come back.
    pub dead: BTreeSet<usize>,
    /// The one whose applier is held for good from the moment on that it is chosen, or before.
    pub(super) holds_chosen: bool,
    pub held: Option<usize>,
    /// Hosts at whose address another server answers.
    pub(super) imposters: BTreeSet<usize>,
    /// Hosts on which the account that replicas use is locked.
    pub(super) locked: BTreeSet<usize>,
    /// Since when it is on all of them.
    pub(crate) locked_everywhere: Option<u64>,
    /// Nothing but replication is cut in this run.
    pub(super) starving: bool,
    pub errant: bool,
    pub log_unknown: u64,
    pub log_twice: u64,
    pub acks: Acks,
}

impl Faults {
    pub(super) fn plan(&mut self, options: Options, hosts: usize, rng: &mut Rng) {
        if options.calm {
            let fault = Fault::power(0);
            self.add(6_000_000, HEAL_US - 6_000_000, fault);
            return;
        }
        if rng.chance(60) {
            return self.plan_starving(hosts, rng);
        }
        self.step_crashes = if rng.chance(300) {
            rng.between(5, 60)
        } else {
            0
        };
        self.cruelty_permille = if rng.chance(600) {
            rng.between(50, 400)
        } else {
            0
        };
        self.log_unknown = if rng.chance(500) { rng.below(150) } else { 0 };
        self.log_twice = if rng.chance(500) { rng.below(150) } else { 0 };
        // Something always happens to the first primary.
        let at = rng.between(4_000_000, 8_000_000);
        let fault = self.of_primary(hosts, rng);
        let lasts = rng.between(1_000_000, 12_000_000);
        self.add(at, lasts, fault);
        if rng.chance(400) {
            match rng.below(3) {
                0 => {
                    let host = rng.index(hosts);
                    self.add(rng.between(4_000_000, 14_000_000), 1, Fault::Death(host));
                }
                1 if rng.chance(400) => self.holds_chosen = true,
                1 => self.death_of_chosen_us = Some(rng.below(300_000)),
                _ => self.death_of_chosen_us = Some(rng.between(1_500_000, 2_000_000)),
            }
        }
        for _ in 0..rng.between(2, 9) {
            let at = rng.between(FIRST_US, HEAL_US - 2_000_000);
            let lasts = rng.between(50_000, 6_000_000);
            let fault = self.any(hosts, rng);
            self.add(at, lasts, fault);
        }
    }

    pub(super) fn add(&mut self, at: u64, lasts_us: u64, fault: Fault) {
        self.planned.push(Planned {
            at,
            lasts_us,
            fault,
            active: false,
        });
    }

    fn of_primary(&self, hosts: usize, rng: &mut Rng) -> Fault {
        match rng.below(10) {
            0 => Fault::KillServer(0),
            1 | 2 => Fault::Pause(vec![Target::Mysqld(0)]),
            3 => Fault::Pause(vec![Target::Mysqld(0), Target::Agent(0)]),
            4 => Fault::power(0),
            5 => Fault::StuckDisk(0),
            6 => Fault::Cut(both_ways(3, 0..3)),
            7 => Fault::Cut(both_ways(3, (0..8).filter(|place| *place != 3))),
            8 => Fault::ReplicationCut {
                ways: match rng.chance(500) {
                    true => ways_between_hosts(0, hosts),
                    false => Vec::new(),
                },
                ends: true,
            },
            _ => Fault::Pause(vec![Target::Mysqld(0)]),
        }
    }

    fn any(&self, hosts: usize, rng: &mut Rng) -> Fault {
        let host = rng.index(hosts);
        let node = rng.index(3);
        let places = 3 + hosts;
        match rng.below(33) {
            0 => Fault::KillServer(host),
            1 => Fault::Pause(vec![Target::Mysqld(host)]),
            2 => Fault::Pause(vec![Target::Agent(host)]),
            3 => Fault::Pause(vec![Target::Node(node)]),
            4 => Fault::Pause(vec![Target::Agent(host), Target::Mysqld(host)]),
            5 => Fault::KillAgent(host),
            6 => Fault::KillNode(node),
            7 => Fault::power(host),
            8 => Fault::Power {
                hosts: vec![host],
                nodes: vec![node],
            },
            9 => Fault::Pause(vec![
                Target::Node(node),
                Target::Agent(host),
                Target::Mysqld(host),
            ]),
            10 | 11 => {
                let (from, to) = (rng.index(places), rng.index(places));
                Fault::Cut(vec![(from, to)])
            }
            12 | 13 => {
                let one = rng.index(places);
                Fault::Cut(both_ways(one, (0..places).filter(|other| *other != one)))
            }
            14 => {
                let one = rng.index(places);
                let into = rng.chance(500);
                let ways = (0..places).filter(|other| *other != one);
                Fault::Cut(
                    ways.map(|other| if into { (other, one) } else { (one, other) })
                        .collect(),
                )
            }
            // From the other instances only.
            15 => Fault::Cut(ways_between_hosts(host, hosts)),
            16 => Fault::Slow(rng.between(5_000, 300_000)),
            17 => Fault::Lossy(rng.between(10, 200)),
            18 => {
                let target = if rng.chance(500) {
                    Target::Node(node)
                } else {
                    Target::Agent(host)
                };
                Fault::ClockRate(target, rng.between(0, 200_000) as i64 - 100_000)
            }
            19 => Fault::StuckDisk(host),
            20 => Fault::SlowApplier(host),
            21 => {
                if rng.chance(400) {
                    Fault::Errant(host)
                } else {
                    Fault::Election
                }
            }
            22 => Fault::Stranger,
            23 => Fault::SemiSyncOff,
            24 => Fault::Flip,
            25 => Fault::Xa,
            26 => Fault::Imposter(host),
            27 => Fault::AgentsAsleep,
            28 => Fault::HeldApplier(host, Hold::Client),
            29 => Fault::HeldApplier(host, Hold::Lasting),
            30 => Fault::AccountLocked,
            31 => Fault::ReceiversStopped,
            _ => Fault::Election,
        }
    }
}

impl World {
    pub(super) fn schedule_faults(&mut self) {
        for index in 0..self.faults.planned.len() {
            let at = self.faults.planned[index].at;
            let what = What::Fault {
                index,
                begins: true,
            };
            self.after(at, Target::World, ANY_RUN, what);
        }
        self.log.unknown_permille = self.faults.log_unknown;
        self.log.twice_permille = self.faults.log_twice;
        self.faults.step_crash_permille = self.faults.step_crashes;
        for node in 0..self.nodes.len() {
            if !self.options.calm && self.rng.chance(300) {
                self.log.lag_us[node] = self.rng.below(800_000);
            }
        }
        if self.options.calm {
            self.net.twice_permille = 0;
        }
        self.after(HEAL_US, Target::World, ANY_RUN, What::Heal);
    }

    pub(super) fn fault(&mut self, index: usize, begins: bool) {
        if self.faults.healed || (!begins && !self.faults.planned[index].active) {
            return;
        }
        self.faults.planned[index].active = begins;
        let fault = self.faults.planned[index].fault.clone();
        if begins {
            self.counts.faults += 1;
            *self.counts.kinds.entry(fault.name()).or_default() += 1;
            self.note("FAULT", || format!("{fault:?}"));
            let lasts = self.faults.planned[index].lasts_us;
            let what = What::Fault {
                index,
                begins: false,
            };
            self.after(lasts, Target::World, ANY_RUN, what);
            self.begin(&fault);
        } else {
            self.note("FAULT", || format!("ends: {fault:?}"));
            self.end(&fault);
        }
    }

    fn begin(&mut self, fault: &Fault) {
        match fault {
            Fault::KillServer(host) => self.kill_server(*host, false),
            Fault::Pause(targets) => targets.iter().for_each(|target| self.pause(*target)),
            Fault::KillAgent(host) => self.kill_agent(*host),
            Fault::KillNode(node) => self.kill_node(*node),
            Fault::Power { hosts, nodes } => {
                for &host in hosts {
                    self.kill_agent(host);
                    self.kill_server(host, true);
                    self.servers[host].powered = false;
                }
                nodes.iter().for_each(|node| self.kill_node(*node));
            }
            Fault::Cut(ways) => ways.iter().for_each(|(from, to)| self.net.cut(*from, *to)),
            Fault::Slow(us) => self.net.slow_us = *us,
            Fault::Lossy(permille) => self.net.loss_permille = *permille,
            Fault::ClockRate(target, ppm) => {
                let now = self.now;
                match target {
                    Target::Node(node) => self.nodes[*node].clock.set_rate(now, *ppm),
                    Target::Agent(host) => self.agents[*host].clock.set_rate(now, *ppm),
                    _ => {}
                }
            }
            Fault::StuckDisk(host) => self.servers[*host].stuck = true,
            Fault::SlowApplier(host) => self.servers[*host].apply_us = 300_000,
            Fault::HeldApplier(host, hold) => {
                if self.faults.held != Some(*host) {
                    self.hold_applier(*host, *hold);
                }
            }
            Fault::HeldForGood(host) => {
                if self.faults.dead.is_empty() && self.faults.held.is_none() {
                    self.faults.held = Some(*host);
                    self.hold_applier(*host, Hold::Lasting);
                }
            }
            Fault::Errant(host) => {
                let serving = self.shop().is_some_and(|cluster| {
                    cluster.epoch > Epoch::INITIAL
                        && self.host_of(&cluster.primary) != *host
                        && !cluster
                            .left_behind
                            .contains(&super::world::instance_name(*host))
                });
                if serving && self.servers[*host].gate.runs() && !self.faults.errant {
                    self.faults.errant = true;
                    // Half of them change nothing, as FLUSH does.
                    let key = match self.rng.chance(500) {
                        true => MARKER_KEY,
                        false => self.number(),
                    };
                    self.write(*host, Writer::Nobody, key);
                }
            }
            Fault::Stranger => {
                let primary = self.shop().map(|cluster| self.host_of(&cluster.primary));
                let stranger = self.members;
                self.servers[stranger].source = primary;
                self.servers[stranger].acking = true;
                self.start_io(stranger);
            }
            Fault::Election => self.elect(),
            Fault::Thawed(host) => self.start_receiver(*host, false),
            Fault::Abort => self.abort(),
            Fault::Death(host) => self.die_for_good(*host),
            Fault::SemiSyncOff => self.switch_semi_sync(None),
            Fault::SchedulerOn => self.switch_scheduler_on(),
            Fault::Flip => {
                let us = self.rng.between(5_000, 80_000);
                self.switch_semi_sync(Some(us));
            }
            Fault::Xa => self.recover_xa(),
            Fault::Imposter(host) => {
                self.faults.imposters.insert(*host);
            }
            Fault::AgentsAsleep => {
                (0..self.members).for_each(|host| self.pause(Target::Agent(host)));
            }
            Fault::ReplicationCut { ways, .. } => self.cut_replication(ways),
            Fault::AccountLocked => self.lock_everywhere(),
            Fault::ReceiversStopped => self.stop_receivers(),
            Fault::RelayLost(host) => {
                let deposed = self.shop().is_some_and(|shop| shop.deposition().is_some());
                if !deposed || !self.servers[*host].powered {
                    return; // one that was chosen meanwhile must keep what it reported
                }
                self.servers[*host].lost_relay = true;
                self.kill_agent(*host);
                self.kill_server(*host, true);
                let server = &mut self.servers[*host];
                server.relay.clear();
                server.received = Default::default();
                self.start_agent(*host);
                self.freeze_again(*host);
            }
        }
    }

    fn end(&mut self, fault: &Fault) {
        match fault {
            Fault::Pause(targets) => targets.iter().for_each(|target| self.resume(*target)),
            Fault::KillAgent(host) => self.revive(Target::Agent(*host)),
            Fault::KillNode(node) => self.revive(Target::Node(*node)),
            Fault::Power { hosts, nodes } => {
                for &host in hosts.iter().filter(|host| !self.faults.dead.contains(host)) {
                    self.servers[host].powered = true;
                }
                hosts
                    .iter()
                    .for_each(|host| self.revive(Target::Agent(*host)));
                nodes
                    .iter()
                    .for_each(|node| self.revive(Target::Node(*node)));
            }
            Fault::Cut(ways) => ways.iter().for_each(|(from, to)| self.net.mend(*from, *to)),
            Fault::Slow(_) => self.net.slow_us = 0,
            Fault::Lossy(_) => self.net.loss_permille = 0,
            Fault::StuckDisk(host) => self.unstick(*host),
            Fault::SlowApplier(host) => self.servers[*host].apply_us = 3_000,
            Fault::HeldApplier(host, _) => {
                if self.faults.held != Some(*host) {
                    self.hold_applier(*host, Hold::None);
                }
            }
            Fault::Abort => self.lift_abort(),
            Fault::Stranger => {
                let stranger = self.members;
                self.stop_io(stranger);
            }
            Fault::Imposter(host) => {
                if !self.faults.dead.contains(host) {
                    self.faults.imposters.remove(host);
                }
            }
            Fault::AgentsAsleep => {
                (0..self.members).for_each(|host| self.resume(Target::Agent(host)));
            }
            Fault::ReplicationCut { ways, ends: true } => self.mend_replication(ways),
            Fault::AccountLocked => self.unlock_everywhere(),
            Fault::ReceiversStopped => self.let_receivers_start(),
            Fault::ReplicationCut { ends: false, .. }
            | Fault::KillServer(_)
            | Fault::Death(_)
            | Fault::HeldForGood(_)
            | Fault::SemiSyncOff
            | Fault::SchedulerOn
            | Fault::Flip
            | Fault::Xa
            | Fault::ClockRate(..)
            | Fault::Errant(_)
            | Fault::Election
            | Fault::RelayLost(_)
            | Fault::Thawed(_) => {}
        }
    }

    /// Starts a process that is down, if its machine has power.
    pub(super) fn revive(&mut self, target: Target) {
        match target {
            Target::Node(node) if !self.nodes[node].gate.up => self.start_node(node),
            Target::Agent(host) if !self.agents[host].gate.up && self.servers[host].powered => {
                self.start_agent(host);
            }
            _ => {}
        }
    }

    /// Every fault ends; nothing is restored that a crash has truly taken.
    pub(super) fn heal(&mut self) {
        self.note("HEAL", || "every fault ends; progress is demanded".into());
        for index in 0..self.faults.planned.len() {
            if self.faults.planned[index].active {
                let fault = self.faults.planned[index].fault.clone();
                self.end(&fault);
            }
        }
        self.faults.healed = true;
        self.faults.step_crash_permille = 0;
        self.net.heal();
        self.cut_for_good();
        self.log.unknown_permille = 0;
        self.log.twice_permille = 0;
        self.log.lag_us.fill(0);
        for node in 0..self.nodes.len() {
            self.revive(Target::Node(node));
        }
        for host in self.agented() {
            self.revive(Target::Agent(host));
        }
        self.after(500_000, Target::World, ANY_RUN, What::Judge);
    }
}
