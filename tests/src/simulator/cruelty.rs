//! Blows struck at the worst moment: when the log reaches a stage.

use primacy_core::act::{Order, OrderKind};
use primacy_core::ids::Epoch;
use primacy_core::record::{Cluster, Deposition, Stage, State};

use super::fault::Fault;
use super::mysql::Hold;
use super::network::both_ways;
use super::world::{ANY_RUN, Target, What, World, instance_name};

impl World {
    /// Strikes now, for a while.
    pub(super) fn strike(&mut self, fault: Fault, after_us: u64, lasts_us: u64) {
        if self.faults.healed {
            return;
        }
        let index = self.faults.planned.len();
        let at = self.now + after_us;
        self.faults.add(at, lasts_us, fault);
        let what = What::Fault {
            index,
            begins: true,
        };
        self.after(after_us, Target::World, ANY_RUN, what);
    }

    /// The network delivers the order to freeze once more, to an agent that forgot its answer.
    pub(super) fn freeze_again(&mut self, host: usize) {
        let Some(cluster) = self.shop() else { return };
        let Some(record) = cluster.deposition() else {
            return;
        };
        let Some(token) = self.state().token(cluster.epoch, record.at) else {
            return;
        };
        let order = Order {
            token,
            cluster: cluster.id.clone(),
            instance: instance_name(host),
            kind: OrderKind::Freeze {
                epoch: cluster.epoch,
            },
        };
        let from = self.log.leader.unwrap_or_default();
        for us in [1_000_000, 2_000_000] {
            let order = Box::new(order.clone());
            self.after(
                us,
                Target::Agent(host),
                ANY_RUN,
                What::Ordered { from, order },
            );
        }
    }

    /// The one that reported most loses it, and tells so before the others are heard: whoever lets
    /// the later report replace the earlier forgets what was acknowledged.
    fn lose_what_was_reported(&mut self, cluster: &Cluster, record: &Deposition) {
        let most = record
            .frozen
            .iter()
            .max_by_key(|(_, report)| report.holds().count());
        let Some((id, _)) = most else { return };
        let host = self.host_of(id);
        let unheard: Vec<usize> = cluster
            .ackers
            .members
            .iter()
            .filter(|id| !record.frozen.contains_key(*id))
            .map(|id| self.place_of_host(self.host_of(id)))
            .collect();
        self.faults.relay_lost = true;
        self.strike(Fault::RelayLost(host), 0, 1);
        if !unheard.is_empty() && self.rng.chance(500) {
            self.strike(Fault::Cut(self.ways_to_nodes(&unheard)), 0, 4_000_000);
        }
    }

    /// Somebody sees that a replica does not replicate, and starts it: just when it is told to follow,
    /// while its agent sleeps over what it saw before.
    fn thaw_one(&mut self, primary: usize, before: usize) {
        let others: Vec<usize> = (0..self.members)
            .filter(|host| *host != primary && *host != before)
            .collect();
        let host = others[self.rng.index(others.len())];
        let us = self.rng.between(100_000, 800_000);
        self.strike(Fault::Pause(vec![Target::Agent(host)]), 0, us);
        self.strike(Fault::Thawed(host), 0, 1);
    }

    /// Every way between these places and the control plane.
    pub(super) fn ways_to_nodes(&self, places: &[usize]) -> Vec<(usize, usize)> {
        let places = places.iter();
        places
            .flat_map(|place| both_ways(*place, 0..self.nodes.len()))
            .collect()
    }

    /// A new primary is lost before any replica was told to follow it: what they hold of the epoch
    /// before says nothing of its own, and only the floor remembers.
    fn before_anybody_joins(&mut self, primary: usize) {
        let mut ways = Vec::new();
        for host in (0..self.members).filter(|host| *host != primary) {
            let place = self.place_of_host(host);
            ways.extend((0..self.nodes.len()).map(|node| (node, place)));
        }
        let lasts = self.rng.between(1_500_000, 4_000_000);
        self.strike(Fault::Cut(ways), 0, lasts);
        let us = self.rng.between(20_000, 500_000);
        let server = Fault::Pause(vec![Target::Mysqld(primary)]);
        self.strike(server, us, 7_000_000);
    }

    /// A reinstated primary is lost again, while one that was never frozen hears no order: whoever
    /// counts only the frozen has forgotten it.
    fn after_reinstatement(&mut self, cluster: &Cluster) {
        let Some(promotion) = cluster.promotion() else {
            return;
        };
        let Some(record) = &promotion.after else {
            return;
        };
        let primary = self.host_of(&cluster.primary);
        let forgotten: Vec<usize> = (0..self.members)
            .filter(|&host| {
                let name = instance_name(host);
                host != primary && !record.frozen.contains_key(&name)
            })
            .map(|host| self.place_of_host(host))
            .collect();
        if forgotten.is_empty() {
            return;
        }
        self.strike(Fault::Cut(self.ways_to_nodes(&forgotten)), 0, 6_000_000);
        let agent = Fault::Pause(vec![Target::Agent(primary)]);
        let server = Fault::Pause(vec![Target::Mysqld(primary)]);
        let us = self.rng.between(100_000, 1_000_000);
        self.strike(agent, us, 6_000_000);
        let us = us + self.rng.between(100_000, 1_000_000);
        self.strike(server, us, 5_000_000);
    }

    /// The worst moments: called when an entry changed the cluster.
    pub(crate) fn be_cruel(&mut self, before: &State, after: &State) {
        let old = before.clusters.values().next();
        let Some(new) = after.clusters.values().next().cloned() else {
            return;
        };
        let named = |cluster: &Cluster| cluster.promotion().map(|p| (p.opened, p.acknowledged));
        let was = old.and_then(|old| named(old));
        if self.options.operators {
            self.meddle(old.map(|old| &**old), &new);
        }
        if self.faults.starving {
            return; // nothing but that befalls the run
        }
        let moved = old.is_none_or(|old| old.epoch != new.epoch);
        let cruel = self.rng.chance(self.faults.cruelty_permille);
        let primary = self.host_of(&new.primary);
        if let Stage::Deposed(record) = &new.stage {
            let had = old
                .and_then(|old| old.deposition())
                .map_or(0, |was| was.frozen.len());
            if record.frozen.len() > had && !self.faults.relay_lost && self.rng.chance(90) {
                self.lose_what_was_reported(&new, record);
            }
        }
        let reinstated = new
            .promotion()
            .is_some_and(|p| p.choice.from == p.choice.to);
        if moved && new.epoch > Epoch(1) && reinstated && self.rng.chance(500) {
            return self.after_reinstatement(&new);
        }
        if moved
            && new.epoch > Epoch(1)
            && !reinstated
            && let Some(us) = self.faults.death_of_chosen_us.take()
        {
            return self.strike(Fault::Death(primary), us, 1);
        }
        if moved && new.epoch > Epoch(1) && !reinstated {
            if std::mem::take(&mut self.faults.holds_chosen) {
                return self.strike(Fault::HeldForGood(primary), 0, 1);
            }
            if cruel && self.rng.chance(200) {
                let hold = if self.rng.chance(500) {
                    Hold::Client
                } else {
                    Hold::Lasting
                };
                let lasts = self.rng.between(500_000, 9_000_000);
                return self.strike(Fault::HeldApplier(primary, hold), 0, lasts);
            }
        }
        if moved && new.epoch > Epoch(1) && !reinstated && self.rng.chance(80) {
            return self.before_anybody_joins(primary);
        }
        if moved
            && !reinstated
            && let Some(promotion) = new.promotion()
            && self.rng.chance(200)
        {
            let before = self.host_of(&promotion.choice.from);
            return self.thaw_one(primary, before);
        }
        let proved = named(&new) == Some((true, true)) && named(&new) != was;
        if proved && new.epoch == Epoch(1) {
            let us = 300_000 + self.options.seed % 7 * 100_000;
            self.strike(Fault::SchedulerOn, us, 1);
        }
        if proved {
            match self.rng.below(1_000) {
                0..60 => return self.weaken_and_lose(primary),
                60..100 => return self.stand_still_and_lose(primary),
                100..140 => return self.sleep_unseen(primary),
                _ => {}
            }
        }
        if !cruel || new.epoch == Epoch::INITIAL {
            return;
        }
        let us = self.rng.below(400_000);
        let lasts = self.rng.between(500_000, 6_000_000);
        if matches!(new.stage, Stage::Deposed(_)) && was.is_some() {
            let leader = self.log.leader.unwrap_or_default();
            let fault = match self.rng.below(6) {
                0 => Fault::Pause(vec![Target::Node(leader)]),
                1 => Fault::KillNode(leader),
                2 => Fault::Pause(vec![Target::Agent(self.rng.index(self.members))]),
                3 => {
                    self.resume_all_of(primary, us);
                    return;
                }
                _ => {
                    // It is back before enough of the others heard that they are to freeze.
                    let replicas = (0..self.members).filter(|host| *host != primary).skip(1);
                    let hosts: Vec<usize> = replicas.map(|host| self.place_of_host(host)).collect();
                    self.resume_all_of(primary, 0);
                    self.strike(Fault::Cut(self.ways_to_nodes(&hosts)), 0, lasts);
                    return;
                }
            };
            self.strike(fault, us, lasts);
        } else if new.epoch > Epoch(1) && (moved || named(&new) != was) {
            let fault = match self.rng.below(6) {
                0 => Fault::KillServer(primary),
                1 => Fault::Pause(vec![Target::Mysqld(primary), Target::Agent(primary)]),
                2 => Fault::Pause(vec![Target::Agent(primary)]),
                3 => Fault::Pause(vec![Target::Mysqld(primary)]),
                4 => Fault::power(primary),
                _ => Fault::Election,
            };
            self.strike(fault, us, lasts);
        }
    }

    /// An old primary comes back just when it was given up.
    fn resume_all_of(&mut self, host: usize, us: u64) {
        for index in 0..self.faults.planned.len() {
            let of_host = match &self.faults.planned[index].fault {
                Fault::Pause(targets) => targets.contains(&Target::Mysqld(host)),
                _ => false,
            };
            if of_host && self.faults.planned[index].active {
                let what = What::Fault {
                    index,
                    begins: false,
                };
                self.after(us, Target::World, ANY_RUN, what);
            }
        }
    }
}
